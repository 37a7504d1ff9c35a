/* SPDX-License-Identifier: MIT */
#include "heap/bound.h"
#include "base/lock.h"
#include "heap/heap.h"
#include "heap/thread.h"
#include "heap/trim.h"

#include <errno.h>

/* Where the bound begins. */
#define ABOVE_FIRST (FLI_MIB / 8)

/* The least bound while threads work. Memory that was returned costs a page fault every 4 KiB. */
#define AT_WORK (FLI_RARE_PATHS ? ABOVE_FIRST : 32 * FLI_MIB)

/* For how many grace periods an allocation waits that would fail, and how long for each. What is deferred last may be in the
 * second. */
enum { AWAITED = 2, AWAIT_MILLISECONDS = 20 };

/* The heap looks at what it holds when so large a part of what it may hold has been released, or so many bytes if that is
 * less. It then trims as much as has been released, so many slices at most; more is due at the next call. */
enum { RELEASED_PART = 8, RELEASED_MOST = 2 * FLI_TRIM_SLICE, RELEASED_SLICES = 4 };

/* How many flushes go by between two looks at what the heap holds. */
enum { FLUSHES_PER_LOOK = 8 };

void fli_bound_init(struct fl_heap *heap)
{
    size_t retain = heap->options.retain_bytes;
    fli_store_own(&heap->bound.above, retain == SIZE_MAX ? SIZE_MAX : fli_min(retain, ABOVE_FIRST));
}

static uint64_t reused_bytes(struct fli_slabs *slabs)
{
    fli_lock(&slabs->lock);
    uint64_t bytes = slabs->reused_bytes;
    fli_unlock(&slabs->lock);
    return bytes;
}

/* The bound for the trim at hand. It is higher than before if the program has taken back what the last trim took. */
static size_t adapt_locked(struct fl_heap *heap)
{
    fli_assert_held(&heap->trim_lock);
    size_t above = fli_load_own(&heap->bound.above);
    if (heap->bound.took == 0)
        return above;
    uint64_t taken_back = reused_bytes(&heap->backing.slabs) - heap->bound.reused_before;
    if (taken_back >= heap->bound.took / 2) {
        above = above <= SIZE_MAX / 2 ? fli_max(2 * above, taken_back) : SIZE_MAX;
        above = fli_min(above, heap->options.retain_bytes);
        fli_store_own(&heap->bound.above, above);
        heap->bound.took = 0;
    }
    return above;
}

/* Notes that the bound made a trim take so many bytes of slabs, to see later how many the program takes back. Trims that
 * take only a step count as one until they come to a slice. */
static void note_trim_locked(struct fl_heap *heap, size_t bytes, size_t most)
{
    fli_assert_held(&heap->trim_lock);
    struct fli_bound *bound = &heap->bound;
    if (most < FLI_TRIM_SLICE && bound->took > 0 && bound->took < FLI_TRIM_SLICE) {
        bound->took += bytes;
        return;
    }
    bound->took = bytes;
    bound->reused_before = reused_bytes(&heap->backing.slabs);
}

void fli_bound_fall_locked(struct fl_heap *heap, size_t bytes)
{
    fli_assert_held(&heap->trim_lock);
    size_t above = fli_load_own(&heap->bound.above), least = fli_min(heap->options.retain_bytes, ABOVE_FIRST);
    fli_store_own(&heap->bound.above, above - fli_min(above - fli_min(above, least), bytes));
    fli_bound_forget_trim(&heap->bound);
}

/* ---- Trims that the bound causes. */

/* What the heap may hold while its threads work. */
static size_t at_work(const struct fl_heap *heap, size_t above)
{
    return fli_max(above, fli_min(heap->options.retain_bytes, AT_WORK));
}

/* Trims a heap that holds more than its bound, `most` bytes at once. */
static void keep(struct fl_heap *heap, size_t most)
{
    struct fli_backing *backing = &heap->backing;
    if (fli_trim_held_bytes(backing) <= at_work(heap, fli_load_hint(&heap->bound.above)) ||
        !fli_trylock(&heap->trim_lock))
        return;
    int saved = errno;
    size_t above = adapt_locked(heap), allowed = at_work(heap, above);
    size_t held = fli_trim_held_bytes(backing);
    if (held > allowed)
        note_trim_locked(heap, fli_trim_slice_locked(heap, fli_min(held - allowed + above / 2, most)), most);
    fli_unlock(&heap->trim_lock);
    errno = saved;
}

void fli_bound_keep(struct fl_heap *heap)
{
    keep(heap, FLI_TRIM_SLICE);
}

void fli_bound_step(struct fl_heap *heap)
{
    keep(heap, FLI_TRIM_STEP);
}

void fli_bound_keep_released(struct fl_heap *heap, size_t bytes)
{
    size_t released = fli_load_hint(&heap->bound.released) + bytes;
    size_t due = fli_min(at_work(heap, fli_load_hint(&heap->bound.above)) / RELEASED_PART, RELEASED_MOST);
    if (released == 0)
        return;
    size_t most = fli_max(fli_min(released, RELEASED_SLICES * FLI_TRIM_SLICE), FLI_TRIM_SLICE);
    fli_store_hint(&heap->bound.released, released < due ? released : fli_minus(released, most));
    if (released >= due)
        keep(heap, most);
}

void fli_bound_advance_deferred(struct fl_heap *heap)
{
    fli_bound_keep_released(heap, fli_deferred_advance(&heap->deferred));
}

void fli_bound_await_deferred(struct fl_heap *heap)
{
    if (heap->grace.kind != FL_GRACE_BP || fli_thread_caller_is_inside(heap))
        return;
    for (unsigned i = 0; i < AWAITED && fli_deferred_is_waiting(&heap->deferred); i++)
        fli_deferred_help(&heap->deferred, AWAIT_MILLISECONDS);
}

/* A trim under way is enough for all but the last thread. After that one, no thread is left to trim what it has
 * flushed. */
static bool lock_at_flush(struct fl_heap *heap, bool last)
{
    if (!last)
        return fli_trylock(&heap->trim_lock);
    fli_lock(&heap->trim_lock);
    return true;
}

/* The trim of a flush, unless the bound rises instead. */
static void trim_at_flush_locked(struct fl_heap *heap)
{
    fli_assert_held(&heap->trim_lock);
    size_t above = adapt_locked(heap);
    size_t held = fli_trim_held_bytes(&heap->backing);
    if (held > above)
        note_trim_locked(heap, fli_trim_down_locked(heap, held, above / 2), FLI_TRIM_SLICE);
}

void fli_bound_keep_at_flush(struct fl_heap *heap, bool last)
{
    struct fli_backing *backing = &heap->backing;
    if (fli_retired_is_waiting(heap))
        fli_retired_reclaim(heap);
    size_t above = fli_load_hint(&heap->bound.above);
    uint64_t flushes = fli_load_hint(&heap->flushes) + 1;
    fli_store_hint(&heap->flushes, flushes);
    bool look = last || fli_trim_free_slab_bytes(backing) > above || flushes % FLUSHES_PER_LOOK == 0;
    if (above == SIZE_MAX || !look || fli_trim_held_bytes(backing) <= above || !lock_at_flush(heap, last))
        return;
    int saved = errno;
    trim_at_flush_locked(heap);
    fli_unlock(&heap->trim_lock);
    errno = saved;
}
