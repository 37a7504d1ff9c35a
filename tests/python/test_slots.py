# SPDX-License-Identifier: MIT
"""Types made of arrays of PySlot (Python 3.15, PEP 820), on Freelane and with the fall-back."""

import sysconfig
import unittest
from pathlib import Path

from demo_support import run_command, run_python
from extension_support import CHECK, FLAGS, INCLUDES, SUFFIX, WARNINGS, FolderTestCase, compile_carried, compiler

MODULE = (
    """
#include <Python.h>
#include <freelane/python.h>

typedef struct { PyObject_HEAD PyObject *held; } Object;

static int object_clear(PyObject *self) { Py_CLEAR(((Object *)self)->held); return 0; }
static int object_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((Object *)self)->held);
    Py_VISIT(Py_TYPE(self));
    return 0;
}
static void object_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_CLEAR(((Object *)self)->held);
    type->tp_free(self);
    Py_DECREF(type);
}
static PyObject *object_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *held = NULL;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "|O", &held))
        return NULL;
    Object *self = (Object *)type->tp_alloc(type, 0);
    if (self != NULL)
        self->held = Py_XNewRef(held);
    return (PyObject *)self;
}

FL_PY_TYPE(holder, Object, .kind = FL_DEALLOC_CLEAR, .clear = object_clear)
FL_PY_TYPE(tracked, Object, .kind = FL_DEALLOC_CLEAR, .clear = object_clear, .gc = true)
FL_PY_TYPE(forever, Object, .kind = FL_DEALLOC_CLEAR, .clear = object_clear, .immortal = true)
FL_PY_TYPE(legacy, Object, .kind = FL_DEALLOC_LEGACY)

#define SLOTS(prefix, flags, ...)                                                                                    \\
    static PySlot prefix##_slots[] = {PySlot_PTR_STATIC(Py_tp_name, "slots." #prefix),                         \\
                                            PySlot_SIZE(Py_tp_basicsize, sizeof(Object)),                            \\
                                            PySlot_UINT64(Py_tp_flags, Py_TPFLAGS_DEFAULT | (flags)),                \\
                                            PySlot_PTR(Py_tp_new, object_new), __VA_ARGS__, PySlot_END};
SLOTS(holder, 0, FL_PY_PEP820_SLOTS(holder))
SLOTS(tracked, Py_TPFLAGS_HAVE_GC, FL_PY_PEP820_SLOTS(tracked), PySlot_PTR(Py_tp_traverse, object_traverse),
      PySlot_PTR(Py_tp_clear, object_clear))
SLOTS(forever, 0, FL_PY_PEP820_SLOTS(forever))
SLOTS(legacy, 0, FL_PY_PEP820_LEGACY_SLOTS(legacy), PySlot_PTR(Py_tp_dealloc, object_dealloc))

static const struct { const struct fl_py_type *freelane; PySlot *slots; } types[] = {
    {&holder_freelane, holder_slots},
    {&tracked_freelane, tracked_slots},
    {&forever_freelane, forever_slots},
    {&legacy_freelane, legacy_slots},
};

static int execute(PyObject *module)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        PyTypeObject *type = (PyTypeObject *)PyType_FromSlots(types[i].slots);
        if (type == NULL || fl_py_type_ready(types[i].freelane, type) < 0 || PyModule_AddType(module, type) < 0)
            return -1;
        Py_DECREF(type);
    }
    return 0;
}

#if FL_PY_FALLBACK
static PyObject *owns(PyObject *module, PyObject *object) { (void)module, (void)object; Py_RETURN_FALSE; }
static PyObject *check(PyObject *module, PyObject *unused) { (void)module, (void)unused; Py_RETURN_NONE; }
#else
static PyObject *owns(PyObject *module, PyObject *object)
{
    (void)module;
    return PyBool_FromLong(fl_owns(fl_py_heap(), object));
}
"""
    + CHECK
    + """
#endif

static PyMethodDef methods[] = {
    {"owns", owns, METH_O, NULL}, {"check", check, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, (void *)execute}, {Py_mod_gil, Py_MOD_GIL_NOT_USED}, {0, NULL}};
static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "slots", .m_methods = methods, .m_slots = module_slots};
PyMODINIT_FUNC PyInit_slots(void) { return PyModuleDef_Init(&definition); }
"""
)

PROGRAM = """
import gc, sys, weakref
sys.path.insert(0, FOLDER)
import slots

class Item: pass

for type_ in slots.holder, slots.tracked, slots.forever, slots.legacy:
    item = Item()
    watch = weakref.ref(item)
    for _ in range(3):
        many = [type_(item) for _ in range(10000)]
        assert slots.owns(many[0]) == (HEAP and type_ is not slots.tracked), type_
        assert sys._is_immortal(type_) == (HEAP and type_ is slots.forever), type_
        del many
    del item
    gc.collect()
    assert watch() is None, type_
slots.check()
"""


@unittest.skipIf(
    not (Path(sysconfig.get_path("include")) / "slots.h").exists(), "the headers of this interpreter have no PySlot"
)
class Slots(FolderTestCase):
    def run_module(self, heap, *arguments):
        source = self.write("slots.c", MODULE)
        extension = source.with_suffix(SUFFIX)
        run_command([compiler(), *FLAGS, *WARNINGS, *INCLUDES, "-shared", source, *arguments, "-o", extension])
        run_python(PROGRAM.replace("FOLDER", repr(str(self.folder))).replace("HEAP", str(heap)))

    def test_on_freelane(self):
        self.run_module(True, compile_carried(self.folder))

    def test_with_the_fall_back(self):
        self.run_module(False, "-DFREELANE_PYTHON_FALLBACK")


if __name__ == "__main__":
    unittest.main()
