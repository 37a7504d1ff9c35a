/* SPDX-License-Identifier: MIT */
#include "support.h"

#include "memory/sizeclass.h"
#include "memory/magazine.h"

static void every_size_fits_its_class_and_not_the_one_below(void **state)
{
    (void)state;
    for (size_t size = 1; size <= FL_BLOCK_MAX; size++) {
        unsigned class_index = fl_size_class(size);
        assert_in_range(class_index, 1, FL_CLASS_COUNT - 1);
        assert_true(fli_class_bytes(class_index) >= size);
        assert_true(class_index == 1 || fli_class_bytes(class_index - 1) < size);
    }
}

static void size_zero_and_sizes_past_the_largest_go_to_the_slow_half(void **state)
{
    (void)state;
    const size_t past[] = {0, FL_BLOCK_MAX + 1, 2 * FL_BLOCK_MAX, PTRDIFF_MAX, SIZE_MAX - 15, SIZE_MAX};
    for (size_t i = 0; i < COUNT_OF(past); i++)
        assert_int_equal(fl_size_class(past[i]), 0);
    assert_int_equal(fli_class_of_size(0), 1);
    assert_int_equal(fli_class_of_size(SIZE_MAX), 0);
}

static void small_classes_go_in_steps_of_16_bytes(void **state)
{
    (void)state;
    for (unsigned c = 1; c <= 16; c++)
        assert_int_equal(fli_class_bytes(c), 16 * c);
}

static void the_last_class_serves_the_largest_block(void **state)
{
    (void)state;
    assert_int_equal(fl_size_class(FL_BLOCK_MAX), FL_CLASS_COUNT - 1);
    assert_int_equal(fli_class_bytes(FL_CLASS_COUNT - 1), FL_BLOCK_MAX);
}

static void classes_waste_at_most_an_eighth_beyond_the_small_ones(void **state)
{
    (void)state;
    for (size_t size = 257; size <= FL_BLOCK_MAX; size++) {
        size_t bytes = fli_class_bytes(fl_size_class(size));
        assert_true(8 * (bytes - size) <= bytes);
    }
}

static void every_power_of_two_has_a_class_of_its_own(void **state)
{
    (void)state;
    for (size_t size = 16; size <= FL_BLOCK_MAX; size *= 2)
        assert_int_equal(fli_class_bytes(fl_size_class(size)), size);
}

static void every_class_keeps_blocks_aligned_to_16(void **state)
{
    (void)state;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++)
        assert_int_equal(fli_class_bytes(c) % 16, 0);
}

static void magazines_hold_sixteen_blocks_at_least_and_never_more_than_asked(void **state)
{
    (void)state;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++)
        for (unsigned largest = 2; largest <= FLI_MAGAZINE_SLOTS; largest++)
            assert_in_range(fli_class_magazine_blocks(c, largest, SIZE_MAX), fli_min(16, largest), largest);
}

static void magazines_of_a_small_heap_hold_a_small_part_of_it(void **state)
{
    (void)state;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++)
        for (size_t limit = 1; limit <= FLI_GIB; limit *= 2) {
            unsigned blocks = fli_class_magazine_blocks(c, FLI_MAGAZINE_SLOTS, limit);
            size_t bytes = blocks * fli_class_bytes(c);
            assert_true(blocks == 2 || bytes <= 16384 || bytes <= limit / 1024);
        }
}

static void magazines_of_larger_blocks_hold_no_more_of_them(void **state)
{
    (void)state;
    for (unsigned c = 2; c < FL_CLASS_COUNT; c++)
        assert_true(fli_class_magazine_blocks(c, FLI_MAGAZINE_SLOTS, SIZE_MAX) <=
                    fli_class_magazine_blocks(c - 1, FLI_MAGAZINE_SLOTS, SIZE_MAX));
    assert_int_equal(fli_class_magazine_blocks(1, FLI_MAGAZINE_SLOTS, SIZE_MAX), FLI_MAGAZINE_SLOTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size_fits_its_class_and_not_the_one_below),
        cmocka_unit_test(size_zero_and_sizes_past_the_largest_go_to_the_slow_half),
        cmocka_unit_test(small_classes_go_in_steps_of_16_bytes),
        cmocka_unit_test(the_last_class_serves_the_largest_block),
        cmocka_unit_test(classes_waste_at_most_an_eighth_beyond_the_small_ones),
        cmocka_unit_test(every_power_of_two_has_a_class_of_its_own),
        cmocka_unit_test(every_class_keeps_blocks_aligned_to_16),
        cmocka_unit_test(magazines_hold_sixteen_blocks_at_least_and_never_more_than_asked),
        cmocka_unit_test(magazines_of_a_small_heap_hold_a_small_part_of_it),
        cmocka_unit_test(magazines_of_larger_blocks_hold_no_more_of_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
