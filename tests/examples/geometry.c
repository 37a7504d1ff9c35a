/* extension: geometry.c */
#include <Python.h>
#include <freelane/python.h> /* + */

#include <stddef.h>

/* ---- Point: two numbers. */

typedef struct {
    PyObject_HEAD double x, y;
} Point;

FL_PY_TYPE(point, Point, .kind = FL_DEALLOC_PLAIN) /* + */

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

/* - static void point_dealloc(PyObject *self): tp_free, and the reference to the type */

static PyMemberDef point_members[] = {
    {"x", Py_T_DOUBLE, offsetof(Point, x), 0, NULL},
    {"y", Py_T_DOUBLE, offsetof(Point, y), 0, NULL},
    {0},
};

static PyType_Slot point_slots[] = {
    {Py_tp_new, (void *)point_new},
    {Py_tp_members, point_members},
    FL_PY_SLOTS(point), /* + in place of Py_tp_dealloc */
    {0, NULL},
};

static PyType_Spec point_spec = {"geometry.Point", sizeof(Point), 0, Py_TPFLAGS_DEFAULT, point_slots};

/* ---- Segment: two objects, which the collector has to see. */

typedef struct {
    PyObject_HEAD PyObject *from, *to;
} Segment;

static int segment_clear(PyObject *object)
{
    Segment *self = (Segment *)object;
    Py_CLEAR(self->from);
    Py_CLEAR(self->to);
    return 0;
}

FL_PY_TYPE(segment, Segment, .kind = FL_DEALLOC_CLEAR, .clear = segment_clear, .gc = true, .subclassed = true) /* + */

static int segment_traverse(PyObject *object, visitproc visit, void *arg)
{
    Segment *self = (Segment *)object;
    Py_VISIT(self->from);
    Py_VISIT(self->to);
    Py_VISIT(Py_TYPE(object));
    return 0;
}

static PyObject *segment_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"from_", "to", NULL};
    PyObject *from, *to;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO", names, &from, &to))
        return NULL;
    Segment *self = (Segment *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->from = Py_NewRef(from);
        self->to = Py_NewRef(to);
    }
    return (PyObject *)self;
}

/* - static void segment_dealloc(PyObject *self): untrack, clear, tp_free, and the reference to the type */

static PyMemberDef segment_members[] = {
    {"from_", Py_T_OBJECT_EX, offsetof(Segment, from), 0, NULL},
    {"to", Py_T_OBJECT_EX, offsetof(Segment, to), 0, NULL},
    {0},
};

static PyType_Slot segment_slots[] = {
    {Py_tp_new, (void *)segment_new},
    {Py_tp_traverse, (void *)segment_traverse},
    {Py_tp_clear, (void *)segment_clear},
    {Py_tp_members, segment_members},
    FL_PY_SLOTS(segment), /* + in place of Py_tp_dealloc */
    {0, NULL},
};

static PyType_Spec segment_spec = {"geometry.Segment", sizeof(Segment), 0,
                                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, segment_slots};

/* ---- The module. */

static int add_type(PyObject *module, PyType_Spec *spec, const struct fl_py_type *freelane)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    if (type == NULL)
        return -1;
    int failed = fl_py_type_ready(freelane, type); /* + */
    if (failed == 0)
        failed = PyModule_AddType(module, type);
    Py_DECREF(type);
    return failed;
}

static int execute(PyObject *module)
{
    if (add_type(module, &point_spec, &point_freelane) < 0)
        return -1;
    return add_type(module, &segment_spec, &segment_freelane);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)execute},
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
    {0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "geometry", .m_slots = slots};

PyMODINIT_FUNC PyInit_geometry(void)
{
    return PyModuleDef_Init(&definition);
}
