/* SPDX-License-Identifier: MIT
 *
 * As passed.c, for files of src/python/, without an interpreter.
 *
 * usage: passed_python buffer|later|stop
 */
#include "grace/grace.h"
#include "heap/registry.h"
#include "python/buffer.h"
#include "python/heap.h"
#include "python/pace.h"
#include "python/queue.h"
#include "python/stop.h"
#include "passed.h"

/* ---- Retired buffers. */

static void make_buffer(void)
{
    fl_py_buffer_free_deferred(fl_py_buffer_alloc(1));
    reach(1);
}

static void use_buffer(void)
{
    await(1);
    fli_py_buffers_free(fli_py_buffers_take_stw());
}

/* ---- References that are dropped later. */

static struct fli_py_queue *queue;
static PyObject object;

static void begin_later(void)
{
    queue = fli_py_queue_create(0);
    MUST(queue != NULL && fli_py_queue_reserve_owner(queue, 1));
}

static void make_reference(void)
{
    object.contents = 1;
    MUST(fli_py_queue_put_owner(queue, &object));
    reach(1);
}

static void use_reference(void)
{
    await(1);
    PyObject *taken = fli_py_queue_take(queue);
    MUST(taken == &object && taken->contents == 1);
}

/* ---- Stops of the world. */

static int64_t token;
static unsigned read_before;

static void begin_stop(void)
{
    fli_py_stop_announce(true);
    token = fli_py_stop_grace.begin(NULL);
    MUST(token > 0);
}

static void make_stop(void)
{
    read_before++;
    fli_py_stop_passed();
}

static void use_stop(void)
{
    while (!fli_py_stop_grace.elapsed(NULL, token))
        sched_yield();
    read_before++;
}

/* ---- The scenarios. */

static const struct scenario scenarios[] = {
    {"buffer", nothing, make_buffer, use_buffer},
    {"later", begin_later, make_reference, use_reference},
    {"stop", begin_stop, make_stop, use_stop},
};

int main(int argc, char **argv)
{
    return run_scenario(scenarios, sizeof scenarios / sizeof *scenarios, argc, argv);
}

/* ---- In place of the interpreter and of other files. */

static PyInterpreterState main_interpreter;
PyObject *PyExc_RuntimeError;

bool fli_py_heap_is_ready(void)
{
    return true;
}

PyInterpreterState *PyInterpreterState_Get(void)
{
    return &main_interpreter;
}

PyInterpreterState *PyInterpreterState_Main(void)
{
    return &main_interpreter;
}

void PyErr_SetString(PyObject *type, const char *text)
{
    (void)type;
    fail(__FILE__, __LINE__, text);
}

PyObject *PyErr_NoMemory(void)
{
    fail(__FILE__, __LINE__, "memory");
    return NULL;
}

PyObject *PyErr_GetRaisedException(void)
{
    return NULL;
}

void PyErr_SetRaisedException(PyObject *exception)
{
    (void)exception;
}

PyObject *PyList_New(int size)
{
    (void)size;
    return NULL;
}

void Py_XDECREF(PyObject *unused)
{
    (void)unused;
}

int Py_IsFinalizing(void)
{
    return 1;
}

void PyUnstable_GC_VisitObjects(int (*visit)(PyObject *, void *), void *argument)
{
    (void)visit, (void)argument;
}

void fli_py_pace_ask(void)
{
}
