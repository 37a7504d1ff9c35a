/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/heap.h"

#include "api/alloc.h"
#include "base/os.h"
#include "base/pin.h"
#include "heap/fork.h"
#include "heap/options.h"
#include "heap/share.h"
#include "heap/trace.h"
#include "heap/trim.h"
#include "memory/stray.h"
#include "python/buffer.h"
#include "python/collect.h"
#include "python/later.h"
#include "python/options.h"
#include "python/pace.h"
#include "python/stop.h"
#include "python/thread.h"
#include "python/threads.h"

#include <errno.h>

/* How often a thread passes the heap by that had no block for it; and how often all of them do without one, where the OS
 * has refused the memory for it. */
enum { PASS_BY = FLI_RARE_PATHS ? 2 : 63, DO_WITHOUT = FLI_RARE_PATHS ? 2 : 1023 };

struct fl_py_options fli_py_heap_options;
struct fl_py_slabs fl_py_slabs;
static bool is_ready;

/* Who makes the heap; no thread calls the interpreter meanwhile, so none is stopped, or left behind by a fork, with it. */
static struct fli_mutex making = FLI_MUTEX_INITIALIZER(FLI_RANK_DEFAULT);
static FLI_ATOMIC(struct fl_heap *) the_heap;
static FLI_ATOMIC(unsigned) do_without; /* so many times more, before the OS is asked again */
static struct fl_type blocks[FL_CLASS_COUNT];

/* The library clears none of its words: the interpreter and fl_py_disown have done so when an object dies. */
static const struct fl_header object_header = {.bytes = sizeof(PyObject)};

/* The header that stale readers look at; with the GIL there are no such readers. */
static const struct fl_header *stale_header(void)
{
    return FLI_PY_FREE_THREADED ? &object_header : NULL;
}

/* Makes a type for every size class that an object fits in, once. Returns 0 or a negative errno value. */
static int make_blocks(void)
{
    static unsigned next;
    for (next = next > 0 ? next : (unsigned)fl_size_class(sizeof(PyObject)); next < FL_CLASS_COUNT; next++) {
        blocks[next].size = fli_class_bytes(next);
        blocks[next].name = "Python object";
        blocks[next].kind = FL_DEALLOC_PLAIN;
        blocks[next].header = stale_header();
        int failed = fl_type_ready(&blocks[next], NULL, NULL, 0);
        if (failed != 0)
            return failed;
    }
    return 0;
}

/* With stale readers, slabs can be retired at stops only, so the heap retains everything between these (pace.h). */
static struct fl_options options_of_heap(const struct fl_py_options *given)
{
    struct fl_options options = {.retain_bytes = given->retain_bytes,
                                 .limit_bytes = given->limit_bytes,
                                 .reserve_bytes = given->reserve_bytes,
                                 .header = stale_header()};
    if (options.header != NULL) {
        options.retain_bytes = SIZE_MAX;
        options.grace = FL_GRACE_HOST;
        options.grace_host = &fli_py_stop_grace;
    }
    return options;
}

/* Creates the heap, with a smaller range if the OS refuses the address space. */
static struct fl_heap *create_heap(const struct fl_py_options *given)
{
    struct fl_options options = options_of_heap(given);
    struct fl_heap *heap = fl_heap_create(&options, NULL, 0);
    while (heap == NULL && errno == ENOMEM && options.reserve_bytes / 2 >= FLI_RESERVE_MIN) {
        options.reserve_bytes /= 2;
        heap = fl_heap_create(&options, NULL, 0);
    }
    if (heap != NULL)
        fli_share_bound_racks(heap, given->retain_bytes);
    return heap;
}

/* Tells the fast paths where objects lie. A thread that has got one of these sees it. */
static void show_slabs(const struct fl_heap *heap)
{
    const struct fli_range *range = &heap->backing.slabs.ranges.at[0];
    fli_store_public(&fl_py_slabs.base, (uintptr_t)range->base);
    fli_store_public(&fl_py_slabs.bytes, range->span);
}

static void make_locked(void)
{
    fli_assert_held(&making);
    struct fl_heap *heap = make_blocks() == 0 ? create_heap(&fli_py_heap_options) : NULL;
    if (heap == NULL) {
        fli_store_hint(&do_without, DO_WITHOUT);
        return;
    }
    show_slabs(heap);
    /* O3: release, pairs with O4 in fli_py_heap_get: the heap is whole, and so are the types of its blocks. */
    fli_store_release(&the_heap, heap);
}

struct fl_heap *fli_py_heap_get(void)
{
    /* O4: acquire, pairs with O3 in make_locked. */
    return fli_load_acquire(&the_heap);
}

struct fl_heap *fli_py_heap_make(void)
{
    struct fl_heap *heap = fli_py_heap_get();
    unsigned without = fli_load_hint(&do_without);
    if (heap != NULL || !is_ready)
        return heap;
    if (without > 0) {
        fli_store_hint(&do_without, without - 1);
        return NULL;
    }
    int saved = errno;
    fli_lock(&making);
    if (fli_load_own(&the_heap) == NULL)
        make_locked();
    heap = fli_load_own(&the_heap);
    fli_unlock(&making);
    errno = saved;
    return heap;
}

/* What a copy needs of the process before there is a heap: threads take its locks, so a fork has to know of these; and
 * other copies call this one (copies.h). Returns 0 or a negative errno value. */
static int prepare_process(void)
{
    fli_pin_object();
    return fli_fork_watch();
}

int fli_py_heap_ready(void)
{
    if (is_ready)
        return 0;
    if (prepare_process() != 0)
        return PyErr_NoMemory(), -1;
    if (fli_os_page() > FLI_SLAB_BYTES)
        return 0;
    if (fli_py_options_get(&fli_py_heap_options) < 0)
        return -1;
    is_ready = true;
    return 0;
}

bool fli_py_heap_is_ready(void)
{
    return is_ready;
}

struct fl_heap *fl_py_heap(void)
{
    return fli_py_heap_make();
}

/* ---- Blocks. */

bool fli_py_heap_owns(const void *block)
{
    struct fl_heap *heap = fli_py_heap_get();
    return heap != NULL && fli_slab_class_of(&heap->backing.slabs, block) != 0;
}

/* Takes a block of the class. Does not look for one in every corner of the heap: the interpreter has memory, too. */
static void *take(struct fl_thread *heap, unsigned class_index)
{
    if (FLI_UNLIKELY(fli_trace_is_on(fli_py_heap_get())))
        return fl_type_alloc(heap, &blocks[class_index]);
    return fli_alloc_quickly(heap, class_index, stale_header());
}

/* The same for a thread that remembers for a while that there was none. */
static void *take_or_pass_by(struct fli_py_thread *thread, unsigned class_index)
{
    uint8_t *passed_by = &thread->passed_by[class_index];
    if (*passed_by > 0) {
        --*passed_by;
        return NULL;
    }
    void *block = take(thread->heap, class_index);
    *passed_by = block == NULL ? PASS_BY : 0;
    return block;
}

/* Tells tracemalloc of a block, where the interpreter sees each object. */
static void *told(void *block, size_t size)
{
    if (block != NULL && !fli_py_threads_caching())
        (void)PyTraceMalloc_Track(0, (uintptr_t)block, size);
    return block;
}

void *fli_py_heap_alloc(struct fli_py_thread *thread, size_t size)
{
    void *block = thread != NULL && thread->heap != NULL ? take_or_pass_by(thread, fl_size_class(size)) : NULL;
    fli_py_pace_look();
    return told(block, size);
}

void *fli_py_heap_alloc_pressed(struct fli_py_thread *thread, size_t size)
{
    unsigned class_index = fl_size_class(size);
    void *block = fl_type_alloc(thread->heap, &blocks[class_index]);
    thread->passed_by[class_index] = block == NULL ? PASS_BY : 0;
    return told(block, size);
}

static void free_without_thread(void *block)
{
    fl_heap_free(fli_py_heap_get(), block);
    fli_py_threads_note_use();
}

void fli_py_heap_free(struct fli_py_thread *thread, void *block)
{
    if (!fli_py_threads_caching())
        (void)PyTraceMalloc_Untrack(0, (uintptr_t)block);
    fl_py_disown(block);
    if (thread != NULL && thread->heap != NULL)
        fl_type_free(thread->heap, block, &blocks[fl_size_class(fl_usable_size(fli_py_heap_get(), block))]);
    else
        free_without_thread(block);
    fli_py_pace_look();
}

/* ---- What the heap holds. */

void fli_py_heap_trim(size_t retain)
{
    struct fl_heap *heap = fli_py_heap_get();
    if (heap != NULL)
        (void)fl_heap_trim(heap, retain);
}

void fli_py_heap_drain(void)
{
    struct fl_heap *heap = fli_py_heap_get();
    if (heap == NULL)
        return;
    (void)fli_retired_drain(heap);
    fli_stray_tell(&heap->backing.slabs, heap, "fl_heap_trim");
}

void fli_py_heap_flush_stw(size_t retain)
{
    struct fl_heap *heap = fli_py_heap_get();
    if (heap == NULL)
        return;
    fl_heap_flush_stopped(heap);
    (void)fli_trim(heap, retain);
}

void fli_py_heap_keep_warm(size_t bytes)
{
    struct fl_heap *heap = fli_py_heap_get();
    if (heap != NULL)
        (void)fli_retired_keep_warm(heap, bytes);
}

uint64_t fli_py_heap_begun(void)
{
    struct fl_heap *heap = fli_py_heap_get();
    return heap != NULL ? fli_load_hint(&heap->backing.slabs.begun) * FLI_SLAB_BYTES : 0;
}

size_t fli_py_heap_free_slabs(void)
{
    struct fl_heap *heap = fli_py_heap_get();
    return heap != NULL ? fli_trim_free_slab_bytes(&heap->backing) : 0;
}

struct fli_py_holdings fli_py_heap_holdings(void)
{
    struct fl_heap *heap = fli_py_heap_get();
    if (heap == NULL)
        return (struct fli_py_holdings){0};
    struct fli_backing *backing = &heap->backing;
    size_t in_classes = 0, retired = fli_load_hint(&backing->slabs.retired) * (size_t)FLI_SLAB_BYTES;
    FLI_FOR_USED_CLASSES (c, &backing->slabs)
        in_classes += fli_load_hint(&backing->slabs.by_class[c].slabs) * (size_t)FLI_SLAB_BYTES;
    size_t held = fli_trim_held_bytes(backing);
    return (struct fli_py_holdings){.live = in_classes - fli_min(held, in_classes), .free = held + retired};
}

static void count_heap(struct fl_py_stats *stats, struct fl_heap *heap)
{
    struct fl_stats counted;
    fl_heap_stats(heap, &counted);
    stats->live_bytes = counted.live_bytes;
    stats->free_bytes = counted.cached_bytes + counted.pooled_bytes + counted.parked_bytes + counted.lost_bytes;
    stats->slab_bytes = counted.slab_bytes;
}

void fl_py_get_stats(struct fl_py_stats *stats)
{
    *stats = (struct fl_py_stats){0};
    fli_py_threads_count(stats);
    fli_py_stop_count(stats);
    fli_py_later_count(stats);
    fli_py_buffers_count(stats);
    stats->collections = (uint64_t)fli_load_relaxed(&fli_py_collections); /* relaxed: a number by itself */
    struct fl_heap *heap = fli_py_heap_get();
    if (heap != NULL)
        count_heap(stats, heap);
}

#endif
