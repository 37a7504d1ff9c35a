/* SPDX-License-Identifier: MIT */
#include "heap/decay.h"
#include "base/lock.h"
#include "heap/caretaker.h"
#include "heap/trim.h"
#include "large/supply.h"
#include "memory/idle.h"
#include "memory/slab.h"

#include <errno.h>

enum { LOOKS_PER_PERIOD = 8 };

/* What a look returns at most, and how much earlier the next one comes if more is due. */
#define LOOK_BYTES (32 * FLI_MIB)
enum { HURRY = 8 };

/* How much goes back before the metadata of its slabs does, while it goes on. */
#define METADATA_AFTER (16 * FLI_MIB)

void fli_decay_init(struct fl_heap *heap)
{
    const struct fl_options *options = &heap->options;
    bool never = options->decay_ms == FL_DECAY_NEVER || options->retain_bytes == SIZE_MAX;
    heap->decay.step = never ? 0 : (uint64_t)options->decay_ms * 1000000 / LOOKS_PER_PERIOD;
    heap->decay.low = heap->decay.empty_low = SIZE_MAX;
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

/* Returns metadata of slabs, if much has gone back since it last was, or nothing any more for a period. */
static void return_metadata_locked(struct fl_heap *heap)
{
    fli_assert_held(&heap->trim_lock);
    struct fli_decay *decay = &heap->decay;
    uint64_t trimmed = fli_load_own(&heap->trimmed_bytes), since = trimmed - decay->trimmed_with_metadata;
    if (since >= METADATA_AFTER || (since > 0 && trimmed == decay->trimmed)) {
        fli_slab_trim_metadata(&heap->backing.slabs);
        decay->trimmed_with_metadata = trimmed;
    }
    decay->trimmed = trimmed;
}

/* Returns the empty magazines that nobody has needed for a period, as far as they fill pages. */
static void return_empty_locked(struct fl_heap *heap, bool was_silent)
{
    fli_assert_held(&heap->trim_lock);
    size_t all = fli_trim_empty_bytes(&heap->backing), unused = was_silent ? all : heap->decay.empty_low;
    if (unused >= FLI_SLAB_BYTES)
        fli_trim_empty_locked(heap, unused);
    heap->decay.empty_low = fli_trim_empty_bytes(&heap->backing);
}

/* Begins a period. Where the one before `was_silent`, no slow half has run in it, and all that is held has not been
 * used. */
static void begin_period_locked(struct fl_heap *heap, bool was_silent)
{
    fli_assert_held(&heap->trim_lock);
    struct fli_decay *decay = &heap->decay;
    size_t held = fli_decay_held(heap);
    return_metadata_locked(heap);
    return_empty_locked(heap, was_silent);
    decay->due = was_silent ? held : decay->low;
    decay->low = held;
    decay->looks = 0;
}

/* What is to go back now: after a silence all, otherwise an even share for each look of the period. */
static size_t take_due(struct fli_decay *decay, size_t held, bool was_silent)
{
    decay->low = fli_min(decay->low, held);
    size_t share = fli_max(decay->due / (LOOKS_PER_PERIOD - decay->looks), FLI_SLAB_BYTES);
    size_t bytes = fli_min(fli_min(decay->due, was_silent ? decay->due : share), fli_min(held, LOOK_BYTES));
    decay->due -= bytes;
    return bytes;
}

/* Begins a look. Returns what it is to return. */
static size_t begin_look_locked(struct fl_heap *heap, uint64_t late)
{
    fli_assert_held(&heap->trim_lock);
    struct fli_decay *decay = &heap->decay;
    bool was_silent = late > LOOKS_PER_PERIOD * decay->step;
    if (was_silent)
        begin_period_locked(heap, true);
    decay->empty_low = fli_min(decay->empty_low, fli_trim_empty_bytes(&heap->backing));
    size_t bytes = take_due(decay, fli_decay_held(heap), was_silent);
    decay->hurries = bytes == LOOK_BYTES;
    return bytes;
}

static void end_look_locked(struct fl_heap *heap, uint64_t now)
{
    fli_assert_held(&heap->trim_lock);
    struct fli_decay *decay = &heap->decay;
    if (++decay->looks >= LOOKS_PER_PERIOD)
        begin_period_locked(heap, false);
    fli_store_hint(&decay->next, now + (decay->hurries ? decay->step / HURRY : decay->step));
}

/* Takes a look, or goes on with it, and returns at most `most` bytes. */
static void look_locked(struct fl_heap *heap, uint64_t now, size_t most)
{
    fli_assert_held(&heap->trim_lock);
    struct fli_decay *decay = &heap->decay;
    uint64_t next = fli_load_own(&decay->next);
    if (now < next)
        return; /* another thread has taken it */
    if (fli_load_own(&heap->walk) != NULL)
        return; /* a walk holds on to the slabs that it has seen */
    size_t rest = fli_load_own(&decay->rest);
    if (rest == 0)
        rest = begin_look_locked(heap, now - next);
    size_t bytes = fli_min(rest, most);
    if (bytes > 0)
        give_back_locked(heap, bytes);
    fli_store_hint(&decay->rest, rest - bytes);
    if (rest == bytes)
        end_look_locked(heap, now);
}

static void look(struct fl_heap *heap, size_t most)
{
    fli_caretaker_return(heap);
    if (!fli_trylock(&heap->trim_lock))
        return;
    int saved = errno;
    look_locked(heap, fli_grace_now_about(), most);
    fli_unlock(&heap->trim_lock);
    errno = saved;
}

void fli_decay_look(struct fl_heap *heap)
{
    look(heap, SIZE_MAX);
}

void fli_decay_step(struct fl_heap *heap)
{
    look(heap, FLI_TRIM_STEP);
}
