/* SPDX-License-Identifier: MIT
 *
 * Deferred blocks wait for a grace period, whatever kind of grace periods the heap has.
 */
#include "support.h"

#include "deferred.h"
#include "thread.h"

enum { SIZE = 48, MANY = 1000 };

/* A host whose grace periods end when the test says so. */
struct played_host {
    int64_t begun, ended;
    int refusal;
};

static int64_t begin(void *context)
{
    struct played_host *host = context;
    return host->refusal != 0 ? host->refusal : ++host->begun;
}

static bool elapsed(void *context, int64_t token)
{
    return ((struct played_host *)context)->ended >= token;
}

static struct bed bed_of(enum fl_grace grace, struct played_host *host)
{
    struct fl_grace_host calls = {.begin = begin, .elapsed = elapsed, .context = host};
    return bed_with(&(struct fl_options){.grace = grace, .grace_host = host != NULL ? &calls : NULL});
}

static void blocks_come_back_after_a_grace_period_of_the_hosts(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of(FL_GRACE_HOST, &host);
    void *blocks[MANY];
    assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, blocks), 0);
    for (int i = 0; i < MANY; i++)
        fl_free_deferred(bed.thread, blocks[i], SIZE);
    assert_int_equal(class_stats_of(bed.heap, SIZE).deferred, MANY);
    assert_sound(bed.heap);
    assert_int_equal(fl_heap_barrier(bed.heap), -EAGAIN);
    host.ended = host.begun;
    fl_quiescent(bed.thread);
    host.ended = host.begun;
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    assert_int_equal(class_stats_of(bed.heap, SIZE).deferred, 0);
    assert_int_equal(class_stats_of(bed.heap, SIZE).live, 0);
    end_bed(&bed);
}

static void defer_and_wait(enum fl_grace grace)
{
    struct bed bed = bed_of(grace, NULL);
    void *blocks[MANY];
    assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, blocks), 0);
    for (int i = 0; i < MANY; i++)
        fl_free_deferred(bed.thread, blocks[i], SIZE);
    assert_true(class_stats_of(bed.heap, SIZE).deferred > 0);
    assert_sound(bed.heap);
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    assert_int_equal(class_stats_of(bed.heap, SIZE).deferred, 0);
    assert_int_equal(class_stats_of(bed.heap, SIZE).live, 0);
    end_bed(&bed);
}

static void blocks_come_back_after_a_grace_period_of_qsbr(void **state)
{
    (void)state;
    defer_and_wait(FL_GRACE_QSBR);
}

static void blocks_come_back_after_a_grace_period_of_bp(void **state)
{
    (void)state;
    defer_and_wait(FL_GRACE_BP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_come_back_after_a_grace_period_of_the_hosts),
        cmocka_unit_test(blocks_come_back_after_a_grace_period_of_qsbr),
        cmocka_unit_test(blocks_come_back_after_a_grace_period_of_bp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
