/* SPDX-License-Identifier: MIT */
#include "table.h"

enum { LARGE = FL_BLOCK_MAX + 1 };

static void a_large_block_is_known_until_it_is_freed(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    assert_int_equal(fli_large_size(large, &large), 0);
    void *block = fli_large_alloc(large, 0, LARGE, false);
    assert_non_null(block);
    assert_int_equal(fli_large_size(large, block), LARGE);
    assert_int_equal(fli_large_size(large, (char *)block + 1), 0);
    assert_int_equal(fli_large_size(large, NULL), 0);
    size_t actual;
    assert_int_equal(fli_large_free(large, block, false, 0, &actual), FLI_LARGE_DONE);
    assert_int_equal(fli_large_size(large, block), 0);
    assert_int_equal(fli_large_free(large, block, false, 0, &actual), FLI_LARGE_UNKNOWN);
    assert_int_equal(actual, 0);
}

static void a_free_with_another_size_is_refused_and_told_the_right_one(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    void *block = fli_large_alloc(large, 0, LARGE, false);
    size_t actual;
    assert_int_equal(fli_large_free(large, block, true, LARGE + 1, &actual), FLI_LARGE_WRONG_SIZE);
    assert_int_equal(actual, LARGE);
    assert_int_equal(fli_large_size(large, block), LARGE);
    assert_int_equal(fli_large_free(large, block, true, LARGE, &actual), FLI_LARGE_DONE);
}

static void what_is_in_no_table_is_refused(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    size_t actual = 1;
    assert_int_equal(fli_large_free(large, &actual, false, 0, &actual), FLI_LARGE_UNKNOWN);
    assert_int_equal(actual, 0);
    void *block = fli_large_alloc(large, 0, LARGE, false);
    assert_int_equal(fli_large_free(large, &actual, false, 0, &actual), FLI_LARGE_UNKNOWN);
    assert_int_equal(fli_large_free(large, NULL, false, 0, &actual), FLI_LARGE_UNKNOWN);
    assert_int_equal(fli_large_count(large).blocks, 1);
    (void)block;
}

static void thousands_of_blocks_are_found_and_freed_in_any_order(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    enum { BLOCKS = 3000 };
    static void *blocks[BLOCKS];
    uint64_t seed = 7;
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = fli_large_alloc(large, 0, LARGE + i, false);
        assert_non_null(blocks[i]);
    }
    for (size_t left = BLOCKS; left > 0; left--) {
        size_t i = next_random(&seed) % left, actual;
        size_t size = fli_large_size(large, blocks[i]);
        assert_int_equal(fli_large_free(large, blocks[i], true, size, &actual), FLI_LARGE_DONE);
        blocks[i] = blocks[left - 1];
        if (left % 100 == 1)
            for (size_t j = 0; j < left - 1; j++)
                assert_true(fli_large_size(large, blocks[j]) >= LARGE);
    }
    assert_int_equal(fli_large_count(large).blocks, 0);
    assert_int_equal(fli_large_count(large).bytes, 0);
}

static void blocks_and_bytes_are_counted(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    size_t actual;
    void *first = fli_large_alloc(large, 0, LARGE, false);
    void *second = fli_large_alloc(large, 0, 100000, true);
    assert_int_equal(fli_large_count(large).blocks, 2);
    assert_int_equal(fli_large_count(large).bytes, LARGE + 100000);
    fli_large_free(large, first, false, 0, &actual);
    assert_int_equal(fli_large_count(large).blocks, 1);
    assert_int_equal(fli_large_count(large).bytes, 100000);
    fli_large_free(large, second, false, 0, &actual);
}

static void zeroed_blocks_are_zero(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    for (unsigned round = 0; round < 3; round++) {
        size_t actual;
        unsigned char *block = fli_large_alloc(large, 0, LARGE, true);
        for (size_t i = 0; i < LARGE; i++)
            assert_int_equal(block[i], 0);
        memset(block, 0xff, LARGE);
        fli_large_free(large, block, false, 0, &actual);
    }
}

static void the_limit_is_kept_to_the_byte_and_given_back(void **state)
{
    struct table *table = *state;
    size_t actual;
    table->limit.most = 2 * LARGE;
    void *first = fli_large_alloc(&table->large, 0, LARGE, false);
    assert_null(fli_large_alloc(&table->large, 0, LARGE + 1, false));
    void *second = fli_large_alloc(&table->large, 0, LARGE, false);
    assert_non_null(second);
    assert_null(fli_large_alloc(&table->large, 0, LARGE, false));
    fli_large_free(&table->large, first, false, 0, &actual);
    fli_large_free(&table->large, second, false, 0, &actual);
    fli_supply_trim(&table->large, 0);
    assert_int_equal(fli_load_relaxed(&table->limit.used), 0);
}

static void a_size_that_no_machine_has_is_refused_and_takes_nothing(void **state)
{
    struct table *table = *state;
    assert_null(fli_large_alloc(&table->large, 0, SIZE_MAX, false));
    assert_null(fli_large_alloc(&table->large, 0, (size_t)PTRDIFF_MAX + 1, true));
    assert_int_equal(fli_load_relaxed(&table->limit.used), 0);
    assert_int_equal(fli_large_count(&table->large).blocks, 0);
}

/* ---- Where blocks begin. */

/* Where a block begins within its page. */
static size_t offset_of(const void *block)
{
    return (uintptr_t)block % FLI_EXTENT_PAGE;
}

/* Allocates as many blocks as there are colours. Returns at how many different offsets they begin. */
static unsigned offsets_of(struct fli_large *large, size_t size)
{
    bool seen[FLI_EXTENT_COLOURS] = {false};
    unsigned count = 0;
    for (unsigned i = 0; i < FLI_EXTENT_COLOURS; i++) {
        char *block = fli_large_alloc(large, 0, size, false);
        size_t offset = offset_of(block);
        assert_int_equal(offset % FLI_EXTENT_ALIGNMENT, 0);
        assert_true(offset <= fli_extent_play(size));
        block[0] = block[size - 1] = 1;
        count += !seen[offset / FLI_EXTENT_ALIGNMENT];
        seen[offset / FLI_EXTENT_ALIGNMENT] = true;
    }
    return count;
}

static void blocks_begin_at_as_many_offsets_as_take_no_further_page(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    assert_int_equal(offsets_of(large, 33 * FLI_KIB), 13);
    assert_int_equal(offsets_of(large, 36 * FLI_KIB), 1);
    assert_int_equal(offsets_of(large, 100001), 1 + (102400 - 100001) / FLI_EXTENT_ALIGNMENT);
    assert_int_equal(offsets_of(large, 256 * FLI_KIB), FLI_EXTENT_COLOURS);
    assert_int_equal(offsets_of(large, 33 * FLI_MIB), 1);
    assert_in_order(large);
}

static void a_block_begins_at_a_page_if_it_has_to(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    size_t actual;
    for (unsigned i = 0; i < 2 * FLI_EXTENT_COLOURS; i++) {
        void *block = fli_large_alloc(large, 0, LARGE, false);
        fli_large_free(large, i % 2 == 0 ? block : fli_large_alloc(large, 0, LARGE, false), false, 0, &actual);
        block = fli_large_alloc_page(large, 0, LARGE, i % 3 == 0);
        assert_int_equal(offset_of(block), 0);
    }
    assert_in_order(large);
}

static void beside_its_start_a_block_is_unknown(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    fli_large_alloc(large, 0, LARGE, false);
    char *block = fli_large_alloc(large, 0, LARGE, false);
    size_t offset = offset_of(block), actual;
    assert_true(offset > 0);
    for (size_t other = 0; other < 2 * FLI_EXTENT_PAGE; other += FLI_EXTENT_ALIGNMENT)
        if (other != offset) {
            assert_int_equal(fli_large_size(large, block - offset + other), 0);
            assert_false(fli_large_free_quickly(large, block - offset + other, LARGE));
            assert_int_equal(fli_large_free(large, block - offset + other, false, 0, &actual), FLI_LARGE_UNKNOWN);
        }
    assert_false(fli_large_free_quickly(large, block, LARGE + 1));
    assert_false(fli_large_free_quickly(large, block, LARGE | FLI_EXTENT_IS_DEFERRED));
    assert_true(fli_large_free_quickly(large, block, LARGE));
    assert_false(fli_large_free_quickly(large, block, LARGE));
    assert_int_equal(fli_large_count(large).blocks, 1);
}

static void a_block_that_is_resized_keeps_its_offset_and_what_is_in_it(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    fli_large_alloc(large, 0, 128 * FLI_KIB, false);
    void *block = fli_large_alloc(large, 0, 128 * FLI_KIB, false);
    size_t offset = offset_of(block), size = 128 * FLI_KIB, actual;
    assert_true(offset > 0);
    memset(block, 7, size);
    for (size_t next = 32 * FLI_KIB + 4096; next < FLI_MIB; size = next, next += 5000 * (next / 16384)) {
        assert_int_equal(fli_large_resize(large, &block, size, next, false, &actual), FLI_LARGE_DONE);
        assert_int_equal(offset_of(block), offset);
        unsigned char *bytes = block;
        for (size_t i = 0; i < fli_min(size, next); i++)
            assert_int_equal(bytes[i], 7);
        memset(block, 7, next);
        assert_in_order(large);
    }
}

/* Resizes a block whose bytes are all 7, and asserts that they still are. Returns where it is now. */
static void *resize(struct fli_large *large, void *block, size_t size, size_t next, bool realtime)
{
    size_t actual;
    memset(block, 7, size);
    assert_int_equal(fli_large_resize(large, &block, size, next, realtime, &actual), FLI_LARGE_DONE);
    assert_int_equal(fli_large_size(large, block), next);
    for (size_t i = 0; i < fli_min(size, next); i++)
        assert_int_equal(((unsigned char *)block)[i], 7);
    assert_in_order(large);
    return block;
}

/* A spare extent for blocks of the size, which the shard may keep. Returns where it begins. */
static const char *make_spare(struct fli_large *large, size_t size)
{
    size_t actual;
    large->shards[0].spare.bound = 64 * FLI_MIB;
    void *block = fli_large_alloc_page(large, 0, size, false);
    assert_int_equal(fli_large_free(large, block, true, size, &actual), FLI_LARGE_DONE);
    return block;
}

static void a_block_whose_size_changes_much_is_copied_into_a_spare_extent(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    static const size_t pairs[][2] = {{48 * FLI_KIB, 96 * FLI_KIB}, {2 * FLI_MIB, 5 * FLI_MIB}};
    for (unsigned i = 0; i < 2; i++) {
        size_t size = pairs[i][0], next = pairs[i][1];
        char *block = fli_large_alloc_page(large, 0, size, false), *first = block;
        const char *spare = make_spare(large, next);
        block = resize(large, block, size, next, false);
        assert_ptr_equal(block, spare);
        assert_ptr_equal(resize(large, block, next, size, false), first);
    }
}

static void a_small_one_is_copied_where_there_is_no_spare_extent(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    enum { SMALL = 64 << 10, BIG = 2 << 20 };
    large->shards[0].spare.bound = 64 * FLI_MIB;
    resize(large, fli_large_alloc(large, 0, SMALL, false), SMALL, 2 * SMALL, false);
    size_t kept = fli_large_count(large).kept_bytes;
    assert_int_equal(kept, SMALL);
    resize(large, fli_large_alloc(large, 0, BIG, false), BIG, 2 * BIG, false);
    assert_int_equal(fli_large_count(large).kept_bytes, kept);
}

static void a_block_is_not_copied_for_a_real_time_thread_or_a_small_change(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    enum { SIZE = 128 << 10, MORE = SIZE + SIZE / 4 };
    void *block = fli_large_alloc_page(large, 0, SIZE, false), *other = fli_large_alloc_page(large, 0, SIZE, false);
    make_spare(large, 2 * SIZE);
    make_spare(large, MORE);
    size_t kept = fli_large_count(large).kept_bytes;
    resize(large, block, SIZE, MORE, false);
    resize(large, other, SIZE, 2 * SIZE, true);
    assert_int_equal(fli_large_count(large).kept_bytes, kept);
}

static size_t free_at_once(struct fli_large *large, unsigned shard, size_t size)
{
    size_t actual;
    void *block = fli_large_alloc(large, shard, size, false);
    assert_non_null(block);
    assert_int_equal(fli_large_free(large, block, true, size, &actual), FLI_LARGE_DONE);
    return (size_t)block;
}

/* ---- What is kept. */

static void a_freed_block_is_kept_for_the_next_of_about_its_size(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    size_t first = free_at_once(large, 0, 65536);
    assert_int_equal(fli_supply_kept(large), 65536);
    assert_int_equal(free_at_once(large, 0, 65000), first);
    assert_int_equal(free_at_once(large, 0, 60000), first);
    assert_int_equal(fli_supply_kept(large), 65536);
    assert_int_not_equal(free_at_once(large, 0, LARGE), first);
    assert_int_not_equal(free_at_once(large, 0, 80000), first);
}

static void what_another_shard_keeps_serves_before_the_system_is_asked(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    size_t first = free_at_once(large, 0, LARGE);
    assert_int_equal(free_at_once(large, 1, LARGE), first);
    assert_in_order(large);
}

static void a_kept_block_is_zeroed_again_and_a_new_one_is_zero(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    size_t actual;
    void *dirty = memset(fli_large_alloc(large, 0, LARGE, false), 0xa5, LARGE);
    fli_large_free(large, dirty, false, 0, &actual);
    unsigned char *block = fli_large_alloc(large, 0, LARGE, true);
    assert_ptr_equal(block, dirty);
    for (size_t i = 0; i < LARGE; i++)
        assert_int_equal(block[i], 0);
}

enum { WAVE = 64 };

/* Allocates a number of blocks and frees them all. */
static void wave(struct fli_large *large)
{
    void *blocks[WAVE];
    size_t actual;
    for (size_t i = 0; i < WAVE; i++)
        assert_non_null(blocks[i] = fli_large_alloc(large, 0, 2 * LARGE, false));
    for (size_t i = 0; i < WAVE; i++)
        fli_large_free(large, blocks[i], false, 0, &actual);
}

static void little_is_kept_until_a_program_is_seen_to_need_it_again(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    wave(large);
    assert_in_range(fli_supply_kept(large), 1, FLI_SPARE_FIRST);
    wave(large);
    wave(large);
    assert_int_equal(fli_supply_kept(large), WAVE * fli_extent_bytes(2 * LARGE));
}

static void no_more_is_kept_than_the_share_of_a_shard(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    fli_large_share(large, 2 * FLI_MIB, 2);
    for (unsigned i = 0; i < 4; i++)
        wave(large);
    assert_in_range(fli_supply_kept(large), 1, FLI_MIB);
    fli_large_share(large, 0, 1);
    free_at_once(large, 0, LARGE);
    assert_int_equal(fli_supply_kept(large), 0);
}

static void what_is_kept_gives_way_to_the_limit(void **state)
{
    struct table *table = *state;
    size_t actual;
    table->limit.most = 3 * LARGE;
    free_at_once(&table->large, 0, LARGE);
    free_at_once(&table->large, 1, 2 * LARGE);
    assert_int_equal(fli_load_relaxed(&table->limit.used), 3 * LARGE);
    void *all = fli_large_alloc(&table->large, 0, 3 * LARGE, false);
    assert_non_null(all);
    assert_int_equal(fli_supply_kept(&table->large), 0);
    fli_large_free(&table->large, all, false, 0, &actual);
}

static void a_trim_leaves_as_much_as_it_is_asked_to(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    void *blocks[3];
    size_t actual, mapped = fli_extent_bytes(LARGE);
    for (unsigned i = 0; i < COUNT_OF(blocks); i++)
        blocks[i] = fli_large_alloc(large, i % FLI_LARGE_SHARDS, LARGE, false);
    for (unsigned i = 0; i < COUNT_OF(blocks); i++)
        fli_large_free(large, blocks[i], false, 0, &actual);
    assert_int_equal(fli_supply_trim(large, 3 * mapped), 0);
    assert_int_equal(fli_supply_trim(large, 2 * mapped), mapped);
    assert_int_equal(fli_supply_kept(large), 2 * mapped);
    assert_int_equal(fli_supply_trim(large, 0), 2 * mapped);
    assert_int_equal(fli_supply_kept(large), 0);
}

/* ---- Threads. */

enum { EXCHANGES = 4000, PLACES = 32, THREADS = 4 };

/* Where threads leave blocks for each other. */
struct market {
    struct fli_large *large;
    FLI_ATOMIC(unsigned) threads;
    FLI_ATOMIC(unsigned char *) places[PLACES];
};

static size_t size_at(unsigned place)
{
    return LARGE + 5000 * (size_t)(place % 8);
}

/* Puts a new block in the place of another, which it frees. */
static void trade(struct market *market, unsigned shard, unsigned place)
{
    size_t actual, size = size_at(place);
    unsigned char *block = fli_large_alloc(market->large, shard, size, place % 5 == 0), *old;
    EXPECT(block != NULL && (place % 5 != 0 || (block[0] == 0 && block[size - 1] == 0)));
    block[0] = block[size - 1] = (unsigned char)(place + 1);
    old = atomic_exchange_explicit(&market->places[place], block, memory_order_acq_rel);
    if (old == NULL)
        return;
    EXPECT(old[0] == place + 1 && old[size - 1] == place + 1);
    EXPECT(fli_large_size(market->large, old) == size);
    EXPECT(fli_large_free(market->large, old, true, size, &actual) == FLI_LARGE_DONE);
}

static void *trade_often(void *argument)
{
    struct market *market = argument;
    unsigned number = fli_add_relaxed(&market->threads, 1);
    uint64_t seed = number + 1;
    for (unsigned i = 0; i < EXCHANGES; i++) {
        trade(market, number % FLI_LARGE_SHARDS, (unsigned)(next_random(&seed) % PLACES));
        if (i % 500 == 499)
            fli_supply_trim(market->large, 0);
    }
    return NULL;
}

static void threads_may_free_each_others_blocks(void **state)
{
    struct market market = {.large = &((struct table *)*state)->large};
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, trade_often, &market), 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_in_order(market.large);
    size_t actual;
    for (unsigned i = 0; i < PLACES; i++)
        if (fli_load_relaxed(&market.places[i]) != NULL)
            fli_large_free(market.large, fli_load_relaxed(&market.places[i]), true, size_at(i), &actual);
    assert_int_equal(fli_large_count(market.large).blocks, 0);
}

/* ---- In a heap. */

static void a_trim_of_the_heap_gives_kept_blocks_back(void **state)
{
    struct bed *bed = *state;
    fl_free(bed->thread, fl_alloc(bed->thread, LARGE));
    size_t kept = stats_of(bed->heap).spare_bytes;
    assert_int_equal(kept, fli_extent_bytes(LARGE));
    assert_sound(bed->heap);
    assert_int_equal(fl_heap_trim(bed->heap, kept), 0);
    assert_int_equal(fl_heap_trim(bed->heap, 0), kept);
    assert_int_equal(stats_of(bed->heap).spare_bytes, 0);
}

static void a_flush_leaves_little(void **state)
{
    struct bed *bed = *state;
    for (unsigned round = 0; round < 3; round++) {
        void *blocks[WAVE];
        assert_int_equal(fl_alloc_many(bed->thread, 2 * LARGE, WAVE, blocks), 0);
        fl_free_many(bed->thread, 2 * LARGE, WAVE, blocks);
    }
    assert_true(stats_of(bed->heap).spare_bytes > 2 * FLI_SPARE_FIRST);
    fl_thread_flush(bed->thread);
    assert_in_range(stats_of(bed->heap).spare_bytes, 1, FLI_SPARE_FIRST);
}

static void small_blocks_get_the_memory_that_is_kept_when_the_limit_is_near(void **state)
{
    (void)state;
    enum { LIMIT = 4 << 20, SMALL = 1 << 14 };
    static void *blocks[LIMIT / SMALL];
    struct bed bed = bed_with(&(struct fl_options){.limit_bytes = LIMIT});
    for (unsigned i = 0; i < 3; i++)
        fl_free(bed.thread, fl_alloc(bed.thread, LIMIT / 16));
    assert_true(stats_of(bed.heap).spare_bytes > 0);
    assert_int_equal(fl_alloc_many(bed.thread, SMALL, COUNT_OF(blocks), blocks), 0);
    assert_int_equal(stats_of(bed.heap).spare_bytes, 0);
    fl_free_many(bed.thread, SMALL, COUNT_OF(blocks), blocks);
    end_bed(&bed);
}

static void use_in_child(void *argument)
{
    struct bed *bed = argument;
    unsigned char *block = fl_alloc(bed->thread, LARGE);
    EXPECT(block != NULL && fl_usable_size(bed->heap, block) == LARGE);
    memset(block, 1, LARGE);
    fl_free(bed->thread, block);
    EXPECT(fl_heap_trim(bed->heap, 0) >= fli_extent_bytes(LARGE));
    EXPECT_SOUND(bed->heap);
}

static void a_forked_child_goes_on_with_what_is_kept(void **state)
{
    struct bed *bed = *state;
    fl_free(bed->thread, fl_alloc(bed->thread, LARGE));
    void *block = fl_alloc(bed->thread, 2 * LARGE);
    assert_child_succeeds(use_in_child, bed);
    fl_free(bed->thread, block);
}

static int64_t begin_at_once(void *context)
{
    return ++*(int64_t *)context;
}

static bool elapse_at_once(void *context, int64_t token)
{
    return token <= *(int64_t *)context;
}

static void a_deferred_block_is_kept_after_its_grace_period(void **state)
{
    (void)state;
    int64_t token = 0;
    struct fl_grace_host host = {.begin = begin_at_once, .elapsed = elapse_at_once, .context = &token};
    struct bed bed = bed_with(&(struct fl_options){.grace = FL_GRACE_HOST, .grace_host = &host});
    void *block = fl_alloc(bed.thread, LARGE);
    fl_free_deferred(bed.thread, block, LARGE);
    assert_sound(bed.heap);
    for (unsigned i = 0; i < 3; i++)
        fl_quiescent(bed.thread);
    assert_int_equal(stats_of(bed.heap).deferred_bytes, 0);
    assert_ptr_equal(fl_alloc(bed.thread, LARGE), block);
    end_bed(&bed);
}

static void read_freed(void *argument)
{
    struct bed *bed = argument;
    volatile char *block = fl_alloc(bed->thread, LARGE);
    fl_free(bed->thread, (void *)block);
    EXPECT(block[100] != 0);
}

static void read_past(void *argument)
{
    struct bed *bed = argument;
    volatile char *block = fl_alloc(bed->thread, LARGE);
    EXPECT(block[LARGE] != 0);
}

static void address_sanitizer_finds_uses_of_what_is_no_block(void **state)
{
    if (!FLI_ADDRESS_SANITIZER)
        skip();
    assert_contains(run_child(read_freed, *state).output, "use-after-poison");
    assert_contains(run_child(read_past, *state).output, "use-after-poison");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TABLE_TEST(a_large_block_is_known_until_it_is_freed),
        TABLE_TEST(a_free_with_another_size_is_refused_and_told_the_right_one),
        TABLE_TEST(what_is_in_no_table_is_refused),
        TABLE_TEST(thousands_of_blocks_are_found_and_freed_in_any_order),
        TABLE_TEST(blocks_and_bytes_are_counted),
        TABLE_TEST(zeroed_blocks_are_zero),
        TABLE_TEST(the_limit_is_kept_to_the_byte_and_given_back),
        TABLE_TEST(a_size_that_no_machine_has_is_refused_and_takes_nothing),
        TABLE_TEST(blocks_begin_at_as_many_offsets_as_take_no_further_page),
        TABLE_TEST(a_block_begins_at_a_page_if_it_has_to),
        TABLE_TEST(beside_its_start_a_block_is_unknown),
        TABLE_TEST(a_block_that_is_resized_keeps_its_offset_and_what_is_in_it),
        TABLE_TEST(a_block_whose_size_changes_much_is_copied_into_a_spare_extent),
        TABLE_TEST(a_small_one_is_copied_where_there_is_no_spare_extent),
        TABLE_TEST(a_block_is_not_copied_for_a_real_time_thread_or_a_small_change),
        TABLE_TEST(a_freed_block_is_kept_for_the_next_of_about_its_size),
        TABLE_TEST(what_another_shard_keeps_serves_before_the_system_is_asked),
        TABLE_TEST(a_kept_block_is_zeroed_again_and_a_new_one_is_zero),
        TABLE_TEST(little_is_kept_until_a_program_is_seen_to_need_it_again),
        TABLE_TEST(no_more_is_kept_than_the_share_of_a_shard),
        TABLE_TEST(what_is_kept_gives_way_to_the_limit),
        TABLE_TEST(a_trim_leaves_as_much_as_it_is_asked_to),
        TABLE_TEST(threads_may_free_each_others_blocks),
        BED_TEST(a_trim_of_the_heap_gives_kept_blocks_back),
        BED_TEST(a_flush_leaves_little),
        cmocka_unit_test(small_blocks_get_the_memory_that_is_kept_when_the_limit_is_near),
        BED_TEST(a_forked_child_goes_on_with_what_is_kept),
        BED_TEST(address_sanitizer_finds_uses_of_what_is_no_block),
        cmocka_unit_test(a_deferred_block_is_kept_after_its_grace_period),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
