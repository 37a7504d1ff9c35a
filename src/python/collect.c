/* SPDX-License-Identifier: MIT
 *
 * What happens at the interpreter's collections: caches of an older epoch go back, memory of the heap that no reader
 * can look at any more goes back, and caching follows the reference tracer. And what happens at a fork.
 *
 * A collection stops every thread of the interpreter between the callbacks `start` and `stop` (in a free-threaded
 * build). A reader that loaded a pointer before either has its reference or has let go of it when the world runs
 * again. So slabs are retired before `start` returns and go back to the system after `stop`. There is no other time:
 * nobody knows when the next collection comes, so what a trim finds free in between stays in use.
 *
 *     grace period    collection number          ended, once
 *     begins          fli_py_collections + 1     collections_over >= that
 *
 * Other interpreters of the process are not stopped. While there is one, no grace period ends.
 */
#include "python/interpreter.h"

#include <errno.h>

FLI_ATOMIC(int64_t) fli_py_collections;

/* The latest collection that is over. */
static FLI_ATOMIC(int64_t) collections_over;

/* Whether a collection is about to stop the world. */
static FLI_ATOMIC(bool) starting;

/* Whether caching is off because of a tracer, and comes back without it. */
static FLI_ATOMIC(bool) off_for_tracer;

enum { OLDEST_GENERATION = 2 };

/* Free memory below which a collection of the young does not trim. */
#define FREE_BYTES_RETAINED FLI_MIB

/* ---- The caching switch. */

bool fl_py_set_caching(bool on)
{
    fli_store_relaxed(&off_for_tracer, false); /* relaxed: a bit by itself */
    return fli_py_threads_set_caching(on);
}

static void follow_tracer(void)
{
    void *data;
    bool traced = PyRefTracer_GetTracer(&data) != NULL;
    if (traced && fl_py_set_caching(false))
        fli_store_relaxed(&off_for_tracer, true); /* relaxed: as above */
    else if (!traced && fli_load_relaxed(&off_for_tracer))
        fl_py_set_caching(true);
}

/* ---- Collections. */

/* Free memory to keep: none at a full collection, which a program asks for, else as much as is in use. */
static size_t bytes_to_retain(bool full)
{
    struct fl_py_stats stats;
    if (full)
        return 0;
    fl_py_get_stats(&stats);
    return fli_max(stats.live_bytes, FREE_BYTES_RETAINED);
}

static void at_start(bool full)
{
    follow_tracer();
    fli_py_threads_expire();
    fli_py_threads_empty_ended();
    fli_py_thread_give_types();
    /* Y1: release, pairs with Y3 in begin. */
    fli_store_release(&starting, true);
    fli_py_heap_trim(full, bytes_to_retain(full));
    /* Y2: release, pairs with Y3 in begin: who finds it set has freed before the world stops. */
    fli_store_release(&starting, false);
    fli_count(&fli_py_collections, 1); /* relaxed: one collection at a time */
}

static bool is_only_interpreter(void)
{
    return PyInterpreterState_Next(PyInterpreterState_Head()) == NULL;
}

/* The calling thread, which has given its types back so that the collection finds those that nothing else refers to,
 * empties its caches now, as the others do later, that the collection has put the interpreter's count of young
 * objects to 0. What the caches take from the interpreter next brings the count back to 0: keeping objects makes no
 * collection due, which would empty the caches again. */
static void at_stop(void)
{
    (void)fli_py_thread_update();
    if (!is_only_interpreter())
        return;
    /* Y4: release, pairs with Y5 in has_ended: the world was stopped before. Relaxed: one collection at a time. */
    fli_store_release(&collections_over, fli_load_relaxed(&fli_py_collections));
    fli_py_heap_trim(false, SIZE_MAX);
}

static int64_t begin(void *context)
{
    (void)context;
    /* Y3: acquire, pairs with Y1 and Y2 in at_start. Relaxed: the number does not change while it is starting. */
    return fli_load_acquire(&starting) ? fli_load_relaxed(&fli_py_collections) + 1 : -EAGAIN;
}

static bool has_ended(void *context, int64_t collection)
{
    (void)context;
    /* Y5: acquire, pairs with Y4 in at_stop. */
    return fli_load_acquire(&collections_over) >= collection;
}

const struct fl_grace_host fli_py_collect_grace = {.begin = begin, .elapsed = has_ended};

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
        at_stop();
    fli_py_nest_resume();
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
    /* os.fork stops the world between this and the fork. */
    if (FLI_PY_FREE_THREADED)
        fl_heap_fork_stopped(fli_py_heap);
    Py_RETURN_NONE;
}

static PyObject *after_fork_in_child(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    fli_py_threads_forked();
    Py_RETURN_NONE;
}

static PyMethodDef before_method = {"freelane_before_fork", before_fork, METH_NOARGS, NULL};
static PyMethodDef child_method = {"freelane_after_fork_in_child", after_fork_in_child, METH_NOARGS, NULL};

static int join_forks(void)
{
    PyObject *os = PyImport_ImportModule("os");
    PyObject *enter = os != NULL ? PyObject_GetAttrString(os, "register_at_fork") : NULL;
    PyObject *arguments = enter != NULL ? PyTuple_New(0) : NULL;
    PyObject *hooks = arguments != NULL ? Py_BuildValue("{sNsN}", "before", PyCFunction_New(&before_method, NULL),
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

int fli_py_collect_ready(void)
{
    PyObject *dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
    if (dict == NULL)
        return PyErr_NoMemory(), -1;
    PyObject *key = PyUnicode_FromFormat("freelane.%p", (void *)&fli_py_collections);
    int known = key != NULL ? PyDict_Contains(dict, key) : -1;
    if (known == 0) {
        fli_py_threads_reopen();
        follow_tracer();
        known = join_collections() < 0 || join_forks() < 0 || PyDict_SetItem(dict, key, Py_True) < 0 ? -1 : 1;
    }
    Py_XDECREF(key);
    return known < 0 ? -1 : 0;
}
