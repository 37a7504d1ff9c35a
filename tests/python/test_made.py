# SPDX-License-Identifier: MIT
"""Types whose declarations are made at run time, by fl_py_type_new and fl_py_type_adopt; also in Rust."""

import pathlib
import shutil
import tempfile
import unittest

from demo_support import FREE_THREADED, run_command, run_python
from extension_support import HERE, ROOT, WARNINGS, compile_carried, link_extension

PACKAGE = str(ROOT / "src/python/package")

MODULE = """
#include <freelane/python.h>

#include <structmember.h>

typedef struct { PyObject_HEAD PyObject *first, *second; } Pair;

static int pair_clear(PyObject *self)
{
    Py_CLEAR(((Pair *)self)->first);
    Py_CLEAR(((Pair *)self)->second);
    return 0;
}

static int pair_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((Pair *)self)->first);
    Py_VISIT(((Pair *)self)->second);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

/* Calls what the object holds second, if it can be called, with the object. */
static void pair_finalize(PyObject *self)
{
    PyObject *second = ((Pair *)self)->second;
    PyObject *result = second != NULL && PyCallable_Check(second) ? PyObject_CallOneArg(second, self) : NULL;
    Py_XDECREF(result);
    PyErr_Clear();
}

static void pair_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (PyObject_IS_GC(self))
        PyObject_GC_UnTrack(self);
    (void)pair_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *pair_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *first = NULL, *second = NULL;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "|OO", &first, &second))
        return NULL;
    Pair *self = (Pair *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->first = Py_XNewRef(first);
        self->second = Py_XNewRef(second);
    }
    return (PyObject *)self;
}

static PyMemberDef members[] = {{"first", T_OBJECT_EX, offsetof(Pair, first), 0, NULL},
                                {"second", T_OBJECT_EX, offsetof(Pair, second), 0, NULL}, {0}};

static struct made {
    const char *name;
    enum fl_dealloc_kind kind;
    unsigned flags;
    struct fl_py_type *made;
} types[] = {
    {"made.Plain", FL_DEALLOC_PLAIN, FL_PY_SUBCLASSED, NULL},
    {"made.Clear", FL_DEALLOC_CLEAR, FL_PY_SUBCLASSED, NULL},
    {"made.GCClear", FL_DEALLOC_CLEAR, FL_PY_SUBCLASSED | FL_PY_GC, NULL},
    {"made.Final", FL_DEALLOC_CLEAR, 0, NULL},
    {"made.Finalize", FL_DEALLOC_FINALIZE, FL_PY_SUBCLASSED, NULL},
    {"made.GCFinalize", FL_DEALLOC_FINALIZE, FL_PY_SUBCLASSED | FL_PY_GC, NULL},
    {"made.Legacy", FL_DEALLOC_LEGACY, FL_PY_SUBCLASSED, NULL},
    {"made.GCLegacy", FL_DEALLOC_LEGACY, FL_PY_SUBCLASSED | FL_PY_GC, NULL},
    {"made.Immortal", FL_DEALLOC_CLEAR, FL_PY_IMMORTAL, NULL},
};

static int add_slots(PyType_Slot *slots, const struct made *made)
{
    int n = 0;
    bool gc = (made->flags & FL_PY_GC) != 0;
    if (made->kind != FL_DEALLOC_PLAIN) {
        slots[n++] = (PyType_Slot){Py_tp_new, pair_new};
        slots[n++] = (PyType_Slot){Py_tp_members, members};
    }
    if (made->kind == FL_DEALLOC_FINALIZE)
        slots[n++] = (PyType_Slot){Py_tp_finalize, pair_finalize};
    if (gc) {
        slots[n++] = (PyType_Slot){Py_tp_traverse, pair_traverse};
        slots[n++] = (PyType_Slot){Py_tp_clear, pair_clear};
    }
    if (made->kind == FL_DEALLOC_LEGACY) {
        slots[n++] = (PyType_Slot){Py_tp_dealloc, pair_dealloc};
    } else {
        slots[n++] = (PyType_Slot){Py_tp_alloc, made->made->alloc};
        slots[n++] = (PyType_Slot){Py_tp_free, made->made->free};
        slots[n++] = (PyType_Slot){Py_tp_dealloc, made->made->dealloc};
    }
    slots[n] = (PyType_Slot){0, NULL};
    return n;
}

static int declare(struct made *made)
{
    if (made->kind == FL_DEALLOC_LEGACY || made->made != NULL)
        return 0;
    made->made = fl_py_type_new(sizeof(Pair), made->kind, made->flags);
    if (made->made != NULL && made->kind != FL_DEALLOC_PLAIN)
        made->made->clear = pair_clear;
    return made->made != NULL ? 0 : -1;
}

static int add(PyObject *module, struct made *made)
{
    PyType_Slot slots[12];
    if (declare(made) < 0)
        return -1;
    (void)add_slots(slots, made);
    unsigned flags = Py_TPFLAGS_DEFAULT | ((made->flags & FL_PY_GC) != 0 ? Py_TPFLAGS_HAVE_GC : 0) |
                     ((made->flags & FL_PY_SUBCLASSED) != 0 ? Py_TPFLAGS_BASETYPE : 0);
    PyType_Spec spec = {made->name, sizeof(Pair), 0, flags, slots};
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    int failed = type == NULL ? -1
                 : made->kind == FL_DEALLOC_LEGACY ? fl_py_type_adopt(type, 0)
                                                   : fl_py_type_ready(made->made, type);
    if (failed == 0)
        failed = PyModule_AddType(module, type);
    Py_XDECREF((PyObject *)type);
    return failed;
}

static PyObject *live_bytes(PyObject *module, PyObject *unused)
{
    struct fl_py_stats stats;
    (void)module, (void)unused;
    fl_py_get_stats(&stats);
    return PyLong_FromSize_t(stats.live_bytes);
}

static PyObject *make(PyObject *module, PyObject *args)
{
    Py_ssize_t size;
    int kind;
    unsigned flags;
    (void)module;
    if (!PyArg_ParseTuple(args, "niI", &size, &kind, &flags))
        return NULL;
    return fl_py_type_new((size_t)size, (enum fl_dealloc_kind)kind, flags) != NULL ? Py_NewRef(Py_None) : NULL;
}

static PyObject *adopt(PyObject *module, PyObject *type)
{
    (void)module;
    return fl_py_type_adopt((PyTypeObject *)type, 0) == 0 ? Py_NewRef(Py_None) : NULL;
}

/* Another one, so that the compiler does not make one function of both. */
static void other_dealloc(PyObject *self)
{
    PyObject *first = Py_XNewRef(((Pair *)self)->first);
    pair_dealloc(self);
    Py_XDECREF(first);
}

/* Adopts a new type, of the same name each time, with either tp_dealloc. */
static PyObject *adopt_alike(PyObject *module, PyObject *other)
{
    destructor dealloc = PyObject_IsTrue(other) ? other_dealloc : pair_dealloc;
    PyType_Slot slots[] = {{Py_tp_new, pair_new}, {Py_tp_members, members}, {Py_tp_dealloc, dealloc}, {0, NULL}};
    PyType_Spec spec = {"made.Alike", sizeof(Pair), 0, Py_TPFLAGS_DEFAULT, slots};
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    if (type != NULL && fl_py_type_adopt((PyTypeObject *)type, 0) < 0)
        Py_CLEAR(type);
    return type;
}

static PyObject *check(PyObject *module, PyObject *unused)
{
    char error[256] = "";
    (void)module, (void)unused;
    return PyUnicode_FromString(fl_heap_check(fl_py_heap(), error, sizeof error) == 0 ? "" : error);
}

/* A type whose declaration is not told of it. */
static PyObject *unready(PyObject *module, PyObject *unused)
{
    struct fl_py_type *self = fl_py_type_new(sizeof(Pair), FL_DEALLOC_PLAIN, 0);
    if (self == NULL)
        return NULL;
    PyType_Slot slots[] = {{Py_tp_new, pair_new}, {Py_tp_alloc, self->alloc}, {Py_tp_free, self->free},
                           {Py_tp_dealloc, self->dealloc}, {0, NULL}};
    PyType_Spec spec = {"made.Unready", sizeof(Pair), 0, Py_TPFLAGS_DEFAULT, slots};
    (void)unused;
    return PyType_FromModuleAndSpec(module, &spec, NULL);
}

static PyObject *fallback_types(PyObject *module, PyObject *unused)
{
    struct fl_py_stats stats;
    (void)module, (void)unused;
    fl_py_get_stats(&stats);
    return PyLong_FromSize_t(stats.fallback_types);
}

static PyMethodDef methods[] = {{"live_bytes", live_bytes, METH_NOARGS, NULL}, {"make", make, METH_VARARGS, NULL},
                                {"adopt", adopt, METH_O, NULL}, {"adopt_alike", adopt_alike, METH_O, NULL},
                                {"check", check, METH_NOARGS, NULL},
                                {"fallback_types", fallback_types, METH_NOARGS, NULL},
                                {"unready", unready, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};

/* Makes all declarations that have slots of their own, before the types have any. */
static int use_up(void)
{
    for (int i = 0; i < FL_PY_NEW_TYPES; i++)
        if (fl_py_type_new(sizeof(Pair), FL_DEALLOC_PLAIN, 0) == NULL)
            return -1;
    return 0;
}

static int execute(PyObject *module)
{
    if (getenv("MADE_BEYOND") != NULL && types[0].made == NULL && use_up() < 0)
        return -1;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (add(module, &types[i]) < 0)
            return -1;
    return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {Py_mod_gil, Py_MOD_GIL_NOT_USED},
                                   {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED}, {0, NULL}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "made", NULL, 0, methods, slots, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_made(void) { return PyModuleDef_Init(&definition); }
"""

PROLOGUE = """
import gc, importlib.util, sys, threading, weakref
sys.path.insert(0, {folder!r})
import made

class Held:
    pass

ALL = [made.Plain, made.Clear, made.GCClear, made.Final, made.Finalize, made.GCFinalize, made.Legacy, made.GCLegacy,
       made.Immortal]
PAIRS = ALL[1:]
"""


class Made(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.freelane = compile_carried(folder.name)
        source = cls.folder / "made.c"
        source.write_text(MODULE, encoding="utf-8")
        link_extension(source, cls.freelane)

    environment = {}

    def python(self, program):
        program = PROLOGUE.format(folder=str(self.folder)) + program + "\nassert made.check() == ''\n"
        return run_python(program, **self.environment)

    def test_the_memory_of_objects(self):
        self.python(
            """
for type_ in (made.Clear, made.Final, made.Finalize, made.Legacy, made.Immortal):
    before = made.live_bytes()
    many = [type_(i) for i in range(1000)]
    assert made.live_bytes() - before >= 1000 * type_.__basicsize__, type_
    assert [one.first for one in many] == list(range(1000))
    assert not any(hasattr(one, "second") for one in many)
    del many
    assert made.live_bytes() == before, type_
gc.collect()
gc.disable()
for type_ in (made.GCClear, made.GCLegacy):
    many = [type_() for _ in range(100)]
    addresses = set(map(id, many))
    del many
    assert {id(one) for one in [type_() for _ in range(100)]} == addresses, type_
"""
        )

    def test_what_an_object_holds_dies_with_it(self):
        self.python(
            """
for type_ in PAIRS:
    before = sys.getrefcount(type_)
    for _ in range(1000):
        one = type_(held := Held())
        seen = weakref.ref(held)
        del held, one
        assert seen() is None, type_
    gc.collect()
    gc.collect()
    assert abs(sys.getrefcount(type_) - before) <= 2, (type_, sys.getrefcount(type_), before)
for type_ in (made.Finalize, made.GCFinalize):
    calls = []
    for _ in range(100):
        type_(None, lambda one: calls.append(type(one)))
    assert calls == [type_] * 100
"""
        )

    def test_chains(self):
        self.python(
            """
def drop(types):
    one = held = Held()
    seen = weakref.ref(held)
    del held
    for i in range(30000):
        one = types[i % len(types)](one)
    del one
    assert seen() is None, types

for types in [[one] for one in PAIRS] + [PAIRS]:
    drop(types)
    threading.stack_size(256 * 1024)
    raised = []
    threading.excepthook = raised.append
    thread = threading.Thread(target=drop, args=[types])
    thread.start()
    thread.join()
    assert not raised, raised
"""
        )

    def test_subclasses(self):
        self.python(
            """
for base in (made.Clear, made.GCClear, made.Finalize, made.GCFinalize, made.Legacy, made.GCLegacy):
    Derived = type("Derived", (base,), {})
    for _ in range(100):
        one = Derived(held := Held())
        one.cycle = [one]
        seen = weakref.ref(held)
        del held, one
        gc.collect()
        assert seen() is None, base
"""
        )

    def test_in_threads(self):
        self.python(
            """
shared = [type_(i) for i, type_ in enumerate(PAIRS * 8)]

def replace(seed):
    for i in range(20000):
        place = i * seed % len(shared)
        assert type(shared[place].first) is int
        shared[place] = PAIRS[place % len(PAIRS)](i)

threads = [threading.Thread(target=replace, args=[seed]) for seed in (1, 3, 5)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
shared.clear()
"""
        )

    def test_types_of_one_name_with_different_deallocs(self):
        """As classes of Rust whose names have no module. Each is served, and a hundred more need no further declaration."""
        self.python(
            """
types = [made.adopt_alike(other) for _ in range(100) for other in (False, True)]
for type_ in types:
    before = made.live_bytes()
    many = [type_(held := Held()) for _ in range(20)]
    assert made.live_bytes() - before >= 20 * type_.__basicsize__
    seen = weakref.ref(held)
    del held, many
    assert seen() is None and made.live_bytes() == before, type_
"""
        )

    def test_a_module_that_is_executed_again_needs_no_more(self):
        self.python(
            """
import _interpreters
for _ in range(200):
    spec = importlib.util.spec_from_file_location("made", made.__file__)
    other = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(other)
    assert other.Legacy is not made.Legacy and other.Legacy(3).first == 3
for config in ("isolated", "legacy"):
    for _ in range(3):
        interpreter = _interpreters.create(config)
        failure = _interpreters.exec(interpreter, f'''
import sys
sys.path[:] = {sys.path!r}
import made
for type_ in (made.Clear, made.GCClear, made.Finalize, made.Legacy, made.GCLegacy):
    one = None
    for i in range(30000):
        one = type_(one)
    del one
''')
        assert failure is None, failure.errdisplay
        _interpreters.destroy(interpreter)
"""
        )

    def test_what_is_refused(self):
        self.python(
            """
for wrong in ((8, 1, 0), (-1, 1, 0), (32, 4, 0), (32, 1, 64)):
    try:
        made.make(*wrong)
    except ValueError as error:
        assert str(error).startswith("freelane: "), error
    else:
        raise AssertionError(wrong)

class Python:
    pass

for _ in range(3):
    try:
        made.adopt(Python)
    except TypeError as error:
        assert "__dict__" in str(error), error
    else:
        raise AssertionError("it was accepted")
one = Python()
one.cycle = one
del one
gc.collect()
"""
        )

    def test_beyond_the_slots_each_is_counted(self):
        self.python(
            """
before = made.fallback_types()
free = 128 - len(ALL) if before == 0 else 0
for count in range(1, 301):
    made.make(32, 1, 0)
    assert made.fallback_types() == before + max(count - free, 0), (count, made.fallback_types())
"""
        )

    def test_a_class_in_rust(self):
        rustc = shutil.which("rustc")
        if rustc is None:
            self.skipTest("no rustc")
        library = self.folder / "libpolygons.a"
        free_threaded = ["--cfg", "Py_GIL_DISABLED"] if FREE_THREADED else []
        flags = ["-C", "opt-level=1", "-C", "panic=abort", "-C", "relocation-model=pic"]
        command = [rustc, "--edition=2021", "--crate-type=staticlib", *free_threaded, *flags, HERE / "polygons.rs"]
        run_command([*command, "-o", library], LD_PRELOAD="")  # it does not run below AddressSanitizer
        source = self.folder / "polygons.c"
        shutil.copy(HERE / "polygons.c", source)
        link_extension(source, *WARNINGS, library, self.freelane)
        self.python(
            """
from polygons import Polygon

before = sys.getrefcount(Polygon)
for _ in range(1000):
    one = Polygon(held := Held())
    seen = weakref.ref(held)
    del held, one
    assert seen() is None

def drop():
    one = held = Held()
    seen = weakref.ref(held)
    del held
    for _ in range(100000):
        one = Polygon(one)
    del one
    assert seen() is None

drop()
threading.stack_size(256 * 1024)
raised = []
threading.excepthook = raised.append
threads = [threading.Thread(target=drop) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not raised, raised
many = [Polygon() for _ in range(100)]
addresses = set(map(id, many))
del many
assert {id(one) for one in [Polygon() for _ in range(100)]} == addresses
gc.collect()
gc.collect()
assert abs(sys.getrefcount(Polygon) - before) <= 2
"""
        )


class Beyond(Made):
    """The same where the declarations that have slots of their own are used up."""

    environment = {"MADE_BEYOND": "1"}
    test_a_class_in_rust = None  # a module of its own

    def test_the_memory_of_objects(self):
        """It is the interpreter's."""
        self.python(
            f"""
sys.path.append({PACKAGE!r})
import freelane

rows = {{row["type"].removeprefix("made."): row for row in freelane.copies()[0]["types"]}}
assert all(rows[type_.__name__]["lent"] for type_ in ALL), rows
assert "made.Immortal" in freelane.report().split("in the interpreter's memory", 1)[1].splitlines()[0]
assert freelane.copies()[0]["stats"]["fallback_types"] == made.fallback_types() == len(ALL)
for type_ in PAIRS:
    many = [type_(i) for i in range(1000)]
    assert made.live_bytes() == 0
    assert [one.first for one in many] == list(range(1000))
    assert not any(hasattr(one, "second") for one in many)
"""
        )

    def test_types_of_one_name_with_different_deallocs(self):
        """And one at the address of another that has ended."""
        self.python(
            """
for _ in range(30):
    types = [made.adopt_alike(other) for _ in range(10) for other in (False, True)]
    before = made.fallback_types()
    for type_ in types:
        many = [type_(held := Held()) for _ in range(20)]
        seen = weakref.ref(held)
        del held, many
        assert seen() is None, type_
    del types, type_
    gc.collect()
    assert made.fallback_types() == before
assert made.fallback_types() == len(ALL) + 2, made.fallback_types()
"""
        )

    def test_a_type_that_was_not_made_ready_makes_no_objects(self):
        self.python(
            """
try:
    made.unready()()
except SystemError as error:
    assert "fl_py_type_ready was not called for made.Unready" in str(error), error
else:
    raise AssertionError("it was made")
"""
        )


if __name__ == "__main__":
    unittest.main()
