/* SPDX-License-Identifier: MIT
 *
 * Slabs and homes of their own, outside of any heap.
 */
#ifndef FREELANE_TESTS_GROUND_H
#define FREELANE_TESTS_GROUND_H

#include "support.h"

#include "memory/block.h"
#include "memory/idle.h"
#include "memory/mark.h"
#include "memory/slab_list.h"
#include "memory/stray.h"
#include "pool/deliver.h"

enum { GROUND_SLABS = 512 };

struct ground {
    struct fli_slabs slabs;
    struct fli_homes homes;
    struct fli_limit limit;
    char *base;
    size_t bytes;
};

/* Slabs of which the first range has `first` and all ranges together may have `most`. */
static inline struct ground *ground_of(unsigned first, unsigned most)
{
    struct ground *ground = aligned_alloc(FLI_CACHE_LINE, fli_round_up(sizeof *ground, FLI_CACHE_LINE));
    assert_non_null(ground);
    memset(ground, 0, sizeof *ground);
    size_t span = (size_t)first * FLI_SLAB_BYTES, all = (size_t)most * FLI_SLAB_BYTES;
    ground->limit.most = SIZE_MAX;
    ground->bytes = span + fli_range_metadata_bytes(span, false);
    ground->base = fli_os_reserve(ground->bytes, FLI_CHUNK_BYTES);
    assert_non_null(ground->base);
    assert_int_equal(fli_slabs_init(&ground->slabs, ground->base, span, all, &ground->limit, true), 0);
    fli_homes_init(&ground->homes, &ground->slabs, false);
    return ground;
}

/* Begins a slab, wherever it lies: the one wanted does not exist. */
static inline uint32_t ground_begin(struct fli_slabs *slabs, unsigned class_index)
{
    return fli_slab_begin(slabs, class_index, UINT32_MAX, 1);
}

static inline int ground_up(void **state)
{
    *state = ground_of(GROUND_SLABS, GROUND_SLABS);
    return 0;
}

static inline int ground_down(void **state)
{
    struct ground *ground = *state;
    fli_homes_close(&ground->homes);
    fli_slabs_close(&ground->slabs);
    fli_os_release(ground->base, ground->bytes);
    free(ground);
    return 0;
}

#define GROUND_TEST(test) cmocka_unit_test_setup_teardown(test, ground_up, ground_down)

/* The block of a slab with this number. */
static inline void *block_at(const struct fli_slabs *slabs, uint32_t slab, unsigned block)
{
    size_t bytes = slabs->by_class[fli_slab_at(slabs, slab)->class_index].block_bytes;
    return fli_slab_start(slabs, slab) + block * bytes;
}

/* Begins a slab of the class, and retires it at once onto a list. */
static inline uint32_t begin_and_retire(struct fli_slabs *slabs, unsigned class_index, uint32_t list)
{
    uint32_t slab = ground_begin(slabs, class_index);
    assert_true(slab != 0);
    fli_slab_retire(slabs, slab);
    fli_slab_list_add(slabs, &list, slab);
    return list;
}

static inline void assert_stray(struct fli_slabs *slabs, const void *block, bool was_free)
{
    struct fli_stray stray;
    assert_true(fli_load_relaxed(&slabs->has_strays));
    assert_true(fli_stray_take(slabs, &stray));
    assert_ptr_equal(stray.block, block);
    assert_int_equal(stray.was_free, was_free);
    assert_false(fli_stray_take(slabs, &stray));
    assert_false(fli_load_relaxed(&slabs->has_strays));
}

static inline void assert_no_stray(struct fli_slabs *slabs)
{
    assert_false(fli_load_relaxed(&slabs->has_strays));
}

#endif
