/* SPDX-License-Identifier: MIT
 *
 * Large blocks outside of any heap.
 */
#ifndef FREELANE_TESTS_TABLE_H
#define FREELANE_TESTS_TABLE_H

#include "support.h"

#include "base/atomic.h"
#include "large/supply.h"

/* Large blocks outside of any heap, and extents in hand. */
struct table {
    struct fli_large large;
    struct fli_limit limit;
    struct fli_extent extents[FLI_TRAY_SLOTS + 1];
};

static inline int table_up(void **state)
{
    struct table *table = aligned_alloc(FLI_CACHE_LINE, fli_round_up(sizeof *table, FLI_CACHE_LINE));
    assert_non_null(table);
    memset(table, 0, sizeof *table);
    table->limit = (struct fli_limit){.most = SIZE_MAX};
    fli_large_init(&table->large, &table->limit);
    for (unsigned i = 0; i < COUNT_OF(table->extents); i++)
        table->extents[i].mapped = fli_extent_bytes(FL_BLOCK_MAX + 1);
    *state = table;
    return 0;
}

static inline void assert_in_order(struct fli_large *large)
{
    char error[256] = "";
    if (fli_large_check(large, error, sizeof error) != 0)
        fail_msg("fli_large_check: %s", error);
}

static inline int table_down(void **state)
{
    struct table *table = *state;
    assert_in_order(&table->large);
    fli_large_close(&table->large);
    free(table);
    return 0;
}

#define TABLE_TEST(test) cmocka_unit_test_setup_teardown(test, table_up, table_down)

#endif
