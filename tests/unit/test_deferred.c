/* SPDX-License-Identifier: MIT
 *
 * Deferred blocks wait for a grace period, whatever kind of grace periods the heap has; and none is lost.
 */
#include "grace_support.h"

enum { SIZE = 48, MANY = 1000, LARGE = 100000 };

static size_t deferred_blocks(struct fl_heap *heap)
{
    return class_stats_of(heap, SIZE).deferred;
}

/* ---- The life of a deferred block. */

static void blocks_come_back_after_a_grace_period_of_the_hosts(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    defer_some(bed.thread, SIZE, MANY);
    assert_int_equal(deferred_blocks(bed.heap), MANY);
    assert_int_equal(stats_of(bed.heap).deferred_bytes, MANY * SIZE);
    assert_int_equal(class_stats_of(bed.heap, SIZE).live, 0);
    assert_sound(bed.heap);
    assert_int_equal(fl_heap_barrier(bed.heap), -EAGAIN);
    let_all_go(&host, bed.thread);
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    assert_int_equal(deferred_blocks(bed.heap), 0);
    assert_int_equal(class_stats_of(bed.heap, SIZE).live, 0);
    end_bed(&bed);
}

static void defer_and_wait(enum fl_grace grace)
{
    struct bed bed = bed_of(grace);
    for (unsigned round = 0; round < 5; round++) {
        defer_some(bed.thread, SIZE, MANY);
        assert_sound(bed.heap);
        assert_int_equal(fl_heap_barrier(bed.heap), 0);
        assert_int_equal(deferred_blocks(bed.heap), 0);
        assert_int_equal(stats_of(bed.heap).deferred_bytes, 0);
        assert_int_equal(class_stats_of(bed.heap, SIZE).live, 0);
    }
    assert_true(stats_of(bed.heap).grace_periods >= 5);
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

static void no_deferred_block_is_handed_out_or_written_before_its_grace_period_has_ended(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, &(struct fl_options){.retain_bytes = SIZE_MAX});
    unsigned char *deferred[MANY];
    void *fresh[MANY];
    assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, (void **)deferred), 0);
    for (unsigned i = 0; i < MANY; i++)
        memset(deferred[i], (int)i, SIZE);
    defer_many(bed.thread, SIZE, MANY, (void **)deferred);
    for (unsigned round = 0; round < 3; round++) {
        assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, fresh), 0);
        for (unsigned i = 0; i < MANY; i++)
            assert_false(is_among(fresh[i], (void **)deferred, MANY));
        fl_free_many(bed.thread, SIZE, MANY, fresh);
        fl_thread_flush(bed.thread);
        fl_heap_trim(bed.heap, 0);
        assert_int_equal(fl_heap_barrier(bed.heap), -EAGAIN);
        assert_sound(bed.heap);
    }
    for (unsigned i = 0; i < MANY; i++)
        for (unsigned j = 0; j < SIZE; j++)
            assert_int_equal(deferred[i][j], i & 255);
    let_all_go(&host, bed.thread);
    assert_int_equal(deferred_blocks(bed.heap), 0);
    size_t carved = class_stats_of(bed.heap, SIZE).carved;
    assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, fresh), 0);
    assert_int_equal(class_stats_of(bed.heap, SIZE).carved, carved);
    fl_free_many(bed.thread, SIZE, MANY, fresh);
    end_bed(&bed);
}

static void each_batch_waits_for_a_grace_period_of_its_own(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    defer_some(bed.thread, SIZE, 1);
    fl_thread_flush(bed.thread);
    assert_int_equal(host.begun, 1);
    defer_some(bed.thread, SIZE, 2);
    fl_thread_flush(bed.thread);
    /* What was deferred later may not go with the earlier ones. */
    assert_int_equal(host.begun, 1);
    host.ended = 1;
    fl_quiescent(bed.thread);
    assert_int_equal(deferred_blocks(bed.heap), 2);
    assert_int_equal(host.begun, 2);
    fl_quiescent(bed.thread);
    assert_int_equal(deferred_blocks(bed.heap), 2);
    host.ended = 2;
    fl_quiescent(bed.thread);
    assert_int_equal(deferred_blocks(bed.heap), 0);
    assert_int_equal(stats_of(bed.heap).grace_periods, 2);
    end_bed(&bed);
}

static void a_grace_period_that_is_refused_is_asked_for_again(void **state)
{
    (void)state;
    struct played_host host = {.refusal = -ENOMEM};
    struct bed bed = bed_of_host(&host, NULL);
    defer_some(bed.thread, SIZE, MANY);
    assert_int_equal(fl_heap_barrier(bed.heap), -ENOMEM);
    fl_quiescent(bed.thread);
    assert_int_equal(deferred_blocks(bed.heap), MANY);
    assert_int_equal(stats_of(bed.heap).grace_periods, 0);
    assert_true(stats_of(bed.heap).grace_refusals >= 2);
    assert_sound(bed.heap);
    host.refusal = 0;
    fl_quiescent(bed.thread);
    assert_true(host.begun > 0);
    let_all_go(&host, bed.thread);
    assert_int_equal(deferred_blocks(bed.heap), 0);
    end_bed(&bed);
}

static void a_barrier_waits_as_the_host_says(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct fl_grace_host calls = {
        .begin = played_begin, .elapsed = played_elapsed, .wait = played_wait, .context = &host};
    struct bed bed = bed_with(&(struct fl_options){.grace = FL_GRACE_HOST, .grace_host = &calls});
    defer_some(bed.thread, SIZE, MANY);
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    assert_true(host.waits > 0);
    assert_int_equal(deferred_blocks(bed.heap), 0);
    unsigned waits = host.waits;
    /* Nothing waits: neither does the barrier. */
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    assert_int_equal(host.waits, waits);
    /* A destroyed heap waits too. */
    defer_some(bed.thread, SIZE, 1);
    assert_int_equal(fl_thread_detach(bed.thread), 0);
    host.ended = 0;
    end_heap(bed.heap);
    assert_true(host.waits > waits);
}

static void a_heap_of_a_host_that_cannot_wait_is_destroyed_with_what_is_deferred(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    defer_some(bed.thread, SIZE, MANY);
    defer_some(bed.thread, LARGE, 3);
    assert_int_equal(fl_thread_detach(bed.thread), 0);
    assert_int_equal(stats_of(bed.heap).deferred_bytes, MANY * SIZE + 3 * LARGE);
    end_heap(bed.heap);
}

static void destroying_a_heap_waits_for_what_is_deferred_and_is_refused_where_it_cannot(void **state)
{
    (void)state;
    struct played_host host = {.refusal = -ENOMEM};
    struct fl_grace_host calls = {
        .begin = played_begin, .elapsed = played_elapsed, .wait = played_wait, .context = &host};
    struct bed bed = bed_with(&(struct fl_options){.grace = FL_GRACE_HOST, .grace_host = &calls});
    defer_some(bed.thread, SIZE, MANY);
    assert_int_equal(fl_thread_detach(bed.thread), 0);
    assert_int_equal(fl_heap_destroy(bed.heap), -ENOMEM);
    assert_int_equal(deferred_blocks(bed.heap), MANY);
    assert_sound(bed.heap);
    host.refusal = 0;
    end_heap(bed.heap);
    assert_true(host.waits > 0);
}

/* ---- What is submitted when. */

static void a_full_magazine_is_submitted_by_itself(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    size_t capacity = class_stats_of(bed.heap, SIZE).magazine_blocks;
    defer_some(bed.thread, SIZE, capacity);
    assert_int_equal(submitted_bytes(bed.heap), 0);
    assert_int_equal(deferred_blocks(bed.heap), capacity);
    defer_some(bed.thread, SIZE, 1);
    assert_int_equal(submitted_bytes(bed.heap), capacity * SIZE);
    assert_int_equal(deferred_blocks(bed.heap), capacity + 1);
    assert_int_equal(host.begun, 1);
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

static void go_offline_and_back(struct fl_thread *thread)
{
    fl_thread_offline(thread);
    fl_thread_online(thread);
}

static void wait_in_a_barrier(struct fl_thread *thread)
{
    assert_int_equal(fl_heap_barrier(fl_thread_heap(thread)), -EAGAIN);
}

static void part_full_magazines_are_submitted_when_a_thread_pauses(void **state)
{
    (void)state;
    void (*const pauses[])(struct fl_thread *) = {fl_quiescent, fl_thread_flush, go_offline_and_back,
                                                  wait_in_a_barrier};
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    for (size_t i = 0; i < COUNT_OF(pauses); i++) {
        defer_some(bed.thread, SIZE, 1);
        defer_some(bed.thread, 1000, 1);
        defer_some(bed.thread, FL_BLOCK_MAX, 1);
        assert_int_equal(submitted_bytes(bed.heap), 0);
        pauses[i](bed.thread);
        assert_int_equal(submitted_bytes(bed.heap), SIZE + 1024 + FL_BLOCK_MAX);
        assert_int_equal(stats_of(bed.heap).deferred_bytes, SIZE + 1024 + FL_BLOCK_MAX);
        assert_sound(bed.heap);
        let_all_go(&host, bed.thread);
        assert_int_equal(submitted_bytes(bed.heap), 0);
    }
    end_bed(&bed);
}

static void *defer_and_exit(void *heap)
{
    struct fl_thread *thread = fl_thread_attach(heap);
    fl_free_deferred(thread, fl_alloc(thread, SIZE), SIZE);
    return NULL;
}

static void *defer_and_detach(void *heap)
{
    struct fl_thread *thread = fl_thread_attach(heap);
    fl_free_deferred(thread, fl_alloc(thread, SIZE), SIZE);
    fl_thread_detach(thread);
    return NULL;
}

static void what_dying_threads_have_deferred_is_not_lost(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    run_on_thread(defer_and_exit, bed.heap);
    assert_int_equal(submitted_bytes(bed.heap), SIZE);
    run_on_thread(defer_and_detach, bed.heap);
    assert_int_equal(submitted_bytes(bed.heap), 2 * SIZE);
    assert_int_equal(deferred_blocks(bed.heap), 2);
    assert_sound(bed.heap);
    let_all_go(&host, bed.thread);
    assert_int_equal(deferred_blocks(bed.heap), 0);
    assert_int_equal(class_stats_of(bed.heap, SIZE).live, 0);
    end_bed(&bed);
}

static void while_a_batch_waits_a_quiescent_state_leaves_part_full_magazines_to_fill(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    defer_some(bed.thread, SIZE, 1);
    fl_quiescent(bed.thread);
    defer_some(bed.thread, SIZE, 1);
    fl_quiescent(bed.thread);
    assert_int_equal(submitted_bytes(bed.heap), SIZE);
    /* The first quiescent state after the batch has gone submits them. */
    host.ended = 1;
    fl_quiescent(bed.thread);
    fl_quiescent(bed.thread);
    assert_int_equal(submitted_bytes(bed.heap), SIZE);
    assert_int_equal(host.begun, 2);
    host.ended = 2;
    fl_quiescent(bed.thread);
    assert_int_equal(deferred_blocks(bed.heap), 0);
    end_bed(&bed);
}

static void part_full_magazines_are_put_together(void **state)
{
    (void)state;
    enum { THREADS = 20 };
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    for (unsigned i = 0; i < THREADS; i++)
        run_on_thread(i % 2 == 0 ? defer_and_exit : defer_and_detach, bed.heap);
    defer_some(bed.thread, 1000, 1);
    fl_thread_flush(bed.thread);
    let_all_go(&host, bed.thread);
    struct fl_stats stats = stats_of(bed.heap);
    struct fl_class_stats class = stats.classes[fl_size_class(SIZE)];
    assert_int_equal(class.deferred, 0);
    assert_int_equal(class.pooled + class.cached + class.parked, class.carved);
    assert_sound(bed.heap);
    end_bed(&bed);
}

/* A thread that drops much, all of it deferred, returns it as it is released: what the heap trims keeps pace. */
static void what_is_released_is_trimmed_as_it_comes(void **state)
{
    enum { BYTES = 1000, BLOCKS = 128 * FLI_MIB / BYTES };
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    void **blocks = malloc(BLOCKS * sizeof *blocks);
    for (unsigned i = 0; i < BLOCKS; i++)
        assert_non_null(blocks[i] = fl_alloc(bed.thread, BYTES));
    size_t before = stats_of(bed.heap).slab_bytes;
    for (unsigned i = 0; i < BLOCKS; i++) {
        fl_free_deferred(bed.thread, blocks[i], BYTES);
        if (i % 64 != 0)
            continue;
        end_periods(&host);
        fl_quiescent(bed.thread);
    }
    assert_in_range(stats_of(bed.heap).slab_bytes, 0, before / 2);
    free(blocks);
    end_bed(&bed);
}

static void blocks_of_all_sizes_are_deferred(void **state)
{
    (void)state;
    enum { ROUNDS = 6, SIZES = 120 };
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    uint64_t seed = 12345;
    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t bytes = 0;
        for (unsigned i = 0; i < SIZES; i++) {
            size_t size = next_random(&seed) % (i % 8 == 0 ? 60000 : 2000);
            void *block = fl_alloc(bed.thread, size);
            assert_non_null(block);
            bytes += size > FL_BLOCK_MAX ? size : fl_usable_size(bed.heap, block);
            fl_free_deferred(bed.thread, block, size);
            if (i % 17 == 0)
                fl_quiescent(bed.thread);
        }
        assert_int_equal(stats_of(bed.heap).deferred_bytes, bytes);
        assert_int_equal(stats_of(bed.heap).live_blocks, 0);
        assert_sound(bed.heap);
        let_all_go(&host, bed.thread);
        assert_int_equal(stats_of(bed.heap).deferred_bytes, 0);
        assert_int_equal(submitted_bytes(bed.heap), 0);
        assert_sound(bed.heap);
    }
    end_bed(&bed);
}

static void change_errno(struct fl_heap *heap, size_t bytes, void *context)
{
    (void)heap, (void)bytes;
    ++*(unsigned *)context;
    errno = EDOM;
}

static void a_deferral_keeps_errno(void **state)
{
    (void)state;
    unsigned told = 0;
    struct played_host host = {.refusal = -ENOMEM};
    struct bed bed = bed_of_host(
        &host, &(struct fl_options){.defer_bytes = SIZE, .on_deferred = change_errno, .context = &told});
    void *blocks[MANY];
    assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, blocks), 0);
    void *large = fl_alloc(bed.thread, LARGE);
    errno = EILSEQ;
    defer_many(bed.thread, SIZE, MANY, blocks);
    fl_free_deferred(bed.thread, large, LARGE);
    fl_quiescent(bed.thread);
    fl_heap_barrier(bed.heap);
    fl_thread_flush(bed.thread);
    assert_int_equal(errno, EILSEQ);
    assert_int_equal(told, 1);
    end_bed(&bed);
}

/* ---- Large blocks. */

static void a_large_block_is_deferred_too(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    unsigned char *blocks[10];
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = fl_alloc(bed.thread, LARGE + i);
        memset(blocks[i], (int)i, LARGE);
    }
    fl_free_deferred(bed.thread, blocks[0], LARGE);
    struct fl_stats stats = stats_of(bed.heap);
    assert_int_equal(stats.large_blocks, COUNT_OF(blocks) - 1);
    assert_int_equal(stats.deferred_bytes, LARGE);
    for (size_t i = 1; i < COUNT_OF(blocks); i++)
        fl_free_deferred(bed.thread, blocks[i], LARGE + i);
    assert_int_equal(stats_of(bed.heap).large_blocks, 0);
    /* Readers may look at them. */
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        assert_int_equal(blocks[i][LARGE - 1], i);
    assert_int_equal(host.begun, 1);
    host.ended = 1;
    fl_quiescent(bed.thread);
    /* The first had a batch of its own. */
    assert_int_equal(stats_of(bed.heap).deferred_bytes, (COUNT_OF(blocks) - 1) * LARGE + 45);
    for (size_t i = 1; i < COUNT_OF(blocks); i++)
        assert_int_equal(blocks[i][LARGE - 1], i);
    host.ended = 2;
    fl_quiescent(bed.thread);
    assert_int_equal(stats_of(bed.heap).deferred_bytes, 0);
    assert_int_equal(submitted_bytes(bed.heap), 0);
    end_bed(&bed);
}

static void deferred_large_blocks_count_against_the_limit_until_they_are_free(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, &(struct fl_options){.limit_bytes = 3 * LARGE});
    void *blocks[3];
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        assert_non_null(blocks[i] = fl_alloc(bed.thread, LARGE));
    defer_many(bed.thread, LARGE, COUNT_OF(blocks), blocks);
    assert_null(fl_alloc(bed.thread, LARGE));
    assert_int_equal(errno, ENOMEM);
    let_all_go(&host, bed.thread);
    assert_non_null(blocks[0] = fl_alloc(bed.thread, LARGE));
    fl_free(bed.thread, blocks[0]);
    end_bed(&bed);
}

static void at_the_limit_blocks_whose_grace_period_has_ended_are_found(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, &(struct fl_options){.limit_bytes = FLI_SLAB_BYTES});
    void *blocks[FLI_SLAB_BYTES / 1024];
    assert_int_equal(fl_alloc_many(bed.thread, 1024, COUNT_OF(blocks), blocks), 0);
    assert_null(fl_alloc(bed.thread, 1024));
    defer_many(bed.thread, 1024, COUNT_OF(blocks), blocks);
    fl_quiescent(bed.thread);
    assert_null(fl_alloc(bed.thread, 1024));
    for (unsigned i = 0; i < 3; i++) {
        end_periods(&host);
        void *block = fl_alloc(bed.thread, 1024);
        if (block != NULL)
            fl_free(bed.thread, block);
    }
    assert_int_equal(fl_alloc_many(bed.thread, 1024, COUNT_OF(blocks), blocks), 0);
    fl_free_many(bed.thread, 1024, COUNT_OF(blocks), blocks);
    end_bed(&bed);
}

/* ---- Pressure. */

struct pressure {
    unsigned told;
    size_t bytes;
    struct fl_thread *defers; /* the callback defers by it */
};

static void note_pressure(struct fl_heap *heap, size_t bytes, void *context)
{
    struct pressure *pressure = context;
    pressure->told++;
    pressure->bytes = bytes;
    assert_int_not_equal(*fl_heap_pressure(heap), 0);
    if (pressure->defers != NULL)
        fl_free_deferred(pressure->defers, fl_alloc(pressure->defers, SIZE), SIZE);
}

static void past_the_bound_pressure_is_raised_told_and_counted_and_cleared_again(void **state)
{
    (void)state;
    enum { BOUND = 64 * 1024 };
    struct played_host host = {0};
    struct pressure pressure = {0};
    struct bed bed = bed_of_host(
        &host, &(struct fl_options){.defer_bytes = BOUND, .on_deferred = note_pressure, .context = &pressure});
    size_t magazine = class_stats_of(bed.heap, SIZE).magazine_blocks * SIZE;
    for (unsigned round = 1; round <= 3; round++) {
        while (submitted_bytes(bed.heap) + magazine <= BOUND)
            defer_some(bed.thread, SIZE, 1);
        assert_int_equal(*fl_heap_pressure(bed.heap), 0);
        assert_int_equal(pressure.told, round - 1);
        struct fl_stats before = stats_of(bed.heap);
        defer_some(bed.thread, SIZE, 2 * magazine / SIZE + 1);
        assert_int_not_equal(*fl_heap_pressure(bed.heap), 0);
        assert_int_equal(pressure.told, round);
        assert_in_range(pressure.bytes, BOUND + 1, BOUND + magazine);
        struct fl_stats stats = stats_of(bed.heap);
        assert_int_equal(stats.pressures, round);
        assert_true(stats.over_bytes > before.over_bytes);
        assert_int_equal((stats.over_bytes - before.over_bytes) % magazine, 0);
        /* It never fails; it is told once. */
        defer_some(bed.thread, SIZE, MANY);
        assert_int_equal(pressure.told, round);
        let_all_go(&host, bed.thread);
        assert_int_equal(*fl_heap_pressure(bed.heap), 0);
        assert_int_equal(stats_of(bed.heap).deferred_bytes, 0);
    }
    end_bed(&bed);
}

static void pressure_is_told_whatever_raises_it(void **state)
{
    (void)state;
    void (*const pauses[])(struct fl_thread *) = {fl_quiescent, fl_thread_flush, go_offline_and_back,
                                                  wait_in_a_barrier};
    struct played_host host = {0};
    struct pressure pressure = {0};
    struct bed bed = bed_of_host(
        &host, &(struct fl_options){.defer_bytes = 100, .on_deferred = note_pressure, .context = &pressure});
    for (size_t i = 0; i < COUNT_OF(pauses); i++) {
        /* A magazine that is part-full: of large blocks one holds several in every build. */
        defer_some(bed.thread, 512, 1);
        pressure = (struct pressure){.defers = i % 2 == 0 ? bed.thread : NULL};
        pauses[i](bed.thread);
        assert_int_equal(pressure.told, 1);
        assert_int_equal(pressure.bytes, 512);
        pressure.defers = NULL;
        let_all_go(&host, bed.thread);
        assert_int_equal(*fl_heap_pressure(bed.heap), 0);
        assert_int_equal(stats_of(bed.heap).deferred_bytes, 0);
    }
    pressure.told = 0;
    defer_some(bed.thread, LARGE, 1);
    assert_int_equal(pressure.told, 1);
    assert_int_equal(pressure.bytes, LARGE);
    let_all_go(&host, bed.thread);
    /* A dying thread's too. */
    struct fl_thread *other = fl_thread_attach(bed.heap);
    defer_some(other, 512, 1);
    assert_int_equal(fl_thread_detach(other), 0);
    assert_int_equal(pressure.told, 2);
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

static void the_next_quiescent_states_relieve_pressure(enum fl_grace grace)
{
    struct bed bed = bed_with(&(struct fl_options){.grace = grace, .defer_bytes = 4096});
    for (unsigned round = 0; round < 20; round++) {
        defer_some(bed.thread, SIZE, MANY);
        fl_thread_flush(bed.thread);
        unsigned states = 0;
        while (*fl_heap_pressure(bed.heap) != 0 && ++states < 5000)
            fl_quiescent(bed.thread);
        assert_int_equal(*fl_heap_pressure(bed.heap), 0);
    }
    assert_true(stats_of(bed.heap).pressures > 0);
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    end_bed(&bed);
}

static void quiescent_states_of_qsbr_relieve_pressure(void **state)
{
    (void)state;
    the_next_quiescent_states_relieve_pressure(FL_GRACE_QSBR);
}

static void quiescent_states_of_bp_relieve_pressure(void **state)
{
    (void)state;
    the_next_quiescent_states_relieve_pressure(FL_GRACE_BP);
}

/* ---- Waiting for readers. */

/* Something waited for on a thread of its own. */
struct waiter {
    struct fl_heap *heap;
    int (*wait)(struct fl_heap *heap);
    int result;
    bool done;
    pthread_t thread;
};

static void *wait_there(void *argument)
{
    struct waiter *waiter = argument;
    waiter->result = waiter->wait(waiter->heap);
    __atomic_store_n(&waiter->done, true, __ATOMIC_RELAXED);
    return NULL;
}

static int defer_and_wait_there(struct fl_heap *heap)
{
    struct fl_thread *thread = fl_thread_attach(heap);
    fl_free_deferred(thread, fl_alloc(thread, SIZE), SIZE);
    int result = fl_heap_barrier(heap);
    fl_thread_detach(thread);
    return result;
}

static void assert_waits_for_readers(enum fl_grace grace, int (*wait)(struct fl_heap *heap))
{
    struct bed bed = bed_of(grace);
    fl_thread_offline(bed.thread);
    struct lingerer lingerer = {0};
    begin_lingering(&lingerer, bed.heap, grace);
    struct waiter waiter = {.heap = bed.heap, .wait = wait};
    assert_int_equal(pthread_create(&waiter.thread, NULL, wait_there, &waiter), 0);
    sleep_ms(400);
    assert_false(__atomic_load_n(&waiter.done, __ATOMIC_RELAXED));
    assert_int_equal(deferred_blocks(bed.heap), 1);
    end_lingering(&lingerer);
    assert_int_equal(pthread_join(waiter.thread, NULL), 0);
    assert_int_equal(waiter.result, 0);
    assert_int_equal(deferred_blocks(bed.heap), 0);
    fl_thread_online(bed.thread);
    end_bed(&bed);
}

static void a_barrier_waits_for_a_reader_of_qsbr(void **state)
{
    (void)state;
    assert_waits_for_readers(FL_GRACE_QSBR, defer_and_wait_there);
}

static void a_barrier_waits_for_a_reader_of_bp(void **state)
{
    (void)state;
    assert_waits_for_readers(FL_GRACE_BP, defer_and_wait_there);
}

static void *defer_flush_and_idle(void *argument)
{
    struct lingerer *lingerer = argument;
    struct fl_thread *thread = fl_thread_attach(lingerer->heap);
    for (unsigned i = 0; i < MANY; i++)
        fl_free_deferred(thread, fl_alloc(thread, SIZE), SIZE);
    fl_thread_offline(thread);
    sem_post(&lingerer->inside);
    wait_for_post(&lingerer->leave);
    fl_thread_online(thread);
    fl_thread_detach(thread);
    return NULL;
}

static void a_barrier_waits_for_what_other_threads_have_submitted(void **state)
{
    (void)state;
    struct bed bed = bed_of(FL_GRACE_QSBR);
    struct lingerer other = {.heap = bed.heap};
    sem_init(&other.inside, 0, 0);
    sem_init(&other.leave, 0, 0);
    assert_int_equal(pthread_create(&other.thread, NULL, defer_flush_and_idle, &other), 0);
    wait_for_post(&other.inside);
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    assert_int_equal(deferred_blocks(bed.heap), 0);
    fl_thread_offline(bed.thread);
    end_lingering(&other);
    fl_thread_online(bed.thread);
    end_bed(&bed);
}

/* ---- Many at once. */

struct crowd {
    struct fl_heap *heap;
    enum fl_grace grace;
    pthread_t thread;
    unsigned rounds;
    const bool *stop;
};

static void *defer_in_a_crowd(void *argument)
{
    struct crowd *crowd = argument;
    struct fl_thread *thread = fl_thread_attach(crowd->heap);
    uint64_t seed = (uintptr_t)crowd | 1;
    bool right = true;
    for (unsigned round = 0; round < crowd->rounds; round++) {
        for (unsigned i = 0; i < 300; i++) {
            size_t size = (size_t)16 << (next_random(&seed) % 8);
            fl_free_deferred(thread, fl_alloc(thread, size), size);
            if (i % 100 == 0)
                fl_free_deferred(thread, fl_alloc(thread, LARGE), LARGE);
            if (i % 50 == 0)
                fl_quiescent(thread);
        }
        right = right && fl_heap_barrier(crowd->heap) == 0;
        if (round % 3 == 0)
            fl_heap_trim(crowd->heap, 0);
    }
    fl_thread_detach(thread);
    return right ? argument : NULL;
}

static void *read_in_a_crowd(void *argument)
{
    struct crowd *crowd = argument;
    struct fl_thread *thread = fl_thread_attach(crowd->heap);
    while (!__atomic_load_n(crowd->stop, __ATOMIC_RELAXED)) {
        fl_read_lock(thread);
        sched_yield();
        fl_read_unlock(thread);
        fl_quiescent(thread);
    }
    fl_thread_detach(thread);
    return argument;
}

static void barriers_trims_and_readers_at_once_come_to_an_end(enum fl_grace grace)
{
    bool stop = false;
    struct bed bed = bed_of(grace);
    struct crowd crowd[5];
    for (size_t i = 0; i < COUNT_OF(crowd); i++) {
        crowd[i] = (struct crowd){.heap = bed.heap, .grace = grace, .rounds = 10, .stop = &stop};
        assert_int_equal(
            pthread_create(&crowd[i].thread, NULL, i < 3 ? defer_in_a_crowd : read_in_a_crowd, &crowd[i]), 0);
    }
    fl_thread_offline(bed.thread);
    void *result;
    for (size_t i = 0; i < COUNT_OF(crowd); i++) {
        if (i == 3)
            __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
        assert_int_equal(pthread_join(crowd[i].thread, &result), 0);
        assert_ptr_equal(result, &crowd[i]);
    }
    fl_thread_online(bed.thread);
    assert_int_equal(fl_heap_barrier(bed.heap), 0);
    assert_int_equal(stats_of(bed.heap).deferred_bytes, 0);
    assert_int_equal(stats_of(bed.heap).live_blocks, 0);
    end_bed(&bed);
}

static void a_crowd_of_qsbr_comes_to_an_end(void **state)
{
    (void)state;
    barriers_trims_and_readers_at_once_come_to_an_end(FL_GRACE_QSBR);
}

static void a_crowd_of_bp_comes_to_an_end(void **state)
{
    (void)state;
    barriers_trims_and_readers_at_once_come_to_an_end(FL_GRACE_BP);
}

/* ---- The default heap, in children, because there is one per process. */

static pthread_key_t late_key;
static void *late_block;

static void defer_late(void *argument)
{
    static __thread unsigned rounds;
    /* The library's own destructor has its turn in the second round. */
    if (++rounds < 3 && pthread_setspecific(late_key, argument) == 0)
        return;
    fl_free_deferred(fl_thread_self(), late_block, SIZE);
}

static void *defer_at_exit(void *argument)
{
    late_block = fl_alloc(fl_thread_self(), SIZE);
    pthread_setspecific(late_key, argument);
    return NULL;
}

static void use_the_default_heap(void *argument)
{
    (void)argument;
    setenv("FREELANE_OPTIONS", "grace=bp,defer=100", 1);
    void *block = fl_alloc(fl_thread_self(), SIZE);
    fl_free_deferred(fl_thread_self(), block, SIZE);
    struct fl_heap *heap = fl_heap_default();
    EXPECT(pthread_key_create(&late_key, defer_late) == 0);
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, defer_at_exit, heap) == 0 && pthread_join(thread, NULL) == 0);
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    EXPECT(stats.classes[fl_size_class(SIZE)].deferred == 2);
    EXPECT(stats.live_blocks == 0);
    EXPECT(submitted_bytes(heap) == SIZE);
    EXPECT(fl_heap_barrier(heap) == 0);
    fl_heap_stats(heap, &stats);
    EXPECT(stats.deferred_bytes == 0);
    EXPECT_SOUND(heap);
}

static void the_default_heap_defers_for_unattached_and_exited_threads(void **state)
{
    (void)state;
    assert_child_succeeds(use_the_default_heap, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_heap_defers_for_unattached_and_exited_threads),
        cmocka_unit_test(blocks_come_back_after_a_grace_period_of_the_hosts),
        cmocka_unit_test(blocks_come_back_after_a_grace_period_of_qsbr),
        cmocka_unit_test(blocks_come_back_after_a_grace_period_of_bp),
        cmocka_unit_test(no_deferred_block_is_handed_out_or_written_before_its_grace_period_has_ended),
        cmocka_unit_test(each_batch_waits_for_a_grace_period_of_its_own),
        cmocka_unit_test(a_grace_period_that_is_refused_is_asked_for_again),
        cmocka_unit_test(a_barrier_waits_as_the_host_says),
        cmocka_unit_test(a_heap_of_a_host_that_cannot_wait_is_destroyed_with_what_is_deferred),
        cmocka_unit_test(destroying_a_heap_waits_for_what_is_deferred_and_is_refused_where_it_cannot),
        cmocka_unit_test(a_full_magazine_is_submitted_by_itself),
        cmocka_unit_test(part_full_magazines_are_submitted_when_a_thread_pauses),
        cmocka_unit_test(what_dying_threads_have_deferred_is_not_lost),
        cmocka_unit_test(while_a_batch_waits_a_quiescent_state_leaves_part_full_magazines_to_fill),
        cmocka_unit_test(part_full_magazines_are_put_together),
        cmocka_unit_test(what_is_released_is_trimmed_as_it_comes),
        cmocka_unit_test(blocks_of_all_sizes_are_deferred),
        cmocka_unit_test(a_deferral_keeps_errno),
        cmocka_unit_test(a_large_block_is_deferred_too),
        cmocka_unit_test(deferred_large_blocks_count_against_the_limit_until_they_are_free),
        cmocka_unit_test(at_the_limit_blocks_whose_grace_period_has_ended_are_found),
        cmocka_unit_test(past_the_bound_pressure_is_raised_told_and_counted_and_cleared_again),
        cmocka_unit_test(pressure_is_told_whatever_raises_it),
        cmocka_unit_test(quiescent_states_of_qsbr_relieve_pressure),
        cmocka_unit_test(quiescent_states_of_bp_relieve_pressure),
        cmocka_unit_test(a_barrier_waits_for_a_reader_of_qsbr),
        cmocka_unit_test(a_barrier_waits_for_a_reader_of_bp),
        cmocka_unit_test(a_barrier_waits_for_what_other_threads_have_submitted),
        cmocka_unit_test(a_crowd_of_qsbr_comes_to_an_end),
        cmocka_unit_test(a_crowd_of_bp_comes_to_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
