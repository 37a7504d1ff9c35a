/* SPDX-License-Identifier: MIT
 *
 * In place of python.h and CPython: what src/python/ says and uses of them in the files whose memory orders are tested
 * without an interpreter (tests/model/model_later.cpp, tests/orders/passed_python.c).
 */
#ifndef FREELANE_PYTHON_H
#define FREELANE_PYTHON_H

#include "base/atomic.h"

#include <freelane/freelane.h>

#define FL_PY_FALLBACK 0

#if defined(FREELANE_MODEL)
/* Memory that is given back stays, because the model knows words in it until an execution ends. It begins as zeros. */
#undef free
#undef malloc
#define free(memory)  ((void)(memory))
#define malloc(bytes) calloc(1, (bytes))
typedef struct {
    rl::var<unsigned> contents;
} PyObject;

/* A place of a queue. Besides the atomic access there is a plain one, so that who writes a place again has to be ordered
 * after who has read it: a load that sees a later store of its own is nothing that Relacy knows. */
template <> struct fli_model_atomic<PyObject *> : rl::generic_atomic<PyObject *, true> {
    fli_model_atomic()
    {
        made($).store(true);
    }
    void assert_made() const
    {
        made($).load();
    }
    void end()
    {
        made($).store(false);
    }
    PyObject *load(rl::memory_order order, rl::debug_info_param info) const
    {
        (void)plain(info).load();
        return rl::generic_atomic<PyObject *, true>::load(order, info);
    }
    void store(PyObject *object, rl::memory_order order, rl::debug_info_param info)
    {
        plain(info).store(true);
        rl::generic_atomic<PyObject *, true>::store(object, order, info);
    }

  private:
    rl::var<bool> made, plain;
};
#else
typedef struct {
    unsigned contents;
} PyObject;
#endif

typedef struct {
    int64_t id;
} PyInterpreterState;

typedef struct {
    PyInterpreterState *interp;
} PyThreadState;

typedef struct {
    const char *name;
    PyObject *(*call)(PyObject *, PyObject *);
    int flags;
    const char *text;
} PyMethodDef;

typedef int PyGILState_STATE;

#define METH_NOARGS            0
#define Py_RETURN_NONE         return NULL
#define Py_BEGIN_ALLOW_THREADS (void)0
#define Py_END_ALLOW_THREADS   (void)0

extern PyObject *PyExc_RuntimeError;

PyThreadState *PyThreadState_GetUnchecked(void);
PyInterpreterState *PyInterpreterState_Get(void);
PyInterpreterState *PyInterpreterState_Main(void);
int64_t PyInterpreterState_GetID(PyInterpreterState *interpreter);
PyGILState_STATE PyGILState_Ensure(void);
void PyGILState_Release(PyGILState_STATE state);
int Py_AddPendingCall(int (*call)(void *), void *argument);
void PyErr_SetString(PyObject *type, const char *text);
PyObject *PyErr_NoMemory(void);
PyObject *PyErr_GetRaisedException(void);
void PyErr_SetRaisedException(PyObject *exception);
PyObject *PyList_New(int size);
void Py_DECREF(PyObject *object);
void Py_XDECREF(PyObject *object);
int Py_IsFinalizing(void);
void PyUnstable_GC_VisitObjects(int (*visit)(PyObject *, void *), void *argument);

struct fl_py_stats {
    uint64_t later_references, leaked_references, retired_bytes, stops, stopped_ns, longest_stop_ns;
};

void *fl_py_buffer_alloc(size_t size);
void fl_py_buffer_free(void *content);
void fl_py_buffer_free_deferred(void *content);
void fl_py_decref_later(PyObject *object);
size_t fl_py_run_later(void);
int fl_py_later_reserve(size_t count);

#endif
