/* SPDX-License-Identifier: MIT
 *
 * The twins' slots, as authors write them by hand.
 */
#ifndef FREELANE_DEMO_TWINS_H
#define FREELANE_DEMO_TWINS_H

#include "demo.h"

/* What the deallocation of every twin begins with. Returns false if the object was resurrected. */
static inline bool twin_clear(PyObject *self, inquiry clear, bool gc)
{
    if (Py_TYPE(self)->tp_finalize != NULL && PyObject_CallFinalizerFromDealloc(self) < 0)
        return false;
    if (gc)
        PyObject_GC_UnTrack(self);
    if (Py_TYPE(self)->tp_weaklistoffset != 0)
        PyObject_ClearWeakRefs(self);
    if (clear != NULL)
        (void)clear(self);
    return true;
}

/* The collector of a build with the GIL marks finalized objects in front of their header. */
static inline bool twin_is_renewable(PyObject *self, bool gc)
{
#if defined(Py_GIL_DISABLED)
    (void)self, (void)gc;
    return true;
#else
    return !gc || !PyObject_GC_IsFinalized(self);
#endif
}

static inline void twin_free(PyObject *self, bool heap)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    if (heap)
        Py_DECREF(type);
}

/* Objects of a heap type own a reference to their type, of which the collector is told by the type whose `traverse`
 * this is, if it is a heap type, and otherwise by a subtype. */
static inline int twin_visit_type(PyObject *object, traverseproc traverse, visitproc visit, void *arg)
{
    PyTypeObject *type = Py_TYPE(object);
    while (type->tp_traverse != traverse)
        type = type->tp_base;
    if (PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE))
        Py_VISIT(Py_TYPE(object));
    return 0;
}

/* On the interpreter's allocation. */
#define DEFAULT_TWIN(prefix, heap, gc, clear)                                                                        \
    static void prefix##_dealloc(PyObject *self)                                                                     \
    {                                                                                                                \
        if (twin_clear(self, clear, gc))                                                                             \
            twin_free(self, heap);                                                                                   \
    }

/* With one freed object kept for each thread, which keeps its reference to the type. */
#define FREELIST_TWIN(prefix, heap, gc, clear)                                                                       \
    static __thread PyObject *prefix##_kept;                                                                         \
    static void prefix##_dealloc(PyObject *self);                                                                    \
    static PyObject *prefix##_alloc(PyTypeObject *type, Py_ssize_t items)                                            \
    {                                                                                                                \
        PyObject *self = prefix##_kept;                                                                              \
        if (self == NULL || Py_TYPE(self) != type)                                                                   \
            return PyType_GenericAlloc(type, items);                                                                 \
        prefix##_kept = NULL;                                                                                        \
        _Py_NewReference(self);                                                                                      \
        if (gc)                                                                                                      \
            PyObject_GC_Track(self);                                                                                 \
        return self;                                                                                                 \
    }                                                                                                                \
    static void prefix##_dealloc(PyObject *self)                                                                     \
    {                                                                                                                \
        if (!twin_clear(self, clear, gc))                                                                            \
            return;                                                                                                  \
        if (prefix##_kept == NULL && Py_TYPE(self)->tp_dealloc == prefix##_dealloc && twin_is_renewable(self, gc))   \
            prefix##_kept = self;                                                                                    \
        else                                                                                                         \
            twin_free(self, heap);                                                                                   \
    }

/* The loops in C, with what gives a new object its contents. */
#define CHURN(prefix, fill)                                                                                          \
    static int prefix##_churn_one(PyTypeObject *type, Py_ssize_t count)                                              \
    {                                                                                                                \
        allocfunc alloc = type->tp_alloc;                                                                            \
        while (count-- > 0) {                                                                                        \
            PyObject *object = alloc(type, 0);                                                                       \
            if (object == NULL)                                                                                      \
                return -1;                                                                                           \
            fill(object);                                                                                            \
            Py_DECREF(object);                                                                                       \
        }                                                                                                            \
        return 0;                                                                                                    \
    }                                                                                                                \
    static int prefix##_churn(PyTypeObject *type, PyObject **objects, Py_ssize_t alive, Py_ssize_t count)            \
    {                                                                                                                \
        allocfunc alloc = type->tp_alloc;                                                                            \
        if (alive == 1)                                                                                              \
            return prefix##_churn_one(type, count);                                                                  \
        for (Py_ssize_t done = 0; done < count; done += alive) {                                                     \
            Py_ssize_t made = 0;                                                                                     \
            while (made < alive && (objects[made] = alloc(type, 0)) != NULL)                                         \
                fill(objects[made++]);                                                                               \
            for (Py_ssize_t i = 0; i < made; i++)                                                                    \
                Py_DECREF(objects[i]);                                                                               \
            if (made < alive)                                                                                        \
                return -1;                                                                                           \
        }                                                                                                            \
        return 0;                                                                                                    \
    }

/* Declares all variants of a kind, those on Freelane or the others; MEMORY_OF, OWN_MEMORY and TWIN_MEMORY name them in its
 * struct kind. The dots go to FL_PY_TYPE. */
#define VARIANTS_OF(prefix, Struct, gc_flag, clear_function, ...)                                                    \
    FREELANE_OF(prefix, Struct, __VA_ARGS__)                                                                         \
    TWINS_OF(prefix, gc_flag, clear_function)

#define FREELANE_OF(prefix, Struct, ...)                                                                             \
    FL_PY_TYPE(prefix##_heap, Struct, __VA_ARGS__)                                                                   \
    FL_PY_TYPE(prefix##_static, Struct, __VA_ARGS__, .immortal = true)                                               \
    FL_PY_TYPE(prefix##_immortal, Struct, __VA_ARGS__, .immortal = true)

#define TWINS_OF(prefix, gc_flag, clear_function)                                                                    \
    DEFAULT_TWIN(prefix##_default, true, gc_flag, clear_function)                                                    \
    DEFAULT_TWIN(prefix##_default_static, false, gc_flag, clear_function)                                            \
    FREELIST_TWIN(prefix##_freelist, true, gc_flag, clear_function)                                                  \
    FREELIST_TWIN(prefix##_freelist_static, false, gc_flag, clear_function)

#define FREELANE_MEMORY(prefix)                                                                                      \
    {                                                                                                                \
        &prefix##_freelane, prefix##_alloc, prefix##_free, prefix##_freelane_dealloc                                 \
    }
#define DEFAULT_MEMORY(prefix)                                                                                       \
    {                                                                                                                \
        NULL, NULL, NULL, prefix##_dealloc                                                                           \
    }
#define FREELIST_MEMORY(prefix)                                                                                      \
    {                                                                                                                \
        NULL, prefix##_alloc, NULL, prefix##_dealloc                                                                 \
    }
#define OWN_MEMORY(prefix)                                                                                           \
    [HEAP] = FREELANE_MEMORY(prefix##_heap), [STATIC] = FREELANE_MEMORY(prefix##_static),                            \
    [IMMORTAL] = FREELANE_MEMORY(prefix##_immortal)
#define TWIN_MEMORY(prefix)                                                                                          \
    [DEFAULT] = DEFAULT_MEMORY(prefix##_default), [DEFAULT_STATIC] = DEFAULT_MEMORY(prefix##_default_static),        \
    [FREELIST] = FREELIST_MEMORY(prefix##_freelist), [FREELIST_STATIC] = FREELIST_MEMORY(prefix##_freelist_static)
#define MEMORY_OF(prefix)                                                                                            \
    {                                                                                                                \
        OWN_MEMORY(prefix), TWIN_MEMORY(prefix)                                                                      \
    }

#endif
