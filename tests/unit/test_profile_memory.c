/* SPDX-License-Identifier: MIT
 *
 * Profiles where the OS refuses memory.
 */
/* link: -Wl,--wrap=mmap */
#include "grant.h"
#include "profile_support.h"

enum { SIZE = 48 };

static void without_memory_there_is_no_profile(void **state)
{
    struct bed *bed = *state;
    granted = 0;
    int failed = fl_profile_start(bed->heap, &exact);
    granted = UINT_MAX;
    assert_int_equal(failed, -ENOMEM);
    start_with(bed->heap, &exact);
    assert_int_equal(fl_profile_stop(bed->heap), 0);
}

static void what_is_refused_is_told_as_dropped(void **state)
{
    struct bed *bed = *state;
    fl_free(bed->thread, fl_alloc(bed->thread, SIZE));
    start_with(bed->heap, &exact);
    void *blocks[3];
    for (unsigned i = 0; i < 3; i++) {
        granted = i; /* a site takes one mapping, a sample another one */
        blocks[i] = fl_alloc(bed->thread, SIZE);
        granted = UINT_MAX;
    }
    char *text = printed(bed->heap, FL_PROFILE_JSON);
    assert_contains(text, "\"dropped\": 2,");
    free(text);
    assert_counts(bed->heap, 1, 48, 1, 48);
    granted = 0;
    int failed = fl_profile_print(bed->heap, stderr, FL_PROFILE_PPROF);
    granted = 1;
    int also_failed = fl_profile_print(bed->heap, stderr, FL_PROFILE_JSON);
    granted = UINT_MAX;
    assert_int_equal(failed, -ENOMEM);
    assert_int_equal(also_failed, -ENOMEM);
    for (unsigned i = 0; i < 3; i++)
        fl_free(bed->thread, blocks[i]);
    assert_counts(bed->heap, 0, 0, 1, 48);
    assert_int_equal(fl_profile_stop(bed->heap), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BED_TEST(without_memory_there_is_no_profile),
        BED_TEST(what_is_refused_is_told_as_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
