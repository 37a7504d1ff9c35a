/* SPDX-License-Identifier: MIT
 *
 * fl_run_pending: ends objects of the thread's queue as long as its budget lasts.
 *
 * While it runs, it is the drain of the list of the present stack (destroy.c), and says so there. So all that its
 * callbacks drop goes to the queue, and nothing is left on the list when the budget is used up.
 *
 * A budget of time also counts the upkeep of the heap: returning to the OS what the callbacks have freed. Slow halves of
 * frees and allocations leave it to the run, which takes one step before it looks at the clock. What a look of decay
 * (heap/decay.h) has left when nothing else is pending keeps the byte of the thread set.
 */
#include "api/pending.h"
#include "api/destroy.h"
#include "api/serve.h"
#include "base/check.h"
#include "heap/bound.h"
#include "heap/decay.h"
#include "heap/service.h"
#include "heap/trace.h"

#include <errno.h>

/* ---- Into the queue. */

void fli_pending_report(const char *call, const void *object, const struct fl_type *type)
{
    fli_misuse(call, object, type->name,
               "ends later on this heap (option later), but has no words: its type lacks FL_TYPE_HAS_WORDS, or "
               "FL_TYPE_NOT_LATER");
}

/* Whether the object always finds a place in the queue, and lies in the heap if it is LEGACY; reports misuse if not. */
static bool may_queue(struct fl_thread *face, struct fli_dead_object object)
{
    if (FLI_LIKELY((object.type->flags & FL_TYPE_HAS_WORDS) != 0))
        return fli_dead_end_of(object.entry) != FLI_DEAD_LEGACY || fli_end_is_live(face, object);
    fli_pending_report("fl_dealloc", fli_dead_address(object.entry), object.type);
    return false;
}

void fli_pending_queue(struct fli_thread *thread, struct fli_dead_object object)
{
    if (fli_pending_is_later(thread, object.type) && !may_queue(&thread->face, object))
        return;
    if (!fli_queue_put_owner(thread, object))
        fli_end_object(&thread->face, object);
}

bool fli_pending_queue_late(struct fl_thread *face, struct fl_heap *heap, struct fli_dead_object object)
{
    if ((object.type->later & 1u << heap->options.later) == 0)
        return false;
    if (!may_queue(face, object))
        return true;
    struct fli_thread *server = fli_serve_enter(face);
    fli_queue_put_owner(server, object);
    fli_service_leave(server);
    fli_queue_alert_all(heap);
    return true;
}

/* ---- The budget. */

/* The clock is looked at before every so many CLEAR objects. */
enum { UNTIMED = 8 };

/* What is left of a budget. */
struct meter {
    size_t objects;
    uint64_t deadline; /* of the monotonic clock, in nanoseconds; 0: there is none */
    unsigned untimed;  /* how many CLEAR objects may begin without a look at the clock */
};

static struct meter meter_of(struct fl_budget budget)
{
    struct meter meter = {.objects = budget.objects != 0 ? budget.objects : SIZE_MAX};
    uint64_t span;
    if (budget.microseconds == 0)
        return meter;
    if (__builtin_mul_overflow(budget.microseconds, (uint64_t)1000, &span) ||
        __builtin_add_overflow(fli_grace_now(), span, &meter.deadline))
        meter.deadline = UINT64_MAX;
    return meter;
}

/* Takes a step of the upkeep that has been left to the run. */
FLI_COLD static void keep_up(struct fli_thread *thread)
{
    struct fl_heap *heap = thread->heap;
    if (fli_decay_is_due(&heap->decay))
        fli_decay_step(heap);
    else if (fli_exchange_has_given_owner(&thread->owner, FLI_EXCHANGE_NOTICE_STEPS))
        fli_bound_step(heap);
}

static bool is_late(struct fli_thread *thread, struct meter *meter)
{
    if (thread->timed == FLI_TIMED_UPKEEP)
        keep_up(thread);
    thread->timed = FLI_TIMED;
    meter->untimed = UNTIMED;
    return fli_grace_now() >= meter->deadline;
}

/* Whether the budget allows the object to begin. */
static inline __attribute__((always_inline)) bool may_begin(struct fli_thread *thread, struct meter *meter,
                                                            const struct fl_type *type)
{
    if (meter->objects-- == 0)
        return false;
    if (meter->deadline == 0)
        return true;
    bool timed = type->kind != FL_DEALLOC_CLEAR || type->clear_some != NULL || meter->untimed == 0;
    meter->untimed--;
    return !timed || !is_late(thread, meter);
}

/* ---- The run. */

/* What the list of the present stack said before the run. */
struct run {
    struct fli_dead *list; /* NULL: none can be had */
    struct fli_callback drain;
    bool runs;
    uint32_t waits;
};

static struct run begin_run(struct fli_thread *thread, struct fli_dead *list)
{
    fli_queue_prepare_owner(thread);
    if (list == NULL)
        return (struct run){0};
    struct run run = {list, list->drain, list->runs, list->waits};
    fli_dead_set_runs(list, true, FLI_WAITS_NOWHERE);
    return run;
}

/* Ends a run, also if an exception leaves it. */
static void end_run(struct run *run)
{
    if (run->list == NULL)
        return;
    run->list->drain = run->drain;
    fli_dead_set_runs(run->list, run->runs, run->waits);
}

/* Takes an object out of the queue, or out of one that was left to the heap. */
__attribute__((noinline)) static bool take_slowly(struct fli_thread *thread, struct fli_dead_object *object)
{
    struct fl_heap *heap = thread->heap;
    struct fli_pile *pile = &thread->queue->pile;
    if (FLI_UNLIKELY(fli_pile_has_empties(pile)))
        fli_pile_give_empty(pile, &heap->backing, &thread->owner.counters);
    return fli_queue_take(thread->queue, &heap->backing.magazines, object) ||
           (fli_queue_adopt_owner(thread) && fli_queue_take(thread->queue, &heap->backing.magazines, object));
}

static inline __attribute__((always_inline)) bool take(struct fli_thread *thread, struct fli_dead_object *object)
{
    return FLI_LIKELY(fli_queue_take_quickly(thread->queue, object)) || take_slowly(thread, object);
}

/* If it `judges`, each object is looked at before its turn. */
static inline __attribute__((always_inline)) void run_inline(struct fli_thread *thread, struct fli_dead *list,
                                                             struct meter *meter, bool judges)
{
    __attribute__((cleanup(end_run))) struct run run = begin_run(thread, list);
    struct fli_dead_object object;
    if (run.list != NULL)
        run.list->drain.caller = FLI_FRAME_HERE;
    while (take(thread, &object)) {
        if (!may_begin(thread, meter, object.type)) {
            fli_queue_put_back_owner(thread, object);
            return;
        }
        if (!judges || fli_end_is_live(&thread->face, object))
            fli_end_object(&thread->face, object);
    }
}

__attribute__((noinline)) static void run_queue(struct fli_thread *thread, struct fli_dead *list, struct meter *meter)
{
    run_inline(thread, list, meter, FLI_CHECKED);
}

__attribute__((noinline)) static void run_queue_judging(struct fli_thread *thread, struct fli_dead *list,
                                                        struct meter *meter)
{
    run_inline(thread, list, meter, true);
}

/* Ends a run with a budget of time. If nothing is pending, goes on with upkeep as long as there is time. Returns whether
 * anything is pending. */
static bool settle_in_time(struct fli_thread *thread, struct meter *meter)
{
    const struct fli_decay *decay = &thread->heap->decay;
    bool is_left = fli_queue_settle_owner(thread), is_over = is_left || is_late(thread, meter);
    /* A step may do nothing, as a trim is under way. */
    for (size_t rest, last = SIZE_MAX; !is_over && (rest = fli_decay_rest(decay)) != 0 && rest < last; last = rest) {
        thread->timed = FLI_TIMED_UPKEEP;
        is_over = is_late(thread, meter);
    }
    thread->timed = FLI_NOT_TIMED;
    if (!is_left && fli_decay_rest(decay) != 0)
        fli_store_hint(&thread->is_pending, 1);
    return is_left;
}

int fl_run_pending(struct fl_thread *face, struct fl_budget budget)
{
    if (budget.objects == 0 && budget.microseconds == 0) {
        fli_misuse("fl_run_pending", face, NULL, "was given a budget of zero objects and zero microseconds");
        return -EINVAL;
    }
    struct meter meter = meter_of(budget);
    struct fli_thread *thread = fli_serve_attached(face);
    if (thread == NULL)
        return 0;
    if (FLI_UNLIKELY(thread->heap->hardened))
        run_queue_judging(thread, fli_dead_find_owner(thread, true), &meter);
    else
        run_queue(thread, fli_dead_find_owner(thread, true), &meter);
    bool is_left = meter.deadline != 0 ? settle_in_time(thread, &meter) : fli_queue_settle_owner(thread);
    if (fli_trace_calls(thread)) /* looks after the byte was cleared, so that no trace is missed */
        fli_trace_attend(thread);
    return is_left;
}

const unsigned char *fl_thread_pending(struct fl_thread *face)
{
    return (const unsigned char *)&fli_thread_of(face)->is_pending;
}
