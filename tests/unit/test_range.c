/* SPDX-License-Identifier: MIT */
/* link: -Wl,--wrap=mmap -Wl,--wrap=mprotect */
#include "ground.h"
#include "refusal.h"

#include <sys/resource.h>

#include "heap/options.h"

/* ---- Slabs of several ranges. */

enum { FIRST = 2 * FLI_CHUNK_SLABS, MOST = 16 * FIRST };

/* Slabs of which the first range has FIRST and all ranges together MOST. */
static int growing_ground_up(void **state)
{
    struct ground *ground = ground_of(FIRST, MOST);
    granted = SIZE_MAX;
    *state = ground;
    return 0;
}

static int growing_ground_down(void **state)
{
    granted = SIZE_MAX;
    return ground_down(state);
}

#define GROWING_TEST(test) cmocka_unit_test_setup_teardown(test, growing_ground_up, growing_ground_down)

static void slabs_are_numbered_on_from_range_to_range(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    const unsigned c = fl_size_class(2048);
    for (uint32_t slab = 1; slab <= MOST; slab++) {
        assert_int_equal(ground_begin(slabs, c), slab);
        char *start = fli_slab_start(slabs, slab);
        if (!FLI_SANITIZED) /* to which a free block is poison */
            *start = 1;
        assert_int_equal(fli_slab_class_of(slabs, start), c);
        assert_int_equal(fli_slab_class_of(slabs, start + FLI_SLAB_BYTES - 1), c);
        assert_int_equal(fli_slab_number(slabs, start + FLI_SLAB_BYTES - 1), slab);
        assert_int_equal(fli_load_relaxed(fli_slab_class_at(slabs, slab)), c);
        assert_int_equal(fli_slab_at(slabs, slab)->free, 32);
        assert_true(fli_block_is_free(slabs, c, start + 2048));
    }
    assert_int_equal(ground_begin(slabs, c), 0);
    assert_null(fli_slab_class_at(slabs, MOST + 1));
    assert_int_equal(fli_slab_class_of(slabs, slabs), 0);
    assert_int_equal(fli_slab_class_of(slabs, NULL), 0);
}

static void each_range_is_as_large_as_all_before(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    const uint32_t ends[] = {FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST, 16 * FIRST};
    uint32_t begun = 0;
    for (unsigned i = 0; i < COUNT_OF(ends); i++) {
        for (; begun < ends[i]; begun++)
            assert_true(ground_begin(slabs, 1) != 0);
        assert_int_equal(fli_slabs_reserved(slabs), (size_t)ends[i] * FLI_SLAB_BYTES);
        assert_int_equal(fli_load_relaxed(&slabs->ranges.count), i + 1);
    }
}

static void where_the_system_refuses_a_range_a_smaller_one_serves(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    granted = 3 * (size_t)FLI_CHUNK_BYTES;
    for (uint32_t slab = 1; slab <= 2 * FIRST; slab++)
        assert_int_equal(ground_begin(slabs, 1), slab);
    assert_int_equal(fli_load_relaxed(&slabs->ranges.count), 3);
    granted = 0;
    assert_int_equal(ground_begin(slabs, 1), 0);
    granted = SIZE_MAX;
    assert_int_equal(ground_begin(slabs, 1), 2 * FIRST + 1);
}

static void slabs_of_all_ranges_get_cold_and_serve_again(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    uint32_t list = 0;
    for (unsigned i = 0; i < 4 * FIRST; i++)
        list = begin_and_retire(slabs, 1 + i % 80, list);
    for (uint32_t slab = 1; slab <= 4 * FIRST; slab++)
        if (!FLI_CHECKED) /* checked builds poison what nobody has allocated */
            memset(fli_slab_start(slabs, slab), 1, FLI_SLAB_BYTES);
    assert_int_equal(fli_idle_make(slabs, list, 0), (size_t)4 * FIRST * FLI_SLAB_BYTES);
    assert_int_equal(fli_idle_cold_count(slabs), 4 * FIRST);
    assert_true(fli_slab_trim_metadata(slabs) > 0);
    for (uint32_t slab = 1; slab <= 4 * FIRST; slab++) {
        assert_int_equal(ground_begin(slabs, 2), slab);
        if (!FLI_CHECKED)
            assert_int_equal(*fli_slab_start(slabs, slab), 0);
    }
}

static void blocks_of_all_ranges_can_be_marked(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    uint64_t bits[FLI_SLAB_BIT_WORDS];
    struct fli_home *home = fli_homes_enter(&((struct ground *)*state)->homes);
    unsigned c = fl_size_class(1024);
    for (uint32_t slab = 1; slab <= 2 * FIRST; slab++) {
        assert_int_equal(ground_begin(slabs, c), slab);
        fli_home_wait(home);
        fli_home_take_in(&((struct ground *)*state)->homes, home, slab);
        fli_home_unlock(home);
    }
    void *blocks[64];
    fli_home_wait(home);
    assert_int_equal(fli_home_take(&((struct ground *)*state)->homes, home, c, 64, blocks), 64);
    fli_home_unlock(home);
    for (uint32_t slab = 1; slab <= 2 * FIRST; slab++) {
        fli_store_relaxed(&fli_slab_free_bits(slabs, slab)[0], 0); /* they are handed out */
        assert_true(fli_mark_set(slabs, c, fli_slab_start(slabs, slab)));
    }
    assert_int_equal(fli_mark_close(slabs), 2 * FIRST);
    for (uint32_t slab = 1; slab <= 2 * FIRST; slab++) {
        assert_int_equal(fli_mark_take(slabs, slab, bits), 1);
        assert_int_equal(bits[0], 1);
    }
    assert_no_stray(slabs);
}

/* ---- Heaps of several ranges. */

enum { SIZE = 1024, MANY = 48 << 10 };

static void *blocks[MANY];

static void *free_all(void *heap)
{
    struct fl_thread *thread = fl_thread_attach(heap);
    for (unsigned i = 0; i < MANY; i++)
        fl_free_sized(thread, blocks[i], SIZE);
    fl_thread_detach(thread);
    return NULL;
}

static void blocks_of_later_ranges_are_as_good_as_others(void **state)
{
    (void)state;
    granted = 12 * FLI_MIB;
    struct bed bed = bed_with(NULL);
    size_t first = stats_of(bed.heap).reserved_bytes;
    assert_true(first <= 8 * FLI_MIB);
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < MANY; i++) {
            assert_non_null(blocks[i] = fl_alloc(bed.thread, SIZE));
            memset(blocks[i], (int)i, SIZE);
        }
        for (unsigned i = 0; i < MANY; i += 97) {
            assert_true(fl_owns(bed.heap, blocks[i]));
            assert_int_equal(fl_usable_size(bed.heap, blocks[i]), SIZE);
            assert_ptr_equal(fl_realloc(bed.thread, blocks[i], SIZE, SIZE - 1), blocks[i]);
            assert_int_equal(*(unsigned char *)blocks[i], i & 0xff);
        }
        assert_sound(bed.heap);
        if (round == 0)
            run_on_thread(free_all, bed.heap);
        for (unsigned i = 0; round > 0 && i < MANY; i++)
            round == 1 ? fl_free(bed.thread, blocks[i]) : fl_heap_free(bed.heap, blocks[i]);
        assert_sound(bed.heap);
        fl_thread_flush(bed.thread);
        fl_heap_trim(bed.heap, 0);
        assert_int_equal(stats_of(bed.heap).slabs, 0);
    }
    assert_true(stats_of(bed.heap).reserved_bytes > first);
    end_bed(&bed);
    granted = SIZE_MAX;
}

static void a_size_that_was_asked_for_is_a_bound(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.reserve_bytes = 4 * FLI_MIB});
    unsigned count = 0;
    while (count < MANY && (blocks[count] = fl_alloc(bed.thread, SIZE)) != NULL)
        count++;
    assert_true(count <= 4 * FLI_MIB / SIZE);
    assert_int_equal(stats_of(bed.heap).reserved_bytes, 4 * FLI_MIB);
    fl_free_many(bed.thread, SIZE, count, blocks);
    end_bed(&bed);
}

/* ---- What is left to the program. */

/* Sanitizers reserve terabytes. This file is compiled without the thread sanitizer, whose constant tells nothing. */
static bool is_sanitized(void)
{
    return address_space() > 1024 * FLI_GIB;
}

static void limit_to(size_t bytes)
{
    struct rlimit limit = {.rlim_cur = bytes, .rlim_max = RLIM_INFINITY};
    EXPECT(setrlimit(RLIMIT_AS, &limit) == 0);
}

static void use_heaps(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct fl_heap *heap = fl_heap_create(NULL, NULL, 0);
        EXPECT(heap != NULL);
        struct fl_thread *thread = fl_thread_attach(heap);
        EXPECT(thread != NULL && fl_alloc(thread, 48) != NULL);
    }
}

static void use_eight_heaps_of_4_gib(void *argument)
{
    (void)argument;
    size_t before = address_space();
    limit_to(4 * FLI_GIB);
    use_heaps(8);
    EXPECT(address_space() - before <= FLI_GIB);
    void *most = mmap(NULL, 4 * FLI_GIB - FLI_GIB - before, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    EXPECT(most != MAP_FAILED);
}

static void eight_heaps_under_a_limit_of_4_gib_leave_3(void **state)
{
    (void)state;
    skip_under_emulator(NO_ACCOUNT_OF_MEMORY);
    if (is_sanitized())
        skip();
    assert_child_succeeds(use_eight_heaps_of_4_gib, NULL);
}

/* The heaps were there before anybody knew of the limit, so each took the address space that it takes by default. */
static void limit_eight_heaps_late(void *argument)
{
    (void)argument;
    use_heaps(8);
    struct fl_thread *thread = fl_thread_attach(fl_heap_default());
    EXPECT(fl_alloc(thread, 48) != NULL);
    limit_to(4 * FLI_GIB);
    void *block = malloc(2 * FLI_GIB);
    EXPECT(block != NULL);
    free(block);
    for (unsigned i = 0; i < MANY; i++)
        EXPECT(fl_alloc(thread, SIZE) != NULL);
}

static void a_limit_set_after_start_leaves_the_program_running(void **state)
{
    (void)state;
    if (is_sanitized())
        skip();
    assert_child_succeeds(limit_eight_heaps_late, NULL);
}

static void use_up_a_limit(void *argument)
{
    (void)argument;
    limit_to(address_space() + 512 * FLI_MIB);
    void *room = malloc(4 * FLI_MIB); /* for the check */
    struct fl_heap *heap = fl_heap_create(NULL, NULL, 0);
    EXPECT(heap != NULL && room != NULL);
    struct fl_thread *thread = fl_thread_attach(heap);
    size_t count = 0;
    while (fl_alloc(thread, FL_BLOCK_MAX) != NULL)
        count++;
    EXPECT(errno == ENOMEM);
    EXPECT(count * FL_BLOCK_MAX > 256 * FLI_MIB);
    free(room);
    EXPECT_SOUND(heap);
}

static void a_heap_grows_until_the_limit_is_used_up(void **state)
{
    (void)state;
    if (is_sanitized())
        skip();
    assert_child_succeeds(use_up_a_limit, NULL);
}

static unsigned mappings(void)
{
    unsigned lines = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    EXPECT(maps != NULL);
    for (int c; (c = fgetc(maps)) != EOF;)
        lines += c == '\n';
    fclose(maps);
    return lines;
}

enum { HEAPS = 2000, MAPPINGS_PER_HEAP = 6 };

static void use_many_heaps(void *argument)
{
    (void)argument;
    unsigned before = mappings();
    use_heaps(HEAPS);
    EXPECT(mappings() - before <= HEAPS * MAPPINGS_PER_HEAP + HEAPS / 10); /* malloc has some, too */
}

static void ten_thousand_heaps_have_fewer_mappings_than_the_system_grants(void **state)
{
    (void)state;
    skip_under_emulator(NO_ACCOUNT_OF_MEMORY);
    if (is_sanitized())
        skip();
    assert_child_succeeds(use_many_heaps, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GROWING_TEST(slabs_are_numbered_on_from_range_to_range),
        GROWING_TEST(each_range_is_as_large_as_all_before),
        GROWING_TEST(where_the_system_refuses_a_range_a_smaller_one_serves),
        GROWING_TEST(slabs_of_all_ranges_get_cold_and_serve_again),
        GROWING_TEST(blocks_of_all_ranges_can_be_marked),
        cmocka_unit_test(blocks_of_later_ranges_are_as_good_as_others),
        cmocka_unit_test(a_size_that_was_asked_for_is_a_bound),
        cmocka_unit_test(eight_heaps_under_a_limit_of_4_gib_leave_3),
        cmocka_unit_test(a_limit_set_after_start_leaves_the_program_running),
        cmocka_unit_test(a_heap_grows_until_the_limit_is_used_up),
        cmocka_unit_test(ten_thousand_heaps_have_fewer_mappings_than_the_system_grants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
