/* SPDX-License-Identifier: MIT */
#include "table.h"

enum { LARGE = FL_BLOCK_MAX + 1 };

static struct fli_trays *trays_of(struct table *table)
{
    struct fli_trays *trays = &table->large.shards[0].trays;
    fli_tray_make(trays);
    return trays;
}

/* ---- Trays alone. */

static void an_extent_is_put_only_where_room_was_granted(void **state)
{
    struct table *table = *state;
    struct fli_trays *trays = &table->large.shards[0].trays;
    struct fli_extent *extent = &table->extents[0];
    assert_false(fli_tray_put(trays, extent));
    assert_false(fli_tray_grant(trays, extent, SIZE_MAX));
    trays = trays_of(table);
    assert_false(fli_tray_put(trays, extent));
    assert_false(fli_tray_grant(trays, extent, extent->mapped - 1));
    assert_true(fli_tray_grant(trays, extent, extent->mapped));
    assert_true(fli_tray_put(trays, extent));
    assert_false(fli_tray_put(trays, &table->extents[1]));
    assert_int_equal(fli_tray_bytes(trays), extent->mapped);
    assert_ptr_equal(fli_tray_take(trays, 0), extent);
    assert_null(fli_tray_take(trays, 0));
}

static void the_extent_that_was_put_last_is_taken_first(void **state)
{
    struct table *table = *state;
    struct fli_trays *trays = trays_of(table);
    for (unsigned i = 0; i < FLI_TRAY_SLOTS; i++) {
        assert_true(fli_tray_grant(trays, &table->extents[i], SIZE_MAX));
        assert_true(fli_tray_put(trays, &table->extents[i]));
    }
    assert_false(fli_tray_grant(trays, &table->extents[FLI_TRAY_SLOTS], SIZE_MAX));
    for (unsigned i = FLI_TRAY_SLOTS; i-- > 0;)
        assert_ptr_equal(fli_tray_take(trays, 0), &table->extents[i]);
}

static void an_extent_below_a_wrong_count_is_found_again(void **state)
{
    struct table *table = *state;
    struct fli_trays *trays = trays_of(table);
    assert_true(fli_tray_grant(trays, &table->extents[0], SIZE_MAX));
    assert_true(fli_tray_grant(trays, &table->extents[0], SIZE_MAX));
    assert_true(fli_tray_put(trays, &table->extents[0]));
    fli_store_hint(&fli_tray_of(trays, 0)->count, 0);
    assert_true(fli_tray_put(trays, &table->extents[1]));
    assert_ptr_equal(fli_tray_take(trays, 0), &table->extents[1]);
    assert_ptr_equal(fli_tray_take(trays, 0), &table->extents[0]);
    fli_store_hint(&fli_tray_of(trays, 0)->count, 2);
    assert_null(fli_tray_take(trays, 0));
    assert_true(fli_tray_grant(trays, &table->extents[0], SIZE_MAX));
    assert_true(fli_tray_put(trays, &table->extents[0]));
    assert_ptr_equal(fli_tray_take(trays, 0), &table->extents[0]);
}

static void what_is_revoked_becomes_spare_as_before(void **state)
{
    struct table *table = *state;
    struct fli_trays *trays = trays_of(table);
    struct fli_spare *spare = &table->large.shards[0].spare;
    assert_true(fli_tray_grant(trays, &table->extents[0], SIZE_MAX));
    assert_true(fli_tray_put(trays, &table->extents[0]));
    fli_tray_revoke(trays, spare);
    assert_int_equal(fli_tray_bytes(trays), 0);
    assert_false(fli_tray_put(trays, &table->extents[1]));
    assert_ptr_equal(fli_spare_take(spare, LARGE), &table->extents[0]);
}

/* ---- Large blocks. */

static void free_at_once(struct fli_large *large, size_t size)
{
    size_t actual;
    void *block = fli_large_alloc(large, 0, size, false);
    assert_non_null(block);
    assert_int_equal(fli_large_free(large, block, true, size, &actual), FLI_LARGE_DONE);
}

static size_t in_trays(struct fli_large *large)
{
    return fli_tray_bytes(&large->shards[0].trays);
}

static void a_freed_block_goes_to_a_tray_and_a_trim_finds_it_there(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    free_at_once(large, LARGE);
    assert_int_equal(in_trays(large), fli_extent_bytes(LARGE));
    assert_int_equal(fli_supply_kept(large), fli_extent_bytes(LARGE));
    assert_int_equal(fli_supply_trim(large, 0), fli_extent_bytes(LARGE));
    assert_int_equal(fli_supply_kept(large), 0);
}

static void what_lies_in_a_tray_serves_a_smaller_block(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    free_at_once(large, 65536);
    free_at_once(large, 57344);
    assert_int_equal(fli_supply_kept(large), 65536);
    assert_int_equal(in_trays(large), 65536);
}

static void a_lower_share_empties_trays(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    free_at_once(large, LARGE);
    fli_large_share(large, 0, 1);
    free_at_once(large, LARGE);
    assert_int_equal(fli_supply_kept(large), 0);
}

/* Replaces blocks by blocks of other sizes. */
static void mix(struct fli_large *large, void **blocks, size_t *sizes, size_t count, uint64_t *seed)
{
    size_t i = next_random(seed) % count, actual;
    if (blocks[i] != NULL)
        assert_int_equal(fli_large_free(large, blocks[i], true, sizes[i], &actual), FLI_LARGE_DONE);
    sizes[i] = LARGE + next_random(seed) % FLI_MIB;
    assert_non_null(blocks[i] = fli_large_alloc(large, 0, sizes[i], false));
}

static void sizes_that_change_keep_no_more_than_the_bound(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    void *blocks[20] = {NULL};
    size_t sizes[20], actual;
    uint64_t seed = 3;
    fli_large_share(large, 8 * FLI_MIB, 1);
    for (unsigned i = 0; i < 5000; i++) {
        mix(large, blocks, sizes, COUNT_OF(blocks), &seed);
        assert_true(fli_supply_kept(large) <= fli_min(large->shards[0].spare.bound, 8 * FLI_MIB));
    }
    assert_in_order(large);
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        if (blocks[i] != NULL)
            assert_int_equal(fli_large_free(large, blocks[i], true, sizes[i], &actual), FLI_LARGE_DONE);
    assert_true(fli_supply_kept(large) <= 8 * FLI_MIB);
}

/* ---- Threads. */

enum { ROUNDS = 200, BLOCKS = 64, FREERS = 2 };

/* Blocks that several threads free at once. */
struct contest {
    struct fli_large *large;
    void *blocks[BLOCKS];
    FLI_ATOMIC(unsigned) round, ready, done, freed;
};

static void wait_for(FLI_ATOMIC(unsigned) * number, unsigned value)
{
    while (fli_load_acquire(number) < value)
        sched_yield();
}

static void add_one(FLI_ATOMIC(unsigned) * number)
{
    atomic_fetch_add_explicit(number, 1, memory_order_acq_rel);
}

static void *free_each_round(void *argument)
{
    struct contest *contest = argument;
    for (unsigned round = 1; round <= ROUNDS; round++) {
        size_t actual;
        wait_for(&contest->round, round);
        add_one(&contest->ready);
        wait_for(&contest->ready, FREERS * round);
        for (unsigned i = 0; i < BLOCKS; i++)
            if (fli_large_free(contest->large, contest->blocks[i], i % 2 == 0, LARGE, &actual) == FLI_LARGE_DONE)
                add_one(&contest->freed);
        add_one(&contest->done);
    }
    return NULL;
}

static void of_threads_that_free_a_block_at_once_one_succeeds(void **state)
{
    struct contest contest = {.large = &((struct table *)*state)->large};
    pthread_t threads[FREERS];
    for (unsigned i = 0; i < FREERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, free_each_round, &contest), 0);
    for (unsigned round = 1; round <= ROUNDS; round++) {
        for (unsigned i = 0; i < BLOCKS; i++)
            assert_non_null(contest.blocks[i] = fli_large_alloc(contest.large, 0, LARGE, false));
        fli_store_release(&contest.round, round);
        wait_for(&contest.done, FREERS * round);
        assert_int_equal(fli_load_acquire(&contest.freed), BLOCKS * round);
    }
    for (unsigned i = 0; i < FREERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(fli_large_count(contest.large).blocks, 0);
}

/* A thread that allocates and frees until it is told to stop. */
struct worker {
    struct bed *bed;
    FLI_ATOMIC(bool) stop;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct fl_thread *thread = fl_thread_attach(worker->bed->heap);
    for (size_t i = 0; !fli_load_relaxed(&worker->stop); i++)
        fl_free_sized(thread, fl_alloc(thread, LARGE + i % 3 * 5000), LARGE + i % 3 * 5000);
    fl_thread_detach(thread);
    return NULL;
}

static void check_in_child(void *argument)
{
    struct worker *worker = argument;
    EXPECT_SOUND(worker->bed->heap);
    fl_free(worker->bed->thread, fl_alloc(worker->bed->thread, LARGE));
    fl_heap_trim(worker->bed->heap, 0);
    EXPECT_SOUND(worker->bed->heap);
}

static void a_child_forked_amid_frees_is_in_order(void **state)
{
    struct worker worker = {.bed = *state};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, work, &worker), 0);
    for (unsigned i = 0; i < (FLI_SANITIZED ? 10 : 100); i++)
        assert_child_succeeds(check_in_child, &worker);
    fli_store_relaxed(&worker.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TABLE_TEST(an_extent_is_put_only_where_room_was_granted),
        TABLE_TEST(the_extent_that_was_put_last_is_taken_first),
        TABLE_TEST(an_extent_below_a_wrong_count_is_found_again),
        TABLE_TEST(what_is_revoked_becomes_spare_as_before),
        TABLE_TEST(a_freed_block_goes_to_a_tray_and_a_trim_finds_it_there),
        TABLE_TEST(what_lies_in_a_tray_serves_a_smaller_block),
        TABLE_TEST(a_lower_share_empties_trays),
        TABLE_TEST(sizes_that_change_keep_no_more_than_the_bound),
        TABLE_TEST(of_threads_that_free_a_block_at_once_one_succeeds),
        BED_TEST(a_child_forked_amid_frees_is_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
