/* SPDX-License-Identifier: MIT
 *
 * Every call enters a thread (fli_thread_enter), works on its caches, and leaves it. In checked builds all calls come
 * here, and a bit per block tells whether the host has it, so that a second free of a block is noticed.
 */
#include "alloc.h"
#include "check.h"
#include "sanitizer.h"
#include "stall.h"
#include "stray.h"
#include "trim.h"

#include <errno.h>
#include <string.h>

/* ---- The header of objects that stale readers look at. */

#define CLEAR_WORD(type, place) __atomic_store_n((type *)(place), 0, __ATOMIC_RELAXED)

/* Relaxed: what is published by it is that no reader may take hold of the object, and readers check again after they
 * have. */
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

/* ---- Allocation. */

static void *pop_owner(struct fli_thread *thread, struct fl_cache *cache, unsigned class_index)
{
    void *block = fl_cache_take(cache, fl_cache_top(cache));
    if (FLI_CHECKED) {
        struct fli_slabs *slabs = &thread->heap->backing.slabs;
        fli_unpoison(block, slabs->by_class[class_index].block_bytes);
        bool was_live = fli_slab_mark_live(slabs, class_index, block, true);
        FLI_ASSERT(!was_live);
        (void)was_live;
    }
    return block;
}

/* Gives what this thread caches, and what unattached threads have freed, to the pool. What other threads cache stays
 * with them. */
FLI_COLD static void pool_caches(struct fli_thread *thread)
{
    if (thread != thread->heap->service)
        fli_thread_submit(thread);
    fli_thread_flush_owner(thread);
    fli_thread_flush_service(thread->heap, thread);
}

/* Whether a block can be taken from the cache. */
static bool has_blocks(struct fli_thread *thread, unsigned class_index)
{
    struct fl_cache *cache = fli_thread_cache(thread, class_index);
    return cache->top != cache->floor ||
           fli_cache_lower_floor_owner(cache, thread->heap->backing.magazine_blocks[class_index]);
}

/* Refills an empty cache; if it is `pressed`, slabs of other homes are adopted rather than none. Returns the blocks that
 * are in it then. */
static size_t refill(struct fli_thread *thread, unsigned class_index, bool pressed)
{
    struct fl_heap *heap = thread->heap;
    if (fli_deferred_is_waiting(&heap->deferred))
        fli_deferred_advance(&heap->deferred);
    return fli_cache_refill_owner(fli_thread_cache(thread, class_index), class_index, &heap->backing, &thread->owner,
                                  pressed);
}

/* What a refill has brought, for the host. */
struct refilled {
    struct fli_thread *thread;
    size_t bytes;
};

static void call_on_refill(void *argument)
{
    const struct refilled *refilled = argument;
    refilled->thread->heap->options.on_refill(&refilled->thread->face, refilled->bytes);
}

/* Tells the host of a refill, with nothing in hand that could be lost if it does not return. Returns whether the cache
 * has blocks then: what the host has used up is replaced. */
FLI_COLD static bool tell_refill(struct fli_thread *thread, unsigned class_index, size_t blocks)
{
    struct refilled refilled = {.thread = thread, .bytes = blocks * fli_class_bytes(class_index)};
    if (!fli_callback_call(&thread->refilling, "on_refill", &thread->face, call_on_refill, &refilled))
        return false;
    return has_blocks(thread, class_index) || refill(thread, class_index, false) > 0;
}

/* Refills an empty cache and takes a block from it. */
static void *refill_and_pop(struct fli_thread *thread, unsigned class_index, bool pressed)
{
    struct fl_heap *heap = thread->heap;
    size_t blocks = refill(thread, class_index, pressed);
    if (FLI_UNLIKELY(blocks == 0))
        return NULL;
    if (FLI_UNLIKELY(heap->options.on_refill != NULL) && thread != heap->service &&
        !tell_refill(thread, class_index, blocks))
        return NULL;
    return pop_owner(thread, fli_thread_cache(thread, class_index), class_index);
}

static void *alloc_pressed(struct fli_thread *thread, unsigned class_index, bool pressed)
{
    if (has_blocks(thread, class_index))
        return pop_owner(thread, fli_thread_cache(thread, class_index), class_index);
    return refill_and_pop(thread, class_index, pressed);
}

static void *alloc_block(struct fli_thread *thread, unsigned class_index)
{
    return alloc_pressed(thread, class_index, false);
}

/* Trims the thread's heap, because an allocation would fail. */
FLI_COLD static void trim_for(struct fli_thread *thread)
{
    if (thread != thread->heap->service) /* whose lock comes after the registry's */
        fli_thread_flush_offline(thread->heap);
    fli_trim(thread->heap, 0);
}

/* Takes a block from what the heap holds free after all: of the class, retired slabs included, or else by turning
 * whole slabs of other classes into some of this one. */
FLI_COLD static void *make_room(struct fli_thread *thread, unsigned class_index)
{
    pool_caches(thread);
    fli_trim_take_back(thread->heap, class_index, thread->owner.home);
    void *block = alloc_pressed(thread, class_index, true);
    if (block != NULL)
        return block;
    trim_for(thread);
    /* Another trim may have had blocks of the class in hand. */
    fli_trim_take_back(thread->heap, class_index, thread->owner.home);
    return alloc_pressed(thread, class_index, true);
}

static void *alloc_large(struct fli_thread *thread, size_t size, bool zeroed)
{
    struct fl_heap *heap = thread->heap;
    void *block = fli_large_alloc(&heap->backing.large, size, zeroed);
    if (block == NULL && heap->backing.limit.most != SIZE_MAX) {
        pool_caches(thread);
        trim_for(thread);
        block = fli_large_alloc(&heap->backing.large, size, zeroed);
    }
    return block;
}

/* Tries once. `*heap` is the heap that was tried, NULL if there is none. Where the heap takes only objects with
 * another header, errno is EINVAL, else ENOMEM. */
static void *attempt(struct fl_thread *face, const struct fli_request *request, struct fl_heap **heap)
{
    struct fli_thread *thread = fli_thread_enter(face);
    *heap = thread != NULL ? thread->heap : NULL;
    if (thread == NULL)
        return NULL;
    errno = thread->header == request->header ? ENOMEM : EINVAL;
    if (FLI_UNLIKELY(errno == EINVAL)) {
        fli_thread_leave(thread);
        return NULL;
    }
    unsigned class_index = fli_class_of_size(request->size);
    void *block = class_index != 0 ? alloc_block(thread, class_index)
                                   : alloc_large(thread, request->size, request->zeroed);
    if (FLI_UNLIKELY(block == NULL) && class_index != 0)
        block = make_room(thread, class_index);
    fli_thread_leave(thread);
    return block;
}

/* A question to the host for room, and its answer. */
struct plea {
    struct fl_heap *heap;
    size_t size;
    bool relieved;
};

static void call_on_pressure(void *argument)
{
    struct plea *plea = argument;
    const struct fl_options *options = &plea->heap->options;
    plea->relieved = options->on_pressure(plea->heap, plea->size, options->context);
}

/* Asks the host to make room. Allocations that it makes meanwhile fail without asking again. */
FLI_COLD static bool relieve_pressure(struct fl_heap *heap, size_t size)
{
    static __thread struct fli_callback asking;
    const struct fl_options *options = &heap->options;
    bool could_fit = options->limit_bytes != SIZE_MAX && size <= options->limit_bytes;
    if (options->on_pressure == NULL || !could_fit)
        return false;
    struct plea plea = {.heap = heap, .size = size};
    return fli_callback_call(&asking, "on_pressure", heap, call_on_pressure, &plea) && plea.relieved;
}

FLI_COLD static void report_header(const struct fl_heap *heap, const struct fli_request *request)
{
    const void *of = heap;
    if (heap->options.header == NULL)
        fli_misuse(request->call, NULL, request->type, "has a header for stale readers, heap %p has none", of);
    else if (request->header == NULL)
        fli_misuse(request->call, NULL, request->type,
                   "cannot allocate on heap %p: it has stale readers, which know only types with its header", of);
    else
        fli_misuse(request->call, NULL, request->type, "has another header than the objects of heap %p", of);
    errno = EINVAL;
}

void *fli_alloc(struct fl_thread *face, const struct fli_request *request)
{
    int saved = errno;
    struct fl_heap *heap;
    void *block = attempt(face, request, &heap);
    if (FLI_UNLIKELY(block == NULL)) {
        if (heap == NULL)
            return NULL; /* errno tells why there is no default heap */
        if (errno == EINVAL) {
            report_header(heap, request);
            return NULL;
        }
        if (relieve_pressure(heap, request->size))
            block = attempt(face, request, &heap);
    }
    errno = block != NULL ? saved : ENOMEM;
    if (block != NULL && request->zeroed && request->size <= FL_BLOCK_MAX)
        memset(block, 0, request->size);
    return block;
}

/* On behalf of `call`. */
static inline void *alloc_slow(struct fl_thread *face, size_t size, const char *call)
{
    struct fli_thread *thread = fli_thread_of(face);
    unsigned class_index = fli_class_of_size(size);
    /* By far the most frequent way here: an attached thread exchanges a magazine. */
    if (FLI_LIKELY(thread->heap != NULL && thread->header == NULL && class_index != 0)) {
        void *block = alloc_block(thread, class_index);
        if (FLI_LIKELY(block != NULL))
            return block;
    }
    return fli_alloc(face, &(struct fli_request){.call = call, .size = size});
}

void *fl_alloc_slow(struct fl_thread *face, size_t size)
{
    return alloc_slow(face, size, "fl_alloc");
}

void *fl_alloc_zeroed(struct fl_thread *thread, size_t size)
{
    struct fl_cache *cache = &thread->cache[fl_size_class(size)];
    void **top = fl_cache_top(cache);
    if (FLI_UNLIKELY(top == cache->floor))
        return fli_alloc(thread, &(struct fli_request){.call = "fl_alloc_zeroed", .size = size, .zeroed = true});
    return memset(fl_cache_take(cache, top), 0, size);
}

/* ---- Freeing. */

/* What is wrong with a free. It is told to the host once no lock is held. */
enum verdict { IN_ORDER, FOREIGN, WRONG_SIZE, NO_START, DOUBLE_FREE, NO_HEAP, NO_GRACE, OFFLINE, OTHER_HEADER };

struct outcome {
    enum verdict verdict;
    const struct fl_heap *heap;
    size_t actual; /* WRONG_SIZE: the size that the block has */
    bool pressure; /* deferring it has raised pressure */
};

FLI_COLD static void report(const void *block, const struct fli_free *how, struct outcome outcome)
{
    const void *heap = outcome.heap;
    if (block == NULL && (outcome.verdict == FOREIGN || outcome.verdict == NO_HEAP)) {
        fli_misuse(how->call, NULL, how->type, "was given NULL, which only fl_free and fl_heap_free take");
        return;
    }
    switch (outcome.verdict) {
    case IN_ORDER:
        break;
    case FOREIGN:
        fli_misuse(how->call, block, how->type, "is not a block of heap %p", heap);
        break;
    case WRONG_SIZE:
        fli_misuse(how->call, block, how->type, "is a block of %zu bytes, not one for %zu", outcome.actual,
                   how->size);
        break;
    case NO_START:
        fli_misuse(how->call, block, how->type, "is not the start of a block of heap %p", heap);
        break;
    case DOUBLE_FREE:
        fli_misuse(how->call, block, how->type, "is free already (heap %p)", heap);
        break;
    case NO_HEAP:
        fli_misuse(how->call, block, how->type, "cannot be a block, there is no default heap");
        break;
    case NO_GRACE:
        fli_misuse(how->call, block, how->type, "cannot be deferred, heap %p has no grace periods (option grace)",
                   heap);
        break;
    case OFFLINE:
        fli_misuse(how->call, block, how->type, "cannot be deferred by a thread that is offline (heap %p)", heap);
        break;
    case OTHER_HEADER:
        fli_misuse(how->call, block, how->type, "is not freed with the header that the objects of heap %p have",
                   heap);
        break;
    }
}

/* Judges a free of a block that lies in a slab. */
static enum verdict judge(struct fli_slabs *slabs, unsigned class_index, const void *block,
                          const struct fli_free *how)
{
    if (how->sized && class_index != fli_class_of_size(how->size))
        return WRONG_SIZE;
    if (!FLI_CHECKED)
        return IN_ORDER;
    if (!fli_slab_is_block(slabs, class_index, block))
        return NO_START;
    return fli_slab_is_live(slabs, class_index, block) ? IN_ORDER : DOUBLE_FREE;
}

/* Ends the block's life in checked builds. Of two threads that free it at once, one finds that it had ended. */
static enum verdict end_life(struct fli_slabs *slabs, unsigned class_index, void *block)
{
    return fli_slab_mark_live(slabs, class_index, block, false) ? IN_ORDER : DOUBLE_FREE;
}

/* Puts the block into the thread's cache. Returns false if no magazine can be had for it. */
static bool push_owner(struct fli_thread *thread, unsigned class_index, void *block)
{
    struct fl_cache *cache = fli_thread_cache(thread, class_index);
    if (fl_cache_is_full(cache->top) &&
        !fli_cache_make_room_owner(cache, class_index, &thread->heap->backing, &thread->owner))
        return false;
    fl_cache_put(cache, fl_cache_top(cache), block);
    return true;
}

/* Puts the block into the thread's magazine of deferred ones. Returns whether this has raised pressure. */
static bool defer_owner(struct fli_thread *thread, unsigned class_index, void *block)
{
    struct fl_heap *heap = thread->heap;
    bool raised = fli_deferred_put_owner(&heap->deferred, fli_thread_deferred(thread, class_index), class_index,
                                         block, &thread->owner);
    thread->deferring[class_index / 64] |= (uint64_t)1 << class_index % 64;
    if (FLI_UNLIKELY(thread == heap->service)) /* it passes no quiescent states */
        raised |= fli_thread_submit_owner(thread);
    else if (fli_deferred_is_waiting(&heap->deferred))
        fli_stall_look(heap);
    return raised;
}

static enum verdict verdict_of(enum fli_large_result result)
{
    switch (result) {
    case FLI_LARGE_DONE:
        break;
    case FLI_LARGE_UNKNOWN:
        return FOREIGN;
    case FLI_LARGE_WRONG_SIZE:
        return WRONG_SIZE;
    case FLI_LARGE_IS_DEFERRED:
        return DOUBLE_FREE;
    }
    return IN_ORDER;
}

/* Stale readers may look at a large block too: it is deferred in any case. */
static void free_large(struct fli_thread *thread, void *block, const struct fli_free *how, struct outcome *outcome)
{
    struct fl_heap *heap = thread->heap;
    struct fli_large *large = &heap->backing.large;
    if (thread->header == NULL && !how->deferred) {
        outcome->verdict = verdict_of(fli_large_free(large, block, how->sized, how->size, &outcome->actual));
        return;
    }
    /* Before readers may go on without it, and only if all is well. */
    size_t actual = thread->header != NULL ? fli_large_size(large, block) : 0;
    if (actual != 0 && (!how->sized || how->size == actual))
        clear_header(thread->header, block);
    outcome->verdict = verdict_of(fli_large_defer(large, block, how->sized, how->size, &outcome->actual));
    if (outcome->verdict == IN_ORDER)
        outcome->pressure = fli_deferred_count_large(&heap->deferred, outcome->actual);
}

static void free_block(struct fli_thread *thread, void *block, unsigned class_index, const struct fli_free *how,
                       struct outcome *outcome)
{
    struct fli_slabs *slabs = &thread->heap->backing.slabs;
    outcome->actual = fli_class_bytes(class_index);
    outcome->verdict = judge(slabs, class_index, block, how);
    if (FLI_CHECKED && outcome->verdict == IN_ORDER)
        outcome->verdict = end_life(slabs, class_index, block);
    if (outcome->verdict != IN_ORDER)
        return;
    if (thread->header != NULL)
        clear_header(thread->header, block);
    if (how->deferred) {
        outcome->pressure = defer_owner(thread, class_index, block);
        return;
    }
    if (FLI_CHECKED)
        fli_slab_poison(slabs, class_index, block);
    if (!push_owner(thread, class_index, block))
        fli_homes_return(&thread->heap->backing.homes, class_index, &block, 1, true, &thread->owner.counters);
}

/* Judges what does not depend on the block. */
static enum verdict judge_call(const struct fl_heap *heap, bool is_offline, const struct fli_free *how)
{
    if (how->deferred && heap->grace.kind == FL_GRACE_NONE)
        return NO_GRACE;
    if (how->deferred && is_offline)
        return OFFLINE;
    /* Who does not know the type may free a block; the heap knows what to clear. */
    bool says = how->typed || how->deferred;
    return says && how->header != heap->options.header ? OTHER_HEADER : IN_ORDER;
}

static struct outcome free_owner(struct fli_thread *thread, void *block, const struct fli_free *how)
{
    struct fl_heap *heap = thread->heap;
    bool is_offline = thread->os_thread == NULL && thread != heap->service;
    struct outcome outcome = {.verdict = judge_call(heap, is_offline, how), .heap = heap};
    if (FLI_UNLIKELY(outcome.verdict != IN_ORDER))
        return outcome;
    unsigned class_index = fli_slab_class_of(&heap->backing.slabs, block);
    if (class_index != 0)
        free_block(thread, block, class_index, how, &outcome);
    else
        free_large(thread, block, how, &outcome);
    return outcome;
}

/* Frees on an entered thread, leaves it, and tells what was wrong. */
static void free_and_leave(struct fli_thread *thread, void *block, const struct fli_free *how)
{
    struct outcome outcome = {.verdict = NO_HEAP};
    if (thread != NULL) {
        struct fl_heap *heap = thread->heap;
        outcome = free_owner(thread, block, how);
        fli_thread_leave(thread);
        if (FLI_UNLIKELY(outcome.pressure))
            fli_thread_tell_pressure(heap);
        fli_stray_tell(heap, how->call);
    }
    if (FLI_UNLIKELY(outcome.verdict != IN_ORDER))
        report(block, how, outcome);
}

void fli_free(struct fl_thread *face, void *block, const struct fli_free *how)
{
    int saved = errno;
    free_and_leave(fli_thread_enter(face), block, how);
    errno = saved;
}

bool fli_check_live(struct fl_thread *face, const void *block, const struct fli_free *how)
{
    const struct fli_thread *thread = fli_thread_of(face);
    struct fl_heap *heap = fl_thread_heap(face);
    struct outcome outcome = {.verdict = heap != NULL ? FOREIGN : NO_HEAP, .heap = heap};
    bool is_offline = thread->heap != NULL && thread->os_thread == NULL; /* a stand-in is served, it never is */
    enum verdict call = heap != NULL ? judge_call(heap, is_offline, how) : IN_ORDER;
    unsigned class_index = heap != NULL ? fli_slab_class_of(&heap->backing.slabs, block) : 0;
    if (call != IN_ORDER) {
        outcome.verdict = call;
    } else if (class_index != 0) {
        outcome.actual = fli_class_bytes(class_index);
        outcome.verdict = judge(&heap->backing.slabs, class_index, block, how);
    } else if (heap != NULL && (outcome.actual = fli_large_size(&heap->backing.large, block)) != 0) {
        outcome.verdict = !how->sized || outcome.actual == how->size ? IN_ORDER : WRONG_SIZE;
    }
    report(block, how, outcome);
    return outcome.verdict == IN_ORDER;
}

FLI_COLD static void free_slow(struct fl_thread *thread, void *block)
{
    if (block != NULL)
        fli_free(thread, block, &(struct fli_free){.call = "fl_free"});
}

void fl_free(struct fl_thread *face, void *block)
{
    const struct fli_thread *thread = fli_thread_of(face);
    size_t offset = (uintptr_t)block - thread->slabs_base;
    if (FLI_UNLIKELY(offset >= thread->slabs_span)) {
        free_slow(face, block);
        return;
    }
    /* Relaxed: see fli_slab_class_of. Class 0 has no room in any cache. */
    struct fl_cache *cache = &face->cache[fli_load_relaxed(&thread->slab_classes[offset >> FLI_SLAB_SHIFT])];
    void **top = fl_cache_top(cache);
    if (FLI_UNLIKELY(fl_cache_is_full(top))) {
        free_slow(face, block);
        return;
    }
    fl_cache_put(cache, top, block);
}

static bool is_simple(const struct fli_thread *thread, const void *block, unsigned class_index,
                      const struct fl_header *header)
{
    return !FLI_CHECKED && FLI_LIKELY(thread->heap != NULL && class_index != 0 && thread->header == header) &&
           fli_slab_class_of(&thread->heap->backing.slabs, block) == class_index;
}

bool fli_free_quickly(struct fl_thread *face, void *block, unsigned class_index, const struct fl_header *header)
{
    struct fli_thread *thread = fli_thread_of(face);
    if (!is_simple(thread, block, class_index, header) || fli_stray_is_untold(thread->heap))
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
        fli_thread_tell_pressure(thread->heap);
    return true;
}

void fl_free_sized_slow(struct fl_thread *thread, void *block, size_t size)
{
    if (FLI_LIKELY(fli_free_quickly(thread, block, fli_class_of_size(size), NULL)))
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
    free_and_leave(fli_thread_enter_service(heap), block, &(struct fli_free){.call = "fl_heap_free"});
    errno = saved;
}

/* ---- Many at once. */

int fl_alloc_many(struct fl_thread *thread, size_t size, size_t count, void **blocks)
{
    struct fl_cache *cache = &thread->cache[fl_size_class(size)];
    for (size_t done = 0; done < count;) {
        void **top = fl_cache_top(cache);
        size_t part = fli_min((size_t)(top - cache->floor), count - done);
        if (part > 0) {
            for (size_t i = 0; i < part; i++)
                blocks[done++] = *--top;
            __atomic_store_n(&cache->top, top, __ATOMIC_RELAXED); /* relaxed: as in fl_cache_take */
            continue;
        }
        blocks[done] = alloc_slow(thread, size, "fl_alloc_many");
        if (blocks[done] == NULL) {
            int saved = errno;
            fl_free_many(thread, size, done, blocks);
            errno = saved;
            return -saved;
        }
        done++;
    }
    return 0;
}

void fl_free_many(struct fl_thread *thread, size_t size, size_t count, void *const *blocks)
{
    struct fl_cache *cache = &thread->cache[fl_size_class(size)];
    struct fli_free how = {.call = "fl_free_many", .size = size, .sized = true};
    for (size_t done = 0; done < count;) {
        void **top = fl_cache_top(cache);
        size_t room = (-(uintptr_t)top & (FL_MAGAZINE_BYTES - 1)) / sizeof *top;
        size_t part = fli_min(room, count - done);
        if (part > 0) {
            memcpy(top, blocks + done, part * sizeof *blocks);
            __atomic_store_n(&cache->top, top + part, __ATOMIC_RELAXED); /* relaxed: as in fl_cache_put */
            done += part;
        } else {
            fli_free(thread, blocks[done++], &how);
        }
    }
}
