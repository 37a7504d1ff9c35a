# SPDX-License-Identifier: MIT
"""Cython and the package's freelane.pxd. The manual's example, the file of tests/examples that begins with the comment
"extension: name.pyx", is a complete module, which compiles as it stands and does what the text says. Declarations by
hand, in a verbatim block, do the same."""

import functools
import os
import pathlib
import sys
import tempfile
import unittest

from demo_support import run_command, run_python
from extension_support import ROOT, compile_carried, examples, link_extension, tool_environment

# Classes that the example does not have.
MORE = """
from freelane cimport freelist
cimport cython

cdef class Base:
    cdef public object held

cdef class Derived(Base):
    cdef public object more

cdef class Weak:
    cdef object __weakref__
    cdef dict __dict__

dead = []

cdef class Ends:
    cdef public object name

    def __dealloc__(self):
        dead.append(self.name)

@cython.final
cdef class Final:
    cdef long number

    cdef long next(self):
        self.number += 1
        return self.number

    def __next__(self):
        return self.next()

cdef class Link:
    cdef public object next

@cython.no_gc
cdef class BareLink:
    cdef public object next

cdef class Finalized:
    cdef public object next
    cdef public object name

    def __del__(self):
        dead.append(self.name)

@cython.no_gc
cdef class BareFinalized:
    cdef public object next
    cdef public object name

    def __del__(self):
        dead.append(self.name)

cdef class DerivedLink(Link):
    cdef public object more

for cls in (Base, Derived, Weak, Ends, Final, Link, BareLink, Finalized, BareFinalized, DerivedLink):
    freelist(cls)

def put(cls):
    freelist(cls)
"""

BY_HAND = '''
cdef extern from *:
    """
    #include <freelane/python.h>
    typedef struct { PyObject_HEAD void *methods; long count; } CounterLayout;
    FL_PY_TYPE(counter, CounterLayout, .kind = FL_DEALLOC_PLAIN)
    typedef struct { PyObject_HEAD PyObject *start, *end; } LineLayout;
    FL_PY_TYPE(line, LineLayout, .kind = FL_DEALLOC_LEGACY, .gc = true, .subclassed = true)
    static int on_freelane(PyTypeObject *type, const struct fl_py_type *freelane)
    {
        type->tp_alloc = freelane->alloc;
        type->tp_free = freelane->free;
        if (freelane->kind != FL_DEALLOC_LEGACY)
            type->tp_dealloc = freelane->dealloc;
        return fl_py_type_ready(freelane, type);
    }
    #define counter_on_freelane(type) on_freelane((PyTypeObject *)(type), &counter_freelane)
    #define line_on_freelane(type) on_freelane((PyTypeObject *)(type), &line_freelane)
    """
    int counter_on_freelane(object type) except -1
    int line_on_freelane(object type) except -1

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

cdef class Line:
    cdef public object start, end

line_on_freelane(Line)
'''


@functools.cache
def carried_object():
    folder = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(folder.cleanup)
    return compile_carried(folder.name)


class Cython(unittest.TestCase):
    """With the Cython of Debian's next release."""

    tools = "cython"

    @classmethod
    def setUpClass(cls):
        cls.environment = tool_environment(cls.tools)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.freelane = carried_object()
        package = cls.folder / "package"
        run_command([sys.executable, "-B", ROOT / "src/python/package/make.py", package])
        cls.environment["PYTHONPATH"] += f"{os.pathsep}{package / 'tree'}"
        (example,) = examples(".pyx", "# extension:").values()
        for name, text in (("shapes", example), ("more", MORE), ("by_hand", BY_HAND)):
            cls.build(name, text)

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
sys.path[:0] = [{str(self.folder)!r}, {str(ROOT / "src/python/package")!r}]
import freelane
blocks = sys.getallocatedblocks

def told(name):
    (row,) = [row for copy in freelane.copies() for row in copy["types"] if row["type"] == name]
    return row
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

    def test_objects_count_as_those_of_freelane(self):
        self.python(
            """
from shapes import Line, Point
gc.collect()
gc.disable()
points = [Point() for _ in range(400)]
lines = [Line(None, None) for _ in range(300)]
point, line = told("shapes.Point"), told("shapes.Line")
assert (point["kind"], point["gc"], point["live"]) == ("LEGACY", False, 400), point
assert (line["kind"], line["gc"], line["live"]) == ("LEGACY", True, 300), line
assert point["block"] >= Point.__basicsize__ and line["size"] == Line.__basicsize__
del points, lines
assert told("shapes.Point")["live"] == told("shapes.Line")["live"] == 0
assert told("shapes.Line")["kept"] == 300
"""
        )

    def test_a_cycle_is_collected(self):
        self.python(
            """
from more import Base, Derived, dead, Ends
for cls in (Base, Derived):
    for _ in range(100):
        one, other = cls(), cls()
        one.held, other.held = other, one
    del one, other
    gc.collect()
    assert told(f"more.{cls.__name__}")["live"] == 0
one, other = Ends(), Base()
one.name, other.held = other, one
del one, other
gc.collect()
assert len(dead) == 1 and told("more.Ends")["live"] == 0, dead
"""
        )

    def test_a_derived_class_and_its_base_keep_to_their_own(self):
        self.python(
            """
from more import Base, Derived
for i in range(2000):
    base, derived = Base(), Derived()
    assert base.held is None and (derived.held, derived.more) == (None, None)
    base.held, derived.held, derived.more = i, [i], (i,)
bases, deriveds = [Base() for _ in range(10)], [Derived() for _ in range(20)]
del base, derived
assert (told("more.Base")["live"], told("more.Derived")["live"]) == (10, 20)

class Named(Derived):
    pass

named = Named()
assert told("more.Derived")["derived"] == 1
"""
        )

    def test_weak_references_dicts_and_dealloc(self):
        self.python(
            """
from more import Ends, Weak, dead
for i in range(1000):
    weak = Weak()
    weak.name = i
    seen = weakref.ref(weak)
    assert weak.name == i and seen() is weak
    del weak
    assert seen() is None and not hasattr(Weak(), "name")
    ends = Ends()
    ends.name = i
del ends
assert dead == list(range(1000))
"""
        )

    def test_a_class_with_methods_of_its_own(self):
        self.python(
            """
from more import Final
finals = [Final() for _ in range(1000)]
assert [next(final) for final in finals for _ in range(2)] == [1, 2] * 1000
"""
        )

    def test_a_chain_of_any_length_is_dropped(self):
        self.python(
            """
from more import BareFinalized, BareLink, DerivedLink, Finalized, Link, dead

def drop(links, length):
    one = None
    for i in range(length):
        above = links[i % len(links)]()
        above.next = one
        if hasattr(above, "name"):
            above.name = i
        one = above
    del one, above

def drop_in_thread(*arguments):
    threading.stack_size(256 * 1024)
    thread = threading.Thread(target=drop, args=arguments)
    thread.start()
    thread.join()

classes = [Link, BareLink, DerivedLink]
for links in [[one] for one in classes] + [classes]:
    drop(links, 200000)
    drop_in_thread(links, 200000)
    assert all(told(f"more.{one.__name__}")["live"] == 0 for one in links)
for links in ([Finalized], [BareFinalized], [Finalized, BareFinalized, Link]):
    count = 200000 if Link not in links else 133334
    drop(links, 200000)
    assert len(dead) == len(set(dead)) == count, (links, len(dead))
    dead.clear()
    drop_in_thread(links, 200000)
    assert len(dead) == len(set(dead)) == count, (links, len(dead))
    dead.clear()
"""
        )

    def test_a_finalizer_is_called_once(self):
        self.python(
            """
from more import BareFinalized, Finalized, dead

class Child(Finalized):
    def __del__(self):
        super().__del__()

for cls in (Finalized, BareFinalized, Child):
    for i in range(100):
        one = cls()
        one.name = i
        del one
    assert dead == list(range(100)), cls
    dead.clear()
cycle = Finalized()
cycle.next = cycle
del cycle
gc.collect()
assert dead == [None]
"""
        )

    def test_what_cannot_be_put_on_freelane_is_refused(self):
        self.python(
            """
import more

class Python:
    pass

for wrong, part in ((Python, "__dict__"), (3, "it is no class")):
    try:
        more.put(wrong)
    except TypeError as error:
        assert "freelane" in str(error) and part in str(error), error
    else:
        raise AssertionError("it was accepted")
Python().x = 1
for _ in range(200):
    more.put(more.Weak)
assert weakref.ref(more.Weak())() is None
"""
        )

    def test_declarations_by_hand(self):
        self.python(
            """
from by_hand import Counter, Line
counters = [Counter() for _ in range(1000)]
assert [next(counter) for counter in counters for _ in range(2)] == [1, 2] * 1000
lines = [Line() for _ in range(10)]
assert (told("by_hand.Counter")["kind"], told("by_hand.Line")["kind"]) == ("PLAIN", "LEGACY")
assert (told("by_hand.Counter")["live"], told("by_hand.Line")["live"]) == (1000, 10)
"""
        )

    def test_a_declaration_by_hand_that_is_wrong_is_refused(self):
        for name, right, wrong in (
            ("narrow", "*methods; long count; }", "*methods; }"),
            ("untracked", ".gc = true, ", ""),
        ):
            self.assertIn(right, BY_HAND)
            self.build(name, BY_HAND.replace(right, wrong))
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


class NewestCython(Cython):
    """With the newest that Debian has."""

    tools = "cython-newest"


if __name__ == "__main__":
    unittest.main()
