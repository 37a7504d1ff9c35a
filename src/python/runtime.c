/* SPDX-License-Identifier: MIT
 *
 * Declarations that are made at run time, and their slots.
 *
 * A slot is called without a word of which declaration it belongs to. So each declaration has functions of its own, which
 * are compiled beforehand: two instructions, which hand it to one function for all. The alternative, to look for the
 * declaration in a hash table by the type of the object and its bases, took 14 instructions more at each call and another
 * cache line. (Of 32 bytes and PLAIN, tp_alloc takes 77 instructions in place of the 50 of FL_PY_TYPE, tp_dealloc 69 in
 * place of 45.) It is for declarations beyond FL_PY_NEW_TYPES, whose types have the interpreter's allocation (runtime.h).
 *
 * A declaration is constant once it has been handed out, apart from what fl_py_type_ready finds out. Others are made
 * under the lock.
 */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/runtime.h"

#include "python/lookup.h"

#include <stdlib.h>

/* One that has been made. */
struct made {
    struct fl_py_type type;
    struct fl_py_state state;
    char *name; /* of the types that fl_py_type_adopt makes it for; else NULL */
    unsigned flags;
    struct made *next;
};

/* Those with slots of their own. */
static struct made slotted[FL_PY_NEW_TYPES];

/* All of them, and how many there are. Changed under the lock. */
static PyMutex lock;
static struct made *all;
static FLI_ATOMIC(size_t) count;

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
        return alloc(type, items, &slotted[0x##n].type);                                                             \
    }                                                                                                                \
    static void free_##n(void *object)                                                                               \
    {                                                                                                                \
        release(object, &slotted[0x##n].type);                                                                       \
    }                                                                                                                \
    static void dealloc_##n(PyObject *object)                                                                        \
    {                                                                                                                \
        dealloc(object, &slotted[0x##n].type);                                                                       \
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

/* ---- The slots of those beyond. tp_alloc and tp_free are theirs only until the type is made ready. */

static PyObject *alloc_beyond(PyTypeObject *type, Py_ssize_t items)
{
    if (fli_py_lookup(type, fli_py_runtime_dealloc) == NULL)
        return PyErr_Format(PyExc_SystemError, "freelane: fl_py_type_ready was not called for %s", type->tp_name);
    return PyType_GenericAlloc(type, items);
}

static void free_beyond(void *object)
{
    if (PyType_HasFeature(Py_TYPE((PyObject *)object), Py_TPFLAGS_HAVE_GC))
        PyObject_GC_Del(object);
    else
        PyObject_Free(object);
}

void fli_py_runtime_dealloc(PyObject *object)
{
    const struct fl_py_type *self = fli_py_lookup(Py_TYPE(object), fli_py_runtime_dealloc);
    if (self == NULL)
        Py_FatalError("freelane: fl_py_type_ready was not called for the type of an object");
    dealloc(object, self);
}

static const struct slots beyond = {alloc_beyond, free_beyond, fli_py_runtime_dealloc};

size_t fli_py_runtime_beyond(void)
{
    size_t made = fli_load_hint(&count);
    return made > FL_PY_NEW_TYPES ? made - FL_PY_NEW_TYPES : 0;
}

/* ---- Making declarations. */

/* Memory for one, and the slots of the declaration that it will be; NULL with MemoryError. */
static struct made *get_locked(struct slots *own)
{
    size_t number = fli_load_own(&count);
    bool has_slots = number < FL_PY_NEW_TYPES;
    struct made *made = has_slots ? &slotted[number] : calloc(1, sizeof *made);
    *own = has_slots ? slots[number] : beyond;
    return made != NULL ? made : ((void)PyErr_NoMemory(), NULL);
}

static struct made *make_locked(size_t size, enum fl_dealloc_kind kind, unsigned flags)
{
    struct slots own;
    struct made *made = get_locked(&own);
    if (made == NULL)
        return NULL;
    made->flags = flags;
    made->state.cython = (flags & FL_PY_CYTHON) != 0;
    made->type = (struct fl_py_type){.kind = kind,
                                     .gc = (flags & FL_PY_GC) != 0,
                                     .subclassed = (flags & FL_PY_SUBCLASSED) != 0,
                                     .immortal = (flags & FL_PY_IMMORTAL) != 0,
                                     .variable = (flags & FL_PY_VARIABLE) != 0,
                                     .unwrapped = (flags & FL_PY_UNWRAPPED) != 0,
                                     .size = size,
                                     .alloc = own.alloc,
                                     .free = own.free,
                                     .dealloc = own.dealloc,
                                     .state = &made->state};
    made->next = all;
    all = made;
    fli_count(&count, 1);
    return made;
}

struct fl_py_type *fl_py_type_new(size_t size, enum fl_dealloc_kind kind, unsigned flags)
{
    if (size < sizeof(PyObject) || size > PY_SSIZE_T_MAX)
        return PyErr_Format(PyExc_ValueError, "freelane: %zu bytes are no size of a type", size), NULL;
    if ((unsigned)kind > FL_DEALLOC_FINALIZE || (flags & ~(unsigned)FLAGS) != 0)
        return PyErr_Format(PyExc_ValueError, "freelane: kind %d or flags %#x of a type are none", (int)kind, flags),
               NULL;
    PyMutex_Lock(&lock);
    struct made *made = make_locked(size, kind, flags);
    PyMutex_Unlock(&lock);
    return made != NULL ? &made->type : NULL;
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

/* Whether a declaration may serve a type with this tp_dealloc: it has none to call, or this one, which may be its own. */
static bool serves_dealloc(const struct fl_py_type *self, PyTypeObject *type)
{
    destructor asked = type->tp_dealloc;
    if (self->dealloc == asked)
        return !fli_py_is_looked_up(self) || fli_py_lookup_find(type) == self;
    return self->state->dealloc == NULL || self->state->dealloc == asked;
}

static bool serves(const struct made *made, PyTypeObject *type, unsigned flags)
{
    return made->name != NULL && strcmp(made->name, type->tp_name) == 0 && made->flags == flags &&
           made->type.size == (size_t)type->tp_basicsize && serves_dealloc(&made->type, type);
}

static struct made *find_locked(PyTypeObject *type, unsigned flags)
{
    struct made *made = all;
    while (made != NULL && !serves(made, type, flags))
        made = made->next;
    return made;
}

static struct made *make_for_locked(PyTypeObject *type, unsigned flags)
{
    char *name = strdup(type->tp_name);
    if (name == NULL)
        return (void)PyErr_NoMemory(), NULL;
    struct made *made = make_locked((size_t)type->tp_basicsize, FL_DEALLOC_LEGACY, flags);
    if (made == NULL)
        free(name);
    else
        made->name = name;
    return made;
}

static struct fl_py_type *declaration_of(PyTypeObject *type, unsigned flags)
{
    PyMutex_Lock(&lock);
    struct made *made = find_locked(type, flags);
    if (made == NULL)
        made = make_for_locked(type, flags);
    PyMutex_Unlock(&lock);
    return made != NULL ? &made->type : NULL;
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
