/* SPDX-License-Identifier: MIT */
#include "support.h"

#include "memory/large.h"

enum { LARGE = FL_BLOCK_MAX + 1 };

/* A table of its own, outside of any heap. */
struct table {
    struct fli_large large;
    struct fli_limit limit;
};

static int table_up(void **state)
{
    struct table *table = calloc(1, sizeof *table);
    assert_non_null(table);
    table->limit.most = SIZE_MAX;
    fli_large_init(&table->large, &table->limit);
    *state = table;
    return 0;
}

static int table_down(void **state)
{
    struct table *table = *state;
    fli_large_close(&table->large);
    free(table);
    return 0;
}

static void a_large_block_is_known_until_it_is_freed(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    assert_int_equal(fli_large_size(large, &large), 0);
    void *block = fli_large_alloc(large, LARGE, false);
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
    void *block = fli_large_alloc(large, LARGE, false);
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
    void *block = fli_large_alloc(large, LARGE, false);
    assert_int_equal(fli_large_free(large, &actual, false, 0, &actual), FLI_LARGE_UNKNOWN);
    assert_int_equal(fli_large_free(large, NULL, false, 0, &actual), FLI_LARGE_UNKNOWN);
    assert_int_equal(large->blocks, 1);
    (void)block;
}

/* Thousands of entries, removed in an order that leaves gaps everywhere in the probe sequences. */
static void the_table_survives_growth_and_removal_in_any_order(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    enum { BLOCKS = 3000 };
    static void *blocks[BLOCKS];
    uint64_t seed = 7;
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = fli_large_alloc(large, LARGE + i, false);
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
    assert_int_equal(large->blocks, 0);
    assert_int_equal(large->bytes, 0);
    for (size_t place = 0; place < large->places; place++)
        assert_null(large->entries[place].block);
}

static void blocks_and_bytes_are_counted(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    size_t actual;
    void *first = fli_large_alloc(large, LARGE, false);
    void *second = fli_large_alloc(large, 100000, true);
    assert_int_equal(large->blocks, 2);
    assert_int_equal(large->bytes, LARGE + 100000);
    fli_large_free(large, first, false, 0, &actual);
    assert_int_equal(large->blocks, 1);
    assert_int_equal(large->bytes, 100000);
    fli_large_free(large, second, false, 0, &actual);
}

static void zeroed_blocks_are_zero(void **state)
{
    struct fli_large *large = &((struct table *)*state)->large;
    for (unsigned round = 0; round < 3; round++) {
        size_t actual;
        unsigned char *block = fli_large_alloc(large, LARGE, true);
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
    void *first = fli_large_alloc(&table->large, LARGE, false);
    assert_null(fli_large_alloc(&table->large, LARGE + 1, false));
    void *second = fli_large_alloc(&table->large, LARGE, false);
    assert_non_null(second);
    assert_null(fli_large_alloc(&table->large, LARGE, false));
    fli_large_free(&table->large, first, false, 0, &actual);
    fli_large_free(&table->large, second, false, 0, &actual);
    assert_int_equal(fli_load_relaxed(&table->limit.used), 0);
}

static void a_size_that_no_machine_has_is_refused_and_takes_nothing(void **state)
{
    struct table *table = *state;
    assert_null(fli_large_alloc(&table->large, SIZE_MAX, false));
    assert_null(fli_large_alloc(&table->large, (size_t)PTRDIFF_MAX + 1, true));
    assert_int_equal(fli_load_relaxed(&table->limit.used), 0);
    assert_int_equal(table->large.blocks, 0);
}

#define TABLE_TEST(test) cmocka_unit_test_setup_teardown(test, table_up, table_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TABLE_TEST(a_large_block_is_known_until_it_is_freed),
        TABLE_TEST(a_free_with_another_size_is_refused_and_told_the_right_one),
        TABLE_TEST(what_is_in_no_table_is_refused),
        TABLE_TEST(the_table_survives_growth_and_removal_in_any_order),
        TABLE_TEST(blocks_and_bytes_are_counted),
        TABLE_TEST(zeroed_blocks_are_zero),
        TABLE_TEST(the_limit_is_kept_to_the_byte_and_given_back),
        TABLE_TEST(a_size_that_no_machine_has_is_refused_and_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
