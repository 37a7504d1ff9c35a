/* SPDX-License-Identifier: MIT */
#include "python/heap.h"

#include "heap/heap.h"
#include "heap/trim.h"
#include "python/collect.h"
#include "python/pace.h"
#include "python/stop.h"
#include "python/thread.h"
#include "python/threads.h"

/* Free bytes that a heap without stale readers retains. */
#define RETAIN_BYTES (32 * FLI_MIB)

struct fl_heap *fli_py_heap;
struct fl_py_slabs fl_py_slabs;
static struct fl_type blocks[FL_CLASS_COUNT];

/* The library clears none of its words: the interpreter and fl_py_disown have done so when an object dies. */
static const struct fl_header object_header = {.bytes = sizeof(PyObject)};

/* The header that stale readers look at; with the GIL there are no such readers. */
static const struct fl_header *stale_header(void)
{
    return FLI_PY_FREE_THREADED ? &object_header : NULL;
}

/* Makes a type for every size class that an object fits in. Returns 0 or a negative errno value. */
static int make_blocks(char *error, size_t error_size)
{
    /* The last size to come to a class is the size of its blocks. */
    for (size_t size = 16; size <= FL_BLOCK_MAX; size += 16)
        blocks[fl_size_class(size)].size = size;
    for (size_t c = fl_size_class(sizeof(PyObject)); c < FL_CLASS_COUNT; c++) {
        blocks[c].name = "Python object";
        blocks[c].kind = FL_DEALLOC_PLAIN;
        blocks[c].header = stale_header();
        int failed = fl_type_ready(&blocks[c], NULL, error, error_size);
        if (failed != 0)
            return failed;
    }
    return 0;
}

/* With stale readers, slabs can be retired at stops only, so the heap retains everything between these (pace.h). */
static struct fl_heap *create_heap(char *error, size_t error_size)
{
    struct fl_options options = {.retain_bytes = RETAIN_BYTES, .header = stale_header()};
    if (options.header != NULL) {
        options.retain_bytes = SIZE_MAX;
        options.grace = FL_GRACE_HOST;
        options.grace_host = &fli_py_stop_grace;
    }
    return fl_heap_create(&options, error, error_size);
}

int fli_py_heap_ready(void)
{
    char error[256] = "no memory";
    if (fli_py_heap != NULL)
        return 0;
    if (make_blocks(error, sizeof error) != 0)
        goto failed;
    fli_py_heap = create_heap(error, sizeof error);
    if (fli_py_heap == NULL)
        goto failed;
    const struct fli_range *range = &fli_py_heap->backing.slabs.ranges.at[0];
    fl_py_slabs = (struct fl_py_slabs){.base = (uintptr_t)range->base, .bytes = range->span};
    return 0;
failed:
    PyErr_Format(PyExc_MemoryError, "freelane: %s", error);
    return -1;
}

struct fl_heap *fl_py_heap(void)
{
    return fli_py_heap;
}

/* ---- Blocks. */

/* The thread's handle, or one for this call alone where there is no thread. NULL if memory is refused. */
static struct fl_thread *borrow(struct fli_py_thread *thread)
{
    return thread != NULL ? thread->heap : fl_thread_attach(fli_py_heap);
}

static void give_back(struct fli_py_thread *thread, struct fl_thread *borrowed)
{
    if (thread == NULL)
        fl_thread_detach(borrowed);
}

bool fli_py_heap_owns(const void *block)
{
    return fli_py_heap != NULL && fli_slab_class_of(&fli_py_heap->backing.slabs, block) != 0;
}

void *fli_py_heap_alloc(struct fli_py_thread *thread, size_t size)
{
    struct fl_thread *heap = borrow(thread);
    if (heap == NULL)
        return NULL;
    void *block = fl_type_alloc(heap, &blocks[fl_size_class(size)]);
    give_back(thread, heap);
    fli_py_pace_look();
    if (block != NULL && !fli_py_threads_caching())
        (void)PyTraceMalloc_Track(0, (uintptr_t)block, size);
    return block;
}

void fli_py_heap_free(struct fli_py_thread *thread, void *block)
{
    if (!fli_py_threads_caching())
        (void)PyTraceMalloc_Untrack(0, (uintptr_t)block);
    fl_py_disown(block);
    struct fl_thread *heap = borrow(thread);
    if (heap == NULL) {
        fl_heap_free(fli_py_heap, block);
        return;
    }
    fl_type_free(heap, block, &blocks[fl_size_class(fl_usable_size(fli_py_heap, block))]);
    give_back(thread, heap);
    fli_py_pace_look();
}

/* ---- What the heap holds. */

void fli_py_heap_trim(bool flush, size_t retain)
{
    struct fli_py_thread *thread = fli_py_thread_own();
    if (flush && thread != NULL)
        fl_thread_flush(thread->heap);
    (void)fl_heap_trim(fli_py_heap, retain);
}

void fli_py_heap_flush_stw(size_t retain)
{
    fl_heap_flush_stopped(fli_py_heap);
    (void)fli_trim(fli_py_heap, retain);
}

void fli_py_heap_keep_warm(size_t bytes)
{
    (void)fli_retired_keep_warm(fli_py_heap, bytes);
}

uint64_t fli_py_heap_begun(void)
{
    return fli_load_hint(&fli_py_heap->backing.slabs.begun) * FLI_SLAB_BYTES;
}

struct fli_py_holdings fli_py_heap_holdings(void)
{
    struct fli_backing *backing = &fli_py_heap->backing;
    size_t in_classes = 0, retired = fli_load_hint(&backing->slabs.retired) * (size_t)FLI_SLAB_BYTES;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++)
        in_classes += fli_load_hint(&backing->slabs.by_class[c].slabs) * (size_t)FLI_SLAB_BYTES;
    size_t held = fli_trim_held_bytes(backing);
    return (struct fli_py_holdings){.live = in_classes - fli_min(held, in_classes), .free = held + retired};
}

static void count_heap(struct fl_py_stats *stats)
{
    struct fl_stats heap;
    fl_heap_stats(fli_py_heap, &heap);
    stats->live_bytes = heap.live_bytes;
    stats->free_bytes = heap.cached_bytes + heap.pooled_bytes + heap.parked_bytes + heap.lost_bytes;
    stats->slab_bytes = heap.slab_bytes;
}

void fl_py_get_stats(struct fl_py_stats *stats)
{
    *stats = (struct fl_py_stats){0};
    fli_py_threads_count(stats);
    fli_py_stop_count(stats);
    stats->collections = (uint64_t)fli_load_relaxed(&fli_py_collections); /* relaxed: a number by itself */
    if (fli_py_heap != NULL)
        count_heap(stats);
}
