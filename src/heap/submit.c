/* SPDX-License-Identifier: MIT */
#include "heap/submit.h"
#include "base/watch.h"
#include "heap/registry.h"
#include "pool/unsubmitted.h"

#include <errno.h>

bool fli_submit_owner(struct fli_thread *thread)
{
    return fli_unsubmitted_submit_classes_owner(&thread->heap->deferred, thread->deferred, &thread->deferring,
                                                &thread->owner);
}

static void call_on_deferred(void *argument)
{
    struct fl_heap *heap = argument;
    const struct fl_options *options = &heap->options;
    fli_watch_pass(NULL, 0);
    options->on_deferred(heap, fli_load_hint(&heap->deferred.bytes), options->context);
}

void fli_submit_tell_pressure(struct fl_heap *heap)
{
    static __thread struct fli_callback telling;
    int saved = errno;
    if (heap->options.on_deferred != NULL)
        fli_callback_call(&telling, "on_deferred", heap, call_on_deferred, heap);
    errno = saved;
}

void fli_submit(struct fli_thread *thread)
{
    if (FLI_LIKELY(!fli_submit_owner(thread)))
        return;
    fli_submit_tell_pressure(thread->heap);
    fli_submit_owner(thread); /* blocks that the host has deferred in its callback */
}

static bool submit_bound(struct fl_heap *heap)
{
    bool raised = false;
    fli_registry_lock();
    for (struct fli_thread *thread = fli_os_thread_first_locked(); thread != NULL; thread = thread->in_os_thread.next)
        if (thread->heap == heap)
            raised |= fli_submit_owner(thread);
    fli_registry_unlock();
    return raised;
}

void fli_submit_ours(struct fl_heap *heap)
{
    if (!submit_bound(heap))
        return;
    fli_submit_tell_pressure(heap);
    submit_bound(heap); /* blocks that the host has deferred in its callback */
}
