/* SPDX-License-Identifier: MIT
 *
 * What happens at the interpreter's collections: caches of an older epoch go back, memory of the heap that no reader can
 * look at any more goes back, and caching follows the reference tracer. And what happens at a fork.
 *
 * A collection stops every thread of the interpreter between the callbacks `start` and `stop` (in a free-threaded
 * build). A reader that loaded a pointer before either has its reference or has let go of it when the world runs again.
 */
#include "interpreter.h"

/* Collections that have begun. */
FLI_ATOMIC(int64_t) fli_py_collections;

/* Whether caching is off because of a tracer, and comes back without it. */
static FLI_ATOMIC(bool) off_for_tracer;

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

static void at_start(long generation)
{
    follow_tracer();
    fli_py_threads_renew();
    fli_py_threads_empty_ended();
    if (generation == 2)
        fl_py_trim();
    atomic_fetch_add_explicit(&fli_py_collections, 1, memory_order_relaxed); /* relaxed: a number by itself */
}

static PyObject *collection(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 2 || !PyUnicode_Check(args[0]) || !PyDict_Check(args[1]))
        Py_RETURN_NONE;
    if (PyUnicode_CompareWithASCIIString(args[0], "start") == 0) {
        PyObject *generation = PyDict_GetItemString(args[1], "generation");
        at_start(generation != NULL ? PyLong_AsLong(generation) : 0);
    }
    if (PyErr_Occurred())
        return NULL;
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
