/* SPDX-License-Identifier: MIT
 *
 * Trimming under way while everything else goes on.
 *
 * Workers allocate in waves: a tide of blocks of one size, verified and freed, then of another, so that slabs
 * empty out, go back to the system and come again as another class. One more thread trims to nothing, takes
 * statistics, and asks fl_owns and fl_usable_size about blocks that live and about addresses that are nobody's.
 * Three heaps at once, each worker in all of them:
 *
 *     asked     retains all by itself; only fl_heap_trim gives back
 *     eager     retains as little as possible: frees trim by themselves all the time
 *     limited   has a limit well below what the workers want: allocation fails, the pressure callback frees a
 *               reserve of the thread it runs on, and nothing in use ever passes the limit
 *
 * And one that has room for a few slabs only, where a thread of its own makes these change their class all the time.
 *
 * Smoke: 1 second. Pre-merge: 30 seconds (--seconds 30). Soak: one hour (--seconds 3600 --threads 16).
 */
#include "stress.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAVE_MAX = 3000, WAVE_BYTES = 2 << 20, WITNESSES = 64 };

#define LIMIT_BYTES  ((size_t)6 << 20)
#define NARROW_BYTES ((size_t)4 << 16)

struct witness {
    struct stress_block block;
    struct fl_heap *heap;
};

static struct fl_heap *asked, *eager, *limited, *narrow;
static struct witness witnesses[WITNESSES];
static atomic_ulong refusals, reliefs, waves, trims;
static atomic_size_t trimmed;

/* ---- Pressure --------------------------------------------------------------------------------------------- */

/* A worker's reserve in the limited heap, for the callback, which runs on the worker's own thread. */
struct reserve {
    struct fl_thread *thread;
    struct stress_block block;
};

static _Thread_local struct reserve *own_reserve;

static bool relieve(struct fl_heap *heap, size_t bytes, void *context)
{
    STRESS_REQUIRE(heap == limited && context == &limited && bytes > 0);
    struct reserve *reserve = own_reserve;
    if (!reserve || !reserve->block.block)
        return false;
    struct stress_block block = reserve->block;
    reserve->block.block = NULL;
    stress_block_verify(&block);
    fl_free_sized(reserve->thread, block.block, block.size);
    atomic_fetch_add_explicit(&reliefs, 1, memory_order_relaxed);
    return true;
}

/* ---- Waves ------------------------------------------------------------------------------------------------- */

/* Allocates like stress_block_make, but returns a NULL block where the heap refuses. */
static struct stress_block try_make(struct fl_thread *thread, size_t size, uint64_t key)
{
    errno = 0;
    struct stress_block made = {.block = fl_alloc(thread, size), .size = size, .bytes = size, .key = key};
    if (made.block)
        stress_fill(made.block, size, key);
    else if (errno != ENOMEM)
        stress_fail("an allocation of %zu bytes failed with errno %d", size, errno);
    return made;
}

static size_t wave_size(struct stress_rng *rng)
{
    if (stress_one_in(rng, 16))
        return FL_BLOCK_MAX + 1 + stress_below(rng, 4 * FL_BLOCK_MAX);
    return 1 + stress_below(rng, (uint64_t)16 << stress_below(rng, 12));
}

/* Keeps the blocks from `keep` up in place for the next wave: slabs do not empty all at once. */
static void ebb(struct fl_thread *thread, struct stress_block *blocks, size_t *count, size_t keep,
                struct stress_rng *rng)
{
    for (size_t i = *count; i > keep; i--) {
        size_t victim = stress_below(rng, i);
        struct stress_block block = blocks[victim];
        blocks[victim] = blocks[i - 1];
        stress_block_drop(thread, &block, rng);
    }
    if (*count > keep)
        *count = keep;
}

static void flood(struct fl_thread *thread, struct stress_block *blocks, size_t *count, struct stress_rng *rng,
                  uint64_t *sequence, bool may_fail)
{
    size_t size = wave_size(rng);
    size_t target = *count + WAVE_BYTES / 16 / size + 1 + stress_below(rng, WAVE_BYTES / size + 1);
    if (target > WAVE_MAX)
        target = WAVE_MAX;
    for (; *count < target; ++*count) {
        struct stress_block made = try_make(thread, size, ++*sequence);
        if (!made.block) {
            if (!may_fail)
                stress_fail("out of memory for %zu bytes", size);
            atomic_fetch_add_explicit(&refusals, 1, memory_order_relaxed);
            return;
        }
        blocks[*count] = made;
    }
}

static void wave(struct fl_thread *thread, struct stress_block *blocks, size_t *count, struct stress_rng *rng,
                 uint64_t *sequence, bool may_fail)
{
    flood(thread, blocks, count, rng, sequence, may_fail);
    ebb(thread, blocks, count, stress_one_in(rng, 2) ? 0 : stress_below(rng, *count / 8 + 1), rng);
    if (stress_one_in(rng, 2))
        fl_thread_flush(thread);
    atomic_fetch_add_explicit(&waves, 1, memory_order_relaxed);
}

static void work(struct stress_worker *worker)
{
    struct fl_heap *heaps[] = {asked, eager, limited};
    struct fl_thread *threads[3];
    struct stress_block *blocks[3];
    size_t counts[3] = {0};
    for (unsigned i = 0; i < 3; i++) {
        threads[i] = stress_attach(heaps[i]);
        blocks[i] = calloc(WAVE_MAX, sizeof *blocks[i]);
        STRESS_REQUIRE(blocks[i]);
    }
    struct reserve reserve = {.thread = threads[2]};
    own_reserve = &reserve;
    uint64_t sequence = stress_key(worker->index, 0);
    while (!stress_stopped()) {
        unsigned i = (unsigned)stress_below(&worker->rng, 3);
        if (i == 2 && !reserve.block.block)
            reserve.block = try_make(reserve.thread, wave_size(&worker->rng), ++sequence);
        wave(threads[i], blocks[i], &counts[i], &worker->rng, &sequence, i == 2);
    }
    own_reserve = NULL;
    if (reserve.block.block)
        stress_block_drop(reserve.thread, &reserve.block, &worker->rng);
    for (unsigned i = 0; i < 3; i++) {
        ebb(threads[i], blocks[i], &counts[i], 0, &worker->rng);
        stress_detach(threads[i]);
        free(blocks[i]);
    }
}

/* ---- The onlooker -------------------------------------------------------------------------------------------- */

static void question(struct stress_rng *rng)
{
    struct witness *witness = &witnesses[stress_below(rng, WITNESSES)];
    STRESS_REQUIRE(fl_owns(witness->heap, witness->block.block));
    STRESS_REQUIRE(fl_usable_size(witness->heap, witness->block.block) >= witness->block.size);
    struct fl_heap *other = witness->heap == asked ? eager : asked;
    STRESS_REQUIRE(!fl_owns(other, witness->block.block));
    STRESS_REQUIRE(fl_usable_size(other, witness->block.block) == 0);
    STRESS_REQUIRE(!fl_owns(witness->heap, witness));
    STRESS_REQUIRE(!fl_owns(witness->heap, NULL));
    stress_block_verify(&witness->block);
}

static void look_at_limit(struct fl_heap *heap, size_t limit)
{
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    STRESS_REQUIRE(stats.slab_bytes + stats.idle_bytes + stats.retired_bytes <= limit);
    STRESS_REQUIRE(stats.large_bytes <= limit);
    STRESS_REQUIRE(stats.live_bytes - stats.large_bytes <= stats.slab_bytes);
    STRESS_REQUIRE(stats.cached_bytes + stats.pooled_bytes + stats.parked_bytes <= stats.slab_bytes);
}

static void take_stats_and_trim(struct fl_heap *heap)
{
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    if (heap == limited)
        look_at_limit(limited, LIMIT_BYTES);
    /* As often as possible, while its slabs change classes. */
    for (unsigned i = 0; i < 50; i++)
        look_at_limit(narrow, NARROW_BYTES);
    atomic_fetch_add_explicit(&trimmed, fl_heap_trim(heap, 0), memory_order_relaxed);
    atomic_fetch_add_explicit(&trims, 1, memory_order_relaxed);
}

/* ---- Slabs that change classes ------------------------------------------------------------------------------ */

/* Takes all that the heap allows for one size, and gives it back; then for another. */
static void *swing(void *argument)
{
    const struct stress_args *args = argument;
    struct stress_rng rng = stress_rng_make(args->seed, 3000);
    struct fl_thread *thread = stress_attach(narrow);
    void *blocks[NARROW_BYTES / 1024];
    while (!stress_stopped()) {
        size_t size = (size_t)1024 << stress_below(&rng, 6), count = 0;
        while (count < NARROW_BYTES / size && (blocks[count] = fl_alloc(thread, size)) != NULL)
            count++;
        fl_free_many(thread, size, count, blocks);
        fl_thread_flush(thread);
        fl_heap_trim(narrow, stress_one_in(&rng, 2) ? NARROW_BYTES / 2 : 0);
    }
    stress_detach(thread);
    return NULL;
}

static void *look_on(void *argument)
{
    const struct stress_args *args = argument;
    struct stress_rng rng = stress_rng_make(args->seed, 1000);
    struct fl_heap *heaps[] = {asked, eager, limited};
    while (!stress_stopped()) {
        for (unsigned i = 0; i < 100; i++)
            question(&rng);
        take_stats_and_trim(heaps[stress_below(&rng, 3)]);
    }
    return NULL;
}

/* ---- The run ------------------------------------------------------------------------------------------------ */

static void place_witnesses(struct stress_rng *rng)
{
    for (unsigned i = 0; i < WITNESSES; i++) {
        struct fl_heap *heap = i % 2 ? asked : eager;
        struct fl_thread *thread = stress_attach(heap);
        witnesses[i].heap = heap;
        witnesses[i].block = stress_block_make(thread, wave_size(rng), stress_key(1000, i));
        stress_detach(thread);
    }
}

static void release_witnesses(void)
{
    for (unsigned i = 0; i < WITNESSES; i++) {
        stress_block_verify(&witnesses[i].block);
        fl_heap_free(witnesses[i].heap, witnesses[i].block.block);
    }
}

int main(int argc, char **argv)
{
    struct stress_args args = stress_parse(argc, argv, "stress_trim");
    struct fl_options all = {.retain_bytes = SIZE_MAX, .reserve_bytes = (size_t)1 << 30};
    struct fl_options least = {.retain_bytes = 1, .reserve_bytes = (size_t)1 << 30};
    struct fl_options bounded = {.limit_bytes = LIMIT_BYTES,
                                 .retain_bytes = (size_t)1 << 20,
                                 .reserve_bytes = (size_t)1 << 30,
                                 .on_pressure = relieve,
                                 .context = &limited};
    struct fl_options few = {
        .limit_bytes = NARROW_BYTES, .retain_bytes = NARROW_BYTES, .reserve_bytes = (size_t)1 << 30};
    asked = stress_heap_create(&all);
    eager = stress_heap_create(&least);
    limited = stress_heap_create(&bounded);
    narrow = stress_heap_create(&few);
    struct stress_rng rng = stress_rng_make(args.seed, 2000);
    place_witnesses(&rng);

    pthread_t onlooker, swinger;
    stress_thread_start(&onlooker, look_on, &args);
    stress_thread_start(&swinger, swing, &args);
    stress_run(&args, work, NULL);
    stress_thread_join(onlooker);
    stress_thread_join(swinger);

    printf("%lu waves, %lu trims gave back %zu MiB, %lu refusals, %lu relieved\n", atomic_load(&waves),
           atomic_load(&trims), atomic_load(&trimmed) >> 20, atomic_load(&refusals), atomic_load(&reliefs));
    release_witnesses();
    stress_heap_finish(asked);
    stress_heap_finish(eager);
    stress_heap_finish(limited);
    stress_heap_finish(narrow);
    return 0;
}
