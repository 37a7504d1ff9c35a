# SPDX-License-Identifier: MIT
"""The manual's recipe for Cython: a file of tests/examples that begins with the comment "extension: name.pyx" is a
complete module, which compiles as it stands and does what the text says."""

import pathlib
import sys
import tempfile
import unittest

from demo_support import run_command, run_python
from extension_support import compile_carried, examples, link_extension, tool_environment

METHODS = '''
cdef extern from *:
    """
    #include <freelane/python.h>
    typedef struct { PyObject_HEAD void *methods; long count; } CounterLayout;
    FL_PY_TYPE(counter, CounterLayout, .kind = FL_DEALLOC_PLAIN)
    static int on_freelane(PyTypeObject *type)
    {
        type->tp_alloc = counter_alloc;
        type->tp_free = counter_free;
        type->tp_dealloc = counter_freelane_dealloc;
        return fl_py_type_ready(&counter_freelane, type);
    }
    #define counter_on_freelane(type) on_freelane((PyTypeObject *)(type))
    """
    int counter_on_freelane(object type) except -1

cimport cython

@cython.final
cdef class Counter:
    cdef long count

    cdef long next(self):
        self.count += 1
        return self.count

    def __next__(self):
        return self.next()

counter_on_freelane(Counter)
'''


class Cython(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.environment = tool_environment("cython")
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.freelane = compile_carried(cls.folder)
        (cls.recipe,) = examples(".pyx", "# extension:").values()
        cls.build("shapes", cls.recipe)

    @classmethod
    def build(cls, name, text):
        source = cls.folder / f"{name}.pyx"
        source.write_text(text, encoding="utf-8")
        run_command([sys.executable, "-m", "cython", "-3", source], **cls.environment)
        link_extension(source.with_suffix(".c"), cls.freelane)

    def python(self, program):
        """Runs a program that has the modules built, and `blocks`, which counts what the interpreter's allocator has given
        out."""
        prologue = f"""
import gc, sys, threading, weakref
sys.path.insert(0, {str(self.folder)!r})
blocks = sys.getallocatedblocks
"""
        return run_python(prologue + program)

    def test_it_keeps_the_gil_off(self):
        self.python(
            """
import shapes
assert getattr(sys, "_is_gil_enabled", lambda: True)() == ("t" not in sys.abiflags)
"""
        )

    def test_objects_without_gc_are_in_slabs(self):
        self.python(
            """
from shapes import Point
points = [None] * 10000
before = blocks()
for i in range(10000):
    points[i] = Point(i + 0.5, -i)
# The numbers are C's.
assert blocks() - before < 1000, blocks() - before
assert all((point.x, point.y) == (i + 0.5, -i) for i, point in enumerate(points))
addresses = set(map(id, points))
points[:] = [None] * 10000
# Their blocks are used again, once the slab at hand, of some 2000 blocks, is used up.
assert len({id(point) for point in [Point() for _ in range(10000)]} & addresses) > 7500
"""
        )

    def test_objects_with_gc_are_kept_until_a_collection(self):
        self.python(
            """
from shapes import Line
gc.collect()
gc.disable()
lines = [None] * 500
before = blocks()
for i in range(500):
    lines[i] = Line(None, None)
assert blocks() - before >= 500
for i in range(500):
    lines[i] = None
assert blocks() - before >= 500, blocks() - before
gc.collect()
assert blocks() - before < 100, blocks() - before
"""
        )

    def test_what_an_object_holds_is_dropped_with_it(self):
        self.python(
            """
from shapes import Line, Point

class Held:
    pass

for _ in range(1000):
    line = Line(Held(), Point())
    held = weakref.ref(line.start)
    del line
    assert held() is None
    line = Line(Held(), None)
    held = weakref.ref(line.start)
    line.end = line
    del line
    if _ % 100 == 0:
        gc.collect()
        assert held() is None
"""
        )

    def test_subclasses_in_python(self):
        self.python(
            """
from shapes import Line, Point

class NamedPoint(Point):
    pass

class NamedLine(Line):
    pass

for i in range(1000):
    point = NamedPoint(i)
    point.name = [point]
    line = NamedLine(point, i)
    line.name = [line]
    assert (point.x, line.end) == (i, i)
del point, line
gc.collect()
"""
        )

    def test_objects_cross_threads(self):
        self.python(
            """
from shapes import Line, Point
shared = [Line(Point(i), i) for i in range(64)]

def replace(seed):
    for i in range(20000):
        place = (i * seed) % 64
        line = shared[place]
        assert line.start.x == line.end
        shared[place] = Line(Point(i), i)

threads = [threading.Thread(target=replace, args=(seed,)) for seed in (1, 3, 5)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
del shared
gc.collect()
"""
        )

    def test_a_class_with_methods_of_its_own(self):
        self.build("methods", METHODS)
        self.python(
            """
from methods import Counter
counters = [Counter() for _ in range(1000)]
assert [next(counter) for counter in counters for _ in range(2)] == [1, 2] * 1000
"""
        )

    def test_a_declaration_that_is_wrong_is_refused(self):
        for name, right, wrong in (
            ("narrow", "double x, y; } PointLayout", "double x; } PointLayout"),
            ("untracked", ".gc = true, ", ""),
        ):
            self.assertIn(right, self.recipe)
            self.build(name, self.recipe.replace(right, wrong))
            self.python(
                f"""
try:
    import {name}
except TypeError as error:
    assert "freelane" in str(error), error
else:
    raise AssertionError("it was accepted")
"""
            )


if __name__ == "__main__":
    unittest.main()
