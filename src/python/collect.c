/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/collect.h"

#include "python/buffer.h"
#include "python/copies.h"
#include "python/drawer.h"
#include "python/heap.h"
#include "python/helper.h"
#include "python/join.h"
#include "python/later.h"
#include "python/memory.h"
#include "python/nest.h"
#include "python/pace.h"
#include "python/reclaim.h"
#include "python/stop.h"
#include "python/thread.h"
#include "python/threads.h"

FLI_ATOMIC(int64_t) fli_py_collections;

/* Whether a tracer has turned caching off, so that it turns on again without one. */
static FLI_ATOMIC(bool) off_for_tracer;

/* Whether the collection that is under way has trimmed the heap. Of one collection at a time. */
static bool trims;

/* Bytes of free memory that a collection of young objects retains at least. */
#define FREE_BYTES_RETAINED FLI_MIB

/* ---- The caching switch. */

bool fl_py_set_caching(bool on)
{
    fli_store_relaxed(&off_for_tracer, false); /* relaxed: a bit by itself */
    return fli_py_threads_set_caching(on);
}

static bool is_traced(void)
{
    void *data;
    return PyRefTracer_GetTracer(&data) != NULL;
}

static void follow_tracer(void)
{
    bool traced = is_traced();
    if (traced && fl_py_set_caching(false))
        fli_store_relaxed(&off_for_tracer, true); /* relaxed: as above */
    else if (!traced && fli_load_relaxed(&off_for_tracer))
        fl_py_set_caching(true);
}

void fli_py_collect_look(void)
{
    if (fli_py_threads_caching() && is_traced())
        follow_tracer();
}

/* ---- Collections. */

/* Bytes of free memory that a collection of young objects retains: as much as is in use. */
static size_t bytes_to_retain(void)
{
    struct fl_py_stats stats;
    fl_py_get_stats(&stats);
    return fli_max(stats.live_bytes, FREE_BYTES_RETAINED);
}

/* Gives up the calling thread's references to types: the collection is to find types that nothing else refers to. */
static void give_types(void)
{
    struct fli_py_thread *thread = fli_py_thread_own();
    if (thread != NULL)
        fli_py_drawers_empty_stocks(thread);
}

/* Whether the heap holds more than a collection of young objects retains in any case. */
static bool has_to_trim(void)
{
    struct fli_py_holdings holdings = fli_py_heap_holdings();
    return holdings.live + holdings.free > FREE_BYTES_RETAINED;
}

static void trim(size_t retain)
{
    fli_py_stop_announce(true);
    fli_py_heap_trim(retain);
    fli_py_stop_announce(false);
}

/* Whether this copy has something to do in the callback under way; whether it takes everything back there, and what. Of
 * one collection at a time. */
static bool is_busy, takes;
static struct fli_py_reclaim reclaim;

static void begin_start(bool full)
{
    follow_tracer();
    is_busy = !fli_py_threads_are_quiet(full);
    takes = is_busy && full;
    if (!is_busy)
        return;
    fli_py_threads_expire();
    fli_py_threads_empty_ended();
}

/* Where everything has been taken back, there is something to trim only if that has freed something. */
static void give_up(bool full)
{
    give_types();
    trims = full ? fli_py_heap_holdings().free > 0 : has_to_trim();
    if (trims)
        trim(full ? 0 : bytes_to_retain());
    if (full && reclaim.took_all)
        fli_py_threads_rest();
}

static void end_start(bool full)
{
    if (is_busy)
        give_up(full);
    fli_py_buffers_start();
    fli_count(&fli_py_collections, 1); /* relaxed: one collection at a time */
}

/* The calling thread empties its caches now, as others do later: the collection has set the interpreter's count of
 * young objects to 0. Objects that the caches give up lower that count, and those that they take again bring it back
 * to 0. So filling a cache makes no collection due, which would empty it again. */
static void begin_stop(bool full)
{
    fli_py_stop_passed();
    fli_py_buffers_stop();
    is_busy = !fli_py_threads_are_quiet(full);
    takes = is_busy && full && (!fli_py_threads_have_rested() || fli_py_buffers_wait());
    if (is_busy)
        fli_py_thread_empty_expired();
}

static void end_stop(bool full)
{
    if (!is_busy)
        return;
    if (!takes && trims)
        fli_py_heap_drain();
    trims = false;
    fli_py_threads_settle(full);
}

static bool begin(bool starts, bool full)
{
    if (starts)
        begin_start(full);
    else
        begin_stop(full);
    if (takes)
        fli_py_reclaim_prepare(&reclaim, 0);
    return takes;
}

static void work_stw(void)
{
    fli_py_reclaim_stw(&reclaim);
}

static void end(bool starts, bool full)
{
    if (takes)
        fli_py_reclaim_finish(&reclaim, 0);
    if (starts)
        end_start(full);
    else
        end_stop(full);
}

static void resume(void)
{
    fli_py_nest_resume();
    (void)fl_py_run_later();
}

/* ---- Forks. */

static void before_fork(void)
{
    fli_py_helper_pause();
    struct fl_heap *heap = fli_py_heap_get();
    /* os.fork stops the world between this and the fork. */
    if (FLI_PY_FREE_THREADED && heap != NULL)
        fl_heap_fork_stopped(heap);
    if (FLI_PY_FREE_THREADED)
        fli_py_memory_fork_stopped();
}

static void after_fork_in_parent(void)
{
    fli_py_helper_resume();
    fli_py_later_forked(false);
}

static void after_fork_in_child(void)
{
    fli_py_helper_forked();
    fli_py_pace_forked();
    fli_py_buffers_forked();
    fli_py_later_forked(true);
    fli_py_threads_forked();
}

static void fork_at(enum fli_py_fork when)
{
    if (when == FLI_PY_FORK_BEFORE)
        before_fork();
    else if (when == FLI_PY_FORK_IN_PARENT)
        after_fork_in_parent();
    else
        after_fork_in_child();
}

/* ---- The interpreter's end. */

static void at_exit(void)
{
    fli_py_pace_close();
    Py_BEGIN_ALLOW_THREADS;
    fli_py_helper_close();
    Py_END_ALLOW_THREADS;
    fli_py_later_close();
}

/* ---- The interpreter's life. */

static struct fli_py_copy copy = {
    .begin = begin, .work_stw = work_stw, .end = end, .resume = resume, .fork = fork_at, .exit = at_exit};

/* Several threads may do so at once, and one inside of itself, because import hooks may run meanwhile. Only the first finds
 * what the last interpreter has left. */
static int join_interpreter(void)
{
    int first = fli_py_join_first(&copy);
    if (first < 0)
        return -1;
    if (first)
        fli_py_later_open();
    fli_py_thread_reopen();
    follow_tracer();
    if (fli_py_copies_enter(&copy) < 0)
        return -1;
    fli_py_helper_open();
    fli_py_pace_open();
    return 0;
}

int fli_py_collect_ready(void)
{
    return fli_py_join_once(&fli_py_collections, join_interpreter);
}

#endif
