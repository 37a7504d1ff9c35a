/* SPDX-License-Identifier: MIT */
#include "heap/service.h"

#include <errno.h>
#include <stdlib.h>

int fli_service_create(struct fl_heap *heap)
{
    fli_mutex_init(&heap->service_lock, FLI_RANK_SERVICE);
    heap->service = fli_thread_create(heap);
    return heap->service != NULL ? 0 : -ENOMEM;
}

void fli_service_destroy(struct fl_heap *heap)
{
    if (heap->service != NULL)
        fli_thread_destroy(heap->service);
    fli_mutex_close(&heap->service_lock);
}

struct fli_thread *fli_service_enter(struct fl_heap *heap)
{
    fli_lock(&heap->service_lock);
    return heap->service;
}

void fli_service_leave(struct fli_thread *thread)
{
    if (thread == thread->heap->service)
        fli_unlock(&thread->heap->service_lock);
}

void fli_service_flush(struct fl_heap *heap, const struct fli_thread *caller)
{
    if (caller == heap->service || !fli_trylock(&heap->service_lock))
        return;
    fli_thread_flush_owner(heap->service);
    fli_unlock(&heap->service_lock);
}
