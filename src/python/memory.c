/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/memory.h"

#include "api/alloc.h"
#include "heap/trace.h"
#include "python/heap.h"
#include "python/maker.h"
#include "python/thread.h"
#include "python/threads.h"

#include <string.h>

struct fl_py_slabs fl_py_memory_slabs;

static struct fli_py_maker maker = {.slabs = &fl_py_memory_slabs};

static struct fl_heap *get(void)
{
    return fli_py_maker_get(&maker);
}

struct fl_heap *fl_py_memory_heap(void)
{
    return get();
}

/* ---- The calling thread. */

/* Its record, with a handle; NULL if it has no handle in the heap of objects, or none can be had here. */
static struct fli_py_thread *enter(void)
{
    struct fli_py_thread *thread = fli_py_thread_own();
    if (thread == NULL || thread->heap == NULL)
        return NULL;
    if (FLI_LIKELY(thread->memory != NULL))
        return thread;
    struct fl_heap *made = fli_py_maker_make(&maker, &fli_py_heap_options);
    struct fl_thread *memory = made != NULL ? fl_thread_attach(made) : NULL;
    if (memory != NULL)
        fli_py_threads_add_memory(thread, memory);
    return memory != NULL ? thread : NULL;
}

/* A thread that was recalled has used the heap all the same. */
static void note_use(const struct fli_py_thread *thread)
{
    if (thread == NULL || fl_py_heap_at(thread->current) != thread->heap)
        fli_py_threads_note_use();
}

/* ---- Allocation. */

static void *take(struct fl_thread *memory, size_t size)
{
    if (FLI_UNLIKELY(fli_trace_is_on(get())))
        return fl_alloc(memory, size);
    return fli_alloc_quickly(memory, fl_size_class(size), NULL);
}

static void *take_or_pass_by(struct fli_py_thread *thread, size_t size)
{
    uint8_t *passed_by = &thread->passed_by_memory[fl_size_class(size)];
    return fli_py_passes_by(passed_by) ? NULL : fli_py_passed(passed_by, take(thread->memory, size));
}

/* A block of the heap; NULL where that does not serve. */
static void *alloc_here(size_t size)
{
    bool serves = fl_size_class(size) != 0 && fli_py_is_main() && fli_py_threads_use_heap();
    struct fli_py_thread *thread = serves ? enter() : NULL;
    if (thread == NULL)
        return NULL;
    note_use(thread);
    return take_or_pass_by(thread, size);
}

void *fl_py_memory_alloc_slow(size_t size)
{
    void *memory = alloc_here(size);
    if (memory == NULL)
        memory = PyMem_Malloc(size);
    return FLI_LIKELY(memory != NULL) ? memory : PyErr_NoMemory();
}

/* ---- Freeing. */

static void free_here(void *memory, size_t size)
{
    const struct fli_py_thread *thread = enter();
    note_use(thread);
    if (FLI_LIKELY(thread != NULL))
        fl_free_sized(thread->memory, memory, size);
    else
        fl_heap_free(get(), memory);
}

void fl_py_memory_free_slow(void *memory, size_t size)
{
    if (fl_py_is_in(&fl_py_memory_slabs, memory))
        free_here(memory, size);
    else
        PyMem_Free(memory);
}

/* ---- Another size. */

static void *move(void *memory, size_t old_size, size_t size)
{
    void *moved = fl_py_memory_alloc(size);
    if (moved == NULL)
        return NULL;
    memcpy(moved, memory, fli_min(old_size, size));
    fl_py_memory_free(memory, old_size);
    return moved;
}

static void *realloc_elsewhere(void *memory, size_t size)
{
    void *moved = PyMem_Realloc(memory, size);
    return moved != NULL ? moved : PyErr_NoMemory();
}

void *fl_py_memory_realloc(void *memory, size_t old_size, size_t size)
{
    if (memory == NULL)
        return fl_py_memory_alloc(size);
    if (!fl_py_is_in(&fl_py_memory_slabs, memory))
        return realloc_elsewhere(memory, size);
    return fl_size_class(size) == fl_size_class(old_size) ? memory : move(memory, old_size, size);
}

/* ---- What the heap holds. */

void fli_py_memory_flush_stw(void)
{
    struct fl_heap *heap = get();
    if (heap != NULL)
        fl_heap_flush_stopped(heap);
}

void fli_py_memory_trim(size_t retain)
{
    struct fl_heap *heap = get();
    if (heap != NULL)
        (void)fl_heap_trim(heap, retain);
}

void fli_py_memory_fork_stopped(void)
{
    struct fl_heap *heap = get();
    if (heap != NULL)
        fl_heap_fork_stopped(heap);
}

static void count_heap(struct fl_py_stats *stats, struct fl_heap *heap)
{
    struct fl_stats counted;
    fl_heap_stats(heap, &counted);
    stats->memory_live_bytes = counted.live_bytes;
    stats->memory_slab_bytes = counted.slab_bytes;
}

void fli_py_memory_count(struct fl_py_stats *stats)
{
    struct fl_heap *heap = get();
    if (heap != NULL)
        count_heap(stats, heap);
}

#endif
