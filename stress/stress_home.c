/* SPDX-License-Identifier: MIT
 *
 * Homes that are used by everybody at once.
 *
 * Each worker lives many lives, each on a thread and a handle of its own. In a life it
 *
 *     makes     blocks of one size, and puts them into mailboxes; what lay there is freed, whoever made it
 *     bursts    allocates more of a size than it can keep, and frees them in another order
 *     flushes, goes offline for a while, or trims the heap
 *     ends      by a detach, or by the exit of its thread with the handle attached
 *
 * so that blocks come home from other threads, slabs are adopted from homes whose threads have flushed, are offline or
 * have exited, homes change their owners, and trims take slabs out of them. One more thread takes statistics all the
 * time: their equations hold, and no number exceeds the heap's limit.
 *
 * Another one forks, so that the child finds threads between a magazine and the bits. In the child no block is in two
 * places: fl_heap_check finds none twice, and of many blocks of each size that the child allocates none is one of those
 * in the mailboxes. The slabs of the threads that it does not have serve it.
 *
 * Every block is filled with a pattern that is verified before it is freed.
 *
 * Smoke: 1 second. Pre-merge: 30 seconds (--seconds 30). Soak: one hour (--seconds 3600 --threads 16).
 */
#include "stress.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAILBOXES = 512, BUNDLE = 32, BURST = 3000, STEPS = 300, CHILD_BLOCKS = 400 };

#define LIMIT_BYTES ((size_t)256 << 20)

/* Small sizes go home, large ones stay in magazines. No size of its own for each call, so that threads meet. */
static const size_t sizes[] = {32, 48, 64, 112, 512, 1024, 2048, 4096, 32768};

enum { SIZES = sizeof sizes / sizeof *sizes };

/* The head of each block; what follows is filled by the key. */
struct parcel {
    size_t size;
    uint64_t key;
};

static struct stress_args args;
static struct fl_heap *heap;
static _Atomic(struct parcel *) mailboxes[MAILBOXES];
static atomic_ulong lives, forks, looks;

/* ---- Blocks. */

static struct parcel *make(struct fl_thread *thread, size_t size, uint64_t key)
{
    struct parcel *parcel = fl_alloc(thread, size);
    STRESS_REQUIRE(parcel);
    *parcel = (struct parcel){.size = size, .key = key};
    stress_fill(parcel + 1, size - sizeof *parcel, key);
    return parcel;
}

static void verify(const struct parcel *parcel, size_t size)
{
    STRESS_REQUIRE(size == 0 || parcel->size == size);
    stress_verify(parcel + 1, parcel->size - sizeof *parcel, parcel->key);
}

static void drop(struct fl_thread *thread, struct parcel *parcel)
{
    if (!parcel)
        return;
    verify(parcel, 0);
    if (parcel->key % 2 == 0)
        fl_free_sized(thread, parcel, parcel->size);
    else
        fl_free(thread, parcel);
}

static size_t any_size(struct stress_rng *rng)
{
    /* Large ones seldom: filling them takes most of a run's time. */
    return sizes[stress_below(rng, stress_one_in(rng, 16) ? SIZES : SIZES - 3)];
}

/* ---- A life. */

struct life {
    struct fl_thread *thread;
    struct stress_rng rng;
    unsigned worker;
    uint64_t sequence;
    struct parcel *burst[BURST];
};

static uint64_t next_key(struct life *life)
{
    return stress_key(life->worker, life->sequence++);
}

static struct parcel *swap(struct life *life, struct parcel *parcel)
{
    return atomic_exchange_explicit(&mailboxes[stress_below(&life->rng, MAILBOXES)], parcel, memory_order_acq_rel);
}

/* Puts new blocks into mailboxes, or none; frees what lay there. */
static void exchange(struct life *life)
{
    size_t size = any_size(&life->rng);
    bool empty = stress_one_in(&life->rng, 3);
    for (unsigned i = 0; i < BUNDLE; i++)
        drop(life->thread, swap(life, empty ? NULL : make(life->thread, size, next_key(life))));
}

static void shuffle(struct life *life, size_t count)
{
    for (size_t i = count; i-- > 1;) {
        size_t j = stress_below(&life->rng, i + 1);
        struct parcel *swapped = life->burst[i];
        life->burst[i] = life->burst[j];
        life->burst[j] = swapped;
    }
}

static void burst(struct life *life)
{
    size_t size = any_size(&life->rng), count = 1 + stress_below(&life->rng, size > 2048 ? BURST / 50 : BURST);
    for (size_t i = 0; i < count; i++)
        life->burst[i] = make(life->thread, size, next_key(life));
    if (stress_one_in(&life->rng, 2))
        shuffle(life, count);
    for (size_t i = 0; i < count; i++)
        drop(life->thread, life->burst[i]);
}

static void nap(struct stress_rng *rng)
{
    nanosleep(&(struct timespec){.tv_nsec = (long)stress_below(rng, 200000)}, NULL);
}

static void be_offline(struct life *life)
{
    fl_thread_offline(life->thread);
    nap(&life->rng);
    fl_thread_online(life->thread);
}

static void step(struct life *life)
{
    switch (stress_below(&life->rng, 64)) {
    case 0:
        fl_thread_flush(life->thread);
        break;
    case 1:
    case 2:
        be_offline(life);
        break;
    case 3:
        fl_heap_trim(heap, stress_one_in(&life->rng, 2) ? 0 : (size_t)1 << 20);
        break;
    case 4:
    case 5:
        burst(life);
        break;
    default:
        exchange(life);
    }
}

static void *live(void *argument)
{
    struct life *life = argument;
    life->thread = stress_attach(heap);
    for (size_t left = stress_below(&life->rng, STEPS); left > 0 && !stress_stopped(); left--)
        step(life);
    if (stress_one_in(&life->rng, 2))
        stress_detach(life->thread);
    return NULL; /* or exits attached */
}

static void work(struct stress_worker *worker)
{
    static __thread struct life life;
    life.rng = worker->rng;
    life.worker = worker->index;
    while (!stress_stopped()) {
        pthread_t id;
        stress_thread_start(&id, live, &life);
        stress_thread_join(id);
        atomic_fetch_add_explicit(&lives, 1, memory_order_relaxed);
    }
}

/* ---- The onlooker. */

static void look(const struct fl_stats *stats)
{
    STRESS_REQUIRE(stats->slab_bytes + stats->idle_bytes + stats->retired_bytes <= LIMIT_BYTES);
    STRESS_REQUIRE(stats->live_bytes + stats->cached_bytes + stats->pooled_bytes + stats->parked_bytes <=
                   stats->slab_bytes);
    STRESS_REQUIRE(stats->threads <= args.threads + 1);
    for (unsigned i = 1; i < FL_CLASS_COUNT; i++) {
        const struct fl_class_stats *class = &stats->classes[i];
        STRESS_REQUIRE(class->carved == class->live + class->cached + class->pooled + class->parked);
    }
}

static void *look_on(void *argument)
{
    (void)argument;
    struct stress_rng rng = stress_rng_make(args.seed, 2000);
    while (!stress_stopped()) {
        struct fl_stats stats;
        fl_heap_stats(heap, &stats);
        look(&stats);
        nap(&rng);
        atomic_fetch_add_explicit(&looks, 1, memory_order_relaxed);
    }
    return NULL;
}

/* ---- The one that forks. */

static struct parcel *fresh[SIZES][CHILD_BLOCKS];

static void verify_mailboxes(void)
{
    for (unsigned i = 0; i < MAILBOXES; i++) {
        const struct parcel *parcel = atomic_load_explicit(&mailboxes[i], memory_order_acquire);
        if (parcel)
            verify(parcel, 0);
    }
}

static void drop_mailboxes(struct fl_thread *thread)
{
    for (unsigned i = 0; i < MAILBOXES; i++)
        drop(thread, atomic_exchange_explicit(&mailboxes[i], NULL, memory_order_acquire));
}

static void child(struct fl_thread *thread)
{
    stress_heap_check(heap);
    for (unsigned s = 0; s < SIZES; s++)
        for (unsigned i = 0; i < CHILD_BLOCKS; i++)
            fresh[s][i] = make(thread, sizes[s], stress_key(1000 + s, i));
    stress_heap_check(heap);
    verify_mailboxes();
    for (unsigned s = 0; s < SIZES; s++)
        for (unsigned i = 0; i < CHILD_BLOCKS; i++) {
            verify(fresh[s][i], sizes[s]);
            drop(thread, fresh[s][i]);
        }
    drop_mailboxes(thread);
    stress_detach(thread);
    stress_heap_check(heap);
    fl_heap_trim(heap, 0);
    stress_heap_check(heap);
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    STRESS_REQUIRE(stats.cached_bytes + stats.pooled_bytes == 0);
}

static void *fork_on(void *argument)
{
    (void)argument;
    struct stress_rng rng = stress_rng_make(args.seed, 1000);
    struct fl_thread *thread = stress_attach(heap);
    while (!stress_stopped()) {
        pid_t pid = fork();
        if (pid < 0)
            stress_fail("fork: %s", strerror(errno));
        if (pid == 0) {
            child(thread);
            _exit(0);
        }
        stress_child_await(pid);
        atomic_fetch_add_explicit(&forks, 1, memory_order_relaxed);
        nap(&rng);
    }
    stress_detach(thread);
    return NULL;
}

int main(int argc, char **argv)
{
    args = stress_parse(argc, argv, "stress_home");
    struct fl_options options = {.limit_bytes = LIMIT_BYTES, .reserve_bytes = (size_t)1 << 30};
    heap = stress_heap_create(&options);
    pthread_t onlooker, forker;
    stress_thread_start(&onlooker, look_on, NULL);
    stress_thread_start(&forker, fork_on, NULL);
    stress_run(&args, work, NULL);
    stress_thread_join(onlooker);
    stress_thread_join(forker);
    struct fl_thread *thread = stress_attach(heap);
    drop_mailboxes(thread);
    stress_detach(thread);
    printf("%lu lives, %lu forks, %lu looks\n", atomic_load(&lives), atomic_load(&forks), atomic_load(&looks));
    stress_heap_finish(heap);
    return 0;
}
