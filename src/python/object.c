/* SPDX-License-Identifier: MIT
 *
 * The slow halves of tp_alloc, tp_free and tp_dealloc. They serve threads that have not allocated yet or have no seat,
 * empty and full caches, subtypes, variable sizes, and threads while caching is off. Each looks the calling thread up
 * once.
 *
 * The memory of an object whose tp_free is a declared type's belongs to:
 *
 *     tp_flags without HAVE_GC    The heap. But an object above FL_BLOCK_MAX is the interpreter's, and so is one that
 *                                 PyObject_New or the tp_alloc of a C subtype made, or that got its type by an
 *                                 assignment to __class__. So every free looks where the object lies.
 *     with HAVE_GC                The interpreter.
 *
 * Types of other interpreters than the main one have the interpreter's tp_alloc and tp_free (type.c), and the tp_dealloc
 * of this file; so have all types where a tool looks at each object (tools.h). Their objects lie in none of the heap's
 * slabs, and no drawer is for their types. So the fast paths send them here.
 *
 * A subtype made in Python has the interpreter's tp_alloc and tp_free. Its deallocation comes here through the chain
 * of tp_dealloc, when its own part is done, finalizer included.
 */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/interpreter.h"

#include "python/collect.h"
#include "python/drawer.h"
#include "python/heap.h"
#include "python/nest.h"
#include "python/reclaim.h"
#include "python/stock.h"
#include "python/thread.h"
#include "python/threads.h"
#include "python/tools.h"

static bool has_gc(PyTypeObject *type)
{
    return PyType_HasFeature(type, Py_TPFLAGS_HAVE_GC);
}

/* ---- Threads without a seat. What they do here is what the fast paths of others do. */

static struct fl_py_cache *cache_of(const struct fl_py_type *self)
{
    return &fl_py_drawer_at(self, fl_py_here_slowly())->cache;
}

struct fl_py_cache *fl_py_cache_put_slow(const struct fl_py_type *self, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    struct fl_py_cache *cache = cache_of(self);
    if (fl_py_is_cache_of(cache, type))
        return fl_py_put_cached(self, object, type, cache, false);
    fl_py_free_slow(object, self);
    return NULL;
}

struct fl_py_cache *fl_py_cache_put_growing(const struct fl_py_type *self, PyObject *object)
{
    fli_py_drawer_grow_cache(fli_py_thread_own(), self);
    return fl_py_cache_put_slow(self, object); /* Python code may have run, and emptied the drawer */
}

void fl_py_stock_cache(struct fl_py_cache *cache)
{
    cache->references = fli_py_stock_take_legacy(cache->type);
}

static bool is_unseated(void)
{
    return fl_py_here() == &fl_py_nowhere;
}

/* ---- Allocation. */

/* The last resort before a MemoryError, which is set: takes back what all threads keep. Returns whether to try again. */
static bool reclaim_for_interpreter(void)
{
    if (!PyErr_ExceptionMatches(PyExc_MemoryError))
        return false;
    PyErr_Clear();
    fli_py_reclaim(0, 0);
    return true;
}

/* What tp_alloc returns, in the interpreter's memory. */
static PyObject *new_in_interpreter(PyTypeObject *type, Py_ssize_t items)
{
    PyObject *object = PyType_GenericAlloc(type, items);
    return object == NULL && reclaim_for_interpreter() ? PyType_GenericAlloc(type, items) : object;
}

/* The caller has looked into the cache, and not kept the type in a register for this. */
PyObject *fl_py_alloc_again(const struct fl_py_type *self)
{
    PyTypeObject *type = cache_of(self)->type;
    return type != NULL && reclaim_for_interpreter() ? PyObject_GC_New(PyObject, type) : NULL;
}

static PyObject *alloc_gc(const struct fl_py_type *self, PyTypeObject *type, Py_ssize_t items)
{
    struct fli_py_thread *thread = !self->variable && fl_py_is_exact(self, type) ? fli_py_thread_enter() : NULL;
    if (thread != NULL)
        fli_py_drawer_add_cache(thread, self, type);
    return new_in_interpreter(type, items);
}

/* The size of an object in bytes. As in PyType_GenericAlloc, there is room for one item more than asked for. */
static size_t bytes_of(PyTypeObject *type, Py_ssize_t items)
{
    size_t bytes = (size_t)type->tp_basicsize;
    if (type->tp_itemsize != 0)
        bytes += (size_t)(items + 1) * (size_t)type->tp_itemsize;
    return fli_round_up(bytes, sizeof(void *));
}

/* The last step of an allocation: as in the fast path, if the thread's stock then has a reference to the type. */
static PyObject *init(struct fli_py_thread *thread, const struct fl_py_type *self, PyTypeObject *type,
                      PyObject *object)
{
    if (self->variable || !fl_py_is_exact(self, type))
        return PyObject_Init(object, type);
    if (thread != NULL)
        fli_py_drawer_fill_stock(thread, self, type);
    bool has_type = !self->immortal && fli_py_threads_use_heap() && fl_py_take_type(self, type, fl_py_here_slowly());
    return has_type ? fl_py_init(object, type) : PyObject_Init(object, type);
}

/* Memory of the heap or, where that has no room, of the interpreter. */
static void *find_memory(struct fli_py_thread *thread, size_t bytes)
{
    void *block = bytes <= FL_BLOCK_MAX ? fli_py_heap_alloc(thread, bytes) : NULL;
    return block != NULL ? block : PyObject_Malloc(bytes);
}

/* Memory of the heap, wherever that has some; NULL if it has none. */
static void *search_heap(struct fli_py_thread *thread, size_t bytes)
{
    bool has_heap = thread != NULL && thread->heap != NULL;
    return has_heap && bytes <= FL_BLOCK_MAX ? fli_py_heap_alloc_pressed(thread, bytes) : NULL;
}

/* The same last resort for an object without gc. */
static void *reclaim_memory(size_t bytes)
{
    fli_py_reclaim(0, 0);
    void *block = search_heap(fli_py_thread_enter(), bytes); /* there may be memory for a record now */
    return block != NULL ? block : PyObject_Malloc(bytes);
}

static void *get_memory(struct fli_py_thread *thread, size_t bytes)
{
    void *memory = find_memory(thread, bytes);
    if (FLI_LIKELY(memory != NULL))
        return memory;
    memory = search_heap(thread, bytes);
    return memory != NULL ? memory : reclaim_memory(bytes);
}

static PyObject *alloc_plain(const struct fl_py_type *self, PyTypeObject *type, Py_ssize_t items)
{
    if (type->tp_itemsize != 0 && items >= (PY_SSIZE_T_MAX - type->tp_basicsize) / type->tp_itemsize - 8)
        return PyErr_NoMemory();
    size_t bytes = bytes_of(type, items);
    struct fli_py_thread *thread = fli_py_thread_enter();
    PyObject *object = get_memory(thread, bytes);
    if (object == NULL)
        return PyErr_NoMemory();
    memset((char *)object + sizeof(PyObject), 0, bytes - sizeof(PyObject));
    if (type->tp_itemsize != 0)
        return (PyObject *)PyObject_InitVar((PyVarObject *)object, type, items);
    return init(thread, self, type, object);
}

PyObject *fl_py_alloc_slow(PyTypeObject *type, Py_ssize_t items, const struct fl_py_type *self)
{
    if (!self->state->ready) {
        PyErr_Format(PyExc_SystemError, "freelane: fl_py_type_ready was not called for %s", type->tp_name);
        return NULL;
    }
    struct fl_py_cache *cache = cache_of(self);
    if (self->gc && cache->type == type)
        return fl_py_alloc_cached(self, type, cache);
    PyObject *object = !self->gc && is_unseated() ? fl_py_try_alloc(self, type, &fl_py_current) : NULL;
    if (object != NULL)
        return object;
    if (!fli_py_is_main() || !fli_py_heap_is_ready() || fli_py_tools_found())
        return PyType_GenericAlloc(type, items);
    fli_py_collect_look();
    return has_gc(type) ? alloc_gc(self, type, items) : alloc_plain(self, type, items);
}

/* ---- Freeing. */

/* Whether the object owns a reference to its type that fl_py_end does not give up: the declared type is immortal, but
 * another interpreter's is not. A LEGACY tp_dealloc does so itself. */
static bool owes_reference(const struct fl_py_type *self, PyTypeObject *type)
{
    return self->immortal && !self->subclassed && self->kind != FL_DEALLOC_LEGACY && fli_py_is_lent(self, type) &&
           PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE);
}

void fl_py_free_slow(PyObject *object, const struct fl_py_type *self)
{
    PyTypeObject *type = Py_TYPE(object);
    bool gc = has_gc(type);
    if (is_unseated() && !gc && fl_py_is_exact(self, type) && fl_py_try_release(self, object, &fl_py_current))
        return;
    if (!gc && fli_py_heap_owns(object)) {
        fli_py_heap_free(fli_py_thread_enter(), object);
        return;
    }
    (void)fli_py_thread_update();
    if (gc)
        PyObject_GC_Del(object);
    else
        PyObject_Free(object);
    if (owes_reference(self, type))
        Py_DECREF(type);
}

/* ---- Deallocation. */

void fl_py_end_slow(PyObject *object, const struct fl_py_type *self)
{
    PyTypeObject *type = Py_TYPE(object);
    if (fli_py_is_lent(self, type)) {
        fl_py_release(self, object);
        if (fl_py_owns_type(self))
            Py_DECREF(type);
        return;
    }
    const struct fl_py_current *at = fl_py_here_slowly();
    if (is_unseated() && fl_py_try_end(self, object, type, at))
        return;
    struct fl_py_stock *stock = &fl_py_drawer_at(self, at)->stock;
    if (stock->type == type && stock->references == stock->limit)
        fli_py_stock_relieve(stock);
    fl_py_release(self, object);
    if (!fl_py_give_type(self, type, at) && fl_py_owns_type(self))
        Py_DECREF(type);
}

/* Ends the declared type's part of a subtype's object, where that is not a LEGACY tp_dealloc's business. Such an object owns
 * a reference to the subtype. That is given up here exactly if the declared type is a heap type; if not, the subtype's own
 * tp_dealloc does so. */
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
        fl_py_free_slow(object, self);
    if (self->state->heap_type)
        Py_DECREF(type);
}

/* Deallocates an object of the declared type that lies in the interpreter's memory. */
static void dealloc_lent(const struct fl_py_type *self, PyObject *object, PyTypeObject *type)
{
    if (self->kind == FL_DEALLOC_PLAIN)
        fl_py_end(self, object, type, fl_py_here());
    else
        fli_py_nest_dealloc(fli_py_thread_enter(), self, object);
}

static void dealloc_part(const struct fl_py_type *self, PyObject *object)
{
    if (self->kind == FL_DEALLOC_LEGACY)
        fl_py_destroy_legacy(self, object);
    else
        dealloc_subtype(self, object);
    fli_py_nest_resume_own();
}

void fl_py_dealloc_slow(PyObject *object, const struct fl_py_type *self)
{
    PyTypeObject *type = Py_TYPE(object);
    if (fl_py_is_exact(self, type))
        fli_py_nest_dealloc(fli_py_thread_enter(), self, object);
    else if (fli_py_is_lent(self, type))
        dealloc_lent(self, object, type);
    else
        dealloc_part(self, object);
}

#endif
