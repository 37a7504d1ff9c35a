/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/stop.h"

#include "grace/grace.h"

#include <errno.h>

/* How many stops there have been. Written by one thread at a time: one that a stop would wait for, or that has stopped
 * the world. */
static FLI_ATOMIC(int64_t) stops;

static FLI_ATOMIC(bool) announced;

/* The stops made here, and nanoseconds. Written while the world is stopped. */
static FLI_ATOMIC(uint64_t) made, stopped_ns, longest_ns;

/* ---- Grace periods. */

void fli_py_stop_announce(bool comes)
{
    /* Y1: release, pairs with Y2 in begin: how many stops there have been before. */
    fli_store_release(&announced, comes);
}

void fli_py_stop_passed(void)
{
    /* Y3: release, pairs with Y4 in has_ended: the world was stopped before. Relaxed: one thread at a time. */
    fli_store_release(&stops, fli_load_relaxed(&stops) + 1);
}

static int64_t begin(void *context)
{
    (void)context;
    /* Y2: acquire, pairs with Y1 in fli_py_stop_announce. Relaxed: with Y2 it is no older than the announcement. A stop
     * orders its threads, so none finds an announcement whose stop has been. */
    return fli_load_acquire(&announced) ? fli_load_relaxed(&stops) + 1 : -EAGAIN;
}

static bool has_ended(void *context, int64_t token)
{
    (void)context;
    /* Y4: acquire, pairs with Y3 in fli_py_stop_passed. */
    return fli_load_acquire(&stops) >= token;
}

const struct fl_grace_host fli_py_stop_grace = {.begin = begin, .elapsed = has_ended};

/* ---- Stopping. */

/* What is done while the world is stopped. */
struct stop {
    void (*work)(void *argument);
    void *argument;
    bool done;
};

static void count(uint64_t nanoseconds)
{
    fli_count(&made, 1);
    fli_count(&stopped_ns, nanoseconds);
    fli_store_own(&longest_ns, fli_max(fli_load_own(&longest_ns), nanoseconds));
}

void fli_py_stop_count(struct fl_py_stats *stats)
{
    stats->stops = fli_load_hint(&made);
    stats->stopped_ns = fli_load_hint(&stopped_ns);
    stats->longest_stop_ns = fli_load_hint(&longest_ns);
}

static int at_first_object(PyObject *object, void *argument)
{
    struct stop *stop = argument;
    uint64_t start = fli_grace_now();
    (void)object;
    stop->work(stop->argument);
    stop->done = true;
    count(fli_grace_now() - start);
    return 0;
}

/* Visits objects that the collector tracks. A new one is always found: others may all be frozen (gc.freeze). */
static void visit(struct stop *stop)
{
    PyObject *exception = PyErr_GetRaisedException(), *tracked = PyList_New(0);
    if (!Py_IsFinalizing()) /* where memory for the new one is refused, another one is found nearly always */
        PyUnstable_GC_VisitObjects(at_first_object, stop);
    Py_XDECREF(tracked);
    PyErr_SetRaisedException(exception); /* discards a MemoryError */
}

bool fli_py_stop_world(void (*work)(void *argument), void *argument)
{
    struct stop stop = {.work = work, .argument = argument};
    if (FLI_PY_FREE_THREADED)
        visit(&stop);
    else
        (void)at_first_object(NULL, &stop);
    return stop.done;
}

#endif
