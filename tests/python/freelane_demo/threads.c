/* SPDX-License-Identifier: MIT
 *
 * Threads that the interpreter did not start, for the tests.
 */
#include "demo.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

/* Calls a function without arguments; what it raises is printed. */
static void call(PyObject *function)
{
    PyObject *result = PyObject_CallNoArgs(function);
    if (result == NULL)
        PyErr_WriteUnraisable(function);
    Py_XDECREF(result);
}

/* Starts a thread, waits for it without holding up the interpreter. Returns None. */
static PyObject *run_thread(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    PyThreadState *state = PyEval_SaveThread();
    int failed = pthread_create(&thread, NULL, run, arg);
    if (failed == 0)
        pthread_join(thread, NULL);
    PyEval_RestoreThread(state);
    if (failed != 0)
        return PyErr_Format(PyExc_OSError, "pthread_create: %d", failed);
    Py_RETURN_NONE;
}

/* ---- One OS thread, a thread state for each call. */

struct rounds {
    PyObject *function;
    int count;
};

static void *run_rounds(void *arg)
{
    struct rounds *rounds = arg;
    for (int i = 0; i < rounds->count; i++) {
        PyGILState_STATE state = PyGILState_Ensure();
        call(rounds->function);
        PyGILState_Release(state);
    }
    return NULL;
}

PyObject *demo_foreign_rounds(PyObject *module, PyObject *args)
{
    struct rounds rounds;
    (void)module;
    if (!PyArg_ParseTuple(args, "Oi", &rounds.function, &rounds.count))
        return NULL;
    return run_thread(run_rounds, &rounds);
}

/* ---- A thread state that the thread leaves behind for another thread to clear, at once or at the thread's end. */

struct left {
    PyObject *before, *after; /* `after`, unless NULL, runs in a second thread state of the same OS thread */
    PyInterpreterState *interpreter;
    PyThreadState *state;
    sem_t is_left, is_cleared;
};

static void *run_and_leave(void *arg)
{
    struct left *left = arg;
    left->state = PyThreadState_New(left->interpreter);
    PyEval_RestoreThread(left->state);
    call(left->before);
    (void)PyEval_SaveThread();
    if (left->after == NULL)
        return NULL;
    sem_post(&left->is_left);
    sem_wait(&left->is_cleared);
    PyThreadState *second = PyThreadState_New(left->interpreter);
    PyEval_RestoreThread(second);
    call(left->after);
    PyThreadState_Clear(second);
    PyThreadState_DeleteCurrent();
    return NULL;
}

/* clear_elsewhere(before): runs it in an OS thread, which ends; then clears its thread state here.
 * clear_elsewhere(before, after): clears it while the OS thread waits, which then runs `after` in a new one. */
PyObject *demo_clear_elsewhere(PyObject *module, PyObject *args)
{
    struct left left = {.interpreter = PyInterpreterState_Get()};
    pthread_t thread;
    int failed;
    (void)module;
    if (!PyArg_ParseTuple(args, "O|O", &left.before, &left.after))
        return NULL;
    if (left.after == NULL) {
        PyObject *result = run_thread(run_and_leave, &left);
        if (result != NULL) {
            PyThreadState_Clear(left.state);
            PyThreadState_Delete(left.state);
        }
        return result;
    }
    sem_init(&left.is_left, 0, 0);
    sem_init(&left.is_cleared, 0, 0);
    PyThreadState *state = PyEval_SaveThread();
    failed = pthread_create(&thread, NULL, run_and_leave, &left);
    if (failed == 0)
        sem_wait(&left.is_left);
    PyEval_RestoreThread(state);
    if (failed != 0)
        return PyErr_Format(PyExc_OSError, "pthread_create: %d", failed);
    PyThreadState_Clear(left.state);
    state = PyEval_SaveThread();
    sem_post(&left.is_cleared);
    pthread_join(thread, NULL);
    PyEval_RestoreThread(state);
    PyThreadState_Delete(left.state); /* the OS thread's second state has looked at it */
    Py_RETURN_NONE;
}

/* ---- An object that dies in a destructor of the OS thread's own storage, after the thread state is gone. */

static pthread_key_t late_key;
static pthread_once_t late_once = PTHREAD_ONCE_INIT;
static PyObject *late_function;

/* The third round: what watches for the thread's end has had its turn. */
static void run_late(void *round)
{
    if ((intptr_t)round < 3) {
        pthread_setspecific(late_key, (void *)((intptr_t)round + 1));
        return;
    }
    PyGILState_STATE state = PyGILState_Ensure();
    call(late_function);
    PyGILState_Release(state);
}

static void make_late_key(void)
{
    pthread_key_create(&late_key, run_late);
}

static void *run_then_late(void *arg)
{
    PyGILState_STATE state = PyGILState_Ensure();
    call(arg);
    PyGILState_Release(state);
    pthread_once(&late_once, make_late_key);
    pthread_setspecific(late_key, (void *)1);
    return NULL;
}

/* run_late(function, late): runs `function` in an OS thread, and `late` while the thread ends. */
PyObject *demo_run_late(PyObject *module, PyObject *args)
{
    PyObject *function;
    (void)module;
    if (!PyArg_ParseTuple(args, "OO", &function, &late_function))
        return NULL;
    return run_thread(run_then_late, function);
}

/* ---- Threads that are slow: each of their objects takes a time. */

static PyMemAllocatorEx quick_objects;
static atomic_ulong quick_thread;
static atomic_long nanoseconds;
static atomic_int delayed;

static bool is_quick(void)
{
    return nanoseconds == 0 || gettid() == getpid() || pthread_self() == quick_thread;
}

static void *slow_malloc(void *context, size_t size)
{
    if (!is_quick()) {
        const struct timespec time = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
        delayed++;
        nanosleep(&time, NULL);
    }
    return quick_objects.malloc(context, size);
}

static void install_slow_malloc(void)
{
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &quick_objects);
    PyMemAllocatorEx slow = quick_objects;
    slow.malloc = slow_malloc;
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &slow);
}

/* delay_others(seconds): all threads but the main one and the caller. First called while there are no others. */
PyObject *demo_delay_others(PyObject *module, PyObject *seconds)
{
    double time = PyFloat_AsDouble(seconds);
    (void)module;
    if (PyErr_Occurred())
        return NULL;
    if (quick_thread == 0)
        install_slow_malloc();
    quick_thread = pthread_self();
    nanoseconds = (long)(time * 1e9);
    Py_RETURN_NONE;
}

PyObject *demo_delayed(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyLong_FromLong(delayed);
}
