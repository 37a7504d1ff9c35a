/* SPDX-License-Identifier: MIT
 *
 * The heap walk, and the question which block an address lies in. heap/walk.h says what is free and what is live.
 */
#include "heap/walk.h"
#include "base/check.h"
#include "base/watch.h"

#include <errno.h>

/* ---- Begin and end. */

int fl_heap_walk_begin(struct fl_heap *heap)
{
    int failed = fli_walk_begin(heap);
    if (failed != 0)
        return failed;
    const void *block = fli_walk_contradiction(heap);
    if (FLI_LIKELY(block == NULL)) {
        fli_walk_hide_kept(heap);
        return 0;
    }
    fli_walk_end(heap);
    fli_misuse("fl_heap_walk_begin", heap, NULL, "has a thread inside the library, which has the block %p in hand",
               block);
    return -EINVAL;
}

/* The walk of the heap that is under way. NULL, reported as misuse, if there is none. */
static const struct fli_walk *walk_for(struct fl_heap *heap, const char *call)
{
    const struct fli_walk *walk = fli_walk_of(heap);
    if (FLI_UNLIKELY(walk == NULL))
        fli_misuse(call, heap, NULL, "is not being walked: fl_heap_walk_begin comes before");
    return walk;
}

int fl_heap_walk_end(struct fl_heap *heap)
{
    const struct fli_walk *walk = walk_for(heap, "fl_heap_walk_end");
    if (walk == NULL)
        return -EINVAL;
    if (walk->owner != fli_thread_mark()) {
        fli_misuse("fl_heap_walk_end", heap, NULL, "is being walked by another thread");
        return -EINVAL;
    }
    fli_walk_end(heap);
    return 0;
}

/* ---- All live blocks. */

/* What the host is told of, and how. */
struct telling {
    struct fl_heap *heap;
    const struct fli_walk *walk;
    fl_walk_callback callback;
    void *context;
};

static bool tell(const struct telling *telling, void *start, size_t size)
{
    struct fl_block block = {.start = start, .size = size, .state = FL_BLOCK_LIVE};
    fli_watch_pass(&block, sizeof block);
    return telling->callback(telling->context, &block);
}

/* Tells of the live blocks among 64 of a slab of a class. */
static bool tell_word(const struct telling *telling, uint32_t slab, unsigned class_index, unsigned word)
{
    const struct fli_slabs *slabs = &telling->heap->backing.slabs;
    size_t bytes = fli_class_bytes(class_index), stride = slabs->by_class[class_index].block_bytes;
    char *first = fli_slab_start(slabs, slab) + 64 * word * stride;
    uint64_t live = fli_walk_live(telling->walk, slabs, slab, class_index, word);
    for (; live != 0; live &= live - 1)
        if (!tell(telling, first + (unsigned)__builtin_ctzll(live) * stride, bytes))
            return false;
    return true;
}

static bool tell_slab(const struct telling *telling, uint32_t slab)
{
    const struct fli_slabs *slabs = &telling->heap->backing.slabs;
    unsigned class_index = fli_load_own(fli_slab_class_at(slabs, slab));
    unsigned words = class_index != 0 ? fli_slab_words(slabs->by_class[class_index].blocks) : 0;
    bool goes_on = true;
    for (unsigned w = 0; w < words && goes_on; w++)
        goes_on = tell_word(telling, slab, class_index, w);
    return goes_on;
}

static bool tell_large(const struct telling *telling)
{
    const struct fli_extent *extent = fli_large_first(&telling->heap->backing.large);
    bool goes_on = true;
    for (; extent != NULL && goes_on; extent = extent->next_made)
        if (fli_extent_live_size(extent) > 0)
            goes_on = tell(telling, fli_extent_block(extent), fli_extent_live_size(extent));
    return goes_on;
}

int fl_heap_walk(struct fl_heap *heap, fl_walk_callback callback, void *context)
{
    const struct fli_walk *walk = walk_for(heap, "fl_heap_walk");
    if (walk == NULL)
        return -EINVAL;
    const struct telling telling = {.heap = heap, .walk = walk, .callback = callback, .context = context};
    bool goes_on = true;
    for (uint32_t slab = 1; slab <= walk->slabs && goes_on; slab++)
        goes_on = tell_slab(&telling, slab);
    return goes_on && tell_large(&telling) ? 0 : -ECANCELED;
}

/* ---- One address. */

static bool find_in_slab(struct fl_heap *heap, unsigned class_index, const void *address, struct fl_block *block)
{
    const struct fli_slabs *slabs = &heap->backing.slabs;
    const struct fli_walk *walk = fli_walk_of(heap);
    uint32_t slab = fli_slab_number(slabs, address), index = fli_slab_block_index(slabs, class_index, address);
    if (index >= slabs->by_class[class_index].blocks)
        return false;
    block->size = fli_class_bytes(class_index);
    block->start = fli_slab_start(slabs, slab) + index * slabs->by_class[class_index].block_bytes;
    block->state = FL_BLOCK_UNKNOWN;
    if (walk != NULL) {
        uint64_t live = fli_walk_live(walk, slabs, slab, class_index, index / 64);
        block->state = (live >> index % 64 & 1) != 0 ? FL_BLOCK_LIVE : FL_BLOCK_FREE;
    }
    return true;
}

/* Outside of a walk, other threads may free large blocks, and only the start of one is found. */
static bool find_large(struct fl_heap *heap, const void *address, struct fl_block *block)
{
    struct fli_large *large = &heap->backing.large;
    const struct fli_walk *walk = fli_walk_of(heap);
    if (walk == NULL) {
        *block = (struct fl_block){.start = (void *)(uintptr_t)address, .size = fli_large_size(large, address)};
        return block->size > 0;
    }
    const struct fli_extent *extent = fli_inside_find(&walk->large, address);
    if (extent != NULL)
        *block = (struct fl_block){fli_extent_block(extent), fli_extent_live_size(extent), FL_BLOCK_LIVE};
    return extent != NULL;
}

bool fl_block_at(struct fl_heap *heap, const void *address, struct fl_block *block)
{
    unsigned class_index = fli_slab_class_of(&heap->backing.slabs, address);
    bool found = class_index != 0 ? find_in_slab(heap, class_index, address, block)
                                  : find_large(heap, address, block);
    if (found)
        fli_watch_wrote(block, sizeof *block);
    return found;
}
