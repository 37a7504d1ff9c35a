/* SPDX-License-Identifier: MIT */
#include "grace_support.h"
#include "heap/thread.h"

#include <sys/resource.h>

enum { SIZE = 48, MANY = 2000 };

/* Another thread of the heap, which has blocks in its cache and holds some, and sleeps. */
struct sleeper {
    struct fl_heap *heap;
    pthread_t thread;
    sem_t asleep, wake;
    void *held[5];
};

static void *sleep_attached(void *argument)
{
    struct sleeper *sleeper = argument;
    struct fl_thread *thread = fl_thread_attach(sleeper->heap);
    void *blocks[MANY];
    fl_alloc_many(thread, SIZE, MANY, blocks);
    fl_free_many(thread, SIZE, MANY, blocks);
    fl_alloc_many(thread, SIZE, COUNT_OF(sleeper->held), sleeper->held);
    fl_free(thread, fl_alloc(thread, SIZE)); /* so that its cache is not empty */
    sem_post(&sleeper->asleep);
    while (sem_wait(&sleeper->wake) != 0)
        ;
    fl_free_many(thread, SIZE, COUNT_OF(sleeper->held), sleeper->held);
    return NULL;
}

static void put_to_sleep(struct sleeper *sleeper, struct fl_heap *heap)
{
    *sleeper = (struct sleeper){.heap = heap};
    assert_int_equal(sem_init(&sleeper->asleep, 0, 0), 0);
    assert_int_equal(sem_init(&sleeper->wake, 0, 0), 0);
    assert_int_equal(pthread_create(&sleeper->thread, NULL, sleep_attached, sleeper), 0);
    assert_int_equal(sem_wait(&sleeper->asleep), 0);
}

static void wake_up(struct sleeper *sleeper)
{
    assert_int_equal(sem_post(&sleeper->wake), 0);
    assert_int_equal(pthread_join(sleeper->thread, NULL), 0);
    sem_destroy(&sleeper->asleep);
    sem_destroy(&sleeper->wake);
}

static struct fl_class_stats child_class_stats(struct fl_heap *heap)
{
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    return stats.classes[fl_size_class(SIZE)];
}

static void *work_in_child(void *argument)
{
    struct fl_thread *thread = fl_thread_attach(argument);
    void *blocks[MANY];
    EXPECT(fl_alloc_many(thread, SIZE, MANY, blocks) == 0);
    for (unsigned i = 0; i < MANY; i++)
        memset(blocks[i], (int)i, SIZE);
    for (unsigned i = 0; i < MANY; i++)
        EXPECT(*(unsigned char *)blocks[i] == (i & 255));
    fl_free_many(thread, SIZE, MANY, blocks);
    fl_free(thread, fl_alloc(thread, 100000));
    EXPECT(fl_thread_detach(thread) == 0);
    return NULL;
}

/* The heap serves old and new threads. */
static void go_on(struct fl_heap *heap)
{
    pthread_t threads[2];
    work_in_child(heap);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        EXPECT(pthread_create(&threads[i], NULL, work_in_child, heap) == 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        EXPECT(pthread_join(threads[i], NULL) == 0);
    EXPECT_SOUND(heap);
    fl_heap_trim(heap, 0);
    EXPECT_SOUND(heap);
}

/* What a child finds. */
struct scene {
    struct bed *bed;
    struct fl_stats before;
    unsigned char *block, *large;
    struct fl_thread *offline;
    struct sleeper *sleeper;
};

static void find_all_as_it_was(void *argument)
{
    struct scene *scene = argument;
    struct fl_heap *heap = scene->bed->heap;
    struct fl_stats now;
    fl_heap_stats(heap, &now);
    EXPECT(now.live_blocks == scene->before.live_blocks && now.live_bytes == scene->before.live_bytes);
    EXPECT(now.cached_bytes == scene->before.cached_bytes && now.pooled_bytes == scene->before.pooled_bytes);
    EXPECT(now.lost_bytes == 0 && now.threads == 1);
    EXPECT_SOUND(heap);
    for (unsigned i = 0; i < SIZE; i++)
        EXPECT(scene->block[i] == 0x5a);
    for (unsigned i = 0; i < 100000; i++)
        EXPECT(scene->large[i] == 0xa5);
    fl_free(scene->bed->thread, scene->block);
    fl_free(scene->bed->thread, scene->large);
    go_on(heap);
    EXPECT(fl_thread_detach(scene->bed->thread) == 0);
    EXPECT(fl_heap_destroy(heap) == 0);
}

static void a_child_goes_on_with_the_heap_and_has_lost_nothing_of_the_forking_thread(void **state)
{
    struct scene scene = {.bed = *state};
    void *blocks[MANY];
    assert_int_equal(fl_alloc_many(scene.bed->thread, SIZE, MANY, blocks), 0);
    fl_free_many(scene.bed->thread, SIZE, MANY, blocks);
    memset(scene.block = fl_alloc(scene.bed->thread, SIZE), 0x5a, SIZE);
    memset(scene.large = fl_alloc(scene.bed->thread, 100000), 0xa5, 100000);
    scene.before = stats_of(scene.bed->heap);
    assert_child_succeeds(find_all_as_it_was, &scene);
    /* The parent has lost nothing either. */
    struct fl_stats after = stats_of(scene.bed->heap);
    assert_int_equal(after.live_blocks, scene.before.live_blocks);
    assert_int_equal(after.cached_bytes, scene.before.cached_bytes);
    assert_int_equal(after.pooled_bytes, scene.before.pooled_bytes);
    assert_sound(scene.bed->heap);
    fl_free(scene.bed->thread, scene.block);
    fl_free(scene.bed->thread, scene.large);
}

static void count_the_lost(void *argument)
{
    struct scene *scene = argument;
    struct fl_heap *heap = scene->bed->heap;
    struct fl_class_stats before = scene->before.classes[fl_size_class(SIZE)], now = child_class_stats(heap);
    EXPECT(now.carved == before.carved && now.live == before.live && now.pooled == before.pooled);
    /* What the sleeper kept beyond its caches is not lost. */
    EXPECT(now.cached == 0 && now.lost > 0 && now.lost + now.parked == before.cached + before.parked);
    EXPECT(now.carved == now.live + now.cached + now.pooled + now.parked + now.lost);
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    EXPECT(stats.threads == 1);
    EXPECT(stats.lost_bytes == now.lost * SIZE);
    EXPECT_SOUND(heap);
    /* What the sleeper held is live and can be freed. */
    fl_free_many(scene->bed->thread, SIZE, COUNT_OF(scene->sleeper->held), scene->sleeper->held);
    go_on(heap);
    EXPECT(child_class_stats(heap).lost == now.lost);
    EXPECT(fl_thread_detach(scene->bed->thread) == 0);
    EXPECT(fl_heap_destroy(heap) == 0);
}

static void blocks_in_other_threads_caches_count_as_lost(void **state)
{
    struct sleeper sleeper;
    struct scene scene = {.bed = *state, .sleeper = &sleeper};
    put_to_sleep(&sleeper, scene.bed->heap);
    scene.before = stats_of(scene.bed->heap);
    assert_child_succeeds(count_the_lost, &scene);
    assert_int_equal(stats_of(scene.bed->heap).lost_bytes, 0);
    assert_int_equal(stats_of(scene.bed->heap).threads, 2);
    wake_up(&sleeper);
    assert_int_equal(stats_of(scene.bed->heap).live_blocks, 0);
}

static void find_nothing_lost(void *argument)
{
    struct scene *scene = argument;
    struct fl_heap *heap = scene->bed->heap;
    struct fl_class_stats before = scene->before.classes[fl_size_class(SIZE)], now = child_class_stats(heap);
    EXPECT(now.lost == 0 && now.cached == 0);
    EXPECT(now.pooled + now.parked == before.pooled + before.parked + before.cached);
    EXPECT(now.live == before.live);
    EXPECT_SOUND(heap);
    fl_free_many(scene->bed->thread, SIZE, COUNT_OF(scene->sleeper->held), scene->sleeper->held);
    go_on(heap);
    fl_thread_flush(scene->bed->thread);
    fl_heap_trim(heap, 0);
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    EXPECT(stats.slabs == 0);
}

static void where_the_world_was_stopped_nothing_is_lost_for_one_fork(void **state)
{
    struct sleeper sleeper;
    struct scene scene = {.bed = *state, .sleeper = &sleeper};
    put_to_sleep(&sleeper, scene.bed->heap);
    scene.before = stats_of(scene.bed->heap);
    fl_heap_fork_stopped(scene.bed->heap);
    assert_child_succeeds(find_nothing_lost, &scene);
    assert_child_succeeds(count_the_lost, &scene);
    wake_up(&sleeper);
}

static void what_is_withdrawn_does_not_hold_for_the_next_fork(void **state)
{
    struct sleeper sleeper;
    struct scene scene = {.bed = *state, .sleeper = &sleeper};
    put_to_sleep(&sleeper, scene.bed->heap);
    scene.before = stats_of(scene.bed->heap);
    fl_heap_fork_stopped(scene.bed->heap);
    fl_heap_fork_resumed(scene.bed->heap);
    assert_child_succeeds(count_the_lost, &scene);
    fl_heap_fork_resumed(scene.bed->heap); /* nothing is left to withdraw */
    fl_heap_fork_stopped(scene.bed->heap);
    assert_child_succeeds(find_nothing_lost, &scene);
    wake_up(&sleeper);
}

static void use_the_offline_handle(void *argument)
{
    struct scene *scene = argument;
    struct fl_heap *heap = scene->bed->heap;
    EXPECT(child_class_stats(heap).lost == 0);
    EXPECT(child_class_stats(heap).cached == scene->before.classes[fl_size_class(SIZE)].cached);
    EXPECT_SOUND(heap);
    fl_thread_online(scene->offline);
    fl_free(scene->offline, scene->block);
    fl_free(scene->offline, fl_alloc(scene->offline, SIZE));
    EXPECT(fl_thread_detach(scene->offline) == 0);
    go_on(heap);
}

static void *fill_and_go_offline(void *argument)
{
    struct scene *scene = argument;
    scene->offline = fl_thread_attach(scene->bed->heap);
    scene->block = fl_alloc(scene->offline, SIZE);
    fl_thread_offline(scene->offline);
    return NULL;
}

static void an_offline_handle_goes_on_in_the_child_with_its_cache(void **state)
{
    struct scene scene = {.bed = *state};
    run_on_thread(fill_and_go_offline, &scene);
    scene.before = stats_of(scene.bed->heap);
    assert_true(scene.before.classes[fl_size_class(SIZE)].cached > 0);
    assert_child_succeeds(use_the_offline_handle, &scene);
    fl_thread_online(scene.offline);
    fl_free(scene.offline, scene.block);
    assert_int_equal(fl_thread_detach(scene.offline), 0);
}

static void fork_again(void *argument)
{
    unsigned *generations = argument;
    void *block = fl_alloc(fl_thread_self(), SIZE);
    EXPECT(block != NULL);
    if (*generations > 0) {
        --*generations;
        pid_t pid = fork();
        EXPECT(pid >= 0);
        if (pid == 0) {
            fl_free(fl_thread_self(), block);
            fork_again(argument);
            _exit(0);
        }
        int status;
        EXPECT(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    fl_free(fl_thread_self(), block);
    EXPECT_SOUND(fl_heap_default());
    go_on(fl_heap_default());
}

static void children_of_children_go_on_with_the_default_heap(void **state)
{
    (void)state;
    unsigned generations = 4;
    fl_free(fl_thread_self(), fl_alloc(fl_thread_self(), SIZE));
    assert_child_succeeds(fork_again, &generations);
    assert_sound(fl_heap_default());
}

static void go_on_with_the_heap(void *argument)
{
    go_on(argument);
}

static void *fork_unattached(void *argument)
{
    assert_child_succeeds(go_on_with_the_heap, argument);
    return NULL;
}

static void a_thread_that_never_attached_can_fork(void **state)
{
    struct bed *bed = *state;
    fl_heap_free(bed->heap, fl_alloc(bed->thread, SIZE));
    run_on_thread(fork_unattached, bed->heap);
}

/* ---- While others work. */

/* The sanitizers' allocators do not know fork: where another thread was inside, a child that allocates waits for
 * ever. The stress programs fork beside threads that leave these allocators alone. */
static void skip_without_forking_allocator(void)
{
    if (FLI_SANITIZED)
        skip();
}

struct worker {
    struct fl_heap *heap;
    pthread_t thread;
    unsigned char stop;
};

static void *churn(void *argument)
{
    struct worker *worker = argument;
    uint64_t seed = (uintptr_t)worker | 1;
    while (!__atomic_load_n(&worker->stop, __ATOMIC_RELAXED)) {
        struct fl_thread *thread = fl_thread_attach(worker->heap);
        for (unsigned round = 0; round < 20; round++) {
            void *blocks[64];
            size_t size = (size_t)16 << (next_random(&seed) % 8);
            fl_alloc_many(thread, size, COUNT_OF(blocks), blocks);
            fl_heap_free(worker->heap, blocks[0]);
            fl_free_many(thread, size, COUNT_OF(blocks) - 1, blocks + 1);
            fl_free(thread, fl_alloc(thread, 50000));
        }
        fl_heap_trim(worker->heap, 100000);
        fl_thread_detach(thread);
    }
    return NULL;
}

static void forks_at_any_moment_leave_parent_and_child_sound(void **state)
{
    skip_without_forking_allocator();
    struct bed *bed = *state;
    struct worker workers[2];
    for (size_t i = 0; i < COUNT_OF(workers); i++) {
        workers[i] = (struct worker){.heap = bed->heap};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, churn, &workers[i]), 0);
    }
    for (unsigned i = 0; i < 40; i++)
        assert_child_succeeds(go_on_with_the_heap, bed->heap);
    for (size_t i = 0; i < COUNT_OF(workers); i++) {
        __atomic_store_n(&workers[i].stop, 1, __ATOMIC_RELAXED);
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    }
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
    assert_int_equal(stats_of(bed->heap).lost_bytes, 0);
}

/* ---- What a fork costs. */

/* The first access to a page after a fork, if it is a write, takes a page fault. */
static long faults_of_a_fork(void)
{
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(0);
    getrusage(RUSAGE_SELF, &after);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return after.ru_minflt - before.ru_minflt;
}

static struct fl_heap *make_heap_at_rest(void)
{
    struct fl_options options = {.reserve_bytes = 4 * FLI_MIB};
    struct fl_heap *heap = heap_with(&options);
    struct fl_thread *thread = fl_thread_attach(heap);
    assert_non_null(thread);
    fl_free(thread, fl_alloc(thread, SIZE));
    assert_int_equal(fl_thread_detach(thread), 0);
    return heap;
}

static void a_fork_writes_to_no_heap_that_is_at_rest(void **state)
{
    (void)state;
    struct fl_heap *heaps[200];
    for (size_t i = 0; i < COUNT_OF(heaps); i++)
        heaps[i] = make_heap_at_rest();
    long faults = faults_of_a_fork();
    for (size_t i = 0; i < COUNT_OF(heaps); i++)
        end_heap(heaps[i]);
    if (!FLI_SANITIZED)
        assert_true(faults < (long)COUNT_OF(heaps) / 2);
}

/* A thread that refills, and counts how often it moves to another home. */
struct mover {
    struct worker worker;
    unsigned moves;
};

static void *refill_on_and_on(void *argument)
{
    struct mover *mover = argument;
    struct fl_thread *thread = fl_thread_attach(mover->worker.heap);
    const struct fli_owner *owner = &fli_thread_of(thread)->owner;
    while (!__atomic_load_n(&mover->worker.stop, __ATOMIC_RELAXED)) {
        const struct fli_home *home = owner->home;
        void *blocks[MANY];
        fl_alloc_many(thread, SIZE, COUNT_OF(blocks), blocks);
        fl_free_many(thread, SIZE, COUNT_OF(blocks), blocks);
        mover->moves += owner->home != home;
    }
    fl_thread_detach(thread);
    return NULL;
}

static void a_thread_keeps_its_home_while_another_forks(void **state)
{
    struct bed *bed = *state;
    struct mover mover = {.worker.heap = bed->heap};
    enum { FORKS = 40 };
    char *ballast = malloc(64 * FLI_MIB); /* so that a fork takes a while */
    assert_non_null(ballast);
    memset(ballast, 1, 64 * FLI_MIB);
    assert_int_equal(pthread_create(&mover.worker.thread, NULL, refill_on_and_on, &mover), 0);
    for (unsigned i = 0; i < FORKS; i++)
        faults_of_a_fork();
    __atomic_store_n(&mover.worker.stop, 1, __ATOMIC_RELAXED);
    assert_int_equal(pthread_join(mover.worker.thread, NULL), 0);
    free(ballast);
    assert_true(mover.moves < FORKS / 8);
}

/* ---- Grace periods. */

/* A hang ends the child. */
enum { CHILD_SECONDS = 300 };

static void child_defers(struct fl_thread *thread, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        void *block = fl_alloc(thread, SIZE);
        EXPECT(block != NULL);
        fl_free_deferred(thread, block, SIZE);
    }
}

static void reclaim_in_child(void *argument)
{
    struct bed *bed = argument;
    alarm(CHILD_SECONDS);
    EXPECT_SOUND(bed->heap);
    for (unsigned round = 0; round < 3; round++) {
        child_defers(bed->thread, MANY);
        EXPECT(fl_heap_barrier(bed->heap) == 0);
        EXPECT(child_class_stats(bed->heap).deferred == 0);
        EXPECT_SOUND(bed->heap);
    }
    fl_read_lock(bed->thread);
    fl_read_unlock(bed->thread);
    fl_quiescent(bed->thread);
    EXPECT(fl_thread_detach(bed->thread) == 0);
    EXPECT(fl_heap_destroy(bed->heap) == 0);
}

static void a_child_of_bp_reclaims_though_another_thread_was_in_a_section(void **state)
{
    (void)state;
    struct bed bed = bed_of(FL_GRACE_BP);
    struct lingerer lingerer = {0};
    begin_lingering(&lingerer, bed.heap, FL_GRACE_BP);
    defer_some(bed.thread, SIZE, 1);
    assert_child_succeeds(reclaim_in_child, &bed);
    end_lingering(&lingerer);
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    end_bed(&bed);
}

/* Long before the fork that waits for it gives up: a busy machine may hold this thread back for most of a second. */
static void *let_go_soon(void *argument)
{
    sleep_ms(50);
    end_lingering(argument);
    return NULL;
}

static void a_child_of_bp_reclaims_though_a_grace_period_was_under_way(void **state)
{
    (void)state;
    struct bed bed = bed_of(FL_GRACE_BP);
    for (unsigned round = 0; round < 3; round++) {
        struct lingerer lingerer = {0};
        begin_lingering(&lingerer, bed.heap, FL_GRACE_BP);
        defer_some(bed.thread, SIZE, MANY);
        fl_thread_flush(bed.thread); /* a grace period begins, and cannot end */
        assert_int_equal(class_stats_of(bed.heap, SIZE).deferred, MANY);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, let_go_soon, &lingerer), 0);
        assert_child_succeeds(reclaim_in_child, &bed);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(fl_heap_barrier(bed.heap), 0);
        assert_int_equal(class_stats_of(bed.heap, SIZE).deferred, 0);
    }
    end_bed(&bed);
}

static void find_no_grace_periods(void *argument)
{
    struct bed *bed = argument;
    alarm(CHILD_SECONDS);
    fl_read_unlock(bed->thread);
    child_defers(bed->thread, 1);
    EXPECT(fl_heap_barrier(bed->heap) == -ENOTSUP);
    EXPECT(child_class_stats(bed->heap).deferred == MANY + 1);
    EXPECT_SOUND(bed->heap);
}

static void a_child_of_a_fork_inside_a_section_is_told_that_it_gets_no_grace_periods(void **state)
{
    (void)state;
    struct bed bed = bed_of(FL_GRACE_BP);
    fl_read_lock(bed.thread);
    defer_some(bed.thread, SIZE, MANY);
    fl_thread_flush(bed.thread);
    assert_child_succeeds(find_no_grace_periods, &bed);
    fl_read_unlock(bed.thread);
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    end_bed(&bed);
}

static void *read_and_detach(void *argument)
{
    struct fl_thread *thread = fl_thread_attach(argument);
    fl_read_lock(thread);
    fl_read_unlock(thread);
    EXPECT(fl_thread_detach(thread) == 0);
    return NULL;
}

static void go_on_without_grace_periods(void *argument)
{
    struct bed *bed = argument;
    alarm(CHILD_SECONDS);
    EXPECT(fl_heap_barrier(bed->heap) == -ENOTSUP);
    EXPECT(child_class_stats(bed->heap).deferred == MANY);
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, read_and_detach, bed->heap) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    read_and_detach(bed->heap);
    go_on(bed->heap);
}

static void a_fork_does_not_wait_for_ever_for_a_reader(void **state)
{
    (void)state;
    struct bed bed = bed_of(FL_GRACE_BP);
    struct lingerer lingerer = {0};
    begin_lingering(&lingerer, bed.heap, FL_GRACE_BP);
    defer_some(bed.thread, SIZE, MANY);
    fl_thread_flush(bed.thread); /* a grace period begins, and cannot end */
    while (class_stats_of(bed.heap, SIZE).deferred != MANY)
        sleep_ms(1);
    sleep_ms(20); /* the helper begins to wait */
    assert_child_succeeds(go_on_without_grace_periods, &bed);
    assert_int_equal(class_stats_of(bed.heap, SIZE).deferred, MANY);
    end_lingering(&lingerer);
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    assert_int_equal(class_stats_of(bed.heap, SIZE).deferred, 0);
    end_bed(&bed);
}

static void *defer_on_a_new_thread(void *argument)
{
    struct fl_thread *thread = fl_thread_attach(argument);
    child_defers(thread, 10);
    fl_quiescent(thread);
    fl_thread_offline(thread);
    fl_thread_online(thread);
    fl_thread_detach(thread);
    return NULL;
}

static void keep_what_is_deferred(void *argument)
{
    struct bed *bed = argument;
    alarm(CHILD_SECONDS);
    EXPECT(fl_heap_barrier(bed->heap) == -ENOTSUP);
    EXPECT(child_class_stats(bed->heap).deferred == MANY + 1);
    EXPECT(child_class_stats(bed->heap).lost == 0);
    EXPECT_SOUND(bed->heap);
    child_defers(bed->thread, MANY);
    fl_quiescent(bed->thread);
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, defer_on_a_new_thread, bed->heap) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    EXPECT(fl_heap_barrier(bed->heap) == -ENOTSUP);
    struct fl_class_stats class = child_class_stats(bed->heap);
    EXPECT(class.deferred == 2 * MANY + 11 && class.live == 0 && class.lost == 0);
    struct fl_stats stats;
    fl_heap_stats(bed->heap, &stats);
    EXPECT(stats.deferred_bytes == class.deferred * SIZE + 100000);
    EXPECT(stats.grace_refusals > 0);
    EXPECT_SOUND(bed->heap);
    EXPECT(fl_thread_detach(bed->thread) == 0);
    EXPECT(fl_heap_destroy(bed->heap) == -ENOTSUP);
    EXPECT_SOUND(bed->heap);
    /* Where nothing waits, nothing stands in the way. */
    struct fl_options options = {.grace = FL_GRACE_QSBR};
    struct fl_heap *other = fl_heap_create(&options, NULL, 0);
    struct fl_thread *handle = fl_thread_attach(other);
    fl_free(handle, fl_alloc(handle, SIZE));
    EXPECT(fl_heap_barrier(other) == 0);
    EXPECT(fl_thread_detach(handle) == 0);
    EXPECT(fl_heap_destroy(other) == 0);
}

static void a_child_of_qsbr_keeps_what_is_deferred_and_says_so(void **state)
{
    (void)state;
    struct bed bed = bed_of(FL_GRACE_QSBR);
    struct lingerer lingerer = {0};
    begin_lingering(&lingerer, bed.heap, FL_GRACE_QSBR);
    /* One batch waits, for a reader that the child does not have; another collects. */
    defer_some(bed.thread, SIZE, MANY);
    fl_thread_flush(bed.thread);
    defer_some(bed.thread, SIZE, 1);
    defer_some(bed.thread, 100000, 1);
    fl_thread_flush(bed.thread);
    assert_child_succeeds(keep_what_is_deferred, &bed);
    fl_thread_offline(bed.thread);
    end_lingering(&lingerer);
    fl_thread_online(bed.thread);
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    assert_int_equal(stats_of(bed.heap).deferred_bytes, 0);
    end_bed(&bed);
}

static const struct fl_header header = {.bytes = 16, .words = 1, .clear = {{8, 8}}};

/* A heap with stale readers whose slabs have been retired and wait. */
struct retirement {
    struct bed bed;
    struct fl_type type;
    size_t waits, stayed; /* bytes of slabs */
    int barrier;
};

static void trim_in_child(void *argument)
{
    struct retirement *retirement = argument;
    struct fl_heap *heap = retirement->bed.heap;
    alarm(CHILD_SECONDS);
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    /* With bp, the end of the reader that the fork waits for may have returned them before. */
    EXPECT(stats.retired_bytes == retirement->waits || (retirement->barrier == 0 && stats.retired_bytes == 0));
    EXPECT_SOUND(heap);
    fl_heap_trim(heap, retirement->barrier == 0 ? 0 : SIZE_MAX);
    fl_heap_stats(heap, &stats);
    EXPECT(stats.retired_bytes == 0);
    EXPECT(stats.slab_bytes == (retirement->barrier == 0 ? 0 : retirement->stayed + retirement->waits));
    EXPECT_SOUND(heap);
    void *object = fl_type_alloc(retirement->bed.thread, &retirement->type);
    EXPECT(object != NULL);
    fl_dealloc(retirement->bed.thread, object, &retirement->type);
    EXPECT(fl_thread_detach(retirement->bed.thread) == 0);
    EXPECT(fl_heap_destroy(heap) == retirement->barrier);
}

static void retired_slabs_serve_again_or_go_back_in_the_child(enum fl_grace grace, int barrier)
{
    struct retirement retirement = {.barrier = barrier};
    struct bed *bed = &retirement.bed;
    *bed = bed_with(&(struct fl_options){.grace = grace, .header = &header, .retain_bytes = 1});
    retirement.type = (struct fl_type){.name = "t", .size = SIZE, .kind = FL_DEALLOC_PLAIN, .header = &header};
    assert_int_equal(fl_type_ready(&retirement.type, NULL, NULL, 0), 0);
    static void *objects[20000];
    for (unsigned i = 0; i < COUNT_OF(objects); i++)
        objects[i] = fl_type_alloc(bed->thread, &retirement.type);
    struct lingerer lingerer = {0};
    begin_lingering(&lingerer, bed->heap, grace);
    for (unsigned i = 0; i < COUNT_OF(objects); i++)
        fl_dealloc(bed->thread, objects[i], &retirement.type);
    fl_thread_flush(bed->thread);
    retirement.waits = stats_of(bed->heap).retired_bytes;
    retirement.stayed = stats_of(bed->heap).slab_bytes;
    assert_true(retirement.waits > 0);
    if (grace == FL_GRACE_BP) { /* the fork waits for the grace period */
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, let_go_soon, &lingerer), 0);
        assert_child_succeeds(trim_in_child, &retirement);
        assert_int_equal(pthread_join(thread, NULL), 0);
    } else {
        assert_child_succeeds(trim_in_child, &retirement);
        fl_thread_offline(bed->thread);
        end_lingering(&lingerer);
        fl_thread_online(bed->thread);
    }
    fl_heap_trim(bed->heap, 0);
    assert_int_equal(stats_of(bed->heap).retired_bytes, 0);
    end_bed(bed);
}

static void retired_slabs_go_back_in_a_child_of_bp(void **state)
{
    (void)state;
    retired_slabs_serve_again_or_go_back_in_the_child(FL_GRACE_BP, 0);
}

static void retired_slabs_serve_again_in_a_child_of_qsbr(void **state)
{
    (void)state;
    retired_slabs_serve_again_or_go_back_in_the_child(FL_GRACE_QSBR, -ENOTSUP);
}

struct hosted {
    struct bed bed;
    struct played_host *host;
};

static void go_on_with_the_hosts_grace_periods(void *argument)
{
    struct hosted *hosted = argument;
    struct fl_heap *heap = hosted->bed.heap;
    EXPECT(fl_heap_barrier(heap) == -EAGAIN);
    EXPECT(child_class_stats(heap).deferred == MANY);
    let_all_go(hosted->host, hosted->bed.thread);
    EXPECT(child_class_stats(heap).deferred == 0);
    EXPECT(fl_heap_barrier(heap) == 0);
    EXPECT_SOUND(heap);
}

static void with_the_hosts_own_grace_periods_a_child_goes_on(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct hosted hosted = {.bed = bed_of_host(&host, NULL), .host = &host};
    defer_some(hosted.bed.thread, SIZE, MANY);
    fl_thread_flush(hosted.bed.thread);
    assert_child_succeeds(go_on_with_the_hosts_grace_periods, &hosted);
    assert_int_equal(class_stats_of(hosted.bed.heap, SIZE).deferred, MANY);
    let_all_go(&host, hosted.bed.thread);
    end_bed(&hosted.bed);
}

static void *defer_and_sleep(void *argument)
{
    struct lingerer *lingerer = argument;
    struct fl_thread *thread = fl_thread_attach(lingerer->heap);
    fl_free_deferred(thread, fl_alloc(thread, SIZE), SIZE);
    sem_post(&lingerer->inside);
    wait_for_post(&lingerer->leave);
    return NULL;
}

struct left_behind {
    struct hosted hosted;
    struct fl_class_stats before;
};

static void count_the_deferred_lost(void *argument)
{
    struct left_behind *scene = argument;
    struct fl_class_stats now = child_class_stats(scene->hosted.bed.heap);
    EXPECT(now.deferred == 0 && now.cached == 0);
    EXPECT(now.lost == scene->before.deferred + scene->before.cached);
    EXPECT(now.live == 0 && now.carved == scene->before.carved);
    EXPECT_SOUND(scene->hosted.bed.heap);
}

static void find_the_deferred(void *argument)
{
    struct left_behind *scene = argument;
    struct fl_heap *heap = scene->hosted.bed.heap;
    struct fl_class_stats now = child_class_stats(heap);
    EXPECT(now.deferred == 1 && now.cached == 0 && now.lost == 0);
    EXPECT(now.live == 0 && now.carved == scene->before.carved);
    EXPECT(submitted_bytes(heap) == SIZE);
    EXPECT_SOUND(heap);
    let_all_go(scene->hosted.host, scene->hosted.bed.thread);
    EXPECT(child_class_stats(heap).deferred == 0);
    EXPECT_SOUND(heap);
}

static void what_other_threads_have_deferred_is_lost_unless_the_world_was_stopped(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct left_behind scene = {.hosted = {.bed = bed_of_host(&host, NULL), .host = &host}};
    struct fl_heap *heap = scene.hosted.bed.heap;
    struct lingerer sleeper = {.heap = heap};
    sem_init(&sleeper.inside, 0, 0);
    sem_init(&sleeper.leave, 0, 0);
    assert_int_equal(pthread_create(&sleeper.thread, NULL, defer_and_sleep, &sleeper), 0);
    wait_for_post(&sleeper.inside);
    scene.before = class_stats_of(heap, SIZE);
    assert_int_equal(scene.before.deferred, 1);
    assert_child_succeeds(count_the_deferred_lost, &scene);
    fl_heap_fork_stopped(heap);
    assert_child_succeeds(find_the_deferred, &scene);
    end_lingering(&sleeper);
    let_all_go(&host, scene.hosted.bed.thread);
    assert_int_equal(class_stats_of(heap, SIZE).deferred, 0);
    end_bed(&scene.hosted.bed);
}

static void *churn_deferring(void *argument)
{
    struct worker *worker = argument;
    uint64_t seed = (uintptr_t)worker | 1;
    while (!__atomic_load_n(&worker->stop, __ATOMIC_RELAXED)) {
        struct fl_thread *thread = fl_thread_attach(worker->heap);
        for (unsigned round = 0; round < 50; round++) {
            fl_read_lock(thread);
            for (unsigned i = 0; i < 20; i++) {
                size_t size = (size_t)16 << (next_random(&seed) % 8);
                fl_free_deferred(thread, fl_alloc(thread, size), size);
            }
            fl_free_deferred(thread, fl_alloc(thread, 50000), 50000);
            fl_read_unlock(thread);
            fl_quiescent(thread);
        }
        fl_heap_barrier(worker->heap);
        fl_thread_detach(thread);
    }
    return NULL;
}

static void reclaim_what_there_is(void *argument)
{
    struct bed *bed = argument;
    alarm(CHILD_SECONDS);
    EXPECT_SOUND(bed->heap);
    child_defers(bed->thread, MANY);
    EXPECT(fl_heap_barrier(bed->heap) == 0);
    struct fl_stats stats;
    fl_heap_stats(bed->heap, &stats);
    EXPECT(stats.deferred_bytes == 0);
    EXPECT(submitted_bytes(bed->heap) == 0);
    EXPECT_SOUND(bed->heap);
}

static void forks_at_any_moment_of_deferring_leave_parent_and_child_sound(void **state)
{
    (void)state;
    skip_without_forking_allocator();
    struct bed bed = bed_of(FL_GRACE_BP);
    struct worker workers[3];
    for (size_t i = 0; i < COUNT_OF(workers); i++) {
        workers[i] = (struct worker){.heap = bed.heap};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, churn_deferring, &workers[i]), 0);
    }
    for (unsigned i = 0; i < 40; i++)
        assert_child_succeeds(reclaim_what_there_is, &bed);
    for (size_t i = 0; i < COUNT_OF(workers); i++) {
        __atomic_store_n(&workers[i].stop, 1, __ATOMIC_RELAXED);
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    }
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    assert_int_equal(stats_of(bed.heap).deferred_bytes, 0);
    assert_int_equal(stats_of(bed.heap).live_blocks, 0);
    end_bed(&bed);
}

static void fork_and_wait(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    int status;
    EXPECT(pid > 0 && waitpid(pid, &status, 0) == pid);
}

/* One of two threads that fork at the same time does so inside a section. */
static void *fork_inside(void *argument)
{
    struct worker *worker = argument;
    struct fl_thread *thread = fl_thread_attach(worker->heap);
    while (!__atomic_load_n(&worker->stop, __ATOMIC_RELAXED)) {
        fl_read_lock(thread);
        fork_and_wait();
        fl_read_unlock(thread);
    }
    fl_thread_detach(thread);
    return NULL;
}

static void fork_in_two_threads(void *argument)
{
    (void)argument;
    alarm(CHILD_SECONDS);
    struct fl_options options = {.grace = FL_GRACE_BP};
    struct bed bed = {.heap = fl_heap_create(&options, NULL, 0)};
    bed.thread = fl_thread_attach(bed.heap);
    struct worker worker = {.heap = bed.heap};
    EXPECT(pthread_create(&worker.thread, NULL, fork_inside, &worker) == 0);
    for (unsigned i = 0; i < (FLI_SANITIZED ? 20 : 100); i++)
        fork_and_wait();
    __atomic_store_n(&worker.stop, 1, __ATOMIC_RELAXED);
    EXPECT(pthread_join(worker.thread, NULL) == 0);
    child_defers(bed.thread, MANY);
    EXPECT(fl_heap_barrier(bed.heap) == 0);
    EXPECT_SOUND(bed.heap);
}

static void threads_may_fork_at_the_same_time_inside_and_outside_of_sections(void **state)
{
    (void)state;
    assert_child_succeeds(fork_in_two_threads, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BED_TEST(a_child_goes_on_with_the_heap_and_has_lost_nothing_of_the_forking_thread),
        BED_TEST(blocks_in_other_threads_caches_count_as_lost),
        BED_TEST(where_the_world_was_stopped_nothing_is_lost_for_one_fork),
        BED_TEST(what_is_withdrawn_does_not_hold_for_the_next_fork),
        BED_TEST(an_offline_handle_goes_on_in_the_child_with_its_cache),
        cmocka_unit_test(children_of_children_go_on_with_the_default_heap),
        BED_TEST(a_thread_that_never_attached_can_fork),
        BED_TEST(forks_at_any_moment_leave_parent_and_child_sound),
        cmocka_unit_test(a_fork_writes_to_no_heap_that_is_at_rest),
        BED_TEST(a_thread_keeps_its_home_while_another_forks),
        /* First: before a grace period of bp has been asked for. */
        cmocka_unit_test(a_child_of_bp_reclaims_though_another_thread_was_in_a_section),
        cmocka_unit_test(a_child_of_bp_reclaims_though_a_grace_period_was_under_way),
        cmocka_unit_test(a_child_of_a_fork_inside_a_section_is_told_that_it_gets_no_grace_periods),
        cmocka_unit_test(a_fork_does_not_wait_for_ever_for_a_reader),
        cmocka_unit_test(a_child_of_qsbr_keeps_what_is_deferred_and_says_so),
        cmocka_unit_test(retired_slabs_go_back_in_a_child_of_bp),
        cmocka_unit_test(retired_slabs_serve_again_in_a_child_of_qsbr),
        cmocka_unit_test(with_the_hosts_own_grace_periods_a_child_goes_on),
        cmocka_unit_test(what_other_threads_have_deferred_is_lost_unless_the_world_was_stopped),
        cmocka_unit_test(forks_at_any_moment_of_deferring_leave_parent_and_child_sound),
        cmocka_unit_test(threads_may_fork_at_the_same_time_inside_and_outside_of_sections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
