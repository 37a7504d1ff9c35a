/* SPDX-License-Identifier: MIT
 *
 * The extension of the examples wheel-setuptools/, wheel-meson/ and wheel-scikit-build/. They compile it with MODULE set
 * to their name.
 *
 *     Vector(x, y)     two numbers: PLAIN
 *     Box(value)       holds an object, and the collector can see it: CLEAR
 *     live_bytes()     what is alive in this copy's heap
 *     check()          verifies this copy's heap, with no other thread in it
 */
#include <Python.h>

#include <freelane/python.h>

#include <stddef.h>

#define STRING_(x)  #x
#define STRING(x)   STRING_(x)
#define JOIN_(a, b) a##b
#define JOIN(a, b)  JOIN_(a, b)

/* ---- Vector --------------------------------------------------------------------------------------------- */

struct vector {
    PyObject_HEAD double x, y;
};

FL_PY_TYPE(vector, struct vector, .kind = FL_DEALLOC_PLAIN)

static PyObject *vector_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"x", "y", NULL};
    double x = 0, y = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|dd", names, &x, &y))
        return NULL;
    struct vector *self = (struct vector *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->x = x;
    self->y = y;
    return (PyObject *)self;
}

static PyMemberDef vector_members[] = {
    {"x", Py_T_DOUBLE, offsetof(struct vector, x), 0, NULL},
    {"y", Py_T_DOUBLE, offsetof(struct vector, y), 0, NULL},
    {0},
};

static PyType_Slot vector_slots[] = {
    {Py_tp_new, (void *)vector_new},
    {Py_tp_members, vector_members},
    FL_PY_SLOTS(vector),
    {0, NULL},
};

static PyType_Spec vector_spec = {
    .name = STRING(MODULE) ".Vector",
    .basicsize = sizeof(struct vector),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = vector_slots,
};

/* ---- Box ------------------------------------------------------------------------------------------------- */

struct box {
    PyObject_HEAD PyObject *value;
};

static int box_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((struct box *)object)->value);
    return 0;
}

static int box_clear(PyObject *object)
{
    Py_CLEAR(((struct box *)object)->value);
    return 0;
}

FL_PY_TYPE(box, struct box, .kind = FL_DEALLOC_CLEAR, .clear = box_clear, .gc = true)

static PyObject *box_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"value", NULL};
    PyObject *value = Py_None;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|O", names, &value))
        return NULL;
    struct box *self = (struct box *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->value = Py_NewRef(value);
    return (PyObject *)self;
}

static PyMemberDef box_members[] = {
    {"value", Py_T_OBJECT_EX, offsetof(struct box, value), 0, NULL},
    {0},
};

static PyType_Slot box_slots[] = {
    {Py_tp_new, (void *)box_new},
    {Py_tp_traverse, (void *)box_traverse},
    {Py_tp_clear, (void *)box_clear},
    {Py_tp_members, box_members},
    FL_PY_SLOTS(box),
    {0, NULL},
};

static PyType_Spec box_spec = {
    .name = STRING(MODULE) ".Box",
    .basicsize = sizeof(struct box),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = box_slots,
};

/* ---- The module ------------------------------------------------------------------------------------------- */

static PyObject *live_bytes(PyObject *module, PyObject *unused)
{
    struct fl_py_stats stats;
    (void)module, (void)unused;
    fl_py_get_stats(&stats);
    return PyLong_FromSize_t(stats.live_bytes);
}

static PyObject *check(PyObject *module, PyObject *unused)
{
    char message[256];
    (void)module, (void)unused;
    if (fl_heap_check(fl_py_heap(), message, sizeof message) != 0)
        return PyErr_Format(PyExc_AssertionError, "%s", message);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"live_bytes", live_bytes, METH_NOARGS, NULL},
    {"check", check, METH_NOARGS, NULL},
    {0},
};

static int add_type(PyObject *module, PyType_Spec *spec, const struct fl_py_type *freelane)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (type == NULL)
        return -1;
    int result = fl_py_type_ready(freelane, (PyTypeObject *)type);
    if (result == 0)
        result = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return result;
}

static int execute(PyObject *module)
{
    if (add_type(module, &vector_spec, &vector_freelane) < 0)
        return -1;
    return add_type(module, &box_spec, &box_freelane);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)execute},
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = STRING(MODULE),
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC JOIN(PyInit_, MODULE)(void)
{
    return PyModuleDef_Init(&definition);
}
