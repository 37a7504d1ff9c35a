# SPDX-License-Identifier: MIT
"""The header of objects: extensions compiled with copies of the interpreter's headers that say something else."""

import pathlib
import shutil
import sysconfig
import tempfile
import unittest

from demo_support import FREE_THREADED, TSAN, run_command, run_python
from extension_support import CHECK, FLAGS, INCLUDES, ROOT, SUFFIX, WARNINGS, carried, compile_files, compiler

MODULE = (
    """
#include <Python.h>
#include <freelane/python.h>

typedef struct { PyObject_HEAD PyObject *held; double x; } Object;

static int object_clear(PyObject *self) { Py_CLEAR(((Object *)self)->held); return 0; }
static int object_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((Object *)self)->held);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

FL_PY_TYPE(plain, Object, .kind = FL_DEALLOC_PLAIN)
FL_PY_TYPE(immortal, Object, .kind = FL_DEALLOC_PLAIN, .immortal = true)
FL_PY_TYPE(base, Object, .kind = FL_DEALLOC_CLEAR, .clear = object_clear, .subclassed = true, .immortal = true)
FL_PY_TYPE(tracked, Object, .kind = FL_DEALLOC_CLEAR, .clear = object_clear, .gc = true)
FL_PY_TYPE(fixed, Object, .kind = FL_DEALLOC_PLAIN, .immortal = true)

static PyObject *object_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *held = NULL;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "|O", &held))
        return NULL;
    Object *self = (Object *)type->tp_alloc(type, 0);
    if (self != NULL && type->tp_dealloc != plain_freelane.dealloc && type->tp_dealloc != immortal_freelane.dealloc &&
        type->tp_dealloc != fixed_freelane.dealloc)
        self->held = Py_XNewRef(held);
    return (PyObject *)self;
}

#define SLOTS(prefix) static PyType_Slot prefix##_slots[] = {{Py_tp_new, (void *)object_new}, FL_PY_SLOTS(prefix), {0, NULL}};
SLOTS(plain)
SLOTS(immortal)
SLOTS(base)
static PyType_Slot tracked_slots[] = {{Py_tp_new, (void *)object_new}, {Py_tp_traverse, (void *)object_traverse},
                                      {Py_tp_clear, (void *)object_clear}, FL_PY_SLOTS(tracked), {0, NULL}};

static struct { const struct fl_py_type *freelane; PyType_Spec spec; } types[] = {
    {&plain_freelane, {"@.Plain", sizeof(Object), 0, Py_TPFLAGS_DEFAULT, plain_slots}},
    {&immortal_freelane, {"@.Immortal", sizeof(Object), 0, Py_TPFLAGS_DEFAULT, immortal_slots}},
    {&base_freelane, {"@.Base", sizeof(Object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, base_slots}},
    {&tracked_freelane, {"@.Tracked", sizeof(Object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, tracked_slots}},
};

static PyTypeObject fixed = {PyVarObject_HEAD_INIT(NULL, 0) .tp_name = "@.Fixed", .tp_basicsize = sizeof(Object),
                             .tp_flags = Py_TPFLAGS_DEFAULT, .tp_new = object_new, .tp_alloc = fixed_alloc,
                             .tp_free = fixed_free, .tp_dealloc = fixed_freelane_dealloc};

static PyObject *writes_headers(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyBool_FromLong(fl_py_blocks_of(&plain_freelane, fl_py_here())->floor != NULL);
}

static PyObject *writes_tracked(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyBool_FromLong(fl_py_writes_tracked);
}

static PyObject *live(PyObject *module, PyObject *unused)
{
    struct fl_py_stats stats;
    (void)module, (void)unused;
    fl_py_get_stats(&stats);
    return PyLong_FromSize_t(stats.live_bytes);
}
"""
    + CHECK
    + """
static PyMethodDef methods[] = {{"writes_headers", writes_headers, METH_NOARGS, NULL},
                                {"writes_tracked", writes_tracked, METH_NOARGS, NULL},
                                {"live", live, METH_NOARGS, NULL}, {"check", check, METH_NOARGS, NULL},
                                {NULL, NULL, 0, NULL}};

static int execute(PyObject *module)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &types[i].spec, NULL);
        if (type == NULL || fl_py_type_ready(types[i].freelane, type) < 0 || PyModule_AddType(module, type) < 0)
            return -1;
    }
    if (PyType_Ready(&fixed) < 0 || fl_py_type_ready(&fixed_freelane, &fixed) < 0)
        return -1;
    return PyModule_AddType(module, &fixed);
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, (void *)execute}, {Py_mod_gil, Py_MOD_GIL_NOT_USED}, {0, NULL}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "@", NULL, 0, methods, module_slots, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_@(void) { return PyModuleDef_Init(&definition); }
"""
)

PROGRAM = """
import gc, sys, threading
sys.path.insert(0, {folder!r})
import {name} as module

TYPES = [module.Plain, module.Immortal, module.Fixed, module.Base, module.Tracked]

class Sub(module.Base): pass

def use(count):
    other = [object()]  # of this thread: others' references to it would count, too
    for type_ in [*TYPES, Sub]:
        for _ in range(3):
            many = [type_() for _ in range(count)]
            assert gc.is_tracked(many[0]) == gc.is_tracked(many[-1]) == (type_ in (module.Tracked, Sub)), type_
            assert sys.getrefcount(many[-1]) == sys.getrefcount(other[-1]), type_
            many += many
            del many
    chain = None
    for i in range(count):
        chain = [module.Base, module.Tracked][i % 2](chain)
    del chain

def counts():
    gc.collect()
    gc.collect()
    return [sys.getrefcount(type_) for type_ in (module.Plain, module.Tracked)]

use(100)
live, before = module.live(), counts()
use(1000)
keep = [type_() for type_ in TYPES for _ in range(1000)]
assert module.live() - live >= 4000 * module.Plain.__basicsize__, module.live()
threads = [threading.Thread(target=use, args=[1000]) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
# Objects die in another thread.
thread = threading.Thread(target=keep.clear)
thread.start()
thread.join()
writes = module.writes_headers()
assert all(abs(one - other) <= 2 for one, other in zip(counts(), before)), (counts(), before)
assert module.live() == live, module.live()
module.check()
print(writes, module.writes_tracked())
"""

# What is changed in the copies. The interpreter that runs is the same, so the sizes and places of all fields are.
THREAD = {"return tid;": "return tid + 16;"}
COUNTS = {
    "uint32_t ob_ref_local;": "uint8_t ob_ref_local; unsigned : 24;",
    "Py_ssize_t ob_ref_shared;": "uint32_t ob_ref_shared; unsigned : 32;",
    "_Py_IMMORTAL_REFCNT_LOCAL,": "UINT8_MAX,",
}
# The collector's bits and the lock in each other's place.
BITS = {
    "uint8_t ob_gc_bits;": "PyMutex ob_changed;",
    "PyMutex ob_mutex;": "uint8_t ob_gc_bits;",
    "PyMutex ob_changed;": "PyMutex ob_mutex;",
}


@unittest.skipIf(not FREE_THREADED, "with the GIL PyObject_Init writes all headers")
@unittest.skipIf(TSAN, "compiles extensions without the sanitizer")
class Headers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.compiler = compiler()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.core = cls.folder / "core.o"
        cls.compile(None, [file for file in carried() if file.parent.name != "python"], cls.core)

    @classmethod
    def compile(cls, include, files, result, *flags):
        headers = ["-isystem", include] if include is not None else []
        includes = [f"-I{ROOT / 'include'}", f"-I{ROOT / 'src'}", *headers]
        compile_files([cls.compiler, *FLAGS, "-O0", *WARNINGS, *flags, *includes], files, result)

    def doctor(self, name, changes):
        """A copy of the interpreter's headers with changes, each of which is to be made once."""
        include = self.folder / f"include_{name}"
        shutil.copytree(sysconfig.get_path("include"), include)
        for old, new in changes.items():
            places = [file for file in include.glob("*.h") if old in file.read_text(encoding="utf-8")]
            self.assertEqual(len(places), 1, old)
            text = places[0].read_text(encoding="utf-8")
            self.assertEqual(text.count(old), 1, old)
            places[0].write_text(text.replace(old, new), encoding="utf-8")
        return include

    def run_with(self, name, changes, *flags):
        """Returns whether the fast paths write headers, of objects with gc, too."""
        include = self.doctor(name, changes)
        source = self.folder / f"{name}.c"
        source.write_text(MODULE.replace("@", name), encoding="utf-8")
        python = [file for file in carried() if file.parent.name == "python"]
        objects = self.folder / f"{name}.o"
        self.compile(include, [source, *python], objects, *flags)
        run_command([self.compiler, "-shared", "-pthread", objects, self.core, "-o", self.folder / f"{name}{SUFFIX}"])
        return run_python(PROGRAM.format(folder=str(self.folder), name=name)).strip()

    def test_of_the_interpreter_itself(self):
        self.assertEqual(self.run_with("same", {}), "True True")

    def test_with_another_number_for_the_thread(self):
        self.assertEqual(self.run_with("thread", THREAD), "False False")

    def test_with_the_collectors_bits_elsewhere(self):
        # Initializers of the interpreter have braces in the other place.
        self.assertEqual(self.run_with("bits", BITS, "-Wno-error"), "True False")

    def test_with_the_smaller_counts_proposed_for_3_16(self):
        self.assertEqual(self.run_with("counts", COUNTS), "False False")


@unittest.skipIf(FREE_THREADED, "pyconfig.h says itself that there is no GIL")
class OtherBuild(unittest.TestCase):
    def test_the_same_headers_for_a_build_without_the_gil(self):
        files = [file for file in carried() if file.parent.name == "python"]
        run_command([compiler(), *FLAGS, *WARNINGS, *INCLUDES, "-DPy_GIL_DISABLED=1", "-fsyntax-only", *files])


if __name__ == "__main__":
    unittest.main()
