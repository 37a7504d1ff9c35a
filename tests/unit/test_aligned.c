/* SPDX-License-Identifier: MIT */
#include "support.h"

static const size_t sizes[] = {0,
                               1,
                               15,
                               16,
                               17,
                               48,
                               100,
                               513,
                               1000,
                               1025,
                               3000,
                               4096,
                               4097,
                               10000,
                               12289,
                               20000,
                               30000,
                               32768,
                               FL_BLOCK_MAX + 1,
                               300001};

static void assert_aligned(const void *block, size_t alignment)
{
    assert_non_null(block);
    if ((uintptr_t)block % alignment != 0)
        fail_msg("%p is not aligned to %zu", block, alignment);
}

/* Several of each: the first of a slab says nothing. */
static void every_alignment_up_to_a_page_is_met_at_every_size(void **state)
{
    struct bed *bed = *state;
    for (size_t alignment = 1; alignment <= FL_ALIGNMENT_MAX; alignment *= 2)
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            unsigned char *blocks[5];
            for (size_t j = 0; j < COUNT_OF(blocks); j++) {
                assert_aligned(blocks[j] = fl_alloc_aligned(bed->thread, alignment, sizes[i]), alignment);
                assert_true(fl_usable_size(bed->heap, blocks[j]) >= fl_aligned_size(alignment, sizes[i]));
                memset(blocks[j], 1, sizes[i]);
            }
            for (size_t j = 0; j < COUNT_OF(blocks); j++)
                fl_free_aligned(bed->thread, blocks[j], alignment, sizes[i]);
        }
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
}

static void blocks_are_aligned_to_what_divides_their_size(void **state)
{
    struct bed *bed = *state;
    for (size_t size = 16; size <= FL_BLOCK_MAX + 4096; size += 16) {
        size_t divisor = size > FL_BLOCK_MAX ? 256 : fli_min(size & -size, FL_ALIGNMENT_MAX);
        void *first = fl_alloc(bed->thread, size), *second = fl_alloc(bed->thread, size);
        assert_aligned(first, divisor);
        assert_aligned(second, divisor);
        fl_free_sized(bed->thread, first, size);
        fl_free_sized(bed->thread, second, size);
    }
}

static void an_aligned_block_may_take_the_place_of_another(void **state)
{
    struct bed *bed = *state;
    enum { SIZE = FL_BLOCK_MAX + 1 };
    void *blocks[8];
    for (size_t alignment = 16; alignment <= FL_ALIGNMENT_MAX; alignment *= 2) {
        assert_int_equal(fl_alloc_many(bed->thread, SIZE, COUNT_OF(blocks), blocks), 0);
        fl_free_many(bed->thread, SIZE, COUNT_OF(blocks), blocks);
        for (size_t i = 0; i < COUNT_OF(blocks); i++)
            assert_aligned(blocks[i] = fl_alloc_aligned(bed->thread, alignment, SIZE), alignment);
        fl_free_many(bed->thread, fl_aligned_size(alignment, SIZE), COUNT_OF(blocks), blocks);
    }
}

static void an_aligned_block_is_freed_as_any_other(void **state)
{
    struct bed *bed = *state;
    fl_free(bed->thread, fl_alloc_aligned(bed->thread, 256, 1000));
    fl_free_sized(bed->thread, fl_alloc_aligned(bed->thread, 256, 1000), fl_aligned_size(256, 1000));
    fl_heap_free(bed->heap, fl_alloc_aligned(bed->thread, 4096, 100000));
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
}

static void an_aligned_block_stays_aligned_when_it_is_given_another_size(void **state)
{
    struct bed *bed = *state;
    void *block = fl_alloc_aligned(bed->thread, 512, 100);
    size_t size = fl_aligned_size(512, 100);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t next = fl_aligned_size(512, sizes[i]);
        assert_aligned(block = fl_realloc(bed->thread, block, size, next), 512);
        size = next;
    }
    fl_free_aligned(bed->thread, block, 512, size);
}

static void what_is_no_alignment_is_refused(void **state)
{
    struct bed *bed = *state;
    static const size_t refused[] = {0, 3, 24, 4095, 4097, 8192, SIZE_MAX, (size_t)1 << 63};
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        errno = 0;
        assert_null(fl_alloc_aligned(bed->thread, refused[i], 100));
        assert_int_equal(errno, EINVAL);
    }
}

static void a_size_that_cannot_be_rounded_up_is_refused_as_it_is(void **state)
{
    struct bed *bed = *state;
    static const size_t refused[] = {SIZE_MAX, SIZE_MAX - 4094, PTRDIFF_MAX};
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        errno = 0;
        assert_null(fl_alloc_aligned(bed->thread, 4096, refused[i]));
        assert_int_equal(errno, ENOMEM);
    }
}

/* ---- Types. */

static struct fl_type type_of(size_t size, size_t alignment)
{
    return (struct fl_type){.name = "vector", .size = size, .alignment = alignment, .kind = FL_DEALLOC_PLAIN};
}

static void instances_have_their_types_alignment(void **state)
{
    struct bed *bed = *state;
    for (size_t alignment = 1; alignment <= FL_ALIGNMENT_MAX; alignment *= 2)
        for (size_t i = 1; i < COUNT_OF(sizes); i++) {
            struct fl_type type = type_of(sizes[i], alignment);
            void *objects[3];
            assert_int_equal(fl_type_ready(&type, NULL, NULL, 0), 0);
            for (size_t j = 0; j < COUNT_OF(objects); j++)
                assert_aligned(objects[j] = fl_type_alloc(bed->thread, &type), alignment);
            fl_type_free(bed->thread, objects[0], &type);
            fl_dealloc(bed->thread, objects[1], &type);
            fl_dealloc_tagged(bed->thread, objects[2], &type, fl_type_tag(&type));
        }
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
}

static void a_subtype_takes_its_bases_alignment_or_a_larger_one(void **state)
{
    (void)state;
    char error[200] = "";
    struct fl_type base = type_of(100, 64), same = type_of(100, 0), more = type_of(100, 128), less = type_of(100, 32);
    struct fl_type usual = type_of(100, 0);
    assert_int_equal(fl_type_ready(&usual, NULL, NULL, 0), 0);
    assert_int_equal(usual.alignment, 16);
    assert_int_equal(fl_type_ready(&base, NULL, NULL, 0), 0);
    assert_int_equal(fl_type_ready(&same, &base, NULL, 0), 0);
    assert_int_equal(same.alignment, 64);
    assert_int_equal(fl_type_ready(&more, &base, NULL, 0), 0);
    assert_int_equal(more.alignment, 128);
    assert_int_equal(fl_type_ready(&less, &base, error, sizeof error), -EINVAL);
    assert_contains(error, "'vector' has an alignment of 32, less than the 64 of its base 'vector'");
}

static void a_type_with_what_is_no_alignment_is_refused(void **state)
{
    (void)state;
    static const size_t refused[] = {3, 24, 4097, 8192, SIZE_MAX};
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        char error[200] = "";
        struct fl_type type = type_of(100, refused[i]);
        assert_int_equal(fl_type_ready(&type, NULL, error, sizeof error), -EINVAL);
        assert_contains(error, "'vector' has an alignment of");
        assert_false(type.ready);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BED_TEST(every_alignment_up_to_a_page_is_met_at_every_size),
        BED_TEST(blocks_are_aligned_to_what_divides_their_size),
        BED_TEST(an_aligned_block_may_take_the_place_of_another),
        BED_TEST(an_aligned_block_is_freed_as_any_other),
        BED_TEST(an_aligned_block_stays_aligned_when_it_is_given_another_size),
        BED_TEST(what_is_no_alignment_is_refused),
        BED_TEST(a_size_that_cannot_be_rounded_up_is_refused_as_it_is),
        BED_TEST(instances_have_their_types_alignment),
        cmocka_unit_test(a_subtype_takes_its_bases_alignment_or_a_larger_one),
        cmocka_unit_test(a_type_with_what_is_no_alignment_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
