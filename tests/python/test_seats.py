# SPDX-License-Identifier: MIT
"""Seats: a thread finds its caches in a table, by the address of its control block. Threads whose seat is another's are
served, too."""

import pathlib
import tempfile
import unittest

from demo_support import TSAN, run_python
from extension_support import CHECK, WARNINGS, compile_carried, examples, link_extension

MODULE = (
    """
static PyObject *is_seated(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyBool_FromLong(fl_py_here() != &fl_py_nowhere);
}
"""
    + CHECK
    + """
static PyMethodDef methods[] = {{"is_seated", is_seated, METH_NOARGS, NULL}, {"check", check, METH_NOARGS, NULL},
                                {NULL, NULL, 0, NULL}};
"""
)

SETUP = """
import gc, os, sys, threading, traceback
sys.path.insert(0, {folder!r})
import geometry
from geometry import Point, Segment

def use():
    "What is dropped is used again, in whatever seat: objects of both sorts of types."
    for type_ in (Point, Segment):
        for _ in range(3):
            many = [type_(i, i) for i in range(40)]
            old = set(map(id, many))
            del many
            new = [type_(i, i) for i in range(40)]
            assert len(old.intersection(map(id, new))) >= 36, type_  # a collection may use a few meanwhile
            del new

class Crowd:
    "Threads that are alive together. Each notes whether it has a seat after its first object. Before, it has none."
    def __init__(self, count):
        self.notes, self.go, self.end = [], threading.Barrier(count + 1), threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(count)]
        for thread in self.threads:
            thread.start()
        self.go.wait()
    def run(self):
        try:
            self.live()
        except BaseException:  # the others would wait for ever
            traceback.print_exc()
            os._exit(1)
    def live(self):
        assert not geometry.is_seated(), "a seat of a thread that has ended"
        use()
        self.notes.append(geometry.is_seated())
        self.go.wait()
        self.end.wait()
        use()
    def close(self):
        self.end.set()
        for thread in self.threads:
            thread.join()

use()
"""


@unittest.skipIf(TSAN, "compiles an extension without the sanitizer")
class Seats(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        text = examples(".c", "/* extension:")["geometry.c"]
        before, after = text.split("static struct PyModuleDef definition")
        after = after.replace(".m_slots", ".m_methods = methods, .m_slots")
        source = cls.folder / "geometry.c"
        source.write_text(f"{before}{MODULE}static struct PyModuleDef definition{after}", encoding="utf-8")
        link_extension(source, *WARNINGS, compile_carried(cls.folder))

    def run_here(self, program):
        run_python(SETUP.format(folder=str(self.folder)) + program, FREELANE_PYTHON_OPTIONS="tools=0")

    def test_a_thread_leaves_its_seat_at_its_end(self):
        self.run_here("""
notes = []
for _ in range(300):
    crowd = Crowd(1)
    crowd.close()
    notes += crowd.notes
assert all(notes), notes
geometry.check()
""")

    def test_a_thread_without_a_seat_is_served(self):
        self.run_here("""
crowd = Crowd(200)
seated = sum(crowd.notes)
assert len(crowd.notes) == 200 and 20 < seated < 128, seated
gc.collect()
use()
crowd.close()
gc.collect()
geometry.check()
""")

    def test_a_forked_child_has_seats_for_its_own_threads(self):
        """The C library gives new threads the stacks, and so the addresses, of those that are not in the child."""
        self.run_here("""
crowd = Crowd(60)
assert sum(crowd.notes) > 30, crowd.notes
def live_in_the_child():
    use()
    anew = Crowd(60)
    assert sum(anew.notes) > 30, anew.notes
    anew.close()
    gc.collect()
    geometry.check()

child = os.fork()
if child == 0:
    try:
        live_in_the_child()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
crowd.close()
use()
geometry.check()
""")


if __name__ == "__main__":
    unittest.main()
