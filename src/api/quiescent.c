/* SPDX-License-Identifier: MIT
 *
 * The host's calls on behalf of readers: quiescent states, read-side sections, pressure, and the barrier. The grace
 * periods behind them are those of grace/; the deferred blocks are those of pool/deferred.h.
 */
#include "base/check.h"
#include "heap/stall.h"
#include "heap/submit.h"
#include "heap/trace.h"

#include <errno.h>

/* How long a quiescent state helps while deferred bytes exceed their bound. */
enum { HELP_MILLISECONDS = 1 };

/* The whole behind the handle. NULL, reported as misuse, unless it is attached, online, and its heap has grace
 * periods. */
static struct fli_thread *reader(struct fl_thread *face, const char *call)
{
    struct fli_thread *thread = fli_thread_of(face);
    const char *wrong = NULL;
    if (thread->heap == NULL)
        wrong = "is not an attached thread";
    else if (thread->heap->grace.kind == FL_GRACE_NONE)
        wrong = "is attached to a heap without grace periods (option grace)";
    else if (thread->os_thread == NULL)
        wrong = "is offline";
    if (FLI_LIKELY(wrong == NULL))
        return thread;
    fli_misuse(call, face, NULL, "%s", wrong);
    return NULL;
}

/* ---- Read-side sections. */

void fl_read_lock(struct fl_thread *face)
{
    struct fli_thread *thread = reader(face, "fl_read_lock");
    if (FLI_UNLIKELY(thread == NULL))
        return;
    fli_count(&thread->sections, 1);
    fli_reader_lock(fli_thread_reader(thread), &thread->heap->grace);
}

void fl_read_unlock(struct fl_thread *face)
{
    struct fli_thread *thread = reader(face, "fl_read_unlock");
    if (FLI_UNLIKELY(thread == NULL))
        return;
    if (FLI_UNLIKELY(fli_thread_sections(thread) == 0)) {
        fli_misuse("fl_read_unlock", face, NULL, "is in no read-side section");
        return;
    }
    fli_count(&thread->sections, -1u);
    fli_reader_unlock(fli_thread_reader(thread), &thread->heap->grace);
}

/* ---- Quiescent states. */

/* Moves on what waits for grace periods, now that the calling thread has passed a quiescent state. */
FLI_COLD static void move_on(struct fl_heap *heap)
{
    bool helps = fli_deferred_has_pressure(&heap->deferred);
    fli_bound_keep_released(heap, helps ? fli_deferred_help(&heap->deferred, HELP_MILLISECONDS)
                                        : fli_deferred_advance(&heap->deferred));
    if (fli_retired_is_waiting(heap))
        fli_retired_reclaim(heap);
    fli_stall_look(heap);
}

void fl_quiescent(struct fl_thread *face)
{
    struct fli_thread *thread = reader(face, "fl_quiescent");
    if (FLI_UNLIKELY(thread == NULL))
        return;
    if (FLI_UNLIKELY(fli_thread_is_inside(thread))) {
        fli_misuse("fl_quiescent", face, NULL, "is inside a read-side section");
        return;
    }
    struct fl_heap *heap = thread->heap;
    if (fli_trace_calls(thread))
        fli_trace_attend(thread);
    fli_reader_quiescent(fli_thread_reader(thread), &heap->grace);
    bool is_waiting = fli_deferred_is_waiting(&heap->deferred),
         has_pressure = fli_deferred_has_pressure(&heap->deferred);
    /* While a batch waits, part-full magazines can go on filling: submitted, they would only wait for its end. */
    bool submits = !fli_class_set_is_empty(&thread->deferring) && (!is_waiting || has_pressure);
    if (submits)
        fli_submit(thread);
    bool is_work = submits || is_waiting || has_pressure || fli_retired_is_waiting(heap);
    if (is_work && FLI_LIKELY(!thread->owner.realtime))
        move_on(heap);
}

const unsigned char *fl_heap_pressure(struct fl_heap *heap)
{
    return &heap->deferred.pressure;
}

/* ---- The barrier. */

int fl_heap_barrier(struct fl_heap *heap)
{
    const char *wrong = NULL;
    if (heap->grace.kind == FL_GRACE_NONE)
        wrong = "has no grace periods (option grace)";
    else if (fli_thread_caller_is_inside(heap))
        wrong = "would wait for a grace period inside a read-side section";
    if (wrong != NULL) {
        fli_misuse("fl_heap_barrier", heap, NULL, "%s", wrong);
        return -EINVAL;
    }
    fli_submit_ours(heap);
    int failed = fli_deferred_drain(&heap->deferred, fli_stall_wait_for, heap);
    fli_bound_keep(heap);
    return failed;
}
