/* SPDX-License-Identifier: MIT
 *
 * Functions of the module: loops in C, and what Freelane knows of itself.
 */
#include "demo.h"

#include <stdlib.h>
#include <time.h>

/* ---- Loops. */

static int64_t now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static PyObject *churn(PyObject *module, PyObject *args)
{
    PyTypeObject *type;
    Py_ssize_t alive, count;
    int cpu = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!nn|p", &PyType_Type, &type, &alive, &count, &cpu))
        return NULL;
    clockid_t clock = cpu ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    const struct kind *kind = demo_kind_of(type);
    if (kind == NULL || kind->churn == NULL || alive < 1)
        return PyErr_Format(PyExc_ValueError, "%s, %zd alive", type->tp_name, alive);
    PyObject **objects = malloc((size_t)alive * sizeof *objects);
    if (objects == NULL)
        return PyErr_NoMemory();
    int64_t start = now(clock);
    int failed = kind->churn(type, objects, alive, count);
    int64_t time = now(clock) - start;
    free(objects);
    return failed == 0 ? PyLong_FromLongLong(time) : NULL;
}

/* ---- Objects that tp_alloc did not make. */

static PyObject *new_beside(PyObject *module, PyObject *object)
{
    PyTypeObject *type = (PyTypeObject *)object;
    (void)module;
    if (!PyType_Check(object) || type->tp_itemsize != 0)
        return PyErr_Format(PyExc_TypeError, "%R", object);
    bool gc = PyType_HasFeature(type, Py_TPFLAGS_HAVE_GC);
    PyObject *made = gc ? PyObject_GC_New(PyObject, type) : PyObject_New(PyObject, type);
    if (made == NULL)
        return NULL;
    memset((char *)made + sizeof(PyObject), 0, (size_t)type->tp_basicsize - sizeof(PyObject));
    if (gc)
        PyObject_GC_Track(made);
    return made;
}

/* ---- Freelane. */

static PyObject *stats(PyObject *module, PyObject *unused)
{
    struct fl_py_stats stats;
    (void)module, (void)unused;
    fl_py_get_stats(&stats);
    return Py_BuildValue(
        "{sn sn sn sn sn sn sK sK sK sK sn sK sn sn sn}", "threads", (Py_ssize_t)stats.threads, "cached_objects",
        (Py_ssize_t)stats.cached_objects, "cached_bytes", (Py_ssize_t)stats.cached_bytes, "live_bytes",
        (Py_ssize_t)stats.live_bytes, "free_bytes", (Py_ssize_t)stats.free_bytes, "slab_bytes",
        (Py_ssize_t)stats.slab_bytes, "collections", (unsigned long long)stats.collections, "stops",
        (unsigned long long)stats.stops, "stopped_ns", (unsigned long long)stats.stopped_ns, "longest_stop_ns",
        (unsigned long long)stats.longest_stop_ns, "later_references", (Py_ssize_t)stats.later_references,
        "leaked_references", (unsigned long long)stats.leaked_references, "retired_bytes",
        (Py_ssize_t)stats.retired_bytes, "memory_live_bytes", (Py_ssize_t)stats.memory_live_bytes,
        "memory_slab_bytes", (Py_ssize_t)stats.memory_slab_bytes);
}

static PyObject *set_caching(PyObject *module, PyObject *on)
{
    (void)module;
    int truth = PyObject_IsTrue(on);
    return truth < 0 ? NULL : PyBool_FromLong(fl_py_set_caching(truth));
}

static PyObject *configure(PyObject *module, PyObject *limit)
{
    struct fl_py_options options = {.limit_bytes = PyLong_AsSize_t(limit)};
    (void)module;
    return fl_py_configure(&options) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *check(PyObject *module, PyObject *unused)
{
    char error[256];
    (void)module, (void)unused;
    if ((fl_py_heap() != NULL && fl_heap_check(fl_py_heap(), error, sizeof error) != 0) ||
        (fl_py_memory_heap() != NULL && fl_heap_check(fl_py_memory_heap(), error, sizeof error) != 0))
        return PyErr_Format(PyExc_AssertionError, "%s", error);
    Py_RETURN_NONE;
}

static PyObject *owns(PyObject *module, PyObject *object)
{
    (void)module;
    return PyBool_FromLong(fl_py_heap() != NULL && fl_owns(fl_py_heap(), object));
}

/* ---- Errors that tools are to find. */

/* The memory is read before anyone else can get it. */
static PyObject *read_dead(PyObject *module, PyObject *args)
{
    PyObject *list;
    Py_ssize_t bytes;
    char read[64];
    (void)module;
    if (!PyArg_ParseTuple(args, "O!n", &PyList_Type, &list, &bytes) || PyList_GET_SIZE(list) == 0)
        return NULL;
    PyObject *object = PyList_GET_ITEM(list, 0);
    const char *end = (const char *)object + Py_TYPE(object)->tp_basicsize;
    if (bytes < 0 || bytes > (Py_ssize_t)sizeof read || PyList_SetItem(list, 0, Py_NewRef(Py_None)) < 0)
        return NULL;
    memcpy(read, end - bytes, (size_t)bytes);
    return PyBytes_FromStringAndSize(read, bytes);
}

static PyObject *poke(PyObject *module, PyObject *args)
{
    unsigned long long address;
    const char *text;
    Py_ssize_t bytes;
    (void)module;
    if (!PyArg_ParseTuple(args, "Ky#", &address, &text, &bytes))
        return NULL;
    memcpy((void *)(uintptr_t)address, text, (size_t)bytes);
    Py_RETURN_NONE;
}

PyMethodDef demo_functions[] = {
    {"churn", churn, METH_VARARGS,
     "churn(type, alive, count, cpu=False): creates `alive` objects in C and destroys them, until `count` have been; "
     "returns nanoseconds, of the clock or of the thread's processor time"},
    {"new_beside", new_beside, METH_O, "an object of the type made by PyObject_New or PyObject_GC_New, of zeros"},
    {"stats", stats, METH_NOARGS, "what Freelane holds: struct fl_py_stats"},
    {"read_dead", read_dead, METH_VARARGS,
     "read_dead(list, bytes): drops its first item, and reads that object's end"},
    {"poke", poke, METH_VARARGS, "poke(address, text): writes it there"},
    {"set_caching", set_caching, METH_O, "fl_py_set_caching"},
    {"configure", configure, METH_O, "configure(limit): fl_py_configure"},
    {"check", check, METH_NOARGS, "fl_heap_check of the heaps; no other thread may use them meanwhile"},
    {"owns", owns, METH_O, "whether the object lies in the heap's slabs"},
    {"refusals", demo_refusals, METH_NOARGS, "names of declarations that fl_py_type_ready refuses"},
    {"refuse", demo_refuse, METH_O, "refuse(name): has one refused"},
    {"foreign_rounds", demo_foreign_rounds, METH_VARARGS,
     "foreign_rounds(function, count): calls it in an OS thread of its own, each time in a new thread state"},
    {"clear_elsewhere", demo_clear_elsewhere, METH_VARARGS,
     "clear_elsewhere(before[, after]): calls `before` in an OS thread whose thread state this thread clears, and "
     "then "
     "`after` in a second thread state of that OS thread"},
    {"run_late", demo_run_late, METH_VARARGS,
     "run_late(function, late): calls `function` in an OS thread, and `late` in a destructor of its end"},
    {"delay_others", demo_delay_others, METH_O,
     "delay_others(seconds): from now on, each object takes so long, but in the main thread and the caller"},
    {"delayed", demo_delayed, METH_NOARGS, "how often delay_others has delayed one"},
    {"drop_in_fiber", demo_drop_in_fiber, METH_VARARGS,
     "drop_in_fiber(list, bytes): drops the one item of the list on a stack of its own, next to the last one; "
     "returns "
     "whether it came to an end, or an Away left"},
    {"resume_fibers", demo_resume_fibers, METH_NOARGS, "resumes each fiber once; returns how many are away again"},
    {"drop_and_jump", demo_drop_and_jump, METH_O,
     "drop_and_jump(list): drops the one item of the list; returns whether a Jump in it left"},
    {"call_far_down", demo_call_far_down, METH_VARARGS,
     "call_far_down(function, left): calls it where so many bytes of the stack are left"},
    {"decref_later", demo_decref_later, METH_VARARGS,
     "decref_later(object, count=1): fl_py_decref_later of so many new references to it"},
    {"later_reserve", demo_later_reserve, METH_O, "fl_py_later_reserve"},
    {"run_later", demo_run_later, METH_NOARGS, "fl_py_run_later"},
    {"replace_items", demo_replace_items, METH_VARARGS,
     "replace_items(list, item): puts the item in each place, in a critical section of the list; returns how often "
     "other "
     "code ran there"},
    {"later_in_subinterpreter", demo_later_in_subinterpreter, METH_O,
     "later_in_subinterpreter(seconds): has an object dropped later in a subinterpreter, which waits so long and "
     "does, or "
     "does not if it is negative; returns when it died: 0 not, 1 in the wrong interpreter, 2 too early, 3 by "
     "fl_py_run_later, 4 at the end"},
    {"memory_alloc", demo_memory_alloc, METH_O, "memory_alloc(size): fl_py_memory_alloc; the address"},
    {"memory_realloc", demo_memory_realloc, METH_VARARGS,
     "memory_realloc(address, old_size, size): fl_py_memory_realloc"},
    {"memory_free", demo_memory_free, METH_VARARGS, "memory_free(address, size): fl_py_memory_free"},
    {"memory_read", demo_memory_read, METH_VARARGS, "memory_read(address, size): the bytes there"},
    {"memory_owns", demo_memory_owns, METH_O, "whether the address lies in the slabs of the heap of memory"},
    {"memory_rounds", demo_memory_rounds, METH_VARARGS,
     "memory_rounds(seed, count, most): gives random sizes below `most` to some memory, so often, and sees whether "
     "its "
     "contents stay"},
    {"buffer_beyond", demo_buffer_beyond, METH_NOARGS, "fl_py_buffer_alloc of more than there is"},
    {"wait_in_c", demo_wait_in_c, METH_O, "wait_in_c(seconds): detached, and in no Python code"},
    {"counted", demo_counted, METH_NOARGS, "how often CountedPair's tp_dealloc was called"},
    {NULL, NULL, 0, NULL},
};
