/* SPDX-License-Identifier: MIT
 *
 * The heap of objects without gc, and statistics. One heap for the main interpreter, never destroyed: objects may outlive
 * the interpreter.
 *
 * Blocks are typed by their size class alone, since the heap has to know no more: what an object needs when it is
 * deallocated is settled in python.h before its block comes here.
 */
#include "interpreter.h"

#include <errno.h>

struct fl_heap *fli_py_heap;
struct fl_type fl_py_blocks[FL_CLASS_COUNT];

/* Makes a type for every size class. Returns 0 or a negative errno value. */
static int make_blocks(char *error, size_t error_size)
{
    /* The last size to come to a class is its own. */
    for (size_t size = 16; size <= FL_BLOCK_MAX; size += 16)
        fl_py_blocks[fl_size_class(size)].size = size;
    for (size_t c = 1; c < FL_CLASS_COUNT; c++) {
        fl_py_blocks[c].name = "Python object";
        fl_py_blocks[c].kind = FL_DEALLOC_PLAIN;
        int failed = fl_type_ready(&fl_py_blocks[c], NULL, error, error_size);
        if (failed != 0)
            return failed;
    }
    return 0;
}

static struct fl_heap *create_heap(char *error, size_t error_size)
{
    struct fl_options options = {.retain_bytes = SIZE_MAX};
    return fl_heap_create(&options, error, error_size);
}

int fli_py_heap_ready(void)
{
    char error[256] = "no memory";
    if (fli_py_heap != NULL)
        return 0;
    if (fli_py_threads_ready() != 0 || make_blocks(error, sizeof error) != 0)
        goto failed;
    fli_py_heap = create_heap(error, sizeof error);
    if (fli_py_heap == NULL)
        goto failed;
    return 0;
failed:
    PyErr_Format(PyExc_MemoryError, "freelane: %s", error);
    return -1;
}

struct fl_heap *fl_py_heap(void)
{
    return fli_py_heap;
}

/* ---- Blocks, for whatever thread. */

/* The calling thread's attachment, or one for this call alone where the thread is about to end. */
static struct fl_thread *borrow(void)
{
    struct fli_py_thread *thread = fli_py_thread_enter();
    return thread != NULL ? thread->heap : fl_thread_attach(fli_py_heap);
}

static void give_back(struct fl_thread *borrowed)
{
    struct fli_py_thread *thread = fli_py_thread_update();
    if (thread == NULL || thread->heap != borrowed)
        fl_thread_detach(borrowed);
}

void *fli_py_heap_alloc(size_t size)
{
    struct fl_thread *thread = borrow();
    if (thread == NULL)
        return NULL;
    void *block = fl_type_alloc(thread, &fl_py_blocks[fl_size_class(size)]);
    give_back(thread);
    if (block != NULL && !fli_py_threads_caching())
        (void)PyTraceMalloc_Track(0, (uintptr_t)block, size);
    return block;
}

void fli_py_heap_free(void *block)
{
    if (!fli_py_threads_caching())
        (void)PyTraceMalloc_Untrack(0, (uintptr_t)block);
    fl_py_disown(block);
    struct fl_thread *thread = borrow();
    if (thread == NULL) {
        fl_heap_free(fli_py_heap, block);
        return;
    }
    fl_type_free(thread, block, &fl_py_blocks[fl_size_class(fl_usable_size(fli_py_heap, block))]);
    give_back(thread);
}

/* ---- What is held. */

void fl_py_trim(void)
{
    fli_py_threads_renew();
    fli_py_threads_empty_ended();
    struct fli_py_thread *thread = fli_py_thread_update();
    if (thread != NULL)
        fl_thread_flush(thread->heap);
    if (fli_py_heap != NULL)
        (void)fl_heap_trim(fli_py_heap, 0);
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
    stats->collections = (uint64_t)fli_load_relaxed(&fli_py_collections); /* relaxed: a number by itself */
    if (fli_py_heap != NULL)
        count_heap(stats);
}
