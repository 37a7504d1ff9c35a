/* SPDX-License-Identifier: MIT
 *
 * Grace periods as the core knows them, liburcu's and the host's: what a token means, who waits, and the one helper
 * thread per flavor, which is started by the first grace period that is asked for and may be refused by the system.
 */
/* link: -Wl,--wrap=pthread_create */
#include "grace_support.h"

enum { SIZE = 48, MANY = 1000 };

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument);

static unsigned refuse_threads; /* how many to refuse */

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument)
{
    if (refuse_threads > 0) {
        refuse_threads--;
        return EAGAIN;
    }
    return __real_pthread_create(thread, attributes, body, argument);
}

static struct fli_grace grace_of(enum fl_grace kind, const struct fl_grace_host *host)
{
    struct fli_grace grace;
    assert_int_equal(fli_grace_init(&grace, kind, host), 0);
    return grace;
}

/* ---- Tokens. */

static void tokens_grow_and_end_in_their_order(void **state)
{
    (void)state;
    for (unsigned kind = FL_GRACE_QSBR; kind <= FL_GRACE_BP; kind++) {
        struct fli_grace grace = grace_of((enum fl_grace)kind, NULL);
        assert_true(fli_grace_can_wait(&grace));
        int64_t before = 0;
        for (unsigned i = 0; i < 20; i++) {
            int64_t token = fli_grace_begin(&grace);
            assert_true(token > 0 && token >= before);
            while (!fli_grace_wait(&grace, token, 100))
                ;
            assert_true(fli_grace_elapsed(&grace, token));
            /* What has ended stays so; what begins now is a later one. */
            assert_true(before == 0 || fli_grace_elapsed(&grace, before));
            assert_true(fli_grace_begin(&grace) > token);
            before = token;
        }
    }
}

static void those_who_ask_while_one_is_under_way_share_the_next(void **state)
{
    (void)state;
    struct bed bed = bed_of(FL_GRACE_BP);
    struct fli_grace grace = grace_of(FL_GRACE_BP, NULL);
    /* One that somebody asked for before must not begin now and wait for the lingerer. */
    assert_true(fli_grace_wait(&grace, fli_grace_begin(&grace), 60000));
    struct lingerer lingerer = {0};
    begin_lingering(&lingerer, bed.heap, FL_GRACE_BP);
    int64_t first = fli_grace_begin(&grace);
    uint64_t begun;
    while (grace.readers->latest(&begun) < first)
        sched_yield();
    int64_t second = fli_grace_begin(&grace), third = fli_grace_begin(&grace);
    assert_true(second > first);
    assert_int_equal(second, third);
    /* About as long as it is told to. */
    uint64_t start = fli_grace_now();
    assert_false(fli_grace_wait(&grace, first, 50));
    uint64_t waited = fli_grace_now() - start;
    assert_true(waited >= 49 * 1000000u && waited < 5000 * (uint64_t)1000000);
    end_lingering(&lingerer);
    while (!fli_grace_wait(&grace, second, 100))
        ;
    assert_true(fli_grace_elapsed(&grace, first));
    end_bed(&bed);
}

static void the_hosts_calls_are_passed_on(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct fl_grace_host calls = {.begin = played_begin, .elapsed = played_elapsed, .context = &host};
    struct fli_grace grace = grace_of(FL_GRACE_HOST, &calls);
    assert_false(fli_grace_can_wait(&grace));
    assert_false(fli_grace_is_inside(&grace));
    assert_int_equal(fli_grace_begin(&grace), 1);
    assert_false(fli_grace_elapsed(&grace, 1));
    assert_false(fli_grace_wait(&grace, 1, 1000));
    host.ended = 1;
    assert_true(fli_grace_elapsed(&grace, 1));
    host.refusal = -EPERM;
    assert_int_equal(fli_grace_begin(&grace), -EPERM);
    calls.wait = played_wait;
    host.refusal = 0;
    grace = grace_of(FL_GRACE_HOST, &calls);
    assert_true(fli_grace_can_wait(&grace));
    assert_true(fli_grace_wait(&grace, fli_grace_begin(&grace), 0));
    assert_int_equal(host.waits, 1);
}

static void the_clock_goes_forward(void **state)
{
    (void)state;
    uint64_t now = fli_grace_now();
    sleep_ms(20);
    assert_in_range(fli_grace_now() - now, 20 * 1000000, (uint64_t)20 * 1000000000);
}

/* ---- The helper, in children: a process starts it once. */

static void child_defers(struct fl_thread *thread, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        fl_free_deferred(thread, fl_alloc(thread, SIZE), SIZE);
}

static struct fl_heap *child_heap(enum fl_grace grace)
{
    struct fl_options options = {.grace = grace};
    struct fl_heap *heap = fl_heap_create(&options, NULL, 0);
    EXPECT(heap != NULL);
    return heap;
}

static void live_without_a_helper(void *argument)
{
    (void)argument;
    unsigned tasks_before = count_tasks();
    for (unsigned kind = FL_GRACE_NONE; kind <= FL_GRACE_BP; kind++) {
        struct fl_heap *heap = child_heap((enum fl_grace)kind);
        struct fl_thread *thread = fl_thread_attach(heap);
        void *blocks[MANY];
        for (unsigned round = 0; round < 20; round++) {
            EXPECT(fl_alloc_many(thread, 1000, MANY, blocks) == 0);
            fl_free_many(thread, 1000, MANY, blocks);
            fl_free(thread, fl_alloc(thread, 100000));
            fl_thread_flush(thread);
            if (kind != FL_GRACE_NONE) {
                fl_read_lock(thread);
                fl_read_unlock(thread);
                fl_quiescent(thread);
                EXPECT(fl_heap_barrier(heap) == 0);
            }
            fl_thread_offline(thread);
            fl_thread_online(thread);
        }
        fl_heap_trim(heap, 0);
        EXPECT(fl_thread_detach(thread) == 0);
        EXPECT(fl_heap_destroy(heap) == 0);
    }
    EXPECT(count_tasks() == tasks_before);
}

static void a_heap_that_never_defers_starts_no_helper(void **state)
{
    (void)state;
    assert_child_succeeds(live_without_a_helper, NULL);
}

static void share_a_helper(void *argument)
{
    (void)argument;
    unsigned first = 0;
    for (unsigned kind = FL_GRACE_QSBR; kind <= FL_GRACE_BP; kind++)
        for (unsigned i = 0; i < 3; i++) {
            struct fl_heap *heap = child_heap((enum fl_grace)kind);
            struct fl_thread *thread = fl_thread_attach(heap);
            child_defers(thread, MANY);
            EXPECT(fl_heap_barrier(heap) == 0);
            EXPECT(fl_thread_detach(thread) == 0);
            EXPECT(fl_heap_destroy(heap) == 0);
            if (first == 0) /* a sanitizer may have a thread of its own */
                first = count_tasks();
            EXPECT(count_tasks() == first + (kind == FL_GRACE_BP));
        }
}

static void all_heaps_of_a_flavor_share_one_helper(void **state)
{
    (void)state;
    assert_child_succeeds(share_a_helper, NULL);
}

static size_t child_deferred(struct fl_heap *heap)
{
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    return stats.deferred_bytes;
}

static void be_refused_a_helper(void *argument)
{
    enum fl_grace kind = *(enum fl_grace *)argument;
    struct fl_heap *heap = child_heap(kind);
    struct fl_thread *thread = fl_thread_attach(heap);
    refuse_threads = UINT32_MAX;
    child_defers(thread, MANY);
    fl_free_deferred(thread, fl_alloc(thread, 100000), 100000);
    EXPECT(fl_heap_barrier(heap) == -EAGAIN);
    fl_quiescent(thread);
    fl_thread_flush(thread);
    EXPECT(child_deferred(heap) == MANY * SIZE + 100000);
    EXPECT_SOUND(heap);
    EXPECT(fl_thread_detach(thread) == 0);
    EXPECT(fl_heap_destroy(heap) == -EAGAIN);
    EXPECT(child_deferred(heap) == MANY * SIZE + 100000);
    EXPECT_SOUND(heap);
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    EXPECT(stats.grace_refusals > 0 && stats.grace_periods == 0);
    /* Tried again it succeeds. */
    refuse_threads = 0;
    EXPECT(fl_heap_barrier(heap) == 0);
    EXPECT(child_deferred(heap) == 0);
    EXPECT_SOUND(heap);
    EXPECT(fl_heap_destroy(heap) == 0);
}

static void a_helper_that_the_system_refuses_is_an_error_and_loses_nothing(void **state)
{
    (void)state;
    for (enum fl_grace kind = FL_GRACE_QSBR; kind <= FL_GRACE_BP; kind++)
        assert_child_succeeds(be_refused_a_helper, &kind);
}

static const struct fl_header header = {.bytes = 16, .words = 1, .clear = {{8, 8}}};

static void be_refused_a_helper_by_a_trim(void *argument)
{
    struct fl_options options = {.grace = *(enum fl_grace *)argument, .header = &header, .retain_bytes = SIZE_MAX};
    struct fl_heap *heap = fl_heap_create(&options, NULL, 0);
    struct fl_thread *thread = fl_thread_attach(heap);
    struct fl_type type = {.name = "t", .size = SIZE, .kind = FL_DEALLOC_PLAIN, .header = &header};
    EXPECT(fl_type_ready(&type, NULL, NULL, 0) == 0);
    static void *objects[5 * MANY];
    for (unsigned i = 0; i < COUNT_OF(objects); i++)
        EXPECT((objects[i] = fl_type_alloc(thread, &type)) != NULL);
    for (unsigned i = 0; i < COUNT_OF(objects); i++)
        fl_dealloc(thread, objects[i], &type);
    fl_thread_flush(thread);
    struct fl_stats before, stats;
    fl_heap_stats(heap, &before);
    refuse_threads = UINT32_MAX;
    fl_heap_trim(heap, 0);
    fl_heap_stats(heap, &stats);
    EXPECT(stats.slabs == before.slabs && stats.retired_bytes == 0 && stats.grace_refusals > 0);
    EXPECT(stats.pooled_bytes + stats.parked_bytes == before.pooled_bytes + before.parked_bytes);
    EXPECT_SOUND(heap);
    refuse_threads = 0;
    EXPECT(fl_heap_trim(heap, 0) >= before.slabs << 16);
    fl_heap_stats(heap, &stats);
    EXPECT(stats.slabs == 0 && stats.retired_bytes == 0);
    EXPECT_SOUND(heap);
    EXPECT(fl_thread_detach(thread) == 0);
    EXPECT(fl_heap_destroy(heap) == 0);
}

static void a_trim_whose_helper_the_system_refuses_gives_the_slabs_back_to_their_class(void **state)
{
    (void)state;
    for (enum fl_grace kind = FL_GRACE_QSBR; kind <= FL_GRACE_BP; kind++)
        assert_child_succeeds(be_refused_a_helper_by_a_trim, &kind);
}

static void be_refused_a_helper_after_a_fork(void *argument)
{
    struct bed *bed = argument;
    size_t before = child_deferred(bed->heap);
    EXPECT(before > 0);
    refuse_threads = 5;
    alarm(60);
    EXPECT(fl_heap_barrier(bed->heap) == -EAGAIN);
    EXPECT(child_deferred(bed->heap) == before);
    EXPECT_SOUND(bed->heap);
    refuse_threads = 0;
    EXPECT(fl_heap_barrier(bed->heap) == 0);
    EXPECT(child_deferred(bed->heap) == 0);
    EXPECT_SOUND(bed->heap);
}

static void a_child_whose_helper_the_system_refuses_can_try_again(void **state)
{
    (void)state;
    skip_under_emulator(NO_THREADS_AFTER_FORK);
    struct bed bed = bed_of(FL_GRACE_BP);
    defer_some(bed.thread, SIZE, MANY);
    assert_child_succeeds(be_refused_a_helper_after_a_fork, &bed);
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    end_bed(&bed);
}

static void note_signal(int number)
{
    (void)number;
}

static void send_signals(void *argument)
{
    (void)argument;
    struct fl_heap *heap = child_heap(FL_GRACE_BP);
    struct fl_thread *thread = fl_thread_attach(heap);
    child_defers(thread, 1);
    EXPECT(fl_heap_barrier(heap) == 0);
    /* Blocked here, a signal to the process could only be handled by the helper. */
    sigset_t set, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    EXPECT(signal(SIGUSR1, note_signal) != SIG_ERR && pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    EXPECT(kill(getpid(), SIGUSR1) == 0);
    sleep_ms(50);
    EXPECT(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1) == 1);
    /* Starting it has left this thread's mask alone. */
    EXPECT(pthread_sigmask(SIG_SETMASK, NULL, &set) == 0 && sigismember(&set, SIGTERM) == 0);
}

static void the_hosts_signals_are_not_handled_by_the_helper(void **state)
{
    (void)state;
    skip_under_emulator(NO_THREADS_AFTER_FORK);
    assert_child_succeeds(send_signals, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* In children first: a helper of this process would be counted. */
        cmocka_unit_test(a_heap_that_never_defers_starts_no_helper),
        cmocka_unit_test(all_heaps_of_a_flavor_share_one_helper),
        cmocka_unit_test(a_helper_that_the_system_refuses_is_an_error_and_loses_nothing),
        cmocka_unit_test(a_trim_whose_helper_the_system_refuses_gives_the_slabs_back_to_their_class),
        cmocka_unit_test(a_child_whose_helper_the_system_refuses_can_try_again),
        cmocka_unit_test(the_hosts_signals_are_not_handled_by_the_helper),
        cmocka_unit_test(tokens_grow_and_end_in_their_order),
        cmocka_unit_test(those_who_ask_while_one_is_under_way_share_the_next),
        cmocka_unit_test(the_hosts_calls_are_passed_on),
        cmocka_unit_test(the_clock_goes_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
