/* SPDX-License-Identifier: MIT
 *
 * Allocation when the cache of the class is empty. It tries in this order: refill the cache; make room in the heap; end
 * dead objects that the thread keeps; ask the host to make room. In checked builds all calls come here, and a bit per
 * block tells whether the block is live.
 */
#include "api/alloc.h"
#include "api/pending.h"
#include "api/pressure.h"
#include "api/room.h"
#include "api/serve.h"
#include "base/check.h"
#include "base/watch.h"
#include "heap/guest.h"
#include "heap/service.h"
#include "heap/trace.h"
#include "heap/walk.h"
#include "memory/block.h"
#include "memory/state.h"
#include "memory/stray.h"
#include "pool/allowance.h"
#include "pool/reserve.h"

#include <errno.h>
#include <string.h>

/* Puts a random one of the loaded magazine's blocks on top: the blocks of a hardened heap are handed out in no order. */
__attribute__((noinline)) static void mix_owner(struct fli_thread *thread, struct fl_cache *cache,
                                                unsigned class_index)
{
    const struct fli_backing *backing = &thread->heap->backing;
    void **floor = fli_cache_floor(cache, backing->magazine_blocks[class_index]), **top = fl_cache_top(cache);
    void **other = floor + fli_random_below(&backing->slabs.key, (uint32_t)(top - floor)), *block = *other;
    *other = top[-1];
    top[-1] = block;
}

/* Checked builds: notes that a block is live. */
static inline void begin_life(struct fli_thread *thread, unsigned class_index, void *block)
{
    if (!FLI_CHECKED)
        return;
    fli_unpoison(block, fli_class_bytes(class_index));
    bool was_live = fli_block_mark_live(&thread->heap->backing.slabs, class_index, block, true);
    FLI_ASSERT(!was_live);
    (void)was_live;
}

/* `is_quick` says that the heap is not hardened. */
static inline __attribute__((always_inline)) void *pop_owner(struct fli_thread *thread, struct fl_cache *cache,
                                                             unsigned class_index, bool is_quick)
{
    if (!is_quick && thread->heap->hardened)
        mix_owner(thread, cache, class_index);
    void *block = fl_cache_take(cache, fl_cache_top(cache));
    begin_life(thread, class_index, block);
    return block;
}

/* Whether the cache of a class has a block, perhaps after a lower floor. */
static bool has_blocks(const struct fli_thread *thread, struct fl_cache *cache, unsigned class_index)
{
    return cache->top != cache->floor ||
           fli_cache_lower_floor_owner(cache, thread->heap->backing.magazine_blocks[class_index]);
}

/* The heap's upkeep, where a cache is empty. */
static inline void keep_up(struct fli_thread *thread, unsigned class_index)
{
    struct fl_heap *heap = thread->heap;
    /* What is set aside comes without a lock: then there is no time. */
    bool in_haste = thread->owner.realtime || fli_reserve_keeps(&thread->owner, class_index);
    if (fli_deferred_is_waiting(&heap->deferred) && !in_haste)
        fli_bound_advance_deferred(heap);
    if (FLI_UNLIKELY(fli_decay_is_due(&heap->decay)) && !in_haste && !fli_pending_leave_upkeep(thread))
        fli_decay_look(heap);
}

/* Refills an empty cache, `pressed` as in exchange.h. Returns the blocks in it. */
static size_t refill(struct fli_thread *thread, unsigned class_index, bool pressed)
{
    keep_up(thread, class_index);
    return fli_exchange_refill_owner(fli_thread_cache(thread, class_index), class_index, &thread->heap->backing,
                                     &thread->owner, pressed);
}

/* A block for a cache that is to have none (allowance.h), or NULL. */
__attribute__((noinline)) static void *fetch(struct fli_thread *thread, unsigned class_index)
{
    struct fl_heap *heap = thread->heap;
    if (heap->options.on_refill != NULL || heap->watched)
        return NULL;
    void *block = fli_allowance_fetch_owner(fli_thread_cache(thread, class_index), class_index, &heap->backing,
                                            &thread->owner);
    if (block == NULL)
        return NULL;
    begin_life(thread, class_index, block);
    keep_up(thread, class_index);
    return block;
}

/* What on_refill is called with. */
struct refilled {
    struct fli_thread *thread;
    size_t bytes;
};

static void call_on_refill(void *argument)
{
    const struct refilled *refilled = argument;
    fli_watch_pass(NULL, 0);
    refilled->thread->heap->options.on_refill(&refilled->thread->face, refilled->bytes);
}

/* Calls on_refill. The blocks are in the cache, so that none is lost if the host leaves the callback by longjmp.
 * Returns whether the cache still has a block: if the host has used them up, it is refilled again. */
FLI_COLD static bool tell_refill(struct fli_thread *thread, unsigned class_index, size_t blocks)
{
    struct refilled refilled = {.thread = thread, .bytes = blocks * fli_class_bytes(class_index)};
    if (!fli_callback_call(&thread->refilling, "on_refill", &thread->face, call_on_refill, &refilled))
        return false;
    return has_blocks(thread, fli_thread_cache(thread, class_index), class_index) ||
           refill(thread, class_index, false) > 0;
}

/* Refills an empty cache and takes a block from it. */
static inline __attribute__((always_inline)) void *refill_and_pop(struct fli_thread *thread, unsigned class_index,
                                                                  bool pressed, bool is_quick)
{
    struct fl_heap *heap = thread->heap;
    void *one = fli_allowance_skips(&heap->backing, &thread->owner, class_index) ? fetch(thread, class_index) : NULL;
    if (FLI_UNLIKELY(one != NULL))
        return one;
    size_t blocks = refill(thread, class_index, pressed);
    if (FLI_UNLIKELY(blocks == 0))
        return NULL;
    if (FLI_UNLIKELY(heap->options.on_refill != NULL) && thread != heap->service &&
        !tell_refill(thread, class_index, blocks))
        return NULL;
    struct fl_cache *cache = fli_thread_cache(thread, class_index);
    void *block = pop_owner(thread, cache, class_index, is_quick);
    if (FLI_UNLIKELY(thread->owner.closes))
        fli_allowance_close_owner(cache, class_index, &heap->backing, &thread->owner);
    return block;
}

static inline __attribute__((always_inline)) void *take(struct fli_thread *thread, unsigned class_index, bool pressed,
                                                        bool is_quick)
{
    struct fl_cache *cache = fli_thread_cache(thread, class_index);
    if (has_blocks(thread, cache, class_index))
        return pop_owner(thread, cache, class_index, is_quick);
    return refill_and_pop(thread, class_index, pressed, is_quick);
}

static void *alloc_pressed(struct fli_thread *thread, unsigned class_index, bool pressed)
{
    return take(thread, class_index, pressed, false);
}

/* Takes a block from what the heap holds free elsewhere. */
FLI_COLD static void *make_room(struct fli_thread *thread, unsigned class_index)
{
    fli_room_gather(thread, class_index);
    void *block = alloc_pressed(thread, class_index, true);
    if (block != NULL)
        return block;
    fli_room_convert(thread, class_index);
    return alloc_pressed(thread, class_index, true);
}

/* Sees to it that the cache has a block. */
static bool bring(struct fli_thread *thread, unsigned class_index, bool pressed)
{
    return has_blocks(thread, fli_thread_cache(thread, class_index), class_index) ||
           refill(thread, class_index, pressed) > 0;
}

size_t fli_alloc_fill(struct fli_thread *thread, unsigned class_index)
{
    struct fl_cache *cache = fli_thread_cache(thread, class_index);
    if (!bring(thread, class_index, false)) {
        fli_room_gather(thread, class_index);
        if (!bring(thread, class_index, true)) {
            fli_room_convert(thread, class_index);
            (void)bring(thread, class_index, true);
        }
    }
    return fli_cache_loaded_blocks(cache, thread->heap->backing.magazine_blocks[class_index]);
}

static void *try_large(struct fli_thread *thread, const struct fli_request *request)
{
    struct fli_large *large = &thread->heap->backing.large;
    void *block = request->block;
    size_t old = request->old_size, size = request->size, actual;
    if (block == NULL)
        return FLI_UNLIKELY(request->at_page) ? fli_thread_alloc_large_page(thread, size)
                                              : fli_thread_alloc_large(thread, size, request->zeroed);
    enum fli_large_result result = fli_large_resize(large, &block, old, size, thread->owner.realtime, &actual);
    return result == FLI_LARGE_DONE ? block : NULL;
}

static void *alloc_large(struct fli_thread *thread, const struct fli_request *request)
{
    void *block = try_large(thread, request);
    bool may_trim = thread->heap->backing.limit.most != SIZE_MAX && !thread->owner.realtime;
    if (FLI_LIKELY(block != NULL) || !may_trim)
        return block;
    fli_room_make_for_large(thread);
    return try_large(thread, request);
}

/* Whether the thread's heap has objects with this header, and is not being walked as far as the build can tell. */
static bool serves(const struct fli_thread *thread, const struct fl_header *header)
{
    return thread->header == header && !fli_walk_is_disturbed(thread->heap);
}

/* Has a tool forget the pointer that the magazine had to a block just taken, and lets the library write the block. */
FLI_COLD static void show_taken(const struct fl_cache *cache, unsigned class_index, void *block)
{
    fli_watch_forget(cache->top, sizeof *cache->top);
    fli_unpoison(block, fli_class_bytes(class_index));
}

/* Tries once. Stores the heap that was tried, NULL if there is none. On failure errno is EINVAL if the heap takes
 * only objects with another header or is being walked, else ENOMEM. */
static void *attempt(struct fl_thread *face, const struct fli_request *request, struct fl_heap **heap)
{
    struct fli_thread *thread = fli_serve_enter(face);
    *heap = thread != NULL ? thread->heap : NULL;
    if (thread == NULL)
        return NULL;
    errno = serves(thread, request->header) ? ENOMEM : EINVAL;
    if (FLI_UNLIKELY(errno == EINVAL)) {
        fli_service_leave(thread);
        return NULL;
    }
    unsigned class_index = fli_class_of_size(request->size);
    void *block = class_index != 0 ? alloc_pressed(thread, class_index, false) : alloc_large(thread, request);
    if (FLI_UNLIKELY(block == NULL) && class_index != 0 && !thread->owner.realtime)
        block = make_room(thread, class_index);
    if (FLI_UNLIKELY((*heap)->watched) && block != NULL && class_index != 0)
        show_taken(fli_thread_cache(thread, class_index), class_index, block);
    if ((*heap)->hardened && block != NULL && class_index != 0)
        fli_state_begin(&(*heap)->backing.slabs, class_index, block, request->size);
    fli_service_leave(thread);
    return block;
}

/* Ends the dead objects that the calling thread keeps. Returns whether it had some. */
FLI_COLD static bool evict_kept(struct fl_thread *face)
{
    const struct fl_thread *attached = fli_thread_is_stand_in(face) ? fl_thread_current : face;
    return !fli_thread_is_realtime(attached) && fli_guest_evict(fli_thread_of(attached));
}

FLI_COLD static void report_refusal(const struct fl_heap *heap, const struct fli_request *request)
{
    const void *of = heap;
    if (fli_walk_is_disturbed(heap))
        fli_misuse(request->call, NULL, request->type, "cannot allocate on heap %p while it is walked", of);
    else if (heap->options.header == NULL)
        fli_misuse(request->call, NULL, request->type, "has a header for stale readers, heap %p has none", of);
    else if (request->header == NULL)
        fli_misuse(request->call, NULL, request->type,
                   "cannot allocate on heap %p: it has stale readers, which know only types with its header", of);
    else
        fli_misuse(request->call, NULL, request->type, "has another header than the objects of heap %p", of);
    errno = EINVAL;
}

/* Does what fli_alloc does, but for traces. Stores the heap as `attempt` does. */
static void *alloc_untold(struct fl_thread *face, const struct fli_request *request, struct fl_heap **heap)
{
    int saved = errno;
    void *block = attempt(face, request, heap);
    if (FLI_UNLIKELY(block == NULL)) {
        if (*heap == NULL)
            return NULL; /* errno tells why there is no default heap */
        if (errno == EINVAL) {
            report_refusal(*heap, request);
            return NULL;
        }
        if (evict_kept(face))
            block = attempt(face, request, heap);
        if (block == NULL && fli_pressure_relieve(*heap, request->size))
            block = attempt(face, request, heap);
    }
    errno = block != NULL ? saved : ENOMEM;
    if (block != NULL && request->zeroed && request->size <= FL_BLOCK_MAX)
        memset(block, 0, request->size);
    return block;
}

/* ---- Traces. */

/* Before a call: a block that is to be resized ends, and may begin again elsewhere. */
FLI_COLD static void tell_before(struct fl_thread *face, const struct fli_request *request)
{
    fli_trace_attend(fli_thread_of(face));
    if (request->block != NULL)
        fli_trace_tell(fli_thread_of(face)->heap,
                       (struct fl_trace_event){FL_TRACE_FREE, request->block, request->old_size, NULL});
}

/* After a call. A block that could not be resized goes on. */
FLI_COLD static void tell_after(struct fl_heap *heap, const struct fli_request *request, void *block)
{
    if (heap->watched && block != NULL && request->block != NULL)
        fli_watch_resize(request->block, request->old_size, block, request->size, request->size);
    else if (heap->watched && block != NULL)
        fli_watch_alloc(block, request->size, fl_usable_size(heap, block), heap->backing.slabs.stale_bytes,
                        request->zeroed);
    struct fl_trace_event event = {FL_TRACE_ALLOC, block, request->size, request->type};
    if (block == NULL && request->block != NULL)
        event = (struct fl_trace_event){FL_TRACE_ALLOC, request->block, request->old_size, NULL};
    if (event.block != NULL)
        fli_trace_tell(heap, event);
}

void *fli_alloc(struct fl_thread *face, const struct fli_request *request)
{
    struct fl_heap *heap;
    if (fli_trace_calls(fli_thread_of(face)) && !fli_thread_is_stand_in(face))
        tell_before(face, request);
    void *block = alloc_untold(face, request, &heap);
    if (heap != NULL && heap->hardened)
        fli_stray_tell(&heap->backing.slabs, heap, request->call);
    if (heap != NULL && fli_trace_is_on(heap))
        tell_after(heap, request, block);
    return block;
}

/* ---- The slow halves. */

void *fli_alloc_quickly(struct fl_thread *face, unsigned class_index, const struct fl_header *header)
{
    struct fli_thread *thread = fli_thread_of(face);
    if (FLI_UNLIKELY(fli_trace_calls(thread) || !serves(thread, header)))
        return NULL;
    return take(thread, class_index, false, true);
}

/* Does the same for a block above FL_BLOCK_MAX. */
static void *alloc_large_quickly(struct fl_thread *face, size_t size)
{
    struct fli_thread *thread = fli_thread_of(face);
    if (FLI_UNLIKELY(fli_trace_calls(thread) || !serves(thread, NULL)))
        return NULL;
    return fli_thread_alloc_large(thread, size, false);
}

/* Allocates where the quick way is not open. */
FLI_COLD static void *alloc_carefully(struct fl_thread *thread, size_t size)
{
    return fli_alloc(thread, &(struct fli_request){.call = "fl_alloc", .size = size});
}

void *fl_alloc_slow(struct fl_thread *thread, size_t size)
{
    unsigned class_index = fli_class_of_size(size);
    void *block = FLI_LIKELY(class_index != 0) ? fli_alloc_quickly(thread, class_index, NULL)
                                               : alloc_large_quickly(thread, size);
    return FLI_LIKELY(block != NULL) ? block : alloc_carefully(thread, size);
}
