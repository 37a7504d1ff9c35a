/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/copies.h"

#include "python/join.h"
#include "python/stop.h"

#include <stdlib.h>

#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)
#define VERSION  TEXT(FL_VERSION_MAJOR) "." TEXT(FL_VERSION_MINOR) "." TEXT(FL_VERSION_PATCH)

static const char name[] = "freelane.copies." VERSION "." TEXT(FLI_PY_COPIES_LAYOUT);

enum { OLDEST_GENERATION = 2 };

struct fli_py_copies {
    FLI_ATOMIC(struct fli_py_copy *) first;
};

static struct fli_py_copy *first_of(PyObject *capsule)
{
    struct fli_py_copies *copies = PyCapsule_GetPointer(capsule, name);
    /* O2: acquire, pairs with O1 in add_locked: the copy, and those after it. */
    return fli_load_acquire(&copies->first);
}

/* ---- Collections. */

static void work_stw(void *argument)
{
    for (struct fli_py_copy *copy = argument; copy != NULL; copy = copy->next)
        if (copy->wants_stop)
            copy->work_stw();
}

static void serve_collection(struct fli_py_copy *first, bool starts, bool full)
{
    bool wanted = false;
    for (struct fli_py_copy *copy = first; copy != NULL; copy = copy->next)
        wanted |= copy->wants_stop = copy->begin(starts, full);
    if (wanted)
        (void)fli_py_stop_world(work_stw, first);
    for (struct fli_py_copy *copy = first; copy != NULL; copy = copy->next)
        copy->end(starts, full);
    for (struct fli_py_copy *copy = first; copy != NULL; copy = copy->next)
        copy->resume();
}

static PyObject *collection(PyObject *capsule, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !PyUnicode_Check(args[0]) || !PyDict_Check(args[1]))
        Py_RETURN_NONE;
    PyObject *generation = PyDict_GetItemString(args[1], "generation");
    bool full = generation != NULL && PyLong_AsLong(generation) == OLDEST_GENERATION;
    bool starts = PyUnicode_CompareWithASCIIString(args[0], "start") == 0;
    serve_collection(first_of(capsule), starts, full);
    Py_RETURN_NONE;
}

static PyMethodDef collection_method = {"freelane_collection", (PyCFunction)(void (*)(void))collection, METH_FASTCALL,
                                        NULL};

static int join_collections(PyObject *capsule)
{
    PyObject *gc = PyImport_ImportModule("gc");
    PyObject *callbacks = gc != NULL ? PyObject_GetAttrString(gc, "callbacks") : NULL;
    PyObject *callback = callbacks != NULL ? PyCFunction_New(&collection_method, capsule) : NULL;
    int failed = callback != NULL ? PyList_Append(callbacks, callback) : -1;
    Py_XDECREF(callback);
    Py_XDECREF(callbacks);
    Py_XDECREF(gc);
    return failed;
}

/* ---- Forks. */

static PyObject *fork_all(PyObject *capsule, enum fli_py_fork when)
{
    for (struct fli_py_copy *copy = first_of(capsule); copy != NULL; copy = copy->next)
        copy->fork(when);
    Py_RETURN_NONE;
}

static PyObject *before_fork(PyObject *capsule, PyObject *unused)
{
    (void)unused;
    return fork_all(capsule, FLI_PY_FORK_BEFORE);
}

static PyObject *after_fork_in_parent(PyObject *capsule, PyObject *unused)
{
    (void)unused;
    return fork_all(capsule, FLI_PY_FORK_IN_PARENT);
}

static PyObject *after_fork_in_child(PyObject *capsule, PyObject *unused)
{
    (void)unused;
    return fork_all(capsule, FLI_PY_FORK_IN_CHILD);
}

static PyMethodDef before_method = {"freelane_before_fork", before_fork, METH_NOARGS, NULL};
static PyMethodDef parent_method = {"freelane_after_fork_in_parent", after_fork_in_parent, METH_NOARGS, NULL};
static PyMethodDef child_method = {"freelane_after_fork_in_child", after_fork_in_child, METH_NOARGS, NULL};

static int join_forks(PyObject *capsule)
{
    PyObject *os = PyImport_ImportModule("os");
    PyObject *enter = os != NULL ? PyObject_GetAttrString(os, "register_at_fork") : NULL;
    PyObject *arguments = enter != NULL ? PyTuple_New(0) : NULL;
    PyObject *hooks = arguments != NULL
                          ? Py_BuildValue("{sNsNsN}", "before", PyCFunction_New(&before_method, capsule),
                                          "after_in_parent", PyCFunction_New(&parent_method, capsule),
                                          "after_in_child", PyCFunction_New(&child_method, capsule))
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

static PyObject *at_exit(PyObject *capsule, PyObject *unused)
{
    (void)unused;
    for (struct fli_py_copy *copy = first_of(capsule); copy != NULL; copy = copy->next)
        copy->exit();
    Py_RETURN_NONE;
}

static PyMethodDef exit_method = {"freelane_at_exit", at_exit, METH_NOARGS, NULL};

/* ---- The list. */

static void destroy(PyObject *capsule)
{
    free(PyCapsule_GetPointer(capsule, name));
}

/* Makes an empty list, and has it called. Returns NULL with an exception if that fails; an empty list that is called does
 * nothing. */
static PyObject *make_list(void)
{
    struct fli_py_copies *copies = calloc(1, sizeof *copies);
    if (copies == NULL)
        return PyErr_NoMemory();
    PyObject *capsule = PyCapsule_New(copies, name, destroy);
    if (capsule == NULL)
        free(copies);
    else if (join_collections(capsule) < 0 || join_forks(capsule) < 0 || fli_py_join_exit(&exit_method, capsule) < 0)
        Py_CLEAR(capsule);
    return capsule;
}

/* A new reference to the list; NULL with an exception. Of two threads that make one, one finds the other's. */
static PyObject *get_list(void)
{
    PyObject *dict = PyInterpreterState_GetDict(PyInterpreterState_Get()), *capsule = NULL;
    if (dict == NULL)
        return PyErr_NoMemory();
    PyObject *key = PyUnicode_FromString(name);
    if (key != NULL && PyDict_GetItemRef(dict, key, &capsule) == 0) {
        PyObject *made = make_list();
        if (made != NULL)
            (void)fli_py_join_set_default(dict, key, made, &capsule);
        Py_XDECREF(made);
    }
    Py_XDECREF(key);
    return capsule;
}

/* Whether the copy is in the list. */
static bool has(const struct fli_py_copies *copies, const struct fli_py_copy *copy)
{
    const struct fli_py_copy *entered = fli_load_hint(&copies->first);
    while (entered != NULL && entered != copy)
        entered = entered->next;
    return entered != NULL;
}

/* Of this copy. Several threads may enter it. */
static PyMutex enter_lock;

static void add_locked(struct fli_py_copies *copies, struct fli_py_copy *copy)
{
    copy->next = fli_load_hint(&copies->first);
    /* O1: release, pairs with O2 in first_of: the copy. Failure: relaxed, the list is only compared with. */
    while (!fli_cas_weak(&copies->first, &copy->next, copy, memory_order_release, memory_order_relaxed))
        ;
}

int fli_py_copies_enter(struct fli_py_copy *copy)
{
    PyObject *capsule = get_list();
    if (capsule == NULL)
        return -1;
    struct fli_py_copies *copies = PyCapsule_GetPointer(capsule, name);
    PyMutex_Lock(&enter_lock);
    if (!has(copies, copy))
        add_locked(copies, copy);
    PyMutex_Unlock(&enter_lock);
    Py_DECREF(capsule);
    return 0;
}

#endif
