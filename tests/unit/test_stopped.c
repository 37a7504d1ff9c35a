/* SPDX-License-Identifier: MIT
 *
 * fl_heap_flush_stopped: what threads hold that are stopped outside of the library.
 */
#include "support.h"

#include "grace_support.h"

enum { THREADS = 8, SIZES = 10, MANY = 3000, STEP = 48 };

/* Threads that fill their caches, stop, and go on when they are told to. */
struct world {
    struct fl_heap *heap;
    pthread_barrier_t stopped, goes_on;
    pthread_t threads[THREADS];
    bool defers;
};

static void free_one(struct world *world, struct fl_thread *thread, void *block, size_t size)
{
    if (world->defers)
        fl_free_deferred(thread, block, size);
    else
        fl_free_sized(thread, block, size);
}

/* Allocates blocks of several sizes, writes to them and frees them. */
static void work(struct world *world, struct fl_thread *thread)
{
    static __thread void *blocks[MANY];
    for (size_t size = STEP; size <= SIZES * STEP; size += STEP) {
        for (unsigned i = 0; i < MANY; i++)
            memset(blocks[i] = fl_alloc(thread, size), (int)size, size);
        for (unsigned i = 0; i < MANY; i++)
            free_one(world, thread, blocks[i], size);
    }
}

static void *live(void *argument)
{
    struct world *world = argument;
    struct fl_thread *thread = fl_thread_attach(world->heap);
    work(world, thread);
    pthread_barrier_wait(&world->stopped);
    pthread_barrier_wait(&world->goes_on);
    work(world, thread);
    fl_thread_detach(thread);
    return NULL;
}

static void begin(struct world *world, struct fl_heap *heap, bool defers)
{
    world->heap = heap;
    world->defers = defers;
    pthread_barrier_init(&world->stopped, NULL, THREADS + 1);
    pthread_barrier_init(&world->goes_on, NULL, THREADS + 1);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&world->threads[i], NULL, live, world), 0);
    pthread_barrier_wait(&world->stopped);
}

static void go_on(struct world *world)
{
    pthread_barrier_wait(&world->goes_on);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(world->threads[i], NULL), 0);
    pthread_barrier_destroy(&world->stopped);
    pthread_barrier_destroy(&world->goes_on);
}

static void all_that_stopped_threads_hold_comes_back(void **state)
{
    struct bed *bed = *state;
    struct world world;
    begin(&world, bed->heap, false);
    assert_true(stats_of(bed->heap).cached_bytes > 0);
    fl_heap_flush_stopped(bed->heap);
    assert_sound(bed->heap);
    fl_heap_trim(bed->heap, 0); /* also takes what lies in homes that a thread has moved out of */
    assert_int_equal(stats_of(bed->heap).cached_bytes, 0);
    assert_int_equal(stats_of(bed->heap).slabs, 0);
    go_on(&world);
}

static void without_the_flush_their_caches_stay(void **state)
{
    struct bed *bed = *state;
    struct world world;
    begin(&world, bed->heap, false);
    fl_heap_trim(bed->heap, 0);
    assert_true(stats_of(bed->heap).cached_bytes > 0);
    go_on(&world);
}

static void the_callers_own_handle_is_flushed_too_and_works_on(void **state)
{
    struct bed *bed = *state;
    fl_free_sized(bed->thread, fl_alloc(bed->thread, STEP), STEP);
    fl_heap_flush_stopped(bed->heap);
    assert_int_equal(stats_of(bed->heap).cached_bytes, 0);
    fl_free_sized(bed->thread, fl_alloc(bed->thread, STEP), STEP);
    assert_true(stats_of(bed->heap).cached_bytes > 0);
}

static void what_stopped_threads_have_deferred_is_submitted(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    struct world world;
    begin(&world, bed.heap, true);
    let_all_go(&host, bed.thread);
    assert_true(stats_of(bed.heap).deferred_bytes > 0);
    fl_heap_flush_stopped(bed.heap);
    let_all_go(&host, bed.thread);
    assert_int_equal(stats_of(bed.heap).deferred_bytes, 0);
    go_on(&world);
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

/* A thread that is detaching its handle, as an exit does, which nobody can stop. */
struct detaching {
    struct fl_thread *thread;
    size_t cached_bytes; /* what its cache has after a flush meanwhile */
};

static void flush_meanwhile(struct fl_heap *heap, size_t deferred_bytes, void *context)
{
    struct detaching *detaching = context;
    (void)deferred_bytes;
    fl_free_sized(detaching->thread, fl_alloc(detaching->thread, STEP), STEP);
    fl_heap_flush_stopped(heap);
    detaching->cached_bytes = stats_of(heap).cached_bytes;
}

static void a_handle_that_its_thread_detaches_is_left_to_that_thread(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct detaching detaching = {0};
    struct bed bed = bed_of_host(
        &host, &(struct fl_options){.defer_bytes = 1, .on_deferred = flush_meanwhile, .context = &detaching});
    detaching.thread = fl_thread_attach(bed.heap);
    fl_free_deferred(detaching.thread, fl_alloc(detaching.thread, STEP), STEP);
    assert_int_equal(fl_thread_detach(detaching.thread), 0);
    assert_true(detaching.cached_bytes > 0);
    detaching.thread = bed.thread;
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BED_TEST(all_that_stopped_threads_hold_comes_back),
        BED_TEST(without_the_flush_their_caches_stay),
        BED_TEST(the_callers_own_handle_is_flushed_too_and_works_on),
        cmocka_unit_test(what_stopped_threads_have_deferred_is_submitted),
        cmocka_unit_test(a_handle_that_its_thread_detaches_is_left_to_that_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
