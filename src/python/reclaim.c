/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/reclaim.h"

#include "python/buffer.h"
#include "python/drawer.h"
#include "python/heap.h"
#include "python/stop.h"
#include "python/threads.h"

struct reclaim {
    struct fli_py_haul haul;
    size_t retain;
    struct fli_py_buffer *buffers;
};

static void reclaim_stw(void *argument)
{
    struct reclaim *reclaim = argument;
    fli_py_threads_haul_stw(&reclaim->haul);
    reclaim->buffers = fli_py_buffers_take_stw();
    fli_py_stop_announce(true);
    fli_py_heap_flush_stw(reclaim->retain);
    fli_py_stop_announce(false);
    fli_py_stop_passed();
}

void fli_py_reclaim(size_t retain, size_t warm)
{
    struct reclaim reclaim = {.retain = retain};
    fli_py_threads_prepare_haul(&reclaim.haul);
    (void)fli_py_stop_world(reclaim_stw, &reclaim);
    fli_py_haul_give_back(&reclaim.haul);
    fli_py_buffers_free(reclaim.buffers);
    fli_py_heap_keep_warm(warm);
    fli_py_heap_trim(SIZE_MAX);
}

#endif
