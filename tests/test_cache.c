/* SPDX-License-Identifier: MIT */
#include "support.h"

#include "rack.h"

enum { SIZE = 48, MANY = 3000 };

static unsigned capacity_of(struct fl_heap *heap)
{
    return (unsigned)class_stats_of(heap, SIZE).magazine_blocks;
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

static void a_first_use_carves_one_magazine_of_neighbours(void **state)
{
    struct bed *bed = *state;
    char *first = fl_alloc(bed->thread, SIZE), *second = fl_alloc(bed->thread, SIZE);
    assert_int_equal(second - first, SIZE);
    assert_int_equal(class_stats_of(bed->heap, SIZE).carved, capacity_of(bed->heap));
    assert_int_equal(stats_of(bed->heap).magazines, 1);
    fl_free(bed->thread, first);
    fl_free(bed->thread, second);
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

static void a_thread_caches_two_magazines_of_a_class_and_a_rack_at_most(void **state)
{
    struct bed *bed = *state;
    void *blocks[MANY];
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, MANY, blocks), 0);
    for (unsigned i = 0; i < MANY; i++) {
        fl_free(bed->thread, blocks[i]);
        if (i % 97 == 0)
            assert_in_range(class_stats_of(bed->heap, SIZE).cached, 1,
                            2 * capacity_of(bed->heap) + FLI_RACK_BYTES_MOST / SIZE);
    }
    struct fl_class_stats class = class_stats_of(bed->heap, SIZE);
    assert_int_equal(class.live, 0);
    assert_int_equal(class.cached + class.pooled + class.parked, class.carved);
}

static void a_flush_gives_all_to_the_pool_and_a_part_full_magazine_comes_back(void **state)
{
    struct bed *bed = *state;
    void *block = fl_alloc(bed->thread, SIZE);
    fl_thread_flush(bed->thread);
    struct fl_class_stats class = class_stats_of(bed->heap, SIZE);
    assert_int_equal(class.cached, 0);
    assert_int_equal(class.pooled, class.carved - 1);
    assert_int_equal(class.live, 1);

    void *second = fl_alloc(bed->thread, SIZE);
    class = class_stats_of(bed->heap, SIZE);
    assert_int_equal(class.pooled, 0);
    assert_int_equal(class.cached, class.carved - 2);
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
    fl_thread_flush(other);
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
    void *blocks[MANY], *more[MANY];
    unsigned capacity = capacity_of(bed.heap);
    assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, blocks), 0);
    size_t carved = class_stats_of(bed.heap, SIZE).carved;
    for (unsigned i = 0; i < MANY; i++)
        fl_free_sized(bed.thread, blocks[i * 1021u % MANY], SIZE);
    fl_thread_flush(bed.thread);
    blocks[0] = fl_alloc(bed.thread, SIZE); /* loads a magazine from the pool */
    assert_int_equal(class_stats_of(bed.heap, SIZE).cached + 1, capacity);
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

static void handing_blocks_over_costs_two_updates_per_magazine_exchanged(void **state)
{
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = SIZE_MAX});
    (void)state;
    struct fl_thread *consumer = fl_thread_attach(bed.heap);
    void *blocks[MANY];
    struct fl_stats before = {0};
    for (unsigned round = 0; round < 20; round++) {
        if (round == 4) /* by then no magazine is new */
            before = stats_of(bed.heap);
        assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, blocks), 0);
        fl_free_many(consumer, SIZE, MANY, blocks);
    }
    struct fl_stats after = stats_of(bed.heap);
    uint64_t exchanges = after.exchanges - before.exchanges, updates = after.shared_updates - before.shared_updates;
    assert_true(exchanges >= 16 * MANY / capacity_of(bed.heap));
    assert_true(updates <= 2 * exchanges);
    assert_int_equal(after.cas_failures, 0);
    assert_int_equal(fl_thread_detach(consumer), 0);
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
        BED_TEST(a_first_use_carves_one_magazine_of_neighbours),
        BED_TEST(steady_pairs_touch_nothing_shared),
        BED_TEST(going_up_and_down_by_one_magazine_exchanges_nothing),
        BED_TEST(a_thread_caches_two_magazines_of_a_class_and_a_rack_at_most),
        BED_TEST(a_flush_gives_all_to_the_pool_and_a_part_full_magazine_comes_back),
        cmocka_unit_test(a_cold_magazine_hands_out_every_block_once),
        cmocka_unit_test(a_cold_magazine_is_flushed_and_swapped_as_a_whole),
        BED_TEST(flushing_twice_changes_nothing_more),
        BED_TEST(blocks_freed_on_one_handle_are_found_by_another),
        cmocka_unit_test(handing_blocks_over_costs_two_updates_per_magazine_exchanged),
        BED_TEST(every_class_has_a_cache_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
