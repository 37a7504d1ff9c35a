/* SPDX-License-Identifier: MIT
 *
 * Subtypes in C of types on Freelane, none of which knows of it.
 *
 *     Sub...       ...       adds nothing, inherits every slot: of Pair, GCPair, Label and GCLabel, each heap, static
 *                            and immortal
 *     Other...     ...       the same, but allocates with PyType_GenericAlloc
 *     WidePair     Pair      adds an object and a tp_dealloc that calls the base's
 *     TrackedPair  Pair      adds an object and Py_TPFLAGS_HAVE_GC
 *     WideGCPair   GCPair    adds an object and a tp_dealloc that calls the base's
 *
 * And LEGACY types of Freelane that keep their tp_dealloc in its slot:
 *
 *     WideLabel     Label    adds two objects and a tp_dealloc that looks for itself in the slots, and calls the base's
 *     LookingLabel  object   holds an object; its tp_dealloc looks for itself in the slots
 *     BareLabel     object   has no tp_dealloc, which gives it that of classes
 */
#include "demo.h"

#include <structmember.h>

typedef struct {
    PyObject_HEAD PyObject *first, *second;
    PyObject *third;
} WidePair;

static int wide_clear(PyObject *object)
{
    WidePair *self = (WidePair *)object;
    Py_CLEAR(self->first);
    Py_CLEAR(self->second);
    Py_CLEAR(self->third);
    return 0;
}

static int wide_traverse(PyObject *object, visitproc visit, void *arg)
{
    WidePair *self = (WidePair *)object;
    Py_VISIT(self->first);
    Py_VISIT(self->second);
    Py_VISIT(self->third);
    Py_VISIT(Py_TYPE(object));
    return 0;
}

/* The base is a heap type: its tp_dealloc frees the object and gives up its reference to its type. */
static void wide_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    while (type->tp_dealloc != wide_dealloc) /* a subtype made in Python */
        type = type->tp_base;
    destructor dealloc = type->tp_base->tp_dealloc;
    if (PyObject_IS_GC(object))
        PyObject_GC_UnTrack(object);
    Py_CLEAR(((WidePair *)object)->third);
    if (PyObject_IS_GC(object))
        PyObject_GC_Track(object);
    dealloc(object);
}

FL_PY_TYPE(wide_label, WidePair, .kind = FL_DEALLOC_LEGACY, .subclassed = true)

typedef struct {
    PyObject_HEAD PyObject *held;
} Looking;

FL_PY_TYPE(looking, Looking, .kind = FL_DEALLOC_LEGACY, .subclassed = true, .unwrapped = true)
FL_PY_TYPE(bare, Looking, .kind = FL_DEALLOC_LEGACY, .subclassed = true)

static void looking_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object), *own = type;
    while (own->tp_dealloc != looking_dealloc)
        own = own->tp_base;
    Py_CLEAR(((Looking *)object)->held);
    type->tp_free(object);
    if (PyType_HasFeature(own, Py_TPFLAGS_HEAPTYPE))
        Py_DECREF(type);
}

static PyMemberDef looking_members[] = {{"held", Py_T_OBJECT_EX, offsetof(Looking, held), 0, NULL}, {0}};
static PyMemberDef wide_members[] = {{"third", Py_T_OBJECT_EX, offsetof(WidePair, third), 0, NULL}, {0}};

static PyType_Slot sub_slots[] = {{Py_tp_doc, "adds nothing"}, {0, NULL}};
static PyType_Slot other_slots[] = {{Py_tp_alloc, PyType_GenericAlloc}, {0, NULL}};
static PyType_Slot wide_slots[] = {{Py_tp_members, wide_members}, {Py_tp_dealloc, wide_dealloc}, {0, NULL}};
static PyType_Slot tracked_slots[] = {
    {Py_tp_members, wide_members}, {Py_tp_traverse, wide_traverse}, {Py_tp_clear, wide_clear}, {0, NULL}};
static PyType_Slot wide_gc_slots[] = {{Py_tp_members, wide_members},
                                      {Py_tp_traverse, wide_traverse},
                                      {Py_tp_clear, wide_clear},
                                      {Py_tp_dealloc, wide_dealloc},
                                      {0, NULL}};
static PyType_Slot wide_label_slots[] = {
    {Py_tp_members, wide_members}, {Py_tp_dealloc, wide_dealloc}, FL_PY_LEGACY_SLOTS(wide_label), {0, NULL}};
static PyType_Slot looking_slots[] = {
    {Py_tp_members, looking_members}, {Py_tp_dealloc, looking_dealloc}, FL_PY_LEGACY_SLOTS(looking), {0, NULL}};
static PyType_Slot bare_slots[] = {{Py_tp_doc, "holds nothing"}, FL_PY_LEGACY_SLOTS(bare), {0, NULL}};

enum { FLAGS = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE };

#define SUB(prefix, base, slots)                                                                                     \
    {                                                                                                                \
        base, {"freelane_demo." prefix base, 0, 0, FLAGS, slots}, NULL                                               \
    }
#define SUBS_OF(base) SUB("Sub", base, sub_slots), SUB("Other", base, other_slots)
#define SUBS(base)    SUBS_OF(base), SUBS_OF("Static" base), SUBS_OF("Immortal" base)

static struct {
    const char *base;
    PyType_Spec spec;
    const struct fl_py_type *declared; /* NULL: does not know of Freelane */
} subtypes[] = {
    SUBS("Pair"),
    SUBS("GCPair"),
    SUBS("Label"),
    SUBS("GCLabel"),
    {"Pair", {"freelane_demo.WidePair", sizeof(WidePair), 0, FLAGS, wide_slots}, NULL},
    {"Pair", {"freelane_demo.TrackedPair", sizeof(WidePair), 0, FLAGS | Py_TPFLAGS_HAVE_GC, tracked_slots}, NULL},
    {"GCPair", {"freelane_demo.WideGCPair", sizeof(WidePair), 0, FLAGS | Py_TPFLAGS_HAVE_GC, wide_gc_slots}, NULL},
    {"Label", {"freelane_demo.WideLabel", sizeof(WidePair), 0, FLAGS, wide_label_slots}, &wide_label_freelane},
    {NULL, {"freelane_demo.LookingLabel", sizeof(Looking), 0, FLAGS, looking_slots}, &looking_freelane},
    {NULL, {"freelane_demo.BareLabel", sizeof(Looking), 0, FLAGS, bare_slots}, &bare_freelane},
};

int demo_add_subtypes(PyObject *module)
{
    for (size_t i = 0; i < sizeof subtypes / sizeof *subtypes; i++) {
        PyObject *base = NULL;
        if (subtypes[i].base == NULL)
            base = Py_NewRef((PyObject *)&PyBaseObject_Type);
        else if (PyObject_GetOptionalAttrString(module, subtypes[i].base, &base) == 0)
            continue; /* without immortal types */
        PyObject *type = base != NULL ? PyType_FromModuleAndSpec(module, &subtypes[i].spec, base) : NULL;
        int failed = type != NULL ? PyModule_AddType(module, (PyTypeObject *)type) : -1;
        if (failed == 0 && subtypes[i].declared != NULL)
            failed = fl_py_type_ready(subtypes[i].declared, (PyTypeObject *)type);
        Py_XDECREF(type);
        Py_XDECREF(base);
        if (failed < 0)
            return -1;
    }
    return 0;
}
