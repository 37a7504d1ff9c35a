/* SPDX-License-Identifier: MIT
 *
 * The declarations of python.h where Freelane cannot work, or is not to (FREELANE_PYTHON_FALLBACK): types get the
 * interpreter's own allocation, so an author writes no #ifdef. python.h has the contract, and includes this at its end
 * in place of python_inline.h. Nothing has to be linked: every function is defined here.
 *
 *     tp_alloc      PyType_GenericAlloc
 *     tp_free       PyObject_GC_Del for types with gc, PyObject_Free for others
 *     tp_dealloc    what the kind says, as with Freelane; deep structures included
 *
 * fl_py_type_ready checks nothing. Statistics are zeros, and there is no heap. What is to be dropped later
 * waits until the same thread calls fl_py_run_later, or its thread state ends. A retired buffer waits for a collection
 * where there is no GIL. Uses only what
 * Py_LIMITED_API, PyPy and GraalPy have, and no extension of C but a variable for each thread.
 */
#ifndef FREELANE_PYTHON_FALLBACK_H
#define FREELANE_PYTHON_FALLBACK_H

#include <freelane/python.h>

#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_MSC_VER)
#define FL_PY_THREAD_LOCAL __declspec(thread)
#else
#define FL_PY_THREAD_LOCAL __thread
#endif

/* A slot of a type: Py_LIMITED_API hides the fields. */
#if defined(Py_LIMITED_API)
#define FL_PY_SLOT(type, slot, kind) ((kind)PyType_GetSlot(type, Py_##slot))
#else
#define FL_PY_SLOT(type, slot, kind) ((kind)(type)->slot)
#endif

/* What FL_PY_TYPE_OF_SIZE defines. */
#define FL_PY_DEFINE(prefix, basic_size, ...)                                                                        \
    static PyObject *prefix##_alloc(PyTypeObject *type, Py_ssize_t items);                                           \
    static void prefix##_free(void *object);                                                                         \
    static void prefix##_freelane_dealloc(PyObject *object);                                                         \
    static const struct fl_py_type prefix##_freelane = {__VA_ARGS__,                                                 \
                                                        .size = basic_size,                                          \
                                                        .alloc = prefix##_alloc,                                     \
                                                        .free = prefix##_free,                                       \
                                                        .dealloc = prefix##_freelane_dealloc,                        \
                                                        .state = NULL};                                              \
    static PyObject *prefix##_alloc(PyTypeObject *type, Py_ssize_t items)                                            \
    {                                                                                                                \
        return PyType_GenericAlloc(type, items);                                                                     \
    }                                                                                                                \
    static void prefix##_free(void *object)                                                                          \
    {                                                                                                                \
        fl_py_fallback_free(object);                                                                                 \
    }                                                                                                                \
    static void prefix##_freelane_dealloc(PyObject *object)                                                          \
    {                                                                                                                \
        fl_py_fallback_dealloc(&prefix##_freelane, object);                                                          \
    }

/* ---- One object. */

static inline bool fl_py_fallback_has_gc(PyTypeObject *type)
{
    return PyType_HasFeature(type, Py_TPFLAGS_HAVE_GC) != 0;
}

static inline void fl_py_fallback_free(void *object)
{
    if (fl_py_fallback_has_gc(Py_TYPE((PyObject *)object)))
        PyObject_GC_Del(object);
    else
        PyObject_Free(object);
}

/* Whether the finalizer has resurrected the object. With Py_LIMITED_API the collector does not learn that it has run: an
 * object that it resurrects is finalized again when it dies again. */
static inline bool fl_py_fallback_finalize(PyObject *object)
{
#if !defined(Py_LIMITED_API)
    return PyObject_CallFinalizerFromDealloc(object) < 0;
#else
    PyTypeObject *type = Py_TYPE(object);
    destructor finalize = FL_PY_SLOT(type, tp_finalize, destructor);
#if Py_LIMITED_API + 0 >= 0x03090000
    if (fl_py_fallback_has_gc(type) && PyObject_GC_IsFinalized(object))
        return false;
#endif
    if (finalize == NULL)
        return false;
    Py_SET_REFCNT(object, 1);
    finalize(object);
    Py_SET_REFCNT(object, Py_REFCNT(object) - 1);
    return Py_REFCNT(object) > 0;
#endif
}

static inline void fl_py_fallback_clear_weakrefs(PyObject *object, PyTypeObject *type)
{
#if !defined(Py_LIMITED_API)
    bool managed = false;
#if defined(Py_TPFLAGS_MANAGED_WEAKREF)
    managed = PyType_HasFeature(type, Py_TPFLAGS_MANAGED_WEAKREF) != 0;
#endif
    if (managed || type->tp_weaklistoffset != 0)
        PyObject_ClearWeakRefs(object);
#else
    /* It fails for types without weak references, which cannot be told from others. */
    PyObject *exception, *value, *traceback;
    (void)type;
    PyErr_Fetch(&exception, &value, &traceback);
    PyObject_ClearWeakRefs(object);
    PyErr_Restore(exception, value, traceback);
#endif
}

/* Whether the declared type is a heap type: `type`, or the last of its bases that has the same tp_dealloc. */
static inline bool fl_py_fallback_is_heap_type(const struct fl_py_type *self, PyTypeObject *type)
{
    bool is_heap_type = false;
    for (; type != NULL; type = FL_PY_SLOT(type, tp_base, PyTypeObject *))
        if (FL_PY_SLOT(type, tp_dealloc, destructor) == self->dealloc)
            is_heap_type = PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE) != 0;
    return is_heap_type;
}

/* A subtype made in Python has called its finalizer before, and names its tp_free. */
static inline void fl_py_fallback_destroy(const struct fl_py_type *self, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    bool is_exact = FL_PY_SLOT(type, tp_dealloc, destructor) == self->dealloc;
    bool owns_type = fl_py_fallback_is_heap_type(self, type);
    freefunc give_back = FL_PY_SLOT(type, tp_free, freefunc);
    if (is_exact && self->kind == FL_DEALLOC_FINALIZE && fl_py_fallback_finalize(object))
        return;
    if (fl_py_fallback_has_gc(type))
        PyObject_GC_UnTrack(object);
    if (self->kind != FL_DEALLOC_PLAIN)
        fl_py_fallback_clear_weakrefs(object, type);
    if (self->clear != NULL)
        (void)self->clear(object);
    if (give_back != NULL)
        give_back(object);
    else
        fl_py_fallback_free(object);
    if (owns_type)
        Py_DECREF(type);
}

/* ---- Deallocations inside each other. The outermost destroys what waits. */

#define FL_PY_FALLBACK_LEVELS 64

struct fl_py_fallback_entry {
    const struct fl_py_type *self;
    PyObject *object;
};

struct fl_py_fallback_nest {
    PyThreadState *state; /* of the deallocations that are under way */
    size_t outermost;     /* where the outermost has its frame */
    unsigned levels;
    struct fl_py_fallback_entry *waiting;
    size_t count, room;
};

static inline struct fl_py_fallback_nest *fl_py_fallback_own_nest(void)
{
    static FL_PY_THREAD_LOCAL struct fl_py_fallback_nest nest;
    return &nest;
}

/* Has an object wait. Returns false, and has done nothing, if memory is refused. */
static inline bool fl_py_fallback_wait(struct fl_py_fallback_nest *nest, const struct fl_py_type *self,
                                       PyObject *object)
{
    if (nest->count == nest->room) {
        size_t room = 2 * nest->room + 64;
        void *waiting = realloc(nest->waiting, room * sizeof *nest->waiting);
        if (waiting == NULL)
            return false;
        nest->waiting = (struct fl_py_fallback_entry *)waiting;
        nest->room = room;
    }
    if (fl_py_fallback_has_gc(Py_TYPE(object)))
        PyObject_GC_UnTrack(object);
    nest->waiting[nest->count].self = self;
    nest->waiting[nest->count++].object = object;
    return true;
}

/* Destroys what waits, one after the other. */
static inline void fl_py_fallback_resume(struct fl_py_fallback_nest *nest)
{
    while (nest->count > 0) {
        struct fl_py_fallback_entry entry = nest->waiting[--nest->count];
        if (fl_py_fallback_has_gc(Py_TYPE(entry.object)))
            PyObject_GC_Track(entry.object);
        fl_py_fallback_destroy(entry.self, entry.object);
    }
    free(nest->waiting);
    nest->waiting = NULL;
    nest->room = 0;
}

static inline void fl_py_fallback_dealloc_in(struct fl_py_fallback_nest *nest, const struct fl_py_type *self,
                                             PyObject *object, size_t frame)
{
    if (frame >= nest->outermost)
        nest->levels = 0; /* a destructor has not come back */
    if (nest->levels >= FL_PY_FALLBACK_LEVELS && fl_py_fallback_wait(nest, self, object))
        return;
    if (nest->levels++ == 0)
        nest->outermost = frame;
    fl_py_fallback_destroy(self, object);
    if (nest->levels == 1)
        fl_py_fallback_resume(nest);
    nest->levels--;
}

/* The slot tp_dealloc. An OS thread that changes the thread state in a destructor starts anew: another interpreter may
 * not destroy what waits. */
static inline void fl_py_fallback_dealloc(const struct fl_py_type *self, PyObject *object)
{
    struct fl_py_fallback_nest *nest = fl_py_fallback_own_nest(), above = *nest;
    PyThreadState *state;
    char here;
    if (self->kind == FL_DEALLOC_PLAIN) {
        fl_py_fallback_destroy(self, object);
        return;
    }
    state = PyThreadState_Get();
    if (nest->levels == 0 || nest->state == state) {
        nest->state = state;
        fl_py_fallback_dealloc_in(nest, self, object, (size_t)&here);
        return;
    }
    memset(nest, 0, sizeof *nest);
    nest->state = state;
    fl_py_fallback_dealloc_in(nest, self, object, (size_t)&here);
    *nest = above;
}

/* ---- Types known at run time. All have one tp_dealloc, which looks for the declaration by the type of the object. */

/* A type that fl_py_type_ready has been called for. */
struct fl_py_fallback_known {
    PyTypeObject *type;
    const struct fl_py_type *self;
    struct fl_py_fallback_known *next;
};

/* Of a declaration that is made at run time: where its types are listed. */
struct fl_py_state {
    struct fl_py_fallback_known **known;
};

static inline struct fl_py_fallback_known **fl_py_fallback_list(void)
{
    static struct fl_py_fallback_known *known;
    return &known;
}

static inline struct fl_py_fallback_known *fl_py_fallback_first(struct fl_py_fallback_known **known)
{
#if defined(__GNUC__)
    /* J1: acquire, pairs with J2 in fl_py_fallback_know: a thread that finds a type finds its declaration. */
    return __atomic_load_n(known, __ATOMIC_ACQUIRE);
#else
    return *known;
#endif
}

/* Puts a type first in the list. It stays there: an older one at the same address has ended. */
static inline void fl_py_fallback_know(struct fl_py_fallback_known **known, struct fl_py_fallback_known *made)
{
    made->next = fl_py_fallback_first(known);
#if defined(__GNUC__)
    /* J2: release, pairs with J1 in fl_py_fallback_first. Relaxed on failure: it is tried again. */
    while (!__atomic_compare_exchange_n(known, &made->next, made, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;
#else
    *known = made;
#endif
}

static inline void fl_py_fallback_dealloc_known(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    struct fl_py_fallback_known *known = NULL;
    while (FL_PY_SLOT(type, tp_dealloc, destructor) != fl_py_fallback_dealloc_known)
        type = FL_PY_SLOT(type, tp_base, PyTypeObject *);
    for (; known == NULL && type != NULL; type = FL_PY_SLOT(type, tp_base, PyTypeObject *)) {
        known = fl_py_fallback_first(fl_py_fallback_list());
        while (known != NULL && known->type != type)
            known = known->next;
    }
    if (known != NULL)
        fl_py_fallback_dealloc(known->self, object);
    else
        Py_FatalError("freelane: fl_py_type_ready was not called for the type of an object");
}

static inline PyObject *fl_py_fallback_alloc(PyTypeObject *type, Py_ssize_t items)
{
    return PyType_GenericAlloc(type, items);
}

/* The least bytes of an object: its count, and its type. abi3t does not show the whole header. */
#define FL_PY_LEAST_BYTES (2 * sizeof(void *))

FL_PY_API struct fl_py_type *fl_py_type_new(size_t size, enum fl_dealloc_kind kind, unsigned flags)
{
    struct fl_py_type *made;
    if (size < FL_PY_LEAST_BYTES || (unsigned)kind > FL_DEALLOC_FINALIZE || flags >= 2 * FL_PY_CYTHON) {
        PyErr_SetString(PyExc_ValueError, "freelane: the size, kind or flags of a type are none");
        return NULL;
    }
    made = (struct fl_py_type *)calloc(1, sizeof *made + sizeof *made->state);
    if (made == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    made->kind = kind;
    made->gc = (flags & FL_PY_GC) != 0;
    made->subclassed = (flags & FL_PY_SUBCLASSED) != 0;
    made->immortal = (flags & FL_PY_IMMORTAL) != 0;
    made->variable = (flags & FL_PY_VARIABLE) != 0;
    made->unwrapped = (flags & FL_PY_UNWRAPPED) != 0;
    made->size = size;
    made->alloc = fl_py_fallback_alloc;
    made->free = fl_py_fallback_free;
    made->dealloc = fl_py_fallback_dealloc_known;
    made->state = (struct fl_py_state *)(void *)(made + 1);
    made->state->known = fl_py_fallback_list();
    return made;
}

/* The type has what it needs already. */
FL_PY_API int fl_py_type_adopt(PyTypeObject *type, unsigned flags)
{
    (void)type, (void)flags;
    return 0;
}

/* ---- The functions of python.h. */

FL_PY_API int fl_py_type_ready(const struct fl_py_type *self, PyTypeObject *type)
{
    struct fl_py_fallback_known *made;
    if (self->state == NULL)
        return 0;
    made = (struct fl_py_fallback_known *)calloc(1, sizeof *made);
    if (made == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    made->type = type;
    made->self = self;
    fl_py_fallback_know(self->state->known, made);
    return 0;
}

FL_PY_API int fl_py_configure(const struct fl_py_options *options)
{
    (void)options;
    return 0;
}

/* What is to be dropped later: a list in the dictionary of the thread state. A borrowed reference; NULL with an exception
 * if memory is refused. */
static inline PyObject *fl_py_fallback_later(void)
{
    static const char key[] = "freelane.later";
    PyObject *dict = PyThreadState_GetDict();
    PyObject *list = dict != NULL ? PyDict_GetItemString(dict, key) : NULL;
    int failed;
    if (list != NULL)
        return list;
    list = dict != NULL ? PyList_New(0) : PyErr_NoMemory();
    if (list == NULL)
        return NULL;
    failed = PyDict_SetItemString(dict, key, list);
    Py_DECREF(list);
    return failed ? NULL : list;
}

FL_PY_API int fl_py_later_reserve(size_t count)
{
    (void)count;
    return fl_py_fallback_later() != NULL ? 0 : -1;
}

FL_PY_API void fl_py_decref_later(PyObject *object)
{
    PyObject *exception, *value, *traceback, *list;
    if (object == NULL)
        return;
    PyErr_Fetch(&exception, &value, &traceback);
    list = fl_py_fallback_later();
    if (list != NULL && PyList_Append(list, object) == 0)
        Py_DECREF(object); /* the list has one of its own */
    PyErr_Restore(exception, value, traceback);
}

FL_PY_API size_t fl_py_run_later(void)
{
    PyObject *exception, *value, *traceback, *list;
    Py_ssize_t length = 0;
    size_t count = 0;
    PyErr_Fetch(&exception, &value, &traceback);
    list = fl_py_fallback_later();
    while (list != NULL && (length = PyList_Size(list)) > 0) {
        PyObject *dropped = PyList_GetSlice(list, 0, length);
        if (dropped == NULL || PyList_SetSlice(list, 0, length, NULL) < 0) {
            Py_XDECREF(dropped);
            break;
        }
        count += (size_t)length;
        Py_DECREF(dropped);
    }
    PyErr_Restore(exception, value, traceback);
    return count;
}

FL_PY_INLINE void *fl_py_memory_alloc(size_t size)
{
    void *memory = PyMem_Malloc(size);
    return memory != NULL ? memory : PyErr_NoMemory();
}

FL_PY_INLINE void fl_py_memory_free(void *memory, size_t size)
{
    (void)size;
    PyMem_Free(memory);
}

FL_PY_API void *fl_py_memory_realloc(void *memory, size_t old_size, size_t size)
{
    void *moved = PyMem_Realloc(memory, size);
    (void)old_size;
    return moved != NULL ? moved : PyErr_NoMemory();
}

FL_PY_API void *fl_py_buffer_alloc(size_t size)
{
    void *buffer = calloc(1, size != 0 ? size : 1);
    return buffer != NULL ? buffer : PyErr_NoMemory();
}

FL_PY_API void fl_py_buffer_free(void *buffer)
{
    free(buffer);
}

static inline void fl_py_fallback_free_buffer(PyObject *capsule)
{
    free(PyCapsule_GetPointer(capsule, NULL));
}

/* Where there is no GIL, what frees the buffer is garbage that a collection finds, after it has stopped the world. */
static inline void fl_py_fallback_retire(void *buffer)
{
    PyObject *exception, *value, *traceback, *capsule, *cycle;
    PyErr_Fetch(&exception, &value, &traceback);
    cycle = PyList_New(0);
    if (cycle != NULL && PyList_Append(cycle, cycle) == 0) {
        capsule = PyCapsule_New(buffer, NULL, fl_py_fallback_free_buffer);
        if (capsule != NULL && PyList_Append(cycle, capsule) < 0)
            Py_INCREF(capsule); /* leaks: it cannot wait */
        Py_XDECREF(capsule);
    }
    Py_XDECREF(cycle);
    PyErr_Restore(exception, value, traceback);
}

FL_PY_API void fl_py_buffer_free_deferred(void *buffer)
{
#if defined(Py_GIL_DISABLED) || defined(Py_LIMITED_API)
    if (buffer != NULL)
        fl_py_fallback_retire(buffer);
#else
    free(buffer);
#endif
}

FL_PY_API bool fl_py_set_caching(bool on)
{
    (void)on;
    return false;
}

FL_PY_API void fl_py_get_stats(struct fl_py_stats *stats)
{
    memset(stats, 0, sizeof *stats);
}

FL_PY_API struct fl_heap *fl_py_heap(void)
{
    return NULL;
}

FL_PY_API struct fl_heap *fl_py_memory_heap(void)
{
    return NULL;
}

#ifdef __cplusplus
}
#endif

#endif
