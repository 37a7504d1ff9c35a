/* SPDX-License-Identifier: MIT
 *
 * OS threads as readers: registered once however many handles they have, online while one is bound, in a section
 * while it is not left as often as it was entered; and no reader once they are gone.
 */
#include "grace_support.h"

/* liburcu's, as a host would use it. */
void urcu_qsbr_register_thread(void);
void urcu_qsbr_unregister_thread(void);
int urcu_qsbr_read_ongoing(void);
int urcu_bp_read_ongoing(void);

enum { SIZE = 48 };

static bool is_online(void)
{
    return urcu_qsbr_read_ongoing() != 0;
}

static bool is_in_section(void)
{
    return urcu_bp_read_ongoing() != 0;
}

/* A grace period can be had. */
static void defer_and_wait(struct bed *bed)
{
    fl_free_deferred(bed->thread, fl_alloc(bed->thread, SIZE), SIZE);
    assert_int_equal(fl_heap_barrier(bed->heap), 0);
    assert_int_equal(stats_of(bed->heap).deferred_bytes, 0);
}

/* ---- Handles. */

static void an_os_thread_is_online_while_a_handle_is_bound_to_it(void **state)
{
    (void)state;
    assert_false(is_online());
    struct bed one = bed_of(FL_GRACE_QSBR), two = bed_of(FL_GRACE_QSBR);
    struct fl_thread *again = fl_thread_attach(one.heap);
    assert_true(is_online());
    fl_thread_offline(one.thread);
    fl_thread_offline(two.thread);
    assert_true(is_online());
    fl_thread_offline(again);
    assert_false(is_online());
    fl_thread_online(two.thread);
    fl_thread_online(two.thread);
    assert_true(is_online());
    fl_thread_offline(two.thread);
    assert_false(is_online());
    fl_thread_online(one.thread);
    assert_int_equal(fl_thread_detach(again), 0);
    assert_true(is_online());
    defer_and_wait(&one);
    assert_true(is_online());
    end_bed(&one);
    fl_thread_online(two.thread);
    assert_true(is_online());
    defer_and_wait(&two);
    end_bed(&two);
    assert_false(is_online());
}

static void heaps_without_grace_periods_make_no_readers(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed none = bed_with(NULL), hosts = bed_of_host(&host, NULL), bp = bed_of(FL_GRACE_BP);
    assert_false(is_online());
    end_bed(&none);
    end_bed(&hosts);
    end_bed(&bp);
}

static void a_host_that_registers_by_itself_stays_registered(void **state)
{
    (void)state;
    urcu_qsbr_register_thread();
    assert_true(is_online());
    struct bed one = bed_of(FL_GRACE_QSBR), two = bed_of(FL_GRACE_QSBR);
    defer_and_wait(&one);
    assert_true(is_online());
    /* Going offline is the host's affair. */
    fl_thread_offline(one.thread);
    fl_thread_offline(two.thread);
    assert_true(is_online());
    fl_thread_online(one.thread);
    fl_quiescent(one.thread);
    defer_and_wait(&one);
    end_bed(&one);
    fl_thread_online(two.thread);
    end_bed(&two);
    assert_true(is_online());
    urcu_qsbr_unregister_thread();
    assert_false(is_online());
    /* Now it is the library's. */
    struct bed bed = bed_of(FL_GRACE_QSBR);
    assert_true(is_online());
    defer_and_wait(&bed);
    end_bed(&bed);
    assert_false(is_online());
}

static void *attach_on_a_registered_thread(void *argument)
{
    struct bed *bed = argument;
    urcu_qsbr_register_thread();
    bed->thread = fl_thread_attach(bed->heap);
    fl_free_deferred(bed->thread, fl_alloc(bed->thread, SIZE), SIZE);
    fl_thread_detach(bed->thread);
    urcu_qsbr_unregister_thread();
    return NULL;
}

static void other_threads_of_such_a_host_hold_nothing_up(void **state)
{
    (void)state;
    struct bed bed = {.heap = heap_with(&(struct fl_options){.grace = FL_GRACE_QSBR})};
    run_on_thread(attach_on_a_registered_thread, &bed);
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    end_heap(bed.heap);
}

/* ---- Handles that move. */

struct move {
    struct fl_thread *handle;
    bool was_online;
};

static void *take_over(void *argument)
{
    struct move *move = argument;
    fl_thread_online(move->handle);
    move->was_online = is_online();
    fl_free_deferred(move->handle, fl_alloc(move->handle, SIZE), SIZE);
    fl_read_lock(move->handle);
    fl_read_unlock(move->handle);
    fl_quiescent(move->handle);
    fl_thread_offline(move->handle);
    move->was_online = move->was_online && !is_online();
    return NULL;
}

static void *take_over_and_exit(void *argument)
{
    struct move *move = argument;
    fl_thread_online(move->handle);
    fl_free_deferred(move->handle, fl_alloc(move->handle, SIZE), SIZE);
    return NULL;
}

static void a_handle_that_moves_makes_each_of_its_os_threads_a_reader(void **state)
{
    (void)state;
    for (unsigned kind = FL_GRACE_QSBR; kind <= FL_GRACE_BP; kind++) {
        struct bed bed = bed_of((enum fl_grace)kind);
        struct move move = {.handle = bed.thread};
        for (unsigned i = 0; i < 10; i++) {
            fl_thread_offline(bed.thread);
            assert_false(is_online());
            run_on_thread(take_over, &move);
            assert_int_equal(move.was_online, kind == FL_GRACE_QSBR);
            /* The threads that it has left hold nothing up, though they exist no more. */
            assert_int_equal(fl_heap_barrier(bed.heap), 0);
            fl_thread_online(bed.thread);
            defer_and_wait(&bed);
        }
        fl_thread_offline(bed.thread);
        run_on_thread(take_over_and_exit, &move);
        assert_int_equal(stats_of(bed.heap).threads, 0);
        assert_int_equal(fl_heap_barrier(bed.heap), 0);
        assert_int_equal(stats_of(bed.heap).deferred_bytes, 0);
        end_heap(bed.heap);
    }
}

static void *move_and_linger(void *argument)
{
    struct lingerer *lingerer = argument;
    lingerer->handle = fl_thread_attach(lingerer->heap);
    fl_thread_offline(lingerer->handle);
    sem_post(&lingerer->inside);
    wait_for_post(&lingerer->leave);
    return NULL;
}

static void a_thread_whose_handles_have_moved_away_holds_nothing_up(void **state)
{
    (void)state;
    struct bed bed = bed_of(FL_GRACE_QSBR);
    struct lingerer lingerer = {.heap = bed.heap};
    sem_init(&lingerer.inside, 0, 0);
    sem_init(&lingerer.leave, 0, 0);
    assert_int_equal(pthread_create(&lingerer.thread, NULL, move_and_linger, &lingerer), 0);
    wait_for_post(&lingerer.inside);
    defer_and_wait(&bed);
    fl_thread_online(lingerer.handle);
    fl_quiescent(lingerer.handle);
    assert_int_equal(fl_thread_detach(lingerer.handle), 0);
    fl_thread_offline(bed.thread);
    end_lingering(&lingerer);
    fl_thread_online(bed.thread);
    defer_and_wait(&bed);
    end_bed(&bed);
}

/* ---- Sections. */

static void sections_nest(void **state)
{
    (void)state;
    struct bed bed = bed_of(FL_GRACE_BP);
    struct fl_thread *second = fl_thread_attach(bed.heap);
    for (unsigned round = 0; round < 3; round++) {
        fl_read_lock(bed.thread);
        fl_read_lock(bed.thread);
        fl_read_lock(second);
        fl_read_unlock(bed.thread);
        fl_read_unlock(bed.thread);
        assert_true(is_in_section());
        fl_read_unlock(second);
        assert_false(is_in_section());
        fl_quiescent(bed.thread);
    }
    assert_int_equal(fl_thread_detach(second), 0);
    end_bed(&bed);
}

static void *exit_inside(void *argument)
{
    struct bed *beds = argument;
    for (unsigned i = 0; i < 3; i++) {
        struct fl_thread *thread = fl_thread_attach(beds[i].heap);
        fl_free_deferred(thread, fl_alloc(thread, SIZE), SIZE);
        fl_read_lock(thread);
        fl_read_lock(thread);
    }
    return NULL;
}

static void a_thread_that_exits_inside_sections_holds_nothing_up(void **state)
{
    (void)state;
    struct bed beds[3] = {bed_of(FL_GRACE_BP), bed_of(FL_GRACE_QSBR), bed_of(FL_GRACE_BP)};
    for (unsigned i = 0; i < 3; i++)
        fl_thread_offline(beds[i].thread);
    for (unsigned round = 0; round < 5; round++)
        run_on_thread(exit_inside, beds);
    for (unsigned i = 0; i < COUNT_OF(beds); i++) {
        fl_thread_online(beds[i].thread);
        assert_int_equal(stats_of(beds[i].heap).threads, 1);
        assert_int_equal(fl_heap_barrier(beds[i].heap), 0);
        assert_int_equal(stats_of(beds[i].heap).deferred_bytes, 0);
    }
    for (unsigned i = 0; i < COUNT_OF(beds); i++)
        end_bed(&beds[i]);
}

static void reading_does_not_stop_others(void **state)
{
    (void)state;
    /* A reader of bp may stay away from quiescent states; one of qsbr that reads in sections too. */
    struct bed bed = bed_of(FL_GRACE_BP);
    struct lingerer lingerer = {0};
    begin_lingering(&lingerer, bed.heap, FL_GRACE_NONE); /* attached, in no section */
    defer_and_wait(&bed);
    end_lingering(&lingerer);
    end_bed(&bed);
}

/* ---- Idle threads. */

static void an_idle_thread_holds_little(void **state)
{
    (void)state;
    skip_under_emulator(NO_ACCOUNT_OF_MEMORY);
    enum { THREADS = 1000, MOST = 8192 };
    if (FLI_CHECKED || FLI_SANITIZED)
        skip(); /* they hold what they check with */
    for (unsigned kind = FL_GRACE_NONE; kind <= FL_GRACE_BP; kind++) {
        static struct fl_thread *threads[THREADS];
        struct bed bed = bed_of((enum fl_grace)kind);
        size_t before, after, resident = resident_bytes();
        bool is_told = malloc_live_bytes(&before);
        for (unsigned i = 0; i < THREADS; i++) {
            threads[i] = fl_thread_attach(bed.heap);
            void *blocks[200];
            for (unsigned size = 16; size <= 256; size *= 2) {
                assert_int_equal(fl_alloc_many(threads[i], size, COUNT_OF(blocks), blocks), 0);
                fl_free_many(threads[i], size, COUNT_OF(blocks), blocks);
                if (kind != FL_GRACE_NONE)
                    fl_free_deferred(threads[i], fl_alloc(threads[i], size), size);
            }
            fl_thread_flush(threads[i]);
        }
        if (kind != FL_GRACE_NONE)
            assert_int_equal(fl_heap_barrier(bed.heap), 0);
        struct fl_stats stats = stats_of(bed.heap);
        assert_int_equal(stats.cached_bytes + stats.deferred_bytes, 0);
        if (is_told && malloc_live_bytes(&after))
            assert_in_range((after - before) / THREADS, 1, MOST);
        fl_heap_trim(bed.heap, 0);
        assert_true(resident_bytes() < resident + THREADS * MOST + FLI_MIB);
        for (unsigned i = 0; i < THREADS; i++)
            assert_int_equal(fl_thread_detach(threads[i]), 0);
        end_bed(&bed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_os_thread_is_online_while_a_handle_is_bound_to_it),
        cmocka_unit_test(heaps_without_grace_periods_make_no_readers),
        cmocka_unit_test(a_host_that_registers_by_itself_stays_registered),
        cmocka_unit_test(other_threads_of_such_a_host_hold_nothing_up),
        cmocka_unit_test(a_handle_that_moves_makes_each_of_its_os_threads_a_reader),
        cmocka_unit_test(a_thread_whose_handles_have_moved_away_holds_nothing_up),
        cmocka_unit_test(sections_nest),
        cmocka_unit_test(a_thread_that_exits_inside_sections_holds_nothing_up),
        cmocka_unit_test(reading_does_not_stop_others),
        cmocka_unit_test(an_idle_thread_holds_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
