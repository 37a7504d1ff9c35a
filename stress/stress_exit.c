/* SPDX-License-Identifier: MIT
 *
 * Threads that come and go, in every way a thread can leave.
 *
 * Generations of short-lived threads pass parcels on through mailboxes (blocks of either of two heaps or of the
 * default heap) and each leaves in a way drawn at random:
 *
 *     detach      detaches its handles itself
 *     exit        exits with its handles attached: the library detaches them
 *     hand over   puts a handle offline and leaves it to a later thread, which puts it online and uses it on
 *     late        leaves blocks to thread-specific destructors, which free them and allocate again
 *
 * Where there is liburcu, one heap has the grace periods of qsbr and the others those of bp. Every other parcel is
 * deferred then: threads leave with part-full magazines of deferred blocks, late calls defer too, and now and then a
 * thread exits inside a read-side section.
 *
 * Destructors run by the order of their keys. One key is made before the library can have made its own and one after,
 * and the destructors set their values again and again, so they run before, after and in later rounds than the
 * library's. They use what a thread may use at that time: fl_thread_self, which serves late calls, and fl_heap_free.
 *
 * At the end nothing is live, deferred or attached in either heap, nor live in the default heap, and not one block is
 * lost.
 *
 * Smoke: 1 second. Pre-merge: 30 seconds (--seconds 30). Soak: one hour (--seconds 3600 --threads 16).
 */
#include "stress.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAPS = 2, MAILBOXES = 32, HANDOVERS = 8, LATE_MAX = 12, HANDLES_MAX = 4, STEPS_MAX = 60 };

/* A block that knows where it came from; heap NULL is the default heap. It lives in malloc'ed memory, so that what
 * the destructors do with the library is only what they are here for. */
struct parcel {
    struct fl_heap *heap;
    struct stress_block content;
    struct parcel *next;
};

static struct fl_heap *heaps[HEAPS];
static _Atomic(struct parcel *) mailboxes[MAILBOXES];
static _Atomic(struct fl_thread *) handovers[HANDOVERS];
static atomic_ulong threads_run, late_calls, deferred;
static bool defers; /* the heaps have grace periods */

/* ---- Parcels ------------------------------------------------------------------------------------------------ */

/* `thread` is a handle of `heap`; for the default heap both are asked for anew, as fl_thread_self wants it. */
static struct parcel *parcel_make(struct fl_heap *heap, struct fl_thread *thread, struct stress_rng *rng,
                                  uint64_t key)
{
    struct parcel *parcel = malloc(sizeof *parcel);
    STRESS_REQUIRE(parcel);
    size_t size = stress_size(rng);
    parcel->heap = heap;
    parcel->next = NULL;
    parcel->content = stress_block_make(heap ? thread : fl_thread_self(), size, key);
    return parcel;
}

static void drop(struct fl_thread *thread, struct stress_block *block, struct stress_rng *rng)
{
    if (!defers || stress_one_in(rng, 2)) {
        stress_block_drop(thread, block, rng);
        return;
    }
    stress_block_verify(block);
    fl_free_deferred(thread, block->block, block->size);
    atomic_fetch_add_explicit(&deferred, 1, memory_order_relaxed);
}

/* Frees through `thread` if that is a handle of the parcel's heap, else as an unattached thread does. */
static void parcel_open(struct parcel *parcel, struct fl_thread *thread, struct stress_rng *rng)
{
    if (!parcel->heap) {
        drop(fl_thread_self(), &parcel->content, rng);
    } else if (thread) {
        drop(thread, &parcel->content, rng);
    } else {
        stress_block_verify(&parcel->content);
        fl_heap_free(parcel->heap, parcel->content.block);
    }
    free(parcel);
}

/* ---- Late frees ----------------------------------------------------------------------------------------------- */

/* What a thread leaves to its destructors. */
struct estate {
    struct parcel *parcels;
    struct stress_rng rng;
    unsigned rounds;
    pthread_key_t key;
};

static pthread_key_t early_key, late_key;

/* Opens one parcel for each round and makes a short-lived one; asks for another round while parcels are left. */
static void estate_settle(void *argument)
{
    struct estate *estate = argument;
    unsigned count = estate->rounds > 1 ? 3 : LATE_MAX;
    for (unsigned i = 0; i < count && estate->parcels; i++) {
        struct parcel *parcel = estate->parcels;
        estate->parcels = parcel->next;
        parcel_open(parcel, NULL, &estate->rng);
        parcel = parcel_make(NULL, NULL, &estate->rng, stress_random(&estate->rng));
        parcel_open(parcel, NULL, &estate->rng);
        atomic_fetch_add_explicit(&late_calls, 1, memory_order_relaxed);
    }
    if (estate->parcels && --estate->rounds > 0) {
        pthread_setspecific(estate->key, estate);
        return;
    }
    STRESS_REQUIRE(!estate->parcels);
    free(estate);
}

static void leave_estate(pthread_key_t key, struct parcel *parcels, struct stress_rng *rng)
{
    struct estate *estate = malloc(sizeof *estate);
    STRESS_REQUIRE(estate);
    /* POSIX grants at least 4 rounds of destructors. */
    *estate = (struct estate){.parcels = parcels, .rng = {stress_random(rng)}, .rounds = 3, .key = key};
    STRESS_REQUIRE(pthread_setspecific(key, estate) == 0);
}

/* ---- A thread's life --------------------------------------------------------------------------------------------
 */

struct life {
    struct stress_rng rng;
    uint64_t sequence;
    unsigned handles;
    struct fl_thread *threads[HANDLES_MAX]; /* handles[i] is attached to home[i] */
    struct fl_heap *home[HANDLES_MAX];
};

static struct fl_thread *handle_of(const struct life *life, const struct fl_heap *heap)
{
    for (unsigned i = 0; i < life->handles; i++) {
        if (life->home[i] == heap)
            return life->threads[i];
    }
    return NULL;
}

/* Attaches up to three times, twice to one heap now and then, and takes over a handle that another thread left. */
static void begin(struct life *life)
{
    unsigned wanted = (unsigned)stress_below(&life->rng, HANDLES_MAX);
    for (; life->handles < wanted; life->handles++) {
        struct fl_heap *heap = heaps[stress_below(&life->rng, HEAPS)];
        life->home[life->handles] = heap;
        life->threads[life->handles] = stress_attach(heap);
        fl_thread_set_context(life->threads[life->handles], heap);
    }
    unsigned slot = (unsigned)stress_below(&life->rng, HANDOVERS);
    struct fl_thread *found = atomic_exchange_explicit(&handovers[slot], NULL, memory_order_acquire);
    if (found) {
        fl_thread_online(found);
        life->home[life->handles] = fl_thread_heap(found);
        life->threads[life->handles++] = found;
        STRESS_REQUIRE(fl_thread_context(found) == fl_thread_heap(found));
    }
}

/* Makes a parcel of a heap that the thread is attached to, or of the default heap. */
static struct parcel *life_parcel(struct life *life)
{
    unsigned choice = (unsigned)stress_below(&life->rng, life->handles + 1);
    if (choice == life->handles)
        return parcel_make(NULL, NULL, &life->rng, life->sequence++);
    return parcel_make(life->home[choice], life->threads[choice], &life->rng, life->sequence++);
}

static void live(struct life *life)
{
    for (unsigned steps = (unsigned)stress_below(&life->rng, STEPS_MAX); steps > 0; steps--) {
        struct parcel *parcel = life_parcel(life);
        _Atomic(struct parcel *) *mailbox = &mailboxes[stress_below(&life->rng, MAILBOXES)];
        parcel = atomic_exchange_explicit(mailbox, parcel, memory_order_acq_rel);
        if (parcel)
            parcel_open(parcel, handle_of(life, parcel->heap), &life->rng);
        if (defers && life->handles > 0 && stress_one_in(&life->rng, 16))
            fl_quiescent(life->threads[0]);
    }
}

static void detach_all(struct life *life)
{
    while (life->handles > 0)
        stress_detach(life->threads[--life->handles]);
}

/* Leaves the last handle to another thread. */
static void hand_over(struct life *life)
{
    if (life->handles == 0)
        return;
    struct fl_thread *thread = life->threads[--life->handles];
    fl_thread_offline(thread);
    unsigned slot = (unsigned)stress_below(&life->rng, HANDOVERS);
    thread = atomic_exchange_explicit(&handovers[slot], thread, memory_order_acq_rel);
    if (!thread)
        return;
    fl_thread_online(thread);
    stress_detach(thread);
}

static void bequeath(struct life *life, pthread_key_t key)
{
    struct parcel *parcels = NULL;
    for (unsigned count = (unsigned)stress_below(&life->rng, LATE_MAX); count > 0; count--) {
        struct parcel *parcel = life_parcel(life);
        parcel->next = parcels;
        parcels = parcel;
    }
    leave_estate(key, parcels, &life->rng);
}

static void end(struct life *life)
{
    if (stress_one_in(&life->rng, 2))
        bequeath(life, early_key);
    if (stress_one_in(&life->rng, 2))
        bequeath(life, late_key);
    switch (stress_below(&life->rng, 3)) {
    case 0:
        detach_all(life);
        break;
    case 1:
        hand_over(life);
        break;
    default:
        if (defers && life->handles > 0 && stress_one_in(&life->rng, 2))
            fl_read_lock(life->threads[life->handles - 1]);
        break;
    }
}

static void *live_and_die(void *argument)
{
    struct life *life = argument;
    begin(life);
    live(life);
    end(life);
    free(life);
    atomic_fetch_add_explicit(&threads_run, 1, memory_order_relaxed);
    return NULL;
}

/* Each worker is a parent that raises one child after the other, two at a time. */
static void work(struct stress_worker *worker)
{
    pthread_t children[2];
    for (uint64_t generation = 0; !stress_stopped(); generation++) {
        for (unsigned i = 0; i < 2; i++) {
            struct life *life = calloc(1, sizeof *life);
            STRESS_REQUIRE(life);
            life->rng.state = stress_random(&worker->rng);
            life->sequence = stress_key(worker->index, generation << 20 | (uint64_t)i << 16);
            stress_thread_start(&children[i], live_and_die, life);
        }
        for (unsigned i = 0; i < 2; i++)
            stress_thread_join(children[i]);
    }
}

/* ---- The end ------------------------------------------------------------------------------------------------- */

static void collect_leftovers(struct stress_rng *rng)
{
    for (unsigned i = 0; i < MAILBOXES; i++) {
        struct parcel *parcel = atomic_load_explicit(&mailboxes[i], memory_order_relaxed);
        if (parcel)
            parcel_open(parcel, NULL, rng);
    }
    for (unsigned i = 0; i < HANDOVERS; i++) {
        struct fl_thread *thread = atomic_load_explicit(&handovers[i], memory_order_relaxed);
        if (thread)
            stress_detach(thread);
    }
}

/* The default heap cannot be destroyed; all else that stress_heap_finish requires holds for it too. */
static void finish_default(void)
{
    struct fl_heap *heap = fl_heap_default();
    STRESS_REQUIRE(heap);
    fl_thread_flush(fl_thread_self());
    if (defers)
        stress_barrier(heap);
    for (unsigned pass = 0; pass < 2; pass++) {
        stress_heap_check(heap);
        struct fl_stats stats;
        fl_heap_stats(heap, &stats);
        STRESS_REQUIRE(stats.live_blocks == 0);
        STRESS_REQUIRE(stats.deferred_bytes == 0);
        STRESS_REQUIRE(stats.lost_bytes == 0);
        STRESS_REQUIRE(stats.threads <= 1);
        fl_heap_trim(heap, 0);
    }
}

static void make_heaps(void)
{
    struct fl_options options = {.grace = FL_GRACE_QSBR};
    heaps[0] = fl_heap_create(&options, NULL, 0);
    defers = heaps[0] != NULL;
    STRESS_REQUIRE(defers || errno == ENOTSUP);
    if (!defers)
        heaps[0] = stress_heap_create(NULL);
    options.grace = defers ? FL_GRACE_BP : FL_GRACE_NONE;
    heaps[1] = stress_heap_create(&options);
    STRESS_REQUIRE(setenv("FREELANE_OPTIONS", defers ? "grace=bp" : "", 1) == 0);
    STRESS_REQUIRE(fl_heap_default());
}

int main(int argc, char **argv)
{
    struct stress_args args = stress_parse(argc, argv, "stress_exit");
    STRESS_REQUIRE(pthread_key_create(&early_key, estate_settle) == 0);
    make_heaps();
    stress_detach(stress_attach(heaps[0]));
    STRESS_REQUIRE(pthread_key_create(&late_key, estate_settle) == 0);

    stress_run(&args, work, NULL);

    struct stress_rng rng = stress_rng_make(args.seed, args.threads);
    collect_leftovers(&rng);
    printf("%lu threads, %lu late calls, %lu deferred\n", atomic_load(&threads_run), atomic_load(&late_calls),
           atomic_load(&deferred));
    finish_default();
    for (unsigned i = 0; i < HEAPS; i++) {
        if (defers)
            stress_barrier(heaps[i]);
        stress_heap_finish(heaps[i]);
    }
    return 0;
}
