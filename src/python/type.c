/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/type.h"

#include "python/collect.h"
#include "python/header.h"
#include "python/heap.h"
#include "python/lookup.h"
#include "python/report.h"
#include "python/runtime.h"
#include "python/threads.h"
#include "python/tools.h"

/* Nothing that may run Python code is called under it: an import hook may make other types ready, or wait for a thread that
 * does, and the child of a fork has no other thread. */
static PyMutex ready_lock;

/* The types that are ready. Under the lock, and so are changes of what follows. */
static const struct fl_py_type *types;
const struct fl_py_type *fli_py_type_of_drawer[FL_PY_TYPES];
FLI_ATOMIC(size_t) fli_py_types_with_drawers;

const char *const fli_py_kind_names[] = {"LEGACY", "PLAIN", "CLEAR", "FINALIZE"};

#define REFUSE(...)                                                                                                  \
    do {                                                                                                             \
        PyErr_Format(PyExc_TypeError, "freelane: " __VA_ARGS__);                                                     \
        return -1;                                                                                                   \
    } while (0)

/* All interpreters share a static type. */
static int check_interpreter(PyTypeObject *type)
{
    if (fli_py_is_main() || PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE))
        return 0;
    PyErr_Format(PyExc_ImportError,
                 "freelane: %s: static types are not supported in subinterpreters; make it a heap type",
                 type->tp_name);
    return -1;
}

/* Gives a type that no object exists of the slots of the interpreter. */
static void lend(PyTypeObject *type)
{
    type->tp_alloc = PyType_GenericAlloc;
    type->tp_free = PyType_HasFeature(type, Py_TPFLAGS_HAVE_GC) ? PyObject_GC_Del : PyObject_Free;
}

/* Whether it is a static type that has these already: its module is executed again. */
static bool is_lent_already(const struct fl_py_type *self, PyTypeObject *type)
{
    return self->state->ready && !PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE) &&
           type->tp_alloc == PyType_GenericAlloc && type->tp_free != self->free;
}

static int check_slots(const struct fl_py_type *self, PyTypeObject *type)
{
    const char *name = type->tp_name;
    if (is_lent_already(self, type))
        return 0;
    if (type->tp_alloc != self->alloc || type->tp_free != self->free)
        REFUSE("%s: tp_alloc and tp_free are not those of its FL_PY_TYPE", name);
    if (self->kind == FL_DEALLOC_LEGACY) {
        if (self->clear != NULL)
            REFUSE("%s: a LEGACY type does not use a clear", name);
    } else if (type->tp_dealloc != self->dealloc) {
        REFUSE("%s: tp_dealloc is not that of its FL_PY_TYPE, which is %s", name, fli_py_kind_names[self->kind]);
    }
    return 0;
}

static int check_layout(const struct fl_py_type *self, PyTypeObject *type)
{
    const char *name = type->tp_name;
    if (type->tp_basicsize != (Py_ssize_t)self->size)
        REFUSE("%s: tp_basicsize is %zd, but the struct of its FL_PY_TYPE has %zu bytes%s", name, type->tp_basicsize,
               self->size, self->variable ? " (FL_PY_TYPE_OF_SIZE takes the size without items)" : "");
    if ((type->tp_itemsize != 0) != self->variable)
        REFUSE("%s: tp_itemsize is %zd, but its FL_PY_TYPE says .variable = %s", name, type->tp_itemsize,
               self->variable ? "true" : "false");
    if (PyType_HasFeature(type, Py_TPFLAGS_HAVE_GC) != self->gc)
        REFUSE("%s: its FL_PY_TYPE says .gc = %s, but its flags say otherwise", name, self->gc ? "true" : "false");
    if (PyType_HasFeature(type, Py_TPFLAGS_MANAGED_DICT | Py_TPFLAGS_INLINE_VALUES))
        REFUSE(
            "%s: the interpreter manages its __dict__ (Py_TPFLAGS_MANAGED_DICT), which cannot be cached; give it a "
            "__dictoffset__ instead",
            name);
    if (PyType_HasFeature(type, Py_TPFLAGS_MANAGED_WEAKREF) && !self->gc)
        REFUSE("%s: Py_TPFLAGS_MANAGED_WEAKREF needs Py_TPFLAGS_HAVE_GC; without gc, give it a __weaklistoffset__",
               name);
    if (PyType_HasFeature(type, Py_TPFLAGS_BASETYPE) && !self->subclassed)
        REFUSE("%s: it has Py_TPFLAGS_BASETYPE, so its FL_PY_TYPE needs .subclassed = true", name);
    return 0;
}

static int check_kind(const struct fl_py_type *self, PyTypeObject *type)
{
    const char *name = type->tp_name;
    if (self->kind == FL_DEALLOC_LEGACY)
        return 0;
    if (self->kind == FL_DEALLOC_PLAIN) {
        if (self->clear != NULL || self->gc)
            REFUSE("%s: a PLAIN type holds nothing: no clear, no Py_TPFLAGS_HAVE_GC", name);
        if (type->tp_weaklistoffset != 0 || type->tp_dictoffset != 0)
            REFUSE("%s: a PLAIN type has no weak references and no __dict__; a CLEAR type may have them", name);
    } else if (self->clear == NULL) {
        REFUSE("%s: a %s type needs a clear", name, fli_py_kind_names[self->kind]);
    }
    bool finalizes = type->tp_finalize != NULL || type->tp_del != NULL;
    if (type->tp_del != NULL)
        REFUSE("%s: tp_del is not supported; use tp_finalize", name);
    if (finalizes && self->kind != FL_DEALLOC_FINALIZE)
        REFUSE("%s: it has a tp_finalize, so its kind is FINALIZE, not %s", name, fli_py_kind_names[self->kind]);
    if (!finalizes && self->kind == FL_DEALLOC_FINALIZE)
        REFUSE("%s: a FINALIZE type needs a tp_finalize", name);
    return 0;
}

static bool is_declared_by(const struct fl_py_type *self, PyTypeObject *type)
{
    if (fli_py_is_looked_up(self))
        return fli_py_lookup_find(type) == self;
    return (self->free == type->tp_free || self->dealloc == type->tp_dealloc) &&
           self->size == (size_t)type->tp_basicsize;
}

static const struct fl_py_type *find_locked(PyTypeObject *type)
{
    const struct fl_py_type *known = types;
    while (known != NULL && !is_declared_by(known, type))
        known = known->state->next;
    return known;
}

/* A subtype is never weaker than its base. */
static int check_base_locked(const struct fl_py_type *self, PyTypeObject *type)
{
    for (PyTypeObject *base = type->tp_base; base != NULL; base = base->tp_base) {
        const struct fl_py_type *known = find_locked(base);
        if (known == NULL || known == self || self->kind == FL_DEALLOC_LEGACY || known->kind == FL_DEALLOC_LEGACY)
            continue;
        if (self->kind < known->kind)
            REFUSE("%s is %s, weaker than its base %s, which is %s", type->tp_name, fli_py_kind_names[self->kind],
                   base->tp_name, fli_py_kind_names[known->kind]);
    }
    return 0;
}

/* ---- The own tp_dealloc of a LEGACY type. */

/* The tp_dealloc of classes made in Python, and of types that are made without one. Known before the first LEGACY type is
 * entered. */
static FLI_ATOMIC(destructor) dealloc_of_classes;

/* Finds it. Returns 0, or -1 with an exception if memory is refused. */
static int find_dealloc_of_classes(void)
{
    if (fli_load_hint(&dealloc_of_classes) != NULL)
        return 0;
    PyObject *made = PyObject_CallFunction((PyObject *)&PyType_Type, "s(O){}", "freelane", &PyBaseObject_Type);
    if (made == NULL)
        return -1;
    fli_store_hint(&dealloc_of_classes, ((PyTypeObject *)made)->tp_dealloc);
    Py_DECREF(made);
    return 0;
}

/* Whether a LEGACY type's own tp_dealloc may look for itself in the slots of types, in order to find the next one: that of
 * classes does, and one that has a base's to call. */
static bool may_look_for_itself(const struct fl_py_type *self, PyTypeObject *type)
{
    if (self->unwrapped || type->tp_dealloc == fli_load_hint(&dealloc_of_classes))
        return true;
    bool has_own_slots = !fli_py_is_looked_up(self); /* else it would find the one that all such types have */
    return type->tp_base != &PyBaseObject_Type && !(self->state->cython && has_own_slots);
}

/* Finds out what the slot of a LEGACY type is to call. */
static int find_dealloc_locked(const struct fl_py_type *self, PyTypeObject *type)
{
    struct fl_py_state *state = self->state;
    destructor own = type->tp_dealloc;
    if (own == self->dealloc && state->dealloc == NULL)
        REFUSE("%s: a LEGACY type needs a tp_dealloc of its own", type->tp_name);
    if (own == self->dealloc || may_look_for_itself(self, type))
        return 0;
    if (state->dealloc != NULL && state->dealloc != own)
        REFUSE("%s: its FL_PY_TYPE serves types with different tp_dealloc; declare one for each", type->tp_name);
    state->dealloc = own;
    return 0;
}

/* Puts Freelane's before the type's own, if that has been found. */
static void wrap_dealloc(const struct fl_py_type *self, PyTypeObject *type)
{
    if (self->kind == FL_DEALLOC_LEGACY && type->tp_dealloc == self->state->dealloc)
        type->tp_dealloc = self->dealloc;
}

/* ---- Making a type ready. */

/* Whether threads cache objects of the type, or have references to it in stock. */
static bool gets_drawer(const struct fl_py_type *self)
{
    return !self->variable && !fli_py_is_looked_up(self) &&
           (self->gc || (FL_PY_HEADERS && fli_py_header_is_known() && !self->immortal));
}

/* Makes a type ready. A declaration may have several type objects, all alike: a module that is executed again makes a
 * second one. */
static int enter_locked(const struct fl_py_type *self, PyTypeObject *type)
{
    struct fl_py_state *state = self->state;
    bool heap_type = PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE);
    if (self->kind == FL_DEALLOC_LEGACY && find_dealloc_locked(self, type) < 0)
        return -1;
    if (state->ready && state->heap_type != heap_type)
        REFUSE("%s: its FL_PY_TYPE serves a static type and a heap type; declare one for each", type->tp_name);
    if (fli_py_is_looked_up(self) && fli_py_lookup_add(self, type) < 0)
        return -1;
    if (state->ready)
        return 0;
    state->heap_type = heap_type;
    state->body = self->size - sizeof(PyObject);
    state->blocks = (uint8_t)fl_size_class(self->size);
    size_t drawer = fli_load_own(&fli_py_types_with_drawers);
    if (gets_drawer(self) && drawer < FL_PY_TYPES) {
        state->drawer = (uint32_t)(offsetof(struct fl_py_thread, drawers) + drawer * sizeof(union fl_py_drawer));
        fli_py_type_of_drawer[drawer] = self;
        fli_count(&fli_py_types_with_drawers, 1);
    }
    state->next = types;
    types = self;
    state->ready = true;
    return 0;
}

/* What has to be known of the interpreter first, once, and of the type's bases. */
static int prepare_locked(const struct fl_py_type *self, PyTypeObject *type)
{
    if (check_base_locked(self, type) < 0 || fli_py_header_ready() < 0)
        return -1;
    return fli_py_heap_ready();
}

static int prepare(const struct fl_py_type *self, PyTypeObject *type)
{
    PyMutex_Lock(&ready_lock);
    int failed = prepare_locked(self, type);
    PyMutex_Unlock(&ready_lock);
    return failed;
}

/* Whether the types that are made ready here keep Freelane's slots, unless a tool is found. */
static bool serves_here(void)
{
    return fli_py_is_main() && fli_py_heap_is_ready();
}

/* Joins the interpreter. Threads may do so at once. */
static int join(const struct fl_py_type *self)
{
    if (self->kind == FL_DEALLOC_LEGACY && find_dealloc_of_classes() < 0)
        return -1;
    return serves_here() ? fli_py_collect_ready() : 0;
}

static int enter(const struct fl_py_type *self, PyTypeObject *type)
{
    PyMutex_Lock(&ready_lock);
    if (!fli_py_is_main())
        fli_py_threads_bar_memory();
    fli_py_tools_ready();
    int failed = enter_locked(self, type);
    PyMutex_Unlock(&ready_lock);
    return failed;
}

/* Gives a type that has been entered its slots. */
static void settle(const struct fl_py_type *self, PyTypeObject *type)
{
    wrap_dealloc(self, type);
    if (!serves_here() || fli_py_tools_found() || fli_py_is_looked_up(self))
        lend(type);
    else if (self->immortal && PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE) && fli_py_header_is_known())
        fli_py_immortalize(type);
}

int fl_py_type_ready(const struct fl_py_type *self, PyTypeObject *type)
{
    if (check_interpreter(type) < 0 || check_slots(self, type) < 0 || check_layout(self, type) < 0 ||
        check_kind(self, type) < 0)
        return -1;
    if (prepare(self, type) < 0 || join(self) < 0 || enter(self, type) < 0 || fli_py_report_add(self, type) < 0)
        return -1;
    settle(self, type);
    return 0;
}

#endif
