# SPDX-License-Identifier: MIT
"""Tools that look at the interpreter's memory: each cell of the manual's table has a test here. An error that is planted
in an object of a type on Freelane is found as it is in one of a twin that is not."""

import gc
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tracemalloc
import unittest

import freelane_demo as demo
from demo_support import (
    ASAN, FREE_THREADED, TSAN, TestCase, few, run_command, run_python, types
)
from extension_support import library_of

# Whether each type is on Freelane, and which objects lie in its heap.
STATE = """
    import freelane_demo as demo
    from demo_support import types
    kept = [type_() for type_ in types()]
    print("caching" if demo.set_caching(True) else "off", "heap" if any(map(demo.owns, kept)) else "interpreter")
"""

# What the types do in a program, on the interpreter's slots or not.
USE = """
    import gc, os, sys
    import freelane_demo as demo
    from demo_support import run_threads, types
    def use():
        for type_ in types():
            many = [type_() for _ in range(50)]
            del many
    class Sub(demo.Pair): pass
    class TrackedSub(demo.GCPair): pass
    def drop_deep(kinds, depth):
        chain = None
        for i in range(depth):
            chain = kinds[i % len(kinds)](chain)
    def use_all():
        run_threads(2, use)
        drop_deep([demo.Pair, demo.StaticPair, demo.ImmortalGCPair, Sub, TrackedSub], 3000)
        drop_deep([demo.GCPair], 10000)
        cycle = demo.GCPair()
        cycle.first = demo.Node(cycle)
        del cycle
        gc.collect()
        if os.fork() == 0:
            use()
            os._exit(0)
        assert os.wait()[1] == 0
        demo.check()
    use_all()
    del sys.modules["freelane_demo"]
    import freelane_demo as second
    assert second.Pair is not demo.Pair and second.StaticPair is demo.StaticPair
    second.StaticPair(second.Pair(demo.Pair()))
    use()
"""

TWINS = ["Point", "DefaultPoint", "GCPair", "StaticPair", "ImmortalLabel"]


def asan_runtime():
    """The library that AddressSanitizer needs in a process from its start, or the test is skipped."""
    if ASAN or TSAN:
        raise unittest.SkipTest("a sanitizer is there already")
    return {"LD_PRELOAD": library_of("gcc", "libasan.so"), "ASAN_OPTIONS": "detect_leaks=0"}


def state(**environment):
    return run_python(STATE, **environment).strip()


def run_to_the_end(program, *options, **environment):
    """The same for a program that may end in any way: returns its exit code and output."""
    command = [sys.executable, *options, "-c", program]
    try:
        return 0, run_command(command, PYTHONPATH=os.pathsep.join(sys.path), **environment)
    except AssertionError as error:
        return 1, str(error)


def overflow(name):
    """A program that writes one byte behind an object, and drops that."""
    return f"""
import freelane_demo as demo
one = demo.{name}()
demo.poke(id(one) + type(one).__basicsize__, b"x")
del one
print("survived", flush=True)
"""


def read_after_free(name):
    """A program that shows an object's last word after its death."""
    return f"""
import freelane_demo as demo
print("read", demo.read_dead([demo.{name}()], 8).hex(), flush=True)
"""


class NoTool(unittest.TestCase):
    @unittest.skipIf(ASAN, "the tool is there")
    def test_the_types_are_on_freelane(self):
        self.assertEqual(state(), "caching heap")

    @unittest.skipIf(ASAN, "the tool is there")
    def test_the_interpreters_own_allocators_are_no_tools(self):
        for name in ["default", "mimalloc"] + ([] if FREE_THREADED else ["pymalloc"]):
            with self.subTest(name):
                self.assertEqual(state(PYTHONMALLOC=name), "caching heap")


@unittest.skipIf(TSAN, "the debug hooks themselves are slow")
class DebugHooks(unittest.TestCase):
    """PYTHONMALLOC=debug and -X dev, which is the same hooks."""

    HOOKS = [{"PYTHONMALLOC": "debug"}, {"PYTHONDEVMODE": "1"}]

    def test_all_objects_lie_in_the_interpreters_memory(self):
        for hooks in self.HOOKS:
            self.assertEqual(state(**hooks), "off interpreter")

    def test_tracemalloc_does_not_hide_them(self):
        self.assertEqual(state(PYTHONMALLOC="debug", PYTHONTRACEMALLOC="1"), "off interpreter")

    def test_the_program_goes_on(self):
        run_python(USE, PYTHONMALLOC="debug")

    def test_a_write_behind_an_object_is_found(self):
        for name in TWINS:
            with self.subTest(name):
                code, output = run_to_the_end(overflow(name), **self.HOOKS[len(name) % 2])
                self.assertNotEqual(code, 0)
                self.assertIn("bad trailing pad byte", output)
                self.assertNotIn("survived", output)

    def test_a_dead_object_is_filled(self):
        for name in TWINS:
            with self.subTest(name):
                self.assertIn("read dddddddddddddddd", run_to_the_end(read_after_free(name), PYTHONMALLOC="debug")[1])

    def test_free_threaded_the_header_of_a_dead_object_is_not(self):
        program = """
    import freelane_demo as demo
    print(demo.read_dead([demo.Point()], demo.Point.__basicsize__)[:8].hex())
        """
        (self.assertNotEqual if FREE_THREADED else self.assertEqual)(
            run_python(program, PYTHONMALLOC="debug").strip(), "dddddddddddddddd"
        )

    def test_an_option_keeps_freelane_on(self):
        self.assertEqual(state(PYTHONMALLOC="debug", FREELANE_PYTHON_OPTIONS="tools=0"), "caching heap")
        run_python(USE, PYTHONMALLOC="debug", FREELANE_PYTHON_OPTIONS="tools=0")

    def test_subinterpreters_of_such_a_process(self):
        run_python(
            """
            import freelane_demo as demo
            import _interpreters
            interpreter = _interpreters.create()
            _interpreters.exec(interpreter, "import freelane_demo as demo; demo.Pair(demo.GCPair()); demo.Point()")
            _interpreters.destroy(interpreter)
            demo.Pair(demo.GCPair())
            """,
            PYTHONMALLOC="debug",
        )


@unittest.skipIf(FREE_THREADED, "a free-threaded interpreter has no other allocator")
class Malloc(unittest.TestCase):
    """PYTHONMALLOC=malloc, and the tools that look at malloc."""

    def test_all_objects_lie_in_the_interpreters_memory(self):
        self.assertEqual(state(PYTHONMALLOC="malloc"), "off interpreter")
        self.assertEqual(state(PYTHONMALLOC="malloc_debug"), "off interpreter")

    def test_the_program_goes_on(self):
        run_python(USE, PYTHONMALLOC="malloc")

    def test_address_sanitizer_finds_a_read_after_free(self):
        tool = asan_runtime()
        for name in TWINS:
            with self.subTest(name):
                code, output = run_to_the_end(read_after_free(name), PYTHONMALLOC="malloc", **tool)
                self.assertNotEqual(code, 0)
                self.assertIn("AddressSanitizer: heap-use-after-free", output)

    def test_address_sanitizer_finds_a_write_behind_an_object(self):
        tool = asan_runtime()
        for name in TWINS:
            with self.subTest(name):
                code, output = run_to_the_end(overflow(name), PYTHONMALLOC="malloc", **tool)
                self.assertNotEqual(code, 0)
                self.assertIn("AddressSanitizer: heap-buffer-overflow", output)


@unittest.skipIf(not FREE_THREADED, "an interpreter with the GIL has it")
class NoMalloc(unittest.TestCase):
    def test_the_interpreter_refuses_it(self):
        for name in ("malloc", "pymalloc"):
            with self.subTest(name):
                code, output = run_to_the_end("print('started')", PYTHONMALLOC=name)
                self.assertNotEqual(code, 0)
                self.assertNotIn("started", output)


class Wrapped(unittest.TestCase):
    """A program has put an allocator of its own around the interpreter's."""

    @unittest.skipIf(ASAN, "a tool is there already")
    def test_all_objects_lie_in_the_interpreters_memory(self):
        try:
            import ctypes
        except ImportError:
            self.skipTest("no ctypes")
        wrap = textwrap.dedent(
            """
            import ctypes
            allocator = (ctypes.c_void_p * 5)()
            ctypes.pythonapi.PyMem_GetAllocator(2, allocator)
            allocator[0] = ctypes.addressof(allocator)
            ctypes.pythonapi.PyMem_SetAllocator(2, allocator)
            """
        )
        self.assertEqual(run_python(wrap + textwrap.dedent(STATE)).strip(), "off interpreter")


class AddressSanitizer(unittest.TestCase):
    """The runtime alone, in a build that is not compiled with AddressSanitizer, or a checked one that is. What is found
    of all that can be has its own tests (test_planted.py)."""

    WITHOUT_GC = ["Point", "StaticPair", "ImmortalLabel"]

    def test_types_stay_on_freelane(self):
        self.assertEqual(state(**asan_runtime()), "caching heap")
        self.assertEqual(state(FREELANE_PYTHON_OPTIONS="tools=0", **asan_runtime()), "caching heap")

    def test_the_program_goes_on(self):
        run_python(USE, **asan_runtime())

    def test_it_finds_a_read_after_free(self):
        for name in self.WITHOUT_GC:
            with self.subTest(name):
                code, output = run_to_the_end(read_after_free(name), **asan_runtime())
                self.assertNotEqual(code, 0)
                self.assertIn("AddressSanitizer: use-after-poison", output)

    def test_it_finds_a_write_behind_an_object(self):
        for name in ("Point", "StaticPair"):  # a label has room for one item more
            with self.subTest(name):
                code, output = run_to_the_end(overflow(name), **asan_runtime())
                self.assertNotEqual(code, 0)
                self.assertIn("AddressSanitizer: use-after-poison", output)

    def test_it_sees_no_object_of_the_interpreter_s_own_allocator(self):
        for name in set(TWINS) - set(self.WITHOUT_GC):
            with self.subTest(name):
                self.assertEqual(run_to_the_end(read_after_free(name), **asan_runtime())[0], 0)

    @unittest.skipIf(not ASAN, "is about the checked build")
    def test_a_checked_build_stays_on_and_informs_it(self):
        self.assertIn("heap", state())
        code, output = run_to_the_end(read_after_free("Point"))
        self.assertNotEqual(code, 0)
        self.assertIn("AddressSanitizer: use-after-poison", output)


@unittest.skipIf(ASAN or TSAN, "Memcheck runs no sanitizer")
class Memcheck(unittest.TestCase):
    def errors(self, name, **environment):
        """How many invalid reads it reports."""
        valgrind = shutil.which("valgrind")
        if valgrind is None:
            self.skipTest("no Valgrind")
        result = subprocess.run(
            [valgrind, "-q", sys.executable, "-c", read_after_free(name)],
            capture_output=True, text=True, check=False, timeout=300,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        )
        if "cannot be set up" in result.stderr:
            self.skipTest("Valgrind cannot start this interpreter here")
        self.assertIn("read ", result.stdout)
        return len(re.findall(r"bytes inside a block of size \d+ free'd", result.stderr))

    def test_it_finds_a_read_after_free(self):
        self.assertEqual(self.errors("Point"), 1)

    @unittest.skipIf(FREE_THREADED, "a free-threaded interpreter has no other allocator")
    def test_with_malloc_it_finds_a_read_after_free(self):
        for name in ("Point", "GCPair"):
            with self.subTest(name):
                self.assertEqual(self.errors(name, PYTHONMALLOC="malloc"), 1)

    def test_it_sees_no_object_of_the_interpreter_s_own_allocator(self):
        self.assertEqual(self.errors("GCPair"), 0)


class Tracemalloc(TestCase):
    def setUp(self):
        if not demo.set_caching(True):
            self.skipTest("a tool has turned caching off")
        super().setUp()

    def tearDown(self):
        tracemalloc.stop()
        gc.enable()
        demo.set_caching(True)
        super().tearDown()

    def test_from_the_start_it_sees_all(self):
        run_python(
            """
            import tracemalloc
            import freelane_demo as demo
            from demo_support import types
            for type_ in types():
                many = [type_() for _ in range(100)]
                assert all(tracemalloc.get_object_traceback(one) for one in many), type_
            """,
            PYTHONTRACEMALLOC="1",
        )

    def test_in_mid_run_it_sees_new_objects_without_a_collection(self):
        """All but the few that the thread had blocks for, as after the interpreter's own freelists."""
        for type_ in types():
            with self.subTest(type_):
                count = few(20000, 5000)
                many = [type_() for _ in range(count)]
                del many
                gc.collect()
                gc.disable()
                kept = [type_() for _ in range(10)]
                tracemalloc.start()
                kept += [type_() for _ in range(count)]
                seen = sum(tracemalloc.get_object_traceback(one) is not None for one in kept)
                self.assertGreaterEqual(seen, count - 600)
                del kept[:]
                demo.check()
                tracemalloc.stop()
                gc.enable()
                gc.collect()
                self.assertTrue(demo.set_caching(True))

    def test_in_mid_run_growth_is_told(self):
        gc.disable()
        before = [demo.Point() for _ in range(1000)]
        tracemalloc.start()
        first = tracemalloc.take_snapshot()
        after = [demo.Point() for _ in range(20000)]
        grown = sum(one.size_diff for one in tracemalloc.take_snapshot().compare_to(first, "filename"))
        self.assertGreaterEqual(grown, 19000 * demo.Point.__basicsize__)
        del before, after


if __name__ == "__main__":
    unittest.main()
