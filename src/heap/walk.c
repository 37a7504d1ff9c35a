/* SPDX-License-Identifier: MIT */
#include "heap/walk.h"
#include "base/check.h"
#include "heap/guest.h"
#include "heap/held.h"
#include "heap/registry.h"
#include "memory/block.h"
#include "memory/mark.h"

#include <errno.h>
#include <string.h>

enum { SLAB_BIT_BYTES = FLI_SLAB_BIT_WORDS * sizeof(uint64_t) };

/* A walk in the making. */
struct making {
    struct fl_heap *heap;
    struct fli_walk *walk;
};

static uint64_t *bits_of(struct fli_walk *walk, uint32_t slab)
{
    return &walk->free_bits[(size_t)slab * FLI_SLAB_BIT_WORDS];
}

/* ---- What is free. */

/* Notes the free blocks of a slab that has a class. */
static void note_slab(const struct making *making, uint32_t slab)
{
    const struct fli_slabs *slabs = &making->heap->backing.slabs;
    const struct fli_slab *record = fli_slab_at(slabs, slab);
    uint64_t *bits = bits_of(making->walk, slab);
    if (fli_load_own(&record->home) == NULL) {
        memset(bits, 0xff, SLAB_BIT_BYTES);
        return;
    }
    for (unsigned w = 0; w < fli_slab_words(record->blocks); w++)
        bits[w] = fli_load_own(&fli_slab_free_bits(slabs, slab)[w]);
    fli_mark_copy_stw(slabs, slab, bits);
}

/* Notes a block of a slab. */
static void note_block(void *context, const void *block)
{
    const struct making *making = context;
    const struct fli_slabs *slabs = &making->heap->backing.slabs;
    uint32_t index = fli_slab_block_index(slabs, fli_slab_class_of(slabs, block), block);
    bits_of(making->walk, fli_slab_number(slabs, block))[index / 64] |= (uint64_t)1 << index % 64;
}

/* Notes the blocks of a magazine. It passes over strays. */
static int note_magazine(void *context, const struct fli_held *held)
{
    const struct fli_slabs *slabs = &((const struct making *)context)->heap->backing.slabs;
    for (size_t i = 0; i < held->count; i++) {
        const void *block = held->blocks[i];
        if (fli_slab_class_of(slabs, block) != held->class_index ||
            !fli_block_is_start(slabs, held->class_index, block))
            continue;
        note_block(context, block);
    }
    return 0;
}

static void note_all_locked(struct fl_heap *heap, struct fli_walk *walk)
{
    fli_registry_assert_held();
    struct making making = {.heap = heap, .walk = walk};
    for (uint32_t slab = 1; slab <= walk->slabs; slab++)
        if (fli_load_own(fli_slab_class_at(&heap->backing.slabs, slab)) != 0)
            note_slab(&making, slab);
    fli_held_visit_locked(heap, note_magazine, &making);
}

/* ---- From begin to end. */

static struct fli_walk *make_locked(struct fl_heap *heap)
{
    uint32_t slabs = fli_slab_committed(&heap->backing.slabs);
    size_t slots = fli_inside_slots(&heap->backing.large), words = ((size_t)slabs + 1) * FLI_SLAB_BIT_WORDS;
    size_t bytes = sizeof(struct fli_walk) + words * sizeof(uint64_t) + slots * sizeof(struct fli_extent *);
    struct fli_walk *walk = fli_os_map(bytes);
    if (walk == NULL)
        return NULL;
    walk->owner = fli_thread_mark();
    walk->bytes = bytes;
    walk->slabs = slabs;
    note_all_locked(heap, walk);
    fli_inside_make(&walk->large, &heap->backing.large, (void *)(walk->free_bits + words), slots);
    return walk;
}

static int begin_locked(struct fl_heap *heap)
{
    fli_assert_held(&heap->trim_lock);
    if (fli_load_own(&heap->walk) != NULL)
        return -EBUSY;
    struct fli_walk *walk = make_locked(heap);
    fli_store_own(&heap->walk, walk);
    return walk != NULL ? 0 : -ENOMEM;
}

int fli_walk_begin(struct fl_heap *heap)
{
    fli_registry_lock();
    fli_lock(&heap->trim_lock);
    int failed = begin_locked(heap);
    fli_unlock(&heap->trim_lock);
    fli_registry_unlock();
    return failed;
}

void fli_walk_hide_kept(struct fl_heap *heap)
{
    struct making making = {.heap = heap, .walk = fli_load_own(&heap->walk)};
    fli_registry_lock();
    fli_guest_visit_kept_locked(heap, note_block, &making);
    fli_registry_unlock();
}

static void drop(struct fl_heap *heap)
{
    struct fli_walk *walk = fli_load_own(&heap->walk);
    fli_store_own(&heap->walk, NULL);
    fli_os_unmap(walk, walk->bytes);
}

void fli_walk_end(struct fl_heap *heap)
{
    fli_lock(&heap->trim_lock);
    drop(heap);
    fli_unlock(&heap->trim_lock);
}

void fli_walk_leave_behind_stw(struct fl_heap *heap)
{
    const struct fli_walk *walk = fli_walk_of(heap);
    if (walk != NULL && walk->owner != fli_thread_mark())
        drop(heap);
}

/* ---- What is live. */

uint64_t fli_walk_live(const struct fli_walk *walk, const struct fli_slabs *slabs, uint32_t slab,
                       unsigned class_index, unsigned word)
{
    unsigned blocks = slabs->by_class[class_index].blocks - 64 * word;
    uint64_t existing = blocks >= 64 ? UINT64_MAX : ((uint64_t)1 << blocks) - 1;
    return existing & ~walk->free_bits[(size_t)slab * FLI_SLAB_BIT_WORDS + word];
}

static const void *contradiction_in(const struct fli_walk *walk, const struct fli_slabs *slabs, uint32_t slab)
{
    unsigned class_index = fli_load_own(fli_slab_class_at(slabs, slab));
    unsigned words = class_index != 0 ? fli_slab_words(slabs->by_class[class_index].blocks) : 0;
    for (unsigned w = 0; w < words; w++) {
        uint64_t wrong = fli_walk_live(walk, slabs, slab, class_index, w) ^
                         fli_load_own(&fli_slab_row(slabs, slab)->live_bits[w]);
        if (wrong != 0)
            return fli_slab_start(slabs, slab) +
                   (64 * w + (unsigned)__builtin_ctzll(wrong)) * slabs->by_class[class_index].block_bytes;
    }
    return NULL;
}

const void *fli_walk_contradiction(struct fl_heap *heap)
{
    const struct fli_walk *walk = fli_walk_of(heap);
    const void *block = NULL;
    for (uint32_t slab = 1; FLI_CHECKED && !heap->has_lost && slab <= walk->slabs && block == NULL; slab++)
        block = contradiction_in(walk, &heap->backing.slabs, slab);
    return block;
}
