/* SPDX-License-Identifier: MIT
 *
 * Traces: from the start on, every allocation and deallocation is told, and none after the end.
 */
#include "grace_support.h"

#include "heap/trace.h"

enum { SIZE = 48, LARGE = 40000, SOME = 1000, PATIENCE_MS = 10000 };

/* What has been told on this thread. */
static __thread struct told {
    unsigned allocs, frees;
    struct fl_trace_event last;
    void (*act)(struct fl_heap *heap, const struct fl_trace_event *event);
} told;

static void note(struct fl_heap *heap, const struct fl_trace_event *event, void *context)
{
    assert_null(context);
    *(event->kind == FL_TRACE_ALLOC ? &told.allocs : &told.frees) += 1;
    told.last = *event;
    if (told.act != NULL)
        told.act(heap, event);
}

static const struct fl_trace trace = {.callback = note};

static void start(struct fl_heap *heap)
{
    memset(&told, 0, sizeof told);
    assert_int_equal(fl_trace_start(heap, &trace, PATIENCE_MS), 0);
}

/* So much has been told since the last time, the last of it of this block. */
static void assert_told(unsigned allocs, unsigned frees, const void *block, size_t size, const char *type)
{
    assert_int_equal(told.allocs, allocs);
    assert_int_equal(told.frees, frees);
    assert_ptr_equal(told.last.block, block);
    assert_int_equal(told.last.size, size);
    if (type != NULL)
        assert_string_equal(told.last.type, type);
    else
        assert_null(told.last.type);
    told.allocs = told.frees = 0;
}

static void assert_nothing_told(void)
{
    assert_int_equal(told.allocs + told.frees, 0);
}

/* ---- What is told. */

static void every_allocation_is_told(void **state)
{
    struct bed *bed = *state;
    void *block, *blocks[3 * SOME];
    fl_free(bed->thread, fl_alloc(bed->thread, SIZE)); /* the cache has blocks */
    start(bed->heap);
    block = fl_alloc(bed->thread, SIZE);
    assert_told(1, 0, block, SIZE, NULL);
    fl_free(bed->thread, block);
    assert_told(0, 1, block, SIZE, NULL);
    block = fl_alloc_zeroed(bed->thread, SIZE - 1);
    assert_told(1, 0, block, SIZE - 1, NULL);
    fl_free_sized(bed->thread, block, SIZE - 1);
    assert_told(0, 1, block, SIZE - 1, NULL);
    block = fl_alloc_aligned(bed->thread, 64, SIZE);
    assert_told(1, 0, block, 64, NULL);
    fl_free_aligned(bed->thread, block, 64, SIZE);
    assert_told(0, 1, block, 64, NULL);
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, COUNT_OF(blocks), blocks), 0);
    assert_told(COUNT_OF(blocks), 0, blocks[COUNT_OF(blocks) - 1], SIZE, NULL);
    fl_free_many(bed->thread, SIZE, COUNT_OF(blocks), blocks);
    assert_told(0, COUNT_OF(blocks), blocks[COUNT_OF(blocks) - 1], SIZE, NULL);
    block = fl_alloc(bed->thread, LARGE);
    assert_told(1, 0, block, LARGE, NULL);
    fl_free(bed->thread, block);
    assert_told(0, 1, block, LARGE, NULL);
    block = fl_alloc(bed->thread, LARGE);
    fl_heap_free(bed->heap, block);
    assert_told(1, 1, block, LARGE, NULL);
    fl_trace_stop(bed->heap);
}

static void a_block_that_is_resized_is_told(void **state)
{
    struct bed *bed = *state;
    char *block = fl_alloc(bed->thread, SIZE);
    start(bed->heap);
    block = fl_realloc(bed->thread, block, SIZE, SIZE - 1);
    assert_nothing_told();
    char *old = block;
    block = fl_realloc(bed->thread, block, SIZE - 1, 1000);
    assert_told(1, 1, old, SIZE - 1, NULL);
    block = fl_realloc(bed->thread, block, 1000, LARGE);
    assert_int_equal(told.allocs + told.frees, 2);
    told.allocs = told.frees = 0;
    block = fl_realloc(bed->thread, block, LARGE, 3 * LARGE);
    assert_told(1, 1, block, 3 * LARGE, NULL);
    assert_null(fl_realloc(bed->thread, block, 3 * LARGE, SIZE_MAX / 2 + 2));
    assert_told(1, 1, block, 3 * LARGE, NULL); /* it goes on */
    fl_free(bed->thread, block);
    fl_trace_stop(bed->heap);
}

static void clear_nothing(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread;
    (void)object;
    (void)type;
}

static void objects_are_told_with_their_types(void **state)
{
    struct bed *bed = *state;
    static struct fl_type plain = {.name = "plain", .size = SIZE, .kind = FL_DEALLOC_PLAIN},
                          cleared = {.name = "cleared", .size = SIZE, .clear = clear_nothing};
    if (!plain.ready) {
        assert_int_equal(fl_type_ready(&plain, NULL, NULL, 0), 0);
        assert_int_equal(fl_type_ready(&cleared, NULL, NULL, 0), 0);
    }
    start(bed->heap);
    void *object = fl_type_alloc(bed->thread, &plain);
    assert_told(1, 0, object, SIZE, "plain");
    fl_dealloc(bed->thread, object, &plain);
    assert_told(0, 1, object, SIZE, "plain");
    object = fl_type_alloc(bed->thread, &plain);
    fl_dealloc_tagged(bed->thread, object, &plain, fl_type_tag(&plain));
    assert_told(1, 1, object, SIZE, "plain");
    object = fl_type_alloc(bed->thread, &cleared);
    assert_told(1, 0, object, SIZE, "cleared");
    fl_dealloc(bed->thread, object, &cleared);
    assert_told(0, 1, object, SIZE, "cleared");
    object = fl_type_alloc(bed->thread, &cleared);
    fl_type_free(bed->thread, object, &cleared);
    assert_told(1, 1, object, SIZE, "cleared");
    fl_trace_stop(bed->heap);
}

static void a_deferred_block_is_told_when_it_is_deferred(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    for (unsigned i = 0; i < 3; i++)
        fl_free_deferred(bed.thread, fl_alloc(bed.thread, SIZE), SIZE); /* there is a magazine for them */
    start(bed.heap);
    void *block = fl_alloc(bed.thread, SIZE);
    fl_free_deferred(bed.thread, block, SIZE);
    assert_told(1, 1, block, SIZE, NULL);
    block = fl_alloc(bed.thread, LARGE);
    fl_free_deferred(bed.thread, block, LARGE);
    assert_told(1, 1, block, LARGE, NULL);
    let_all_go(&host, bed.thread);
    assert_nothing_told();
    fl_trace_stop(bed.heap);
    end_bed(&bed);
}

static void a_heap_with_stale_readers_is_traced(void **state)
{
    (void)state;
    static const struct fl_header header = {.bytes = 16, .words = 1, .clear = {{8, 8}}};
    static struct fl_type type = {.name = "seen", .size = SIZE, .kind = FL_DEALLOC_PLAIN, .header = &header};
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, &(struct fl_options){.header = &header});
    assert_int_equal(fl_type_ready(&type, NULL, NULL, 0), 0);
    fl_type_free(bed.thread, fl_type_alloc(bed.thread, &type), &type);
    start(bed.heap);
    for (unsigned i = 0; i < SOME; i++) {
        uint64_t *object = fl_type_alloc(bed.thread, &type);
        assert_told(1, 0, object, SIZE, "seen");
        object[1] = 1;
        if (i % 2 == 0)
            fl_free(bed.thread, object);
        else
            fl_type_free(bed.thread, object, &type);
        assert_told(0, 1, object, SIZE, i % 2 == 0 ? NULL : "seen");
        assert_int_equal(object[1], 0);
    }
    assert_sound(bed.heap);
    fl_trace_stop(bed.heap);
    fl_type_free(bed.thread, fl_type_alloc(bed.thread, &type), &type);
    assert_nothing_told();
    end_periods(&host);
    end_bed(&bed);
}

static void a_free_that_is_misuse_is_not_told(void **state)
{
    struct bed *bed = *state;
    start(bed->heap);
    fl_free(bed->thread, &bed);
    assert_misuse("fl_free", &bed, "is not a block of heap");
    assert_nothing_told();
    fl_trace_stop(bed->heap);
}

static void *free_unattached(void *block)
{
    memset(&told, 0, sizeof told);
    fl_free(fl_thread_self(), block);
    EXPECT(told.frees == 1 && told.last.block == block);
    return NULL;
}

static void calls_without_a_handle_are_told(void **state)
{
    (void)state;
    struct fl_heap *heap = fl_heap_default();
    void *block = fl_alloc(fl_thread_self(), SIZE);
    start(heap);
    void *other = fl_alloc(fl_thread_self(), SIZE);
    assert_told(1, 0, other, SIZE, NULL);
    fl_heap_free(heap, block);
    assert_told(0, 1, block, SIZE, NULL);
    run_on_thread(free_unattached, other);
    fl_trace_stop(heap);
    assert_sound(heap);
}

/* ---- The end. */

static void after_the_end_nothing_is_told_and_caches_serve_again(void **state)
{
    struct bed *bed = *state;
    start(bed->heap);
    fl_free(bed->thread, fl_alloc(bed->thread, SIZE));
    fl_trace_stop(bed->heap);
    memset(&told, 0, sizeof told);
    for (unsigned i = 0; i < 3; i++)
        fl_free(bed->thread, fl_alloc(bed->thread, SIZE));
    assert_nothing_told();
    struct fl_cache *cache = &bed->thread->cache[fl_size_class(SIZE)];
    assert_true(FLI_CHECKED || cache->top != cache->floor);
    assert_false(fli_trace_calls(fli_thread_of(bed->thread)));
    start(bed->heap);
    fl_free(bed->thread, fl_alloc(bed->thread, SIZE));
    assert_int_equal(told.allocs + told.frees, 2);
    fl_trace_stop(bed->heap);
}

static void a_heap_has_one_trace_at_a_time(void **state)
{
    struct bed *bed = *state;
    start(bed->heap);
    assert_int_equal(fl_trace_start(bed->heap, &trace, 0), -EBUSY);
    void *block = fl_alloc(bed->thread, SIZE);
    assert_told(1, 0, block, SIZE, NULL);
    fl_free(bed->thread, block);
    fl_trace_stop(bed->heap);
    fl_trace_stop(bed->heap);
}

static void a_trace_without_a_callback_is_misuse(void **state)
{
    struct bed *bed = *state;
    static const struct fl_trace empty;
    assert_int_equal(fl_trace_start(bed->heap, &empty, 0), -EINVAL);
    assert_misuse("fl_trace_start", bed->heap, "without a callback");
    assert_int_equal(fl_trace_start(bed->heap, NULL, 0), -EINVAL);
    assert_misuse("fl_trace_start", bed->heap, "without a callback");
    start(bed->heap); /* none is on */
    fl_trace_stop(bed->heap);
}

/* ---- The callback. */

static void allocate_too(struct fl_heap *heap, const struct fl_trace_event *event)
{
    struct fl_thread *thread = fl_thread_attach(heap);
    fl_free(thread, fl_alloc(thread, event->size));
    fl_thread_detach(thread);
}

static void what_the_callback_does_itself_is_not_told(void **state)
{
    struct bed *bed = *state;
    start(bed->heap);
    told.act = allocate_too;
    void *block = fl_alloc(bed->thread, SIZE);
    assert_told(1, 0, block, SIZE, NULL);
    fl_free(bed->thread, block);
    assert_told(0, 1, block, SIZE, NULL);
    fl_trace_stop(bed->heap);
}

static jmp_buf out;

static void leave(struct fl_heap *heap, const struct fl_trace_event *event)
{
    (void)heap;
    (void)event;
    longjmp(out, 1);
}

static void the_callback_can_be_left(void **state)
{
    struct bed *bed = *state;
    start(bed->heap);
    void *volatile block = fl_alloc(bed->thread, SIZE);
    told.act = leave;
    if (setjmp(out) == 0)
        fl_free(bed->thread, block);
    told.act = NULL;
    assert_int_equal(stats_of(bed->heap).live_blocks, 1);
    fl_free(bed->thread, block);
    assert_told(1, 2, block, SIZE, NULL);
    fl_trace_stop(bed->heap);
}

/* ---- Other threads. */

/* A thread that does as it is told, one thing after the other. */
struct other {
    struct fl_heap *heap;
    pthread_t thread;
    pthread_barrier_t begun, ends;
    bool stop, acts, quiesces, looks;
    bool goes_offline;
};

static void *live(void *argument)
{
    struct other *other = argument;
    struct fl_thread *thread = fl_thread_attach(other->heap);
    void *block = fl_alloc(thread, SIZE);
    fl_free(thread, fl_alloc(thread, 2 * SIZE));
    if (other->goes_offline)
        fl_thread_offline(thread);
    pthread_barrier_wait(&other->begun);
    while (!__atomic_load_n(&other->stop, __ATOMIC_ACQUIRE)) {
        if (other->acts)
            fl_free(thread, fl_alloc(thread, LARGE)); /* takes the slow half */
        if (other->quiesces)
            fl_quiescent(thread);
        if (other->looks && __atomic_load_n(fl_thread_pending(thread), __ATOMIC_RELAXED) != 0)
            fl_run_pending(thread, fl_budget_objects(1));
        usleep(100);
    }
    pthread_barrier_wait(&other->ends);
    if (other->goes_offline)
        fl_thread_online(thread);
    memset(&told, 0, sizeof told);
    fl_free_sized(thread, block, SIZE);
    bool was_told = told.frees == 1;
    fl_thread_detach(thread);
    return (void *)(uintptr_t)was_told;
}

static void begin(struct other *other, struct fl_heap *heap)
{
    other->heap = heap;
    pthread_barrier_init(&other->begun, NULL, 2);
    pthread_barrier_init(&other->ends, NULL, 2);
    assert_int_equal(pthread_create(&other->thread, NULL, live, other), 0);
    pthread_barrier_wait(&other->begun);
}

/* Ends the thread. Returns whether its last free was told. */
static bool end(struct other *other)
{
    void *was_told;
    __atomic_store_n(&other->stop, true, __ATOMIC_RELEASE);
    pthread_barrier_wait(&other->ends);
    assert_int_equal(pthread_join(other->thread, &was_told), 0);
    pthread_barrier_destroy(&other->begun);
    pthread_barrier_destroy(&other->ends);
    return was_told != NULL;
}

/* A trace starts while the thread runs, whose last free is told. */
static void assert_joins(struct other *other, struct fl_heap *heap)
{
    begin(other, heap);
    start(heap);
    assert_true(end(other));
    fl_trace_stop(heap);
}

static void a_thread_acknowledges_in_a_slow_half(void **state)
{
    struct bed *bed = *state;
    struct other other = {.acts = true};
    assert_joins(&other, bed->heap);
}

static void a_thread_acknowledges_at_a_quiescent_state(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    struct other other = {.quiesces = true};
    assert_joins(&other, bed.heap);
    end_bed(&bed);
}

static void a_thread_acknowledges_when_it_runs_what_is_pending(void **state)
{
    struct bed *bed = *state;
    struct other other = {.looks = true};
    assert_joins(&other, bed->heap);
}

static void a_handle_that_is_offline_need_not(void **state)
{
    struct bed *bed = *state;
    struct other other = {.goes_offline = true};
    assert_joins(&other, bed->heap);
}

static void while_the_world_is_stopped_no_handle_need(void **state)
{
    struct bed *bed = *state;
    struct other other = {.acts = false};
    begin(&other, bed->heap);
    assert_int_equal(fl_heap_walk_begin(bed->heap), 0);
    memset(&told, 0, sizeof told);
    assert_int_equal(fl_trace_start(bed->heap, &trace, 0), 0);
    fl_heap_walk_end(bed->heap);
    assert_true(end(&other));
    fl_trace_stop(bed->heap);
}

static void after_a_stop_for_a_fork_no_handle_need(void **state)
{
    struct bed *bed = *state;
    struct other other = {.acts = false};
    begin(&other, bed->heap);
    fl_heap_fork_stopped(bed->heap);
    memset(&told, 0, sizeof told);
    assert_int_equal(fl_trace_start(bed->heap, &trace, 0), 0);
    fl_heap_fork_resumed(bed->heap);
    assert_true(end(&other));
    fl_trace_stop(bed->heap);
}

static void a_thread_that_does_not_come_is_not_waited_for_longer(void **state)
{
    struct bed *bed = *state;
    struct other other = {.acts = false};
    begin(&other, bed->heap);
    memset(&told, 0, sizeof told);
    assert_int_equal(fl_trace_start(bed->heap, &trace, 20), -ETIMEDOUT);
    fl_free(bed->thread, fl_alloc(bed->thread, SIZE));
    assert_nothing_told();
    assert_false(end(&other));
    start(bed->heap);
    fl_trace_stop(bed->heap);
}

static void *attach_and_allocate(void *heap)
{
    struct fl_thread *thread = fl_thread_attach(heap);
    EXPECT(fli_thread_of(thread)->diverted); /* no start waits for it */
    memset(&told, 0, sizeof told);
    fl_free_sized(thread, fl_alloc(thread, SIZE), SIZE);
    EXPECT(told.allocs == 1 && told.frees == 1);
    fl_thread_detach(thread);
    return NULL;
}

static void a_thread_that_attaches_later_is_traced(void **state)
{
    struct bed *bed = *state;
    start(bed->heap);
    run_on_thread(attach_and_allocate, bed->heap);
    fl_trace_stop(bed->heap);
}

static void allocate_in_the_child(void *argument)
{
    struct bed *bed = argument;
    fl_free_sized(bed->thread, fl_alloc(bed->thread, SIZE), SIZE);
    EXPECT(told.allocs == 1 && told.frees == 1);
    EXPECT_SOUND(bed->heap);
}

static void a_trace_goes_on_in_the_child_of_a_fork(void **state)
{
    struct bed *bed = *state;
    start(bed->heap);
    assert_child_succeeds(allocate_in_the_child, bed);
    fl_trace_stop(bed->heap);
}

/* ---- Exactness: traces start and end while threads work. */

enum { THREADS = 4, ROUNDS = 30 };

struct storm {
    struct fl_heap *heap;
    bool stop;
    unsigned on; /* odd while a trace is on */
    size_t certain;
};

static unsigned stage(struct storm *storm)
{
    return __atomic_load_n(&storm->on, __ATOMIC_SEQ_CST);
}

/* One allocation and free. What begins and ends within one trace is told. */
static void act(struct storm *storm, struct fl_thread *thread, size_t size)
{
    unsigned before = stage(storm);
    memset(&told, 0, sizeof told);
    fl_free_sized(thread, fl_alloc(thread, size), size);
    if (before % 2 == 0 || stage(storm) != before)
        return;
    EXPECT(told.allocs == 1 && told.frees == 1);
    __atomic_add_fetch(&storm->certain, 1, __ATOMIC_RELAXED);
}

static void *rage(void *argument)
{
    struct storm *storm = argument;
    struct fl_thread *thread = fl_thread_attach(storm->heap);
    for (unsigned i = 0; !__atomic_load_n(&storm->stop, __ATOMIC_ACQUIRE); i++)
        act(storm, thread, i % 50 == 0 ? LARGE : SIZE);
    fl_thread_detach(thread);
    return NULL;
}

static void what_threads_do_during_a_trace_is_told_exactly(void **state)
{
    struct bed *bed = *state;
    struct storm storm = {.heap = bed->heap};
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, rage, &storm), 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        start(bed->heap);
        __atomic_add_fetch(&storm.on, 1, __ATOMIC_SEQ_CST);
        usleep(1000);
        __atomic_add_fetch(&storm.on, 1, __ATOMIC_SEQ_CST);
        fl_trace_stop(bed->heap);
        usleep(500);
    }
    __atomic_store_n(&storm.stop, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(storm.certain > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BED_TEST(every_allocation_is_told),
        BED_TEST(a_block_that_is_resized_is_told),
        BED_TEST(objects_are_told_with_their_types),
        cmocka_unit_test(a_deferred_block_is_told_when_it_is_deferred),
        cmocka_unit_test(a_heap_with_stale_readers_is_traced),
        MISUSE_TEST(a_free_that_is_misuse_is_not_told),
        cmocka_unit_test(calls_without_a_handle_are_told),
        BED_TEST(after_the_end_nothing_is_told_and_caches_serve_again),
        BED_TEST(a_heap_has_one_trace_at_a_time),
        MISUSE_TEST(a_trace_without_a_callback_is_misuse),
        BED_TEST(what_the_callback_does_itself_is_not_told),
        BED_TEST(the_callback_can_be_left),
        BED_TEST(a_thread_acknowledges_in_a_slow_half),
        cmocka_unit_test(a_thread_acknowledges_at_a_quiescent_state),
        BED_TEST(a_thread_acknowledges_when_it_runs_what_is_pending),
        BED_TEST(a_handle_that_is_offline_need_not),
        BED_TEST(while_the_world_is_stopped_no_handle_need),
        BED_TEST(after_a_stop_for_a_fork_no_handle_need),
        BED_TEST(a_thread_that_does_not_come_is_not_waited_for_longer),
        BED_TEST(a_thread_that_attaches_later_is_traced),
        BED_TEST(a_trace_goes_on_in_the_child_of_a_fork),
        BED_TEST(what_threads_do_during_a_trace_is_told_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
