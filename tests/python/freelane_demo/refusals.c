/* SPDX-License-Identifier: MIT
 *
 * Declarations that contradict their types, for fl_py_type_ready to refuse.
 */
#include "demo.h"

#include <structmember.h>

typedef struct {
    PyObject_HEAD PyObject *held, *dict, *weak_references;
} Wrong;

static int wrong_clear(PyObject *object)
{
    Py_CLEAR(((Wrong *)object)->held);
    return 0;
}

static int wrong_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(((Wrong *)object)->held);
    Py_VISIT(Py_TYPE(object));
    return 0;
}

static void wrong_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    type->tp_free(object);
    Py_DECREF(type);
}

static void other_dealloc(PyObject *object)
{
    wrong_dealloc(object);
}

static void wrong_finalize(PyObject *object)
{
    (void)object;
}

static PyMemberDef dict_member[] = {{"__dictoffset__", Py_T_PYSSIZET, offsetof(Wrong, dict), Py_READONLY, NULL}, {0}};
static PyMemberDef weak_member[] = {
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(Wrong, weak_references), Py_READONLY, NULL}, {0}};

FL_PY_TYPE(plain, Wrong, .kind = FL_DEALLOC_PLAIN)
FL_PY_TYPE(other, Wrong, .kind = FL_DEALLOC_PLAIN)
FL_PY_TYPE(plain_clear, Wrong, .kind = FL_DEALLOC_PLAIN, .clear = wrong_clear)
FL_PY_TYPE(plain_gc, Wrong, .kind = FL_DEALLOC_PLAIN, .gc = true)
FL_PY_TYPE(clear, Wrong, .kind = FL_DEALLOC_CLEAR, .clear = wrong_clear)
FL_PY_TYPE(clear_nothing, Wrong, .kind = FL_DEALLOC_CLEAR)
FL_PY_TYPE(clear_gc, Wrong, .kind = FL_DEALLOC_CLEAR, .clear = wrong_clear, .gc = true)
FL_PY_TYPE(finalize, Wrong, .kind = FL_DEALLOC_FINALIZE, .clear = wrong_clear)
FL_PY_TYPE(legacy, Wrong, .kind = FL_DEALLOC_LEGACY)
FL_PY_TYPE(legacy_twice, Wrong, .kind = FL_DEALLOC_LEGACY, .subclassed = true)
FL_PY_TYPE(variable, Wrong, .kind = FL_DEALLOC_PLAIN, .variable = true)

/* Two layers: the second is weaker than the first. */
FL_PY_TYPE(strong, Wrong, .kind = FL_DEALLOC_CLEAR, .clear = wrong_clear, .subclassed = true)
FL_PY_TYPE(weak, Wrong, .kind = FL_DEALLOC_PLAIN)

enum { MEMBERS = 1, DICT, WEAK, FINALIZER, TRAVERSE, DEALLOC, OTHER_DEALLOC };

static const struct refusal {
    const char *name;
    const struct fl_py_type *declared; /* handed to fl_py_type_ready */
    const struct fl_py_type *slots;    /* whose slots the type gets; NULL: the same */
    const struct fl_py_type *base;     /* made and made ready before, as the base unless it is LEGACY */
    int extra;
    unsigned flags;
    int size;
} refusals[] = {
    {"slots of another declaration", &plain_freelane, &other_freelane, NULL, 0, 0, sizeof(Wrong)},
    {"another size", &plain_freelane, NULL, NULL, 0, 0, sizeof(Wrong) + 8},
    {"gc undeclared", &clear_freelane, NULL, NULL, TRAVERSE, Py_TPFLAGS_HAVE_GC, sizeof(Wrong)},
    {"gc declared only", &clear_gc_freelane, NULL, NULL, 0, 0, sizeof(Wrong)},
    {"subclassed undeclared", &plain_freelane, NULL, NULL, 0, Py_TPFLAGS_BASETYPE, sizeof(Wrong)},
    {"managed dict", &clear_gc_freelane, NULL, NULL, TRAVERSE, Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_MANAGED_DICT,
     sizeof(Wrong)},
#if PY_VERSION_HEX < 0x030f0000 /* from 3.15 on the interpreter refuses them itself */
    {"managed weak references without gc", &clear_freelane, NULL, NULL, 0, Py_TPFLAGS_MANAGED_WEAKREF, sizeof(Wrong)},
#endif
    {"plain with clear", &plain_clear_freelane, NULL, NULL, 0, 0, sizeof(Wrong)},
    {"plain with gc", &plain_gc_freelane, NULL, NULL, TRAVERSE, Py_TPFLAGS_HAVE_GC, sizeof(Wrong)},
    {"plain with dict", &plain_freelane, NULL, NULL, DICT, 0, sizeof(Wrong)},
    {"plain with weak references", &plain_freelane, NULL, NULL, WEAK, 0, sizeof(Wrong)},
    {"plain with finalizer", &plain_freelane, NULL, NULL, FINALIZER, 0, sizeof(Wrong)},
    {"clear with nothing to clear", &clear_nothing_freelane, NULL, NULL, 0, 0, sizeof(Wrong)},
    {"clear with finalizer", &clear_freelane, NULL, NULL, FINALIZER, 0, sizeof(Wrong)},
    {"finalize without finalizer", &finalize_freelane, NULL, NULL, 0, 0, sizeof(Wrong)},
    {"legacy without dealloc", &legacy_freelane, NULL, NULL, 0, 0, sizeof(Wrong)},
    {"legacy with two deallocs", &legacy_twice_freelane, NULL, &legacy_twice_freelane, OTHER_DEALLOC, 0,
     sizeof(Wrong)},
    {"variable without items", &variable_freelane, NULL, NULL, 0, 0, sizeof(Wrong)},
    {"weaker than its base", &weak_freelane, NULL, &strong_freelane, 0, 0, sizeof(Wrong)},
};

enum { REFUSALS = sizeof refusals / sizeof *refusals };

static void add_extra(PyType_Slot **next, int extra)
{
    if (extra == DICT)
        *(*next)++ = (PyType_Slot){Py_tp_members, dict_member};
    if (extra == WEAK)
        *(*next)++ = (PyType_Slot){Py_tp_members, weak_member};
    if (extra == FINALIZER)
        *(*next)++ = (PyType_Slot){Py_tp_finalize, (void *)wrong_finalize};
    if (extra == TRAVERSE) {
        *(*next)++ = (PyType_Slot){Py_tp_traverse, (void *)wrong_traverse};
        *(*next)++ = (PyType_Slot){Py_tp_clear, (void *)wrong_clear};
    }
}

static destructor dealloc_of(const struct fl_py_type *slots_of, int extra)
{
    return extra == DEALLOC ? wrong_dealloc : extra == OTHER_DEALLOC ? other_dealloc : slots_of->dealloc;
}

static PyObject *make_type(PyObject *module, const char *name, const struct fl_py_type *slots_of, PyObject *base,
                           int extra, unsigned flags, int size)
{
    PyType_Slot slots[8], *next = slots;
    *next++ = (PyType_Slot){Py_tp_alloc, (void *)slots_of->alloc};
    *next++ = (PyType_Slot){Py_tp_free, (void *)slots_of->free};
    *next++ = (PyType_Slot){Py_tp_dealloc, (void *)dealloc_of(slots_of, extra)};
    add_extra(&next, extra);
    *next = (PyType_Slot){0, NULL};
    PyType_Spec spec = {name, size, 0, (unsigned)(Py_TPFLAGS_DEFAULT | flags), slots};
    return PyType_FromModuleAndSpec(module, &spec, base);
}

static PyObject *make_base(PyObject *module, const struct fl_py_type *declared)
{
    int extra = declared->kind == FL_DEALLOC_LEGACY ? DEALLOC : 0;
    PyObject *base = make_type(module, "freelane_demo.Base", declared, NULL, extra, Py_TPFLAGS_BASETYPE,
                               sizeof(Wrong));
    if (base != NULL && fl_py_type_ready(declared, (PyTypeObject *)base) < 0)
        Py_CLEAR(base);
    return base;
}

/* Makes the type of a refusal and has it refused. */
static PyObject *refuse(PyObject *module, const struct refusal *refusal)
{
    PyObject *base = refusal->base != NULL ? make_base(module, refusal->base) : NULL;
    if (refusal->base != NULL && base == NULL)
        return NULL;
    const struct fl_py_type *slots_of = refusal->slots != NULL ? refusal->slots : refusal->declared;
    PyObject *type = make_type(module, "freelane_demo.Wrong", slots_of, refusal->extra != OTHER_DEALLOC ? base : NULL,
                               refusal->extra, refusal->flags, refusal->size);
    Py_XDECREF(base);
    int failed = type != NULL ? fl_py_type_ready(refusal->declared, (PyTypeObject *)type) : -1;
    Py_XDECREF(type);
    return failed == 0 ? Py_NewRef(Py_None) : NULL;
}

PyObject *demo_refuse(PyObject *module, PyObject *name)
{
    for (size_t i = 0; i < REFUSALS; i++)
        if (PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, refusals[i].name) == 0)
            return refuse(module, &refusals[i]);
    return PyErr_Format(PyExc_KeyError, "%R", name);
}

PyObject *demo_refusals(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < REFUSALS; i++) {
        PyObject *name = PyUnicode_FromString(refusals[i].name);
        if (name == NULL || PyList_Append(list, name) < 0)
            Py_CLEAR(list);
        Py_XDECREF(name);
    }
    return list;
}
