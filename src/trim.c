/* SPDX-License-Identifier: MIT */
#include "trim.h"
#include "check.h"

#include <errno.h>
#include <string.h>

/* One trim: what it works on and what it has done. */
struct trim {
    struct fl_heap *heap;
    struct fli_backing *backing;
    struct fli_pool_counters counters;
    size_t retain;    /* pooled bytes to leave */
    size_t free;      /* pooled and parked bytes left so far */
    size_t returned;  /* bytes given back to the system */
    uint32_t empties; /* magazines in hand without blocks, a list through `next` */
    /* Adjacent retired slabs, which go back together. */
    uint32_t run_first, run_count;
};

static struct fli_magazine *magazine_at(const struct trim *trim, uint32_t index)
{
    return fli_magazine_at(&trim->backing->magazines, index);
}

/* Relaxed, here and below: the magazines in hand are this thread's own. */
static void keep_empty(struct trim *trim, struct fli_magazine *magazine)
{
    fli_store_relaxed(&magazine->count, 0);
    fli_store_relaxed(&magazine->next, trim->empties);
    trim->empties = fli_magazine_index(&trim->backing->magazines, magazine);
}

static struct fli_magazine *take_empty(struct trim *trim)
{
    if (trim->empties == 0)
        return fli_magazine_carve(&trim->backing->magazines);
    struct fli_magazine *magazine = magazine_at(trim, trim->empties);
    trim->empties = fli_load_relaxed(&magazine->next);
    return magazine;
}

static void park_pooled(struct trim *trim, unsigned class_index)
{
    uint32_t index = fli_stack_take_all_mpmc(&trim->backing->pool.filled[class_index], &trim->counters);
    while (index != 0) {
        struct fli_magazine *magazine = magazine_at(trim, index);
        index = fli_load_relaxed(&magazine->next);
        fli_slab_park(&trim->backing->slabs, class_index, fli_load_relaxed(&magazine->count), magazine->slots);
        keep_empty(trim, magazine);
    }
}

static void end_run(struct trim *trim)
{
    if (trim->run_count > 0)
        trim->returned += fli_slab_make_idle(&trim->backing->slabs, trim->run_first, trim->run_count);
    trim->run_count = 0;
}

/* Slabs come newest first, and newer ones tend to lie higher. */
static void add_to_run(struct trim *trim, uint32_t number)
{
    if (trim->run_count > 0 && number == trim->run_first - 1) {
        trim->run_first = number;
    } else if (trim->run_count > 0 && number == trim->run_first + trim->run_count) {
        /* The run grows upwards. */
    } else {
        end_run(trim);
        trim->run_first = number;
    }
    trim->run_count++;
}

/* Retires the class's free slabs until few enough bytes are left. */
static void retire_slabs(struct trim *trim, unsigned class_index)
{
    struct fli_slabs *slabs = &trim->backing->slabs;
    size_t block_bytes = slabs->by_class[class_index].block_bytes;
    uint32_t previous = 0, next;
    for (uint32_t slab = fli_slab_newest(slabs, class_index); slab != 0 && trim->free > trim->retain; slab = next) {
        next = slabs->slabs[slab - 1].next;
        unsigned blocks = fli_slab_retire(slabs, class_index, previous, slab);
        if (blocks > 0) {
            trim->free -= fli_min(trim->free, blocks * block_bytes);
            add_to_run(trim, slab - 1);
        } else {
            previous = slab;
        }
    }
    end_run(trim);
}

/* Puts the class's parked blocks back into magazines for the pool. */
static void pool_parked(struct trim *trim, unsigned class_index)
{
    struct fli_backing *backing = trim->backing;
    unsigned capacity = backing->magazine_blocks[class_index];
    struct fli_magazine *magazine = NULL;
    unsigned count = 0;
    void *blocks[FLI_SLAB_BYTES / 16];
    uint32_t slab = fli_slab_newest(&backing->slabs, class_index);
    for (; slab != 0; slab = backing->slabs.slabs[slab - 1].next) {
        unsigned collected = fli_slab_collect(&backing->slabs, class_index, slab, blocks);
        for (unsigned done = 0; done < collected;) {
            if (magazine == NULL && (magazine = take_empty(trim)) == NULL) {
                fli_slab_park(&backing->slabs, class_index, collected - done, blocks + done);
                return;
            }
            unsigned part = (unsigned)fli_min(collected - done, capacity - count);
            memcpy(magazine->slots + count, blocks + done, part * sizeof *blocks);
            done += part;
            count += part;
            if (count == capacity) {
                fli_store_relaxed(&magazine->count, count);
                fli_stack_push_mpmc(&backing->pool.filled[class_index], &backing->magazines, magazine,
                                    &trim->counters);
                magazine = NULL;
                count = 0;
            }
        }
    }
    if (magazine != NULL) {
        fli_store_relaxed(&magazine->count, count);
        fli_stack_push_mpmc(&backing->pool.filled[class_index], &backing->magazines, magazine, &trim->counters);
    }
}

/* Gives back the pages of empty magazines. */
static void return_magazines(struct trim *trim)
{
    struct fli_backing *backing = trim->backing;
    uint32_t pooled = fli_stack_take_all_mpmc(&backing->pool.empty, &trim->counters);
    while (pooled != 0) {
        struct fli_magazine *magazine = magazine_at(trim, pooled);
        pooled = fli_load_relaxed(&magazine->next);
        keep_empty(trim, magazine);
    }
    trim->empties = fli_magazines_return(&backing->magazines, trim->empties, &trim->returned);
    while (trim->empties != 0)
        fli_stack_push_mpmc(&backing->pool.empty, &backing->magazines, take_empty(trim), &trim->counters);
}

static size_t class_free_bytes(struct fli_backing *backing, unsigned class_index)
{
    const struct fli_slab_class *class = &backing->slabs.by_class[class_index];
    size_t blocks = fli_stack_blocks(&backing->pool.filled[class_index], &backing->magazines);
    return (blocks + fli_load_relaxed(&class->parked)) * class->block_bytes; /* relaxed: a number a moment ago */
}

size_t fli_trim_free_bytes(struct fli_backing *backing)
{
    size_t bytes = 0;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++)
        bytes += class_free_bytes(backing, c);
    return bytes;
}

static size_t trim_locked(struct fl_heap *heap, size_t retain)
{
    struct trim trim = {.heap = heap, .backing = &heap->backing, .retain = retain};
    trim.free = fli_trim_free_bytes(trim.backing);
    for (unsigned c = 1; c < FL_CLASS_COUNT && trim.free > retain; c++) {
        if (class_free_bytes(trim.backing, c) == 0)
            continue;
        park_pooled(&trim, c);
        retire_slabs(&trim, c);
        pool_parked(&trim, c);
    }
    return_magazines(&trim);
    fli_count(&heap->trims, 1);
    fli_count(&heap->trimmed_bytes, trim.returned);
    return trim.returned;
}

size_t fli_trim(struct fl_heap *heap, size_t retain)
{
    pthread_mutex_lock(&heap->trim_lock);
    size_t returned = trim_locked(heap, retain);
    pthread_mutex_unlock(&heap->trim_lock);
    return returned;
}

size_t fl_heap_trim(struct fl_heap *heap, size_t retain_bytes)
{
    return fli_trim(heap, retain_bytes);
}

void fli_trim_if_grown(struct fli_backing *backing)
{
    struct fl_heap *heap = (struct fl_heap *)backing;
    size_t above = fli_load_relaxed(&heap->trim_above); /* relaxed: a threshold, nothing is ordered by it */
    if (above == SIZE_MAX || fli_trim_free_bytes(backing) <= above || pthread_mutex_trylock(&heap->trim_lock) != 0)
        return;
    int saved = errno;
    trim_locked(heap, heap->options.retain_bytes);
    /* What fragmentation kept is not sorted again until as much has been added to it. */
    size_t left = fli_trim_free_bytes(backing);
    fli_store_relaxed(&heap->trim_above, fli_max(heap->options.retain_bytes, 2 * left)); /* relaxed: as above */
    pthread_mutex_unlock(&heap->trim_lock);
    errno = saved;
}
