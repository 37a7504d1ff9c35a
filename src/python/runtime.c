/* SPDX-License-Identifier: MIT
 *
 * Declarations that are made at run time, and their slots.
 *
 * A slot is called without a word of which declaration it belongs to. So each declaration has functions of its own, which
 * are compiled beforehand: two instructions, which hand it to one function for all. The alternative, to look for the
 * declaration in a hash table by the type of the object and its bases, took 14 instructions more at each call and another
 * cache line. (Of 32 bytes and PLAIN, tp_alloc takes 77 instructions in place of the 50 of FL_PY_TYPE, tp_dealloc 69 in
 * place of 45.)
 *
 * A declaration is constant once it has been handed out, apart from what fl_py_type_ready finds out. Others are made
 * under the lock.
 */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/interpreter.h"

#include <stdlib.h>

static struct fl_py_type types[FL_PY_NEW_TYPES];
static struct fl_py_state states[FL_PY_NEW_TYPES];

/* Under the lock: how many there are, their flags, and the names of those that fl_py_type_adopt has made. */
static PyMutex lock;
static size_t count;
static char *names[FL_PY_NEW_TYPES];
static unsigned given[FL_PY_NEW_TYPES];

enum { FLAGS = FL_PY_GC | FL_PY_SUBCLASSED | FL_PY_IMMORTAL | FL_PY_VARIABLE | FL_PY_UNWRAPPED | FL_PY_CYTHON };

/* ---- The slots. The declaration comes last, so that the other arguments stay where they are. */

static __attribute__((noinline)) PyObject *alloc(PyTypeObject *type, Py_ssize_t items, const struct fl_py_type *self)
{
    return fl_py_alloc(self, type, items);
}

static __attribute__((noinline)) void release(void *object, const struct fl_py_type *self)
{
    fl_py_free(self, (PyObject *)object);
}

static __attribute__((noinline)) void dealloc(PyObject *object, const struct fl_py_type *self)
{
    fl_py_dealloc(self, object);
}

#define SLOTS(n)                                                                                                     \
    static PyObject *alloc_##n(PyTypeObject *type, Py_ssize_t items)                                                 \
    {                                                                                                                \
        return alloc(type, items, &types[0x##n]);                                                                    \
    }                                                                                                                \
    static void free_##n(void *object)                                                                               \
    {                                                                                                                \
        release(object, &types[0x##n]);                                                                              \
    }                                                                                                                \
    static void dealloc_##n(PyObject *object)                                                                        \
    {                                                                                                                \
        dealloc(object, &types[0x##n]);                                                                              \
    }
#define NAMES(n) {alloc_##n, free_##n, dealloc_##n},
#define ROW(m, r)                                                                                                    \
    m(r##0) m(r##1) m(r##2) m(r##3) m(r##4) m(r##5) m(r##6) m(r##7) m(r##8) m(r##9) m(r##a) m(r##b) m(r##c) m(r##d)  \
        m(r##e) m(r##f)
#define ALL(m) ROW(m, 0) ROW(m, 1) ROW(m, 2) ROW(m, 3) ROW(m, 4) ROW(m, 5) ROW(m, 6) ROW(m, 7)

ALL(SLOTS)

static const struct slots {
    allocfunc alloc;
    freefunc free;
    destructor dealloc;
} slots[FL_PY_NEW_TYPES] = {ALL(NAMES)};

/* ---- Making declarations. */

static struct fl_py_type *make_locked(size_t size, enum fl_dealloc_kind kind, unsigned flags)
{
    if (count == FL_PY_NEW_TYPES)
        return PyErr_Format(PyExc_RuntimeError,
                            "freelane: the extension has %d types that are made at run time already",
                            FL_PY_NEW_TYPES),
               NULL;
    const struct slots *own = &slots[count];
    given[count] = flags;
    states[count].cython = (flags & FL_PY_CYTHON) != 0;
    types[count] = (struct fl_py_type){.kind = kind,
                                       .gc = (flags & FL_PY_GC) != 0,
                                       .subclassed = (flags & FL_PY_SUBCLASSED) != 0,
                                       .immortal = (flags & FL_PY_IMMORTAL) != 0,
                                       .variable = (flags & FL_PY_VARIABLE) != 0,
                                       .unwrapped = (flags & FL_PY_UNWRAPPED) != 0,
                                       .size = size,
                                       .alloc = own->alloc,
                                       .free = own->free,
                                       .dealloc = own->dealloc,
                                       .state = &states[count]};
    return &types[count++];
}

struct fl_py_type *fl_py_type_new(size_t size, enum fl_dealloc_kind kind, unsigned flags)
{
    if (size < sizeof(PyObject) || size > PY_SSIZE_T_MAX)
        return PyErr_Format(PyExc_ValueError, "freelane: %zu bytes are no size of a type", size), NULL;
    if ((unsigned)kind > FL_DEALLOC_FINALIZE || (flags & ~(unsigned)FLAGS) != 0)
        return PyErr_Format(PyExc_ValueError, "freelane: kind %d or flags %#x of a type are none", (int)kind, flags),
               NULL;
    PyMutex_Lock(&lock);
    struct fl_py_type *made = make_locked(size, kind, flags);
    PyMutex_Unlock(&lock);
    return made;
}

/* ---- Adopting types. */

static unsigned flags_of(PyTypeObject *type, unsigned flags)
{
    if (PyType_HasFeature(type, Py_TPFLAGS_HAVE_GC))
        flags |= FL_PY_GC;
    if (PyType_HasFeature(type, Py_TPFLAGS_BASETYPE))
        flags |= FL_PY_SUBCLASSED;
    if (!PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE))
        flags |= FL_PY_IMMORTAL;
    if (type->tp_itemsize != 0)
        flags |= FL_PY_VARIABLE;
    return flags;
}

/* Whether a declaration may serve types with this tp_dealloc: it has none to call, or this one, which may be its own. */
static bool serves_dealloc(const struct fl_py_type *self, destructor asked)
{
    return self->state->dealloc == NULL || self->state->dealloc == asked || self->dealloc == asked;
}

static struct fl_py_type *find_locked(PyTypeObject *type, unsigned flags)
{
    for (size_t i = 0; i < count; i++)
        if (names[i] != NULL && strcmp(names[i], type->tp_name) == 0 && given[i] == flags &&
            types[i].size == (size_t)type->tp_basicsize && serves_dealloc(&types[i], type->tp_dealloc))
            return &types[i];
    return NULL;
}

static struct fl_py_type *make_for_locked(PyTypeObject *type, unsigned flags)
{
    char *name = strdup(type->tp_name);
    if (name == NULL)
        return (void)PyErr_NoMemory(), NULL;
    struct fl_py_type *made = make_locked((size_t)type->tp_basicsize, FL_DEALLOC_LEGACY, flags);
    if (made == NULL)
        free(name);
    else
        names[count - 1] = name;
    return made;
}

static struct fl_py_type *declaration_of(PyTypeObject *type, unsigned flags)
{
    PyMutex_Lock(&lock);
    struct fl_py_type *self = find_locked(type, flags);
    if (self == NULL)
        self = make_for_locked(type, flags);
    PyMutex_Unlock(&lock);
    return self;
}

int fl_py_type_adopt(PyTypeObject *type, unsigned flags)
{
    const struct fl_py_type *self = declaration_of(type, flags_of(type, flags & FLAGS));
    if (self == NULL)
        return -1;
    allocfunc alloc_before = type->tp_alloc;
    freefunc free_before = type->tp_free;
    type->tp_alloc = self->alloc;
    type->tp_free = self->free;
    if (fl_py_type_ready(self, type) == 0)
        return 0;
    type->tp_alloc = alloc_before;
    type->tp_free = free_before;
    return -1;
}

#endif
