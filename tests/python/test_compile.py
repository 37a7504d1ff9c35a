# SPDX-License-Identifier: MIT
"""How an extension may be compiled: language standards, C beside C++, compilers; and what the compilers make of it."""

import os
import platform
import re
import shutil
import subprocess
import sys
import unittest

from demo_support import run_command, run_python
from extension_support import FLAGS, INCLUDES, SUFFIX, WARNINGS, FolderTestCase, carried, compile_files

# Each once, under whatever names it is there.
COMPILERS = list({os.path.realpath(shutil.which(name)): name for name in ("clang-14", "clang", "gcc") if shutil.which(name)}.values())[::-1]
CXX = {"gcc": "g++", "clang": "clang++", "clang-14": "clang++-14"}
LATE = [flag for flag in FLAGS if not flag.startswith("-std")]  # without a standard

MODULE = """
#include <Python.h>
#include <freelane/python.h>

typedef struct { PyObject_HEAD double x; } Plain;
FL_PY_TYPE(plain, Plain, .kind = FL_DEALLOC_PLAIN)
static PyType_Slot slots_of_plain[] = {FL_PY_SLOTS(plain), {0, NULL}};
static PyType_Spec spec = {"@.Plain", sizeof(Plain), 0, Py_TPFLAGS_DEFAULT, slots_of_plain};

static PyObject *uses_the_default_heap(PyObject *module, PyObject *unused)
{
    void *block = fl_alloc(fl_thread_self(), 48);
    (void)module, (void)unused;
    fl_free_sized(fl_thread_self(), block, 48);
    return PyBool_FromLong(block != NULL);
}

static PyMethodDef methods[] = {{"allocate", uses_the_default_heap, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};

static int execute(PyObject *module)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    if (type == NULL || fl_py_type_ready(&plain_freelane, type) < 0)
        return -1;
    return PyModule_AddType(module, type);
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, (void *)execute}, {0, NULL}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "@", NULL, 0, methods, module_slots, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_@(void) { return PyModuleDef_Init(&definition); }
"""

# Loads an extension late and unloads it, in two threads and again.
MUSL_HOST = """
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

static void *load(void *path)
{
    void *module = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    if (module != NULL && dlsym(module, "PyInit_late") != NULL && dlclose(module) == 0)
        return path;
    fprintf(stderr, "%s\\n", dlerror());
    return NULL;
}

int main(int argc, char **argv)
{
    for (int round = 0; round < 2; round++) {
        pthread_t thread;
        void *loaded;
        if (argc != 2 || pthread_create(&thread, NULL, load, argv[1]) != 0 || pthread_join(thread, &loaded) != 0)
            return 2;
        if (loaded == NULL || load(argv[1]) == NULL)
            return 1;
    }
    puts("loaded");
    return 0;
}
"""

# A second file of the extension, in the other language.
OTHER = """
#include <freelane/python.h>
typedef struct { PyObject_HEAD PyObject *held; } Holder;
static int holder_clear(PyObject *self) { Py_CLEAR(((Holder *)self)->held); return 0; }
FL_PY_TYPE(holder, Holder, .kind = FL_DEALLOC_CLEAR, .clear = holder_clear, .gc = true, .subclassed = true)
extern PyType_Slot holder_slots[];
PyType_Slot holder_slots[] = {FL_PY_SLOTS(holder), {0, NULL}};
"""

PLAIN = "typedef struct {{ PyObject_HEAD char body[{0}]; }} T{0};\nFL_PY_TYPE(t{0}, T{0}, .kind = FL_DEALLOC_PLAIN)\n"
TRACKED = (
    "typedef struct {{ PyObject_HEAD char body[{0}]; }} G{0};\n"
    "static int clear{0}(PyObject *object) {{ (void)object; return 0; }}\n"
    "FL_PY_TYPE(g{0}, G{0}, .kind = FL_DEALLOC_CLEAR, .clear = clear{0}, .gc = true)\n"
    "const struct fl_py_type *both{0}[] = {{&t{0}_freelane, &g{0}_freelane}};\n"
)

# Each size is cleared in two ways, in turns, each in a function of its own; prints "size ours theirs", the best
# nanoseconds of a number of rounds in which the processor was not taken away.
RACE = """
#include <Python.h>
#include <freelane/python.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 40, CALLS = 2000, PLACES = 8 };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static double run(void (*clear)(PyObject *), char *place)
{
    double start = now();
    for (int i = 0; i < CALLS; i++)
        clear((PyObject *)(place + (i % PLACES) * 1280));
    return (now() - start) / CALLS;
}

static void race(int size, void (*ours)(PyObject *), void (*theirs)(PyObject *), char *place)
{
    double best[2] = {1e9, 1e9};
    for (int round = 0; round < 2 * ROUNDS; round++) {
        double time = run(round % 2 == 0 ? ours : theirs, place);
        if (time < best[round % 2])
            best[round % 2] = time;
    }
    printf("%d %.2f %.2f\\n", size, best[0], best[1]);
}
"""
RACER = """
struct fl_py_state state{0} = {{.body = {0}}};
size_t size{0} = {0};
static const struct fl_py_type type{0} = {{.kind = FL_DEALLOC_PLAIN, .size = sizeof(PyObject) + {0}, .state = &state{0}}};
__attribute__((noinline)) static void ours{0}(PyObject *object) {{ fl_py_clear_body(&type{0}, object); }}
__attribute__((noinline)) static void theirs{0}(PyObject *object) {{ memset((char *)object + sizeof(PyObject), 0, size{0}); }}
"""
RACES = "int main(void)\n{{\n    char *place = aligned_alloc(64, 16 * 1280);\n{0}    free(place);\n    return 0;\n}}\n"


class TestCase(FolderTestCase):
    def setUp(self):
        if not COMPILERS:
            self.skipTest("no C compiler")
        super().setUp()

    def core(self, compiler, *flags):
        """What is carried, compiled without a warning."""
        command = [compiler, *flags, *LATE, *WARNINGS, *INCLUDES]
        return compile_files(command, carried(), self.folder / "freelane.o")

    def link(self, compiler, name, *arguments):
        extension = self.folder / f"{name}{SUFFIX}"
        run_command([compiler, "-shared", *LATE, *INCLUDES, *arguments, "-o", extension])
        return extension


class Standards(TestCase):
    def test_the_sources_are_c99_and_later(self):
        """Other tests compile them as C99 and with the extensions of 2017, without a warning, too."""
        for compiler in COMPILERS:
            with self.subTest(compiler=compiler):
                run_command([compiler, "-std=c11", "-fsyntax-only", *LATE, *WARNINGS, *INCLUDES, *carried()])

    def test_the_header_is_cxx_from_2011_on(self):
        source = self.write("types.cpp", OTHER)
        for compiler in COMPILERS:
            if not shutil.which(CXX[compiler]):
                continue
            for standard in ("c++11", "c++14", "c++17", "c++20"):
                more = ["-Wno-missing-field-initializers"] if standard == "c++11" else []
                with self.subTest(compiler=CXX[compiler], standard=standard):
                    flags = [f"-std={standard}", *LATE, *WARNINGS, *more, *INCLUDES]
                    run_command([CXX[compiler], "-fsyntax-only", *flags, source])

    def test_an_extension_of_c_and_cxx(self):
        """The files of Freelane as C, one of the author's as C and one as C++, whichever of them has the module."""
        for compiler in COMPILERS:
            if not shutil.which(CXX[compiler]):
                continue
            core = self.core(compiler, "-std=c99")
            for name, module, other in (("mixed_a", "cpp", "c"), ("mixed_b", "c", "cpp")):
                with self.subTest(compiler=compiler, module=module):
                    module = self.write(f"{name}.{module}", MODULE.replace("@", name))
                    other = self.write(f"other_{name}.{other}", OTHER)
                    objects = []
                    for file in (module, other):
                        cxx = file.suffix == ".cpp"
                        objects.append(file.with_suffix(".o"))
                        command = [CXX[compiler], "-std=c++17"] if cxx else [compiler, "-std=c11"]
                        run_command([*command, "-c", *LATE, *WARNINGS, *INCLUDES, file, "-o", objects[-1]])
                    self.link(CXX[compiler], name, *objects, core)
                    run_python(
                        f"""
                        import sys
                        sys.path.insert(0, {str(self.folder)!r})
                        import {name} as mixed
                        many = [mixed.Plain() for _ in range(1000)]
                        del many
                        assert mixed.allocate()
                        """
                    )


class Linked(TestCase):
    """What an extension asks of the C library's loader. One that has no static thread-local storage left, and that of
    musl, refuse an extension that asks for it."""

    COPIES = 64
    LOADS_COPIES = """
import importlib.machinery, importlib.util, sys
for path in sys.argv[1:]:
    loader = importlib.machinery.ExtensionFileLoader("late", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location("late", path, loader=loader))
    loader.exec_module(module)
    assert type(module.Plain()).__name__ == "Plain"
print(len(sys.argv) - 1)
"""

    def link_late(self, compiler, *flags):
        source = self.write("late.c", MODULE.replace("@", "late"))
        return self.link(compiler, "late", *flags, source, self.core(compiler, "-std=gnu17", *flags))

    def static_storage(self, extension):
        """What asks for static thread-local storage."""
        dynamic = run_command(["readelf", "--dynamic", "--wide", extension])
        relocations = run_command(["readelf", "--relocs", "--wide", extension])
        return re.findall(r"STATIC_TLS", dynamic) + re.findall(r"\bR_\w*TPOFF\w*", relocations)

    def load_copies(self, extension):
        """A new interpreter loads many copies and makes an object of each."""
        paths = []
        for number in range(self.COPIES):
            folder = extension.parent / f"copy{number}"
            folder.mkdir(exist_ok=True)
            paths.append(shutil.copy(extension, folder))
        return subprocess.run([sys.executable, "-c", self.LOADS_COPIES, *paths], capture_output=True, text=True, check=False)

    def test_an_extension_asks_for_none_and_many_are_loaded(self):
        for compiler in COMPILERS:
            with self.subTest(compiler=compiler):
                extension = self.link_late(compiler)
                names = run_command(["nm", "--dynamic", "--defined-only", "--format=just-symbols", extension]).split()
                self.assertEqual([name for name in names if not name.startswith("_")], ["PyInit_late"])
                self.assertEqual(self.static_storage(extension), [])
                result = self.load_copies(extension)
                self.assertEqual(result.stdout.strip(), str(self.COPIES), result.stderr)

    def test_nor_does_one_made_with_musl(self):
        if not shutil.which("musl-gcc"):
            self.skipTest("no musl-gcc")
        extension = self.link_late("musl-gcc")
        self.assertEqual(self.static_storage(extension), [])
        # No interpreter is linked with musl here. So this is a host of which the extension only finds out when it calls
        # it that it is none.
        host = self.write("host.c", MUSL_HOST).with_suffix("")
        run_command(["musl-gcc", "-std=c11", *WARNINGS, host.with_suffix(".c"), "-o", host])
        self.assertEqual(run_command([host, extension]).strip(), "loaded")
        fixed = self.link_late("musl-gcc", "-DFREELANE_TLS_DYNAMIC=0")
        refusal = subprocess.run([host, fixed], capture_output=True, text=True, check=False)
        self.assertEqual(refusal.returncode, 1, refusal)
        self.assertIn("initial-exec TLS", refusal.stderr)

    def test_of_those_with_static_storage_few_are(self):
        extension = self.link_late(COMPILERS[0], "-DFREELANE_TLS_DYNAMIC=0")
        self.assertIn("STATIC_TLS", self.static_storage(extension))
        if platform.libc_ver()[0] == "glibc":
            self.assertIn("static TLS", self.load_copies(extension).stderr)


class Clearing(TestCase):
    """The body of a new object, of which the compiler knows the size."""

    SIZES = [8, 16, 24, 40, 64, 72, 80, 88, 96, 104, 112, 128, 136, 168, 184, 192, 200, 224, 256, 320, 384, 512, 768, 1000, 1024]

    def test_no_string_instructions(self):
        if os.uname().machine != "x86_64":
            self.skipTest("is about an x86 instruction")
        text = "#include <freelane/python.h>\n" + "".join((PLAIN + TRACKED).format(size) for size in self.SIZES)
        source = self.write("sizes.c", text)
        for compiler in COMPILERS:
            for level in ("-O1", "-O2", "-O3"):
                compiled = source.with_suffix(".o")
                run_command([compiler, "-std=gnu11", level, *LATE, *WARNINGS, *INCLUDES, "-c", source, "-o", compiled])
                code = run_command(["objdump", "--disassemble", "--no-show-raw-insn", compiled])
                self.assertIn("g1024_alloc", code)
                self.assertNotRegex(code, r"\brep[a-z]*\s+(stos|movs)", f"{compiler} {level}")

    def test_it_is_as_fast_as_memset(self):
        text = RACE + "".join(RACER.format(size) for size in self.SIZES)
        races = "".join(f"    race({size}, ours{size}, theirs{size}, place);\n" for size in self.SIZES)
        source = self.write("race.c", text + RACES.format(races))
        for compiler in COMPILERS:
            for level in ("-O1", "-O2", "-O3"):
                with self.subTest(compiler=compiler, level=level):
                    program = self.folder / "race"
                    run_command([compiler, "-std=gnu11", level, *LATE, *INCLUDES, source, "-o", program])
                    slow = self.lost(program)
                    # A machine that is busy with other work can be wrong once.
                    for _ in range(3):
                        slow &= self.lost(program) if slow else slow
                    self.assertEqual(slow, set())

    def lost(self, program):
        """Sizes that took a quarter longer than with the C library's memset; `rep stos` takes twice as long and more."""
        rows = [line.split() for line in run_command([program]).splitlines()]
        self.assertEqual(len(rows), len(self.SIZES))
        return {int(size) for size, ours, theirs in rows if float(ours) > 1.25 * float(theirs)}


if __name__ == "__main__":
    unittest.main()
