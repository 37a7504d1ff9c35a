# SPDX-License-Identifier: MIT
"""Memory beside objects (fl_py_memory_alloc): whose it is, what it keeps, and when it goes back."""

import gc
import queue
import threading
import tracemalloc
import unittest

import freelane_demo as demo
from demo_support import ASAN, TSAN, TestCase, few, run_in_child, run_python, run_threads
from test_subinterpreters import CONFIGS, another, run

BLOCK_MAX = 32768
SIZES = [1, 15, 16, 17, 200, 512, 513, 4000, BLOCK_MAX]
MANY = few(20000, 2000)


def use(size=200):
    """One that is allocated and freed: whether it was Freelane's."""
    memory = demo.memory_alloc(size)
    ours = demo.memory_owns(memory)
    demo.memory_free(memory, size)
    return ours


class Beside(TestCase):
    def setUp(self):
        super().setUp()
        demo.Point()  # a thread that has made an object
        gc.collect()
        self.memory_before = demo.stats()["memory_live_bytes"]

    def tearDown(self):
        super().tearDown()
        self.assertEqual(demo.stats()["memory_live_bytes"], self.memory_before)


class Blocks(Beside):
    def test_of_which_sizes_are_freelanes(self):
        for size in SIZES:
            self.assertTrue(use(size), size)
        for size in (0, BLOCK_MAX + 1, 1 << 20):
            self.assertFalse(use(size), size)
        demo.memory_free(0, 100)

    def test_keep_their_contents_when_they_move(self):
        for first in SIZES + [100000]:
            for second in SIZES + [100000]:
                text = bytes(i % 251 for i in range(first))
                memory = demo.memory_alloc(first)
                demo.poke(memory, text)
                moved = demo.memory_realloc(memory, first, second)
                kept = min(first, second)
                self.assertEqual(demo.memory_read(moved, kept), text[:kept])
                self.assertEqual(demo.memory_owns(moved), max(first, second) <= BLOCK_MAX or first < second <= BLOCK_MAX)
                demo.memory_free(moved, second)
        memory = demo.memory_realloc(0, 0, 40)
        self.assertEqual(demo.memory_realloc(memory, 40, 48), memory)
        demo.memory_free(memory, 48)

    @unittest.skipIf(TSAN or ASAN, "sanitizers stop at such a request")
    def test_too_large_ones_are_refused(self):
        self.assertRaises(MemoryError, demo.memory_alloc, 2**63 - 1)
        memory = demo.memory_alloc(10)
        demo.poke(memory, b"0123456789")
        self.assertRaises(MemoryError, demo.memory_realloc, memory, 10, 2**63 - 1)
        self.assertEqual(demo.memory_read(memory, 10), b"0123456789")
        demo.memory_free(memory, 10)

    def test_of_tables(self):
        before = demo.stats()["memory_live_bytes"]
        tables = [demo.Table(*range(30)) for _ in range(100)]
        self.assertGreaterEqual(demo.stats()["memory_live_bytes"], before + 100 * 30 * 8)
        self.assertEqual(tables[7].objects, tuple(range(30)))
        del tables
        self.assertEqual(demo.stats()["memory_live_bytes"], before)


class Threads(Beside):
    def test_by_themselves(self):
        def work():
            demo.Point()
            for _ in range(few(20, 3)):
                demo.memory_rounds(threading.get_ident() & 0xFFFF, MANY, 3000)
                gc.collect(0)
                demo.GCPair()

        run_threads(4, work)

    def test_blocks_cross(self):
        addresses = queue.Queue()

        def make():
            demo.Point()
            for i in range(MANY):
                addresses.put((demo.memory_alloc(i % 700 + 1), i % 700 + 1))
            addresses.put(None)

        def drop():
            while (block := addresses.get()) is not None:
                demo.memory_free(*block)

        for _ in range(2):
            makers = [threading.Thread(target=make) for _ in range(2)]
            droppers = [threading.Thread(target=drop) for _ in range(2)]
            for thread in makers + droppers:
                thread.start()
            for thread in makers + droppers:
                thread.join()

    def test_a_thread_without_objects_may_free(self):
        memory = demo.memory_alloc(100)
        run_threads(1, demo.memory_free, memory, 100)

    def test_foreign_ones_with_one_thread_state_after_another(self):
        demo.foreign_rounds(lambda: (demo.Point(), demo.memory_rounds(1, 100, 1000)), few(50, 5))

    def test_at_the_end_of_a_thread(self):
        kept = []
        demo.run_late(lambda: kept.append((demo.Point(), demo.memory_alloc(64))), lambda: demo.memory_free(kept[0][1], 64))

    def test_beside_collections(self):
        done = threading.Event()

        def collect():
            while not done.is_set():
                gc.collect()

        def work():
            try:
                for seed in range(few(10, 2)):
                    demo.Point()
                    demo.memory_rounds(seed, MANY, 2000)
            finally:
                done.set()

        collector = threading.Thread(target=collect)
        collector.start()
        run_threads(2, work)
        collector.join()


class Returned(Beside):
    def test_by_a_collection(self):
        gc.collect()
        least = demo.stats()["memory_slab_bytes"]
        blocks = [demo.memory_alloc(1000) for _ in range(20000)]
        self.assertGreater(demo.stats()["memory_slab_bytes"], least + (19 << 20))
        for block in blocks:
            demo.memory_free(block, 1000)
        gc.collect()
        self.assertLess(demo.stats()["memory_slab_bytes"], least + (1 << 20))

    def test_also_what_idle_threads_keep(self):
        gc.collect()
        least = demo.stats()["memory_slab_bytes"]
        filled, goes = threading.Barrier(5), threading.Event()

        def work():
            demo.Point()
            for size in range(16, 2000, 64):
                for block in [demo.memory_alloc(size) for _ in range(300)]:
                    demo.memory_free(block, size)
            filled.wait()
            goes.wait()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        filled.wait()
        gc.collect()
        kept = demo.stats()["memory_slab_bytes"]
        goes.set()
        for thread in threads:
            thread.join()
        self.assertLess(kept, least + (1 << 20))


class Switch(Beside):
    def test_without_caching_it_is_the_interpreters(self):
        first = demo.memory_alloc(100)
        demo.set_caching(False)
        try:
            self.assertFalse(use(100))
            demo.memory_free(first, 100)
        finally:
            demo.set_caching(True)
        demo.Point()
        self.assertTrue(use(100))

    @unittest.skipIf(TSAN, "tracemalloc takes long")
    def test_tracemalloc_sees_it(self):
        tracemalloc.start()
        try:
            demo.set_caching(False)
            before = tracemalloc.get_traced_memory()[0]
            blocks = [demo.memory_alloc(1000) for _ in range(100)]
            self.assertGreater(tracemalloc.get_traced_memory()[0], before + 100000)
            for block in blocks:
                demo.memory_free(block, 1000)
        finally:
            tracemalloc.stop()
            demo.set_caching(True)


class Interpreters(Beside):
    def test_others_have_their_own(self):
        for config in CONFIGS:
            with self.subTest(config), another(config) as interpreter:
                run(interpreter, """
                    demo.Point()
                    memory = demo.memory_alloc(100)
                    assert not demo.memory_owns(memory)
                    demo.memory_free(memory, 100)
                    tables = [demo.Table(*range(40)) for _ in range(100)]
                    assert tables[3].objects == tuple(range(40))
                    demo.memory_rounds(1, 1000, 1000)
                """)
        demo.Point()
        self.assertTrue(use())  # the main one goes on

    @unittest.skipIf(TSAN, "the interpreter itself begins another one with races")
    def test_an_os_thread_runs_them_in_turns_beside_collections(self):
        done = threading.Event()

        def work():
            try:
                with another() as interpreter:
                    for seed in range(20):
                        demo.Point()
                        demo.memory_rounds(seed, 1000, 1000)
                        run(interpreter, "demo.Point(); demo.memory_rounds(2, 1000, 1000)")
            finally:
                done.set()

        worker = threading.Thread(target=work)
        worker.start()
        while not done.is_set():
            gc.collect()
        worker.join()


class Process(unittest.TestCase):
    @unittest.skipIf(TSAN, "ThreadSanitizer does not take to forks")
    def test_a_child_goes_on(self):
        demo.Point()
        block = demo.memory_alloc(300)

        def child():
            demo.memory_free(block, 300)
            demo.memory_rounds(3, 1000, 1000)
            gc.collect()
            demo.check()
            demo.Point()
            assert use()

        run_in_child(child)
        demo.memory_free(block, 300)

    def test_beyond_the_limit_it_is_the_interpreters(self):
        run_python("""
    import freelane_demo as demo
    demo.Point()
    blocks = [demo.memory_alloc(1000) for _ in range(8000)]
    ours = sum(map(demo.memory_owns, blocks))
    assert 1000 < ours < 5000, ours
    for block in blocks:
        demo.memory_free(block, 1000)
    demo.memory_rounds(4, 10000, 3000)
    demo.check()
        """, FREELANE_PYTHON_OPTIONS="limit=4M")

    @unittest.skipIf(TSAN or ASAN, "the sanitizer is the tool")
    def test_where_a_tool_looks_it_is_the_interpreters(self):
        run_python("""
    import freelane_demo as demo
    from test_beside import use
    demo.Point()
    assert not use()
    demo.memory_rounds(5, 10000, 3000)
        """, PYTHONMALLOC="debug")

    def test_before_the_first_object_it_is_the_interpreters(self):
        run_python("""
    import freelane_demo as demo
    from test_beside import use
    assert not use()
    demo.Point()
    assert use()
        """)

    def test_the_interpreters_end_with_threads_at_work(self):
        run_python("""
    import threading
    import freelane_demo as demo
    def work():
        while True:
            demo.Table(1)
            demo.memory_rounds(6, 1000, 3000)
    threading.Thread(target=work, daemon=True).start()
    work_once = [demo.memory_rounds(7, 1000, 3000) for _ in range(10)]
        """)


if __name__ == "__main__":
    unittest.main()
