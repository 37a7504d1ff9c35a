/* SPDX-License-Identifier: MIT */
#include "ground.h"

static void blocks_of_every_class_lie_apart_inside_their_slab(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        size_t bytes = fli_class_bytes(c);
        uint32_t slab = ground_begin(slabs, c);
        const struct fli_slab *record = fli_slab_at(slabs, slab);
        assert_int_equal((uintptr_t)fli_slab_start(slabs, slab) % FLI_SLAB_BYTES, 0);
        assert_int_equal(record->blocks, FLI_SLAB_BYTES / bytes);
        for (unsigned i = 0; i < record->blocks; i++) {
            assert_int_equal(fli_slab_class_of(slabs, block_at(slabs, slab, i)), c);
            assert_int_equal(fli_slab_number(slabs, block_at(slabs, slab, i)), slab);
        }
        assert_true(record->blocks * bytes <= FLI_SLAB_BYTES);
    }
}

static void all_blocks_of_a_slab_that_is_begun_are_free(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        uint32_t slab = ground_begin(slabs, c);
        const struct fli_slab *record = fli_slab_at(slabs, slab);
        assert_int_equal(record->free, record->blocks);
        unsigned bits = 0;
        for (unsigned w = 0; w < FLI_SLAB_BIT_WORDS; w++)
            bits += (unsigned)__builtin_popcountll(fli_load_relaxed(&fli_slab_free_bits(slabs, slab)[w]));
        assert_int_equal(bits, record->blocks);
        for (unsigned i = 0; i < record->blocks; i++)
            assert_true(fli_block_is_free(slabs, c, block_at(slabs, slab, i)));
    }
}

static void the_block_of_any_address_is_found_by_multiplication(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        size_t bytes = fli_class_bytes(c);
        uint32_t slab = ground_begin(slabs, c);
        const char *start = fli_slab_start(slabs, slab);
        for (size_t offset = 0; offset < fli_slab_at(slabs, slab)->blocks * bytes; offset++) {
            assert_int_equal(fli_slab_block_index(slabs, c, start + offset), offset / bytes);
            assert_int_equal(fli_block_is_start(slabs, c, start + offset), offset % bytes == 0);
        }
        assert_false(fli_block_is_start(slabs, c, start + FLI_SLAB_BYTES - 1));
    }
}

static void addresses_outside_the_range_have_no_class(void **state)
{
    struct ground *ground = *state;
    struct fli_slabs *slabs = &ground->slabs;
    assert_int_equal(ground_begin(slabs, 1), 1);
    assert_int_equal(fli_slab_class_of(slabs, NULL), 0);
    const struct fli_range *range = &slabs->ranges.at[0];
    assert_int_equal(fli_slab_class_of(slabs, range->base - 1), 0);
    assert_int_equal(fli_slab_class_of(slabs, range->base + range->span), 0);
    assert_int_equal(fli_slab_class_of(slabs, range->base + range->span - 1), 0);
    assert_int_equal(fli_slab_class_of(slabs, (void *)UINTPTR_MAX), 0);
    assert_int_equal(fli_slab_class_of(slabs, &ground), 0);
    assert_int_equal(fli_slab_class_of(slabs, range->base), 1);
}

static void when_the_range_is_used_up_no_slab_begins(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    unsigned c = fl_size_class(FL_BLOCK_MAX);
    for (uint32_t i = 1; i <= GROUND_SLABS; i++)
        assert_int_equal(ground_begin(slabs, c), i);
    assert_int_equal(ground_begin(slabs, c), 0);
    assert_int_equal(fli_load_relaxed(&slabs->by_class[c].slabs), GROUND_SLABS);
}

static void a_slab_is_taken_from_the_limit_and_given_back_when_idle(void **state)
{
    struct ground *ground = *state;
    struct fli_slabs *slabs = &ground->slabs;
    ground->limit.most = 2 * FLI_SLAB_BYTES - 1;
    unsigned c = fl_size_class(FL_BLOCK_MAX);
    uint32_t slab = ground_begin(slabs, c);
    assert_int_equal(fli_load_relaxed(&ground->limit.used), FLI_SLAB_BYTES);
    assert_int_equal(ground_begin(slabs, c), 0);
    assert_int_equal(fli_load_relaxed(&ground->limit.used), FLI_SLAB_BYTES);
    fli_slab_retire(slabs, slab);
    fli_idle_make(slabs, slab, 0);
    assert_int_equal(fli_load_relaxed(&ground->limit.used), 0);
    assert_int_equal(ground_begin(slabs, 1), slab);
}

static void the_class_of_a_retired_slab_goes_with_its_memory(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    unsigned c = fl_size_class(1024);
    uint32_t slab = ground_begin(slabs, c);
    fli_slab_retire(slabs, slab);
    assert_int_equal(fli_load_relaxed(&slabs->by_class[c].slabs), 0);
    assert_false(fli_block_is_free(slabs, c, block_at(slabs, slab, 0)));
    /* Readers may still look. */
    assert_int_equal(fli_slab_class_of(slabs, fli_slab_start(slabs, slab)), c);
    fli_slab_unretire(slabs, slab);
    assert_int_equal(fli_load_relaxed(&slabs->by_class[c].slabs), 1);
    assert_true(fli_block_is_free(slabs, c, block_at(slabs, slab, 63)));
    fli_slab_retire(slabs, slab);
    fli_idle_make(slabs, slab, 0);
    assert_int_equal(fli_slab_class_of(slabs, fli_slab_start(slabs, slab)), 0);
}

/* ---- Marks. */

/* A slab at a home, all of whose blocks somebody has. */
static uint32_t begin_in_use(struct ground *ground, struct fli_home *home, unsigned class_index)
{
    void *blocks[FLI_SLAB_BLOCKS_MAX];
    uint32_t slab = ground_begin(&ground->slabs, class_index);
    fli_home_wait(home);
    fli_home_take_in(&ground->homes, home, slab);
    fli_home_take(&ground->homes, home, class_index, FLI_SLAB_BLOCKS_MAX, blocks);
    fli_home_unlock(home);
    return slab;
}

static void marked_blocks_wait_as_the_batch_that_was_closed(void **state)
{
    struct ground *ground = *state;
    struct fli_slabs *slabs = &ground->slabs;
    unsigned c = fl_size_class(1024);
    uint32_t slab = begin_in_use(ground, fli_homes_enter(&ground->homes), c);
    uint64_t bits[FLI_SLAB_BIT_WORDS];
    assert_true(fli_mark_set(slabs, c, block_at(slabs, slab, 3)));
    assert_true(fli_mark_set(slabs, c, block_at(slabs, slab, 40)));
    assert_true(fli_mark_is_set(slabs, c, block_at(slabs, slab, 3)));
    assert_false(fli_mark_is_set(slabs, c, block_at(slabs, slab, 4)));
    assert_int_equal(fli_mark_count_waiting(slabs), 0);
    assert_int_equal(fli_mark_close(slabs), 2);
    assert_true(fli_mark_set(slabs, c, block_at(slabs, slab, 5)));
    assert_int_equal(fli_mark_count_waiting(slabs), 2);
    assert_int_equal(fli_mark_take(slabs, slab, bits), 2);
    assert_int_equal(bits[0], (uint64_t)1 << 3 | (uint64_t)1 << 40);
    assert_int_equal(fli_mark_count_waiting(slabs), 0);
    assert_false(fli_mark_is_set(slabs, c, block_at(slabs, slab, 3)));
    assert_true(fli_mark_is_set(slabs, c, block_at(slabs, slab, 5)));
}

static void a_stray_is_not_marked(void **state)
{
    struct ground *ground = *state;
    struct fli_slabs *slabs = &ground->slabs;
    unsigned c = fl_size_class(1024);
    struct fli_home *home = fli_homes_enter(&ground->homes);
    int outside;
    /* Before there is any slab. */
    assert_false(fli_mark_set(slabs, c, slabs->ranges.at[0].base));
    assert_stray(slabs, slabs->ranges.at[0].base, false);
    uint32_t slab = begin_in_use(ground, home, c);
    char *block = block_at(slabs, slab, 0);
    const void *const strays[] = {&outside, NULL, block + 16, slabs->ranges.at[0].base + FLI_SLAB_BYTES};
    for (size_t i = 0; i < COUNT_OF(strays); i++) {
        assert_false(fli_mark_set(slabs, c, strays[i]));
        assert_stray(slabs, strays[i], false);
    }
    assert_false(fli_mark_set(slabs, fl_size_class(512), block));
    assert_stray(slabs, block, false);
    assert_true(fli_mark_set(slabs, c, block));
    assert_false(fli_mark_set(slabs, c, block));
    assert_stray(slabs, block, true);
    void *free_block = block_at(slabs, slab, 1);
    fli_home_wait(home);
    assert_int_equal(fli_deliver(&ground->homes, home, c, &free_block, 1), 0);
    fli_home_unlock(home);
    assert_false(fli_mark_set(slabs, c, block + 1024));
    assert_stray(slabs, block + 1024, true);
    assert_int_equal(slabs->marks.count[0] + slabs->marks.count[1], 1);
}

static void strays_beyond_those_that_are_kept_are_counted(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    char places[FLI_STRAYS_MOST + 3];
    for (size_t i = 0; i < COUNT_OF(places); i++)
        fli_stray_note(slabs, 1, &places[i], false);
    struct fli_stray stray;
    uint32_t seen = 0;
    while (fli_stray_take(slabs, &stray))
        seen += 1 + stray.others;
    assert_int_equal(seen, COUNT_OF(places));
}

/* ---- Metadata. */

static void pages_of_rows_go_back_where_all_slabs_are_cold(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    const size_t page = fli_os_page();
    const unsigned per_page = (unsigned)(page / sizeof(struct fli_row) + 1);
    unsigned c = fl_size_class(16);
    uint32_t list = 0, kept = 0;
    for (unsigned i = 0; i < 4 * per_page; i++) {
        if (i == 2 * per_page)
            kept = ground_begin(slabs, c);
        else
            list = begin_and_retire(slabs, c, list);
    }
    fli_idle_make(slabs, list, 0);
    size_t returned = fli_slab_trim_metadata(slabs);
    assert_int_equal(returned % page, 0);
    assert_in_range(returned, 2 * page, 4 * page);
    for (unsigned i = 0; i < FLI_SLAB_BYTES / 16; i++)
        assert_true(fli_block_is_free(slabs, c, block_at(slabs, kept, i)));
    for (unsigned i = 1; i < 4 * per_page; i++) {
        uint32_t slab = ground_begin(slabs, fl_size_class(FL_BLOCK_MAX));
        assert_true(slab != 0 && slab != kept);
        assert_int_equal(fli_slab_at(slabs, slab)->free, 2);
    }
}

static void the_live_bit_tells_what_it_was(void **state)
{
    if (!FLI_CHECKED)
        skip();
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    uint32_t slab = ground_begin(slabs, 3);
    void *first = block_at(slabs, slab, 0), *second = block_at(slabs, slab, 1);
    assert_false(fli_block_is_live(slabs, 3, first));
    assert_false(fli_block_mark_live(slabs, 3, first, true));
    assert_true(fli_block_is_live(slabs, 3, first));
    assert_false(fli_block_is_live(slabs, 3, second));
    assert_true(fli_block_mark_live(slabs, 3, first, false));
    assert_false(fli_block_mark_live(slabs, 3, first, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GROUND_TEST(blocks_of_every_class_lie_apart_inside_their_slab),
        GROUND_TEST(all_blocks_of_a_slab_that_is_begun_are_free),
        GROUND_TEST(the_block_of_any_address_is_found_by_multiplication),
        GROUND_TEST(addresses_outside_the_range_have_no_class),
        GROUND_TEST(when_the_range_is_used_up_no_slab_begins),
        GROUND_TEST(a_slab_is_taken_from_the_limit_and_given_back_when_idle),
        GROUND_TEST(the_class_of_a_retired_slab_goes_with_its_memory),
        GROUND_TEST(marked_blocks_wait_as_the_batch_that_was_closed),
        GROUND_TEST(a_stray_is_not_marked),
        GROUND_TEST(strays_beyond_those_that_are_kept_are_counted),
        GROUND_TEST(pages_of_rows_go_back_where_all_slabs_are_cold),
        GROUND_TEST(the_live_bit_tells_what_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
