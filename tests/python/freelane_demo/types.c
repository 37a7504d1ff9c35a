/* SPDX-License-Identifier: MIT
 *
 * Makes the type objects: heap types from a PyType_Spec, static ones by filling in their slots.
 */
#include "demo.h"

#include <structmember.h>

#include <stdio.h>
#include <stdlib.h>

enum { KINDS_MAX = 16, SLOTS_MAX = 16, NAME_BYTES = 64 };

static const char *const prefixes[VARIANTS] = {
    [HEAP] = "",
    [STATIC] = "Static",
    [IMMORTAL] = "Immortal",
    [DEFAULT] = "Default",
    [DEFAULT_STATIC] = "DefaultStatic",
    [FREELIST] = "Freelist",
    [FREELIST_STATIC] = "FreelistStatic",
};

static PyTypeObject static_types[KINDS_MAX][VARIANTS];
static char names[KINDS_MAX][VARIANTS][NAME_BYTES];

static unsigned long flags_of(const struct kind *kind)
{
    return Py_TPFLAGS_DEFAULT | kind->flags;
}

static void add_slot(PyType_Slot **next, int slot, void *value)
{
    if (value != NULL)
        *(*next)++ = (PyType_Slot){slot, value};
}

static PyTypeObject *make_heap_type(PyObject *module, const struct kind *kind, const struct memory *memory,
                                    const char *name)
{
    PyType_Slot slots[SLOTS_MAX], *next = slots;
    for (const PyType_Slot *slot = kind->slots; slot->slot != 0; slot++)
        *next++ = *slot;
    add_slot(&next, Py_tp_alloc, (void *)memory->alloc);
    add_slot(&next, Py_tp_free, (void *)memory->free);
    add_slot(&next, Py_tp_dealloc, (void *)memory->dealloc);
    *next = (PyType_Slot){0, NULL};
    PyType_Spec spec = {name, (int)kind->size, (int)kind->item_size, (unsigned)flags_of(kind), slots};
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
}

/* Members that name an offset are fields in a static type. */
static void set_members(PyTypeObject *type, PyMemberDef *members)
{
    type->tp_members = members;
    for (PyMemberDef *member = members; member->name != NULL; member++) {
        if (strcmp(member->name, "__dictoffset__") == 0)
            type->tp_dictoffset = member->offset;
        if (strcmp(member->name, "__weaklistoffset__") == 0)
            type->tp_weaklistoffset = member->offset;
    }
}

static void set_slot(PyTypeObject *type, const PyType_Slot *slot)
{
    switch (slot->slot) {
    case Py_tp_new:
        type->tp_new = (newfunc)slot->pfunc;
        break;
    case Py_tp_members:
        set_members(type, slot->pfunc);
        break;
    case Py_tp_getset:
        type->tp_getset = slot->pfunc;
        break;
    case Py_tp_traverse:
        type->tp_traverse = (traverseproc)slot->pfunc;
        break;
    case Py_tp_clear:
        type->tp_clear = (inquiry)slot->pfunc;
        break;
    case Py_tp_finalize:
        type->tp_finalize = (destructor)slot->pfunc;
        break;
    default:
        Py_FatalError("freelane_demo: a slot that static types do not know yet");
    }
}

static PyTypeObject *make_static_type(PyTypeObject *type, const struct kind *kind, const struct memory *memory,
                                      const char *name)
{
    if (type->tp_name != NULL) /* the module is executed again */
        return (PyTypeObject *)Py_NewRef(type);
    *type = (PyTypeObject){.ob_base = {PyObject_HEAD_INIT(NULL) 0},
                           .tp_name = name,
                           .tp_basicsize = kind->size,
                           .tp_itemsize = kind->item_size,
                           .tp_flags = flags_of(kind),
                           .tp_alloc = memory->alloc,
                           .tp_free = memory->free,
                           .tp_dealloc = memory->dealloc};
    for (const PyType_Slot *slot = kind->slots; slot->slot != 0; slot++)
        set_slot(type, slot);
    return PyType_Ready(type) == 0 ? (PyTypeObject *)Py_NewRef(type) : NULL;
}

static bool variant_is_static(enum variant variant)
{
    return variant == STATIC || variant == DEFAULT_STATIC || variant == FREELIST_STATIC;
}

static int add_type(PyObject *module, size_t k, enum variant variant)
{
    const struct kind *kind = kinds[k];
    const struct memory *memory = &kind->memory[variant];
    bool is_static = variant_is_static(variant);
    char own[NAME_BYTES],
        *name = is_static ? names[k][variant] : own; /* the interpreter copies that of a heap type */
    snprintf(name, NAME_BYTES, "freelane_demo.%s%s", prefixes[variant], kind->name);
    PyTypeObject *type = is_static ? make_static_type(&static_types[k][variant], kind, memory, name)
                                   : make_heap_type(module, kind, memory, name);
    if (type == NULL)
        return -1;
    int failed = memory->freelane != NULL ? fl_py_type_ready(memory->freelane, type) : 0;
    if (failed == 0)
        failed = PyModule_AddType(module, type);
    Py_DECREF(type);
    return failed;
}

/* All interpreters would share a static type. A subinterpreter does without, unless its refusal is tested. An immortal
 * type keeps its module alive, so a module that is to go does without. */
static bool is_wanted(const struct kind *kind, enum variant variant)
{
    if (variant_is_static(variant) && PyInterpreterState_Get() != PyInterpreterState_Main() &&
        getenv("FREELANE_DEMO_STATIC") == NULL)
        return false;
    return kind->memory[variant].dealloc != NULL && (variant != IMMORTAL || getenv("FREELANE_DEMO_MORTAL") == NULL);
}

int demo_add_types(PyObject *module)
{
    for (size_t k = 0; kinds[k] != NULL; k++)
        for (enum variant variant = HEAP; variant < VARIANTS; variant++)
            if (is_wanted(kinds[k], variant) && add_type(module, k, variant) < 0)
                return -1;
    return 0;
}

static bool is_of(const struct memory *memory, PyTypeObject *type)
{
    bool dies_so = memory->dealloc == type->tp_dealloc ||
                   (memory->freelane != NULL && memory->freelane->dealloc == type->tp_dealloc);
    return dies_so && (memory->alloc == NULL || memory->alloc == type->tp_alloc);
}

const struct kind *demo_kind_of(PyTypeObject *type)
{
    for (size_t k = 0; kinds[k] != NULL; k++)
        for (enum variant variant = HEAP; variant < VARIANTS; variant++)
            if (is_of(&kinds[k]->memory[variant], type))
                return kinds[k];
    return NULL;
}
