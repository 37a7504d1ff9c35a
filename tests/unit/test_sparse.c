/* SPDX-License-Identifier: MIT */
#include "support.h"

#include "memory/range.h"

enum { BLOCK = 3072, OTHER = 6000, BLOCKS = 1000, KEPT_EVERY = 20, KEPT = BLOCKS / KEPT_EVERY, OTHERS = 400 };

/* Leaves one of twenty blocks live, which lie in as many slabs as all did, and takes more memory for another class. */
static void thin_out(struct fl_thread *thread, void **kept, void **others)
{
    void *blocks[BLOCKS];
    for (unsigned i = 0; i < BLOCKS; i++)
        assert_non_null(blocks[i] = fl_alloc(thread, BLOCK));
    for (unsigned i = 0; i < BLOCKS; i++)
        if (i % KEPT_EVERY == 0)
            kept[i / KEPT_EVERY] = blocks[i];
        else
            fl_free_sized(thread, blocks[i], BLOCK);
    for (unsigned i = 0; i < OTHERS; i++)
        assert_non_null(others[i] = fl_alloc(thread, OTHER));
}

static void drop(struct fl_thread *thread, void **kept, void **others)
{
    for (unsigned i = 0; i < KEPT; i++)
        fl_free_sized(thread, kept[i], BLOCK);
    for (unsigned i = 0; i < OTHERS; i++)
        fl_free_sized(thread, others[i], OTHER);
}

/* In how many slabs the blocks lie. */
static unsigned count_slabs(void *const *kept)
{
    unsigned slabs = 0;
    for (unsigned i = 0; i < KEPT; i++) {
        bool seen = false;
        for (unsigned j = 0; j < i && !seen; j++)
            seen = (uintptr_t)kept[i] >> FLI_SLAB_SHIFT == (uintptr_t)kept[j] >> FLI_SLAB_SHIFT;
        slabs += !seen;
    }
    return slabs;
}

/* Replaces each block, `times` times. */
static void replace(struct fl_thread *thread, void **kept, unsigned times)
{
    for (unsigned i = 0; i < KEPT * times; i++) {
        fl_free_sized(thread, kept[i % KEPT], BLOCK);
        assert_non_null(kept[i % KEPT] = fl_alloc(thread, BLOCK));
    }
}

/* Whether a block that is freed goes into a magazine. */
static bool uses_magazines(struct bed *bed)
{
    void *block = fl_alloc(bed->thread, BLOCK);
    assert_non_null(block);
    fl_free_sized(bed->thread, block, BLOCK);
    return stats_of(bed->heap).classes[fl_size_class(BLOCK)].cached > 0;
}

static void blocks_of_a_sparse_class_gather_in_few_slabs(void **state)
{
    struct bed *bed = *state;
    void *kept[KEPT], *others[OTHERS];
    thin_out(bed->thread, kept, others);
    unsigned before = count_slabs(kept);
    assert_false(uses_magazines(bed));
    replace(bed->thread, kept, 2);
    assert_true(before >= KEPT / 2);
    assert_in_range(count_slabs(kept), 1, before / 4);
    assert_false(uses_magazines(bed));
    drop(bed->thread, kept, others);
}

static void slabs_of_a_sparse_class_serve_another_one(void **state)
{
    struct bed *bed = *state;
    void *kept[KEPT], *others[OTHERS], *more[OTHERS];
    thin_out(bed->thread, kept, others);
    replace(bed->thread, kept, 2);
    size_t before = stats_of(bed->heap).slab_bytes;
    for (unsigned i = 0; i < OTHERS; i++)
        assert_non_null(more[i] = fl_alloc(bed->thread, OTHER));
    assert_in_range(stats_of(bed->heap).slab_bytes, 1, before + FLI_SLAB_BYTES);
    for (unsigned i = 0; i < OTHERS; i++)
        fl_free_sized(bed->thread, more[i], OTHER);
    drop(bed->thread, kept, others);
}

static void after_many_calls_magazines_serve_again(void **state)
{
    struct bed *bed = *state;
    void *kept[KEPT], *others[OTHERS];
    thin_out(bed->thread, kept, others);
    replace(bed->thread, kept, 10);
    assert_false(uses_magazines(bed));
    replace(bed->thread, kept, 1000);
    assert_true(uses_magazines(bed));
    drop(bed->thread, kept, others);
}

/* Its calls take no lock (realtime.h). */
static void a_real_time_thread_keeps_its_magazines(void **state)
{
    struct bed *bed = *state;
    void *kept[KEPT], *others[OTHERS];
    thin_out(bed->thread, kept, others);
    fl_thread_set_realtime(bed->thread, true);
    replace(bed->thread, kept, 2);
    assert_true(uses_magazines(bed));
    fl_thread_set_realtime(bed->thread, false);
    drop(bed->thread, kept, others);
}

/* No lock is taken for what is set aside, and no other thread can have what it frees (fl_thread_reserve). */
static void what_is_set_aside_comes_from_magazines(void **state)
{
    enum { ASIDE = 8 };
    static struct fl_type type = {.name = "block", .size = BLOCK, .kind = FL_DEALLOC_PLAIN};
    struct bed *bed = *state;
    unsigned class_index = fl_size_class(BLOCK);
    void *kept[KEPT], *others[OTHERS], *blocks[ASIDE];
    assert_int_equal(fl_type_ready(&type, NULL, NULL, 0), 0);
    thin_out(bed->thread, kept, others);
    assert_false(uses_magazines(bed));
    assert_int_equal(fl_thread_reserve(bed->thread, &type, ASIDE), 0);
    size_t before = stats_of(bed->heap).classes[class_index].cached;
    for (unsigned i = 0; i < ASIDE; i++)
        assert_non_null(blocks[i] = fl_alloc(bed->thread, BLOCK));
    assert_int_equal(stats_of(bed->heap).classes[class_index].cached, before - ASIDE);
    for (unsigned i = 0; i < ASIDE; i++)
        fl_free_sized(bed->thread, blocks[i], BLOCK);
    assert_int_equal(stats_of(bed->heap).classes[class_index].cached, before);
    drop(bed->thread, kept, others);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BED_TEST(blocks_of_a_sparse_class_gather_in_few_slabs), BED_TEST(slabs_of_a_sparse_class_serve_another_one),
        BED_TEST(after_many_calls_magazines_serve_again),       BED_TEST(a_real_time_thread_keeps_its_magazines),
        BED_TEST(what_is_set_aside_comes_from_magazines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
