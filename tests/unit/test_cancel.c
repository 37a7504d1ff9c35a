/* SPDX-License-Identifier: MIT
 *
 * Threads that are cancelled inside the library, and what goes on working afterwards.
 */
#include "grace_support.h"

enum { SIZE = 48, SECONDS = 300 };

static const struct fl_header header = {.bytes = 16};

/* A thread that waits for a grace period, which a reader holds up. */
struct waiter {
    struct fl_heap *heap;
    void (*wait)(struct waiter *self);
    struct fl_thread *thread;
    struct fl_type type;
    bool returned, cleaned;
    int result;
};

static void clean_up(void *argument)
{
    struct waiter *waiter = argument;
    /* It is online as before its wait. */
    fl_quiescent(waiter->thread);
    assert_int_equal(fl_thread_detach(waiter->thread), 0);
    waiter->cleaned = true;
}

static void *run_waiter(void *argument)
{
    struct waiter *waiter = argument;
    waiter->thread = fl_thread_attach(waiter->heap);
    pthread_cleanup_push(clean_up, waiter);
    waiter->wait(waiter);
    waiter->returned = true;
    pthread_cleanup_pop(1);
    return NULL;
}

/* Cancels the waiter in its wait, lets the reader go, and sees whether others get grace periods and can fork. */
static void cancel_in(struct waiter *waiter, enum fl_grace grace)
{
    struct lingerer lingerer = {0};
    begin_lingering(&lingerer, waiter->heap, grace);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run_waiter, waiter), 0);
    sleep_ms(50);
    alarm(SECONDS);
    assert_int_equal(pthread_cancel(thread), 0);
    void *result;
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, PTHREAD_CANCELED);
    assert_true(waiter->cleaned && !waiter->returned);
    end_lingering(&lingerer);
}

static void nothing(void *argument)
{
    (void)argument;
}

static void assert_goes_on(struct fl_heap *heap)
{
    assert_child_succeeds(nothing, NULL);
    assert_int_equal(fl_heap_barrier(heap), 0);
    assert_int_equal(stats_of(heap).deferred_bytes, 0);
    alarm(0);
}

/* ---- The waits. */

static void wait_in_barrier(struct waiter *self)
{
    fl_free_deferred(self->thread, fl_alloc(self->thread, SIZE), SIZE);
    self->result = fl_heap_barrier(self->heap);
}

static void barrier(enum fl_grace grace)
{
    struct bed bed = bed_of(grace);
    fl_thread_offline(bed.thread);
    struct waiter waiter = {.heap = bed.heap, .wait = wait_in_barrier};
    cancel_in(&waiter, grace);
    assert_goes_on(bed.heap);
    fl_thread_online(bed.thread);
    end_bed(&bed);
}

static void a_barrier_can_be_cancelled_qsbr(void **state)
{
    (void)state;
    barrier(FL_GRACE_QSBR);
}

static void a_barrier_can_be_cancelled_bp(void **state)
{
    (void)state;
    barrier(FL_GRACE_BP);
}

static struct fl_heap *doomed;

static void wait_in_destroy(struct waiter *self)
{
    struct fl_thread *thread = fl_thread_attach(doomed);
    fl_free_deferred(thread, fl_alloc(thread, SIZE), SIZE);
    assert_int_equal(fl_thread_detach(thread), 0);
    self->result = fl_heap_destroy(doomed);
}

static void destroy(enum fl_grace grace)
{
    struct bed bed = bed_of(grace);
    fl_thread_offline(bed.thread);
    doomed = heap_with(&(struct fl_options){.grace = grace});
    struct waiter waiter = {.heap = bed.heap, .wait = wait_in_destroy};
    cancel_in(&waiter, grace);
    assert_goes_on(bed.heap);
    end_heap(doomed);
    fl_thread_online(bed.thread);
    end_bed(&bed);
}

static void a_destroy_can_be_cancelled_and_leaves_the_heap_qsbr(void **state)
{
    (void)state;
    destroy(FL_GRACE_QSBR);
}

static void a_destroy_can_be_cancelled_and_leaves_the_heap_bp(void **state)
{
    (void)state;
    destroy(FL_GRACE_BP);
}

static void wait_in_trim(struct waiter *self)
{
    fl_type_free(self->thread, fl_type_alloc(self->thread, &self->type), &self->type);
    fl_thread_flush(self->thread);
    fl_heap_trim(self->heap, 0);
}

static void trim(enum fl_grace grace)
{
    struct bed bed = bed_with(&(struct fl_options){.grace = grace, .header = &header});
    fl_thread_offline(bed.thread);
    struct waiter waiter = {.heap = bed.heap,
                            .wait = wait_in_trim,
                            .type = {.name = "item", .size = 64, .kind = FL_DEALLOC_PLAIN, .header = &header}};
    assert_int_equal(fl_type_ready(&waiter.type, NULL, NULL, 0), 0);
    cancel_in(&waiter, grace);
    assert_goes_on(bed.heap);
    fl_heap_trim(bed.heap, 0);
    assert_int_equal(stats_of(bed.heap).retired_bytes, 0);
    fl_thread_online(bed.thread);
    end_bed(&bed);
}

static void a_trim_can_be_cancelled_qsbr(void **state)
{
    (void)state;
    trim(FL_GRACE_QSBR);
}

static void a_trim_can_be_cancelled_bp(void **state)
{
    (void)state;
    trim(FL_GRACE_BP);
}

/* ---- Calls that are no cancellation points. */

/* The calling thread is to be cancelled from now on. */
static void cancel_self(void)
{
    pthread_cancel(pthread_self());
}

static void help_under_pressure(struct waiter *self)
{
    cancel_self();
    for (unsigned i = 0; i < 10000; i++) {
        fl_free_deferred(self->thread, fl_alloc(self->thread, SIZE), SIZE);
        if (i % 1000 == 0)
            fl_quiescent(self->thread);
    }
    self->result = 1;
    pthread_testcancel();
}

static void quiescent(enum fl_grace grace)
{
    struct bed bed = bed_with(&(struct fl_options){.grace = grace, .defer_bytes = 1000});
    fl_thread_offline(bed.thread);
    struct waiter waiter = {.heap = bed.heap, .wait = help_under_pressure};
    cancel_in(&waiter, grace);
    assert_int_equal(waiter.result, 1);
    assert_goes_on(bed.heap);
    fl_thread_online(bed.thread);
    end_bed(&bed);
}

static void a_quiescent_state_that_helps_is_no_cancellation_point_qsbr(void **state)
{
    (void)state;
    quiescent(FL_GRACE_QSBR);
}

static void a_quiescent_state_that_helps_is_no_cancellation_point_bp(void **state)
{
    (void)state;
    quiescent(FL_GRACE_BP);
}

static void see_a_stall(struct waiter *self)
{
    fl_free_deferred(self->thread, fl_alloc(self->thread, SIZE), SIZE);
    fl_thread_flush(self->thread);
    int state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    sleep_ms(1200);
    pthread_setcancelstate(state, NULL);
    fl_quiescent(self->thread);
    self->result = 1;
    pthread_testcancel();
}

static void stall(void *argument)
{
    struct bed *bed = argument;
    struct waiter waiter = {.heap = bed->heap, .wait = see_a_stall};
    cancel_in(&waiter, FL_GRACE_BP);
    EXPECT(waiter.result == 1);
}

static void naming_a_reader_that_has_stalled_is_no_cancellation_point(void **state)
{
    (void)state;
    skip_under_emulator(NO_THREADS_AFTER_FORK);
    struct bed bed = bed_with(&(struct fl_options){.grace = FL_GRACE_BP, .stall_seconds = 1});
    struct child_end end = run_child(stall, &bed);
    if (end.status != 0)
        fail_msg("the child ended with status %#x: %s", (unsigned)end.status, end.output);
    assert_contains(end.output, "a grace period has lasted");
    end_bed(&bed);
}

/* ---- A host's grace periods. */

static int64_t begin_cancelled(void *context)
{
    pthread_testcancel();
    return played_begin(context);
}

static bool elapsed_cancelled(void *context, int64_t token)
{
    pthread_testcancel();
    return played_elapsed(context, token);
}

static void wait_cancelled(void *context, int64_t token)
{
    pthread_testcancel();
    played_wait(context, token);
}

static void defer_to_host(struct waiter *self)
{
    cancel_self();
    for (unsigned i = 0; i < 3000; i++)
        fl_free_deferred(self->thread, fl_alloc(self->thread, SIZE), SIZE);
    fl_quiescent(self->thread);
    self->result = 1;
    fl_heap_barrier(self->heap);
}

static void a_hosts_wait_is_its_own_cancellation_point_and_the_others_are_none(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct fl_grace_host calls = {
        .begin = begin_cancelled, .elapsed = elapsed_cancelled, .wait = wait_cancelled, .context = &host};
    struct bed bed = bed_with(&(struct fl_options){.grace = FL_GRACE_HOST, .grace_host = &calls});
    struct waiter waiter = {.heap = bed.heap, .wait = defer_to_host};
    pthread_t thread;
    void *result;
    alarm(SECONDS);
    assert_int_equal(pthread_create(&thread, NULL, run_waiter, &waiter), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, PTHREAD_CANCELED);
    assert_true(waiter.cleaned && waiter.result == 1);
    assert_goes_on(bed.heap);
    end_bed(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hosts_wait_is_its_own_cancellation_point_and_the_others_are_none),
        cmocka_unit_test(a_barrier_can_be_cancelled_qsbr),
        cmocka_unit_test(a_barrier_can_be_cancelled_bp),
        cmocka_unit_test(a_destroy_can_be_cancelled_and_leaves_the_heap_qsbr),
        cmocka_unit_test(a_destroy_can_be_cancelled_and_leaves_the_heap_bp),
        cmocka_unit_test(a_trim_can_be_cancelled_qsbr),
        cmocka_unit_test(a_trim_can_be_cancelled_bp),
        cmocka_unit_test(a_quiescent_state_that_helps_is_no_cancellation_point_qsbr),
        cmocka_unit_test(a_quiescent_state_that_helps_is_no_cancellation_point_bp),
        cmocka_unit_test(naming_a_reader_that_has_stalled_is_no_cancellation_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
