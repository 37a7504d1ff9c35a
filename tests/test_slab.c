/* SPDX-License-Identifier: MIT */
/* link: -Wl,--wrap=madvise */
#include "support.h"

#include "slab.h"
#include "stray.h"

enum { SLABS = 96 };

static unsigned decommits; /* calls of madvise */

int __real_madvise(void *address, size_t length, int advice);
int __wrap_madvise(void *address, size_t length, int advice);

int __wrap_madvise(void *address, size_t length, int advice)
{
    decommits++;
    return __real_madvise(address, length, advice);
}

/* Slabs of their own, outside of any heap. */
struct ground {
    struct fli_slabs slabs;
    struct fli_limit limit;
    char *base;
    size_t bytes;
};

static int ground_up(void **state)
{
    struct ground *ground = aligned_alloc(FLI_CACHE_LINE, fli_round_up(sizeof *ground, FLI_CACHE_LINE));
    assert_non_null(ground);
    memset(ground, 0, sizeof *ground);
    size_t span = (size_t)SLABS * FLI_SLAB_BYTES;
    ground->limit.most = SIZE_MAX;
    ground->bytes = span + fli_slabs_metadata_bytes(span);
    ground->base = fli_os_reserve(ground->bytes, 2 * FLI_MIB);
    assert_non_null(ground->base);
    assert_int_equal(fli_slabs_init(&ground->slabs, ground->base, span, &ground->limit, true), 0);
    *state = ground;
    return 0;
}

static int ground_down(void **state)
{
    struct ground *ground = *state;
    fli_slabs_close(&ground->slabs);
    fli_os_release(ground->base, ground->bytes);
    free(ground);
    return 0;
}

/* Carves all blocks of one fresh slab, lowest address first. Returns how many. */
static unsigned carve_slab(struct fli_slabs *slabs, unsigned class_index, void **blocks)
{
    unsigned count = (unsigned)fli_min(FLI_SLAB_BYTES / fli_class_bytes(class_index), FLI_SLAB_BLOCKS_MAX);
    assert_int_equal(fli_slab_carve(slabs, class_index, count, blocks), count);
    for (unsigned i = 0; i < count / 2; i++) {
        void *swapped = blocks[i];
        blocks[i] = blocks[count - 1 - i];
        blocks[count - 1 - i] = swapped;
    }
    return count;
}

/* Retires the slab with this number + 1, the only free one of its class. */
static void retire_one(struct fli_slabs *slabs, unsigned class_index, uint32_t slab, unsigned blocks)
{
    unsigned retired_blocks = 0;
    assert_int_equal(fli_slab_retire(slabs, class_index, &retired_blocks), slab);
    assert_int_equal(retired_blocks, blocks);
}

static void blocks_of_every_class_lie_apart_inside_their_slab(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    void *blocks[FLI_SLAB_BYTES / 16];
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        size_t bytes = fli_class_bytes(c);
        unsigned count = carve_slab(slabs, c, blocks);
        char *slab = blocks[0];
        assert_int_equal((size_t)(slab - slabs->base) % FLI_SLAB_BYTES, 0);
        for (unsigned i = 0; i < count; i++) {
            assert_ptr_equal(blocks[i], slab + i * bytes);
            assert_int_equal(fli_slab_class_of(slabs, blocks[i]), c);
        }
        assert_true(slab + count * bytes <= slab + FLI_SLAB_BYTES);
    }
}

static void the_block_of_any_address_is_found_by_multiplication(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    void *blocks[FLI_SLAB_BYTES / 16];
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        size_t bytes = fli_class_bytes(c);
        unsigned count = carve_slab(slabs, c, blocks);
        const char *slab = blocks[0];
        for (size_t offset = 0; offset < count * bytes; offset++)
            assert_int_equal(fli_slab_block_index(slabs, c, slab + offset), offset / bytes);
    }
}

static void only_the_start_of_a_carved_block_is_a_block(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    unsigned c = fl_size_class(48);
    void *blocks[3];
    assert_int_equal(fli_slab_carve(slabs, c, 3, blocks), 3);
    char *first = blocks[2];
    for (size_t offset = 0; offset < 3 * 48; offset++)
        assert_int_equal(fli_slab_is_block(slabs, c, first + offset), offset % 48 == 0);
    assert_false(fli_slab_is_block(slabs, c, first + 3 * 48));
    assert_false(fli_slab_is_block(slabs, c, first + FLI_SLAB_BYTES - 16));
}

static void the_lowest_block_is_handed_out_last_in_the_array(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    void *blocks[10];
    assert_int_equal(fli_slab_carve(slabs, 3, 10, blocks), 10);
    for (unsigned i = 1; i < 10; i++)
        assert_true((char *)blocks[i] < (char *)blocks[i - 1]);
}

static void addresses_outside_the_range_have_no_class(void **state)
{
    struct ground *ground = *state;
    struct fli_slabs *slabs = &ground->slabs;
    void *block;
    assert_int_equal(fli_slab_carve(slabs, 1, 1, &block), 1);
    assert_int_equal(fli_slab_class_of(slabs, NULL), 0);
    assert_int_equal(fli_slab_class_of(slabs, slabs->base - 1), 0);
    assert_int_equal(fli_slab_class_of(slabs, slabs->base + slabs->span), 0);
    assert_int_equal(fli_slab_class_of(slabs, slabs->base + slabs->span - 1), 0);
    assert_int_equal(fli_slab_class_of(slabs, (void *)UINTPTR_MAX), 0);
    assert_int_equal(fli_slab_class_of(slabs, &ground), 0);
    assert_int_equal(fli_slab_class_of(slabs, slabs->base), 1);
}

static void when_the_range_is_used_up_nothing_is_carved(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    void *blocks[2];
    unsigned c = fl_size_class(FL_BLOCK_MAX);
    for (unsigned i = 0; i < SLABS; i++)
        assert_int_equal(fli_slab_carve(slabs, c, 2, blocks), 2);
    assert_int_equal(fli_slab_carve(slabs, c, 2, blocks), 0);
    assert_int_equal(slabs->by_class[c].slabs, SLABS);
}

static void a_slab_is_taken_from_the_limit_and_given_back_when_idle(void **state)
{
    struct ground *ground = *state;
    struct fli_slabs *slabs = &ground->slabs;
    ground->limit.most = 2 * FLI_SLAB_BYTES - 1;
    unsigned c = fl_size_class(FL_BLOCK_MAX);
    void *blocks[2], *more[2];
    assert_int_equal(fli_slab_carve(slabs, c, 2, blocks), 2);
    assert_int_equal(fli_load_relaxed(&ground->limit.used), FLI_SLAB_BYTES);
    assert_int_equal(fli_slab_carve(slabs, c, 2, more), 0);
    assert_int_equal(fli_load_relaxed(&ground->limit.used), FLI_SLAB_BYTES);

    fli_slab_park(slabs, c, 2, blocks);
    retire_one(slabs, c, 1, 2);
    fli_slab_make_idle(slabs, 1, 0);
    assert_int_equal(fli_load_relaxed(&ground->limit.used), 0);
    assert_int_equal(fli_slab_carve(slabs, 1, 2, more), 2);
}

static int by_address(const void *a, const void *b)
{
    uintptr_t left = *(const uintptr_t *)a, right = *(const uintptr_t *)b;
    return (left > right) - (left < right);
}

static void parked_blocks_are_taken_again_each_once(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    unsigned c = fl_size_class(48);
    void *blocks[FLI_SLAB_BYTES / 16], *taken[FLI_SLAB_BYTES / 16];
    unsigned count = carve_slab(slabs, c, blocks);
    fli_slab_park(slabs, c, count, blocks);
    assert_int_equal(fli_load_relaxed(&slabs->by_class[c].parked), count);
    assert_true(fli_slab_is_parked(slabs, c, blocks[5]));
    unsigned done = 0;
    for (unsigned part = 1; done < count; part++) {
        unsigned got = fli_slab_unpark(slabs, c, part, taken + done);
        assert_int_equal(got, fli_min(part, count - done));
        done += got;
    }
    assert_int_equal(fli_load_relaxed(&slabs->by_class[c].parked), 0);
    assert_int_equal(fli_slab_unpark(slabs, c, 1, taken), 0);
    assert_false(fli_slab_is_parked(slabs, c, blocks[5]));
    qsort(taken, count, sizeof *taken, by_address);
    assert_memory_equal(taken, blocks, count * sizeof *blocks);
}

static void parking_and_taking_at_random_loses_no_block_and_makes_none(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    unsigned c = fl_size_class(512);
    enum { BLOCKS = 5 * FLI_SLAB_BYTES / 512 };
    void *held[BLOCKS + 8];
    unsigned count = 0;
    uint64_t seed = 11;
    while (count < BLOCKS)
        count += carve_slab(slabs, c, held + count);
    for (unsigned round = 0; round < 3000; round++) {
        if (count > 0 && next_random(&seed) % 2 == 0) {
            unsigned i = (unsigned)(next_random(&seed) % count);
            fli_slab_park(slabs, c, 1, &held[i]);
            held[i] = held[--count];
        } else {
            count += fli_slab_unpark(slabs, c, (unsigned)(next_random(&seed) % 8), held + count);
        }
        assert_int_equal(count + fli_load_relaxed(&slabs->by_class[c].parked), BLOCKS);
    }
    count += fli_slab_unpark(slabs, c, BLOCKS, held + count);
    assert_int_equal(count, BLOCKS);
    qsort(held, count, sizeof *held, by_address);
    for (unsigned i = 1; i < count; i++)
        assert_true(held[i] != held[i - 1]);
}

static void a_slab_with_one_block_in_use_is_not_retired(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    unsigned c = fl_size_class(1024), free_blocks;
    void *blocks[FLI_SLAB_BYTES / 16];
    unsigned count = carve_slab(slabs, c, blocks);
    fli_slab_park(slabs, c, count - 1, blocks);
    assert_int_equal(fli_slab_retire(slabs, c, &free_blocks), 0);
    assert_int_equal(slabs->by_class[c].slabs, 1);
    fli_slab_park(slabs, c, 1, &blocks[count - 1]);
    retire_one(slabs, c, 1, count);
    assert_int_equal(slabs->by_class[c].slabs, 0);
    assert_int_equal(slabs->by_class[c].carved, 0);
    assert_int_equal(fli_load_relaxed(&slabs->by_class[c].parked), 0);
    void *none;
    assert_int_equal(fli_slab_unpark(slabs, c, 1, &none), 0);
    /* Readers may still look: the class goes with the memory. */
    assert_int_equal(fli_slab_class_of(slabs, blocks[0]), c);
    fli_slab_make_idle(slabs, 1, 0);
    assert_int_equal(fli_slab_class_of(slabs, blocks[0]), 0);
}

static void a_free_slab_that_is_carved_further_is_free_no_more(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    unsigned c = fl_size_class(1024), free_blocks;
    void *blocks[5], *more[3];
    assert_int_equal(fli_slab_carve(slabs, c, 5, blocks), 5);
    fli_slab_park(slabs, c, 5, blocks);
    assert_int_equal(fli_slab_carve(slabs, c, 3, more), 3);
    assert_int_equal(fli_slab_retire(slabs, c, &free_blocks), 0);
    fli_slab_park(slabs, c, 3, more);
    retire_one(slabs, c, 1, 8);
}

static void a_slab_still_being_carved_can_be_retired(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    unsigned c = fl_size_class(1024);
    void *blocks[5];
    assert_int_equal(fli_slab_carve(slabs, c, 5, blocks), 5);
    fli_slab_park(slabs, c, 5, blocks);
    retire_one(slabs, c, 1, 5);
    fli_slab_make_idle(slabs, 1, 0);
    /* The class begins another slab: its lowest block is carved first. */
    assert_int_equal(fli_slab_carve(slabs, c, 5, blocks), 5);
    assert_ptr_equal(blocks[4], slabs->base);
}

static void assert_stray(struct fli_slabs *slabs, const void *block, bool was_free)
{
    struct fli_stray stray;
    assert_true(fli_load_relaxed(&slabs->has_strays));
    assert_true(fli_stray_take(slabs, &stray));
    assert_ptr_equal(stray.block, block);
    assert_int_equal(stray.was_free, was_free);
    assert_false(fli_stray_take(slabs, &stray));
    assert_false(fli_load_relaxed(&slabs->has_strays));
}

static void a_stray_is_neither_parked_nor_marked(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    unsigned c = fl_size_class(1024), other = fl_size_class(512);
    void *blocks[5];
    int outside;
    /* Before there is any slab. */
    fli_slab_park(slabs, c, 1, (void *[]){slabs->base});
    assert_stray(slabs, slabs->base, false);
    assert_int_equal(fli_slab_carve(slabs, c, 5, blocks), 5);
    char *block = blocks[0];
    fli_slab_park(slabs, c, 2, (void *[]){block, block});
    assert_stray(slabs, block, true);
    assert_false(fli_slab_defer(slabs, c, block));
    assert_stray(slabs, block, true);
    void *const strays[] = {&outside, NULL, block + 16, block + 1024, slabs->base + FLI_SLAB_BYTES};
    for (size_t i = 0; i < COUNT_OF(strays); i++) {
        fli_slab_park(slabs, c, 1, &strays[i]);
        assert_stray(slabs, strays[i], false);
        assert_false(fli_slab_defer(slabs, c, strays[i]));
        assert_stray(slabs, strays[i], false);
    }
    fli_slab_park(slabs, other, 1, &blocks[1]);
    assert_stray(slabs, blocks[1], false);
    assert_int_equal(fli_load_relaxed(&slabs->by_class[c].parked), 1);
    assert_int_equal(fli_load_relaxed(&slabs->parked_bytes), 1024);
    assert_int_equal(slabs->slabs[0].parked, 1);
    assert_int_equal(slabs->deferred[0] + slabs->deferred[1], 0);
    fli_slab_park(slabs, c, 4, blocks + 1);
    retire_one(slabs, c, 1, 5);
    fli_slab_park(slabs, c, 1, blocks);
    assert_stray(slabs, block, false);
    fli_slab_unretire(slabs, 1);
    retire_one(slabs, c, 1, 5);
}

static void a_block_freed_again_while_it_is_deferred_is_parked_once(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    unsigned c = fl_size_class(1024);
    void *blocks[5];
    assert_int_equal(fli_slab_carve(slabs, c, 5, blocks), 5);
    for (unsigned retired = 0; retired <= 1; retired++) {
        assert_true(fli_slab_defer(slabs, c, blocks[0]));
        assert_false(fli_slab_defer(slabs, c, blocks[0]));
        assert_stray(slabs, blocks[0], true);
        fli_slab_park(slabs, c, retired ? 5 : 1, blocks);
        if (retired)
            retire_one(slabs, c, 1, 5);
        assert_int_equal(fli_slab_close_deferred(slabs), 1);
        size_t counts[FL_CLASS_COUNT] = {0};
        fli_slab_release_deferred(slabs, counts);
        assert_int_equal(counts[c], 1);
        assert_stray(slabs, blocks[0], true);
        assert_int_equal(slabs->slabs[0].parked, retired ? 0 : 1);
        void *taken;
        if (!retired)
            assert_int_equal(fli_slab_unpark(slabs, c, 1, &taken), 1);
    }
    fli_slab_unretire(slabs, 1);
    assert_int_equal(fli_load_relaxed(&slabs->by_class[c].parked), 5);
}

static void a_retired_slab_serves_another_class_from_zeroed_pages(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    unsigned c = fl_size_class(1024), other = fl_size_class(80);
    void *blocks[FLI_SLAB_BYTES / 16];
    unsigned count = carve_slab(slabs, c, blocks);
    if (!FLI_CHECKED) /* checked builds poison what nobody has allocated */
        memset(blocks[0], 0xff, FLI_SLAB_BYTES);
    fli_slab_park(slabs, c, count, blocks);
    retire_one(slabs, c, 1, count);
    assert_int_equal(fli_slab_make_idle(slabs, 1, 0), FLI_SLAB_BYTES);
    void *again;
    assert_int_equal(fli_slab_carve(slabs, other, 1, &again), 1);
    assert_ptr_equal(again, blocks[0]);
    assert_int_equal(fli_slab_class_of(slabs, again), other);
    assert_int_equal(slabs->committed, 1);
    if (!FLI_CHECKED)
        assert_int_equal(*(unsigned char *)again, 0);
}

static void free_slabs_are_retired_whichever_they_are_and_the_others_stay(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    unsigned c = fl_size_class(FL_BLOCK_MAX), count = 0, retired = 0;
    void *blocks[5][2], *taken[2];
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(fli_slab_carve(slabs, c, 2, blocks[i]), 2);
    fli_slab_park(slabs, c, 2, blocks[1]);
    fli_slab_park(slabs, c, 1, blocks[2]);
    fli_slab_park(slabs, c, 2, blocks[3]);
    for (uint32_t slab; (slab = fli_slab_retire(slabs, c, &count)) != 0;) {
        assert_int_equal(count, 2);
        retired |= 1u << (slab - 1);
    }
    assert_int_equal(retired, 1u << 1 | 1u << 3);
    assert_int_equal(slabs->by_class[c].slabs, 3);
    assert_int_equal(fli_slab_unpark(slabs, c, 2, taken), 1);
    assert_ptr_equal(taken[0], blocks[2][0]);
}

static void retired_slabs_go_back_in_runs_whatever_their_order_and_class(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    enum { RETIRED = 70, KEPT = 30 };
    const unsigned classes[] = {fl_size_class(FL_BLOCK_MAX), fl_size_class(FL_BLOCK_MAX / 2)};
    void *blocks[4];
    uint32_t list = 0;
    unsigned count;
    for (unsigned i = 0; i < RETIRED; i++) {
        unsigned c = classes[i % 2];
        count = carve_slab(slabs, c, blocks);
        fli_slab_park(slabs, c, i == KEPT ? count - 1 : count, blocks);
    }
    /* One class after the other, the latest slab of each first. */
    for (unsigned i = 0; i < 2; i++)
        for (uint32_t slab; (slab = fli_slab_retire(slabs, classes[i], &count)) != 0; list = slab)
            slabs->slabs[slab - 1].next = list;
    decommits = 0;
    assert_int_equal(fli_slab_make_idle(slabs, list, 0), (RETIRED - 1) * FLI_SLAB_BYTES);
    /* Below the one that is in use, and the rest, of which a run takes no more than 32. */
    assert_int_equal(decommits, 3);
    assert_int_equal(slabs->cold.count, RETIRED - 1);
    assert_int_equal(fli_load_relaxed(&slabs->retired), 0);
    for (unsigned i = 0; i < RETIRED; i++) {
        if (i == KEPT)
            continue;
        carve_slab(slabs, classes[0], blocks);
        assert_ptr_equal(blocks[0], slabs->base + i * FLI_SLAB_BYTES);
    }
    assert_int_equal(slabs->committed, RETIRED);
}

static void warm_slabs_keep_their_memory_and_are_the_next_to_be_used(void **state)
{
    struct ground *ground = *state;
    struct fli_slabs *slabs = &ground->slabs;
    enum { RETIRED = 4, WARM = 2 };
    unsigned c = fl_size_class(FL_BLOCK_MAX), other = fl_size_class(FL_BLOCK_MAX / 2), count;
    void *blocks[2], *more[4];
    uint32_t list = 0;
    for (unsigned i = 0; i < RETIRED; i++) {
        assert_int_equal(fli_slab_carve(slabs, c, 2, blocks), 2);
        if (!FLI_CHECKED)
            memset(blocks[1], 0xff, FLI_SLAB_BYTES);
        fli_slab_park(slabs, c, 2, blocks);
    }
    for (uint32_t slab; (slab = fli_slab_retire(slabs, c, &count)) != 0; list = slab)
        slabs->slabs[slab - 1].next = list;
    assert_int_equal(fli_slab_make_idle(slabs, list, WARM), (RETIRED - WARM) * FLI_SLAB_BYTES);
    assert_int_equal(slabs->warm.count, WARM);
    assert_int_equal(slabs->cold.count, RETIRED - WARM);
    assert_int_equal(fli_load_relaxed(&slabs->retired), 0);
    /* What is warm still counts. */
    assert_int_equal(fli_load_relaxed(&ground->limit.used), WARM * FLI_SLAB_BYTES);
    for (unsigned i = 0; i < RETIRED; i++) {
        assert_int_equal(fli_slab_carve(slabs, other, 4, more), 4);
        if (!FLI_CHECKED)
            assert_int_equal(*(unsigned char *)more[0], i < WARM ? 0xff : 0);
        assert_int_equal(slabs->warm.count, i < WARM ? WARM - i - 1 : 0);
        assert_int_equal(fli_load_relaxed(&ground->limit.used), (i < WARM ? WARM : i + 1) * FLI_SLAB_BYTES);
    }
    assert_int_equal(slabs->committed, RETIRED);
}

static void warm_slabs_beyond_what_may_be_warm_get_cold(void **state)
{
    struct ground *ground = *state;
    struct fli_slabs *slabs = &ground->slabs;
    enum { RETIRED = 3 };
    unsigned c = fl_size_class(FL_BLOCK_MAX), count;
    void *blocks[2];
    for (unsigned i = 0; i < RETIRED; i++) {
        assert_int_equal(fli_slab_carve(slabs, c, 2, blocks), 2);
        fli_slab_park(slabs, c, 2, blocks);
    }
    for (uint32_t slab; (slab = fli_slab_retire(slabs, c, &count)) != 0;)
        assert_int_equal(fli_slab_make_idle(slabs, slab, RETIRED), 0);
    assert_int_equal(slabs->warm.count, RETIRED);
    assert_int_equal(fli_slab_make_idle(slabs, 0, 1), (RETIRED - 1) * FLI_SLAB_BYTES);
    assert_int_equal(slabs->warm.count, 1);
    assert_int_equal(fli_slab_make_idle(slabs, 0, 0), FLI_SLAB_BYTES);
    assert_int_equal(slabs->cold.count, RETIRED);
    assert_int_equal(fli_load_relaxed(&slabs->retired), 0);
    assert_int_equal(fli_load_relaxed(&ground->limit.used), 0);
}

static void pages_of_bits_go_back_unless_a_bit_in_them_is_set(void **state)
{
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    unsigned c = fl_size_class(16);
    void *blocks[FLI_SLAB_BYTES / 16];
    unsigned count = 0;
    const unsigned slabs_per_page = FLI_PAGE / (FLI_SLAB_BIT_WORDS * sizeof(uint64_t));
    for (unsigned i = 0; i < 4 * slabs_per_page + 1; i++)
        count = carve_slab(slabs, c, blocks);
    assert_int_equal(fli_slab_trim_metadata(slabs), 5 * FLI_PAGE);
    fli_slab_park(slabs, c, 1, &blocks[count - 1]); /* in the fifth page of bits */
    assert_int_equal(fli_slab_trim_metadata(slabs), 4 * FLI_PAGE);
    assert_true(fli_slab_is_parked(slabs, c, blocks[count - 1]));
    void *taken;
    assert_int_equal(fli_slab_unpark(slabs, c, 1, &taken), 1);
    assert_ptr_equal(taken, blocks[count - 1]);
}

static void the_live_bit_tells_what_it_was(void **state)
{
    if (!FLI_CHECKED)
        skip();
    struct fli_slabs *slabs = &((struct ground *)*state)->slabs;
    void *blocks[2];
    assert_int_equal(fli_slab_carve(slabs, 3, 2, blocks), 2);
    assert_false(fli_slab_is_live(slabs, 3, blocks[0]));
    assert_false(fli_slab_mark_live(slabs, 3, blocks[0], true));
    assert_true(fli_slab_is_live(slabs, 3, blocks[0]));
    assert_false(fli_slab_is_live(slabs, 3, blocks[1]));
    assert_true(fli_slab_mark_live(slabs, 3, blocks[0], false));
    assert_false(fli_slab_mark_live(slabs, 3, blocks[0], false));
}

#define GROUND_TEST(test) cmocka_unit_test_setup_teardown(test, ground_up, ground_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        GROUND_TEST(blocks_of_every_class_lie_apart_inside_their_slab),
        GROUND_TEST(the_block_of_any_address_is_found_by_multiplication),
        GROUND_TEST(only_the_start_of_a_carved_block_is_a_block),
        GROUND_TEST(the_lowest_block_is_handed_out_last_in_the_array),
        GROUND_TEST(addresses_outside_the_range_have_no_class),
        GROUND_TEST(when_the_range_is_used_up_nothing_is_carved),
        GROUND_TEST(a_slab_is_taken_from_the_limit_and_given_back_when_idle),
        GROUND_TEST(parked_blocks_are_taken_again_each_once),
        GROUND_TEST(parking_and_taking_at_random_loses_no_block_and_makes_none),
        GROUND_TEST(a_slab_with_one_block_in_use_is_not_retired),
        GROUND_TEST(a_free_slab_that_is_carved_further_is_free_no_more),
        GROUND_TEST(a_slab_still_being_carved_can_be_retired),
        GROUND_TEST(a_stray_is_neither_parked_nor_marked),
        GROUND_TEST(a_block_freed_again_while_it_is_deferred_is_parked_once),
        GROUND_TEST(a_retired_slab_serves_another_class_from_zeroed_pages),
        GROUND_TEST(free_slabs_are_retired_whichever_they_are_and_the_others_stay),
        GROUND_TEST(retired_slabs_go_back_in_runs_whatever_their_order_and_class),
        GROUND_TEST(warm_slabs_keep_their_memory_and_are_the_next_to_be_used),
        GROUND_TEST(warm_slabs_beyond_what_may_be_warm_get_cold),
        GROUND_TEST(pages_of_bits_go_back_unless_a_bit_in_them_is_set),
        GROUND_TEST(the_live_bit_tells_what_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
