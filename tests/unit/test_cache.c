/* SPDX-License-Identifier: MIT */
#include "support.h"

#include "heap/thread.h"

/* MANY blocks fill three slabs, so that a thread that holds them all leaves none free at home. */
enum { SIZE = 48, MANY = 3 * (FLI_SLAB_BYTES / SIZE), LARGE = 4096, MANY_LARGE = 600 };

static unsigned capacity_of(struct fl_heap *heap)
{
    return (unsigned)class_stats_of(heap, SIZE).magazine_blocks;
}

/* The blocks that a thread gets of its own slab when it first needs some. */
static unsigned first_of(struct fl_heap *heap)
{
    return (unsigned)fli_min(32, capacity_of(heap));
}

/* What it gets next: both make one magazine, unless that is small. */
static unsigned second_of(struct fl_heap *heap)
{
    return capacity_of(heap) - (capacity_of(heap) >= 2 * 32 ? 32 : 0);
}

static struct fli_home *home_of(struct fl_thread *thread)
{
    return fli_thread_of(thread)->owner.home;
}

/* Flushes a handle while the home of its blocks is busy, so that they go to the pool as they lie in their magazines. */
static void flush_into_pool(struct fl_thread *thread, struct fli_home *home)
{
    fli_home_wait(home);
    fl_thread_flush(thread);
    fli_home_unlock(home);
}

static void the_block_freed_last_is_allocated_first(void **state)
{
    struct bed *bed = *state;
    void *first = fl_alloc(bed->thread, SIZE), *second = fl_alloc(bed->thread, SIZE);
    fl_free_sized(bed->thread, first, SIZE);
    fl_free_sized(bed->thread, second, SIZE);
    assert_ptr_equal(fl_alloc(bed->thread, SIZE), second);
    assert_ptr_equal(fl_alloc(bed->thread, SIZE), first);
    fl_free_sized(bed->thread, first, SIZE);
    fl_free_sized(bed->thread, second, SIZE);
}

static void a_first_use_begins_one_slab_and_loads_some_neighbours(void **state)
{
    struct bed *bed = *state;
    char *first = fl_alloc(bed->thread, SIZE);
    struct fl_class_stats class = class_stats_of(bed->heap, SIZE);
    assert_int_equal(class.slabs, 1);
    assert_int_equal(class.live + class.cached, first_of(bed->heap));
    assert_int_equal(class.parked, class.carved - class.live - class.cached);
    assert_int_equal(stats_of(bed->heap).magazines, 1);
    char *second = fl_alloc(bed->thread, SIZE);
    assert_int_equal(second - first, SIZE);
    fl_free(bed->thread, first);
    fl_free(bed->thread, second);
}

static void a_thread_that_has_used_up_its_first_blocks_gets_the_rest_of_a_magazine(void **state)
{
    struct bed *bed = *state;
    void *blocks[MANY];
    for (unsigned round = 0; round < 2; round++) {
        unsigned count = first_of(bed->heap) + 1;
        for (unsigned i = 0; i < count; i++) {
            assert_non_null(blocks[i] = fl_alloc(bed->thread, SIZE));
            unsigned loaded = i < count - 1 ? first_of(bed->heap) - i : second_of(bed->heap);
            assert_int_equal(class_stats_of(bed->heap, SIZE).cached, loaded - 1);
        }
        for (unsigned i = 0; i < count; i++)
            fl_free(bed->thread, blocks[i]);
        fl_thread_flush(bed->thread); /* it begins anew */
    }
}

static void steady_pairs_touch_nothing_shared(void **state)
{
    struct bed *bed = *state;
    fl_free_sized(bed->thread, fl_alloc(bed->thread, SIZE), SIZE);
    uint64_t updates = stats_of(bed->heap).shared_updates;
    for (unsigned i = 0; i < 10000; i++)
        fl_free_sized(bed->thread, fl_alloc(bed->thread, SIZE), SIZE);
    assert_int_equal(stats_of(bed->heap).shared_updates, updates);
}

/* With two magazines a cache can go up and down across the edge of one without an exchange. */
static void going_up_and_down_by_one_magazine_exchanges_nothing(void **state)
{
    struct bed *bed = *state;
    void *blocks[MANY];
    unsigned capacity = capacity_of(bed->heap);
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, 3 * capacity + 1, blocks), 0);
    fl_free_many(bed->thread, SIZE, 3 * capacity + 1, blocks);
    for (unsigned round = 0; round < 2; round++) {
        uint64_t exchanges = stats_of(bed->heap).exchanges;
        for (unsigned i = 0; i < 100; i++) {
            assert_int_equal(fl_alloc_many(bed->thread, SIZE, capacity, blocks), 0);
            fl_free_many(bed->thread, SIZE, capacity, blocks);
        }
        if (round > 0)
            assert_int_equal(stats_of(bed->heap).exchanges, exchanges);
    }
}

static void a_thread_caches_two_magazines_of_a_class_and_what_is_kept_at_home_at_most(void **state)
{
    struct bed *bed = *state;
    void *blocks[MANY];
    size_t kept = bed->heap->backing.small_bytes / SIZE;
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, MANY, blocks), 0);
    for (unsigned i = 0; i < MANY; i++) {
        fl_free(bed->thread, blocks[i]);
        if (i % 97 == 0)
            assert_in_range(class_stats_of(bed->heap, SIZE).cached, 1, 2 * capacity_of(bed->heap) + kept);
    }
    struct fl_class_stats class = class_stats_of(bed->heap, SIZE);
    assert_int_equal(class.live, 0);
    assert_int_equal(class.cached + class.pooled + class.parked, class.carved);
}

static void a_flush_sends_all_home_and_the_lowest_free_block_comes_back(void **state)
{
    struct bed *bed = *state;
    char *block = fl_alloc(bed->thread, SIZE);
    fl_thread_flush(bed->thread);
    struct fl_class_stats class = class_stats_of(bed->heap, SIZE);
    assert_int_equal(class.cached + class.pooled, 0);
    assert_int_equal(class.parked, class.carved - 1);
    assert_int_equal(class.live, 1);

    char *second = fl_alloc(bed->thread, SIZE);
    assert_int_equal(second - block, SIZE);
    class = class_stats_of(bed->heap, SIZE);
    assert_int_equal(class.live, 2);
    assert_int_equal(class.cached, first_of(bed->heap) - 1);
    fl_free(bed->thread, block);
    fl_free(bed->thread, second);
}

/* Blocks that come back from the pool in no order of addresses are fetched ahead; nobody but the clock may notice. */
static void a_cold_magazine_hands_out_every_block_once(void **state)
{
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = SIZE_MAX});
    (void)state;
    struct fl_thread *other = fl_thread_attach(bed.heap);
    unsigned char *blocks[MANY];
    assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, (void **)blocks), 0);
    for (unsigned i = 0; i < MANY; i++) /* 1021 and MANY have no common divisor */
        fl_free_sized(other, blocks[i * 1021u % MANY], SIZE);
    flush_into_pool(other, home_of(bed.thread));
    assert_true(class_stats_of(bed.heap, SIZE).pooled > 0);
    for (unsigned i = 0; i < MANY; i++) {
        blocks[i] = fl_alloc(bed.thread, SIZE);
        memset(blocks[i], (int)(i % 251), SIZE);
        if (i % 7 == 0) {
            struct fl_class_stats class = class_stats_of(bed.heap, SIZE);
            assert_int_equal(class.live, i + 1);
            assert_int_equal(class.live + class.cached + class.pooled + class.parked, class.carved);
        }
    }
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(blocks[i][0], i % 251);
        assert_int_equal(blocks[i][SIZE - 1], i % 251);
        fl_free_sized(bed.thread, blocks[i], SIZE);
    }
    assert_int_equal(fl_thread_detach(other), 0);
    end_bed(&bed);
}

/* The fast path stops at the cache's floor; blocks below it count, go with a flush, and are swapped with the rest. */
static void a_cold_magazine_is_flushed_and_swapped_as_a_whole(void **state)
{
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = SIZE_MAX});
    (void)state;
    struct fl_thread *other = fl_thread_attach(bed.heap);
    void *blocks[MANY], *more[MANY];
    unsigned capacity = capacity_of(bed.heap);
    assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, blocks), 0);
    size_t carved = class_stats_of(bed.heap, SIZE).carved;
    fl_thread_flush(bed.thread); /* now it is away, and is given no magazines */
    for (unsigned i = 0; i < MANY; i++)
        fl_free_sized(other, blocks[i * 1021u % MANY], SIZE);
    flush_into_pool(other, home_of(bed.thread));
    assert_int_equal(class_stats_of(bed.heap, SIZE).cached, 0);
    fl_thread_flush(bed.thread);
    assert_int_equal(fl_alloc_many(bed.thread, SIZE, first_of(bed.heap), more), 0);
    blocks[0] = fl_alloc(bed.thread, SIZE); /* loads the rest of a magazine */
    assert_int_equal(class_stats_of(bed.heap, SIZE).cached + 1, second_of(bed.heap));
    fl_free_many(bed.thread, SIZE, first_of(bed.heap), more);
    fl_thread_flush(bed.thread);
    assert_int_equal(class_stats_of(bed.heap, SIZE).cached, 0);

    blocks[1] = fl_alloc(bed.thread, SIZE);
    for (unsigned round = 0; round < 3; round++) { /* past both ends of the magazine that is cold at first */
        assert_int_equal(fl_alloc_many(bed.thread, SIZE, capacity + capacity / 2, more), 0);
        fl_free_many(bed.thread, SIZE, capacity + capacity / 2, more);
    }
    fl_free(bed.thread, blocks[0]);
    fl_free(bed.thread, blocks[1]);
    assert_int_equal(class_stats_of(bed.heap, SIZE).carved, carved);
    assert_int_equal(fl_thread_detach(other), 0);
    end_bed(&bed);
}

static void flushing_twice_changes_nothing_more(void **state)
{
    struct bed *bed = *state;
    fl_free(bed->thread, fl_alloc(bed->thread, SIZE));
    fl_thread_flush(bed->thread);
    struct fl_stats before = stats_of(bed->heap);
    fl_thread_flush(bed->thread);
    struct fl_stats after = stats_of(bed->heap);
    assert_memory_equal(&before, &after, sizeof before);
}

static void blocks_freed_on_one_handle_are_found_by_another(void **state)
{
    struct bed *bed = *state;
    struct fl_thread *other = fl_thread_attach(bed->heap);
    void *blocks[MANY];
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, MANY, blocks), 0);
    size_t carved = class_stats_of(bed->heap, SIZE).carved;
    fl_free_many(other, SIZE, MANY, blocks);
    fl_thread_flush(other);
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, MANY, blocks), 0);
    assert_int_equal(class_stats_of(bed->heap, SIZE).carved, carved);
    fl_free_many(bed->thread, SIZE, MANY, blocks);
    assert_int_equal(fl_thread_detach(other), 0);
}

/* What one thread allocates, another one frees, forty times; in the first rounds magazines are new, and racks grow. */
static struct fl_stats hand_over(struct bed *bed, size_t size, unsigned count)
{
    struct fl_thread *consumer = fl_thread_attach(bed->heap);
    void *blocks[MANY];
    struct fl_stats before = {0};
    for (unsigned round = 0; round < 40; round++) {
        if (round == 20)
            before = stats_of(bed->heap);
        assert_int_equal(fl_alloc_many(bed->thread, size, count, blocks), 0);
        fl_free_many(consumer, size, count, blocks);
    }
    struct fl_stats after = stats_of(bed->heap);
    after.exchanges -= before.exchanges;
    after.shared_updates -= before.shared_updates;
    assert_int_equal(after.slabs, before.slabs);
    assert_int_equal(after.cas_failures, 0);
    assert_int_equal(fl_thread_detach(consumer), 0);
    return after;
}

/* Small blocks go to the other thread's rack, and home beyond that, for which the pool is not needed while homes are open. */
static void handing_small_blocks_over_touches_no_stack_of_the_pool(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = SIZE_MAX});
    struct fl_stats stats = hand_over(&bed, SIZE, MANY);
    assert_int_equal(stats.exchanges, 0);
    assert_int_equal(stats.shared_updates, 0);
    end_bed(&bed);
}

static void handing_large_blocks_over_costs_two_updates_per_magazine_exchanged(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = SIZE_MAX});
    struct fl_stats stats = hand_over(&bed, LARGE, MANY_LARGE);
    assert_true(stats.exchanges >= 20 * MANY_LARGE / class_stats_of(bed.heap, LARGE).magazine_blocks);
    assert_true(stats.shared_updates <= 2 * stats.exchanges);
    end_bed(&bed);
}

static void every_class_has_a_cache_of_its_own(void **state)
{
    struct bed *bed = *state;
    void *blocks[FL_CLASS_COUNT];
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        size_t bytes = stats_of(bed->heap).classes[c].block_bytes;
        blocks[c] = fl_alloc(bed->thread, bytes);
        memset(blocks[c], (int)c, bytes);
    }
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        struct fl_class_stats class = stats_of(bed->heap).classes[c];
        assert_int_equal(class.live, 1);
        assert_int_equal(((unsigned char *)blocks[c])[class.block_bytes - 1], c);
        fl_free_sized(bed->thread, blocks[c], class.block_bytes);
        assert_ptr_equal(fl_alloc(bed->thread, class.block_bytes), blocks[c]);
        fl_free(bed->thread, blocks[c]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BED_TEST(the_block_freed_last_is_allocated_first),
        BED_TEST(a_first_use_begins_one_slab_and_loads_some_neighbours),
        BED_TEST(a_thread_that_has_used_up_its_first_blocks_gets_the_rest_of_a_magazine),
        BED_TEST(steady_pairs_touch_nothing_shared),
        BED_TEST(going_up_and_down_by_one_magazine_exchanges_nothing),
        BED_TEST(a_thread_caches_two_magazines_of_a_class_and_what_is_kept_at_home_at_most),
        BED_TEST(a_flush_sends_all_home_and_the_lowest_free_block_comes_back),
        cmocka_unit_test(a_cold_magazine_hands_out_every_block_once),
        cmocka_unit_test(a_cold_magazine_is_flushed_and_swapped_as_a_whole),
        BED_TEST(flushing_twice_changes_nothing_more),
        BED_TEST(blocks_freed_on_one_handle_are_found_by_another),
        cmocka_unit_test(handing_small_blocks_over_touches_no_stack_of_the_pool),
        cmocka_unit_test(handing_large_blocks_over_costs_two_updates_per_magazine_exchanged),
        BED_TEST(every_class_has_a_cache_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
