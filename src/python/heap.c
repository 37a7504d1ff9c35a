/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/heap.h"

#include "api/alloc.h"
#include "base/os.h"
#include "base/pin.h"
#include "heap/fork.h"
#include "heap/trace.h"
#include "heap/trim.h"
#include "memory/stray.h"
#include "python/buffer.h"
#include "python/collect.h"
#include "python/later.h"
#include "python/maker.h"
#include "python/memory.h"
#include "python/options.h"
#include "python/pace.h"
#include "python/runtime.h"
#include "python/stop.h"
#include "python/thread.h"
#include "python/threads.h"

struct fl_py_options fli_py_heap_options;
struct fl_py_slabs fl_py_slabs;
static bool is_ready;
static struct fl_type blocks[FL_CLASS_COUNT];

/* The library clears none of its words: the interpreter and fl_py_disown have done so when an object dies. */
static const struct fl_header object_header = {.bytes = sizeof(PyObject)};

/* The header that stale readers look at; with the GIL there are no such readers. */
#define STALE_HEADER (FLI_PY_FREE_THREADED ? &object_header : NULL)

/* Makes a type for every size class that an object fits in, once. Returns 0 or a negative errno value. */
static int make_blocks(void)
{
    static unsigned next;
    for (next = next > 0 ? next : (unsigned)fl_size_class(sizeof(PyObject)); next < FL_CLASS_COUNT; next++) {
        blocks[next].size = fli_class_bytes(next);
        blocks[next].name = "Python object";
        blocks[next].kind = FL_DEALLOC_PLAIN;
        blocks[next].header = STALE_HEADER;
        int failed = fl_type_ready(&blocks[next], NULL, NULL, 0);
        if (failed != 0)
            return failed;
    }
    return 0;
}

static struct fli_py_maker maker = {.prepare = make_blocks, .header = STALE_HEADER, .slabs = &fl_py_slabs};

struct fl_heap *fli_py_heap_get(void)
{
    return fli_py_maker_get(&maker);
}

struct fl_heap *fli_py_heap_make(void)
{
    return is_ready ? fli_py_maker_make(&maker, &fli_py_heap_options) : NULL;
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
    return fli_alloc_quickly(heap, class_index, STALE_HEADER);
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
    bool has_heap = thread != NULL && thread->heap != NULL;
    unsigned class_index = fl_size_class(size);
    void *block = NULL;
    if (has_heap && !fli_py_passes_by(&thread->passed_by[class_index]))
        block = fli_py_passed(&thread->passed_by[class_index], take(thread->heap, class_index));
    fli_py_pace_look();
    return told(block, size);
}

void *fli_py_heap_alloc_pressed(struct fli_py_thread *thread, size_t size)
{
    unsigned class_index = fl_size_class(size);
    void *block = fl_type_alloc(thread->heap, &blocks[class_index]);
    return told(fli_py_passed(&thread->passed_by[class_index], block), size);
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
    fli_py_memory_count(stats);
    stats->fallback_types = fli_py_runtime_beyond();
    stats->collections = (uint64_t)fli_load_relaxed(&fli_py_collections); /* relaxed: a number by itself */
    struct fl_heap *heap = fli_py_heap_get();
    if (heap != NULL)
        count_heap(stats, heap);
}

#endif
