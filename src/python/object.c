/* SPDX-License-Identifier: MIT
 *
 * The slow halves of tp_alloc, tp_free and tp_dealloc: threads that have not allocated yet, empty and full caches,
 * caching turned off, subtypes and variable sizes.
 *
 * Who owns the memory of an object whose tp_free is a declared type's:
 *
 *     tp_flags without HAVE_GC    the heap; the interpreter above FL_BLOCK_MAX, where PyObject_New or the tp_alloc of
 *                                 a C subtype made the object, and where it got its type by an assignment to
 *                                 __class__. So every free looks where the object lies.
 *     with HAVE_GC                the interpreter
 *
 * A subtype made in Python has the interpreter's tp_alloc and tp_free. Its deallocation comes here through the chain
 * of tp_dealloc, after its own part is done, finalizer included.
 */
#include "python/interpreter.h"

static bool has_gc(PyTypeObject *type)
{
    return PyType_HasFeature(type, Py_TPFLAGS_HAVE_GC);
}

/* ---- Allocation. */

/* An untracked object from the interpreter's heap becomes what tp_alloc returns. */
static PyObject *new_in_interpreter(const struct fl_py_type *self, PyTypeObject *type)
{
    PyObject *object = PyObject_GC_New(PyObject, type);
    if (object == NULL)
        return NULL;
    memset((char *)object + sizeof(PyObject), 0, self->size - sizeof(PyObject));
    PyObject_GC_Track(object);
    return object;
}

static PyObject *alloc_gc(const struct fl_py_type *self, PyTypeObject *type, Py_ssize_t items)
{
    if (self->variable || !fl_py_is_exact(self, type))
        return PyType_GenericAlloc(type, items);
    struct fli_py_thread *thread = fli_py_thread_enter();
    if (thread != NULL)
        fli_py_thread_make_room(thread, self, type);
    return new_in_interpreter(self, type);
}

/* As PyType_GenericAlloc, with room for one item more than asked for. */
static size_t bytes_of(PyTypeObject *type, Py_ssize_t items)
{
    size_t bytes = (size_t)type->tp_basicsize;
    if (type->tp_itemsize != 0)
        bytes += (size_t)(items + 1) * (size_t)type->tp_itemsize;
    return fli_round_up(bytes, sizeof(void *));
}

/* The last step of an allocation, as the fast path does it if the thread has the type's references in stock. */
static PyObject *init(const struct fl_py_type *self, PyTypeObject *type, PyObject *object)
{
    if (self->variable || !fl_py_is_exact(self, type))
        return PyObject_Init(object, type);
    struct fli_py_thread *thread = fli_py_thread_enter();
    if (thread != NULL)
        fli_py_thread_fill_stock(thread, self, type);
    bool has_type = !self->immortal && fli_py_threads_caching() && fl_py_take_type(self, type);
    return has_type ? fl_py_init(object, type) : PyObject_Init(object, type);
}

static PyObject *alloc_plain(const struct fl_py_type *self, PyTypeObject *type, Py_ssize_t items)
{
    if (type->tp_itemsize != 0 && items >= (PY_SSIZE_T_MAX - type->tp_basicsize) / type->tp_itemsize - 8)
        return PyErr_NoMemory();
    size_t bytes = bytes_of(type, items);
    PyObject *object = bytes <= FL_BLOCK_MAX ? fli_py_heap_alloc(bytes) : PyObject_Malloc(bytes);
    if (object == NULL)
        return PyErr_NoMemory();
    memset((char *)object + sizeof(PyObject), 0, bytes - sizeof(PyObject));
    if (type->tp_itemsize != 0)
        return (PyObject *)PyObject_InitVar((PyVarObject *)object, type, items);
    return init(self, type, object);
}

PyObject *fl_py_alloc_slow(const struct fl_py_type *self, PyTypeObject *type, Py_ssize_t items)
{
    if (!self->state->ready) {
        PyErr_Format(PyExc_SystemError, "freelane: fl_py_type_ready was not called for %s", type->tp_name);
        return NULL;
    }
    if (self->gc)
        return alloc_gc(self, type, items);
    if (has_gc(type))
        return PyType_GenericAlloc(type, items);
    return alloc_plain(self, type, items);
}

/* ---- Freeing. */

void fl_py_free_slow(const struct fl_py_type *self, PyObject *object)
{
    (void)self;
    (void)fli_py_thread_update();
    if (has_gc(Py_TYPE(object)))
        PyObject_GC_Del(object);
    else if (fli_py_heap_owns(object))
        fli_py_heap_free(object);
    else
        PyObject_Free(object);
}

/* ---- Deallocation. */

void fl_py_end_slow(const struct fl_py_type *self, PyObject *object, PyTypeObject *type)
{
    struct fl_py_stock *stock = &fl_py_drawer_of(self, fl_py_current_thread())->stock;
    if (stock->type == type && stock->references == stock->limit)
        fli_py_stock_relieve(stock);
    fl_py_release(self, object);
    if (!fl_py_give_type(self, type) && fl_py_owns_type(self))
        Py_DECREF(type);
}

/* The declared type's part of a subtype's object. Its objects own a reference to the subtype exactly if the declared
 * type is a heap type; otherwise whoever called gives that back. */
static void dealloc_subtype(const struct fl_py_type *self, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (self->gc)
        PyObject_GC_UnTrack(object);
    if (type->tp_weaklistoffset != 0)
        PyObject_ClearWeakRefs(object);
    if (self->clear != NULL)
        (void)self->clear(object);
    if (type->tp_free != NULL)
        type->tp_free(object);
    else if (has_gc(type)) /* a C subtype that adds gc inherits no tp_free */
        PyObject_GC_Del(object);
    else
        fl_py_free_slow(self, object);
    if (self->state->heap_type)
        Py_DECREF(type);
    fli_py_nest_resume_own();
}

void fl_py_dealloc_slow(const struct fl_py_type *self, PyObject *object)
{
    if (fl_py_is_exact(self, Py_TYPE(object)))
        fli_py_nest_dealloc(fli_py_thread_enter(), self, object);
    else
        dealloc_subtype(self, object);
}
