/* SPDX-License-Identifier: MIT
 *
 * Constructed objects: arrays that die in many hands, and whose tables live on.
 *
 * Each worker does one of these at random:
 *
 *     create     an array, new or used again; fills its table with references to others that it has
 *     post       gives a reference to a mailbox, and takes the one that lay there: another worker may drop the last one
 *     drop       drops one that it has
 *     evict      flushes, trims, goes offline and online, detaches and attaches, or exits and begins anew
 *     look       reads statistics, while others put and take
 *     hoard      allocates blocks until the heap's limit is reached, and frees them
 *
 * A table has a mark that `construct` writes. `reset`, `renew` and `clear` verify it, and `clear` destroys it. An array
 * says which of its lives it is in, so that no callback comes twice or too early. At the end, the world stands still: a
 * stopped flush leaves all that is kept to fl_run_pending.
 *
 * Smoke: 1 second. Pre-merge: 30 seconds (--seconds 30). Soak: one hour (--seconds 3600 --threads 16).
 */
#include "stress.h"

#include <freelane/object.h>

#include <stdio.h>
#include <string.h>

enum { MAILBOXES = 16, HAND = 16, TYPES = 3, ITEMS = 6, HOARD = 64, LIMIT = 16 << 20 };

static const uint64_t MARK = 0x636f6e7374727563;

/* What has happened to an array last. */
enum life { LIVES = 1, KEPT = 2, CLEARED = 3 };

struct array;

struct table {
    uint64_t mark;
    struct array *items[ITEMS];
};

struct array {
    struct fl_object head;
    uint64_t life;
    struct table *table;
    unsigned used;
};

struct world {
    struct fl_heap *heap;
    _Atomic(struct array *) mailboxes[MAILBOXES];
};

struct actor {
    struct world *world;
    struct fl_thread *thread;
    struct stress_rng *rng;
    struct array *hand[HAND];
};

static atomic_ulong constructed, renewed, reset_count, cleared;

static void count(atomic_ulong *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* ---- Callbacks ---------------------------------------------------------------------------------------------- */

/* An array goes from one state of its life to another. Its table is whole. */
static void go(struct array *array, enum life from, enum life to)
{
    STRESS_REQUIRE(array->life == from && array->table->mark == MARK);
    array->life = to;
}

static bool construct(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct array *array = object;
    (void)type;
    array->table = fl_alloc(thread, sizeof *array->table);
    if (array->table == NULL)
        return false;
    array->table->mark = MARK;
    array->used = 0;
    array->life = LIVES;
    count(&constructed);
    return true;
}

static size_t reset(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct array *array = object;
    (void)type;
    go(array, LIVES, KEPT);
    while (array->used > 0)
        fl_decref(thread, &array->table->items[--array->used]->head);
    count(&reset_count);
    return sizeof *array->table;
}

static void renew(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)type;
    STRESS_REQUIRE(((struct array *)object)->used == 0);
    go(object, KEPT, LIVES);
    count(&renewed);
}

static void clear(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct array *array = object;
    (void)type;
    go(array, KEPT, CLEARED);
    array->table->mark = 0;
    fl_free_sized(thread, array->table, sizeof *array->table);
    count(&cleared);
}

/* The first keeps few, so that many are cleared at their death. */
#define ARRAY_TYPE(its_name, bytes)                                                                                  \
    {                                                                                                                \
        .type = {.name = (its_name), .size = sizeof(struct array), .clear = clear}, .construct = construct,          \
        .reset = reset, .renew = renew, .keep_bytes = (bytes)                                                        \
    }

static struct fl_constructed_type types[TYPES] = {ARRAY_TYPE("few", 512), ARRAY_TYPE("some", 8192),
                                                  ARRAY_TYPE("many", 1 << 18)};

/* ---- What workers do ---------------------------------------------------------------------------------------- */

static struct array **place_of(struct actor *actor)
{
    return &actor->hand[stress_below(actor->rng, HAND)];
}

static void drop(struct actor *actor, struct array *array)
{
    if (array == NULL)
        return;
    STRESS_REQUIRE(array->life == LIVES && array->table->mark == MARK);
    fl_decref(actor->thread, &array->head);
}

/* Moves a reference that the worker has into the array. */
static void fill(struct actor *actor, struct array *array)
{
    struct array **place = place_of(actor);
    if (*place == NULL)
        return;
    array->table->items[array->used++] = *place;
    *place = NULL;
}

static void create(struct actor *actor)
{
    struct array *array = (struct array *)fl_object_alloc(actor->thread,
                                                          &types[stress_below(actor->rng, TYPES)].type);
    if (array == NULL)
        return; /* at the limit */
    STRESS_REQUIRE(array->life == LIVES && array->used == 0);
    for (uint64_t i = stress_below(actor->rng, ITEMS); i > 0; i--)
        fill(actor, array);
    struct array **place = place_of(actor), *before = *place;
    *place = array;
    drop(actor, before);
}

static void post(struct actor *actor)
{
    struct array **place = place_of(actor);
    _Atomic(struct array *) *mailbox = &actor->world->mailboxes[stress_below(actor->rng, MAILBOXES)];
    *place = atomic_exchange_explicit(mailbox, *place, memory_order_acq_rel);
}

static void drop_one(struct actor *actor)
{
    struct array **place = place_of(actor), *before = *place;
    *place = NULL;
    drop(actor, before);
}

static void hoard(struct actor *actor)
{
    void *blocks[HOARD];
    unsigned had = 0;
    while (had < HOARD && (blocks[had] = fl_alloc(actor->thread, 1 << 18)) != NULL)
        had++;
    while (had > 0)
        fl_free_sized(actor->thread, blocks[--had], 1 << 18);
}

static void evict(struct actor *actor)
{
    struct fl_object_stats stats;
    switch (stress_below(actor->rng, 7)) {
    case 0:
        fl_thread_flush(actor->thread);
        break;
    case 1:
        fl_heap_trim(actor->world->heap, 0);
        break;
    case 2:
        fl_thread_offline(actor->thread);
        fl_thread_online(actor->thread);
        break;
    case 3:
        stress_detach(actor->thread);
        actor->thread = stress_attach(actor->world->heap);
        break;
    case 4:
        fl_heap_object_stats(actor->world->heap, &stats);
        break;
    default:
        fl_merge(actor->thread);
        fl_run_pending(actor->thread, fl_budget_objects(100));
    }
}

static void *live_briefly(void *argument)
{
    struct actor actor = *(struct actor *)argument;
    memset(actor.hand, 0, sizeof actor.hand);
    actor.thread = stress_attach(actor.world->heap);
    for (unsigned i = 0; i < 50; i++) {
        create(&actor);
        post(&actor);
    }
    for (unsigned i = 0; i < HAND; i++)
        drop(&actor, actor.hand[i]);
    return NULL; /* its exit evicts */
}

static void begin_another(struct actor *actor)
{
    pthread_t thread;
    STRESS_REQUIRE(pthread_create(&thread, NULL, live_briefly, actor) == 0);
    STRESS_REQUIRE(pthread_join(thread, NULL) == 0);
}

static void work(struct stress_worker *worker)
{
    struct actor actor = {.world = worker->shared, .rng = &worker->rng};
    actor.thread = stress_attach(actor.world->heap);
    while (!stress_stopped()) {
        uint64_t choice = stress_below(actor.rng, 1000);
        if (choice < 500)
            create(&actor);
        else if (choice < 750)
            post(&actor);
        else if (choice < 980)
            drop_one(&actor);
        else if (choice < 997)
            evict(&actor);
        else if (choice < 999)
            hoard(&actor);
        else
            begin_another(&actor);
    }
    for (unsigned i = 0; i < HAND; i++)
        drop(&actor, actor.hand[i]);
    fl_thread_offline(actor.thread);
    stress_detach(actor.thread);
}

/* Drops what lies in mailboxes, and has a stopped flush leave all to fl_run_pending. */
static void finish(struct world *world)
{
    struct actor actor = {.world = world, .thread = stress_attach(world->heap)};
    for (unsigned i = 0; i < MAILBOXES; i++)
        drop(&actor, atomic_load(&world->mailboxes[i]));
    unsigned long before = atomic_load(&cleared);
    fl_heap_flush_stopped(world->heap);
    STRESS_REQUIRE(atomic_load(&cleared) == before);
    STRESS_REQUIRE(fl_run_pending(actor.thread, fl_budget_objects(SIZE_MAX)) == 0);
    STRESS_REQUIRE(atomic_load(&cleared) == atomic_load(&constructed));
    STRESS_REQUIRE(atomic_load(&reset_count) == atomic_load(&constructed) + atomic_load(&renewed));
    stress_detach(actor.thread);
}

int main(int argc, char **argv)
{
    struct stress_args args = stress_parse(argc, argv, "stress_construct");
    static struct world world;
    for (unsigned i = 0; i < TYPES; i++)
        STRESS_REQUIRE(fl_constructed_type_ready(&types[i], NULL, NULL, 0) == 0);
    world.heap = stress_heap_create(&(struct fl_options){.limit_bytes = LIMIT});
    stress_run(&args, work, &world);
    finish(&world);
    printf("constructed: %lu, used again: %lu\n", atomic_load(&constructed), atomic_load(&renewed));
    stress_heap_finish(world.heap);
    return 0;
}
