# SPDX-License-Identifier: MIT
"""The same declarations on the interpreter's own allocation: with the macro in every interpreter, with Py_LIMITED_API,
and compiled as for other systems and interpreters."""

import importlib.util
import pathlib
import re
import shutil
import sys
import sysconfig
import unittest
from unittest import mock

from demo_support import FREE_THREADED, run_command, run_python
from extension_support import FLAGS, INCLUDES, ROOT, SUFFIX, WARNINGS, FolderTestCase, carried, compiler, examples

MACRO = "-DFREELANE_PYTHON_FALLBACK"

# Each kind where nobody knows the size of an object.
ABI3T = """
#include <Python.h>
#include <freelane/python.h>

typedef struct { PyObject *held; } Data;

static int clear(PyObject *self) { Py_CLEAR(((Data *)PyObject_GetTypeData(self, Py_TYPE(self)))->held); return 0; }

FL_PY_TYPE(plain, Data, .kind = FL_DEALLOC_PLAIN)
FL_PY_TYPE(pair, Data, .kind = FL_DEALLOC_CLEAR, .clear = clear, .gc = true, .subclassed = true)
FL_PY_TYPE(finalized, Data, .kind = FL_DEALLOC_FINALIZE, .clear = clear)
FL_PY_TYPE(label, Data, .kind = FL_DEALLOC_LEGACY)

PyType_Slot slots[][4] = {{FL_PY_SLOTS(plain), {0, NULL}}, {FL_PY_SLOTS(pair), {0, NULL}},
                          {FL_PY_SLOTS(finalized), {0, NULL}}, {FL_PY_LEGACY_SLOTS(label), {0, NULL}}};
PyType_Spec spec = {"abi3t.Plain", -(int)sizeof(Data), 0, Py_TPFLAGS_DEFAULT, slots[0]};

int ready(PyTypeObject *type);
int ready(PyTypeObject *type)
{
    const struct fl_py_type *made = fl_py_type_new(sizeof(Data) + 64, FL_DEALLOC_PLAIN, 0);
    if (made == NULL || fl_py_type_ready(made, type) < 0 || fl_py_type_adopt(type, 0) < 0)
        return -1;
    if (fl_py_type_ready(&plain_freelane, type) < 0 || fl_py_type_ready(&pair_freelane, type) < 0)
        return -1;
    return fl_py_type_ready(&finalized_freelane, type) < 0 ? -1 : fl_py_type_ready(&label_freelane, type);
}
"""

# Every kind, and every function of python.h. Compiles with Py_LIMITED_API, too.
MODULE = """
#include <Python.h>
#include <freelane/python.h>

#if !FL_PY_FALLBACK
#error "does not fall back"
#endif

typedef struct { PyObject_HEAD PyObject *held, *weak_references; } Object;

static int object_clear(PyObject *self) { Py_CLEAR(((Object *)self)->held); return 0; }
static int object_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((Object *)self)->held);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

/* Calls what the object holds, with the object. */
static void object_finalize(PyObject *self)
{
    PyObject *held = ((Object *)self)->held;
    PyObject *result = held != NULL ? PyObject_CallFunctionObjArgs(held, self, NULL) : NULL;
    Py_XDECREF(result);
    PyErr_Clear();
}

FL_PY_TYPE(plain, Object, .kind = FL_DEALLOC_PLAIN)
FL_PY_TYPE(pair, Object, .kind = FL_DEALLOC_CLEAR, .clear = object_clear, .subclassed = true)
FL_PY_TYPE(gc_pair, Object, .kind = FL_DEALLOC_CLEAR, .clear = object_clear, .gc = true, .subclassed = true)
FL_PY_TYPE(finalized, Object, .kind = FL_DEALLOC_FINALIZE, .clear = object_clear, .subclassed = true)
FL_PY_TYPE(label, Object, .kind = FL_DEALLOC_LEGACY)
FL_PY_TYPE_OF_SIZE(row, sizeof(PyVarObject), .kind = FL_DEALLOC_PLAIN, .immortal = true, .variable = true)

static PyObject *object_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *held = NULL, *self;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "|O", &held))
        return NULL;
    self = alloc(type, 0);
    if (self != NULL && held != NULL)
        ((Object *)self)->held = Py_NewRef(held);
    return self;
}

static PyObject *row_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)kwargs;
    return row_alloc(type, PyTuple_Size(args));
}

static void label_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(((Object *)self)->held);
    label_free(self);
    Py_DECREF(type);
}

static void adopted_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc give_back = (freefunc)PyType_GetSlot(type, Py_tp_free);
    if (((Object *)self)->weak_references != NULL)
        PyObject_ClearWeakRefs(self);
    Py_XDECREF(((Object *)self)->held);
    give_back(self);
    Py_DECREF(type);
}

static PyMemberDef members[] = {
    {"held", Py_T_OBJECT_EX, offsetof(Object, held), 0, NULL},
    {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(Object, weak_references), Py_READONLY, NULL},
    {NULL, 0, 0, 0, NULL}};

static PyType_Slot plain_slots[] = {{Py_tp_new, (void *)object_new}, FL_PY_SLOTS(plain), {0, NULL}};
static PyType_Slot pair_slots[] = {
    {Py_tp_new, (void *)object_new}, {Py_tp_members, members}, FL_PY_SLOTS(pair), {0, NULL}};
static PyType_Slot gc_pair_slots[] = {
    {Py_tp_new, (void *)object_new}, {Py_tp_members, members}, {Py_tp_traverse, (void *)object_traverse},
    {Py_tp_clear, (void *)object_clear}, FL_PY_SLOTS(gc_pair), {0, NULL}};
static PyType_Slot finalized_slots[] = {{Py_tp_new, (void *)object_new}, {Py_tp_members, members},
                                        {Py_tp_finalize, (void *)object_finalize}, FL_PY_SLOTS(finalized), {0, NULL}};
static PyType_Slot label_slots[] = {
    {Py_tp_new, (void *)object_new}, {Py_tp_dealloc, (void *)label_dealloc}, FL_PY_LEGACY_SLOTS(label), {0, NULL}};
static PyType_Slot adopted_slots[] = {
    {Py_tp_new, (void *)object_new}, {Py_tp_members, members}, {Py_tp_dealloc, (void *)adopted_dealloc}, {0, NULL}};
static PyType_Slot row_slots[] = {{Py_tp_new, (void *)row_new}, FL_PY_SLOTS(row), {0, NULL}};

#define BASE (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE)
static struct { const struct fl_py_type *freelane; PyType_Spec spec; } types[] = {
    {&plain_freelane, {"@.Plain", sizeof(Object), 0, Py_TPFLAGS_DEFAULT, plain_slots}},
    {&pair_freelane, {"@.Pair", sizeof(Object), 0, BASE, pair_slots}},
    {&gc_pair_freelane, {"@.GCPair", sizeof(Object), 0, BASE | Py_TPFLAGS_HAVE_GC, gc_pair_slots}},
    {&finalized_freelane, {"@.Finalized", sizeof(Object), 0, BASE, finalized_slots}},
    {&label_freelane, {"@.Label", sizeof(Object), 0, Py_TPFLAGS_DEFAULT, label_slots}},
    {&row_freelane, {"@.Row", sizeof(PyVarObject), 8, Py_TPFLAGS_DEFAULT, row_slots}},
};

/* The types whose declarations are made at run time. */
static PyTypeObject *made(PyObject *module)
{
    static struct fl_py_type *freelane;
    PyType_Slot slots[6] = {{Py_tp_new, (void *)object_new}, {Py_tp_members, members}};
    PyType_Spec spec = {"@.Made", sizeof(Object), 0, BASE, slots};
    PyTypeObject *type;
    if (freelane == NULL)
        freelane = fl_py_type_new(sizeof(Object), FL_DEALLOC_CLEAR, FL_PY_SUBCLASSED);
    if (freelane == NULL)
        return NULL;
    freelane->clear = object_clear;
    slots[2].slot = Py_tp_alloc;
    slots[2].pfunc = (void *)freelane->alloc;
    slots[3].slot = Py_tp_free;
    slots[3].pfunc = (void *)freelane->free;
    slots[4].slot = Py_tp_dealloc;
    slots[4].pfunc = (void *)freelane->dealloc;
    type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    if (type != NULL && fl_py_type_ready(freelane, type) < 0)
        Py_CLEAR(type);
    return type;
}

static PyTypeObject *adopted(PyObject *module)
{
    static PyType_Spec spec = {"@.Adopted", sizeof(Object), 0, Py_TPFLAGS_DEFAULT, adopted_slots};
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    if (type != NULL && fl_py_type_adopt(type, 0) < 0)
        Py_CLEAR(type);
    return type;
}

static int add(PyObject *module, PyTypeObject *type)
{
    int failed = type != NULL ? PyModule_AddType(module, type) : -1;
    Py_XDECREF((PyObject *)type);
    return failed;
}

static PyObject *inside(PyObject *module, PyObject *unused)
{
    struct fl_py_stats stats;
    (void)module, (void)unused;
    fl_py_get_stats(&stats);
    return PyBool_FromLong(stats.threads + stats.live_bytes + stats.slab_bytes + stats.stops != 0 ||
                           fl_py_heap() != NULL || fl_py_set_caching(true));
}

/* Drops the argument later, under an exception that stays. */
static PyObject *drop_later(PyObject *module, PyObject *object)
{
    (void)module;
    if (fl_py_later_reserve(1) < 0)
        return NULL;
    PyErr_SetString(PyExc_KeyError, "stays");
    fl_py_decref_later(NULL);
    fl_py_decref_later(Py_NewRef(object));
    if (!PyErr_ExceptionMatches(PyExc_KeyError))
        return NULL;
    PyErr_Clear();
    Py_RETURN_NONE;
}

static PyObject *run_later(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyLong_FromSize_t(fl_py_run_later());
}

/* Whether a buffer is of zeros, and memory keeps its contents. Retires the buffer. */
static PyObject *use_buffer(PyObject *module, PyObject *unused)
{
    char *buffer = (char *)fl_py_buffer_alloc(100000), *other = (char *)fl_py_buffer_alloc(0);
    bool is_clear = true;
    (void)module, (void)unused;
    if (buffer == NULL || other == NULL)
        return NULL;
    for (int i = 0; i < 100000; i++)
        is_clear = is_clear && buffer[i] == 0;
    memset(buffer, 1, 100000);
    char *memory = (char *)fl_py_memory_alloc(10);
    if (memory == NULL)
        return NULL;
    memcpy(memory, "123456789", 10);
    memory = (char *)fl_py_memory_realloc(memory, 10, 100000);
    if (memory == NULL)
        return NULL;
    is_clear = is_clear && memcmp(memory, "123456789", 10) == 0 && fl_py_memory_heap() == NULL;
    fl_py_memory_free(memory, 100000);
    fl_py_buffer_free(other);
    fl_py_buffer_free_deferred(buffer);
    fl_py_buffer_free_deferred(NULL);
    return PyBool_FromLong(is_clear);
}

static PyMethodDef methods[] = {{"inside", inside, METH_NOARGS, NULL}, {"drop_later", drop_later, METH_O, NULL},
                                {"run_later", run_later, METH_NOARGS, NULL},
                                {"use_buffer", use_buffer, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};

static int execute(PyObject *module)
{
    struct fl_py_options options = {FL_PY_CACHE_BYTES, FL_PY_THREAD_BYTES, FL_PY_TYPES + FL_PY_REFERENCES, false, false};
    if (fl_py_configure(&options) < 0)
        return -1;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &types[i].spec, NULL);
        int failed = type == NULL || fl_py_type_ready(types[i].freelane, type) < 0 || PyModule_AddType(module, type) < 0;
        Py_XDECREF((PyObject *)type);
        if (failed)
            return -1;
    }
    return add(module, made(module)) < 0 ? -1 : add(module, adopted(module));
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)execute},
#if !defined(Py_LIMITED_API)
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED}, {0, NULL}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "@", NULL, 0, methods, module_slots, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_@(void) { return PyModuleDef_Init(&definition); }
"""

PROGRAM = """
import _interpreters, gc, sys, threading, weakref
sys.path.insert(0, {folder!r})
USE = '''
import gc, sys, threading, weakref
sys.path.insert(0, {folder!r})
import {name} as module

assert not module.inside()
TYPES = [module.Plain, module.Pair, module.GCPair, module.Finalized, module.Label, module.Made, module.Adopted]

class Held: pass
class SubPair(module.Pair): pass
class SubGCPair(module.GCPair): pass
class SubFinalized(module.Finalized): pass
class SubMade(module.Made): pass

def use():
    for type_ in TYPES:
        many = [type_() for _ in range(1000)]
        del many
    rows = [module.Row(1, 2, 3) for _ in range(1000)]
    for type_ in (module.Pair, module.GCPair, module.Label, module.Made, module.Adopted, SubPair, SubGCPair, SubMade):
        gone = weakref.ref(held := Held())
        keeper = type_(held)
        del held
        assert gone() is not None
        del keeper
        assert gone() is None, type_
    for type_ in (module.Pair, module.GCPair, module.Made, module.Adopted, SubPair, SubGCPair, SubMade):
        one = type_()
        gone = weakref.ref(one)
        del one
        assert gone() is None

def drop_deep():
    for types in ([module.Pair], [module.GCPair], [module.Finalized], [module.Made, SubMade], [module.Pair, SubGCPair, module.GCPair]):
        chain = lambda *_: None
        for i in range(100000):
            chain = types[i % len(types)](chain)
        gone = weakref.ref(chain)
        del chain
        assert gone() is None

def counts():
    gc.collect()
    gc.collect()
    return [sys.getrefcount(type_) for type_ in TYPES]

before = counts()
use()
assert all(abs(one - other) <= 2 for one, other in zip(counts(), before)), (counts(), before)
threads = [threading.Thread(target=use) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
drop_deep()
threading.stack_size(256 << 10)
thread = threading.Thread(target=drop_deep)
thread.start()
thread.join()

calls = []
for type_ in (module.Finalized, SubFinalized):
    type_(lambda one: calls.append(type_))
assert calls == [module.Finalized, SubFinalized], calls
kept = []
module.Finalized(kept.append)
assert type(kept[0]) is module.Finalized and kept[0].held == kept.append
def wait():
    waits = weakref.ref(held := Held())
    module.drop_later(held)
    del held
    assert waits() is not None
    return waits

gone = wait()
assert module.run_later() == 1 and gone() is None and module.run_later() == 0
left = []
thread = threading.Thread(target=lambda: left.append(wait()))
thread.start()
thread.join()
assert left[0]() is None
def megabytes():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20
at_start = megabytes()
for _ in range(5000):
    assert module.use_buffer()
gc.collect()
assert megabytes() < at_start + 200, megabytes()
cycle = module.GCPair()
cycle.held = [cycle]
gone = weakref.ref(cycle)
del cycle
gc.collect()
assert gone() is None
'''
exec(USE)
for config in ("isolated", "legacy"):
    interpreter = _interpreters.create(config)
    failure = _interpreters.exec(interpreter, "import sys\\n" + f"sys.path[:] = {{sys.path!r}}\\n" + USE)
    assert failure is None, failure.errdisplay
    _interpreters.destroy(interpreter)
print("done")
"""

# What clang needs to know for another system: here the C library's headers stand in for that system's.
SYSTEMS = {
    "x86_64-apple-macosx11.0": (["-U__nonnull"], {}),
    "i686-linux-gnu": ([], {"#define SIZEOF_LONG 8": "#define SIZEOF_LONG 4", "#define SIZEOF_SIZE_T 8": "#define SIZEOF_SIZE_T 4",
                            "#define SIZEOF_VOID_P 8": "#define SIZEOF_VOID_P 4"}),
    "x86_64-w64-mingw32": (["-DHAVE_PY_SSIZE_T", "-DPy_ssize_t=long long"], {"#define SIZEOF_LONG 8": "#define SIZEOF_LONG 4"}),
}
if FREE_THREADED:  # the header asks the system's for the number of the thread
    SYSTEMS["x86_64-w64-mingw32"][1]["#define Py_GIL_DISABLED 1"] = ""


CMAKE = """
cmake_minimum_required(VERSION 3.18)
project(elsewhere LANGUAGES C)
find_package(freelane-python REQUIRED)
get_target_property(files freelane::python INTERFACE_SOURCES)
list(LENGTH files count)
message(STATUS "files: ${count}")
"""


class TestCase(FolderTestCase):
    def doctor(self, changes):
        """A copy of the interpreter's headers."""
        include = self.folder / f"include_{len(list(self.folder.iterdir()))}"
        shutil.copytree(sysconfig.get_path("include"), include)
        for old, new in changes.items():
            places = [file for file in include.glob("*.h") if old in file.read_text(encoding="utf-8")]
            self.assertEqual(len(places), 1, old)
            places[0].write_text(places[0].read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        return include


# What an author adds who supports interpreters before 3.13.
OLDER = """
#include <Python.h>
#include <structmember.h>
#if PY_VERSION_HEX < 0x030C0000
#define Py_T_OBJECT_EX T_OBJECT_EX
#define Py_T_PYSSIZET  T_PYSSIZET
#define Py_READONLY    READONLY
#define Py_mod_multiple_interpreters         0
#define Py_MOD_PER_INTERPRETER_GIL_SUPPORTED NULL
#endif
#define Py_mod_gil          0
#define Py_MOD_GIL_NOT_USED NULL
"""


def older_interpreter():
    """One before 3.13 with its headers, and the folder of these; or the test is skipped."""
    describe = "import sys, sysconfig; print(*sys.version_info[:2], sysconfig.get_path('include'))"
    for python in map(shutil.which, ("python3", "python3.12", "python3.11", "python3.10", "python3.9")):
        if python is not None:
            major, minor, include = run_command([python, "-c", describe]).strip().split(" ", 2)
            if (3, 9) <= (int(major), int(minor)) < (3, 13) and pathlib.Path(include, "Python.h").exists():
                return python, include
    raise unittest.SkipTest("no interpreter before 3.13 that has its headers")


class Running(TestCase):
    def run_module(self, name, *flags):
        source = self.write(f"{name}.c", MODULE.replace("@", name))
        extension = source.with_suffix(SUFFIX)
        run_command([compiler(), *FLAGS, *WARNINGS, *flags, *INCLUDES, "-shared", source, "-o", extension])
        self.assertIn("done", run_python(PROGRAM.format(folder=str(self.folder), name=name)))

    def test_with_the_macro(self):
        self.run_module("macro", MACRO)

    @unittest.skipIf(FREE_THREADED, "such a build has no limited API")
    def test_with_the_limited_api(self):
        self.run_module("limited", "-DPy_LIMITED_API=0x030D0000")

    def test_by_itself_with_an_interpreter_before_3_13(self):
        python, include = older_interpreter()
        source, extra = self.write("older.c", MODULE.replace("@", "older")), self.write("older.h", OLDER)
        run_command([compiler(), *FLAGS, *WARNINGS, "-Wno-missing-field-initializers", "-include", extra, f"-I{ROOT / 'include'}",
                     "-isystem", include, "-shared", source, "-o", source.with_suffix(".so")])
        program = PROGRAM.format(folder=str(self.folder), name="older")
        program = program[program.index("USE = ") : program.index("for config in")]
        run_command([python, "-X", "faulthandler", "-c", program])

    def test_the_manual_s_extensions(self):
        for name, text in examples(".c", "/* extension:").items():
            module = name.removesuffix(".c")
            source = self.write(name, text)
            extension = source.with_suffix(SUFFIX)
            run_command([compiler(), *FLAGS, *WARNINGS, MACRO, *INCLUDES, "-shared", source, "-o", extension])
            run_python(f"import sys\nsys.path.insert(0, {str(self.folder)!r})\nimport {module}")


class Compiling(TestCase):
    def test_the_files_of_the_python_side_define_nothing(self):
        for file in carried():
            if file.parent.name != "python":
                continue
            made = self.folder / "made.o"
            run_command([compiler(), *FLAGS, *WARNINGS, MACRO, *INCLUDES, "-c", file, "-o", made])
            self.assertEqual(run_command(["nm", "--defined-only", made]).replace(f"nm: {made}: no symbols", "").strip(), "")

    def test_every_function_of_the_header_is_there(self):
        declared, defined = (
            set(re.findall(r"^FL_PY_(?:API|INLINE) .*?(\bfl_py_\w+)\(", (ROOT / "include/freelane" / name).read_text(), re.MULTILINE))
            for name in ("python.h", "python_fallback.h")
        )
        self.assertEqual(declared, defined)
        self.assertEqual(declared, set(re.findall(r"\bfl_py_(?!type\b|options|stats)\w+(?=\()", MODULE)))

    def test_by_itself_where_freelane_cannot_work(self):
        source = self.write("other.c", MODULE.replace("@", "other"))
        version = re.search(r"^#define PY_MINOR_VERSION .*$", self.version_header(), re.MULTILINE).group()
        for what, changes, flags in (
            ("a newer interpreter", {version: "#define PY_MINOR_VERSION 16"}, []),
            ("PyPy", {}, ["-DPYPY_VERSION=1"]),
            ("GraalPy", {}, ["-DGRAALVM_PYTHON=1"]),
        ):
            with self.subTest(what):
                include = self.doctor(changes)
                run_command([compiler(), *FLAGS, *WARNINGS, *flags, f"-I{ROOT / 'include'}", "-isystem", include,
                             "-fsyntax-only", source])

    def test_abi3t(self):
        """Of 3.15, which hides the header of objects: the author's struct begins behind it."""
        if sys.version_info < (3, 15):
            self.skipTest("newer than this interpreter")
        source = self.write("abi3t.c", ABI3T)
        for flags in (["-DPy_TARGET_ABI3T=0x030F0000"], ["-DPy_LIMITED_API=0x030F0000", "-DPy_GIL_DISABLED=1"]):
            run_command([compiler(), *FLAGS, *WARNINGS, *flags, *INCLUDES, "-fsyntax-only", source])

    def version_header(self):
        return (pathlib.Path(sysconfig.get_path("include")) / "patchlevel.h").read_text(encoding="utf-8")

    def test_for_other_systems(self):
        clang = shutil.which("clang") or shutil.which("clang-14")
        if clang is None:
            self.skipTest("no clang")
        self.write("math.h", "")
        (self.folder / "gnu").mkdir()
        self.write("gnu/stubs-32.h", "")
        sources = [self.write("other.c", MODULE.replace("@", "other")), *(ROOT / "tests/examples").glob("[gc]eo*.c")]
        for target, (flags, changes) in SYSTEMS.items():
            with self.subTest(target):
                include = self.doctor(changes)
                run_command([clang, f"--target={target}", *WARNINGS, *flags, "-DNDEBUG", f"-I{ROOT / 'include'}",
                             "-isystem", self.folder, "-isystem", include, "-isystem", "/usr/include",
                             "-isystem", "/usr/include/x86_64-linux-gnu", "-fsyntax-only", *sources])

    def test_the_package_lists_no_files_there(self):
        run_command([sys.executable, "-B", ROOT / "src/python/package/make.py", self.folder])
        place = self.folder / "tree/freelane/__init__.py"
        spec = importlib.util.spec_from_file_location("freelane", place)
        package = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(package)
        self.assertEqual(len(package.sources()), len(carried()))
        with mock.patch("sys.maxsize", 2**31 - 1):
            self.assertEqual(package.sources(), [])
        with mock.patch("sys.platform", "darwin"):
            self.assertEqual(package.sources(), [])
        with mock.patch("sys.version_info", (3, 12, 9)):
            self.assertEqual(package.sources(), [])
        with mock.patch("sys.implementation", mock.Mock()):
            self.assertEqual(package.sources(), [])
        # pip installs it there.
        project = (self.folder / "tree/pyproject.toml").read_text(encoding="utf-8")
        self.assertIn('\nrequires-python = ">= 3.9"\n', project)

    def test_nor_does_its_target_of_cmake(self):
        cmake = shutil.which("cmake") or self.skipTest("no cmake")
        run_command([sys.executable, "-B", ROOT / "src/python/package/make.py", self.folder])
        self.write("CMakeLists.txt", CMAKE)
        found = self.folder / "tree/freelane/share/cmake/freelane-python"
        for system, files in (("Linux", len(carried())), ("FreeBSD", 0), ("Darwin", 0), ("Windows", 0)):
            output = run_command([cmake, "-S", self.folder, "-B", self.folder / system, f"-Dfreelane-python_DIR={found}",
                                  f"-DCMAKE_SYSTEM_NAME={system}", "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY"])
            self.assertIn(f"files: {files}\n", output, system)

    def test_cxx(self):
        source = self.write("types.cpp", """
#include <freelane/python.h>
struct Holder { PyObject_HEAD PyObject *held; };
static int holder_clear(PyObject *self) { Py_CLEAR(((Holder *)self)->held); return 0; }
FL_PY_TYPE(holder, Holder, .kind = FL_DEALLOC_CLEAR, .clear = holder_clear, .gc = true, .subclassed = true)
extern PyType_Slot slots[];
PyType_Slot slots[] = {FL_PY_SLOTS(holder), {0, nullptr}};
""")
        for cxx in ("g++", "clang++", "clang++-14"):
            if shutil.which(cxx):
                run_command([cxx, "-std=c++17", *WARNINGS, MACRO, *INCLUDES, "-fsyntax-only", source])


if __name__ == "__main__":
    unittest.main()
