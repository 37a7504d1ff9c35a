# SPDX-License-Identifier: MIT
"""The interpreter around the types: exit, import and unload, tracing."""

import gc
import pathlib
import shutil
import sys
import tempfile
import threading
import tracemalloc
import unittest

import freelane_demo as demo
from demo_support import ASAN, FREE_THREADED, GC_KINDS, TSAN, TestCase, few, run_command, run_python, types

USE_ALL = """
    import gc, os, sys, threading
    import freelane_demo as demo
    from demo_support import types, run_threads
    def use_all(count=50):
        for type_ in types():
            many = [type_() for _ in range(count)]
            del many
"""


class Exit(unittest.TestCase):
    def test_with_live_objects(self):
        run_python(USE_ALL + """
    keep = [type_() for type_ in types() for _ in range(100)]
    use_all()
        """)

    def test_with_objects_in_cycles_and_modules(self):
        run_python(USE_ALL + """
    pair = demo.GCPair()
    pair.first = [pair, demo.Point(1, 2), demo.GCHandle(os.open(os.devnull, os.O_RDONLY))]
    sys.keep = pair
    node = demo.Node()
    node.module = sys.modules
    os.environ_keep = node
    use_all()
        """)

    @unittest.skipIf(TSAN, "the interpreter itself frees what its daemon threads still look at")
    def test_with_daemon_threads_at_work(self):
        for _ in range(5):
            run_python(USE_ALL + """
    def work():
        while True:
            use_all()
    for _ in range(3):
        threading.Thread(target=work, daemon=True).start()
    keep = [type_() for type_ in types() for _ in range(100)]
    import time
    time.sleep(0.1)
            """)

    def test_finalizers_run(self):
        output = run_python(USE_ALL + """
    keep = [type_(-1, print) for type_ in types(["Handle", "GCHandle"])]
        """)
        self.assertEqual(output.count("Handle object at"), 6)

    def test_by_os_exit_and_by_an_exception(self):
        run_python(USE_ALL + "    use_all(); os._exit(3)", returncode=3)
        run_python(USE_ALL + "    use_all(); keep = demo.GCPair(); sys.exit(4)", returncode=4)

    def test_of_a_thread_that_outlives_main(self):
        run_python(USE_ALL + """
    import time
    def work():
        time.sleep(0.2)
        use_all()
    threading.Thread(target=work).start()
        """)

    def test_atexit(self):
        run_python(USE_ALL + """
    import atexit
    keep = []
    atexit.register(use_all)
    atexit.register(lambda: keep.extend(type_() for type_ in types()))
    use_all()
        """)


class Modules(TestCase):
    def test_a_second_module_object_has_types_of_its_own(self):
        output = run_python(USE_ALL + """
    first = demo
    use_all()
    objects = [first.Pair(1), first.GCPair(2), first.Handle(), first.Point(3, 4)]
    del sys.modules["freelane_demo"]
    import freelane_demo as second
    assert second is not first and second.Pair is not first.Pair
    assert second.StaticPair is first.StaticPair
    for _ in range(3):
        for module in (first, second):
            for name in ("Point", "Pair", "GCPair", "Handle", "GCHandle", "Label", "GCLabel", "Node"):
                many = [getattr(module, name)() for _ in range(100)]
                assert {type(one) for one in many} == {getattr(module, name)}
                del many
    del objects
    gc.collect()
    second.check()
    print("done")
        """)
        self.assertIn("done", output)

    @unittest.skipIf(TSAN, "slow")
    def test_types_of_an_unloaded_module_go(self):
        run_python(USE_ALL + """
    import weakref
    assert not hasattr(demo, "ImmortalPoint")
    del demo, types, run_threads
    import demo_support
    del sys.modules["demo_support"], demo_support, sys.modules["freelane_demo"], use_all
    gc.collect()
    for _ in range(5):
        import freelane_demo as module
        del sys.modules["freelane_demo"]
        names = ["Point", "Pair", "GCPair", "Handle", "GCHandle", "Label", "GCLabel", "Node"]
        for name in names:
            many = [getattr(module, name)() for _ in range(100)]
            del many
        types_ = [weakref.ref(getattr(module, name)) for name in names]
        del module
        gc.collect()
        gc.collect()
        left = [type_() for type_ in types_ if type_() is not None]
        assert not left, left
        """, FREELANE_DEMO_MORTAL="1")


LARGE_PAGES = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
long sysconf(int name)
{
    long (*next)(int) = (long (*)(int))dlsym(RTLD_NEXT, "sysconf");
    return name == _SC_PAGESIZE ? 131072 : next(name);
}
"""


@unittest.skipIf(TSAN or ASAN, "the sanitizer asks for the size of pages, too")
class LargePages(unittest.TestCase):
    """Where pages are larger than slabs, all types have the interpreter's memory."""

    def test_types_work(self):
        gcc = shutil.which("gcc")
        if gcc is None:
            self.skipTest("no C compiler")
        with tempfile.TemporaryDirectory() as name:
            source, library = pathlib.Path(name) / "pages.c", pathlib.Path(name) / "pages.so"
            source.write_text(LARGE_PAGES, encoding="utf-8")
            run_command([gcc, "-shared", "-fPIC", source, "-o", library, "-ldl"])
            run_python(USE_ALL + """
    assert os.sysconf("SC_PAGESIZE") == 131072
    del os.environ["LD_PRELOAD"]
    run_threads(2, use_all)
    use_all(50)
    assert not any(demo.owns(type_()) for type_ in types())
    class Sub(demo.Pair): pass
    class TrackedSub(demo.GCPair): pass
    chain = None
    for i in range(3000):
        chain = [demo.Pair, demo.StaticPair, demo.ImmortalGCPair, Sub, TrackedSub][i % 5](chain)
    del chain
    chain = None
    for i in range(10000):
        chain = demo.GCPair(chain)
    del chain
    gc.collect()
    demo.set_caching(False)
    assert demo.stats()["slab_bytes"] == demo.stats()["threads"] == 0
            """, LD_PRELOAD=str(library))


class Tracing(TestCase):
    def tearDown(self):
        tracemalloc.stop()
        demo.set_caching(True)
        super().tearDown()

    def traced_bytes(self, type_, count):
        many = []
        before = tracemalloc.get_traced_memory()[0]
        many += [None] * count
        empty = tracemalloc.get_traced_memory()[0] - before
        for i in range(count):
            many[i] = type_()
        full = tracemalloc.get_traced_memory()[0] - before - empty
        del many
        return full, tracemalloc.get_traced_memory()[0] - before

    def test_without_caching_all_objects_are_traced(self):
        for type_ in types():
            type_()
        tracemalloc.start()
        self.assertTrue(demo.set_caching(False))
        for type_ in types():
            with self.subTest(type_):
                full, left = self.traced_bytes(type_, 1000)
                self.assertGreaterEqual(full, 1000 * type_.__basicsize__)
                self.assertLess(full, 1000 * (type_.__basicsize__ + 64))
                self.assertLess(left, 4000)
        self.assertEqual(demo.stats()["cached_objects"], 0)

    def test_it_turns_off_at_the_next_collection_and_on_again(self):
        self.assertTrue(demo.set_caching(True))
        tracemalloc.start()
        gc.collect()
        self.assertFalse(demo.set_caching(False))
        demo.set_caching(True)
        gc.collect()
        full, _ = self.traced_bytes(demo.Point, 1000)
        self.assertGreaterEqual(full, 1000 * demo.Point.__basicsize__)
        tracemalloc.stop()
        gc.collect()
        self.assertTrue(demo.set_caching(True))

    def test_it_starts_off_where_tracing_is_on(self):
        output = run_python(
            "import freelane_demo as demo; print(demo.set_caching(True))", PYTHONTRACEMALLOC="1"
        )
        self.assertEqual(output.strip(), "False")

    def test_the_traceback_is_that_of_the_allocation(self):
        tracemalloc.start()
        demo.set_caching(False)
        for type_ in types(["Point", "GCPair"]):
            one = type_()
            self.assertEqual(tracemalloc.get_object_traceback(one)[0].filename, __file__)

    def test_off_and_on_with_threads_at_work(self):
        stop = threading.Event()

        def work():
            while not stop.is_set():
                for type_ in types():
                    many = [type_() for _ in range(20)]
                    del many

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for i in range(few(100, 10)):
            demo.set_caching(i % 2 == 0)
            [type_() for type_ in types()]
        stop.set()
        for thread in threads:
            thread.join()

    def test_off_objects_with_gc_come_from_the_interpreter(self):
        demo.set_caching(False)
        for type_ in types(GC_KINDS):
            many = [type_() for _ in range(100)]
            del many
        self.assertEqual(demo.stats()["cached_objects"], 0)


class Numbers(TestCase):
    def test_what_sys_counts(self):
        """sys.getallocatedblocks counts cached objects and not those in slabs; stats() tells both."""
        gc.collect()
        gc.disable()
        try:
            blocks = sys.getallocatedblocks()
            keep = [demo.GCPair() for _ in range(500)]
            keep.clear()
            kept = demo.stats()["cached_objects"]
            self.assertEqual(kept, 500)
            self.assertAlmostEqual(sys.getallocatedblocks() - blocks, 500, delta=60)
            gc.collect()
            self.assertAlmostEqual(sys.getallocatedblocks() - blocks, 0, delta=60)
            live = demo.stats()["live_bytes"]
            blocks = sys.getallocatedblocks()
            keep += [demo.Point() for _ in range(500)]
            self.assertEqual(demo.stats()["live_bytes"] - live, 500 * 48 if FREE_THREADED else 500 * 32)
            self.assertAlmostEqual(sys.getallocatedblocks() - blocks, 0, delta=60)
        finally:
            gc.enable()

    def test_caches_are_counted_over_threads(self):
        gc.disable()
        try:
            turn = threading.Barrier(2)

            def work():
                many = [demo.GCPair() for _ in range(100)]
                del many
                turn.wait()
                turn.wait()

            before = demo.stats()
            thread = threading.Thread(target=work)
            thread.start()
            turn.wait()
            during = demo.stats()
            turn.wait()
            thread.join()
            self.assertEqual(during["threads"], before["threads"] + 1)
            self.assertEqual(during["cached_objects"], before["cached_objects"] + 100)
            self.assertEqual(demo.stats()["cached_objects"], before["cached_objects"])
        finally:
            gc.enable()


if __name__ == "__main__":
    unittest.main()
