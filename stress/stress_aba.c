/* SPDX-License-Identifier: MIT
 *
 * Many threads on one size class with magazines of two, so that nearly every call exchanges a magazine and the same
 * few magazines go round the pool's stacks as fast as they can: what an ABA error in push or pop needs.
 *
 * An ABA error needs a thread that stops between two instructions while the others turn the stack over. One more
 * thread sees to that: its signals make the others sleep for a moment wherever they are.
 *
 * The first word of every block is a stamp: 0 while it is free, its owner while it is in use. A fresh block is zero
 * and the freelist never writes a free one, so whoever allocates must find 0 and whoever frees must find himself;
 * a block handed out twice shows at once. The stamps are exchanged relaxed: they order nothing that the pool does
 * not order itself, so that ThreadSanitizer judges the pool by the payload behind the stamp.
 *
 * A lost magazine shows at the end, where every block must be back, and at the latest when the heap comes to its limit:
 * of one that has lost none there are always blocks left.
 *
 * Smoke: 1 second. Pre-merge: 30 seconds (--seconds 30). Soak: one hour (--seconds 3600 --threads 16).
 */
#include "stress.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* The blocks are large, so that they go through the pool in magazines. A heap that retains one block for each thread lets
 * none keep a magazine to itself beyond its cache. The limit leaves the caches the room of both magazines. */
enum { BLOCK_BYTES = 4096, HELD_MAX = 5, RETAIN_PER_THREAD = BLOCK_BYTES, LIMIT_PER_THREAD = 4 << 20 };

/* Each thread exchanges far more often than this, in a second and on an emulated processor, too. */
enum { EXCHANGES_PER_THREAD = 100 };

struct stamped {
    _Atomic uint64_t owner;
    unsigned char payload[8];
};

struct held {
    struct stamped *block;
    uint64_t key;
};

static void take(struct fl_thread *thread, struct held *held, uint64_t key)
{
    held->block = fl_alloc(thread, BLOCK_BYTES);
    held->key = key;
    STRESS_REQUIRE(held->block);
    uint64_t before = atomic_exchange_explicit(&held->block->owner, key, memory_order_relaxed);
    if (before != 0)
        stress_fail("block %p was handed out to %#" PRIx64 " while %#" PRIx64 " has it", (void *)held->block, key,
                    before);
    stress_fill(held->block->payload, sizeof held->block->payload, key);
}

static void give(struct fl_thread *thread, const struct held *held)
{
    stress_verify(held->block->payload, sizeof held->block->payload, held->key);
    uint64_t before = atomic_exchange_explicit(&held->block->owner, 0, memory_order_relaxed);
    if (before != held->key)
        stress_fail("block %p of %#" PRIx64 " belongs to %#" PRIx64 " too", (void *)held->block, held->key, before);
    fl_free_sized(thread, held->block, BLOCK_BYTES);
}

struct arena {
    struct fl_heap *heap;
    const struct stress_args *args;
    pthread_t *workers;
    atomic_uint ready; /* workers */
    atomic_bool quiet; /* no more signals come */
};

static void nap(long nanoseconds)
{
    nanosleep(&(struct timespec){.tv_nsec = nanoseconds}, NULL);
}

static void work(struct stress_worker *worker)
{
    struct arena *arena = worker->shared;
    struct fl_thread *thread = stress_attach(arena->heap);
    struct held held[HELD_MAX];
    arena->workers[worker->index] = pthread_self();
    atomic_fetch_add_explicit(&arena->ready, 1, memory_order_release);
    for (uint64_t sequence = 0; !stress_stopped();) {
        unsigned count = 1 + (unsigned)stress_below(&worker->rng, HELD_MAX);
        for (unsigned i = 0; i < count; i++)
            take(thread, &held[i], stress_key(worker->index, sequence++));
        for (unsigned i = 0; i < count; i++)
            give(thread, &held[i]);
    }
    stress_detach(thread);
    while (!atomic_load_explicit(&arena->quiet, memory_order_acquire))
        nap(100000);
}

static void pause_here(int signal)
{
    (void)signal;
    nap(1000);
}

/* Stops one worker after the other, wherever it is. */
static void *disturb(void *argument)
{
    struct arena *arena = argument;
    struct stress_rng rng = stress_rng_make(arena->args->seed, 1000);
    while (atomic_load_explicit(&arena->ready, memory_order_acquire) < arena->args->threads)
        nap(100000);
    while (!stress_stopped()) {
        pthread_kill(arena->workers[stress_below(&rng, arena->args->threads)], SIGUSR1);
        nap((long)stress_below(&rng, 20000));
    }
    atomic_store_explicit(&arena->quiet, true, memory_order_release);
    return NULL;
}

static void run(const struct stress_args *args, struct fl_heap *heap)
{
    struct arena arena = {.heap = heap, .args = args, .workers = calloc(args->threads, sizeof(pthread_t))};
    STRESS_REQUIRE(arena.workers);
    signal(SIGUSR1, pause_here);
    pthread_t disturber;
    stress_thread_start(&disturber, disturb, &arena);
    stress_run(args, work, &arena);
    stress_thread_join(disturber);
    free(arena.workers);
}

int main(int argc, char **argv)
{
    struct stress_args args = stress_parse(argc, argv, "stress_aba");
    struct fl_options options = {.magazine_blocks = 2,
                                 .retain_bytes = (size_t)args.threads * RETAIN_PER_THREAD,
                                 .limit_bytes = (size_t)args.threads * LIMIT_PER_THREAD,
                                 .reserve_bytes = (size_t)128 << 20};
    struct fl_heap *heap = stress_heap_create(&options);
    run(&args, heap);

    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    const struct fl_class_stats *class = &stats.classes[fl_size_class(BLOCK_BYTES)];
    printf("%" PRIu64 " exchanges, %" PRIu64 " failed updates, %zu blocks\n", stats.exchanges, stats.cas_failures,
           class->carved);
    STRESS_REQUIRE(class->magazine_blocks == 2);
    STRESS_REQUIRE(stats.exchanges > (uint64_t)args.threads * EXCHANGES_PER_THREAD);
    STRESS_REQUIRE(class->carved == class->pooled + class->parked);
    stress_heap_finish(heap);
    return 0;
}
