/* SPDX-License-Identifier: MIT */
#include "heap/retired.h"
#include "base/lock.h"
#include "heap/stall.h"
#include "heap/thread.h"
#include "memory/idle.h"
#include "memory/slab_list.h"

/* Takes a retired slab, which is on no list, back into a home. */
static void take_back(struct fl_heap *heap, uint32_t slab, struct fli_home *home)
{
    fli_home_wait(home);
    fli_slab_unretire(&heap->backing.slabs, slab);
    fli_home_take_in(&heap->backing.homes, home, slab);
    fli_home_unlock(home);
}

static bool close_batch(void *owner)
{
    struct fl_heap *heap = owner;
    heap->retired.waiting = heap->retired.collecting;
    heap->retired.collecting = 0;
    return heap->retired.waiting != 0;
}

static bool release_batch(void *owner, size_t *bytes)
{
    struct fl_heap *heap = owner;
    size_t returned = fli_idle_make(&heap->backing.slabs, heap->retired.waiting, heap->retired.warm_most);
    heap->retired.waiting = 0;
    fli_count(&heap->trimmed_bytes, returned);
    *bytes += returned;
    return true;
}

/* Without a grace period, the slabs become free slabs of their classes again. */
static bool give_up_batch(void *owner)
{
    struct fl_heap *heap = owner;
    for (uint32_t slab; (slab = fli_slab_list_take(&heap->backing.slabs, &heap->retired.waiting)) != 0;)
        take_back(heap, slab, heap->service->owner.home);
    return true;
}

static const struct fli_batch_calls calls = {.close = close_batch, .release = release_batch, .refuse = give_up_batch};

void fli_retired_init(struct fl_heap *heap)
{
    fli_batch_init(&heap->retired.batch, &calls, heap, &heap->grace, &heap->trim_lock);
}

/* Takes the first slab of the class out of a list. Returns 0 if there is none. */
static uint32_t take_of_class(struct fli_slabs *slabs, FLI_PLAIN(uint32_t) * list, unsigned class_index)
{
    uint32_t slab = *list;
    while (slab != 0 && fli_slab_at(slabs, slab)->class_index != class_index)
        slab = fli_slab_at(slabs, slab)->next;
    if (slab != 0)
        fli_slab_list_remove(slabs, list, slab);
    return slab;
}

void fli_retired_take_back(struct fl_heap *heap, unsigned class_index, struct fli_home *home)
{
    struct fli_slabs *slabs = &heap->backing.slabs;
    struct fli_retired *retired = &heap->retired;
    if (!fli_retired_is_waiting(heap))
        return;
    fli_lock(&heap->trim_lock);
    uint32_t slab = take_of_class(slabs, &retired->collecting, class_index);
    if (slab == 0)
        slab = take_of_class(slabs, &retired->waiting, class_index);
    if (retired->waiting == 0)
        fli_batch_forget_locked(&retired->batch);
    if (slab != 0)
        take_back(heap, slab, home);
    fli_unlock(&heap->trim_lock);
}

size_t fli_retired_reclaim_locked(struct fl_heap *heap)
{
    return fli_batch_advance_locked(&heap->retired.batch);
}

void fli_retired_reclaim(struct fl_heap *heap)
{
    if (!fli_trylock(&heap->trim_lock))
        return;
    fli_retired_reclaim_locked(heap);
    fli_unlock(&heap->trim_lock);
}

size_t fli_retired_drain(struct fl_heap *heap)
{
    size_t returned = 0;
    fli_batch_drain(&heap->retired.batch, fli_stall_wait_for, heap, &returned);
    return returned;
}

size_t fli_retired_keep_warm(struct fl_heap *heap, size_t bytes)
{
    fli_lock(&heap->trim_lock);
    heap->retired.warm_most = bytes / FLI_SLAB_BYTES;
    size_t returned = fli_idle_make(&heap->backing.slabs, 0, heap->retired.warm_most);
    fli_count(&heap->trimmed_bytes, returned);
    fli_unlock(&heap->trim_lock);
    return returned;
}

void fli_retired_wait_anew_stw(struct fl_heap *heap)
{
    fli_batch_wait_anew_stw(&heap->retired.batch);
}
