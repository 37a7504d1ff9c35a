/* SPDX-License-Identifier: MIT */
#include "api/pressure.h"
#include "base/callback.h"
#include "base/watch.h"
#include "heap/heap.h"

/* What on_pressure is called with, and its answer. */
struct plea {
    struct fl_heap *heap;
    size_t size;
    bool relieved;
};

static void call_on_pressure(void *argument)
{
    struct plea *plea = argument;
    const struct fl_options *options = &plea->heap->options;
    fli_watch_pass(NULL, 0);
    plea->relieved = options->on_pressure(plea->heap, plea->size, options->context);
}

FLI_COLD bool fli_pressure_relieve(struct fl_heap *heap, size_t size)
{
    static __thread struct fli_callback asking;
    const struct fl_options *options = &heap->options;
    bool could_fit = options->limit_bytes != SIZE_MAX && size <= options->limit_bytes;
    if (options->on_pressure == NULL || !could_fit)
        return false;
    struct plea plea = {.heap = heap, .size = size};
    return fli_callback_call(&asking, "on_pressure", heap, call_on_pressure, &plea) && plea.relieved;
}
