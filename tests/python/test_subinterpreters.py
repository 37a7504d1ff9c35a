# SPDX-License-Identifier: MIT
"""Other interpreters than the main one: types work there in the interpreter's memory, and the main one's memory comes
back meanwhile."""

import _interpreters
import contextlib
import gc
import sys
import textwrap
import threading
import unittest

import freelane_demo as demo
from demo_support import FREE_THREADED, TSAN, TestCase, few, run_python, types

CONFIGS = ["isolated", "legacy"]  # with a GIL of its own, and with the main interpreter's

PROLOGUE = f"""
import sys
sys.path[:] = {sys.path!r}
import gc, threading, weakref
import freelane_demo as demo
from demo_support import GC_KINDS, KINDS, PLAIN_KINDS, run_threads, types

def use_all(count):
    for type_ in types():
        many = [type_() for _ in range(count)]
        assert not any(demo.owns(one) for one in many)
        del many
"""

# A process in which the module has not been imported yet.
PROGRAM = f"""
import _interpreters, gc, sys, threading
PROLOGUE = {PROLOGUE!r}

def run(interpreter, program):
    failure = _interpreters.exec(interpreter, PROLOGUE + program)
    assert failure is None, failure
"""


def run(interpreter, program):
    """Runs a program in it; what it raises is raised here."""
    failure = _interpreters.exec(interpreter, PROLOGUE + textwrap.dedent(program))
    if failure is not None:
        raise AssertionError(failure.errdisplay)


@contextlib.contextmanager
def another(config="isolated"):
    interpreter = _interpreters.create(config)
    try:
        yield interpreter
    finally:
        _interpreters.destroy(interpreter)


class Types(TestCase):
    """What the types do there."""

    def run_in_each(self, program):
        for config in CONFIGS:
            with self.subTest(config), another(config) as interpreter:
                run(interpreter, program)

    def test_all_kinds(self):
        self.run_in_each("""
            assert {type_.__name__ for type_ in types()} == {v + kind for kind in KINDS for v in ("", "Immortal")}
            use_all(500)
            vectors = [demo.Vector(i) for i in range(100)]
        """)

    def test_objects_hold_and_drop_others(self):
        self.run_in_each("""
            class Held: pass
            for name in ("Pair", "GCPair", "WeakPair", "Label", "GCLabel", "Node", "ImmortalPair", "ImmortalGCLabel"):
                held = Held()
                gone = weakref.ref(held)
                keeper = getattr(demo, name)(held)
                del held
                assert gone() is not None, name
                del keeper
                assert gone() is None, name
        """)

    def test_weak_references_finalizers_and_cycles(self):
        self.run_in_each("""
            for type_ in types(["Node", "WeakPair"]):
                one = type_()
                gone = weakref.ref(one)
                del one
                assert gone() is None
            closed = []
            for type_ in types(["Handle", "GCHandle"]):
                type_(-1, lambda *_: closed.append(type_))
            assert closed == types(["Handle", "GCHandle"]), closed
            cycle = demo.Node()
            cycle.left = cycle
            gone = weakref.ref(cycle)
            del cycle
            gc.collect()
            assert gone() is None
        """)

    def test_references_to_types_are_balanced(self):
        self.run_in_each("""
            def counts():
                gc.collect()
                return [(type_.__name__, sys.getrefcount(type_)) for type_ in every]
            every = types()
            before = counts()
            use_all(100)
            assert counts() == before, (counts(), before)
        """)

    def test_subclasses(self):
        self.run_in_each("""
            for base in [demo.Pair, demo.GCPair, demo.Node, demo.SubPair, demo.SubGCLabel, demo.WidePair, demo.WideGCPair]:
                class Sub(base): pass
                many = [kind() for kind in (base, Sub) for _ in range(200)]
                many[-1].attribute = many[-1]
                del many
                gc.collect()
        """)

    def test_deep_structures(self):
        self.run_in_each(f"""
            def drop():
                for type_ in types(["Pair", "GCPair", "Node"]):
                    chain = None
                    for _ in range({few(100000, 5000)}):
                        chain = type_(chain) if chain is not None else type_()
                    del chain
            drop()
            threading.stack_size(256 << 10)
            run_threads(2, drop) if {not TSAN} else None
        """)

    @unittest.skipIf(TSAN, "its frames fill a small stack")
    def test_deep_structures_on_a_small_stack_that_the_main_interpreter_uses_too(self):
        done = []

        def work(interpreter):
            for _ in range(3):
                chain = None
                for _ in range(50000):
                    chain = demo.Pair(chain)
                run(interpreter, """
                    chain = None
                    for _ in range(50000):
                        chain = demo.Pair(chain)
                    held = weakref.ref(node := demo.Node())
                    pair = demo.Pair(chain, node)
                    del chain, node, pair
                    assert held() is None
                """)
                del chain
            done.append(True)

        threading.stack_size(256 << 10)
        self.addCleanup(threading.stack_size, 0)
        for config in CONFIGS:
            with another(config) as interpreter:
                thread = threading.Thread(target=work, args=[interpreter])
                thread.start()
                thread.join()
        self.assertEqual(len(done), len(CONFIGS))

    def test_static_types_are_refused_with_a_sentence(self):
        run_python(PROGRAM + """
for config in ("isolated", "legacy"):
    failure = _interpreters.exec(_interpreters.create(config), PROLOGUE)
    assert failure.type.__name__ == "ImportError", failure
    assert "StaticPoint: static types are not supported in subinterpreters; make it a heap type" in failure.msg, failure
        """, FREELANE_DEMO_STATIC="1")

    def test_types_go_with_their_interpreter(self):
        """The heap that all share is whole after many of them, and holds nothing of theirs."""
        for i in range(few(20, 4)):
            with another(CONFIGS[i % 2]) as interpreter:
                run(interpreter, "use_all(50)\nkeep = [type_() for type_ in types()]")
        for type_ in types():
            many = [type_() for _ in range(100)]
            del many


class Process(unittest.TestCase):
    def test_the_first_import_may_be_there(self):
        run_python(PROGRAM + """
other = _interpreters.create()
run(other, "use_all(100)")
import freelane_demo as demo
from demo_support import types
for type_ in types():
    many = [type_() for _ in range(1000)]
    del many
assert demo.owns(demo.Point()) and demo.owns(demo.Pair()) and demo.stats()["cached_objects"] > 0
gc.collect()
assert demo.stats()["slab_bytes"] == 0 and demo.stats()["cached_objects"] == 0, demo.stats()
run(other, "use_all(100)")
_interpreters.destroy(other)
demo.check()
        """)

    def test_only_there(self):
        run_python(PROGRAM + """
for config in ("isolated", "legacy"):
    other = _interpreters.create(config)
    run(other, "use_all(100)\\nassert demo.stats()['threads'] == 0, demo.stats()\\ndemo.check()")
    _interpreters.destroy(other)
        """)

    @unittest.skipIf(TSAN, "the interpreter itself destroys what is left of them with races")
    def test_exit_while_there_are_others(self):
        run_python(PROGRAM + """
import freelane_demo as demo
from demo_support import types
others = [_interpreters.create(config) for config in ("isolated", "legacy")]
for other in others:
    run(other, "keep = [type_() for type_ in types()]; use_all(100)")
keep = [type_() for type_ in types()]
        """)


class MainInterpreter(TestCase):
    """Its memory comes back, whatever others do."""

    COUNT = few(200000, 20000)

    def setUp(self):
        super().setUp()
        gc.collect()
        self.slabs = demo.stats()["slab_bytes"]

    def drop_many(self):
        for type_ in (demo.Point, demo.Pair, demo.GCPair):
            many = [type_() for _ in range(self.COUNT)]
            del many

    def check_nothing_is_left(self):
        self.drop_many()
        gc.collect()
        stats = demo.stats()
        self.assertLessEqual(stats["slab_bytes"], self.slabs)
        self.assertEqual(stats["cached_objects"], 0)

    def test_while_one_is_idle(self):
        for config in CONFIGS:
            with self.subTest(config), another(config) as interpreter:
                run(interpreter, "keep = [type_() for type_ in types()]; use_all(100)")
                self.check_nothing_is_left()

    @unittest.skipIf(not FREE_THREADED, "with the GIL the heap trims itself")
    def test_without_collections(self):
        gc.disable()
        self.addCleanup(gc.enable)
        with another() as interpreter:
            run(interpreter, "keep = [type_() for type_ in types()]")
            before = demo.stats()["stops"]
            for i in range(8):
                many = [demo.Vector(2 * i + 24) for _ in range(few(100000, 20000))]
                del many
            self.assertGreater(demo.stats()["stops"], before)

    @unittest.skipIf(not FREE_THREADED, "with the GIL the heap trims itself")
    def test_without_collections_while_the_main_thread_runs_another(self):
        """A helper stops the main interpreter's world, of which the main thread is no part then."""
        gc.disable()
        self.addCleanup(gc.enable)
        stop = threading.Event()
        stops = []

        def work():
            before = demo.stats()["stops"]
            while not stop.is_set() or demo.stats()["stops"] == before:
                for i in range(8):
                    many = [demo.Vector(2 * i + 24) for _ in range(few(100000, 20000))]
                    del many
            stops.append(demo.stats()["stops"] - before)

        with another() as interpreter:
            run(interpreter, "")
            worker = threading.Thread(target=work)
            worker.start()
            run(interpreter, f"""
                import time
                end = time.monotonic() + {few(0.5, 2)}
                while time.monotonic() < end:
                    use_all(20)
            """)
            stop.set()
            worker.join()
        self.assertGreater(stops[0], 0)

    def test_while_others_are_busy(self):
        """Threads that run the main interpreter and others in turn, while it is stopped again and again. (The interpreter
        itself has races where others are made or destroyed meanwhile.)"""
        stop = threading.Event()
        raised = []

        def work(interpreter):
            try:
                while not stop.is_set():
                    many = [type_() for type_ in types() for _ in range(20)]
                    run(interpreter, "use_all(20)")
                    del many
                    run(interpreter, "keep = [type_() for type_ in types()]")
            except BaseException as error:
                raised.append(error)

        with contextlib.ExitStack() as others:
            threads = []
            for config in CONFIGS:
                interpreter = others.enter_context(another(config))
                run(interpreter, "use_all(20)")
                threads.append(threading.Thread(target=work, args=[interpreter]))
            for thread in threads:
                thread.start()
            self.collect_again_and_again()
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(raised, [])
        self.check_nothing_is_left()

    def collect_again_and_again(self):
        for i in range(few(40, 8)):
            many = [type_() for type_ in types() for _ in range(200)]
            del many
            gc.collect()
            if i % 8 == 5:
                demo.set_caching(False)
                demo.set_caching(True)


if __name__ == "__main__":
    unittest.main()
