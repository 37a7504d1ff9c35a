/* SPDX-License-Identifier: MIT */
#include "heap/decay.h"
#include "base/lock.h"
#include "heap/caretaker.h"
#include "heap/trim.h"
#include "large/supply.h"
#include "memory/idle.h"

#include <errno.h>

enum { LOOKS_PER_PERIOD = 8 };

/* What a look returns at most, and how much earlier the next one comes if more is due. */
#define LOOK_BYTES (32 * FLI_MIB)
enum { HURRY = 8 };

void fli_decay_init(struct fl_heap *heap)
{
    const struct fl_options *options = &heap->options;
    bool never = options->decay_ms == FL_DECAY_NEVER || options->retain_bytes == SIZE_MAX;
    heap->decay.step = never ? 0 : (uint64_t)options->decay_ms * 1000000 / LOOKS_PER_PERIOD;
    heap->decay.low = SIZE_MAX;
    fli_store_own(&heap->decay.next, fli_grace_now_about() + heap->decay.step);
}

size_t fli_decay_held(struct fl_heap *heap)
{
    struct fli_backing *backing = &heap->backing;
    return fli_trim_held_bytes(backing) + fli_idle_warm_bytes(&backing->slabs) +
           fli_homes_large_kept(&backing->homes) + fli_supply_kept(&backing->large);
}

/* Returns about so many bytes of what the heap holds, slabs first. */
static void give_back_locked(struct fl_heap *heap, size_t bytes)
{
    fli_assert_held(&heap->trim_lock);
    struct fli_large *large = &heap->backing.large;
    size_t of_slabs = fli_trim_return_locked(heap, bytes), kept = fli_supply_kept(large);
    size_t of_extents = fli_min(bytes - fli_min(of_slabs, bytes), kept);
    if (of_extents > 0)
        fli_count(&heap->trimmed_bytes, fli_supply_trim(large, kept - of_extents));
    fli_bound_fall_locked(heap, bytes);
}

static void begin_period(struct fli_decay *decay, size_t held)
{
    decay->due = decay->low;
    decay->low = held;
    decay->looks = 0;
}

/* What a period's worth of looks returns, evenly. */
static size_t share(const struct fli_decay *decay)
{
    return fli_max(decay->due / (LOOKS_PER_PERIOD - decay->looks), FLI_SLAB_BYTES);
}

/* What is to go back now. `late` is how long ago the look was due. If that is a period, no slow half has run since, and
 * all that is held has not been used. */
static size_t take_due(struct fli_decay *decay, size_t held, uint64_t late)
{
    bool was_silent = late > LOOKS_PER_PERIOD * decay->step;
    decay->low = was_silent ? held : fli_min(decay->low, held);
    if (was_silent)
        begin_period(decay, held);
    size_t bytes = fli_min(decay->due, was_silent ? decay->due : share(decay));
    bytes = fli_min(bytes, fli_min(held, LOOK_BYTES));
    decay->due -= bytes;
    return bytes;
}

static void look_locked(struct fl_heap *heap, uint64_t now)
{
    fli_assert_held(&heap->trim_lock);
    struct fli_decay *decay = &heap->decay;
    uint64_t next = fli_load_own(&decay->next);
    if (now < next)
        return; /* another thread has taken it */
    if (fli_load_own(&heap->walk) != NULL)
        return; /* a walk holds on to the slabs that it has seen */
    size_t held = fli_decay_held(heap), bytes = take_due(decay, held, now - next);
    if (bytes > 0)
        give_back_locked(heap, bytes);
    if (++decay->looks >= LOOKS_PER_PERIOD)
        begin_period(decay, fli_decay_held(heap));
    fli_store_hint(&decay->next, now + (bytes == LOOK_BYTES ? decay->step / HURRY : decay->step));
}

void fli_decay_look(struct fl_heap *heap)
{
    fli_caretaker_return(heap);
    if (!fli_trylock(&heap->trim_lock))
        return;
    int saved = errno;
    look_locked(heap, fli_grace_now_about());
    fli_unlock(&heap->trim_lock);
    errno = saved;
}
