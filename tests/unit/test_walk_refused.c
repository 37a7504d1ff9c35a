/* SPDX-License-Identifier: MIT
 *
 * The heap walk where the OS refuses memory or address space.
 */
/* link: -Wl,--wrap=mmap -Wl,--wrap=mprotect */
#include "refusal.h"
#include "walk_support.h"

#include "memory/range.h"

enum { SIZE = 48, SOME = 2000 };

static void without_memory_there_is_no_walk_and_nothing_changes(void **state)
{
    struct bed *bed = *state;
    struct herd *herd = herd_of(bed->heap);
    herd_add_some(herd, bed->thread, SIZE, SOME);
    struct fl_stats before = stats_of(bed->heap), after;
    refuses = true;
    assert_int_equal(fl_heap_walk_begin(bed->heap), -ENOMEM);
    refuses = false;
    after = stats_of(bed->heap);
    assert_memory_equal(&before, &after, sizeof before);
    herd_add_some(herd, bed->thread, SIZE, 1); /* checked builds would tell of a walk */
    walk_herd(herd);
    herd_end(herd, bed->thread);
}

/* Without a magazine for them, deferred blocks are marked in their slabs. */
static void marked_blocks_are_free(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, &(struct fl_options){.magazine_blocks = 2});
    struct herd *herd = herd_of(bed.heap);
    herd_add_some(herd, bed.thread, SIZE, HERD_MOST / 2);
    refuses = true;
    herd_defer_some(herd, bed.thread, 0, 2);
    end_periods(&host);
    fl_quiescent(bed.thread); /* magazines have waited long enough; what is marked begins to wait */
    herd_defer_some(herd, bed.thread, 1, 4);
    refuses = false;
    const struct fli_marks *marks = &bed.heap->backing.slabs.marks;
    assert_true(marks->count[0] > 0 && marks->count[1] > 0);
    walk_herd(herd);
    let_all_go(&host, bed.thread);
    walk_herd(herd);
    herd_end(herd, bed.thread);
    let_all_go(&host, bed.thread);
    end_bed(&bed);
}

static void slabs_of_later_ranges_are_walked(void **state)
{
    (void)state;
    granted = 16 * FLI_MIB;
    struct bed bed = bed_with(NULL);
    struct herd *herd = herd_of(bed.heap);
    herd_add_some(herd, bed.thread, 16384, SOME);
    herd_free_some(herd, bed.thread, 1, 3);
    const struct fli_ranges *ranges = &bed.heap->backing.slabs.ranges;
    assert_true(fli_load_relaxed(&ranges->count) > 2);
    walk_herd(herd);
    herd_end(herd, bed.thread);
    end_bed(&bed);
    granted = SIZE_MAX;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BED_TEST(without_memory_there_is_no_walk_and_nothing_changes),
        cmocka_unit_test(marked_blocks_are_free),
        cmocka_unit_test(slabs_of_later_ranges_are_walked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
