/* SPDX-License-Identifier: MIT
 *
 * References that are dropped later, for the tests.
 */
#include "demo.h"

#include <pthread.h>
#include <time.h>

PyObject *demo_decref_later(PyObject *module, PyObject *args)
{
    PyObject *object;
    Py_ssize_t count = 1;
    (void)module;
    if (!PyArg_ParseTuple(args, "O|n", &object, &count))
        return NULL;
    while (count-- > 0)
        fl_py_decref_later(Py_NewRef(object));
    Py_RETURN_NONE;
}

PyObject *demo_later_reserve(PyObject *module, PyObject *count)
{
    size_t number = PyLong_AsSize_t(count);
    (void)module;
    if (PyErr_Occurred() || fl_py_later_reserve(number) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* With an exception set, which has to stay. */
PyObject *demo_run_later(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    PyErr_SetString(PyExc_KeyError, "set before");
    size_t count = fl_py_run_later();
    if (!PyErr_ExceptionMatches(PyExc_KeyError))
        return NULL;
    PyErr_Clear();
    return PyLong_FromSize_t(count);
}

static void wait_for(double seconds)
{
    const struct timespec time = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (time_t)seconds) * 1e9)};
    Py_BEGIN_ALLOW_THREADS;
    (void)nanosleep(&time, NULL);
    Py_END_ALLOW_THREADS;
}

PyObject *demo_wait_in_c(PyObject *module, PyObject *seconds)
{
    double time = PyFloat_AsDouble(seconds);
    (void)module;
    if (PyErr_Occurred())
        return NULL;
    wait_for(time);
    Py_RETURN_NONE;
}

/* ---- A critical section. */

PyObject *demo_replace_items(PyObject *module, PyObject *args)
{
    PyObject *list, *item;
    long broken = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!O", &PyList_Type, &list, &item))
        return NULL;
    Py_ssize_t size = PyList_GET_SIZE(list);
    if (fl_py_later_reserve((size_t)size) < 0)
        return NULL;
    Py_BEGIN_CRITICAL_SECTION(list);
    for (Py_ssize_t i = 0; i < size; i++) {
        if (PyList_GET_SIZE(list) != size) {
            broken++;
            break;
        }
        PyObject *before = PyList_GET_ITEM(list, i);
        PyList_SET_ITEM(list, i, Py_NewRef(item));
        fl_py_decref_later(before);
        if (PyList_GET_SIZE(list) != size || PyList_GET_ITEM(list, i) != item)
            broken++;
    }
    Py_END_CRITICAL_SECTION();
    (void)fl_py_run_later();
    return PyLong_FromLong(broken);
}

/* ---- Another interpreter. */

enum death { ALIVE, ELSEWHERE, TOO_EARLY, BY_RUN, AT_END };

struct other {
    double seconds;
    int64_t interpreter;
    enum death expected, death;
    bool failed;
};

static void note_death(PyObject *capsule)
{
    struct other *other = PyCapsule_GetPointer(capsule, NULL);
    bool here = PyInterpreterState_GetID(PyInterpreterState_Get()) == other->interpreter;
    other->death = here ? other->expected : ELSEWHERE;
}

static int queue_in_it(struct other *other)
{
    other->interpreter = PyInterpreterState_GetID(PyInterpreterState_Get());
    other->expected = TOO_EARLY;
    PyObject *capsule = PyCapsule_New(other, NULL, note_death);
    if (capsule == NULL || fl_py_later_reserve(1) < 0)
        return -1;
    fl_py_decref_later(capsule);
    return 0;
}

static void *run_other(void *arg)
{
    struct other *other = arg;
    const PyInterpreterConfig config = {.check_multi_interp_extensions = 1,
                                        .allow_threads = 1,
                                        .use_main_obmalloc = 0,
                                        .gil = PyInterpreterConfig_OWN_GIL};
    PyGILState_STATE attached = PyGILState_Ensure();
    PyThreadState *before = PyThreadState_Get(), *state = NULL;
    if (PyStatus_Exception(Py_NewInterpreterFromConfig(&state, &config)) || queue_in_it(other) < 0) {
        other->failed = true;
    } else {
        wait_for(other->seconds < 0 ? 0 : other->seconds);
        other->expected = BY_RUN;
        if (other->seconds >= 0)
            (void)fl_py_run_later();
        other->expected = AT_END;
    }
    if (state != NULL)
        Py_EndInterpreter(state);
    PyThreadState_Swap(before);
    PyGILState_Release(attached);
    return NULL;
}

PyObject *demo_later_in_subinterpreter(PyObject *module, PyObject *seconds)
{
    struct other other = {.seconds = PyFloat_AsDouble(seconds)};
    pthread_t thread;
    (void)module;
    if (PyErr_Occurred())
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    other.failed = pthread_create(&thread, NULL, run_other, &other) != 0;
    if (!other.failed)
        pthread_join(thread, NULL);
    Py_END_ALLOW_THREADS;
    if (other.failed)
        return PyErr_Format(PyExc_RuntimeError, "no subinterpreter");
    return PyLong_FromLong(other.death);
}
