/* extension: containers.c */
#include <Python.h>
#include <freelane/python.h>

#include <stddef.h>

/* ---- Bag: any number of objects, in a buffer of its own. */

typedef struct {
    PyObject_HEAD PyObject **items;
    Py_ssize_t count, room;
} Bag;

/* For tp_clear: the bag stays one, without items. */
static int bag_empty(PyObject *object)
{
    Bag *self = (Bag *)object;
    while (self->count > 0)
        Py_DECREF(self->items[--self->count]);
    return 0;
}

/* For .clear: the bag is no more. The collector may have emptied it before. */
static int bag_end(PyObject *object)
{
    (void)bag_empty(object);
    PyMem_Free(((Bag *)object)->items);
    return 0;
}

FL_PY_TYPE(bag, Bag, .kind = FL_DEALLOC_CLEAR, .clear = bag_end, .gc = true)

static int bag_traverse(PyObject *object, visitproc visit, void *arg)
{
    Bag *self = (Bag *)object;
    for (Py_ssize_t i = 0; i < self->count; i++)
        Py_VISIT(self->items[i]);
    Py_VISIT(Py_TYPE(object));
    return 0;
}

static int bag_grow(Bag *self)
{
    Py_ssize_t room = self->room * 2 + 4;
    PyObject **items = PyMem_Realloc(self->items, (size_t)room * sizeof *items);
    if (items == NULL)
        return PyErr_NoMemory(), -1;
    self->items = items;
    self->room = room;
    return 0;
}

static PyObject *bag_add(PyObject *object, PyObject *item)
{
    Bag *self = (Bag *)object;
    int failed = 0;
    Py_BEGIN_CRITICAL_SECTION(object);
    if (self->count == self->room)
        failed = bag_grow(self);
    if (failed == 0)
        self->items[self->count++] = Py_NewRef(item);
    Py_END_CRITICAL_SECTION();
    return failed == 0 ? Py_NewRef(Py_None) : NULL;
}

static PyMethodDef bag_methods[] = {{"add", bag_add, METH_O, NULL}, {0}};

static PyType_Slot bag_slots[] = {
    {Py_tp_methods, bag_methods},
    {Py_tp_traverse, (void *)bag_traverse},
    {Py_tp_clear, (void *)bag_empty},
    FL_PY_SLOTS(bag),
    {0, NULL},
};

static PyType_Spec bag_spec = {"containers.Bag", sizeof(Bag), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, bag_slots};

/* ---- Vector: any number of doubles, in the object. */

typedef struct {
    PyObject_VAR_HEAD double values[1];
} Vector;

FL_PY_TYPE_OF_SIZE(vector, offsetof(Vector, values), .kind = FL_DEALLOC_PLAIN, .variable = true)

static PyObject *vector_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)kwargs;
    Vector *self = (Vector *)type->tp_alloc(type, PyTuple_GET_SIZE(args));
    for (Py_ssize_t i = 0; self != NULL && i < Py_SIZE(self); i++) {
        self->values[i] = PyFloat_AsDouble(PyTuple_GET_ITEM(args, i));
        if (PyErr_Occurred())
            Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static Py_ssize_t vector_length(PyObject *self)
{
    return Py_SIZE(self);
}

static PyObject *vector_item(PyObject *self, Py_ssize_t i)
{
    if (i < 0 || i >= Py_SIZE(self))
        return PyErr_Format(PyExc_IndexError, "%zd", i);
    return PyFloat_FromDouble(((Vector *)self)->values[i]);
}

static PyType_Slot vector_slots[] = {
    {Py_tp_new, (void *)vector_new},
    {Py_sq_length, (void *)vector_length},
    {Py_sq_item, (void *)vector_item},
    FL_PY_SLOTS(vector),
    {0, NULL},
};

static PyType_Spec vector_spec = {"containers.Vector", offsetof(Vector, values), sizeof(double), Py_TPFLAGS_DEFAULT,
                                  vector_slots};

/* ---- Label: a type that keeps its tp_dealloc. */

typedef struct {
    PyObject_HEAD PyObject *text;
} Label;

FL_PY_TYPE(label, Label, .kind = FL_DEALLOC_LEGACY)

static PyObject *label_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *text;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "O", &text))
        return NULL;
    Label *self = (Label *)type->tp_alloc(type, 0);
    if (self != NULL)
        self->text = Py_NewRef(text);
    return (PyObject *)self;
}

static void label_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(((Label *)self)->text);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot label_slots[] = {
    {Py_tp_new, (void *)label_new},
    {Py_tp_dealloc, (void *)label_dealloc},
    FL_PY_LEGACY_SLOTS(label),
    {0, NULL},
};

static PyType_Spec label_spec = {"containers.Label", sizeof(Label), 0, Py_TPFLAGS_DEFAULT, label_slots};

/* ---- The module. */

static int add_type(PyObject *module, PyType_Spec *spec, const struct fl_py_type *freelane)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    int failed = type == NULL || fl_py_type_ready(freelane, type) < 0 || PyModule_AddType(module, type) < 0 ? -1 : 0;
    Py_XDECREF(type);
    return failed;
}

static int execute(PyObject *module)
{
    if (add_type(module, &bag_spec, &bag_freelane) < 0 || add_type(module, &vector_spec, &vector_freelane) < 0)
        return -1;
    return add_type(module, &label_spec, &label_freelane);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)execute},
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
    {0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "containers", .m_slots = slots};

PyMODINIT_FUNC PyInit_containers(void)
{
    return PyModuleDef_Init(&definition);
}
