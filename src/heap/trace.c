/* SPDX-License-Identifier: MIT */
#include "heap/trace.h"
#include "base/check.h"
#include "base/watch.h"
#include "heap/profile.h"
#include "heap/registry.h"

#include <errno.h>
#include <time.h>

enum { LOOK_NS = 1000000 }; /* between two looks whether all threads have acknowledged */

/* ---- Diverting a thread. */

static void move_cache(struct fl_cache *to, struct fl_cache *from)
{
    *to = *from;
    *from = (struct fl_cache){NULL, NULL};
}

/* Moves all caches, and magazines of deferred blocks, to another place of the thread. */
static void move(struct fli_thread *thread, struct fl_cache *caches, void ***deferred)
{
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        move_cache(&caches[c], &thread->caches[c]);
        deferred[c] = thread->deferred[c];
        thread->deferred[c] = NULL;
    }
    thread->caches = caches;
    thread->deferred = deferred;
}

void fli_trace_settle_locked(struct fli_thread *thread)
{
    fli_registry_assert_held();
    bool traced = fli_trace_diverts(thread->heap);
    if (traced != thread->diverted && !FLI_CHECKED)
        move(thread, fli_thread_place(thread, traced), fli_thread_deferred_place(thread, traced));
    thread->diverted = traced;
    fli_store_hint(&thread->is_quick, !traced);
}

void fli_trace_attend(struct fli_thread *thread)
{
    if (thread->diverted && fli_trace_diverts(thread->heap))
        return;
    fli_registry_lock();
    fli_trace_settle_locked(thread);
    fli_registry_unlock();
}

/* ---- Start and stop. */

static bool put_on_locked(struct fl_heap *heap, const struct fl_trace *trace)
{
    if (fli_trace_of(heap) != NULL)
        return false;
    /* T1: release, pairs with T2 in fli_trace_of. */
    fli_store_release(&heap->trace, trace);
    for (struct fli_thread *thread = heap->threads; thread != NULL; thread = thread->in_heap.next) {
        fli_store_hint(&thread->is_quick, false);
        fli_thread_alert(thread);
    }
    return true;
}

static bool put_on(struct fl_heap *heap, const struct fl_trace *trace)
{
    fli_registry_lock();
    bool done = put_on_locked(heap, trace);
    fli_registry_unlock();
    return done;
}

/* Whether the caller may divert a thread: it is its own, nobody uses it, or the world is stopped. */
static bool may_settle_locked(const struct fli_thread *thread)
{
    return fli_os_thread_is_ours_locked(thread) || (thread->offline && thread->detacher == NULL) ||
           thread->heap->world_stopped || fli_load_hint(&thread->heap->walk) != NULL;
}

/* Diverts the threads that it may. Returns whether all are diverted. */
static bool settle_all(struct fl_heap *heap)
{
    bool all = true;
    fli_registry_lock();
    for (struct fli_thread *thread = heap->threads; thread != NULL; thread = thread->in_heap.next) {
        if (!thread->diverted && may_settle_locked(thread))
            fli_trace_settle_locked(thread);
        all = all && thread->diverted;
    }
    fli_registry_unlock();
    return all;
}

/* Whether a trace is that of the heap's profile. */
static bool is_of_profile(const struct fl_trace *trace)
{
    return trace->callback == fli_profile_see;
}

void fli_trace_end(struct fl_heap *heap, bool of_profile)
{
    fli_registry_lock();
    const struct fl_trace *trace = fli_trace_of(heap);
    if (trace != NULL && is_of_profile(trace) == of_profile)
        fli_store_own(&heap->trace, NULL);
    fli_registry_unlock();
}

/* Waits until all threads are diverted, at most until the deadline. */
static bool wait_for_all(struct fl_heap *heap, uint64_t deadline)
{
    const struct timespec between = {.tv_sec = 0, .tv_nsec = LOOK_NS};
    int state = fli_cancel_off();
    bool all = settle_all(heap);
    while (!all && fli_grace_now() < deadline) {
        nanosleep(&between, NULL);
        all = settle_all(heap);
    }
    fli_cancel_restore(state);
    return all;
}

int fli_trace_begin(struct fl_heap *heap, const struct fl_trace *trace, unsigned timeout_ms)
{
    uint64_t deadline = fli_grace_now() + (uint64_t)timeout_ms * 1000000;
    if (!put_on(heap, trace))
        return -EBUSY;
    if (wait_for_all(heap, deadline))
        return 0;
    fli_trace_end(heap, is_of_profile(trace));
    return -ETIMEDOUT;
}

int fl_trace_start(struct fl_heap *heap, const struct fl_trace *trace, unsigned timeout_ms)
{
    if (trace == NULL || trace->callback == NULL) {
        fli_misuse("fl_trace_start", heap, NULL, "was given a trace without a callback");
        return -EINVAL;
    }
    return fli_trace_begin(heap, trace, timeout_ms);
}

void fl_trace_stop(struct fl_heap *heap)
{
    fli_trace_end(heap, false);
}

/* ---- Telling. */

struct telling {
    struct fl_heap *heap;
    const struct fl_trace *trace;
    struct fl_trace_event event;
};

static void call_host(void *argument)
{
    const struct telling *telling = (const struct telling *)argument;
    fli_watch_pass(&telling->event, sizeof telling->event);
    telling->trace->callback(telling->heap, &telling->event, telling->trace->context);
}

void fli_trace_tell(struct fl_heap *heap, struct fl_trace_event event)
{
    static __thread struct fli_callback tracing;
    struct telling telling = {.heap = heap, .trace = fli_trace_of(heap), .event = event};
    int saved = errno;
    if (telling.trace != NULL && is_of_profile(telling.trace))
        fli_profile_see(heap, &telling.event, telling.trace->context);
    else if (telling.trace != NULL)
        fli_callback_call(&tracing, "trace", heap, call_host, &telling);
    errno = saved;
}
