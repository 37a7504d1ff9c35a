/* SPDX-License-Identifier: MIT
 *
 * Tracing: the host is told of every allocation and deallocation. It costs nothing while it is off, because a traced
 * thread is diverted: its caches lie in another place than where the inline fast paths look (thread.h). There they find
 * no capacity, and every call takes its slow half. So do all calls of a thread that was asked to attend. The threads of a
 * hardened heap are always diverted, and nobody is told.
 *
 *     fl_trace_start         the trace is on, each thread is asked to attend, also by the byte of its eval breaker
 *     slow halves, ...       a thread that attends diverts itself: it acknowledges
 *     fl_trace_start         diverts threads that nobody uses; returns once all are diverted
 *     fl_trace_stop          the trace is off; a thread that attends undoes the diversion
 *
 * The registry lock guards the trace and the diversion of each thread. `diverted` of a thread changes only while its
 * owner is in here, or does not run. The words `trace` and `is_quick` are also read without the lock, as hints: who
 * finds an old value of `trace` has begun its call before.
 *
 *     label  where                       order                pairs with
 *     T1     a trace is put on           release              T2: what the host prepared for its callback
 *     T2     a call looks for a trace    acquire              T1
 *
 * The model check runs trace.c (tests/model/model_trace.cpp), so words that the lock guards are plain there.
 *
 * fork: a trace goes on in the child, with the diversion of the handles that it keeps.
 */
#ifndef FLI_TRACE_H
#define FLI_TRACE_H

#include "heap/thread.h"

/* The trace that is on, or NULL. */
static inline const struct fl_trace *fli_trace_of(struct fl_heap *heap)
{
    /* T2: acquire, pairs with T1 in put_on_locked. */
    return fli_load_acquire(&heap->trace);
}

/* Whether a thread of the heap is to be diverted: a trace is on, a tool watches, or the heap is hardened. */
static inline bool fli_trace_diverts(struct fl_heap *heap)
{
    return fli_trace_of(heap) != NULL || heap->watched || heap->hardened;
}

/* Whether a thread, if it is attached, was asked to attend or is diverted. */
static inline bool fli_trace_calls(const struct fli_thread *thread)
{
    return FLI_UNLIKELY(!fli_load_hint(&thread->is_quick));
}

/* Attends if the thread is to be diverted or no longer. The owning thread; no lock may be held. */
FLI_COLD void fli_trace_attend(struct fli_thread *thread);

/* The same for a thread that does not run, or is the calling one. Under the registry lock. */
void fli_trace_settle_locked(struct fli_thread *thread);

/* Puts a trace on, and waits until all threads are diverted, as fl_trace_start says. */
int fli_trace_begin(struct fl_heap *heap, const struct fl_trace *trace, unsigned timeout_ms);

/* Takes the trace off that is on, if it is the host's, or if it is the profile's (profile.h). */
void fli_trace_end(struct fl_heap *heap, bool of_profile);

/* Whether somebody is to be told. */
static inline bool fli_trace_is_on(struct fl_heap *heap)
{
    return FLI_UNLIKELY(fli_trace_of(heap) != NULL || heap->watched);
}

/* Tells the host, or the profile, if a trace is on. Keeps errno. No lock may be held. */
FLI_COLD void fli_trace_tell(struct fl_heap *heap, struct fl_trace_event event);

#endif
