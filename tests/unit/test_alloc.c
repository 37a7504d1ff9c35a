/* SPDX-License-Identifier: MIT */
#include "support.h"

#include "memory/sizeclass.h"

/* What the sanitizers are told: sizes that no machine has are refused, as they are without them. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);

const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void blocks_of_every_size_can_be_written_whole_and_do_not_overlap(void **state)
{
    struct bed *bed = *state;
    for (size_t size = 1; size <= FL_BLOCK_MAX + 64; size += size < 600 ? 1 : 113) {
        unsigned char *first = fl_alloc(bed->thread, size), *second = fl_alloc(bed->thread, size);
        assert_non_null(first);
        assert_non_null(second);
        assert_true(fl_usable_size(bed->heap, first) >= size);
        memset(first, 0x11, fl_usable_size(bed->heap, first));
        memset(second, 0x22, fl_usable_size(bed->heap, second));
        assert_int_equal(first[0], 0x11);
        assert_int_equal(first[fl_usable_size(bed->heap, first) - 1], 0x11);
        fl_free_sized(bed->thread, first, size);
        fl_free(bed->thread, second);
    }
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
}

static void blocks_are_aligned_to_16_and_powers_of_two_to_themselves(void **state)
{
    struct bed *bed = *state;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        size_t bytes = fli_class_bytes(c);
        size_t alignment = (bytes & (bytes - 1)) == 0 ? bytes : 16;
        void *blocks[40];
        assert_int_equal(fl_alloc_many(bed->thread, bytes, COUNT_OF(blocks), blocks), 0);
        for (size_t i = 0; i < COUNT_OF(blocks); i++)
            assert_int_equal((uintptr_t)blocks[i] % alignment, 0);
        fl_free_many(bed->thread, bytes, COUNT_OF(blocks), blocks);
    }
    void *large = fl_alloc(bed->thread, 100001);
    assert_int_equal((uintptr_t)large % 16, 0);
    fl_free(bed->thread, large);
}

static void size_0_gives_blocks_of_their_own(void **state)
{
    struct bed *bed = *state;
    void *first = fl_alloc(bed->thread, 0), *second = fl_alloc(bed->thread, 0),
         *third = fl_alloc_zeroed(bed->thread, 0);
    assert_non_null(first);
    assert_non_null(second);
    assert_non_null(third);
    assert_ptr_not_equal(first, second);
    assert_ptr_not_equal(first, third);
    assert_true(fl_owns(bed->heap, first));
    fl_free_sized(bed->thread, first, 0);
    fl_free(bed->thread, second);
    fl_free_sized(bed->thread, third, 0);
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
}

static void sizes_that_no_machine_has_are_refused_with_ENOMEM(void **state)
{
    struct bed *bed = *state;
    const size_t sizes[] = {(size_t)1 << 60, PTRDIFF_MAX,  (size_t)PTRDIFF_MAX + 1,
                            SIZE_MAX - 4096, SIZE_MAX - 1, SIZE_MAX};
    struct fl_stats before = stats_of(bed->heap);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        errno = 0;
        assert_null(fl_alloc(bed->thread, sizes[i]));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_null(fl_alloc_zeroed(bed->thread, sizes[i]));
        assert_int_equal(errno, ENOMEM);
        void *blocks[2];
        assert_int_equal(fl_alloc_many(bed->thread, sizes[i], 2, blocks), -ENOMEM);
    }
    struct fl_stats after = stats_of(bed->heap);
    assert_int_equal(after.live_blocks, before.live_blocks);
    assert_int_equal(after.mapped_bytes, before.mapped_bytes);
}

static void the_largest_block_comes_from_a_slab_and_the_next_size_does_not(void **state)
{
    struct bed *bed = *state;
    void *block = fl_alloc(bed->thread, FL_BLOCK_MAX);
    assert_int_equal(stats_of(bed->heap).large_blocks, 0);
    void *large = fl_alloc(bed->thread, FL_BLOCK_MAX + 1);
    struct fl_stats stats = stats_of(bed->heap);
    assert_int_equal(stats.large_blocks, 1);
    assert_int_equal(stats.large_bytes, FL_BLOCK_MAX + 1);
    assert_int_equal(stats.live_blocks, 2);
    assert_int_equal(fl_usable_size(bed->heap, large), FL_BLOCK_MAX + 1);
    fl_free_sized(bed->thread, block, FL_BLOCK_MAX);
    fl_free_sized(bed->thread, large, FL_BLOCK_MAX + 1);
    assert_int_equal(stats_of(bed->heap).large_blocks, 0);
}

static void freeing_null_does_nothing(void **state)
{
    struct bed *bed = *state;
    struct fl_stats before = stats_of(bed->heap);
    fl_free(bed->thread, NULL);
    fl_heap_free(bed->heap, NULL);
    fl_free_many(bed->thread, 48, 0, NULL);
    struct fl_stats after = stats_of(bed->heap);
    assert_memory_equal(&before, &after, sizeof before);
}

static void a_sized_free_accepts_any_size_of_the_class(void **state)
{
    struct bed *bed = *state;
    for (size_t size = 33; size <= 48; size++)
        fl_free_sized(bed->thread, fl_alloc(bed->thread, 48), size);
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
}

static void success_keeps_errno_and_so_does_every_free(void **state)
{
    struct bed *bed = *state;
    static const size_t sizes[] = {0, 48, FL_BLOCK_MAX, 100000};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *blocks[600];
        errno = EILSEQ;
        assert_int_equal(fl_alloc_many(bed->thread, sizes[i], COUNT_OF(blocks), blocks), 0);
        assert_int_equal(errno, EILSEQ);
        for (size_t b = 0; b < COUNT_OF(blocks); b++) {
            if (b % 3 == 0)
                fl_free(bed->thread, blocks[b]);
            else if (b % 3 == 1)
                fl_free_sized(bed->thread, blocks[b], sizes[i]);
            else
                fl_heap_free(bed->heap, blocks[b]);
        }
        fl_thread_flush(bed->thread);
        assert_int_equal(errno, EILSEQ);
    }
    fl_free(bed->thread, NULL);
    assert_int_equal(errno, EILSEQ);
}

static void zeroed_blocks_are_zero_even_when_reused(void **state)
{
    struct bed *bed = *state;
    static const size_t sizes[] = {1, 17, 48, 1000, FL_BLOCK_MAX, 50000};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        for (unsigned round = 0; round < 4; round++) {
            unsigned char *block = fl_alloc_zeroed(bed->thread, sizes[i]);
            for (size_t b = 0; b < sizes[i]; b++)
                assert_int_equal(block[b], 0);
            memset(block, 0xff, fl_usable_size(bed->heap, block));
            fl_free(bed->thread, block);
        }
    }
}

static void many_blocks_are_as_good_as_single_ones(void **state)
{
    struct bed *bed = *state;
    static const size_t sizes[] = {0, 16, 48, 4000, FL_BLOCK_MAX, FL_BLOCK_MAX + 1};
    static const size_t counts[] = {0, 1, 2, 251, 252, 253, 505, 1000};
    void *blocks[1000];
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        for (size_t j = 0; j < COUNT_OF(counts); j++) {
            assert_int_equal(fl_alloc_many(bed->thread, sizes[i], counts[j], blocks), 0);
            assert_int_equal(stats_of(bed->heap).live_blocks, counts[j]);
            for (size_t b = 0; b < counts[j]; b++)
                memset(blocks[b], (int)b, sizes[i]);
            for (size_t b = 0; b < counts[j]; b++) {
                assert_true(fl_owns(bed->heap, blocks[b]));
                if (sizes[i] > 0)
                    assert_int_equal(((unsigned char *)blocks[b])[sizes[i] - 1], b & 255);
            }
            if (j % 2 == 0) {
                fl_free_many(bed->thread, sizes[i], counts[j], blocks);
            } else {
                for (size_t b = 0; b < counts[j]; b++)
                    fl_free_sized(bed->thread, blocks[b], sizes[i]);
            }
            assert_int_equal(stats_of(bed->heap).live_blocks, 0);
        }
    }
}

static void many_is_all_or_nothing(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.limit_bytes = FLI_MIB});
    static void *blocks[40000];
    static const size_t sizes[] = {48, 1024, FL_BLOCK_MAX, 100000};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        void *kept = fl_alloc(bed.thread, 48);
        assert_int_equal(fl_alloc_many(bed.thread, sizes[i], COUNT_OF(blocks), blocks), -ENOMEM);
        assert_int_equal(stats_of(bed.heap).live_blocks, 1);
        assert_int_equal(fl_alloc_many(bed.thread, sizes[i], 5, blocks), 0);
        fl_free_many(bed.thread, sizes[i], 5, blocks);
        fl_free(bed.thread, kept);
        assert_sound(bed.heap);
        fl_thread_flush(bed.thread);
    }
    end_bed(&bed);
}

static void ownership_is_told_for_slabs_and_large_blocks_and_nothing_else(void **state)
{
    struct bed *bed = *state;
    struct bed other = bed_with(NULL);
    char *block = fl_alloc(bed->thread, 48), *large = fl_alloc(bed->thread, 50000);
    void *foreign = malloc(48);
    assert_true(fl_owns(bed->heap, block));
    assert_true(fl_owns(bed->heap, block + 47));
    assert_true(fl_owns(bed->heap, large));
    assert_false(fl_owns(bed->heap, large + 16));
    assert_false(fl_owns(other.heap, block));
    assert_false(fl_owns(other.heap, large));
    assert_false(fl_owns(bed->heap, foreign));
    assert_false(fl_owns(bed->heap, NULL));
    assert_false(fl_owns(bed->heap, &block));
    assert_false(fl_owns(bed->heap, (void *)UINTPTR_MAX));
    fl_free(bed->thread, block);
    fl_free(bed->thread, large);
    assert_true(fl_owns(bed->heap, block));
    assert_false(fl_owns(bed->heap, large));
    free(foreign);
    end_bed(&other);
}

static void the_usable_size_is_the_class_or_the_size_asked_for(void **state)
{
    struct bed *bed = *state;
    void *block = fl_alloc(bed->thread, 513), *large = fl_alloc(bed->thread, 40001);
    assert_int_equal(fl_usable_size(bed->heap, block), 576);
    assert_int_equal(fl_usable_size(bed->heap, large), 40001);
    assert_int_equal(fl_usable_size(bed->heap, NULL), 0);
    assert_int_equal(fl_usable_size(bed->heap, &block), 0);
    fl_free(bed->thread, block);
    fl_free(bed->thread, large);
}

/* Blocks of all sizes, allocated and freed in a random order by every kind of call, each with a pattern of its own
 * that must still be there when it is freed. */
static void a_long_random_mix_keeps_every_byte(void **state)
{
    struct bed *bed = *state;
    enum { SLOTS = 400, STEPS = 30000 };
    struct {
        unsigned char *block;
        size_t size;
        unsigned char mark;
    } slots[SLOTS] = {{0}};
    uint64_t seed = 42;
    for (unsigned step = 0; step < STEPS; step++) {
        size_t i = next_random(&seed) % SLOTS, size = next_random(&seed) % 700;
        if (step % 64 == 0)
            size = next_random(&seed) % (3 * FL_BLOCK_MAX);
        if (slots[i].block != NULL) {
            for (size_t b = 0; b < slots[i].size; b += 1 + slots[i].size / 16)
                assert_int_equal(slots[i].block[b], slots[i].mark);
            if (step % 3 == 0)
                fl_free(bed->thread, slots[i].block);
            else if (step % 97 == 1)
                fl_heap_free(bed->heap, slots[i].block);
            else
                fl_free_sized(bed->thread, slots[i].block, slots[i].size);
        }
        slots[i].block = step % 5 == 0 ? fl_alloc_zeroed(bed->thread, size) : fl_alloc(bed->thread, size);
        assert_non_null(slots[i].block);
        slots[i].size = size;
        slots[i].mark = (unsigned char)step;
        memset(slots[i].block, slots[i].mark, size);
        if (step % 5000 == 0) {
            assert_sound(bed->heap);
            fl_heap_trim(bed->heap, 0);
            assert_sound(bed->heap);
        }
    }
    for (size_t i = 0; i < SLOTS; i++)
        fl_free(bed->thread, slots[i].block);
    assert_int_equal(stats_of(bed->heap).live_blocks, 0);
}

static void read_first_byte(void *block)
{
    (void)*(volatile unsigned char *)block;
}

static void address_sanitizer_knows_which_blocks_are_free(void **state)
{
    if (!FLI_ADDRESS_SANITIZER || !FLI_CHECKED)
        skip();
    struct bed *bed = *state;
    char *block = fl_alloc(bed->thread, 48);
    assert_child_succeeds(read_first_byte, block);
    struct child_end never_carved = run_child(read_first_byte, block + 48 * 500);
    assert_contains(never_carved.output, "use-after-poison");
    fl_free(bed->thread, block);
    struct child_end freed = run_child(read_first_byte, block);
    assert_contains(freed.output, "use-after-poison");
}

static struct {
    struct fl_thread *thread;
    size_t bytes, calls, nested;
} refills;

static void count_refill(struct fl_thread *thread, size_t bytes)
{
    refills.calls++;
    refills.bytes += bytes;
    refills.thread = thread;
}

static void on_refill_is_told_the_bytes_that_each_refill_brought(void **state)
{
    (void)state;
    memset(&refills, 0, sizeof refills);
    struct bed bed = bed_with(&(struct fl_options){.on_refill = count_refill});
    void *blocks[1000];
    assert_int_equal(fl_alloc_many(bed.thread, 48, 1000, blocks), 0);
    struct fl_class_stats class = class_stats_of(bed.heap, 48);
    assert_int_equal(refills.bytes, (class.live + class.cached) * 48);
    assert_true(refills.calls >= (1000 + class.magazine_blocks - 1) / class.magazine_blocks);
    assert_true(refills.calls <= refills.bytes / 48);
    assert_ptr_equal(refills.thread, bed.thread);
    fl_free_many(bed.thread, 48, 1000, blocks);
    fl_thread_flush(bed.thread);
    assert_int_equal(class_stats_of(bed.heap, 48).cached, 0);
    size_t before = refills.bytes;
    fl_free(bed.thread, fl_alloc(bed.thread, 48));
    assert_true(refills.bytes > before);
    assert_int_equal((refills.bytes - before) / 48, class_stats_of(bed.heap, 48).cached);
    end_bed(&bed);
}

static void allocate_in_refill(struct fl_thread *thread, size_t bytes)
{
    refills.calls++;
    if (refills.nested > 0)
        return;
    refills.nested = 1;
    /* Uses up what the refill has just brought, and more. */
    void *blocks[1000];
    if (fl_alloc_many(thread, 48, bytes / 48 + 1, blocks) == 0)
        fl_free_many(thread, 48, bytes / 48 + 1, blocks);
    void *kept[1000];
    if (fl_alloc_many(thread, 48, bytes / 48, kept) == 0)
        for (size_t i = 0; i < bytes / 48; i++)
            fl_heap_free(fl_thread_heap(thread), kept[i]);
    refills.nested = 0;
}

static void on_refill_may_allocate_and_free_on_the_same_thread(void **state)
{
    (void)state;
    memset(&refills, 0, sizeof refills);
    struct bed bed = bed_with(&(struct fl_options){.on_refill = allocate_in_refill});
    void *blocks[1000];
    for (unsigned round = 0; round < 5; round++) {
        assert_int_equal(fl_alloc_many(bed.thread, 48, COUNT_OF(blocks), blocks), 0);
        for (size_t i = 0; i < COUNT_OF(blocks); i++)
            memset(blocks[i], (int)i, 48);
        for (size_t i = 0; i < COUNT_OF(blocks); i++)
            assert_int_equal(*(unsigned char *)blocks[i], i & 255);
        fl_free_many(bed.thread, 48, COUNT_OF(blocks), blocks);
        fl_thread_flush(bed.thread);
    }
    assert_true(refills.calls > 0);
    end_bed(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BED_TEST(blocks_of_every_size_can_be_written_whole_and_do_not_overlap),
        BED_TEST(blocks_are_aligned_to_16_and_powers_of_two_to_themselves),
        BED_TEST(size_0_gives_blocks_of_their_own),
        BED_TEST(sizes_that_no_machine_has_are_refused_with_ENOMEM),
        BED_TEST(the_largest_block_comes_from_a_slab_and_the_next_size_does_not),
        BED_TEST(freeing_null_does_nothing),
        BED_TEST(a_sized_free_accepts_any_size_of_the_class),
        BED_TEST(success_keeps_errno_and_so_does_every_free),
        BED_TEST(zeroed_blocks_are_zero_even_when_reused),
        BED_TEST(many_blocks_are_as_good_as_single_ones),
        cmocka_unit_test(many_is_all_or_nothing),
        BED_TEST(ownership_is_told_for_slabs_and_large_blocks_and_nothing_else),
        BED_TEST(the_usable_size_is_the_class_or_the_size_asked_for),
        BED_TEST(a_long_random_mix_keeps_every_byte),
        BED_TEST(address_sanitizer_knows_which_blocks_are_free),
        cmocka_unit_test(on_refill_is_told_the_bytes_that_each_refill_brought),
        cmocka_unit_test(on_refill_may_allocate_and_free_on_the_same_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
