# SPDX-License-Identifier: MIT
"""Deallocations inside each other: destructors that do not come back or switch stacks, chains, stacks that are nearly used
up. Objects die when they are dropped, and wait only where the stack has no room for that."""

import gc
import pathlib
import shutil
import sys
import tempfile
import threading
import time
import unittest
import weakref

import freelane_demo as demo
from demo_support import ASAN, TSAN, TestCase, few, run_command, run_python, types
from extension_support import FLAGS, INCLUDES, SUFFIX, WARNINGS, compile_carried

KIB = 1024
# 3.14 puts off the deallocation of objects with gc itself on stacks that it does not know.
KINDS = ["Pair", "Node", "GCPair", "Label", "GCLabel"] if sys.version_info < (3, 14) else ["Pair", "Label"]
DEEP_KINDS = ["Pair", "GCPair", "Node", "Label", "GCLabel"]


class Held:
    """Counts how many of it there are."""

    alive = 0

    def __init__(self):
        Held.alive += 1

    def __del__(self):
        Held.alive -= 1


def chain(links, length):
    """A chain of objects, one of each of `links` in turns, which are called with the next one."""
    one = None
    for i in range(length):
        one = links[i % len(links)](one)
    return one


def run_in_thread(function, stack_bytes):
    """Runs it in a thread with a stack of that size; what it raises is raised here."""
    raised = []

    def run():
        try:
            function()
        except BaseException as error:
            raised.append(error)

    before = threading.stack_size(stack_bytes)
    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    if raised:
        raise raised[0]


@unittest.skipIf(TSAN, "the sanitizer does not follow swapcontext")
class Fibers(TestCase):
    def park(self, count, make, stack_bytes):
        """Leaves so many destructors under way, each on a stack of its own."""
        self.addCleanup(self.resume)
        for _ in range(count):
            self.assertFalse(demo.drop_in_fiber([make(demo.Away())], stack_bytes))

    def resume(self):
        while demo.resume_fibers() != 0:
            pass

    def tearDown(self):
        self.resume()
        super().tearDown()

    def drop_one(self, type_):
        held = Held()
        seen = weakref.ref(held)
        one = type_(held)
        del held, one
        self.assertIsNone(seen(), type_)

    def test_parked_destructors_hold_nothing_up(self):
        for type_ in types(KINDS):
            self.park(100, type_, 256 * KIB)
            for _ in range(100):
                self.drop_one(type_)
            self.resume()

    def test_an_object_dropped_in_a_fiber_dies_there(self):
        for type_ in types(KINDS):
            self.park(100, type_, 256 * KIB)
            for _ in range(100):
                self.assertTrue(demo.drop_in_fiber([type_(Held())], 256 * KIB))
                self.assertEqual(Held.alive, 0, type_)
            self.resume()

    def test_on_small_stacks_side_by_side_it_waits_for_a_moment_at_most(self):
        for type_ in types(["Pair"]):
            self.park(150, type_, 32 * KIB)
            self.assertTrue(demo.drop_in_fiber([type_(Held())], 32 * KIB))
            time.sleep(0.2)
            self.assertTrue(demo.drop_in_fiber([type_(Held())], 32 * KIB))
            self.assertEqual(Held.alive, 0, type_)
            self.resume()

    def test_what_waits_in_a_fiber_dies_with_the_next_object(self):
        for type_ in types(["Pair"]):
            self.park(150, type_, 32 * KIB)
            for _ in range(20):
                demo.drop_in_fiber([type_(Held())], 32 * KIB)
            type_()
            self.assertEqual(Held.alive, 0, type_)
            self.resume()

    def test_a_destructor_that_parks_at_each_level(self):
        """Resumed fibers go on where they were, and what they drop dies."""
        for type_ in types(["Pair"]):
            one = type_(Held())
            for _ in range(50):
                one = type_(demo.Away(), one)
            held = [one]
            del one
            self.addCleanup(self.resume)
            demo.drop_in_fiber(held, 256 * KIB)
            while demo.resume_fibers() != 0:
                self.drop_one(type_)
            self.drop_one(type_)
            self.assertEqual(Held.alive, 0, type_)

    def test_a_chain_in_a_fiber(self):
        for links in [[type_] for type_ in types(KINDS)] + [[demo.Pair, demo.ImmortalPair, demo.Label]]:
            one = chain(links, few(100000, 1000))
            held = [demo.Pair(one, Held())]
            del one
            self.assertTrue(demo.drop_in_fiber(held, (1024 if ASAN else 128) * KIB))
            demo.Pair()
            self.assertEqual(Held.alive, 0, links)


class Unwinding(unittest.TestCase):
    def test_longjmp(self):
        run_python(
            """
            import freelane_demo as demo
            import weakref

            class Held:
                pass

            for type_ in demo.Pair, demo.GCPair:
                for _ in range(200):
                    assert demo.drop_and_jump([type_(demo.Jump())])
                for _ in range(200):
                    held = Held()
                    seen = weakref.ref(held)
                    one = type_(held)
                    del held, one
                    assert seen() is None
            """
        )

    @unittest.skipIf(TSAN or ASAN, "is compiled without sanitizers")
    def test_a_cxx_exception(self):
        compilers = [name for name in ("g++", "clang++", "clang++-14") if shutil.which(name)]
        if not compilers:
            self.skipTest("no C++ compiler")
        with tempfile.TemporaryDirectory() as folder:
            carried = compile_carried(folder)
            source = pathlib.Path(folder) / "thrower.cpp"
            source.write_text(THROWER, encoding="utf-8")
            flags = [flag for flag in FLAGS if not flag.startswith("-std=")]
            for cxx in compilers:
                extension = source.with_suffix(SUFFIX)
                run_command(
                    [cxx, "-std=c++17", *flags, *WARNINGS, *INCLUDES, "-shared", source, carried, "-o", extension]
                )
                run_python(THROWS.format(folder))


THROWER = """
#include <freelane/python.h>
#include <stdexcept>

struct Item { PyObject_HEAD PyObject *held; bool throws; };

static int item_clear(PyObject *object)
{
    Item *self = reinterpret_cast<Item *>(object);
    if (self->throws)
        throw std::runtime_error("thrown");
    Py_CLEAR(self->held);
    return 0;
}

FL_PY_TYPE(item, Item, .kind = FL_DEALLOC_CLEAR, .clear = item_clear)

static PyObject *item_new(PyTypeObject *type, PyObject *args, PyObject *)
{
    PyObject *held;
    int throws;
    if (!PyArg_ParseTuple(args, "Op", &held, &throws))
        return NULL;
    Item *self = reinterpret_cast<Item *>(type->tp_alloc(type, 0));
    if (self == NULL)
        return NULL;
    self->held = Py_NewRef(held);
    self->throws = throws != 0;
    return reinterpret_cast<PyObject *>(self);
}

/* Drops the one item of a list and returns whether something was thrown. */
static PyObject *drop(PyObject *, PyObject *list)
{
    PyObject *item = Py_NewRef(PyList_GET_ITEM(list, 0));
    if (PyList_SetSlice(list, 0, 1, NULL) < 0)
        return NULL;
    try {
        Py_DECREF(item);
    } catch (const std::runtime_error &) {
        Py_RETURN_TRUE;
    }
    Py_RETURN_FALSE;
}

static PyMethodDef functions[] = {{"drop", drop, METH_O, NULL}, {NULL, NULL, 0, NULL}};
static PyType_Slot item_slots[] = {{Py_tp_new, (void *)item_new}, FL_PY_SLOTS(item), {0, NULL}};
static PyType_Spec item_spec = {"thrower.Item", sizeof(Item), 0, Py_TPFLAGS_DEFAULT, item_slots};

static int execute(PyObject *module)
{
    PyTypeObject *type = reinterpret_cast<PyTypeObject *>(PyType_FromModuleAndSpec(module, &item_spec, NULL));
    if (type == NULL || fl_py_type_ready(&item_freelane, type) < 0)
        return -1;
    return PyModule_AddType(module, type);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)execute}, {Py_mod_gil, Py_MOD_GIL_NOT_USED}, {0, NULL}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "thrower", NULL, 0, functions, slots, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_thrower(void) { return PyModuleDef_Init(&definition); }
"""

THROWS = """
import sys
sys.path.insert(0, {!r})
import thrower, weakref

class Held:
    pass

for _ in range(200):
    assert thrower.drop([thrower.Item(None, True)])
for _ in range(200):
    held = Held()
    seen = weakref.ref(held)
    item = [thrower.Item(held, False)]
    del held
    assert not thrower.drop(item)
    assert seen() is None
"""


class Chains(TestCase):
    """Chains that would overflow the stack, on threads with small ones too."""

    STACK = 1024 * KIB if ASAN or TSAN else 256 * KIB
    LENGTH = few(1000000, 20000) // 10

    def drop_chain(self, *links):
        one = demo.Pair(chain(links, self.LENGTH), Held())
        self.assertEqual(Held.alive, 1)
        del one
        self.assertEqual(Held.alive, 0)

    def test_of_one_kind_on_a_small_stack(self):
        for type_ in types(DEEP_KINDS):
            run_in_thread(lambda: self.drop_chain(type_), self.STACK)

    def test_of_a_million_with_a_dealloc_of_their_own(self):
        def drop(type_):
            one = demo.Pair(chain([type_], few(1000000, 20000)), Held())
            del one
            self.assertEqual(Held.alive, 0, type_)

        for type_ in types(["Label", "GCLabel"], ["", "Static"]):
            drop(type_)
            run_in_thread(lambda: drop(type_), self.STACK)

    def test_with_finalizers_on_a_small_stack(self):
        for type_ in types(["Handle", "GCHandle"]):
            run_in_thread(lambda: self.drop_chain(lambda one: type_(-1, lambda handle, one=one: None)), self.STACK)

    def test_of_kinds_in_turns(self):
        kinds = [demo.Pair, demo.GCPair, demo.Label, demo.StaticPair, demo.Node, demo.GCLabel, demo.ImmortalGCPair]
        handle = lambda one: demo.Handle(-1, lambda handle, one=one: None)
        for links in (kinds, kinds[:3], [demo.Label, demo.Pair], [demo.Pair, demo.SubPair, handle], kinds + [handle]):
            run_in_thread(lambda: self.drop_chain(*links), self.STACK)
            self.drop_chain(*links)

    def test_in_a_thread_that_is_about_to_end(self):
        for type_ in types(["Pair", "GCPair"], [""]):
            held = [demo.Pair(chain([type_], self.LENGTH), Held())]
            demo.run_late(type_, held.clear)
            self.assertEqual(Held.alive, 0, type_)

    def test_python_functions_inside_each_other(self):
        """Finalizers that drop the next object while they run do not run into the limit of recursion."""
        unraisable = []
        hook, sys.unraisablehook = sys.unraisablehook, unraisable.append
        self.addCleanup(setattr, sys, "unraisablehook", hook)
        for type_ in types(["Handle", "GCHandle"]):
            called = 0
            waiting = []

            def close(handle):
                nonlocal called
                called += 1
                if waiting:
                    waiting.pop()

            waiting = [type_(-1, close) for _ in range(few(20000, 2000))]
            while waiting:
                waiting.pop()
            type_()
            self.assertEqual(called, few(20000, 2000), type_)
        self.assertEqual(unraisable, [])

    def test_a_subtypes_own_part_is_done_once(self):
        def drop():
            before = demo.counted()
            one = chain([demo.CountedPair], self.LENGTH)
            del one
            self.assertEqual(demo.counted(), before + self.LENGTH)

        run_in_thread(drop, self.STACK)


class Waiting(TestCase):
    """Where the stack is nearly used up, objects wait."""

    LEFT = 128 * KIB

    def drop_far_down(self, type_):
        """Drops an object where no deallocation has room, on a thread's stack."""
        before = Held.alive
        one = [type_(Held())]
        demo.call_far_down(one.clear, self.LEFT)
        self.assertEqual(Held.alive, before + 1, type_)

    def test_where_there_is_room_nothing_waits(self):
        for type_ in types(DEEP_KINDS):
            for left in 512 * KIB, 4096 * KIB:
                one = [type_(Held())]
                run_in_thread(lambda: demo.call_far_down(one.clear, left), 8192 * KIB)
                self.assertEqual(Held.alive, 0, type_)

    def test_the_next_object_brings_it_to_an_end(self):
        for type_ in types(DEEP_KINDS):
            for next_ in demo.Pair, demo.GCPair, demo.Handle, demo.WidePair:

                def drop():
                    self.drop_far_down(type_)
                    next_()
                    self.assertEqual(Held.alive, 0, (type_, next_))

                run_in_thread(drop, 1024 * KIB)

    def test_an_object_without_contents_does_not(self):
        def drop():
            self.drop_far_down(demo.Pair)
            demo.Point()
            self.assertEqual(Held.alive, 1)
            demo.Pair()

        run_in_thread(drop, 1024 * KIB)

    def test_many_do_not_nest(self):
        """What waits is destroyed side by side."""

        def drop():
            many = [demo.Pair(demo.Pair(), Held()) for _ in range(few(50000, 2000))]
            demo.call_far_down(many.clear, self.LEFT)
            self.assertEqual(Held.alive, few(50000, 2000))
            demo.Pair()
            self.assertEqual(Held.alive, 0)

        run_in_thread(drop, 1024 * KIB)

    def test_a_collection_brings_it_to_an_end(self):
        def drop():
            self.drop_far_down(demo.Pair)
            gc.collect()
            self.assertEqual(Held.alive, 0)

        run_in_thread(drop, 1024 * KIB)

    def test_the_end_of_the_thread_brings_it_to_an_end(self):
        run_in_thread(lambda: self.drop_far_down(demo.GCPair), 1024 * KIB)
        self.assertEqual(Held.alive, 0)

    @unittest.skipIf(TSAN, "the library leaves the end of a large stack alone")
    def test_a_collection_finds_what_a_thread_left(self):
        def drop():
            demo.Pair()
            self.drop_far_down(demo.Pair)

        for _ in range(10):
            demo.clear_elsewhere(drop)
        self.assertEqual(Held.alive, 10)
        gc.collect()
        self.assertEqual(Held.alive, 0)

    def test_a_weak_reference_does_not_give_back_what_waits(self):
        def drop():
            for type_ in types(["Node", "WeakPair"]):
                called = []
                nodes = [type_(Held()) for _ in range(100)]
                seen = [weakref.ref(node, called.append) for node in nodes]

                demo.call_far_down(nodes.clear, self.LEFT)
                self.assertEqual(Held.alive, 100)
                self.assertEqual([one() for one in seen], [None] * 100)
                self.assertEqual(called, [])
                demo.Pair()
                self.assertEqual(Held.alive, 0)
                self.assertEqual(sorted(map(id, called)), sorted(map(id, seen)))

        run_in_thread(drop, 1024 * KIB)


if __name__ == "__main__":
    unittest.main()
