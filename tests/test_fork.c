/* SPDX-License-Identifier: MIT */
#include "support.h"

#include <semaphore.h>

enum { SIZE = 48, MANY = 500 };

/* Another thread of the heap, which has blocks in its cache and holds some, and sleeps. */
struct sleeper {
    struct fl_heap *heap;
    pthread_t thread;
    sem_t asleep, wake;
    void *held[11];
};

static void *sleep_attached(void *argument)
{
    struct sleeper *sleeper = argument;
    struct fl_thread *thread = fl_thread_attach(sleeper->heap);
    void *blocks[MANY];
    fl_alloc_many(thread, SIZE, MANY, blocks);
    fl_free_many(thread, SIZE, MANY, blocks);
    fl_alloc_many(thread, SIZE, COUNT_OF(sleeper->held), sleeper->held);
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
    EXPECT(now.cached == 0 && now.lost == before.cached && now.lost > 0);
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
    struct bed *bed = *state;
    struct worker workers[2];
    for (size_t i = 0; i < COUNT_OF(workers); i++) {
        workers[i] = (struct worker){.heap = bed->heap};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, churn, &workers[i]), 0);
    }
    for (unsigned i = 0; i < (FLI_SANITIZED ? 10 : 40); i++)
        assert_child_succeeds(go_on_with_the_heap, bed->heap);
    for (size_t i = 0; i < COUNT_OF(workers); i++) {
        __atomic_store_n(&workers[i].stop, 1, __ATOMIC_RELAXED);
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    }
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
    assert_int_equal(stats_of(bed->heap).lost_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BED_TEST(a_child_goes_on_with_the_heap_and_has_lost_nothing_of_the_forking_thread),
        BED_TEST(blocks_in_other_threads_caches_count_as_lost),
        BED_TEST(where_the_world_was_stopped_nothing_is_lost_for_one_fork),
        BED_TEST(an_offline_handle_goes_on_in_the_child_with_its_cache),
        cmocka_unit_test(children_of_children_go_on_with_the_default_heap),
        BED_TEST(a_thread_that_never_attached_can_fork),
        BED_TEST(forks_at_any_moment_leave_parent_and_child_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
