/* SPDX-License-Identifier: MIT
 *
 * Atomics are relaxed in this file: they are numbers by which nothing is ordered.
 */
#include "heap/retired.h"
#include "base/lock.h"
#include "heap/stall.h"
#include "heap/thread.h"
#include "memory/idle.h"

#include <errno.h>

/* Takes a list of retired slabs into a home again. */
static void take_back(struct fl_heap *heap, uint32_t first, struct fli_home *home)
{
    struct fli_slabs *slabs = &heap->backing.slabs;
    fli_home_wait(home);
    for (uint32_t slab = first, next; slab != 0; slab = next) {
        next = fli_slab_at(slabs, slab)->next;
        fli_slab_unretire(slabs, slab);
        fli_home_take_in(&heap->backing.homes, home, slab);
    }
    fli_home_unlock(home);
}

/* Begins a batch of what has been collected. Where no grace period can be had, the slabs are free ones of their
 * classes again. */
static void begin_batch_locked(struct fl_heap *heap)
{
    fli_assert_held(&heap->trim_lock);
    struct fli_retired *retired = &heap->retired;
    retired->token = fli_grace_begin(&heap->grace);
    if (retired->token > 0) {
        retired->waiting = retired->collecting;
        retired->batch++;
        fli_count(&retired->grace_periods, 1);
    } else {
        take_back(heap, retired->collecting, heap->service->owner.home);
        fli_count(&retired->grace_refusals, 1);
    }
    retired->collecting = 0;
}

size_t fli_retired_reclaim_locked(struct fl_heap *heap)
{
    fli_assert_held(&heap->trim_lock);
    struct fli_retired *retired = &heap->retired;
    size_t returned = 0;
    if (retired->waiting != 0 && fli_grace_elapsed(&heap->grace, retired->token)) {
        returned = fli_idle_make(&heap->backing.slabs, retired->waiting, 0);
        retired->waiting = 0;
    }
    if (retired->waiting == 0 && retired->collecting != 0)
        begin_batch_locked(heap);
    fli_count(&heap->trimmed_bytes, returned);
    return returned;
}

/* Takes the first slab of the class out of a list, as a list of its own. Returns 0 if there is none. */
static uint32_t take_of_class(struct fli_slabs *slabs, uint32_t *link, unsigned class_index)
{
    while (*link != 0 && fli_load_relaxed(&slabs->classes[*link - 1]) != class_index)
        link = &fli_slab_at(slabs, *link)->next;
    uint32_t slab = *link;
    if (slab != 0) {
        *link = fli_slab_at(slabs, slab)->next;
        fli_slab_at(slabs, slab)->next = 0;
    }
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
    take_back(heap, slab, home);
    fli_unlock(&heap->trim_lock);
}

void fli_retired_reclaim(struct fl_heap *heap)
{
    if (!fli_trylock(&heap->trim_lock))
        return;
    int saved = errno;
    fli_retired_reclaim_locked(heap);
    fli_unlock(&heap->trim_lock);
    errno = saved;
}

size_t fli_retired_drain(struct fl_heap *heap)
{
    size_t returned = 0;
    for (uint64_t first = 0;;) {
        fli_lock(&heap->trim_lock);
        returned += fli_retired_reclaim_locked(heap);
        bool waits = heap->retired.waiting != 0;
        int64_t token = heap->retired.token;
        uint64_t batch = heap->retired.batch;
        fli_unlock(&heap->trim_lock);
        if (first == 0)
            first = batch;
        if (!waits || batch > first + 1 || !fli_grace_can_wait(&heap->grace))
            return returned;
        fli_stall_wait(heap, token);
    }
}

void fli_retired_wait_anew_stw(struct fl_heap *heap)
{
    struct fli_retired *retired = &heap->retired;
    if (retired->waiting == 0 || heap->grace.readers == NULL)
        return;
    const struct fli_slabs *slabs = &heap->backing.slabs;
    uint32_t last = retired->waiting;
    while (fli_slab_at(slabs, last)->next != 0)
        last = fli_slab_at(slabs, last)->next;
    fli_slab_at(slabs, last)->next = retired->collecting;
    retired->collecting = retired->waiting;
    retired->waiting = 0;
}
