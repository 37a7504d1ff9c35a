/* SPDX-License-Identifier: MIT
 *
 * What the kinds hold and do; their variants.
 */
#include "twins.h"

#include <structmember.h>
#include <unistd.h>

/* ---- Point. */

typedef struct {
    PyObject_HEAD double x, y;
} Point;

static PyObject *point_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"x", "y", NULL};
    double x = 0, y = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|dd", names, &x, &y))
        return NULL;
    Point *self = (Point *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->x = x;
        self->y = y;
    }
    return (PyObject *)self;
}

static inline void point_fill(PyObject *object)
{
    Point *self = (Point *)object;
    self->x = 1;
    self->y = 2;
}

CHURN(point, point_fill)

static PyMemberDef point_members[] = {
    {"x", Py_T_DOUBLE, offsetof(Point, x), 0, NULL}, {"y", Py_T_DOUBLE, offsetof(Point, y), 0, NULL}, {0}};

static const PyType_Slot point_slots[] = {{Py_tp_new, point_new}, {Py_tp_members, point_members}, {0, NULL}};

VARIANTS_OF(point, Point, false, NULL, .kind = FL_DEALLOC_PLAIN)

static const struct kind point = {.name = "Point",
                                  .size = sizeof(Point),
                                  .flags = 0,
                                  .slots = point_slots,
                                  .memory = MEMORY_OF(point),
                                  .churn = point_churn};

/* ---- Pair and GCPair. */

typedef struct {
    PyObject_HEAD PyObject *first, *second;
} Pair;

static PyObject *pair_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"first", "second", NULL};
    PyObject *first = Py_None, *second = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO", names, &first, &second))
        return NULL;
    Pair *self = (Pair *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->first = Py_NewRef(first);
        self->second = Py_NewRef(second);
    }
    return (PyObject *)self;
}

static inline void pair_fill(PyObject *object)
{
    Pair *self = (Pair *)object;
    self->first = Py_NewRef(Py_None);
    self->second = Py_NewRef(Py_None);
}

CHURN(pair, pair_fill)

static int pair_clear(PyObject *object)
{
    Pair *self = (Pair *)object;
    Py_CLEAR(self->first);
    Py_CLEAR(self->second);
    return 0;
}

static int pair_traverse(PyObject *object, visitproc visit, void *arg)
{
    Pair *self = (Pair *)object;
    Py_VISIT(self->first);
    Py_VISIT(self->second);
    return twin_visit_type(object, pair_traverse, visit, arg);
}

static PyMemberDef pair_members[] = {{"first", Py_T_OBJECT_EX, offsetof(Pair, first), 0, NULL},
                                     {"second", Py_T_OBJECT_EX, offsetof(Pair, second), 0, NULL},
                                     {0}};

static const PyType_Slot pair_slots[] = {{Py_tp_new, pair_new}, {Py_tp_members, pair_members}, {0, NULL}};
static const PyType_Slot gc_pair_slots[] = {{Py_tp_new, pair_new},
                                            {Py_tp_members, pair_members},
                                            {Py_tp_traverse, pair_traverse},
                                            {Py_tp_clear, pair_clear},
                                            {0, NULL}};

VARIANTS_OF(pair, Pair, false, pair_clear, .kind = FL_DEALLOC_CLEAR, .clear = pair_clear, .subclassed = true)
VARIANTS_OF(gc_pair, Pair, true, pair_clear, .kind = FL_DEALLOC_CLEAR, .clear = pair_clear, .gc = true,
            .subclassed = true)

static const struct kind pair = {.name = "Pair",
                                 .size = sizeof(Pair),
                                 .flags = Py_TPFLAGS_BASETYPE,
                                 .slots = pair_slots,
                                 .memory = MEMORY_OF(pair),
                                 .churn = pair_churn};

static const struct kind gc_pair = {.name = "GCPair",
                                    .size = sizeof(Pair),
                                    .flags = Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                                    .slots = gc_pair_slots,
                                    .memory = MEMORY_OF(gc_pair),
                                    .churn = pair_churn};

/* ---- WeakPair: a GCPair whose weak references the interpreter manages. */

VARIANTS_OF(weak_pair, Pair, true, pair_clear, .kind = FL_DEALLOC_CLEAR, .clear = pair_clear, .gc = true,
            .subclassed = true)

static const struct kind weak_pair = {.name = "WeakPair",
                                      .size = sizeof(Pair),
                                      .flags = Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_MANAGED_WEAKREF,
                                      .slots = gc_pair_slots,
                                      .memory = MEMORY_OF(weak_pair),
                                      .churn = pair_churn};

/* ---- Handle and GCHandle. The finalizer closes the descriptor, and calls `on_close` with the handle, which may
 * keep it. */

typedef struct {
    PyObject_HEAD int descriptor;
    bool is_open; /* false in an object of zeros, which has no descriptor */
    PyObject *on_close;
} Handle;

static PyObject *handle_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"descriptor", "on_close", NULL};
    int descriptor = -1;
    PyObject *on_close = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|iO", names, &descriptor, &on_close))
        return NULL;
    Handle *self = (Handle *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->descriptor = descriptor;
        self->is_open = descriptor >= 0;
        self->on_close = Py_XNewRef(on_close);
    }
    return (PyObject *)self;
}

static inline void handle_fill(PyObject *object)
{
    ((Handle *)object)->descriptor = -1;
}

CHURN(handle, handle_fill)

static void handle_finalize(PyObject *object)
{
    Handle *self = (Handle *)object;
    PyObject *exception = PyErr_GetRaisedException();
    if (self->is_open)
        (void)close(self->descriptor);
    self->is_open = false;
    self->descriptor = -1;
    PyObject *on_close = self->on_close;
    self->on_close = NULL;
    PyObject *result = on_close != NULL ? PyObject_CallOneArg(on_close, object) : NULL;
    if (on_close != NULL && result == NULL)
        PyErr_WriteUnraisable(object);
    Py_XDECREF(result);
    Py_XDECREF(on_close);
    PyErr_SetRaisedException(exception);
}

static int handle_clear(PyObject *object)
{
    Py_CLEAR(((Handle *)object)->on_close);
    return 0;
}

static int handle_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(((Handle *)object)->on_close);
    return twin_visit_type(object, handle_traverse, visit, arg);
}

static PyMemberDef handle_members[] = {{"descriptor", Py_T_INT, offsetof(Handle, descriptor), Py_READONLY, NULL},
                                       {"on_close", Py_T_OBJECT_EX, offsetof(Handle, on_close), 0, NULL},
                                       {0}};

static const PyType_Slot handle_slots[] = {
    {Py_tp_new, handle_new}, {Py_tp_members, handle_members}, {Py_tp_finalize, handle_finalize}, {0, NULL}};
static const PyType_Slot gc_handle_slots[] = {{Py_tp_new, handle_new},           {Py_tp_members, handle_members},
                                              {Py_tp_finalize, handle_finalize}, {Py_tp_traverse, handle_traverse},
                                              {Py_tp_clear, handle_clear},       {0, NULL}};

VARIANTS_OF(handle, Handle, false, handle_clear, .kind = FL_DEALLOC_FINALIZE, .clear = handle_clear,
            .subclassed = true)
VARIANTS_OF(gc_handle, Handle, true, handle_clear, .kind = FL_DEALLOC_FINALIZE, .clear = handle_clear, .gc = true,
            .subclassed = true)

static const struct kind handle = {.name = "Handle",
                                   .size = sizeof(Handle),
                                   .flags = Py_TPFLAGS_BASETYPE,
                                   .slots = handle_slots,
                                   .memory = MEMORY_OF(handle),
                                   .churn = handle_churn};

static const struct kind gc_handle = {.name = "GCHandle",
                                      .size = sizeof(Handle),
                                      .flags = Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                                      .slots = gc_handle_slots,
                                      .memory = MEMORY_OF(gc_handle),
                                      .churn = handle_churn};

/* ---- Label and GCLabel: a tp_dealloc as it was before Freelane, which knows nothing of it. */

typedef struct {
    PyObject_HEAD PyObject *text;
} Label;

static PyObject *label_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"text", NULL};
    PyObject *text = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O", names, &text))
        return NULL;
    Label *self = (Label *)type->tp_alloc(type, 0);
    if (self != NULL)
        self->text = Py_NewRef(text);
    return (PyObject *)self;
}

static inline void label_fill(PyObject *object)
{
    ((Label *)object)->text = Py_NewRef(Py_None);
}

CHURN(label, label_fill)

static int label_clear(PyObject *object)
{
    Py_CLEAR(((Label *)object)->text);
    return 0;
}

static int label_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(((Label *)object)->text);
    return twin_visit_type(object, label_traverse, visit, arg);
}

static PyMemberDef label_members[] = {{"text", Py_T_OBJECT_EX, offsetof(Label, text), 0, NULL}, {0}};

static const PyType_Slot label_slots[] = {{Py_tp_new, label_new}, {Py_tp_members, label_members}, {0, NULL}};
static const PyType_Slot gc_label_slots[] = {{Py_tp_new, label_new},
                                             {Py_tp_members, label_members},
                                             {Py_tp_traverse, label_traverse},
                                             {Py_tp_clear, label_clear},
                                             {0, NULL}};

VARIANTS_OF(label, Label, false, label_clear, .kind = FL_DEALLOC_LEGACY, .subclassed = true)
VARIANTS_OF(gc_label, Label, true, label_clear, .kind = FL_DEALLOC_LEGACY, .gc = true, .subclassed = true)

/* The types on Freelane keep the deallocation of those on the interpreter's allocation. */
#define LEGACY_MEMORY(prefix)                                                                                        \
    {                                                                                                                \
        [HEAP] = {&prefix##_heap_freelane, prefix##_heap_alloc, prefix##_heap_free, prefix##_default_dealloc},       \
        [STATIC] = {&prefix##_static_freelane, prefix##_static_alloc, prefix##_static_free,                          \
                    prefix##_default_static_dealloc},                                                                \
        [IMMORTAL] = {&prefix##_immortal_freelane, prefix##_immortal_alloc, prefix##_immortal_free,                  \
                      prefix##_default_dealloc},                                                                     \
        [DEFAULT] = DEFAULT_MEMORY(prefix##_default), [DEFAULT_STATIC] = DEFAULT_MEMORY(prefix##_default_static),    \
        [FREELIST] = FREELIST_MEMORY(prefix##_freelist),                                                             \
        [FREELIST_STATIC] = FREELIST_MEMORY(prefix##_freelist_static)                                                \
    }

static const struct kind label = {.name = "Label",
                                  .size = sizeof(Label),
                                  .flags = Py_TPFLAGS_BASETYPE,
                                  .slots = label_slots,
                                  .memory = LEGACY_MEMORY(label),
                                  .churn = label_churn};

static const struct kind gc_label = {.name = "GCLabel",
                                     .size = sizeof(Label),
                                     .flags = Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                                     .slots = gc_label_slots,
                                     .memory = LEGACY_MEMORY(gc_label),
                                     .churn = label_churn};

/* ---- Node: a __dict__ and weak references. */

typedef struct {
    PyObject_HEAD PyObject *left, *right;
    PyObject *dict, *weak_references;
} Node;

static PyObject *node_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"left", "right", NULL};
    PyObject *left = Py_None, *right = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO", names, &left, &right))
        return NULL;
    Node *self = (Node *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->left = Py_NewRef(left);
        self->right = Py_NewRef(right);
    }
    return (PyObject *)self;
}

static inline void node_fill(PyObject *object)
{
    Node *self = (Node *)object;
    self->left = Py_NewRef(Py_None);
    self->right = Py_NewRef(Py_None);
}

CHURN(node, node_fill)

static int node_clear(PyObject *object)
{
    Node *self = (Node *)object;
    Py_CLEAR(self->left);
    Py_CLEAR(self->right);
    Py_CLEAR(self->dict);
    return 0;
}

static int node_traverse(PyObject *object, visitproc visit, void *arg)
{
    Node *self = (Node *)object;
    Py_VISIT(self->left);
    Py_VISIT(self->right);
    Py_VISIT(self->dict);
    return twin_visit_type(object, node_traverse, visit, arg);
}

static PyMemberDef node_members[] = {
    {"left", Py_T_OBJECT_EX, offsetof(Node, left), 0, NULL},
    {"right", Py_T_OBJECT_EX, offsetof(Node, right), 0, NULL},
    {"__dictoffset__", Py_T_PYSSIZET, offsetof(Node, dict), Py_READONLY, NULL},
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(Node, weak_references), Py_READONLY, NULL},
    {0}};

static PyGetSetDef node_attributes[] = {{"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
                                        {0}};

static const PyType_Slot node_slots[] = {{Py_tp_new, node_new},         {Py_tp_getset, node_attributes},
                                         {Py_tp_members, node_members}, {Py_tp_traverse, node_traverse},
                                         {Py_tp_clear, node_clear},     {0, NULL}};

VARIANTS_OF(node, Node, true, node_clear, .kind = FL_DEALLOC_CLEAR, .clear = node_clear, .gc = true,
            .subclassed = true)

static const struct kind node = {.name = "Node",
                                 .size = sizeof(Node),
                                 .flags = Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                                 .slots = node_slots,
                                 .memory = MEMORY_OF(node),
                                 .churn = node_churn};

/* ---- Vector: of variable size. */

typedef struct {
    PyObject_VAR_HEAD double items[];
} Vector;

static PyObject *vector_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"length", NULL};
    Py_ssize_t length = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|n", names, &length))
        return NULL;
    if (length < 0)
        return PyErr_Format(PyExc_ValueError, "length %zd", length);
    Vector *self = (Vector *)type->tp_alloc(type, length);
    for (Py_ssize_t i = 0; self != NULL && i < length; i++)
        self->items[i] = (double)i;
    return (PyObject *)self;
}

static Py_ssize_t vector_length(PyObject *self)
{
    return Py_SIZE(self);
}

static PyObject *vector_item(PyObject *self, Py_ssize_t i)
{
    if (i < 0 || i >= Py_SIZE(self))
        return PyErr_Format(PyExc_IndexError, "item %zd of %zd", i, Py_SIZE(self));
    return PyFloat_FromDouble(((Vector *)self)->items[i]);
}

static const PyType_Slot vector_slots[] = {
    {Py_tp_new, vector_new}, {Py_sq_length, vector_length}, {Py_sq_item, vector_item}, {0, NULL}};

FL_PY_TYPE(vector_heap, Vector, .kind = FL_DEALLOC_PLAIN, .subclassed = true, .variable = true)
DEFAULT_TWIN(vector_default, true, false, NULL)

static const struct kind vector = {
    .name = "Vector",
    .size = sizeof(Vector),
    .item_size = sizeof(double),
    .flags = Py_TPFLAGS_BASETYPE,
    .slots = vector_slots,
    .memory = {[HEAP] = FREELANE_MEMORY(vector_heap), [DEFAULT] = DEFAULT_MEMORY(vector_default)}};

const struct kind *const kinds[] = {&point,    &pair, &gc_pair, &weak_pair,  &handle,           &gc_handle, &label,
                                    &gc_label, &node, &vector,  &demo_table, &demo_table_twins, NULL};
