/* SPDX-License-Identifier: MIT
 *
 * Atomics are relaxed in this file: the bound is a number by which nothing is ordered.
 */
#include "heap/bound.h"
#include "base/lock.h"
#include "heap/heap.h"

/* Where the bound begins. */
#define ABOVE_FIRST (FLI_MIB / 8)

void fli_bound_init(struct fl_heap *heap)
{
    size_t retain = heap->options.retain_bytes;
    fli_store_relaxed(&heap->bound.above, retain == SIZE_MAX ? SIZE_MAX : fli_min(retain, ABOVE_FIRST));
}

static uint64_t reused_bytes(struct fli_slabs *slabs)
{
    fli_lock(&slabs->lock);
    uint64_t bytes = slabs->reused_bytes;
    fli_unlock(&slabs->lock);
    return bytes;
}

size_t fli_bound_adapt_locked(struct fl_heap *heap)
{
    fli_assert_held(&heap->trim_lock);
    size_t above = fli_load_relaxed(&heap->bound.above);
    if (heap->bound.took == 0)
        return above;
    uint64_t taken_back = reused_bytes(&heap->backing.slabs) - heap->bound.reused_before;
    if (taken_back >= heap->bound.took / 2) {
        above = above <= SIZE_MAX / 2 ? fli_max(2 * above, taken_back) : SIZE_MAX;
        above = fli_min(above, heap->options.retain_bytes);
        fli_store_relaxed(&heap->bound.above, above);
        heap->bound.took = 0;
    }
    return above;
}

void fli_bound_note_trim_locked(struct fl_heap *heap, size_t bytes)
{
    fli_assert_held(&heap->trim_lock);
    heap->bound.took = bytes;
    heap->bound.reused_before = reused_bytes(&heap->backing.slabs);
}

void fli_bound_forget_trim_locked(struct fl_heap *heap)
{
    fli_assert_held(&heap->trim_lock);
    heap->bound.took = 0;
}
