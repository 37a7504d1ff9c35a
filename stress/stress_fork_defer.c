/* SPDX-License-Identifier: MIT
 *
 * Forks out of a process whose threads defer, read, trim and wait for grace periods of bp or of qsbr.
 *
 * Workers replace blocks in slots of one heap and defer what they took out, read in sections, wait for barriers, and
 * let slabs of another heap, one with stale readers, be retired. Now and then one of them forks, outside of any
 * section. The child has only that thread, and whatever waited for a grace period at that moment waits there too. The
 * child
 *
 *   - finds both heaps consistent (fl_heap_check), and the blocks that are its own unharmed;
 *   - with bp: defers, and a barrier leaves nothing deferred; trims; reads in sections; does all that on a thread of
 *   its own
 *     as well, and now and then in a child of the child;
 *   - with qsbr: can defer, but a barrier says -ENOTSUP, and all that is deferred stays so; a trim returns; nothing
 *     that was deferred is handed out; the heap cannot be destroyed until nothing waits;
 *   - goes on allocating: no block may be handed out that is in use, which the patterns show.
 *
 * In between the main thread stops every worker outside of the library and forks after fl_heap_fork_stopped. That
 * child owns everything, and when it has freed or deferred all blocks nothing is live and nothing is lost.
 *
 * As in stress_fork no worker calls malloc, and a child that hangs is killed and reported after a minute.
 *
 * Smoke: 1 second. Pre-merge: 30 seconds (--seconds 30), with --grace bp and with --grace qsbr. Soak: one hour
 * (--seconds 3600 --threads 16).
 */
#include "stress.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { HELD = 100, SLOTS = 64, STEADY = 200, CHILD_BLOCKS = 1500, TYPED = 400 };

struct worker {
    pthread_t id;
    struct stress_rng rng;
    uint64_t sequence;
    struct fl_thread *thread, *stale_thread;
    struct stress_block held[HELD]; /* a NULL block is an empty place */
};

/* A block in a slot, filled behind this. */
struct box {
    size_t size;
    uint64_t key;
    char pattern[];
};

struct object {
    _Atomic uint64_t count;
    char rest[312];
};

static struct stress_args args;
static struct fl_heap *heap, *stale_heap;
static const struct fl_header header = {.bytes = 8, .words = 1, .clear = {{0, 8}}};
static struct fl_type type = {
    .name = "object", .size = sizeof(struct object), .kind = FL_DEALLOC_PLAIN, .header = &header};
static _Atomic(struct box *) slots[SLOTS];
static struct stress_block steady[STEADY];
static struct worker *workers;
static atomic_bool stop, pause_wanted;
static pthread_barrier_t started, paused, settled, resumed;
static atomic_ulong forks, stopped_forks, barriers;

/* ---- Work --------------------------------------------------------------------------------------------------------- */

static size_t common_size(struct stress_rng *rng)
{
    return 1 + stress_below(rng, 160);
}

/* Frees what is in the place, at once or deferred, or fills it. */
static void turn(struct worker *worker, struct stress_block *place)
{
    if (!place->block) {
        *place = stress_block_make(worker->thread, common_size(&worker->rng), worker->sequence++);
    } else if (stress_one_in(&worker->rng, 2)) {
        stress_block_verify(place);
        fl_free_deferred(worker->thread, place->block, place->size);
        place->block = NULL;
    } else {
        stress_block_drop(worker->thread, place, &worker->rng);
    }
}

static void box_verify(const struct box *box, uint64_t key)
{
    STRESS_REQUIRE(box->key == key);
    stress_verify(box->pattern, box->size - sizeof *box, key);
}

static void replace(struct worker *worker)
{
    struct box *box = NULL;
    if (!stress_one_in(&worker->rng, 4)) {
        size_t size = sizeof *box + common_size(&worker->rng);
        box = fl_alloc(worker->thread, size);
        STRESS_REQUIRE(box);
        box->size = size;
        box->key = worker->sequence++;
        stress_fill(box->pattern, size - sizeof *box, box->key);
    }
    box = atomic_exchange_explicit(&slots[stress_below(&worker->rng, SLOTS)], box, memory_order_acq_rel);
    if (!box)
        return;
    box_verify(box, box->key);
    fl_free_deferred(worker->thread, box, box->size);
}

static void read_section(struct worker *worker)
{
    fl_read_lock(worker->thread);
    const struct box *box = atomic_load_explicit(&slots[stress_below(&worker->rng, SLOTS)], memory_order_acquire);
    uint64_t key = box ? box->key : 0;
    for (unsigned rounds = 3; box && rounds > 0; rounds--) {
        box_verify(box, key);
        sched_yield();
    }
    fl_read_unlock(worker->thread);
}

/* Objects of the heap with stale readers, enough for slabs to be retired. */
static void wave(struct worker *worker)
{
    struct object *objects[TYPED];
    for (unsigned i = 0; i < TYPED; i++) {
        objects[i] = fl_type_alloc(worker->stale_thread, &type);
        STRESS_REQUIRE(objects[i]);
        atomic_store_explicit(&objects[i]->count, i + 1, memory_order_relaxed);
        memset(objects[i]->rest, (int)i, sizeof objects[i]->rest);
    }
    for (unsigned i = 0; i < TYPED; i++) {
        STRESS_REQUIRE(atomic_load_explicit(&objects[i]->count, memory_order_relaxed) == i + 1);
        STRESS_REQUIRE(objects[i]->rest[0] == (char)i && objects[i]->rest[sizeof objects[i]->rest - 1] == (char)i);
        if (i % 2)
            fl_dealloc(worker->stale_thread, objects[i], &type);
        else
            fl_dealloc_deferred(worker->stale_thread, objects[i], &type);
    }
    fl_thread_flush(worker->stale_thread);
}

static void quiescent(struct worker *worker)
{
    fl_quiescent(worker->thread);
    fl_quiescent(worker->stale_thread);
}

static void step(struct worker *worker)
{
    turn(worker, &worker->held[stress_below(&worker->rng, HELD)]);
    replace(worker);
    if (stress_one_in(&worker->rng, 4))
        read_section(worker);
    if (stress_one_in(&worker->rng, 8))
        quiescent(worker);
    if (stress_one_in(&worker->rng, 50))
        fl_thread_flush(worker->thread);
    if (stress_one_in(&worker->rng, 200))
        wave(worker);
    if (stress_one_in(&worker->rng, 500))
        fl_heap_trim(stale_heap, 0);
    if (stress_one_in(&worker->rng, 500)) {
        STRESS_REQUIRE(fl_heap_barrier(heap) == 0);
        atomic_fetch_add_explicit(&barriers, 1, memory_order_relaxed);
    }
}

/* ---- The child ------------------------------------------------------------------------------------------------------ */

static struct stress_block fresh[CHILD_BLOCKS];

static size_t deferred_bytes(struct fl_heap *of)
{
    struct fl_stats stats;
    fl_heap_stats(of, &stats);
    return stats.deferred_bytes;
}

static void verify_all(const struct stress_block *blocks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (blocks[i].block)
            stress_block_verify(&blocks[i]);
    }
}

/* Drops blocks, every other one deferred. Returns how many were deferred. */
static size_t drop_all(struct worker *worker, struct stress_block *blocks, size_t count)
{
    size_t deferred = 0;
    for (size_t i = 0; i < count; i++) {
        if (!blocks[i].block)
            continue;
        if (i % 2) {
            stress_block_drop(worker->thread, &blocks[i], &worker->rng);
            continue;
        }
        stress_block_verify(&blocks[i]);
        fl_free_deferred(worker->thread, blocks[i].block, blocks[i].size);
        blocks[i].block = NULL;
        deferred++;
    }
    return deferred;
}

static void fill_fresh(struct worker *worker)
{
    for (unsigned i = 0; i < CHILD_BLOCKS; i++)
        fresh[i] = stress_block_make(worker->thread, common_size(&worker->rng), stress_key(2000, i));
}

/* What a barrier does in a child: all of it, or nothing. */
static void child_barrier(void)
{
    if (args.grace == FL_GRACE_BP) {
        stress_barrier(heap);
        return;
    }
    size_t before = deferred_bytes(heap);
    int result = fl_heap_barrier(heap);
    if (result != (before > 0 ? -ENOTSUP : 0))
        stress_fail("fl_heap_barrier in a child of qsbr with %zu bytes deferred: %s", before, strerror(-result));
    STRESS_REQUIRE(deferred_bytes(heap) == before);
}

static void go_on(struct worker *worker)
{
    fill_fresh(worker);
    for (unsigned i = 0; i < 300; i++) {
        turn(worker, &worker->held[stress_below(&worker->rng, HELD)]);
        if (i % 16 == 0)
            quiescent(worker);
    }
    fl_read_lock(worker->thread);
    verify_all(fresh, CHILD_BLOCKS);
    fl_read_unlock(worker->thread);
    size_t before = deferred_bytes(heap);
    size_t deferred = drop_all(worker, fresh, CHILD_BLOCKS);
    if (args.grace == FL_GRACE_QSBR)
        STRESS_REQUIRE(deferred_bytes(heap) >= before + 16 * deferred);
    quiescent(worker);
    child_barrier();
    fill_fresh(worker);
    verify_all(steady, STEADY);
    verify_all(worker->held, HELD);
    drop_all(worker, fresh, CHILD_BLOCKS);
    wave(worker);
    fl_heap_trim(stale_heap, 0);
}

/* A thread of the child, which exits attached and with deferred blocks. */
static void *child_thread(void *argument)
{
    struct worker *worker = argument;
    struct worker own = {
        .rng = worker->rng, .thread = stress_attach(heap), .stale_thread = stress_attach(stale_heap)};
    own.sequence = stress_key(3000, 0);
    go_on(&own);
    drop_all(&own, own.held, HELD);
    return NULL;
}

static void run_child_thread(struct worker *worker)
{
    pthread_t id;
    fl_thread_offline(worker->thread);
    fl_thread_offline(worker->stale_thread);
    stress_thread_start(&id, child_thread, worker);
    stress_thread_join(id);
    fl_thread_online(worker->stale_thread);
    fl_thread_online(worker->thread);
}

/* With bp a heap goes; with qsbr it stays if readers may be looking at what it holds. Handles that were offline are
 * still attached in the child. */
static void destroy(struct fl_heap *which)
{
    stress_heap_check(which);
    struct fl_stats stats;
    fl_heap_stats(which, &stats);
    if (stats.threads > 0)
        return;
    bool waits = args.grace == FL_GRACE_QSBR && (which == stale_heap || deferred_bytes(which) > 0);
    int result = fl_heap_destroy(which);
    if (result != (waits ? -ENOTSUP : 0))
        stress_fail("fl_heap_destroy in the child: %s", strerror(-result));
}

static void fork_child(struct worker *worker, void (*body)(struct worker *));

static void child(struct worker *worker)
{
    stress_heap_check(heap);
    stress_heap_check(stale_heap);
    go_on(worker);
    run_child_thread(worker);
    child_barrier();
    stress_heap_check(heap);
    stress_heap_check(stale_heap);
    if (stress_one_in(&worker->rng, 8))
        fork_child(worker, child);
    drop_all(worker, worker->held, HELD);
    stress_detach(worker->thread);
    stress_detach(worker->stale_thread);
    child_barrier();
    destroy(heap);
    destroy(stale_heap);
}

/* The child of a stopped world has everybody's blocks. */
static void stopped_child(struct worker *self)
{
    stress_heap_check(heap);
    go_on(self);
    drop_all(self, self->held, HELD);
    for (unsigned i = 0; i < args.threads; i++)
        drop_all(self, workers[i].held, HELD);
    drop_all(self, steady, STEADY);
    for (unsigned i = 0; i < SLOTS; i++) {
        struct box *box = atomic_load_explicit(&slots[i], memory_order_relaxed);
        if (!box)
            continue;
        box_verify(box, box->key);
        fl_free_deferred(self->thread, box, box->size);
    }
    stress_detach(self->thread);
    stress_detach(self->stale_thread);
    child_barrier();
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    STRESS_REQUIRE(stats.live_blocks == 0 && stats.lost_bytes == 0);
    fl_heap_stats(stale_heap, &stats);
    STRESS_REQUIRE(stats.live_blocks == 0 && stats.lost_bytes == 0);
    destroy(heap);
    destroy(stale_heap);
}

/* ---- Forking ---------------------------------------------------------------------------------------------------------- */

/* Waits for the child as for anything that blocks: offline. */
static void fork_child(struct worker *worker, void (*body)(struct worker *))
{
    pid_t pid = fork();
    if (pid < 0)
        stress_fail("fork: %s", strerror(errno));
    if (pid == 0) {
        body(worker);
        _exit(0);
    }
    fl_thread_offline(worker->thread);
    fl_thread_offline(worker->stale_thread);
    stress_child_await(pid);
    fl_thread_online(worker->thread);
    fl_thread_online(worker->stale_thread);
}

/* ---- The threads -------------------------------------------------------------------------------------------------------- */

static void enter(struct worker *worker, unsigned number)
{
    worker->rng = stress_rng_make(args.seed, number);
    worker->sequence = stress_key(number, 0);
    worker->thread = stress_attach(heap);
    worker->stale_thread = stress_attach(stale_heap);
}

static void leave(struct worker *worker)
{
    drop_all(worker, worker->held, HELD);
    stress_detach(worker->thread);
    stress_detach(worker->stale_thread);
}

static void wait_offline(struct worker *worker, pthread_barrier_t *barrier)
{
    fl_thread_offline(worker->thread);
    fl_thread_offline(worker->stale_thread);
    pthread_barrier_wait(barrier);
    fl_thread_online(worker->thread);
    fl_thread_online(worker->stale_thread);
}

/* Until all have paused some may be waiting for a grace period. After that, half of them are online as the fork finds
 * them. */
static void pause_worker(struct worker *worker)
{
    wait_offline(worker, &paused);
    pthread_barrier_wait(&settled);
    if (stress_one_in(&worker->rng, 2))
        wait_offline(worker, &resumed);
    else
        pthread_barrier_wait(&resumed);
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    enter(worker, (unsigned)(worker - workers));
    wait_offline(worker, &started);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        step(worker);
        if (stress_one_in(&worker->rng, STRESS_SANITIZED ? 2000 : 8000)) {
            fork_child(worker, child);
            atomic_fetch_add_explicit(&forks, 1, memory_order_relaxed);
        }
        if (atomic_load_explicit(&pause_wanted, memory_order_relaxed))
            pause_worker(worker);
    }
    leave(worker);
    return NULL;
}

/* Stops the world, forks and lets it go on. */
static void fork_stopped(struct worker *self)
{
    atomic_store_explicit(&pause_wanted, true, memory_order_relaxed);
    pthread_barrier_wait(&paused);
    atomic_store_explicit(&pause_wanted, false, memory_order_relaxed);
    pthread_barrier_wait(&settled);
    fl_thread_online(self->thread);
    fl_thread_online(self->stale_thread);
    fl_heap_fork_stopped(heap);
    fl_heap_fork_stopped(stale_heap);
    fork_child(self, stopped_child);
    fl_thread_offline(self->thread);
    fl_thread_offline(self->stale_thread);
    atomic_fetch_add_explicit(&stopped_forks, 1, memory_order_relaxed);
    pthread_barrier_wait(&resumed);
}

static void run(struct worker *self)
{
    workers = calloc(args.threads, sizeof *workers);
    STRESS_REQUIRE(workers);
    pthread_barrier_init(&started, NULL, args.threads + 1);
    pthread_barrier_init(&paused, NULL, args.threads + 1);
    pthread_barrier_init(&settled, NULL, args.threads + 1);
    pthread_barrier_init(&resumed, NULL, args.threads + 1);
    fl_thread_offline(self->thread);
    fl_thread_offline(self->stale_thread);
    for (unsigned i = 0; i < args.threads; i++)
        stress_thread_start(&workers[i].id, work, &workers[i]);
    pthread_barrier_wait(&started);
    double end = stress_now() + args.seconds;
    do {
        fork_stopped(self);
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    } while (stress_now() < end);
    atomic_store_explicit(&stop, true, memory_order_relaxed);
    for (unsigned i = 0; i < args.threads; i++)
        stress_thread_join(workers[i].id);
    free(workers);
    fl_thread_online(self->thread);
    fl_thread_online(self->stale_thread);
}

int main(int argc, char **argv)
{
    args = stress_parse(argc, argv, "stress_fork_defer");
    STRESS_REQUIRE(args.grace != FL_GRACE_HOST);
    struct fl_options options = {.reserve_bytes = (size_t)256 << 20,
                                 .magazine_blocks = 16,
                                 .grace = args.grace,
                                 .stall_seconds = STRESS_CHILD_SECONDS};
    heap = stress_heap_create(&options);
    options.header = &header;
    stale_heap = stress_heap_create(&options);
    STRESS_REQUIRE(fl_type_ready(&type, NULL, NULL, 0) == 0);
    struct worker self = {0};
    enter(&self, args.threads);
    for (unsigned i = 0; i < STEADY; i++)
        steady[i] = stress_block_make(self.thread, common_size(&self.rng), stress_key(1000, i));
    run(&self);

    printf("%lu forks amid work, %lu in a stopped world, %lu barriers\n", atomic_load(&forks),
           atomic_load(&stopped_forks), atomic_load(&barriers));
    for (unsigned i = 0; i < SLOTS; i++) {
        struct box *box = atomic_load_explicit(&slots[i], memory_order_relaxed);
        if (box)
            fl_free_deferred(self.thread, box, box->size);
    }
    drop_all(&self, steady, STEADY);
    leave(&self);
    stress_barrier(heap);
    stress_barrier(stale_heap);
    stress_heap_finish(heap);
    stress_heap_finish(stale_heap);
    return 0;
}
