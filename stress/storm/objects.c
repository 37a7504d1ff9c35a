/* SPDX-License-Identifier: MIT
 *
 * What a life does at the site whose objects have reference counts: it shares them, drops references to objects that
 * others own, takes references to published ones without a lock, and lets objects be kept constructed.
 *
 * A place of `held`, a mailbox and a slot each have a reference. Objects hold others that were there before them, so
 * that there are no cycles.
 */
#include "storm.h"

#include <errno.h>
#include <stdlib.h>

enum { THING_CHILDREN = 2, THING_KINDS = 5, PART_BYTES = 100 };

enum thing_kind { THING_PLAIN, THING_CLEAR, THING_FINALIZE, THING_LATER, THING_CONSTRUCTED };

struct thing {
    struct fl_object head;
    uint64_t words[2]; /* the library's, while a dead object waits */
    struct fl_object *children[THING_CHILDREN];
    unsigned char *part; /* of a constructed one */
    unsigned char finalized;
    struct cargo cargo; /* it and its pattern end the object */
};

static struct fl_type types[THING_KINDS];
static struct fl_constructed_type constructed_type;
static const size_t pattern_bytes[THING_KINDS] = {32, 64, 200, 120, 24};

struct cargo *storm_object_cargo(const struct fl_object *object)
{
    return &((struct thing *)(uintptr_t)object)->cargo;
}

static void verify(const struct thing *thing)
{
    storm_verify(&thing->cargo, sizeof thing->cargo);
    STRESS_REQUIRE(!thing->part || *thing->part == 1);
}

void storm_object_verify(const struct fl_object *object)
{
    verify((const struct thing *)object);
}

static const struct fl_type *type_of(enum thing_kind kind)
{
    return kind == THING_CONSTRUCTED ? &constructed_type.type : &types[kind];
}

/* ---- Callbacks. */

static void drop_children(struct fl_thread *thread, struct thing *thing)
{
    for (unsigned i = 0; i < THING_CHILDREN; i++) {
        struct fl_object *child = thing->children[i];
        thing->children[i] = NULL;
        if (child)
            fl_decref(thread, child);
    }
}

static void clear(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct thing *thing = object;
    (void)type;
    verify(thing);
    drop_children(thread, thing);
    storm_break(&thing->cargo);
}

/* One object of three is resurrected: a mailbox has it then. */
static bool finalize(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct thing *thing = object;
    (void)type;
    verify(thing);
    fl_revive(thread, &thing->head);
    if (storm_serial(&thing->cargo) % 3 == 0 && thing->finalized == 1) {
        unsigned i = storm_serial(&thing->cargo) / 4 % MAILBOXES;
        fl_incref(thread, &thing->head);
        struct fl_object *before = atomic_exchange_explicit(&storm_sites[SITE_COUNTED].posted[i], &thing->head,
                                                            memory_order_acq_rel);
        if (before)
            fl_decref(thread, before);
        tally(TALLY_RESURRECTED, 1);
    }
    return !fl_drop(thread, &thing->head);
}

static bool construct(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct thing *thing = object;
    (void)thread, (void)type;
    thing->part = malloc(PART_BYTES);
    STRESS_REQUIRE(thing->part);
    *thing->part = 1;
    return true;
}

static size_t reset(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct thing *thing = object;
    (void)type;
    verify(thing);
    drop_children(thread, thing);
    *thing->part = 2;
    return PART_BYTES;
}

static void renew(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct thing *thing = object;
    (void)thread, (void)type;
    STRESS_REQUIRE(*thing->part == 2);
    *thing->part = 1;
}

/* Takes apart what `reset` has left. */
static void take_apart(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct thing *thing = object;
    (void)thread, (void)type;
    STRESS_REQUIRE(*thing->part == 2);
    free(thing->part);
    thing->part = NULL;
    storm_break(&thing->cargo);
}

/* ---- Types. */

static void describe(struct fl_type *type, enum thing_kind kind, const char *name)
{
    type->name = name;
    type->size = sizeof(struct thing) + pattern_bytes[kind];
    type->header = &fl_object_header;
    type->flags |= FL_TYPE_HAS_WORDS;
    type->words_offset = offsetof(struct thing, words);
}

void storm_object_types_ready(void)
{
    static const char *const names[] = {"plain", "clear", "finalize", "later", "constructed"};
    char error[256] = "";
    types[THING_PLAIN].kind = FL_DEALLOC_PLAIN;
    types[THING_CLEAR].clear = types[THING_FINALIZE].clear = types[THING_LATER].clear = clear;
    types[THING_FINALIZE].finalize = finalize;
    types[THING_FINALIZE].finalized_offset = offsetof(struct thing, finalized);
    types[THING_FINALIZE].finalized_mask = 1;
    types[THING_LATER].flags = FL_TYPE_LATER;
    for (unsigned kind = 0; kind < THING_CONSTRUCTED; kind++) {
        describe(&types[kind], (enum thing_kind)kind, names[kind]);
        if (fl_object_type_ready(&types[kind], NULL, error, sizeof error) != 0)
            stress_fail("fl_object_type_ready: %s", error);
    }
    describe(&constructed_type.type, THING_CONSTRUCTED, names[THING_CONSTRUCTED]);
    constructed_type.type.clear = take_apart;
    constructed_type.construct = construct;
    constructed_type.reset = reset;
    constructed_type.renew = renew;
    constructed_type.keep_bytes = 4096;
    if (fl_constructed_type_ready(&constructed_type, NULL, error, sizeof error) != 0)
        stress_fail("fl_constructed_type_ready: %s", error);
}

/* ---- Steps. */

static void drop(struct seat *seat, struct fl_object *object)
{
    if (!object)
        return;
    storm_object_verify(object);
    fl_decref(seat->thread, object);
}

static struct fl_object **place_of(struct seat *seat, struct stress_rng *rng)
{
    return &seat->objects[stress_below(rng, HELD)];
}

static void hold(struct seat *seat, struct fl_object *object, struct stress_rng *rng)
{
    struct fl_object **place = place_of(seat, rng), *before = *place;
    *place = object;
    drop(seat, before);
}

static struct fl_object *make(struct seat *seat, struct stress_rng *rng)
{
    enum thing_kind kind = (enum thing_kind)stress_below(rng, THING_KINDS);
    const struct fl_type *type = type_of(kind);
    struct thing *thing = (struct thing *)fl_object_alloc(seat->thread, type);
    if (!thing)
        stress_fail("site %s refuses an object of type %s, errno %d", seat->site->name, type->name, errno);
    if (kind != THING_CONSTRUCTED)
        thing->part = NULL;
    thing->finalized = 0;
    for (unsigned i = 0; i < THING_CHILDREN; i++) {
        thing->children[i] = NULL;
        struct fl_object **place = place_of(seat, rng);
        if (kind != THING_PLAIN && stress_one_in(rng, 3)) {
            thing->children[i] = *place;
            *place = NULL;
        }
    }
    size_t bytes = sizeof thing->cargo + pattern_bytes[kind];
    storm_seal(&thing->cargo, KIND_BLOCK, kind, bytes, sizeof thing->cargo, rng);
    tally(TALLY_COUNTED, 1);
    return &thing->head;
}

/* Takes and drops references to what it holds. */
static void share(struct seat *seat, struct stress_rng *rng)
{
    struct fl_object *object = *place_of(seat, rng);
    uint64_t count = stress_below(rng, 20);
    if (!object)
        return;
    for (uint64_t i = 0; i < count; i++)
        fl_incref(seat->thread, object);
    hold(seat, (fl_incref(seat->thread, object), object), rng);
    for (uint64_t i = 0; i < count; i++)
        fl_decref(seat->thread, object);
}

static void exchange(struct seat *seat, struct stress_rng *rng)
{
    _Atomic(struct fl_object *) *mailbox = &seat->site->posted[stress_below(rng, MAILBOXES)];
    struct fl_object *object = *place_of(seat, rng);
    bool keeps = stress_one_in(rng, 4);
    if (object)
        fl_incref(seat->thread, object);
    object = atomic_exchange_explicit(mailbox, object, memory_order_acq_rel);
    tally(TALLY_REMOTE, object != NULL);
    if (keeps)
        hold(seat, object, rng);
    else
        drop(seat, object);
}

static void publish(struct seat *seat, struct stress_rng *rng)
{
    struct fl_object *object = make(seat, rng);
    fl_publish(object);
    drop(seat,
         atomic_exchange_explicit(&seat->site->published[stress_below(rng, SLOTS)], object, memory_order_acq_rel));
}

static void look(struct seat *seat, struct stress_rng *rng)
{
    _Atomic(struct fl_object *) *slot = &seat->site->published[stress_below(rng, SLOTS)];
    fl_read_lock(seat->thread);
    struct fl_object *object = atomic_load_explicit(slot, memory_order_acquire);
    bool has = object && fl_try_incref(seat->thread, object, slot);
    fl_read_unlock(seat->thread);
    if (!has)
        return;
    tally(TALLY_READS, 1);
    storm_object_verify(object);
    hold(seat, object, rng);
}

static void rest(struct seat *seat, struct stress_rng *rng)
{
    switch (stress_below(rng, 32)) {
    case 0:
        fl_thread_offline(seat->thread);
        fl_thread_online(seat->thread);
        break;
    case 1:
    case 2:
        fl_thread_flush(seat->thread);
        break;
    case 3:
        fl_heap_trim(seat->site->heap, stress_below(rng, 1 << 20));
        break;
    default:
        fl_quiescent(seat->thread);
    }
}

void storm_object_work(struct seat *seat, struct stress_rng *rng)
{
    uint64_t choice = stress_below(rng, 100);
    if (choice < 25)
        hold(seat, make(seat, rng), rng);
    else if (choice < 40)
        share(seat, rng);
    else if (choice < 60)
        exchange(seat, rng);
    else if (choice < 70)
        publish(seat, rng);
    else if (choice < 90)
        look(seat, rng);
    else if (choice < 95)
        fl_merge(seat->thread);
    else if (choice < 98)
        STRESS_REQUIRE(fl_run_pending(seat->thread, fl_budget_objects(1 + stress_below(rng, 20))) >= 0);
    else
        rest(seat, rng);
}
