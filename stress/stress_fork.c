/* SPDX-License-Identifier: MIT
 *
 * Forks out of a process whose threads are busy.
 *
 * Workers allocate, free and exchange blocks of one shared heap, and now and then one of them forks. The child has
 * only the forking thread; the others are gone wherever they were, inside the library too. The child
 *
 *   - finds the shared heap consistent (fl_heap_check), and its private heap, which nobody else uses, unchanged;
 *   - finds its own blocks of the shared heap unharmed, and the steady blocks, which live as long as the process;
 *   - goes on allocating, more than the pool holds, on a thread of its own as well: no block may be handed out that
 *     is in use, which the patterns of all these blocks show;
 *   - frees all it has, detaches, and passes fl_heap_check on every heap.
 *
 * While the kernel copies the process the others go on, so what it copies early and what it copies late are of
 * different moments. A ballast of pages between the heap's records and its magazines makes that long enough to
 * matter.
 *
 * In between the main thread stops every worker outside of the library and forks after fl_heap_fork_stopped. That
 * child owns everything: nothing is lost, the counts are the parent's, and when it has freed every worker's blocks
 * nothing is live.
 *
 * No worker calls malloc while others may fork: a sanitizer's, unlike the C library's, is not whole in a child
 * forked meanwhile. Where it is in use the workers leave out the blocks that malloc backs.
 *
 * A child that hangs is killed and reported after a minute.
 *
 * Smoke: 1 second. Pre-merge: 30 seconds (--seconds 30). Soak: one hour (--seconds 3600 --threads 16).
 */
#include "stress.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { BALLAST_MIB = 64, HELD = 200, MAILBOXES = 16, STEADY = 400, CHILD_BLOCKS = 4000 };

struct worker {
    pthread_t id;
    struct stress_rng rng;
    uint64_t sequence;
    struct fl_thread *thread;         /* of the shared heap */
    struct fl_thread *private_thread; /* of the private heap */
    struct fl_heap *private;
    struct stress_block held[HELD];         /* of the shared heap; a NULL block is an empty place */
    struct stress_block private_held[HELD]; /* of the private heap */
    struct stress_block default_held;       /* of the default heap */
};

/* What a mailbox points to, so that exchanging a block is one atomic operation; a block of the shared heap too. */
struct box {
    struct stress_block content;
};

static struct stress_args args;
static struct fl_heap *shared;
static _Atomic(struct box *) mailboxes[MAILBOXES];
static struct stress_block steady[STEADY];
static struct worker *workers;
static atomic_bool stop, pause_wanted;
static pthread_barrier_t started, paused, resumed, ended;
static atomic_uint forks, stopped_forks;

/* Few classes, so that the threads meet in the same stacks. */
static size_t common_size(struct stress_rng *rng)
{
    if (!STRESS_SANITIZED && stress_one_in(rng, 500))
        return FL_BLOCK_MAX + 1 + stress_below(rng, FL_BLOCK_MAX);
    return 1 + stress_below(rng, 128);
}

/* ---- Work in the parent --------------------------------------------------------------------------------------- */

/* Frees what is in the place, or fills it. */
static void turn(struct fl_thread *thread, struct stress_block *place, struct worker *worker)
{
    if (place->block)
        stress_block_drop(thread, place, &worker->rng);
    else
        *place = stress_block_make(thread, common_size(&worker->rng), worker->sequence++);
}

static void exchange(struct worker *worker)
{
    struct stress_block *place = &worker->held[stress_below(&worker->rng, HELD)];
    struct box *box = NULL;
    if (place->block) {
        box = fl_alloc(worker->thread, sizeof *box);
        STRESS_REQUIRE(box);
        box->content = *place;
        place->block = NULL;
    }
    box = atomic_exchange_explicit(&mailboxes[stress_below(&worker->rng, MAILBOXES)], box, memory_order_acq_rel);
    if (box) {
        *place = box->content;
        fl_free_sized(worker->thread, box, sizeof *box);
    }
}

static void step(struct worker *worker)
{
    turn(worker->thread, &worker->held[stress_below(&worker->rng, HELD)], worker);
    if (stress_one_in(&worker->rng, 4))
        turn(worker->private_thread, &worker->private_held[stress_below(&worker->rng, HELD)], worker);
    if (stress_one_in(&worker->rng, 4))
        exchange(worker);
    if (stress_one_in(&worker->rng, 20))
        fl_thread_flush(worker->thread);
}

static void drop_all(struct fl_thread *thread, struct stress_block *blocks, size_t count, struct stress_rng *rng)
{
    for (size_t i = 0; i < count; i++) {
        if (blocks[i].block)
            stress_block_drop(thread, &blocks[i], rng);
    }
}

static void drop_mailboxes(struct fl_thread *thread, struct stress_rng *rng)
{
    for (unsigned i = 0; i < MAILBOXES; i++) {
        struct box *box = atomic_exchange_explicit(&mailboxes[i], NULL, memory_order_acquire);
        if (box) {
            stress_block_drop(thread, &box->content, rng);
            fl_free_sized(thread, box, sizeof *box);
        }
    }
}

/* ---- The child ------------------------------------------------------------------------------------------------ */

static void verify_all(const struct stress_block *blocks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (blocks[i].block)
            stress_block_verify(&blocks[i]);
    }
}

static void require_same_class(const struct fl_class_stats *was, const struct fl_class_stats *is)
{
    STRESS_REQUIRE(is->carved == was->carved);
    STRESS_REQUIRE(is->live == was->live);
    STRESS_REQUIRE(is->cached + is->pooled + is->parked == was->cached + was->pooled + was->parked);
    STRESS_REQUIRE(is->lost == 0);
}

/* Nothing came or went in the fork: the heap's counts are those taken before it. */
static void require_same(struct fl_heap *heap, const struct fl_stats *was)
{
    struct fl_stats is;
    fl_heap_stats(heap, &is);
    for (unsigned i = 1; i < FL_CLASS_COUNT; i++)
        require_same_class(&was->classes[i], &is.classes[i]);
    STRESS_REQUIRE(is.live_blocks == was->live_blocks);
    STRESS_REQUIRE(is.live_bytes == was->live_bytes);
    STRESS_REQUIRE(is.large_blocks == was->large_blocks);
    STRESS_REQUIRE(is.lost_bytes == 0);
}

static struct stress_block fresh[CHILD_BLOCKS];

static void *child_thread(void *argument)
{
    struct worker *worker = argument;
    struct fl_thread *thread = stress_attach(shared);
    struct stress_rng rng = worker->rng;
    for (unsigned i = CHILD_BLOCKS / 2; i < CHILD_BLOCKS; i++)
        fresh[i] = stress_block_make(thread, common_size(&rng), stress_key(2000, i));
    drop_all(thread, fresh, CHILD_BLOCKS / 4, &rng);
    return NULL; /* exits attached */
}

static void child_goes_on(struct worker *worker)
{
    for (unsigned i = 0; i < CHILD_BLOCKS / 2; i++)
        fresh[i] = stress_block_make(worker->thread, common_size(&worker->rng), stress_key(1000, i));
    for (unsigned i = 0; i < 1000; i++)
        turn(worker->thread, &worker->held[stress_below(&worker->rng, HELD)], worker);
    pthread_t id;
    stress_thread_start(&id, child_thread, worker);
    stress_thread_join(id);
    verify_all(steady, STEADY);
    verify_all(worker->held, HELD);
    verify_all(worker->private_held, HELD);
    drop_all(worker->thread, fresh, CHILD_BLOCKS, &worker->rng);
}

static void heap_check_and_destroy(struct fl_heap *heap)
{
    stress_heap_check(heap);
    int result = fl_heap_destroy(heap);
    if (result)
        stress_fail("fl_heap_destroy in the child: %s", strerror(-result));
}

static void child(struct worker *worker, const struct fl_stats *private_stats)
{
    require_same(worker->private, private_stats);
    stress_heap_check(shared);
    child_goes_on(worker);
    drop_all(worker->thread, worker->held, HELD, &worker->rng);
    stress_detach(worker->thread);
    heap_check_and_destroy(shared);
    drop_all(worker->private_thread, worker->private_held, HELD, &worker->rng);
    stress_detach(worker->private_thread);
    stress_heap_finish(worker->private);
    stress_block_drop(fl_thread_self(), &worker->default_held, &worker->rng);
    stress_heap_check(fl_heap_default());
}

/* The child of a stopped world has everybody's blocks and frees them all. */
static void stopped_child(struct worker *self, const struct fl_stats *stats)
{
    require_same(shared, stats);
    child_goes_on(self);
    drop_all(self->thread, self->held, HELD, &self->rng);
    for (unsigned i = 0; i < args.threads; i++)
        drop_all(self->thread, workers[i].held, HELD, &self->rng);
    drop_mailboxes(self->thread, &self->rng);
    drop_all(self->thread, steady, STEADY, &self->rng);
    stress_detach(self->thread);
    stress_heap_finish(shared);
}

/* ---- Forking -------------------------------------------------------------------------------------------------- */

static void fork_child(struct worker *worker, const struct fl_stats *stats,
                       void (*body)(struct worker *, const struct fl_stats *))
{
    pid_t pid = fork();
    if (pid < 0)
        stress_fail("fork: %s", strerror(errno));
    if (pid == 0) {
        body(worker, stats);
        _exit(0);
    }
    stress_child_await(pid);
}

static void fork_busy(struct worker *worker)
{
    struct fl_stats stats;
    fl_heap_stats(worker->private, &stats);
    fork_child(worker, &stats, child);
    atomic_fetch_add_explicit(&forks, 1, memory_order_relaxed);
}

/* ---- The threads ---------------------------------------------------------------------------------------------- */

static void *work(void *argument)
{
    struct worker *worker = argument;
    worker->thread = stress_attach(shared);
    worker->private_thread = stress_attach(worker->private);
    worker->default_held = stress_block_make(fl_thread_self(), 40, worker->sequence++);
    pthread_barrier_wait(&started);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        step(worker);
        if (stress_one_in(&worker->rng, STRESS_SANITIZED ? 10000 : 50000))
            fork_busy(worker);
        if (atomic_load_explicit(&pause_wanted, memory_order_relaxed)) {
            pthread_barrier_wait(&paused);
            pthread_barrier_wait(&resumed);
        }
    }
    pthread_barrier_wait(&ended);
    stress_block_drop(fl_thread_self(), &worker->default_held, &worker->rng);
    drop_all(worker->thread, worker->held, HELD, &worker->rng);
    drop_all(worker->private_thread, worker->private_held, HELD, &worker->rng);
    stress_detach(worker->thread);
    stress_detach(worker->private_thread);
    return NULL;
}

/* Maps pages below those that are mapped already, and touches each. */
static void take_ballast(void)
{
    size_t bytes = (size_t)BALLAST_MIB << 20;
    char *ballast = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    STRESS_REQUIRE(ballast != MAP_FAILED);
    madvise(ballast, bytes, MADV_NOHUGEPAGE);
    memset(ballast, 1, bytes);
}

static size_t count_live(void)
{
    size_t count = STEADY;
    for (unsigned i = 0; i < args.threads; i++) {
        for (unsigned j = 0; j < HELD; j++)
            count += workers[i].held[j].block != NULL;
    }
    for (unsigned i = 0; i < MAILBOXES; i++)
        count += atomic_load_explicit(&mailboxes[i], memory_order_relaxed) ? 2 : 0;
    return count;
}

/* Stops the world, forks and lets it go on. */
static void fork_stopped(struct worker *self)
{
    atomic_store_explicit(&pause_wanted, true, memory_order_relaxed);
    pthread_barrier_wait(&paused);
    atomic_store_explicit(&pause_wanted, false, memory_order_relaxed);
    struct fl_stats stats;
    fl_heap_stats(shared, &stats);
    STRESS_REQUIRE(stats.live_blocks == count_live());
    fl_heap_fork_stopped(shared);
    fork_child(self, &stats, stopped_child);
    stopped_forks++;
    pthread_barrier_wait(&resumed);
}

static void start_workers(const struct fl_options *options)
{
    workers = calloc(args.threads, sizeof *workers);
    STRESS_REQUIRE(workers);
    pthread_barrier_init(&started, NULL, args.threads + 1);
    pthread_barrier_init(&ended, NULL, args.threads);
    pthread_barrier_init(&paused, NULL, args.threads + 1);
    pthread_barrier_init(&resumed, NULL, args.threads + 1);
    for (unsigned i = 0; i < args.threads; i++) {
        workers[i].private = stress_heap_create(options);
        workers[i].rng = stress_rng_make(args.seed, i);
        workers[i].sequence = stress_key(i, 0);
        stress_thread_start(&workers[i].id, work, &workers[i]);
    }
    pthread_barrier_wait(&started);
}

static void finish_workers(void)
{
    atomic_store_explicit(&stop, true, memory_order_relaxed);
    for (unsigned i = 0; i < args.threads; i++) {
        stress_thread_join(workers[i].id);
        stress_heap_finish(workers[i].private);
    }
    free(workers);
}

int main(int argc, char **argv)
{
    args = stress_parse(argc, argv, "stress_fork");
    struct fl_options options = {.reserve_bytes = (size_t)256 << 20, .magazine_blocks = 16};
    shared = stress_heap_create(&options);
    struct worker self = {.rng = stress_rng_make(args.seed, args.threads), .thread = stress_attach(shared)};
    for (unsigned i = 0; i < STEADY; i++)
        steady[i] = stress_block_make(self.thread, common_size(&self.rng), stress_key(3000, i));

    take_ballast();
    start_workers(&options);
    double end = stress_now() + args.seconds;
    do {
        fork_stopped(&self);
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    } while (stress_now() < end);
    finish_workers();

    printf("%u forks amid work, %u in a stopped world\n", atomic_load(&forks), atomic_load(&stopped_forks));
    drop_all(self.thread, steady, STEADY, &self.rng);
    drop_mailboxes(self.thread, &self.rng);
    stress_detach(self.thread);
    stress_heap_finish(shared);
    return 0;
}
