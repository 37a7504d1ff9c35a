/* SPDX-License-Identifier: MIT
 *
 * Freeing when the cache of the class is full or the class of the block is not known. It judges the free (verify.h) and
 * clears the header that stale readers look at. Then it puts the block into the cache or into the thread's magazine of
 * deferred blocks, or gives it to the large blocks.
 */
#include "api/free.h"
#include "api/pending.h"
#include "api/serve.h"
#include "base/watch.h"
#include "heap/profile.h"
#include "heap/service.h"
#include "heap/stall.h"
#include "heap/submit.h"
#include "heap/trace.h"
#include "heap/walk.h"
#include "memory/block.h"
#include "memory/stray.h"
#include "pool/allowance.h"
#include "pool/unsubmitted.h"

#include <errno.h>

/* ---- The header of objects that stale readers look at. */

#define CLEAR_WORD(type, place) fli_store_public((type *)(place), 0)

/* Clears the words that tell a reader that it may take the object. Nothing needs an order: a reader looks at them
 * again after it has taken it. */
static void clear_header(const struct fl_header *header, void *object)
{
    for (unsigned i = 0; i < header->words; i++) {
        void *word = (char *)object + header->clear[i].offset;
        switch (header->clear[i].size) {
        case 1:
            CLEAR_WORD(uint8_t, word);
            break;
        case 2:
            CLEAR_WORD(uint16_t, word);
            break;
        case 4:
            CLEAR_WORD(uint32_t, word);
            break;
        default:
            CLEAR_WORD(uint64_t, word);
        }
    }
}

/* ---- Freeing. */

/* Checked builds: clears the block's live bit. Of two threads that free the block at once, one finds it cleared. */
static enum fli_verdict end_life(struct fli_slabs *slabs, unsigned class_index, void *block)
{
    return fli_block_mark_live(slabs, class_index, block, false) ? FLI_IN_ORDER : FLI_DOUBLE_FREE;
}

/* After blocks have left the caches: the heap's upkeep, unless the thread leaves that to others or to later. */
static inline __attribute__((always_inline)) void keep_up(struct fli_thread *thread)
{
    if (FLI_UNLIKELY(thread->owner.realtime) || fli_pending_leave_upkeep(thread))
        return;
    if (FLI_UNLIKELY(fli_exchange_has_given_owner(&thread->owner, 1)))
        fli_bound_keep(thread->heap);
    if (FLI_UNLIKELY(fli_decay_is_due(&thread->heap->decay)))
        fli_decay_look(thread->heap);
}

/* Puts the block into the thread's cache. Returns false if no magazine can be had for it. */
static bool push_owner(struct fli_thread *thread, unsigned class_index, void *block)
{
    struct fl_cache *cache = fli_thread_cache(thread, class_index);
    if (fl_cache_is_full(cache->top)) {
        struct fli_backing *backing = &thread->heap->backing;
        if (fli_allowance_skips(backing, &thread->owner, class_index) &&
            fli_allowance_pass_by_owner(block, cache, class_index, backing, &thread->owner)) {
            keep_up(thread);
            return true;
        }
        if (!fli_exchange_make_room_owner(cache, class_index, backing, &thread->owner))
            return false;
        keep_up(thread);
    }
    fl_cache_put(cache, fl_cache_top(cache), block);
    return true;
}

/* Puts a block of a hardened heap where it is one of many from which the next allocation takes one: into the cache if
 * that has many, else into its slab. Returns false if its home is busy and no magazine can be had for it. */
__attribute__((noinline)) static bool push_among_many(struct fli_thread *thread, unsigned class_index, void *block)
{
    struct fli_backing *backing = &thread->heap->backing;
    unsigned capacity = backing->magazine_blocks[class_index];
    size_t loaded = fli_cache_loaded_blocks(fli_thread_cache(thread, class_index), capacity);
    if (loaded < fli_exchange_many(capacity) &&
        fli_exchange_send_home_owner(block, class_index, backing, &thread->owner)) {
        keep_up(thread);
        return true;
    }
    return push_owner(thread, class_index, block);
}

/* Puts a block that the host has freed away. Returns false if it has to go home. */
static bool put_away(struct fli_thread *thread, unsigned class_index, void *block)
{
    if (FLI_UNLIKELY(thread->heap->watched))
        return false;
    return thread->heap->hardened ? push_among_many(thread, class_index, block)
                                  : push_owner(thread, class_index, block);
}

/* Puts the block into the thread's magazine of deferred blocks. Returns whether this has raised pressure. */
static bool defer_owner(struct fli_thread *thread, unsigned class_index, void *block)
{
    struct fl_heap *heap = thread->heap;
    bool raised = fli_unsubmitted_put_owner(&heap->deferred, thread->deferred, class_index, block, &thread->owner);
    fli_class_set_add(&thread->deferring, class_index);
    if (FLI_UNLIKELY(thread == heap->service)) /* which passes no quiescent states, so it submits at once */
        raised |= fli_submit_owner(thread);
    else if (FLI_LIKELY(!thread->owner.realtime) && fli_deferred_is_waiting(&heap->deferred))
        fli_stall_look(heap);
    return raised;
}

static enum fli_verdict verdict_of(enum fli_large_result result)
{
    switch (result) {
    case FLI_LARGE_DONE:
    case FLI_LARGE_REFUSED:
        break;
    case FLI_LARGE_UNKNOWN:
        return FLI_FOREIGN;
    case FLI_LARGE_WRONG_SIZE:
        return FLI_WRONG_SIZE;
    case FLI_LARGE_IS_DEFERRED:
        return FLI_DOUBLE_FREE;
    }
    return FLI_IN_ORDER;
}

static enum fli_large_result end_large(const struct fli_thread *thread, void *block, bool sized, size_t size,
                                       size_t *actual)
{
    struct fli_large *large = &thread->heap->backing.large;
    return FLI_UNLIKELY(thread->owner.realtime) ? fli_large_free_realtime(large, block, sized, size, actual)
                                                : fli_large_free(large, block, sized, size, actual);
}

/* Frees or defers a large block. On a heap with stale readers it always defers, because they may look at it. */
static void free_large(struct fli_thread *thread, void *block, const struct fli_free *how,
                       struct fli_outcome *outcome)
{
    struct fl_heap *heap = thread->heap;
    struct fli_large *large = &heap->backing.large;
    if (thread->header == NULL && !how->deferred) {
        outcome->verdict = verdict_of(end_large(thread, block, how->sized, how->size, &outcome->actual));
        return;
    }
    /* The header is cleared before the block is deferred, and only if the free is in order. */
    size_t actual = thread->header != NULL ? fli_large_size(large, block) : 0;
    if (actual != 0 && (!how->sized || how->size == actual))
        clear_header(thread->header, block);
    outcome->verdict = verdict_of(fli_large_defer(large, block, how->sized, how->size, &outcome->actual));
    if (outcome->verdict == FLI_IN_ORDER)
        outcome->pressure = fli_deferred_count_large(&heap->deferred, outcome->actual, &thread->owner);
}

static void free_block(struct fli_thread *thread, void *block, unsigned class_index, const struct fli_free *how,
                       struct fli_outcome *outcome)
{
    struct fli_slabs *slabs = &thread->heap->backing.slabs;
    outcome->verdict = fli_verify_block(slabs, class_index, block, how, &outcome->actual);
    if (FLI_CHECKED && outcome->verdict == FLI_IN_ORDER)
        outcome->verdict = end_life(slabs, class_index, block);
    if (slabs->hardened && outcome->verdict == FLI_IN_ORDER)
        outcome->verdict = fli_verdict_of_state(
            fli_state_end(slabs, class_index, block, how->deferred, how->sized, how->size, &outcome->actual));
    if (outcome->verdict != FLI_IN_ORDER)
        return;
    if (thread->header != NULL)
        clear_header(thread->header, block);
    if (how->deferred) {
        outcome->pressure = defer_owner(thread, class_index, block);
        return;
    }
    if (FLI_CHECKED)
        fli_block_poison(slabs, class_index, block);
    if (FLI_UNLIKELY(!put_away(thread, class_index, block)))
        fli_homes_return(&thread->heap->backing.homes, class_index, &block, 1, true, &thread->owner.counters);
}

static struct fli_outcome free_owner(struct fli_thread *thread, void *block, const struct fli_free *how)
{
    struct fl_heap *heap = thread->heap;
    bool is_offline = thread->os_thread == NULL && thread != heap->service;
    struct fli_outcome outcome = {.verdict = fli_verify_call(heap, is_offline, how), .heap = heap};
    if (FLI_UNLIKELY(outcome.verdict != FLI_IN_ORDER))
        return outcome;
    unsigned class_index = fli_slab_class_of(&heap->backing.slabs, block);
    if (class_index != 0)
        free_block(thread, block, class_index, how, &outcome);
    else
        free_large(thread, block, how, &outcome);
    return outcome;
}

/* Frees on an entered thread, leaves it, and then reports misuse. */
static void free_and_leave(struct fli_thread *thread, void *block, const struct fli_free *how)
{
    struct fli_outcome outcome = {.verdict = FLI_NO_HEAP};
    if (thread != NULL) {
        struct fl_heap *heap = thread->heap;
        outcome = free_owner(thread, block, how);
        fli_service_leave(thread);
        if (FLI_UNLIKELY(outcome.pressure))
            fli_submit_tell_pressure(heap);
        fli_stray_tell(&heap->backing.slabs, heap, how->call);
    }
    if (FLI_UNLIKELY(outcome.verdict != FLI_IN_ORDER))
        fli_verify_report(block, how, outcome);
}

/* ---- Traces. */

/* Tells of a free before the block is free, as it may be allocated again at once. Returns false if the free is not in
 * order, which is reported. */
FLI_COLD static bool tell(struct fl_heap *heap, bool is_offline, void *block, const struct fli_free *how)
{
    if (!fli_check_live_in(heap, is_offline, block, how)) {
        if (heap->watched && !fl_owns(heap, block))
            fli_watch_free(block, 0, 0); /* which Memcheck reports, too */
        return false;
    }
    size_t size = how->sized ? how->size : fl_usable_size(heap, block);
    if (heap->watched)
        fli_watch_free(block, size, how->deferred ? size : fli_min(size, heap->backing.slabs.stale_bytes));
    fli_trace_tell(heap, (struct fl_trace_event){FL_TRACE_FREE, block, size, how->type});
    return true;
}

/* Whether the call has to be told of. An attached thread knows, and attends. */
static bool is_traced(struct fl_thread *face, const void *block, struct fl_heap **heap)
{
    struct fli_thread *thread = fli_thread_of(face);
    if (thread->heap != NULL && !fli_trace_calls(thread))
        return false;
    if (thread->heap != NULL)
        fli_trace_attend(thread);
    *heap = fl_thread_heap(face);
    return *heap != NULL && fli_profile_is_told_of_free(*heap, block);
}

void fli_free(struct fl_thread *face, void *block, const struct fli_free *how)
{
    int saved = errno;
    struct fl_heap *heap;
    bool is_offline = fli_thread_of(face)->heap != NULL && fli_thread_of(face)->os_thread == NULL;
    if (is_traced(face, block, &heap) && !tell(heap, is_offline, block, how))
        return;
    free_and_leave(fli_serve_enter(face), block, how);
    errno = saved;
}

FLI_COLD static void free_slow(struct fl_thread *thread, void *block)
{
    if (block != NULL)
        fli_free(thread, block, &(struct fli_free){.call = "fl_free"});
}

/* Frees a block of a class; one of class 0, whose cache never has room, in the slow half. */
static inline void free_of_class(struct fl_thread *face, void *block, unsigned class_index)
{
    struct fl_cache *cache = &face->cache[class_index];
    void **top = fl_cache_top(cache);
    if (FLI_UNLIKELY(fl_cache_is_full(top))) {
        free_slow(face, block);
        return;
    }
    fl_cache_put(cache, top, block);
}

/* Frees a block that lies in no slab of the range that the thread knows. If it lies in a larger one, the thread knows that
 * from now on. */
static __attribute__((noinline)) void free_beyond(struct fl_thread *face, void *block)
{
    struct fli_thread *thread = fli_thread_of(face);
    const struct fli_range *range = thread->heap != NULL ? fli_range_of(&thread->heap->backing.slabs.ranges, block)
                                                         : NULL;
    if (FLI_LIKELY(range != NULL) && range->span > thread->slabs_span && thread->slabs_span != 0)
        fli_thread_know_range_owner(thread, range);
    free_of_class(face, block, range != NULL ? fli_slab_class_in(range, block) : 0);
}

void fl_free(struct fl_thread *face, void *block)
{
    const struct fli_thread *thread = fli_thread_of(face);
    size_t offset = (uintptr_t)block - thread->slabs_base;
    if (FLI_UNLIKELY(offset >= thread->slabs_span)) {
        free_beyond(face, block);
        return;
    }
    /* Relaxed: see fli_slab_class_of. */
    free_of_class(face, block, fli_load_relaxed(&thread->slab_classes[offset >> FLI_SLAB_SHIFT]));
}

/* Whether a thread that is diverted, or was asked to attend, can free the block as others do: it is diverted only for a
 * profile, of which the block is no sample. */
FLI_COLD static bool is_no_sample(const struct fli_thread *thread, const void *block)
{
    return thread->heap != NULL && thread->diverted && !thread->heap->hardened && fli_trace_is_on(thread->heap) &&
           !fli_profile_is_told_of_free(thread->heap, block);
}

static bool is_simple(const struct fli_thread *thread, const void *block, unsigned class_index,
                      const struct fl_header *header)
{
    return !FLI_CHECKED && FLI_LIKELY(class_index != 0 && thread->header == header) &&
           (!fli_trace_calls(thread) || is_no_sample(thread, block)) &&
           fli_slab_class_of(&thread->heap->backing.slabs, block) == class_index;
}

bool fli_free_quickly(struct fl_thread *face, void *block, unsigned class_index, const struct fl_header *header)
{
    struct fli_thread *thread = fli_thread_of(face);
    if (!is_simple(thread, block, class_index, header) || fli_stray_is_untold(&thread->heap->backing.slabs))
        return false;
    if (header != NULL)
        clear_header(header, block);
    return push_owner(thread, class_index, block);
}

bool fli_defer_quickly(struct fl_thread *face, void *block, unsigned class_index, const struct fl_header *header)
{
    struct fli_thread *thread = fli_thread_of(face);
    if (!is_simple(thread, block, class_index, header) || thread->os_thread == NULL ||
        thread->heap->grace.kind == FL_GRACE_NONE)
        return false;
    if (header != NULL)
        clear_header(header, block);
    if (FLI_UNLIKELY(defer_owner(thread, class_index, block)))
        fli_submit_tell_pressure(thread->heap);
    return true;
}

/* Does the same for a block above FL_BLOCK_MAX. */
static bool free_large_quickly(struct fl_thread *face, void *block, size_t size)
{
    const struct fli_thread *thread = fli_thread_of(face);
    size_t actual;
    if (FLI_UNLIKELY(fli_trace_calls(thread) || thread->header != NULL || fli_walk_is_disturbed(thread->heap)) ||
        fli_stray_is_untold(&thread->heap->backing.slabs))
        return false;
    if (FLI_UNLIKELY(thread->owner.realtime))
        return end_large(thread, block, true, size, &actual) == FLI_LARGE_DONE;
    return fli_large_free_quickly(&thread->heap->backing.large, block, size);
}

void fl_free_sized_slow(struct fl_thread *thread, void *block, size_t size)
{
    unsigned class_index = fli_class_of_size(size);
    if (FLI_LIKELY(class_index != 0 ? fli_free_quickly(thread, block, class_index, NULL)
                                    : free_large_quickly(thread, block, size)))
        return;
    fli_free(thread, block, &(struct fli_free){.call = "fl_free_sized", .size = size, .sized = true});
}

void fl_free_deferred_slow(struct fl_thread *thread, void *block, size_t size)
{
    if (FLI_LIKELY(fli_defer_quickly(thread, block, fli_class_of_size(size), NULL)))
        return;
    fli_free(thread, block,
             &(struct fli_free){.call = "fl_free_deferred", .size = size, .sized = true, .deferred = true});
}

void fl_heap_free(struct fl_heap *heap, void *block)
{
    if (block == NULL)
        return;
    int saved = errno;
    struct fli_free how = {.call = "fl_heap_free"};
    if (!fli_profile_is_told_of_free(heap, block) || tell(heap, false, block, &how))
        free_and_leave(fli_service_enter(heap), block, &how);
    errno = saved;
}
