/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/buffer.h"

#include "python/heap.h"
#include "python/pace.h"
#include "python/stop.h"

#include <stddef.h>
#include <stdlib.h>

/* Bytes that may wait until a stop is asked for. */
#define BOUND (FLI_RARE_PATHS ? FLI_MIB : 16 * FLI_MIB)

struct fli_py_buffer {
    struct fli_py_buffer *next; /* once it is retired */
    size_t bytes;               /* with this header */
    long double content[];      /* of the largest alignment, which C99 has no other name for */
};

static FLI_ATOMIC(struct fli_py_buffer *) retired;
static FLI_ATOMIC(size_t) waiting; /* bytes */

/* Of the collection under way. */
static struct fli_py_buffer *closing;

static struct fli_py_buffer *buffer_of(void *content)
{
    return (struct fli_py_buffer *)(void *)((char *)content - offsetof(struct fli_py_buffer, content));
}

/* ---- For the extension. */

void *fl_py_buffer_alloc(size_t size)
{
    if (PyInterpreterState_Get() != PyInterpreterState_Main() || !fli_py_heap_is_ready()) {
        PyErr_SetString(
            PyExc_RuntimeError,
            "freelane: fl_py_buffer_alloc comes before the first fl_py_type_ready, or in a subinterpreter");
        return NULL;
    }
    size_t bytes = offsetof(struct fli_py_buffer, content) + size;
    struct fli_py_buffer *buffer = bytes > size ? calloc(1, bytes) : NULL;
    if (buffer == NULL)
        return PyErr_NoMemory();
    buffer->bytes = bytes;
    return buffer->content;
}

void fl_py_buffer_free(void *content)
{
    if (content != NULL)
        free(buffer_of(content));
}

static void retire(struct fli_py_buffer *buffer)
{
    fli_add_count(&waiting, buffer->bytes);
    buffer->next = fli_load_hint(&retired);
    /* V1: release, pairs with V2 in take: the link. Failure: relaxed, the list is only compared with. */
    while (!fli_cas_weak(&retired, &buffer->next, buffer, memory_order_release, memory_order_relaxed))
        ;
}

void fl_py_buffer_free_deferred(void *content)
{
    if (!FLI_PY_FREE_THREADED || content == NULL) {
        fl_py_buffer_free(content);
        return;
    }
    retire(buffer_of(content));
    if (fli_py_buffers_are_due())
        fli_py_pace_ask();
}

/* ---- Stops. */

bool fli_py_buffers_are_due(void)
{
    return fli_load_hint(&waiting) > BOUND;
}

bool fli_py_buffers_wait(void)
{
    return fli_load_hint(&retired) != NULL;
}

static struct fli_py_buffer *take(void)
{
    /* V2: acquire, pairs with V1 in retire. */
    return fli_exchange(&retired, NULL, memory_order_acquire);
}

struct fli_py_buffer *fli_py_buffers_take_stw(void)
{
    return take();
}

void fli_py_buffers_free(struct fli_py_buffer *buffers)
{
    for (struct fli_py_buffer *next; buffers != NULL; buffers = next) {
        next = buffers->next;
        fli_sub_count(&waiting, buffers->bytes);
        free(buffers);
    }
}

/* A collection that did not come to its end has left its own: the next one waits for both. */
void fli_py_buffers_start(void)
{
    struct fli_py_buffer **end = &closing;
    while (*end != NULL)
        end = &(*end)->next;
    *end = take();
}

void fli_py_buffers_stop(void)
{
    struct fli_py_buffer *closed = closing;
    closing = NULL;
    fli_py_buffers_free(closed);
}

static void take_stw(void *taken)
{
    *(struct fli_py_buffer **)taken = fli_py_buffers_take_stw();
}

void fli_py_buffers_reclaim(void)
{
    struct fli_py_buffer *taken = NULL;
    (void)fli_py_stop_world(take_stw, &taken);
    fli_py_buffers_free(taken);
}

void fli_py_buffers_forked(void)
{
    fli_py_buffers_free(take());
}

void fli_py_buffers_count(struct fl_py_stats *stats)
{
    stats->retired_bytes = fli_load_hint(&waiting);
}

#endif
