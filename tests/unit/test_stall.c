/* SPDX-License-Identifier: MIT
 *
 * Readers that hold a grace period up for longer than the heap's stall_seconds are named, once per grace period.
 */
#include "grace_support.h"

#include "heap/stall.h"

enum { SIZE = 48, TOLD_MOST = 16, PATIENCE_MS = 20000 };

/* What has been told. */
struct told {
    unsigned count;
    struct fl_stall stalls[TOLD_MOST];
    pthread_t by[TOLD_MOST];
};

static void note_stall(struct fl_heap *heap, const struct fl_stall *stall, void *context)
{
    struct told *told = context;
    assert_true(told->count < TOLD_MOST);
    told->by[told->count] = pthread_self();
    told->stalls[told->count] = *stall;
    __atomic_store_n(&told->count, told->count + 1, __ATOMIC_RELAXED);
    /* No lock is held. */
    stats_of(heap);
    fl_heap_trim(heap, SIZE_MAX);
}

static struct bed bed_that_tells(enum fl_grace grace, struct told *told)
{
    *told = (struct told){0};
    return bed_with(
        &(struct fl_options){.grace = grace, .stall_seconds = 1, .on_stall = note_stall, .context = told});
}

static void submit_one(struct bed *bed)
{
    fl_free_deferred(bed->thread, fl_alloc(bed->thread, SIZE), SIZE);
    fl_thread_flush(bed->thread);
}

static void assert_names(const struct fl_stall *stall, const struct lingerer *lingerer)
{
    assert_ptr_equal(stall->thread, lingerer->handle);
    assert_string_equal(stall->name, lingerer->name);
    assert_true(stall->os_thread > 0 && stall->os_thread != getpid());
    assert_true(stall->seconds >= 1 && stall->seconds < 100);
}

/* Calls `visit` until something has been told, or until patience ends. */
static void visit_until_told(struct bed *bed, void (*visit)(struct bed *bed), const struct told *told)
{
    for (unsigned i = 0; i < PATIENCE_MS / 10 && told->count == 0; i++) {
        visit(bed);
        sleep_ms(10);
    }
}

static void pass_a_quiescent_state(struct bed *bed)
{
    fl_quiescent(bed->thread);
}

static void defer_a_magazine(struct bed *bed)
{
    /* Who defers looks too; the thread is its own reader, hence the pause. */
    size_t capacity = class_stats_of(bed->heap, FL_BLOCK_MAX).magazine_blocks;
    for (size_t i = 0; i <= capacity; i++)
        fl_free_deferred(bed->thread, fl_alloc(bed->thread, FL_BLOCK_MAX), FL_BLOCK_MAX);
    fl_thread_offline(bed->thread);
    fl_thread_online(bed->thread);
}

static void a_stalled_reader_is_named_once(enum fl_grace grace, void (*visit)(struct bed *bed))
{
    struct told told;
    struct bed bed = bed_that_tells(grace, &told);
    struct lingerer lingerer = {.name = "lingerer"}, idler = {.name = "idler"};
    begin_lingering(&lingerer, bed.heap, grace);
    /* With bp one that is attached, in no section, holds nothing up. */
    if (grace == FL_GRACE_BP)
        begin_lingering(&idler, bed.heap, FL_GRACE_NONE);
    uint64_t begun = fli_grace_now();
    submit_one(&bed);
    sleep_ms(100);
    visit(&bed);
    if (fli_grace_now() - begun < 1000000000)
        assert_int_equal(told.count, 0);
    visit_until_told(&bed, visit, &told);
    assert_int_equal(told.count, 1);
    assert_names(&told.stalls[0], &lingerer);
    assert_true(pthread_equal(told.by[0], pthread_self()));
    for (unsigned i = 0; i < 20; i++) {
        visit(&bed);
        sleep_ms(10);
    }
    assert_int_equal(told.count, 1);
    end_lingering(&lingerer);
    if (grace == FL_GRACE_BP)
        end_lingering(&idler);
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    assert_int_equal(told.count, 1);
    end_bed(&bed);
}

static void a_reader_of_qsbr_that_passes_no_quiescent_states_is_named_once(void **state)
{
    (void)state;
    a_stalled_reader_is_named_once(FL_GRACE_QSBR, pass_a_quiescent_state);
}

static void a_reader_of_bp_that_stays_in_its_section_is_named_once(void **state)
{
    (void)state;
    a_stalled_reader_is_named_once(FL_GRACE_BP, pass_a_quiescent_state);
}

static void who_defers_names_the_stalled_too(void **state)
{
    (void)state;
    a_stalled_reader_is_named_once(FL_GRACE_BP, defer_a_magazine);
}

static void *wait_there(void *heap)
{
    return (void *)(intptr_t)fl_heap_barrier(heap);
}

/* A busy machine may let the waiter run late. */
static void wait_until_told(const struct told *told, unsigned count)
{
    for (unsigned i = 0; i < PATIENCE_MS / 10 && __atomic_load_n(&told->count, __ATOMIC_RELAXED) < count; i++)
        sleep_ms(10);
}

static void who_waits_names_the_stalled_and_each_grace_period_has_its_own(void **state)
{
    (void)state;
    struct told told;
    struct bed bed = bed_that_tells(FL_GRACE_BP, &told);
    struct lingerer lingerers[2] = {{.name = "first"}, {.name = "second"}};
    for (unsigned i = 0; i < 2; i++) {
        begin_lingering(&lingerers[i], bed.heap, FL_GRACE_BP);
        submit_one(&bed);
        pthread_t waiter;
        assert_int_equal(pthread_create(&waiter, NULL, wait_there, bed.heap), 0);
        wait_until_told(&told, i + 1);
        end_lingering(&lingerers[i]);
        void *result;
        assert_int_equal(pthread_join(waiter, &result), 0);
        assert_null(result);
        assert_int_equal(told.count, i + 1);
        assert_names(&told.stalls[i], &lingerers[i]);
        assert_true(pthread_equal(told.by[i], waiter));
    }
    end_bed(&bed);
}

static void all_that_hold_it_up_are_named_and_a_thread_with_two_handles_once(void **state)
{
    (void)state;
    struct told told;
    struct bed bed = bed_that_tells(FL_GRACE_QSBR, &told);
    struct fl_heap *other = heap_with(&(struct fl_options){.grace = FL_GRACE_QSBR});
    struct lingerer here = {.name = "here"}, there = {.name = "there"};
    begin_lingering(&here, bed.heap, FL_GRACE_QSBR);
    begin_lingering(&there, other, FL_GRACE_QSBR); /* readers of all heaps of a kind are waited for */
    struct fl_thread *second = fl_thread_attach(other);
    submit_one(&bed);
    /* This thread passes quiescent states. */
    visit_until_told(&bed, pass_a_quiescent_state, &told);
    assert_int_equal(told.count, 2);
    unsigned first = strcmp(told.stalls[0].name, "here") == 0 ? 0 : 1;
    assert_names(&told.stalls[first], &here);
    assert_names(&told.stalls[1 - first], &there);
    assert_int_equal(fl_thread_detach(second), 0);
    end_lingering(&here);
    end_lingering(&there);
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    end_bed(&bed);
    end_heap(other);
}

static void wait_with_the_default(void *argument)
{
    (void)argument;
    struct fl_options options = {.grace = FL_GRACE_BP, .stall_seconds = 1};
    struct fl_heap *heap = fl_heap_create(&options, NULL, 0);
    struct bed bed = {.heap = heap, .thread = fl_thread_attach(heap)};
    fl_read_lock(bed.thread);
    submit_one(&bed);
    sleep_ms(1500);
    fli_stall_look(heap);
    fli_stall_look(heap);
    fl_read_unlock(bed.thread);
    EXPECT(fl_heap_barrier(heap) == 0);
}

static void by_default_a_line_on_stderr_names_them(void **state)
{
    (void)state;
    skip_under_emulator(NO_NAMES_OF_PROGRAMS);
    struct child_end end = run_child(wait_with_the_default, NULL);
    assert_true(WIFEXITED(end.status) && WEXITSTATUS(end.status) == 0);
    assert_contains(end.output, "a grace period has lasted ");
    assert_contains(end.output, "test_stall");
    assert_null(strstr(strstr(end.output, "lasted") + 1, "lasted")); /* once */
}

static void a_host_knows_its_readers_itself(void **state)
{
    (void)state;
    struct told told = {0};
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host,
                                 &(struct fl_options){.stall_seconds = 1, .on_stall = note_stall, .context = &told});
    submit_one(&bed);
    sleep_ms(1100);
    fl_quiescent(bed.thread);
    assert_int_equal(told.count, 0);
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_of_qsbr_that_passes_no_quiescent_states_is_named_once),
        cmocka_unit_test(a_reader_of_bp_that_stays_in_its_section_is_named_once),
        cmocka_unit_test(who_defers_names_the_stalled_too),
        cmocka_unit_test(who_waits_names_the_stalled_and_each_grace_period_has_its_own),
        cmocka_unit_test(all_that_hold_it_up_are_named_and_a_thread_with_two_handles_once),
        cmocka_unit_test(by_default_a_line_on_stderr_names_them),
        cmocka_unit_test(a_host_knows_its_readers_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
