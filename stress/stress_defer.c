/* SPDX-License-Identifier: MIT
 *
 * Deferred frees amid everything else, with the grace periods of bp, of qsbr, or of a host that the program plays.
 *
 * Blocks of two heaps lie in slots that all can see. Short-lived threads replace them, and defer what they took out;
 * others, in read-side sections, find them in the slots and verify every byte, again and again until the section
 * ends. Meanwhile the same sizes are allocated and freed at once, so that a block which comes back too early is
 * written soon. Threads pass quiescent states, go offline and online, flush, and wait for barriers; one more thread,
 * which is attached to nothing, trims and waits for barriers as well. The bound on deferred bytes is low: pressure
 * comes and goes. A thread leaves in a way drawn at random, with what it has deferred in part-full magazines:
 *
 *     detach      detaches its handles itself
 *     exit        exits with its handles attached, now and then inside a read-side section
 *     hand over   puts its handles offline and leaves them to a later thread, which puts them online and goes on
 *
 * The host that the program plays numbers its grace periods by epochs: a reader shows the epoch that it came in, and
 * the grace period that began an epoch has ended when no reader shows an earlier one. In every other run it offers no
 * wait.
 *
 * At the end a barrier leaves nothing deferred, and nothing is live or lost.
 *
 * Smoke: 1 second. Pre-merge: 30 seconds (--seconds 30), for each of --grace bp, qsbr, host. Soak: one hour (--seconds
 * 3600 --threads 16).
 */
#include "stress.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { HEAPS = 2, SLOTS = 192, HELD_MAX = 12, STEPS_MAX = 1500, HANDOVERS = 6, READERS_MAX = 256 };

/* A block in a slot. */
struct box {
    size_t size;
    uint64_t key;
    char pattern[];
};

/* A short-lived thread. */
struct life {
    struct stress_rng rng;
    uint64_t sequence;
    struct fl_thread *threads[HEAPS];
};

/* The handles that a thread leaves to another. */
struct handover {
    struct fl_thread *threads[HEAPS];
};

static struct stress_args args;
static struct fl_heap *heaps[HEAPS];
static _Atomic(struct box *) slots[HEAPS][SLOTS];
static _Atomic(struct handover *) handovers[HANDOVERS];
static atomic_ulong lives, reads, replaced, barriers, pressures;

static void count(atomic_ulong *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* ---- The host that is played -------------------------------------------------------------------------------------
 *
 * Sequentially consistent: a reader that shows its epoch too late to be seen finds the slots as they were left before
 * the grace period began. */

static atomic_int_fast64_t epoch = 1;
static struct {
    _Alignas(64) atomic_bool is_taken;
    atomic_int_fast64_t shows; /* 0 outside of sections */
} readers[READERS_MAX];
static _Thread_local unsigned reader; /* of the calling thread */

static int64_t host_begin(void *context)
{
    (void)context;
    return atomic_fetch_add(&epoch, 1) + 1;
}

static bool host_elapsed(void *context, int64_t token)
{
    (void)context;
    for (unsigned i = 0; i < READERS_MAX; i++) {
        int64_t shown = atomic_load(&readers[i].shows);
        if (shown != 0 && shown < token)
            return false;
    }
    return true;
}

static void host_wait(void *context, int64_t token)
{
    while (!host_elapsed(context, token))
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
}

static void host_thread_enter(void)
{
    for (reader = 0; atomic_exchange(&readers[reader].is_taken, true); reader++)
        STRESS_REQUIRE(reader + 1 < READERS_MAX);
}

static void host_thread_leave(void)
{
    atomic_store(&readers[reader].is_taken, false);
}

/* ---- Sections -------------------------------------------------------------------------------------------------- */

static void section_begin(struct fl_thread *thread)
{
    fl_read_lock(thread);
    if (args.grace == FL_GRACE_HOST)
        atomic_store(&readers[reader].shows, atomic_load(&epoch));
}

static void section_end(struct fl_thread *thread)
{
    if (args.grace == FL_GRACE_HOST)
        atomic_store(&readers[reader].shows, 0);
    fl_read_unlock(thread);
}

/* ---- Boxes ----------------------------------------------------------------------------------------------------- */

static size_t box_size(struct stress_rng *rng)
{
    if (stress_one_in(rng, 200))
        return FL_BLOCK_MAX + 1 + stress_below(rng, FL_BLOCK_MAX);
    return sizeof(struct box) + stress_below(rng, (uint64_t)16 << stress_below(rng, stress_one_in(rng, 8) ? 11 : 6));
}

static struct box *box_make(struct life *life, unsigned heap)
{
    size_t size = box_size(&life->rng);
    struct box *box = fl_alloc(life->threads[heap], size);
    if (!box)
        stress_fail("out of memory for %zu bytes", size);
    box->size = size;
    box->key = life->sequence++;
    stress_fill(box->pattern, size - sizeof *box, box->key);
    return box;
}

static void box_verify(const struct box *box, size_t size, uint64_t key)
{
    if (box->size != size || box->key != key)
        stress_fail("block %p of %zu bytes became another of %zu inside a section", (const void *)box, size,
                    box->size);
    stress_verify(box->pattern, size - sizeof *box, key);
}

static void box_defer(struct fl_thread *thread, struct box *box)
{
    box_verify(box, box->size, box->key);
    fl_free_deferred(thread, box, box->size);
}

/* ---- What a thread does ------------------------------------------------------------------------------------------ */

static void rest(struct stress_rng *rng)
{
    if (stress_one_in(rng, 8))
        nanosleep(&(struct timespec){.tv_nsec = (long)stress_below(rng, 200000)}, NULL);
    else
        sched_yield();
}

static void replace(struct life *life, unsigned heap)
{
    struct box *box = stress_one_in(&life->rng, 8) ? NULL : box_make(life, heap);
    box = atomic_exchange(&slots[heap][stress_below(&life->rng, SLOTS)], box);
    if (box)
        box_defer(life->threads[heap], box);
    count(&replaced);
}

static void read_section(struct life *life)
{
    struct {
        const struct box *box;
        size_t size;
        uint64_t key;
    } held[HELD_MAX];
    unsigned found = 0;
    struct fl_thread *thread = life->threads[stress_below(&life->rng, HEAPS)];
    section_begin(thread);
    for (unsigned tries = HELD_MAX; tries > 0; tries--) {
        const struct box *box = atomic_load(&slots[stress_below(&life->rng, HEAPS)][stress_below(&life->rng, SLOTS)]);
        if (!box)
            continue;
        held[found].box = box;
        held[found].size = box->size;
        held[found++].key = box->key;
    }
    for (unsigned rounds = 1 + (unsigned)stress_below(&life->rng, 3); rounds > 0; rounds--) {
        for (unsigned i = 0; i < found; i++)
            box_verify(held[i].box, held[i].size, held[i].key);
        if (stress_one_in(&life->rng, 8))
            replace(life, (unsigned)stress_below(&life->rng, HEAPS));
        rest(&life->rng);
    }
    section_end(thread);
    count(&reads);
}

/* Allocates, and frees at once, what may have been deferred before. */
static void churn(struct life *life, unsigned heap)
{
    struct box *boxes[16];
    for (unsigned i = 0; i < 16; i++)
        boxes[i] = box_make(life, heap);
    for (unsigned i = 0; i < 16; i++) {
        box_verify(boxes[i], boxes[i]->size, boxes[i]->key);
        fl_free_sized(life->threads[heap], boxes[i], boxes[i]->size);
    }
}

static void await_barrier(struct fl_heap *heap)
{
    int result = fl_heap_barrier(heap);
    if (result && !(result == -EAGAIN && args.grace == FL_GRACE_HOST))
        stress_fail("fl_heap_barrier: %s", strerror(-result));
    count(&barriers);
}

static void go_offline(struct life *life)
{
    for (unsigned i = 0; i < HEAPS; i++)
        fl_thread_offline(life->threads[i]);
    rest(&life->rng);
    for (unsigned i = HEAPS; i-- > 0;)
        fl_thread_online(life->threads[i]);
}

/* What an interpreter does at its eval breaker. */
static void relieve(struct life *life)
{
    for (unsigned i = 0; i < HEAPS; i++) {
        if (__atomic_load_n(fl_heap_pressure(heaps[i]), __ATOMIC_RELAXED))
            fl_quiescent(life->threads[i]);
    }
}

static void step(struct life *life)
{
    unsigned heap = (unsigned)stress_below(&life->rng, HEAPS);
    unsigned choice = (unsigned)stress_below(&life->rng, 256);
    if (choice < 150)
        replace(life, heap);
    else if (choice < 180)
        read_section(life);
    else if (choice < 210)
        churn(life, heap);
    else if (choice < 245)
        fl_quiescent(life->threads[heap]);
    else if (choice < 250)
        go_offline(life);
    else if (choice < 255)
        fl_thread_flush(life->threads[heap]);
    else
        await_barrier(heaps[heap]);
    relieve(life);
}

/* ---- How a thread comes and goes ---------------------------------------------------------------------------------- */

static void come(struct life *life)
{
    if (args.grace == FL_GRACE_HOST)
        host_thread_enter();
    struct handover *left = atomic_exchange(&handovers[stress_below(&life->rng, HANDOVERS)], NULL);
    for (unsigned i = 0; i < HEAPS; i++) {
        life->threads[i] = left ? left->threads[i] : stress_attach(heaps[i]);
        if (left)
            fl_thread_online(life->threads[i]);
    }
    free(left);
}

static void detach_all(struct fl_thread **threads)
{
    for (unsigned i = 0; i < HEAPS; i++)
        stress_detach(threads[i]);
}

static void hand_over(struct life *life)
{
    struct handover *left = malloc(sizeof *left);
    STRESS_REQUIRE(left);
    for (unsigned i = 0; i < HEAPS; i++) {
        fl_thread_offline(life->threads[i]);
        left->threads[i] = life->threads[i];
    }
    left = atomic_exchange(&handovers[stress_below(&life->rng, HANDOVERS)], left);
    if (left)
        detach_all(left->threads);
    free(left);
}

static void go(struct life *life)
{
    switch (stress_below(&life->rng, 4)) {
    case 0:
        detach_all(life->threads);
        break;
    case 1:
        hand_over(life);
        break;
    case 2:
        if (args.grace != FL_GRACE_HOST)
            fl_read_lock(life->threads[0]);
        break;
    default:
        break;
    }
    if (args.grace == FL_GRACE_HOST)
        host_thread_leave();
}

static void *live_and_die(void *argument)
{
    struct life *life = argument;
    come(life);
    for (uint64_t steps = stress_below(&life->rng, STEPS_MAX); steps > 0 && !stress_stopped(); steps--)
        step(life);
    go(life);
    count(&lives);
    free(life);
    return NULL;
}

static void work(struct stress_worker *worker)
{
    for (uint64_t generation = 0; !stress_stopped(); generation++) {
        struct life *life = calloc(1, sizeof *life);
        STRESS_REQUIRE(life);
        life->rng.state = stress_random(&worker->rng);
        life->sequence = stress_key(worker->index, generation << 24);
        pthread_t id;
        stress_thread_start(&id, live_and_die, life);
        stress_thread_join(id);
    }
}

/* ---- The run ------------------------------------------------------------------------------------------------------ */

static void *look_after(void *argument)
{
    (void)argument;
    for (unsigned turn = 0; !stress_stopped(); turn++) {
        struct fl_heap *heap = heaps[turn % HEAPS];
        fl_heap_trim(heap, turn % 3 ? 0 : (size_t)1 << 20);
        if (turn % 16 == 0)
            await_barrier(heap);
        struct fl_stats stats;
        fl_heap_stats(heap, &stats);
        if (stats.deferred_bytes > (size_t)1 << 40 || stats.live_bytes > (size_t)1 << 40)
            stress_fail("statistics say that %zu bytes are deferred and %zu live", stats.deferred_bytes,
                        stats.live_bytes);
        nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);
    }
    return NULL;
}

static void note_pressure(struct fl_heap *heap, size_t bytes, void *context)
{
    (void)bytes;
    STRESS_REQUIRE(context == heaps && (heap == heaps[0] || heap == heaps[1]));
    count(&pressures);
}

static void make_heaps(void)
{
    bool waits = args.seed % 2 != 0;
    struct fl_grace_host host = {.begin = host_begin, .elapsed = host_elapsed, .wait = waits ? host_wait : NULL};
    for (unsigned i = 0; i < HEAPS; i++) {
        struct fl_options options = {.grace = args.grace,
                                     .grace_host = &host,
                                     .reserve_bytes = (size_t)512 << 20,
                                     .defer_bytes = (size_t)48 << 10,
                                     .retain_bytes = i == 0 ? 1 : 0,
                                     .magazine_blocks = i == 0 ? 0 : 32,
                                     .on_deferred = note_pressure,
                                     .context = heaps};
        if (args.grace != FL_GRACE_HOST)
            options.grace_host = NULL;
        heaps[i] = stress_heap_create(&options);
    }
}

/* Takes everything out of the slots and waits until it is free. */
static void clean_up(void)
{
    for (unsigned i = 0; i < HANDOVERS; i++) {
        struct handover *left = atomic_load(&handovers[i]);
        if (left)
            detach_all(left->threads);
        free(left);
    }
    for (unsigned heap = 0; heap < HEAPS; heap++) {
        struct fl_thread *thread = stress_attach(heaps[heap]);
        for (unsigned i = 0; i < SLOTS; i++) {
            struct box *box = atomic_load(&slots[heap][i]);
            if (box)
                box_defer(thread, box);
        }
        /* All readers are gone: without a wait, too, each call takes a step. */
        for (unsigned tries = 0; tries < 4 && fl_heap_barrier(heaps[heap]) == -EAGAIN; tries++)
            fl_quiescent(thread);
        stress_barrier(heaps[heap]);
        stress_detach(thread);
    }
}

int main(int argc, char **argv)
{
    args = stress_parse(argc, argv, "stress_defer");
    STRESS_REQUIRE(args.threads < READERS_MAX);
    make_heaps();
    pthread_t looker;
    stress_thread_start(&looker, look_after, NULL);
    stress_run(&args, work, NULL);
    stress_thread_join(looker);
    clean_up();

    struct fl_stats stats;
    fl_heap_stats(heaps[0], &stats);
    printf("%lu threads, %lu sections, %lu replaced, %lu barriers, %lu pressures; first heap: %lu grace periods, %lu "
           "KiB over "
           "its bound\n",
           atomic_load(&lives), atomic_load(&reads), atomic_load(&replaced), atomic_load(&barriers),
           atomic_load(&pressures), (unsigned long)stats.grace_periods, (unsigned long)(stats.over_bytes >> 10));
    for (unsigned i = 0; i < HEAPS; i++)
        stress_heap_finish(heaps[i]);
    return 0;
}
