/* SPDX-License-Identifier: MIT
 *
 * Fork handlers of the host that call the library: registered before the first heap, so that they run between those of
 * the library, and after it.
 */
#include "grace_support.h"

enum { SIZE = 240, MANY = FLI_RARE_PATHS ? 3000 : 20000, SECONDS = 300 };

enum stage { PREPARE, PARENT, CHILD, STAGES };

/* What the handlers of a test do, and how often they have come to each stage. */
static void (*early_act)(enum stage stage), (*late_act)(enum stage stage);
static unsigned early_count[STAGES], late_count[STAGES];

static void act(void (*what)(enum stage stage), unsigned *count, enum stage stage)
{
    count[stage]++;
    if (what != NULL)
        what(stage);
}

static void early_prepare(void)
{
    act(early_act, early_count, PREPARE);
}

static void early_parent(void)
{
    act(early_act, early_count, PARENT);
}

static void early_child(void)
{
    act(early_act, early_count, CHILD);
}

static void late_prepare(void)
{
    act(late_act, late_count, PREPARE);
}

static void late_parent(void)
{
    act(late_act, late_count, PARENT);
}

static void late_child(void)
{
    act(late_act, late_count, CHILD);
}

/* What the handlers work on. */
static struct bed bed;
static void *blocks[MANY];

static void child_is_sound(void *argument)
{
    (void)argument;
    alarm(SECONDS);
    EXPECT(early_count[CHILD] == 1 && late_count[CHILD] == 1);
    EXPECT_SOUND(bed.heap);
    void *more[MANY];
    EXPECT(fl_alloc_many(bed.thread, SIZE, MANY, more) == 0);
    fl_free_many(bed.thread, SIZE, MANY, more);
    EXPECT_SOUND(bed.heap);
    fl_heap_trim(bed.heap, 0);
    EXPECT_SOUND(bed.heap);
    struct fl_thread *thread = fl_thread_attach(bed.heap);
    EXPECT(thread != NULL && fl_thread_detach(thread) == 0);
}

/* Forks with `what` done by the handlers that run between those of the library, and then by those outside of them. */
static void fork_with(void (*what)(enum stage stage), void (*in_child)(void *), void *argument)
{
    for (unsigned early = 0; early < 2; early++) {
        early_act = early ? what : NULL;
        late_act = early ? NULL : what;
        memset(early_count, 0, sizeof early_count);
        memset(late_count, 0, sizeof late_count);
        alarm(SECONDS);
        assert_child_succeeds(in_child, argument);
        alarm(0);
        assert_int_equal(early_count[PREPARE] + early_count[PARENT], 2);
        assert_int_equal(late_count[PREPARE] + late_count[PARENT], 2);
        assert_sound(bed.heap);
    }
    early_act = late_act = NULL;
}

static int up(void **state)
{
    (void)state;
    bed = bed_with(NULL);
    return 0;
}

static int down(void **state)
{
    (void)state;
    assert_int_equal(stats_of(bed.heap).lost_bytes, 0);
    end_bed(&bed);
    return 0;
}

#define HANDLER_TEST(test) cmocka_unit_test_setup_teardown(test, up, down)

/* ---- Blocks. */

static void allocate_and_free(enum stage stage)
{
    static const size_t sizes[] = {SIZE, 480, 100000};
    EXPECT_SOUND(bed.heap);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *block = fl_alloc(bed.thread, sizes[i]);
        EXPECT(block != NULL);
        memset(block, (int)stage, sizes[i]);
        fl_free(bed.thread, block);
    }
    EXPECT_SOUND(bed.heap);
}

static void handlers_may_allocate_and_free(void **state)
{
    (void)state;
    fork_with(allocate_and_free, child_is_sound, NULL);
}

/* So many that magazines go to the pool and come from it. */
static void hold_many(enum stage stage)
{
    (void)stage;
    EXPECT(fl_alloc_many(bed.thread, SIZE, MANY, blocks) == 0);
    EXPECT_SOUND(bed.heap);
    fl_free_many(bed.thread, SIZE, MANY, blocks);
    EXPECT_SOUND(bed.heap);
}

static void nothing_is_live(void *argument)
{
    struct fl_stats stats;
    fl_heap_stats(bed.heap, &stats);
    EXPECT(stats.live_blocks == 0 && stats.lost_bytes == 0);
    child_is_sound(argument);
    fl_heap_stats(bed.heap, &stats);
    EXPECT(stats.live_blocks == 0 && stats.lost_bytes == 0);
    EXPECT(fl_thread_detach(bed.thread) == 0);
    fl_heap_trim(bed.heap, 0);
    fl_heap_stats(bed.heap, &stats);
    EXPECT(stats.slabs == 0);
    EXPECT(fl_heap_destroy(bed.heap) == 0);
}

static void what_handlers_free_is_free_in_parent_and_child(void **state)
{
    (void)state;
    fork_with(hold_many, nothing_is_live, NULL);
    assert_int_equal(stats_of(bed.heap).live_blocks, 0);
}

static void free_in_prepare(enum stage stage)
{
    if (stage == PREPARE)
        fl_free_many(bed.thread, SIZE, MANY, blocks);
}

static void blocks_freed_before_the_fork_are_free_in_both(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, blocks), 0);
        early_act = i == 0 ? free_in_prepare : NULL;
        late_act = i == 0 ? NULL : free_in_prepare;
        memset(early_count, 0, sizeof early_count);
        memset(late_count, 0, sizeof late_count);
        assert_child_succeeds(nothing_is_live, NULL);
        assert_int_equal(stats_of(bed.heap).live_blocks, 0);
    }
    early_act = late_act = NULL;
}

static void free_without_a_thread(enum stage stage)
{
    (void)stage;
    fl_heap_free(bed.heap, fl_alloc(bed.thread, SIZE));
}

static void handlers_may_free_without_a_thread(void **state)
{
    (void)state;
    fork_with(free_without_a_thread, child_is_sound, NULL);
}

static void use_the_default_heap(enum stage stage)
{
    (void)stage;
    void *block = fl_alloc(fl_thread_self(), SIZE);
    EXPECT(block != NULL);
    fl_free(fl_thread_self(), block);
    EXPECT_SOUND(fl_heap_default());
}

static void handlers_may_be_the_first_to_use_the_default_heap(void **state)
{
    (void)state;
    fork_with(use_the_default_heap, child_is_sound, NULL);
    assert_sound(fl_heap_default());
}

/* ---- Threads, statistics, trims, heaps. */

static void attach_and_detach(enum stage stage)
{
    (void)stage;
    struct fl_thread *thread = fl_thread_attach(bed.heap);
    EXPECT(thread != NULL);
    fl_free(thread, fl_alloc(thread, SIZE));
    fl_thread_offline(thread);
    fl_thread_online(thread);
    EXPECT(fl_thread_detach(thread) == 0);
}

static void handlers_may_attach_and_detach(void **state)
{
    (void)state;
    fork_with(attach_and_detach, child_is_sound, NULL);
    assert_int_equal(stats_of(bed.heap).threads, 1);
}

static struct fl_stats expected;

static void look_at_statistics(enum stage stage)
{
    (void)stage;
    struct fl_stats stats;
    fl_heap_stats(bed.heap, &stats);
    EXPECT(stats.live_blocks == expected.live_blocks && stats.pooled_bytes == expected.pooled_bytes);
    EXPECT(stats.cached_bytes == expected.cached_bytes && stats.magazines == expected.magazines);
    EXPECT(stats.empty_magazines == expected.empty_magazines && stats.threads == 1);
}

static void handlers_may_look_at_statistics(void **state)
{
    (void)state;
    void *few[3];
    assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, blocks), 0);
    fl_free_many(bed.thread, SIZE, MANY, blocks);
    assert_int_equal(fl_alloc_many(bed.thread, SIZE, COUNT_OF(few), few), 0);
    expected = stats_of(bed.heap);
    fork_with(look_at_statistics, child_is_sound, NULL);
    fl_free_many(bed.thread, SIZE, COUNT_OF(few), few);
}

static void flush_and_trim(enum stage stage)
{
    struct fl_stats stats;
    hold_many(stage);
    fl_thread_flush(bed.thread);
    fl_heap_trim(bed.heap, 0);
    fl_heap_stats(bed.heap, &stats);
    EXPECT(stats.slabs == 0);
    EXPECT_SOUND(bed.heap);
}

static void handlers_may_flush_and_trim(void **state)
{
    (void)state;
    fork_with(flush_and_trim, child_is_sound, NULL);
}

static void make_a_heap(enum stage stage)
{
    (void)stage;
    struct fl_heap *heap = fl_heap_create(NULL, NULL, 0);
    EXPECT(heap != NULL);
    struct fl_thread *thread = fl_thread_attach(heap);
    EXPECT(thread != NULL);
    fl_free(thread, fl_alloc(thread, SIZE));
    EXPECT(fl_thread_detach(thread) == 0);
    EXPECT_SOUND(heap);
    EXPECT(fl_heap_destroy(heap) == 0);
}

static void handlers_may_make_and_destroy_heaps(void **state)
{
    (void)state;
    fork_with(make_a_heap, child_is_sound, NULL);
}

/* A heap that outlives the fork. */
static struct fl_heap *lasting;

static void make_a_lasting_heap(enum stage stage)
{
    if (stage == PREPARE)
        EXPECT((lasting = fl_heap_create(NULL, NULL, 0)) != NULL);
    struct fl_thread *thread = fl_thread_attach(lasting);
    fl_free(thread, fl_alloc(thread, SIZE));
    EXPECT(fl_thread_detach(thread) == 0);
}

static void destroy_the_lasting_heap(void *argument)
{
    child_is_sound(argument);
    EXPECT_SOUND(lasting);
    EXPECT(fl_heap_destroy(lasting) == 0);
}

static void a_heap_made_by_a_handler_lives_on_in_both(void **state)
{
    (void)state;
    for (unsigned early = 0; early < 2; early++) {
        early_act = early ? make_a_lasting_heap : NULL;
        late_act = early ? NULL : make_a_lasting_heap;
        memset(early_count, 0, sizeof early_count);
        memset(late_count, 0, sizeof late_count);
        alarm(SECONDS);
        assert_child_succeeds(destroy_the_lasting_heap, NULL);
        alarm(0);
        end_heap(lasting);
    }
    early_act = late_act = NULL;
}

/* ---- Beside others. */

enum { LARGE = 4096, MOST = 1000 }; /* large blocks stay in magazines */

/* A thread that has many magazines, and waits. */
struct holder {
    pthread_t thread;
    sem_t ready, go;
};

static void *fill_and_wait(void *argument)
{
    struct holder *holder = argument;
    struct fl_thread *thread = fl_thread_attach(bed.heap);
    void *mine[MOST];
    for (unsigned round = 0; round < 20; round++) { /* until they stay on the thread's rack */
        assert_int_equal(fl_alloc_many(thread, LARGE, MOST, mine), 0);
        fl_free_many(thread, LARGE, MOST, mine);
    }
    assert_true(class_stats_of(bed.heap, LARGE).cached > (FLI_RARE_PATHS ? 0 : MOST / 2));
    sem_post(&holder->ready);
    wait_for_post(&holder->go);
    return NULL;
}

static void stop_the_world(enum stage stage)
{
    if (stage == PREPARE)
        fl_heap_fork_stopped(bed.heap);
    allocate_and_free(stage);
}

/* They are so many that the child's heap trims itself. */
static void handlers_may_tell_that_the_world_is_stopped(void **state)
{
    (void)state;
    struct holder holder;
    assert_int_equal(sem_init(&holder.ready, 0, 0), 0);
    assert_int_equal(sem_init(&holder.go, 0, 0), 0);
    assert_int_equal(pthread_create(&holder.thread, NULL, fill_and_wait, &holder), 0);
    wait_for_post(&holder.ready);
    fork_with(stop_the_world, nothing_is_live, NULL);
    fl_heap_fork_stopped(bed.heap);
    assert_child_succeeds(nothing_is_live, NULL);
    sem_post(&holder.go);
    assert_int_equal(pthread_join(holder.thread, NULL), 0);
    sem_destroy(&holder.ready);
    sem_destroy(&holder.go);
}

struct worker {
    pthread_t thread;
    unsigned char stop;
};

static void *churn(void *argument)
{
    struct worker *worker = argument;
    struct fl_thread *thread = fl_thread_attach(bed.heap);
    void *mine[2000];
    while (!__atomic_load_n(&worker->stop, __ATOMIC_RELAXED)) {
        assert_int_equal(fl_alloc_many(thread, SIZE, COUNT_OF(mine), mine), 0);
        fl_free_many(thread, SIZE, COUNT_OF(mine), mine);
        fl_free(thread, fl_alloc(thread, 50000));
    }
    fl_thread_detach(thread);
    return NULL;
}

static void go_on_beside_what_is_lost(void *argument)
{
    (void)argument;
    alarm(SECONDS);
    EXPECT_SOUND(bed.heap);
    unsigned char *more[MANY];
    EXPECT(fl_alloc_many(bed.thread, SIZE, MANY, (void **)more) == 0);
    for (unsigned i = 0; i < MANY; i++)
        memset(more[i], (int)i, SIZE);
    for (unsigned i = 0; i < MANY; i++)
        EXPECT(more[i][0] == (i & 255) && more[i][SIZE - 1] == (i & 255));
    fl_free_many(bed.thread, SIZE, MANY, (void **)more);
    EXPECT_SOUND(bed.heap);
}

static void hold_many_beside_others(enum stage stage)
{
    (void)stage;
    EXPECT(fl_alloc_many(bed.thread, SIZE, MANY, blocks) == 0);
    fl_free_many(bed.thread, SIZE, MANY, blocks);
    attach_and_detach(stage);
}

static void handlers_may_work_while_other_threads_do(void **state)
{
    (void)state;
    if (FLI_SANITIZED) /* their allocators do not know fork */
        skip();
    struct worker workers[2] = {{0}};
    for (size_t i = 0; i < COUNT_OF(workers); i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, churn, &workers[i]), 0);
    early_act = hold_many_beside_others;
    for (unsigned round = 0; round < 20; round++) {
        alarm(SECONDS);
        assert_child_succeeds(go_on_beside_what_is_lost, NULL);
    }
    alarm(0);
    early_act = NULL;
    for (size_t i = 0; i < COUNT_OF(workers); i++) {
        __atomic_store_n(&workers[i].stop, 1, __ATOMIC_RELAXED);
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    }
    assert_int_equal(stats_of(bed.heap).live_blocks, 0);
}

/* ---- Grace periods. */

static void defer_and_read(enum stage stage)
{
    (void)stage;
    for (unsigned i = 0; i < MANY; i++)
        fl_free_deferred(bed.thread, fl_alloc(bed.thread, SIZE), SIZE);
    fl_read_lock(bed.thread);
    fl_read_unlock(bed.thread);
    fl_quiescent(bed.thread);
    int result = fl_heap_barrier(bed.heap);
    EXPECT(result == 0 || result == -EAGAIN || result == -ENOTSUP);
    attach_and_detach(stage);
    EXPECT_SOUND(bed.heap);
}

static void reclaim_if_bp(void *argument)
{
    alarm(SECONDS);
    enum fl_grace *grace = argument;
    EXPECT(fl_heap_barrier(bed.heap) == (*grace == FL_GRACE_BP ? 0 : -ENOTSUP));
    EXPECT_SOUND(bed.heap);
}

static void defer_in_handlers(enum fl_grace grace)
{
    struct bed before = bed;
    bed = bed_of(grace);
    fork_with(defer_and_read, reclaim_if_bp, &grace);
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    assert_int_equal(stats_of(bed.heap).deferred_bytes, 0);
    end_bed(&bed);
    bed = before;
}

static void handlers_may_defer_with_bp(void **state)
{
    (void)state;
    defer_in_handlers(FL_GRACE_BP);
}

static void handlers_may_defer_with_qsbr(void **state)
{
    (void)state;
    defer_in_handlers(FL_GRACE_QSBR);
}

static void handlers_may_defer_on_a_thread_that_never_read(void **state)
{
    (void)state;
    struct bed before = bed;
    bed = (struct bed){.heap = heap_with(&(struct fl_options){.grace = FL_GRACE_BP})};
    bed.thread = fl_thread_attach(bed.heap);
    enum fl_grace grace = FL_GRACE_BP;
    fork_with(defer_and_read, reclaim_if_bp, &grace);
    end_bed(&bed);
    bed = before;
}

static void wait_in_handlers(enum stage stage)
{
    struct fl_heap *heap = fl_heap_create(&(struct fl_options){.grace = FL_GRACE_BP}, NULL, 0);
    struct fl_thread *thread = fl_thread_attach(heap);
    fl_free_deferred(thread, fl_alloc(thread, SIZE), SIZE);
    EXPECT(fl_thread_detach(thread) == 0);
    int result = fl_heap_destroy(heap);
    EXPECT(result == (early_act != NULL && stage != CHILD ? -EAGAIN : 0));
    if (result == 0)
        return;
    EXPECT(lasting == NULL || fl_heap_destroy(lasting) == 0 || stage == PARENT);
    lasting = heap;
}

static void nothing_is_waited_for_between_the_handlers(void **state)
{
    (void)state;
    lasting = NULL;
    early_act = wait_in_handlers;
    memset(early_count, 0, sizeof early_count);
    memset(late_count, 0, sizeof late_count);
    alarm(SECONDS);
    assert_child_succeeds(child_is_sound, NULL);
    alarm(0);
    early_act = NULL;
    assert_int_equal(fl_heap_destroy(lasting), 0);
}

/* ---- Cancellation. */

static void note_cancel_state(enum stage stage)
{
    int state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    pthread_setcancelstate(state, NULL);
    EXPECT(state == PTHREAD_CANCEL_DISABLE || (stage == CHILD && early_act != NULL));
}

static void cancellation_is_on(void *argument)
{
    int state;
    (void)argument;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    EXPECT(state == PTHREAD_CANCEL_ENABLE);
}

static void cancellation_is_off_between_the_handlers_and_on_after_them(void **state)
{
    (void)state;
    early_act = note_cancel_state;
    assert_child_succeeds(cancellation_is_on, NULL);
    early_act = NULL;
    int before;
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before);
    assert_int_equal(before, PTHREAD_CANCEL_ENABLE);
}

int main(void)
{
    if (pthread_atfork(early_prepare, early_parent, early_child) != 0)
        return 1;
    end_heap(heap_with(NULL)); /* the library registers its own */
    if (pthread_atfork(late_prepare, late_parent, late_child) != 0)
        return 1;
    const struct CMUnitTest tests[] = {
        HANDLER_TEST(handlers_may_allocate_and_free),
        HANDLER_TEST(what_handlers_free_is_free_in_parent_and_child),
        HANDLER_TEST(blocks_freed_before_the_fork_are_free_in_both),
        HANDLER_TEST(handlers_may_free_without_a_thread),
        HANDLER_TEST(handlers_may_be_the_first_to_use_the_default_heap),
        HANDLER_TEST(handlers_may_attach_and_detach),
        HANDLER_TEST(handlers_may_look_at_statistics),
        HANDLER_TEST(handlers_may_flush_and_trim),
        HANDLER_TEST(handlers_may_make_and_destroy_heaps),
        HANDLER_TEST(a_heap_made_by_a_handler_lives_on_in_both),
        HANDLER_TEST(handlers_may_tell_that_the_world_is_stopped),
        HANDLER_TEST(handlers_may_work_while_other_threads_do),
        HANDLER_TEST(handlers_may_defer_with_qsbr),
        HANDLER_TEST(handlers_may_defer_with_bp),
        HANDLER_TEST(handlers_may_defer_on_a_thread_that_never_read),
        HANDLER_TEST(nothing_is_waited_for_between_the_handlers),
        HANDLER_TEST(cancellation_is_off_between_the_handlers_and_on_after_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
