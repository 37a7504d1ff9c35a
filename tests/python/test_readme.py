# SPDX-License-Identifier: MIT
"""The README's extension: a block of C that begins with the comment "extension: name.c" is a complete module. It compiles
without a warning, together with the files that an extension carries, and does what the text says."""

import pathlib
import re
import shutil
import sysconfig
import tempfile
import unittest

from demo_support import TSAN, run_command, run_python

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BLOCK = re.compile(r"^```c[ \t]*\n(/\* extension: ([\w-]+)\.c \*/\n.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
MACROS = ["-DFREELANE_STATIC", "-DFREELANE_TLS_DYNAMIC"]


def examples():
    return {name: text for text, name in BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))}


def carried():
    lines = (ROOT / "src/python/sources.txt").read_text(encoding="utf-8").split()
    return [str(ROOT / line) for line in lines if line.endswith(".c")]


CXX = """
#include <freelane/python.h>
struct Plain { PyObject_HEAD double x; };
FL_PY_TYPE(plain, Plain, .kind = FL_DEALLOC_PLAIN)
struct Holder { PyObject_HEAD PyObject *held; };
static int holder_clear(PyObject *self) { Py_CLEAR(((Holder *)self)->held); return 0; }
FL_PY_TYPE(holder, Holder, .kind = FL_DEALLOC_CLEAR, .clear = holder_clear, .gc = true, .subclassed = true)
PyType_Slot plain_slots[] = {FL_PY_SLOTS(plain), {0, nullptr}};
PyType_Slot holder_slots[] = {FL_PY_SLOTS(holder), {0, nullptr}};
int ready(PyTypeObject *type) { return fl_py_type_ready(&plain_freelane, type) + fl_py_type_ready(&holder_freelane, type); }
"""


@unittest.skipIf(TSAN, "is about compiling")
class Cxx(unittest.TestCase):
    def test_the_header_is_cxx_too(self):
        compilers = [name for name in ("g++", "clang++", "clang++-14") if shutil.which(name)]
        if not compilers:
            self.skipTest("no C++ compiler")
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder) / "types.cpp"
            source.write_text(CXX, encoding="utf-8")
            for compiler in compilers:
                run_command(
                    [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{ROOT / 'include'}"]
                    + ["-isystem", sysconfig.get_path("include"), source]
                )


@unittest.skipIf(TSAN, "is about compiling")
class Readme(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise unittest.SkipTest("no C compiler")
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        for name, text in examples().items():
            source = pathlib.Path(cls.folder.name) / f"{name}.c"
            source.write_text(text, encoding="utf-8")
            run_command(
                [compiler, "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-fvisibility=hidden", "-pthread"]
                + ["-shared", *MACROS, f"-I{ROOT / 'include'}", f"-I{ROOT / 'src'}"]
                + ["-isystem", sysconfig.get_path("include"), source, *carried(), "-o", source.with_suffix(suffix)]
            )

    def test_there_is_one(self):
        self.assertIn("geometry", examples())

    def test_it_works(self):
        run_python(
            f"""
            import sys
            sys.path.insert(0, {self.folder.name!r})
            import gc, threading
            from geometry import Point, Segment

            def use():
                for i in range(10000):
                    segment = Segment(Point(i, i), Point(y=i))
                    assert (segment.from_.x, segment.to.x, segment.to.y) == (i, 0, i)
                    segment.to = segment
                    del segment

            threads = [threading.Thread(target=use) for _ in range(3)]
            for thread in threads:
                thread.start()
            use()
            for thread in threads:
                thread.join()
            gc.collect()

            point = Point()
            address = id(point)
            del point
            assert id(Point()) == address

            class Named(Segment):
                pass

            named = Named(1, 2)
            named.name = "a"
            """
        )


if __name__ == "__main__":
    unittest.main()
