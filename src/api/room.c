/* SPDX-License-Identifier: MIT */
#include "api/room.h"
#include "heap/service.h"
#include "heap/submit.h"
#include "heap/trim.h"

/* Sends home what this thread and the service thread cache, or have deferred. Other threads keep what they cache. */
static void send_home(struct fli_thread *thread)
{
    if (thread != thread->heap->service) {
        fli_submit(thread);
        fli_bound_await_deferred(thread->heap);
    }
    fli_thread_flush_owner(thread);
    fli_service_flush(thread->heap, thread);
}

/* Makes all slabs idle that are all free. */
static void trim(struct fli_thread *thread)
{
    if (thread != thread->heap->service) /* whose lock comes after the registry's */
        fli_thread_flush_unused(thread->heap, false);
    fli_trim(thread->heap, 0);
}

void fli_room_gather(struct fli_thread *thread, unsigned class_index)
{
    send_home(thread);
    fli_retired_take_back(thread->heap, class_index, thread->owner.home);
}

void fli_room_convert(struct fli_thread *thread, unsigned class_index)
{
    trim(thread);
    /* Another trim may have had blocks of the class in hand. */
    fli_retired_take_back(thread->heap, class_index, thread->owner.home);
}

void fli_room_make_for_large(struct fli_thread *thread)
{
    send_home(thread);
    trim(thread);
}
