/* SPDX-License-Identifier: MIT */
#include "support.h"

#include "large/large.h"

enum { LARGE = FL_BLOCK_MAX + 1 };

/* Bytes that tell where in a block they are. */
static unsigned char byte_at(size_t i)
{
    return (unsigned char)(i * 7 + (i >> 8) + 1);
}

static void fill(unsigned char *block, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        block[i] = byte_at(i);
}

static void assert_filled(const unsigned char *block, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (block[i] != byte_at(i))
            fail_msg("byte %zu of %zu has not been kept", i, size);
}

static void a_block_stays_while_its_size_class_does(void **state)
{
    struct bed *bed = *state;
    void *block = fl_alloc(bed->thread, 1025);
    assert_ptr_equal(fl_realloc(bed->thread, block, 1025, 1152), block);
    assert_ptr_equal(fl_realloc(bed->thread, block, 1152, 1100), block);
    fl_free_sized(bed->thread, block, 1100);
    block = fl_alloc(bed->thread, LARGE);
    assert_ptr_equal(fl_realloc(bed->thread, block, LARGE, LARGE + 4000), block);
    assert_int_equal(fl_usable_size(bed->heap, block), LARGE + 4000);
    fl_free_sized(bed->thread, block, LARGE + 4000);
}

static const size_t sizes[] = {1,     16,    17,     512,    513,     4096,    30000, FL_BLOCK_MAX,
                               LARGE, 65536, 100000, 999999, 3000000, 12 << 20};

/* Each size becomes each other one. */
static void contents_are_kept_between_all_sizes(void **state)
{
    struct bed *bed = *state;
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        for (size_t j = 0; j < COUNT_OF(sizes); j++) {
            unsigned char *block = fl_alloc(bed->thread, sizes[i]);
            fill(block, 0, fli_min(sizes[i], 200000));
            block = fl_realloc(bed->thread, block, sizes[i], sizes[j]);
            assert_non_null(block);
            assert_filled(block, fli_min(fli_min(sizes[i], sizes[j]), 200000));
            block[sizes[j] - 1] = 1;
            assert_true(fl_usable_size(bed->heap, block) >= sizes[j]);
            assert_int_equal(stats_of(bed->heap).live_blocks, 1);
            fl_free_sized(bed->thread, block, sizes[j]);
        }
    assert_int_equal(stats_of(bed->heap).live_bytes, 0);
}

static void an_array_grows_and_shrinks_through_all_sizes(void **state)
{
    struct bed *bed = *state;
    size_t size = 1;
    unsigned char *array = fl_alloc(bed->thread, size);
    fill(array, 0, size);
    for (size_t next; size < 4 << 20; size = next) {
        next = size + size / 2 + 1;
        array = fl_realloc(bed->thread, array, size, next);
        assert_non_null(array);
        fill(array, size, next);
    }
    assert_filled(array, size);
    while (size > 1) {
        size_t next = size / 3 + 1;
        next = next < size ? next : 1;
        array = fl_realloc(bed->thread, array, size, next);
        assert_filled(array, size = next);
    }
    fl_free(bed->thread, array);
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
}

static void null_of_no_bytes_allocates(void **state)
{
    struct bed *bed = *state;
    void *small = fl_realloc(bed->thread, NULL, 0, 48), *large = fl_realloc(bed->thread, NULL, 0, LARGE);
    assert_int_equal(fl_usable_size(bed->heap, small), 48);
    assert_int_equal(fl_usable_size(bed->heap, large), LARGE);
    fl_free_sized(bed->thread, small, 48);
    fl_free_sized(bed->thread, large, LARGE);
}

static void size_0_is_a_size_as_any_other(void **state)
{
    struct bed *bed = *state;
    void *block = fl_realloc(bed->thread, fl_alloc(bed->thread, 1000), 1000, 0);
    assert_non_null(block);
    assert_int_equal(stats_of(bed->heap).live_blocks, 1);
    block = fl_realloc(bed->thread, block, 0, LARGE);
    assert_non_null(block);
    block = fl_realloc(bed->thread, block, LARGE, 0);
    fl_free_sized(bed->thread, block, 0);
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
}

static void a_handle_that_is_not_attached_reallocates_on_the_default_heap(void **state)
{
    (void)state;
    struct fl_thread *thread = fl_thread_self();
    unsigned char *block = fl_realloc(thread, NULL, 0, 100);
    fill(block, 0, 100);
    block = fl_realloc(thread, block, 100, LARGE);
    block = fl_realloc(thread, block, LARGE, 2 * LARGE);
    assert_filled(block, 100);
    fl_free_sized(fl_thread_self(), block, 2 * LARGE);
    assert_sound(fl_heap_default());
}

/* ---- Refusals. */

static void what_the_limit_refuses_leaves_the_block_as_it_was(void **state)
{
    (void)state;
    static const size_t tried[] = {(4 << 20) + 1, PTRDIFF_MAX, SIZE_MAX};
    struct bed bed = bed_with(&(struct fl_options){.limit_bytes = 4 << 20});
    unsigned char *small = fl_alloc(bed.thread, 1000), *large = fl_alloc(bed.thread, 3 * LARGE);
    fill(small, 0, 1000);
    fill(large, 0, 3 * LARGE);
    for (size_t i = 0; i < COUNT_OF(tried); i++) {
        errno = 0;
        assert_null(fl_realloc(bed.thread, small, 1000, tried[i]));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_null(fl_realloc(bed.thread, large, 3 * LARGE, tried[i]));
        assert_int_equal(errno, ENOMEM);
    }
    assert_filled(small, 1000);
    assert_filled(large, 3 * LARGE);
    assert_int_equal(fl_usable_size(bed.heap, large), 3 * LARGE);
    fl_free_sized(bed.thread, small, 1000);
    fl_free_sized(bed.thread, large, 3 * LARGE);
    end_bed(&bed);
}

static void a_block_that_grows_takes_only_the_difference_of_the_limit(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.limit_bytes = 4 << 20});
    void *block = fl_alloc(bed.thread, 3 << 20);
    block = fl_realloc(bed.thread, block, 3 << 20, 4 << 20);
    assert_non_null(block);
    assert_null(fl_alloc(bed.thread, LARGE));
    block = fl_realloc(bed.thread, block, 4 << 20, 2 << 20);
    assert_non_null(block);
    void *other = fl_alloc(bed.thread, LARGE);
    assert_non_null(other);
    fl_free(bed.thread, block);
    fl_free(bed.thread, other);
    end_bed(&bed);
}

static void errno_is_kept_where_nothing_is_refused(void **state)
{
    struct bed *bed = *state;
    errno = EILSEQ;
    void *block = fl_realloc(bed->thread, NULL, 0, 100);
    block = fl_realloc(bed->thread, block, 100, 5 * LARGE);
    block = fl_realloc(bed->thread, block, 5 * LARGE, 50 * LARGE);
    block = fl_realloc(bed->thread, block, 50 * LARGE, 10);
    fl_free(bed->thread, block);
    assert_int_equal(errno, EILSEQ);
}

/* ---- Misuse. */

static void assert_refused(struct bed *bed, void *block, size_t old_size, size_t new_size, const char *what)
{
    errno = 0;
    assert_null(fl_realloc(bed->thread, block, old_size, new_size));
    assert_int_equal(errno, EINVAL);
    assert_misuse("fl_realloc", block, what);
}

static void a_wrong_old_size_is_told(void **state)
{
    struct bed *bed = *state;
    void *small = fl_alloc(bed->thread, 48), *large = fl_alloc(bed->thread, LARGE);
    assert_refused(bed, small, 64, 64, "is a block of 48 bytes, not one for 64");
    assert_refused(bed, small, 64, LARGE, "is a block of 48 bytes, not one for 64");
    assert_refused(bed, large, LARGE + 1, LARGE + 1, "is a block of 32769 bytes, not one for 32770");
    assert_refused(bed, large, 100, 200, "is a block of 32769 bytes, not one for 100");
    assert_refused(bed, NULL, 10, 20, "NULL as a block of 10 bytes");
    fl_free(bed->thread, small);
    fl_free(bed->thread, large);
}

static void a_foreign_block_is_told(void **state)
{
    struct bed *bed = *state;
    struct bed other = bed_with(NULL);
    void *small = fl_alloc(other.thread, 48), *large = fl_alloc(other.thread, LARGE);
    char *own = fl_alloc(bed->thread, LARGE);
    assert_refused(bed, small, 48, 48, "is not a block");
    assert_refused(bed, large, LARGE, 2 * LARGE, "is not a block");
    assert_refused(bed, &other, 16, LARGE, "is not a block");
    assert_refused(bed, own + 16, LARGE, 2 * LARGE, "is not a block");
    fl_free(bed->thread, own);
    fl_free(other.thread, small);
    fl_free(other.thread, large);
    end_bed(&other);
}

static void a_freed_block_is_told(void **state)
{
    struct bed *bed = *state;
    void *small = fl_alloc(bed->thread, 48), *large = fl_alloc(bed->thread, LARGE);
    fl_free(bed->thread, large);
    assert_refused(bed, large, LARGE, 2 * LARGE, "is not a block");
    fl_free(bed->thread, small);
    if (FLI_CHECKED)
        assert_refused(bed, small, 48, 100, "is free already");
}

static int64_t begin_never(void *context)
{
    (void)context;
    return -EAGAIN;
}

static bool elapse_always(void *context, int64_t token)
{
    return context == NULL && token > 0;
}

static void a_heap_with_stale_readers_refuses(void **state)
{
    (void)state;
    static const struct fl_header header = {.bytes = 16, .words = 1, .clear = {{.offset = 8, .size = 8}}};
    static const struct fl_grace_host host = {.begin = begin_never, .elapsed = elapse_always};
    struct fl_type type = {.name = "object", .size = 48, .kind = FL_DEALLOC_PLAIN, .header = &header};
    assert_int_equal(fl_type_ready(&type, NULL, NULL, 0), 0);
    struct bed bed = bed_with(&(struct fl_options){.grace = FL_GRACE_HOST, .grace_host = &host, .header = &header});
    void *object = fl_type_alloc(bed.thread, &type);
    static const size_t others[] = {40, 100, LARGE};
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        assert_null(fl_realloc(bed.thread, object, 48, others[i]));
        assert_int_equal(errno, EINVAL);
        assert_misuse("fl_realloc", NULL, "stale readers");
    }
    fl_type_free(bed.thread, object, &type);
    end_bed(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BED_TEST(a_block_stays_while_its_size_class_does),
        BED_TEST(contents_are_kept_between_all_sizes),
        BED_TEST(an_array_grows_and_shrinks_through_all_sizes),
        BED_TEST(null_of_no_bytes_allocates),
        BED_TEST(size_0_is_a_size_as_any_other),
        cmocka_unit_test(a_handle_that_is_not_attached_reallocates_on_the_default_heap),
        cmocka_unit_test(what_the_limit_refuses_leaves_the_block_as_it_was),
        cmocka_unit_test(a_block_that_grows_takes_only_the_difference_of_the_limit),
        BED_TEST(errno_is_kept_where_nothing_is_refused),
        MISUSE_TEST(a_wrong_old_size_is_told),
        MISUSE_TEST(a_foreign_block_is_told),
        MISUSE_TEST(a_freed_block_is_told),
        MISUSE_TEST(a_heap_with_stale_readers_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
