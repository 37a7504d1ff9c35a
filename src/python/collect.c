/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/collect.h"

#include "python/buffer.h"
#include "python/drawer.h"
#include "python/heap.h"
#include "python/helper.h"
#include "python/join.h"
#include "python/later.h"
#include "python/nest.h"
#include "python/pace.h"
#include "python/reclaim.h"
#include "python/stop.h"
#include "python/thread.h"
#include "python/threads.h"

FLI_ATOMIC(int64_t) fli_py_collections;

/* Whether a tracer has turned caching off, so that it turns on again without one. */
static FLI_ATOMIC(bool) off_for_tracer;

enum { OLDEST_GENERATION = 2 };

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

static void give_up(bool full)
{
    fli_py_threads_expire();
    fli_py_threads_empty_ended();
    if (full)
        fli_py_reclaim(0, 0);
    give_types();
    trims = full || has_to_trim();
    if (trims)
        trim(full ? 0 : bytes_to_retain());
}

static void at_start(bool full)
{
    follow_tracer();
    if (!fli_py_threads_are_quiet(full))
        give_up(full);
    fli_py_buffers_start();
    fli_count(&fli_py_collections, 1); /* relaxed: one collection at a time */
}

/* The calling thread empties its caches now, as others do later: the collection has set the interpreter's count of
 * young objects to 0. Objects that the caches give up lower that count, and those that they take again bring it back
 * to 0. So filling a cache makes no collection due, which would empty it again. */
static void end(bool full)
{
    fli_py_thread_empty_expired();
    if (full)
        fli_py_reclaim(0, 0);
    else if (trims)
        fli_py_heap_trim(SIZE_MAX);
    trims = false;
    fli_py_threads_settle(full);
}

static void at_stop(bool full)
{
    fli_py_stop_passed();
    fli_py_buffers_stop();
    if (!fli_py_threads_are_quiet(full))
        end(full);
}

static PyObject *collection(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 2 || !PyUnicode_Check(args[0]) || !PyDict_Check(args[1]))
        Py_RETURN_NONE;
    PyObject *generation = PyDict_GetItemString(args[1], "generation");
    bool full = generation != NULL && PyLong_AsLong(generation) == OLDEST_GENERATION;
    if (PyUnicode_CompareWithASCIIString(args[0], "start") == 0)
        at_start(full);
    else
        at_stop(full);
    fli_py_nest_resume();
    (void)fl_py_run_later();
    Py_RETURN_NONE;
}

static PyMethodDef collection_method = {"freelane_collection", (PyCFunction)(void (*)(void))collection, METH_FASTCALL,
                                        NULL};

static int join_collections(void)
{
    PyObject *gc = PyImport_ImportModule("gc");
    PyObject *callbacks = gc != NULL ? PyObject_GetAttrString(gc, "callbacks") : NULL;
    PyObject *callback = callbacks != NULL ? PyCFunction_New(&collection_method, NULL) : NULL;
    int failed = callback != NULL ? PyList_Append(callbacks, callback) : -1;
    Py_XDECREF(callback);
    Py_XDECREF(callbacks);
    Py_XDECREF(gc);
    return failed;
}

/* ---- Fork. */

static PyObject *before_fork(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    fli_py_helper_pause();
    /* os.fork stops the world between this and the fork. */
    if (FLI_PY_FREE_THREADED)
        fl_heap_fork_stopped(fli_py_heap);
    Py_RETURN_NONE;
}

static PyObject *after_fork_in_parent(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    fli_py_helper_resume();
    fli_py_later_forked(false);
    Py_RETURN_NONE;
}

static PyObject *after_fork_in_child(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    fli_py_helper_forked();
    fli_py_pace_forked();
    fli_py_buffers_forked();
    fli_py_later_forked(true);
    fli_py_threads_forked();
    Py_RETURN_NONE;
}

static PyMethodDef before_method = {"freelane_before_fork", before_fork, METH_NOARGS, NULL};
static PyMethodDef parent_method = {"freelane_after_fork_in_parent", after_fork_in_parent, METH_NOARGS, NULL};
static PyMethodDef child_method = {"freelane_after_fork_in_child", after_fork_in_child, METH_NOARGS, NULL};

static int join_forks(void)
{
    PyObject *os = PyImport_ImportModule("os");
    PyObject *enter = os != NULL ? PyObject_GetAttrString(os, "register_at_fork") : NULL;
    PyObject *arguments = enter != NULL ? PyTuple_New(0) : NULL;
    PyObject *hooks = arguments != NULL ? Py_BuildValue("{sNsNsN}", "before", PyCFunction_New(&before_method, NULL),
                                                        "after_in_parent", PyCFunction_New(&parent_method, NULL),
                                                        "after_in_child", PyCFunction_New(&child_method, NULL))
                                        : NULL;
    PyObject *done = hooks != NULL ? PyObject_Call(enter, arguments, hooks) : NULL;
    int failed = done != NULL ? 0 : -1;
    Py_XDECREF(done);
    Py_XDECREF(hooks);
    Py_XDECREF(arguments);
    Py_XDECREF(enter);
    Py_XDECREF(os);
    return failed;
}

/* ---- The interpreter's end. */

static PyObject *at_exit(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    fli_py_pace_close();
    Py_BEGIN_ALLOW_THREADS;
    fli_py_helper_close();
    Py_END_ALLOW_THREADS;
    fli_py_later_close();
    Py_RETURN_NONE;
}

static PyMethodDef exit_method = {"freelane_at_exit", at_exit, METH_NOARGS, NULL};

/* ---- The interpreter's life. */

static int join_interpreter(void)
{
    fli_py_thread_reopen();
    follow_tracer();
    if (join_collections() < 0 || join_forks() < 0 || fli_py_join_exit(&exit_method) < 0)
        return -1;
    fli_py_later_open();
    fli_py_helper_open();
    fli_py_pace_open();
    return 0;
}

int fli_py_collect_ready(void)
{
    return fli_py_join_once(&fli_py_collections, join_interpreter);
}

#endif
