/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/reclaim.h"

#include "python/buffer.h"
#include "python/heap.h"
#include "python/memory.h"
#include "python/stop.h"
#include "python/threads.h"

void fli_py_reclaim_prepare(struct fli_py_reclaim *reclaim, size_t retain)
{
    *reclaim = (struct fli_py_reclaim){.retain = retain};
    fli_py_threads_prepare_haul(&reclaim->haul);
}

void fli_py_reclaim_stw(struct fli_py_reclaim *reclaim)
{
    fli_py_threads_haul_stw(&reclaim->haul);
    reclaim->buffers = fli_py_buffers_take_stw();
    fli_py_stop_announce(true);
    fli_py_heap_flush_stw(reclaim->retain);
    fli_py_memory_flush_stw();
    fli_py_stop_announce(false);
    fli_py_stop_passed();
    reclaim->took_all = reclaim->haul.count < reclaim->haul.room;
}

void fli_py_reclaim_finish(struct fli_py_reclaim *reclaim, size_t warm)
{
    fli_py_haul_give_back(&reclaim->haul);
    fli_py_buffers_free(reclaim->buffers);
    fli_py_heap_keep_warm(warm);
    fli_py_heap_drain();
    fli_py_memory_trim(fli_max(reclaim->retain, warm));
}

static void work_stw(void *reclaim)
{
    fli_py_reclaim_stw(reclaim);
}

void fli_py_reclaim(size_t retain, size_t warm)
{
    struct fli_py_reclaim reclaim;
    fli_py_reclaim_prepare(&reclaim, retain);
    (void)fli_py_stop_world(work_stw, &reclaim);
    fli_py_reclaim_finish(&reclaim, warm);
}

#endif
