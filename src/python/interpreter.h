/* SPDX-License-Identifier: MIT
 *
 * The ground of the CPython side: the interpreter's headers, and where builds of the interpreter differ.
 *
 *     file           owns                                                    called by
 *     type.[ch]      the checks of fl_py_type_ready                          the module's execution
 *     runtime.[ch]   declarations that are made at run time                  the module's execution
 *     lookup.[ch]    a table of types and their declarations                 type.c, runtime.c
 *     object.c       the slow halves of the slots                            the fast paths of python_inline.h
 *     thread.[ch]    one thread, from its first object to its end            object.c, collect.c, the interpreter
 *     threads.[ch]   all threads: recalls, the caching switch, fork          thread.c, collect.c
 *     seat.[ch]      where the fast paths find a thread's caches             threads.c, thread.c
 *     drawer.[ch]    a thread's drawers: making, filling, emptying           object.c, thread.c, threads.c
 *     stock.[ch]     references to a type, many at once                      drawer.c, object.c
 *     nest.[ch]      deallocations inside each other                         object.c, thread.c, collect.c
 *     waiting.[ch]   dead objects that wait, and orphans among them          nest.c
 *     copies.[ch]    what all copies of one version do together              the interpreter (gc.callbacks, os, atexit)
 *     collect.[ch]   what a copy does at collections, forks and the end      copies.c
 *     pace.[ch]      asking for stops where nobody collects                  heap.c, the interpreter (pending calls)
 *     helper.[ch]    threads that serve where no other does in time          pace.c, later.c, collect.c
 *     later.[ch]     references that are dropped later                       the extension, thread.c, collect.c
 *     queue.[ch]     a queue of them                                         later.c
 *     buffer.[ch]    retired buffers, which threads may still read            the extension, reclaim.c, collect.c
 *     join.[ch]      joining an interpreter, and its end                     collect.c, copies.c, later.c
 *     reclaim.[ch]   taking back what all threads keep                       collect.c, pace.c
 *     stop.[ch]      stops of the world, which are grace periods             reclaim.c, collect.c, heap.c
 *     heap.[ch]      the heap of objects without gc, statistics              all of them
 *     memory.[ch]    memory beside objects, from a heap of its own           the extension, reclaim.c
 *     maker.[ch]     making these heaps                                      heap.c, memory.c
 *     header.[ch]    whether the fast paths may write objects' headers        type.c, threads.c, object.c
 *     tools.[ch]     tools that look at each object of the interpreter         type.c, object.c
 *     report.[ch]    what this copy tells of itself in Python                type.c, the Python package
 *     options.[ch]   the options of that heap                                heap.c, the module's execution
 *
 * Shared state lies under the core's registry lock (heap/registry.h), under the PyMutex of type.c, or is atomic. No
 * thread holds the registry lock while it calls the interpreter, so a stop of the world never waits for that lock.
 */
#ifndef FLI_PYTHON_INTERPRETER_H
#define FLI_PYTHON_INTERPRETER_H

#include <freelane/python.h>

#include "base/atomic.h"
#include "base/base.h"
#include "base/config.h"

#if defined(Py_GIL_DISABLED)
enum { FLI_PY_FREE_THREADED = 1 };
#else
enum { FLI_PY_FREE_THREADED = 0 };
#endif

/* The number of the interpreter that the calling thread runs; 0: the main one. A thread without a thread state counts
 * as one of the main interpreter. */
static inline int64_t fli_py_interpreter(void)
{
    PyThreadState *state = PyThreadState_GetUnchecked();
    return state != NULL ? PyInterpreterState_GetID(state->interp) : 0;
}

static inline bool fli_py_is_main(void)
{
    return fli_py_interpreter() == 0;
}

/* Whether objects of a type that `self` declares lie in the interpreter's memory, because fl_py_type_ready has given
 * the type the interpreter's tp_alloc and tp_free. */
static inline bool fli_py_is_lent(const struct fl_py_type *self, PyTypeObject *type)
{
    return type->tp_dealloc == self->dealloc && (type->tp_free == PyObject_Free || type->tp_free == PyObject_GC_Del);
}

/* How many more calls of Python functions inside each other the calling thread state allows. */
static inline int fli_py_calls_left(void)
{
    return PyThreadState_GetUnchecked()->py_recursion_remaining;
}

/* Whether the interpreter has made it immortal: since 3.15 it does, if the caller has the only reference. */
static inline bool fli_py_try_immortalize(PyObject *object)
{
#if PY_VERSION_HEX >= 0x030F0000
    return PyUnstable_SetImmortal(object) == 1;
#else
    (void)object;
    return false;
#endif
}

/* Makes a type immortal, as None is, before other threads know it. As in the interpreter, the collector loses sight of
 * it: the collector would take the reference count of an object that it finds unreachable for a true one. */
static inline void fli_py_immortalize(PyTypeObject *type)
{
    PyObject *object = (PyObject *)type;
    if (fli_py_try_immortalize(object))
        return;
    /* A type refers to itself by its tp_mro. */
    PyObject_GC_UnTrack(object);
#if defined(Py_GIL_DISABLED)
    /* Relaxed, these three: no other thread looks yet. */
    __atomic_store_n(&object->ob_tid, Py_None->ob_tid, __ATOMIC_RELAXED);
    __atomic_store_n(&object->ob_ref_local, Py_None->ob_ref_local, __ATOMIC_RELAXED);
    __atomic_store_n(&object->ob_ref_shared, Py_None->ob_ref_shared, __ATOMIC_RELAXED);
#elif PY_VERSION_HEX >= 0x030E0000
    Py_SET_REFCNT(object, _Py_IMMORTAL_INITIAL_REFCNT);
#else
    Py_SET_REFCNT(object, _Py_IMMORTAL_REFCNT);
#endif
}

/* ---- References to a type, many at once. In a free-threaded build an object has two counts: one for the thread that
 * owns it, and one for all other threads, above some flags. Py_INCREF and Py_DECREF in those other threads change it
 * by one; these two functions change it by several. */

#if defined(Py_GIL_DISABLED)
/* Whether the calling thread owns the object, so that the other count is its own. */
static inline bool fli_py_is_owner(PyObject *object)
{
    return __atomic_load_n(&object->ob_tid, __ATOMIC_RELAXED) == _Py_ThreadId(); /* relaxed: as Py_INCREF looks */
}
#endif

/* Adds to the calling thread's own count, where it owns the type: it is about to give up the references by Py_DECREF, one by
 * one. Where its own count comes to 0, the interpreter merges both, and all later changes are made as by other threads.
 * Returns false, and has done nothing, where it is no owner or the count is high. */
static inline bool fli_py_try_add_own_references(PyTypeObject *type, size_t count)
{
#if defined(Py_GIL_DISABLED)
    PyObject *object = (PyObject *)type;
    uint32_t own = __atomic_load_n(&object->ob_ref_local, __ATOMIC_RELAXED); /* relaxed, both: its only writer */
    if (!fli_py_is_owner(object) || own > UINT32_MAX / 2)
        return false;
    __atomic_store_n(&object->ob_ref_local, own + (uint32_t)count, __ATOMIC_RELAXED);
    return true;
#else
    (void)type, (void)count;
    return false;
#endif
}

static inline void fli_py_add_references(PyTypeObject *type, size_t count)
{
#if defined(Py_GIL_DISABLED)
    PyObject *object = (PyObject *)type;
    /* Relaxed: the caller has a reference. */
    if (!_Py_IsImmortal(object))
        (void)__atomic_fetch_add(&object->ob_ref_shared, (Py_ssize_t)count << _Py_REF_SHARED_SHIFT, __ATOMIC_RELAXED);
#else
    while (count-- > 0)
        Py_INCREF(type);
#endif
}

/* The reverse of fli_py_try_add_own_references. The count stays above 0. */
static inline bool fli_py_try_subtract_own_references(PyTypeObject *type, size_t count)
{
#if defined(Py_GIL_DISABLED)
    PyObject *object = (PyObject *)type;
    uint32_t own = __atomic_load_n(&object->ob_ref_local, __ATOMIC_RELAXED); /* relaxed, both: its only writer */
    if (!fli_py_is_owner(object) || own <= count || _Py_IsImmortal(object))
        return false;
    __atomic_store_n(&object->ob_ref_local, own - (uint32_t)count, __ATOMIC_RELAXED);
    return true;
#else
    (void)type, (void)count;
    return false;
#endif
}

/* Subtracts from the count for other threads, if it is higher: then the rest concerns neither the type's owner nor
 * the type's end. Returns false, and has done nothing, if it is not. */
static inline bool fli_py_try_subtract_references(PyTypeObject *type, size_t count)
{
#if defined(Py_GIL_DISABLED)
    PyObject *object = (PyObject *)type;
    __typeof__(object->ob_ref_shared) shared = __atomic_load_n(&object->ob_ref_shared,
                                                               __ATOMIC_RELAXED); /* relaxed: the exchange compares */
    do {
        if (_Py_IsImmortal(object))
            return true;
        if ((Py_ssize_t)(shared >> _Py_REF_SHARED_SHIFT) <= (Py_ssize_t)count)
            return false;
        /* Relaxed, both: the caller has one reference more, and giving that up orders what was done before the type's
         * end. */
    } while (!__atomic_compare_exchange_n(&object->ob_ref_shared, &shared,
                                          shared - ((Py_ssize_t)count << _Py_REF_SHARED_SHIFT), true,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return true;
#else
    (void)type;
    return count == 0;
#endif
}

#endif
