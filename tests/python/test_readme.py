# SPDX-License-Identifier: MIT
"""The manual's extensions: a file of tests/examples that begins with the comment "extension: name.c" is a complete
module. It compiles without a warning, together with the files that an extension carries, and does what the text says."""

import os
import pathlib
import re
import shutil
import sysconfig
import tempfile
import unittest

from demo_support import FREE_THREADED, TSAN, run_command, run_python
from extension_support import (
    FLAGS, INCLUDES, ROOT, SUFFIX, WARNINGS, carried, compile_carried, compiler, examples, link_extension
)

CXX = """
#include <freelane/python.h>
struct Plain { PyObject_HEAD double x; };
FL_PY_TYPE(plain, Plain, .kind = FL_DEALLOC_PLAIN)
struct Holder { PyObject_HEAD PyObject *held; };
static int holder_clear(PyObject *self) { Py_CLEAR(((Holder *)self)->held); return 0; }
FL_PY_TYPE(holder, Holder, .kind = FL_DEALLOC_CLEAR, .clear = holder_clear, .gc = true, .subclassed = true)
PyType_Slot plain_slots[] = {FL_PY_SLOTS(plain), {0, nullptr}};
PyType_Slot holder_slots[] = {FL_PY_SLOTS(holder), {0, nullptr}};
struct Old { PyObject_HEAD };
FL_PY_TYPE(old, Old, .kind = FL_DEALLOC_LEGACY)
static void old_dealloc(PyObject *self) { Py_TYPE(self)->tp_free(self); }
PyType_Slot old_slots[] = {{Py_tp_dealloc, (void *)old_dealloc}, FL_PY_LEGACY_SLOTS(old), {0, nullptr}};
struct Row { PyObject_VAR_HEAD double values[1]; };
FL_PY_TYPE_OF_SIZE(row, offsetof(Row, values), .kind = FL_DEALLOC_PLAIN, .variable = true)
PyType_Slot row_slots[] = {FL_PY_SLOTS(row), {0, nullptr}};
int more(PyTypeObject *type) { return fl_py_type_ready(&old_freelane, type) + fl_py_type_ready(&row_freelane, type); }
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
            for cxx in compilers:
                run_command([cxx, "-std=c++17", *WARNINGS, "-fsyntax-only", *INCLUDES, source])


@unittest.skipIf(FREE_THREADED, "is about the headers of a build with the GIL")
class FreeThreadedHeaders(unittest.TestCase):
    def test_they_serve_without_the_gil_too(self):
        """Where a version is at hand with the GIL only: what is carried compiles for its free-threaded build as well."""
        for source in carried():
            run_command([compiler(), *FLAGS, *WARNINGS, *INCLUDES, "-DPy_GIL_DISABLED=1", "-fsyntax-only", source])


@unittest.skipIf(TSAN, "is about compiling")
class Readme(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        freelane = compile_carried(cls.folder.name)
        for name, text in examples(".c", "/* extension:").items():
            source = pathlib.Path(cls.folder.name) / name
            source.write_text(text, encoding="utf-8")
            link_extension(source, *WARNINGS, freelane)

    def test_there_are_two(self):
        self.assertEqual(sorted(examples(".c", "/* extension:")), ["containers.c", "geometry.c"])

    def test_the_build_line(self):
        """As it stands there, in a shell, with the files where it says."""
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "geometry.c").write_text(examples(".c", "/* extension:")["geometry.c"], encoding="utf-8")
            (folder / "freelane").symlink_to(ROOT)
            (folder / "bin").mkdir()
            config = folder / "bin" / "python3-config"
            include = sysconfig.get_path("include")
            config.write_text(f'#!/bin/sh\n[ "$1" = --includes ] && echo -I{include} || echo {SUFFIX}\n', encoding="utf-8")
            config.chmod(0o755)
            (folder / "bin" / "cc").symlink_to(shutil.which(compiler()))
            manual = (ROOT / "src/python/README.md").read_text(encoding="utf-8")
            (line,) = re.findall(r"^```sh\n(# builds: geometry\.c\n.*?)^```", manual, re.MULTILINE | re.DOTALL)
            path = f"{folder / 'bin'}:{os.environ['PATH']}"
            run_command(["sh", "-e", "-c", f"cd {folder}\n{line}"], PATH=path)
            run_python(f"import sys; sys.path.insert(0, {name!r}); from geometry import Point; assert Point(1, 2).y == 2")

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

            assert len({{id(Point()) for _ in range(100)}}) <= 2  # free memory is used again; a watched heap takes turns

            class Named(Segment):
                pass

            named = Named(1, 2)
            named.name = "a"
            """,
            FREELANE_PYTHON_OPTIONS="tools=0",  # with AddressSanitizer, too
        )


    def test_the_containers_work(self):
        run_python(
            f"""
            import sys
            sys.path.insert(0, {self.folder.name!r})
            import gc, weakref
            from containers import Bag, Label, Vector

            class Held:
                pass

            def fill():
                held, bag = Held(), Bag()
                for i in range(100):
                    bag.add(held)
                    bag.add(i)
                return bag, weakref.ref(held)

            def use():
                for i in range(1000):
                    bag, seen = fill()
                    if i % 10 == 0:
                        bag.add(bag)
                        seen = None
                    del bag
                    assert seen is None or seen() is None
                    assert list(Vector(*range(i % 100))) == [float(j) for j in range(i % 100)]
                    Label(str(i))
                gc.collect()

            use()
            before = sys.getallocatedblocks()
            use()
            leaked = sys.getallocatedblocks() - before
            assert leaked < 300, leaked

            bag, seen = fill()
            bag.add(bag)
            del bag
            gc.collect()
            assert seen() is None
            """
        )


if __name__ == "__main__":
    unittest.main()
