/* SPDX-License-Identifier: MIT
 *
 * What a life does at a seat of a site whose blocks have no reference counts. Each step is drawn from a generator of
 * its own, so that what a thread finds at a mailbox does not change what it does next.
 */
#include "storm.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

enum { BUNDLE = 100, SET_ASIDE_MAX = 64 };

void storm_seat_begin(struct seat *seat, struct site *site, struct fl_thread *thread)
{
    memset(seat, 0, sizeof *seat);
    seat->site = site;
    seat->thread = thread;
    if (site->is_default) /* only an attached thread may read */
        fl_free(fl_thread_self(), fl_alloc(fl_thread_self(), 1));
}

struct fl_thread *storm_seat_thread(const struct seat *seat)
{
    return seat->site->is_default ? fl_thread_self() : seat->thread;
}

/* ---- Holding. */

static storm_ref *place_of(struct seat *seat, struct stress_rng *rng)
{
    return &seat->held[stress_below(rng, HELD)];
}

static void drop(struct seat *seat, storm_ref ref)
{
    if (ref)
        storm_drop(seat->site, storm_seat_thread(seat), ref, false);
}

/* Puts a block into a random place, and ends what was there. */
static void hold(struct seat *seat, storm_ref ref, struct stress_rng *rng)
{
    storm_ref *place = place_of(seat, rng), before = *place;
    *place = ref;
    drop(seat, before);
}

static storm_ref take(struct seat *seat, struct stress_rng *rng)
{
    storm_ref *place = place_of(seat, rng), ref = *place;
    *place = 0;
    return ref;
}

/* ---- Blocks without a type. */

static size_t draw_size(struct stress_rng *rng)
{
    if (stress_one_in(rng, 1000))
        return FL_BLOCK_MAX + stress_below(rng, (uint64_t)1 << 20);
    size_t size = stress_size(rng);
    return size < sizeof(struct cargo) ? sizeof(struct cargo) : size;
}

static void refused(const struct seat *seat, size_t size)
{
    if (!site_is_limited(seat->site) || errno != ENOMEM)
        stress_fail("site %s refuses %zu bytes, errno %d", seat->site->name, size, errno);
    tally(TALLY_REFUSED, 1);
}

static void require_zeroed(const struct cargo *block, size_t size)
{
    const char *bytes = (const char *)block;
    if (bytes[0] || memcmp(bytes, bytes + 1, size - 1))
        stress_fail("block %p of %zu bytes is not zeroed", (const void *)block, size);
}

static storm_ref make_block(struct seat *seat, struct stress_rng *rng)
{
    struct fl_thread *thread = storm_seat_thread(seat);
    size_t size = draw_size(rng), alignment = 16;
    struct cargo *block;
    switch (stress_below(rng, 16)) {
    case 0:
        alignment = (size_t)16 << stress_below(rng, 9);
        block = fl_alloc_aligned(thread, alignment, size);
        size = fl_aligned_size(alignment, size);
        break;
    case 1:
        block = fl_alloc_zeroed(thread, size);
        if (block)
            require_zeroed(block, size);
        break;
    case 2:
        block = fl_realloc(thread, NULL, 0, size);
        break;
    default:
        block = fl_alloc(thread, size);
    }
    if (!block) {
        refused(seat, size);
        return 0;
    }
    if ((uintptr_t)block % alignment)
        stress_fail("block %p of %zu bytes is not aligned to %zu", (void *)block, size, alignment);
    return storm_seal(block, KIND_BLOCK, 0, size, sizeof *block, rng);
}

/* The words and the pattern of a block that may have moved are those of its old address. */
static void verify_moved(const struct cargo *before, const struct cargo *block, size_t size)
{
    size_t kept = storm_size(before) < size ? storm_size(before) : size;
    STRESS_REQUIRE(block->seal == before->seal && block->tag == before->tag);
    stress_verify(block + 1, kept - sizeof *block, before->seal);
}

static void change_size(struct seat *seat, struct stress_rng *rng)
{
    storm_ref ref = take(seat, rng);
    if (!ref)
        return;
    struct cargo *block = storm_open(ref), before = *block;
    size_t size = draw_size(rng);
    if (storm_kind(block) != KIND_BLOCK) {
        hold(seat, ref, rng);
        return;
    }
    storm_verify(block, sizeof *block);
    struct cargo *moved = fl_realloc(storm_seat_thread(seat), block, storm_size(&before), size);
    if (!moved) {
        refused(seat, size);
        storm_verify(block, sizeof *block);
        hold(seat, ref, rng);
        return;
    }
    verify_moved(&before, moved, size);
    tally(TALLY_MOVED, moved != block);
    hold(seat, storm_seal(moved, KIND_BLOCK, 0, size, sizeof *moved, rng), rng);
}

/* ---- Objects. */

static storm_ref make_node(struct seat *seat, struct stress_rng *rng)
{
    enum storm_kind kind = (enum storm_kind)(KIND_PLAIN + stress_below(rng, KINDS - KIND_PLAIN));
    if (kind == KIND_LARGE && !stress_one_in(rng, 8))
        kind = KIND_PLAIN;
    storm_ref ref = storm_node_make(seat->site, storm_seat_thread(seat), kind, rng);
    for (uint64_t children = ref ? stress_below(rng, CHILDREN + 1) : 0; children > 0; children--) {
        storm_ref child = take(seat, rng);
        if (child && !storm_node_adopt(ref, child))
            hold(seat, child, rng);
    }
    return ref;
}

static storm_ref make(struct seat *seat, struct stress_rng *rng)
{
    return stress_one_in(rng, 2) ? make_block(seat, rng) : make_node(seat, rng);
}

/* ---- Others. */

static storm_ref post(struct site *site, storm_ref ref, struct stress_rng *rng)
{
    storm_place *mailbox = &site->mailboxes[stress_below(rng, MAILBOXES)];
    ref = atomic_exchange_explicit(mailbox, ref, memory_order_acq_rel);
    tally(TALLY_REMOTE, ref != 0);
    return ref;
}

/* Leaves a block to others, and ends or keeps what another thread has left. */
static void exchange(struct seat *seat, struct stress_rng *rng)
{
    bool keeps = stress_one_in(rng, 4);
    storm_ref ref = stress_one_in(rng, 2) ? take(seat, rng) : make(seat, rng);
    ref = post(seat->site, ref, rng);
    if (keeps)
        hold(seat, ref, rng);
    else
        drop(seat, ref);
}

/* Many blocks at once; some are left to others, one by one. */
static void bundle(struct seat *seat, struct stress_rng *rng)
{
    void *blocks[BUNDLE];
    struct fl_thread *thread = storm_seat_thread(seat);
    size_t size = 16 + stress_below(rng, 600), count = 1 + stress_below(rng, BUNDLE), kept = 0;
    int result = fl_alloc_many(thread, size, count, blocks);
    if (result) {
        errno = -result;
        refused(seat, size);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        storm_ref ref = storm_seal(blocks[i], KIND_BLOCK, 0, size, sizeof(struct cargo), rng);
        if (i % 3 == 0)
            drop(seat, post(seat->site, ref, rng));
        else
            blocks[kept++] = blocks[i];
    }
    for (size_t i = 0; i < kept; i++) {
        storm_verify(blocks[i], sizeof(struct cargo));
        storm_break(blocks[i]);
    }
    fl_free_many(storm_seat_thread(seat), size, kept, blocks);
}

/* ---- Readers without locks. */

static void publish(struct seat *seat, struct stress_rng *rng)
{
    storm_ref ref = make(seat, rng);
    ref = atomic_exchange_explicit(&seat->site->slots[stress_below(rng, SLOTS)], ref, memory_order_acq_rel);
    if (ref)
        storm_drop(seat->site, storm_seat_thread(seat), ref, true);
}

/* Looks twice, now and then with a rest between. */
static void look_at(const storm_place *slot, bool rests)
{
    storm_ref ref = atomic_load_explicit(slot, memory_order_acquire);
    if (!ref)
        return;
    for (unsigned looks = 0; looks < 2; looks++) {
        const struct cargo *cargo = storm_open(ref);
        storm_verify(cargo, storm_skip(cargo));
        if (rests && looks == 0)
            sched_yield();
    }
    tally(TALLY_READS, 1);
}

static void read_slots(struct seat *seat, struct stress_rng *rng)
{
    bool locks = seat->site->options.grace == FL_GRACE_BP || stress_one_in(rng, 2);
    if (locks)
        fl_read_lock(storm_seat_thread(seat));
    for (uint64_t count = 1 + stress_below(rng, 8); count > 0; count--)
        look_at(&seat->site->slots[stress_below(rng, SLOTS)], stress_one_in(rng, 8));
    if (locks)
        fl_read_unlock(storm_seat_thread(seat));
}

/* ---- The handle. */

static void run_pending(struct seat *seat, struct stress_rng *rng)
{
    struct fl_budget budget = stress_one_in(rng, 2) ? fl_budget_objects(1 + stress_below(rng, 50))
                                                    : fl_budget_microseconds(1 + stress_below(rng, 100));
    STRESS_REQUIRE(fl_run_pending(storm_seat_thread(seat), budget) >= 0);
}

/* What was set aside can be had, whatever others do. */
static void set_aside(struct seat *seat, struct stress_rng *rng)
{
    const struct fl_type *type = &storm_types[KIND_CLEAR][stress_below(rng, VARIANTS)];
    struct node *nodes[SET_ASIDE_MAX];
    size_t count = 1 + stress_below(rng, SET_ASIDE_MAX);
    struct fl_thread *thread = storm_seat_thread(seat);
    int result = fl_thread_reserve(thread, type, count);
    if (result) {
        STRESS_REQUIRE(result == -ENOMEM && site_is_limited(seat->site));
        return;
    }
    for (size_t i = 0; i < count; i++) {
        nodes[i] = fl_type_alloc(thread, type);
        if (!nodes[i])
            stress_fail("object %zu of %zu that were set aside was refused", i + 1, count);
        storm_seal(&nodes[i]->cargo, KIND_BLOCK, 0, type->size, sizeof(struct cargo), rng);
    }
    for (size_t i = 0; i < count; i++) {
        storm_verify(&nodes[i]->cargo, sizeof(struct cargo));
        storm_break(&nodes[i]->cargo);
        fl_type_free(thread, nodes[i], type);
    }
}

static void look_at_own(struct seat *seat, struct stress_rng *rng)
{
    storm_ref ref = *place_of(seat, rng);
    struct fl_block found;
    if (!ref)
        return;
    const struct cargo *cargo = storm_open(ref);
    size_t size = storm_size(cargo);
    STRESS_REQUIRE(fl_owns(seat->site->heap, cargo));
    STRESS_REQUIRE(fl_usable_size(seat->site->heap, cargo) >= size);
    STRESS_REQUIRE(fl_block_at(seat->site->heap, cargo, &found) && found.start == (const void *)cargo);
    STRESS_REQUIRE(found.size >= size);
    storm_verify(cargo, storm_skip(cargo));
}

static void barrier(struct seat *seat)
{
    int result = fl_heap_barrier(seat->site->heap);
    if (result && !(storm_is_child && result == -ENOTSUP))
        stress_fail("fl_heap_barrier at site %s: %s", seat->site->name, strerror(-result));
}

static void rest(struct seat *seat, struct stress_rng *rng)
{
    struct fl_thread *thread = storm_seat_thread(seat);
    switch (stress_below(rng, 16)) {
    case 0:
        if (!seat->site->is_default) {
            fl_thread_offline(thread);
            fl_thread_online(thread);
        }
        break;
    case 1:
        if (site_has_grace(seat->site))
            barrier(seat);
        break;
    case 2:
        fl_heap_trim(seat->site->heap, stress_below(rng, 1 << 20));
        tally(TALLY_TRIMS, 1);
        break;
    case 3:
        set_aside(seat, rng);
        break;
    default:
        fl_thread_flush(thread);
    }
}

/* ---- Steps. */

void storm_work(struct seat *seat, struct stress_rng *rng)
{
    bool grace = site_has_grace(seat->site);
    uint64_t choice = stress_below(rng, 200);
    if (choice < 70)
        hold(seat, make(seat, rng), rng);
    else if (choice < 120)
        exchange(seat, rng);
    else if (choice < 130)
        change_size(seat, rng);
    else if (choice < 136)
        bundle(seat, rng);
    else if (choice < 150 && grace)
        publish(seat, rng);
    else if (choice < 175 && grace)
        read_slots(seat, rng);
    else if (choice < 185 && grace)
        fl_quiescent(storm_seat_thread(seat));
    else if (choice < 192)
        run_pending(seat, rng);
    else if (choice < 199)
        look_at_own(seat, rng);
    else
        rest(seat, rng);
}

void storm_seat_verify(const struct seat *seat)
{
    for (unsigned i = 0; i < HELD; i++) {
        if (seat->held[i]) {
            const struct cargo *cargo = storm_open(seat->held[i]);
            storm_verify(cargo, storm_skip(cargo));
        }
        if (seat->objects[i])
            storm_object_verify(seat->objects[i]);
    }
}

void storm_seat_empty(struct seat *seat, struct stress_rng *rng)
{
    for (unsigned i = 0; i < HELD; i++) {
        storm_ref ref = seat->held[i];
        struct fl_object *object = seat->objects[i];
        seat->held[i] = 0;
        seat->objects[i] = NULL;
        bool leaves = stress_one_in(rng, 2);
        if (ref)
            drop(seat, leaves ? post(seat->site, ref, rng) : ref);
        if (object && leaves)
            object = atomic_exchange_explicit(&seat->site->posted[i % MAILBOXES], object, memory_order_acq_rel);
        if (object)
            fl_decref(seat->thread, object);
    }
}

void storm_settle(struct site *site, struct fl_thread *thread)
{
    if (site->counted)
        fl_merge(thread);
    while (fl_run_pending(thread, fl_budget_objects(1000)) > 0)
        ;
}
