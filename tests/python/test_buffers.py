# SPDX-License-Identifier: MIT
"""Retired buffers: a table that threads read without a lock beside one with critical sections, and when buffers are freed."""

import gc
import os
import threading
import time
import unittest
import warnings

import freelane_demo as demo
from demo_support import ASAN, FREE_THREADED, TSAN, TestCase, few, resident_bytes, run_python, run_threads

MAPS = [demo.Map, demo.LockedMap]
KEYS = few(20000, 2000)


def retired():
    return demo.stats()["retired_bytes"]


def grow(map_, keys=KEYS):
    for key in range(keys):
        map_[key] = 3 * key


class Maps(TestCase):
    def test_are_dicts_of_numbers(self):
        for type_ in MAPS:
            map_, like = type_(), {}
            for i in range(few(20000, 3000)):
                key = i * i * 7919 % 1009 - 500
                if i % 3 == 2 and key in like:
                    del map_[key], like[key]
                else:
                    map_[key] = like[key] = i
            for key in range(-600, 600):
                if key in like:
                    self.assertEqual(map_[key], like[key])
                else:
                    self.assertRaises(KeyError, lambda: map_[key])
                    self.assertRaises(KeyError, map_.__delitem__, key)
            self.assertEqual(map_.sum(-600, 600), sum(like.values()))
            self.assertRaises(OverflowError, map_.__setitem__, -(2**63), 1)
            self.assertRaises(TypeError, map_.__setitem__, "1", 1)

    def test_readers_beside_a_writer(self):
        for type_ in MAPS:
            map_ = type_()
            done = threading.Event()

            def work():
                if writer.acquire(blocking=False):
                    for _ in range(few(5, 3)):
                        grow(map_)
                        for key in range(0, KEYS):
                            del map_[key]
                    grow(map_)
                    done.set()
                while not done.is_set():
                    last = 0
                    for key in range(0, KEYS, 7):
                        try:
                            self.assertEqual(map_[key], 3 * key)
                        except KeyError:
                            pass
                    last = map_.sum(0, KEYS)
                    self.assertEqual(last % 3, 0)
                    self.assertLessEqual(last, 3 * sum(range(KEYS)))

            writer = threading.Lock()
            run_threads(4, work)
            self.assertEqual(map_.sum(0, KEYS), 3 * sum(range(KEYS)))

    def test_writers_beside_each_other(self):
        for type_ in MAPS:
            map_ = type_()
            numbers = iter(range(4))

            def work():
                first = next(numbers)
                for key in range(first, KEYS, 4):
                    map_[key] = key
                    self.assertEqual(map_[key], key)

            run_threads(4, work)
            self.assertEqual(map_.sum(0, KEYS), sum(range(KEYS)))


@unittest.skipIf(FREE_THREADED, "threads may still read them")
class WithTheGIL(TestCase):
    def test_they_are_freed_at_once(self):
        before = resident_bytes()
        for _ in range(100):
            grow(demo.Map(), 20000)
            self.assertEqual(retired(), 0)
        self.assertLess(resident_bytes(), before + (16 << 20))


@unittest.skipIf(not FREE_THREADED, "with the GIL they are freed at once")
class Retired(TestCase):
    def setUp(self):
        super().setUp()
        gc.disable()
        self.addCleanup(gc.enable)

    def test_wait_for_a_collection(self):
        for generation in (0, 2):
            grow(demo.Map(), 1000)
            self.assertGreater(retired(), 1000 * 16 // 2)
            gc.collect(generation)
            self.assertEqual(retired(), 0)

    def test_with_a_lock_there_are_none(self):
        grow(demo.LockedMap(), 1000)
        self.assertEqual(retired(), 0)

    def test_an_object_that_dies_has_no_reader(self):
        demo.Map()
        self.assertEqual(retired(), 0)

    def churn(self, rounds):
        """Retires half a megabyte in each, while a map grows."""
        for _ in range(rounds):
            grow(demo.Map(), 20000)

    def test_are_bounded_by_stops(self):
        before = demo.stats()
        self.churn(few(100, 20))
        after = demo.stats()
        self.assertGreater(after["stops"], before["stops"])
        self.assertEqual(after["collections"], before["collections"])
        self.assertLess(retired(), few(40, 8) << 20)

    def test_by_a_helper_where_the_main_thread_waits(self):
        before = demo.stats()["stops"]
        served = []

        def work():
            self.churn(few(100, 20))
            end = time.monotonic() + 5
            while demo.stats()["stops"] == before and time.monotonic() < end:
                demo.wait_in_c(0.01)
            served.append(demo.stats()["stops"])

        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        self.assertGreater(served[0], before)

    def test_memory_comes_back(self):
        self.churn(2)
        gc.collect()
        before = resident_bytes()
        for _ in range(3):
            self.churn(few(30, 2))
            gc.collect()
        self.assertLess(resident_bytes(), before + (64 << 20))

    @unittest.skipIf(TSAN, "a forked child starts threads")
    def test_a_child_frees_them(self):
        grow(demo.Map(), 1000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside other threads
            pid = os.fork()
        if pid == 0:
            os._exit(retired() != 0)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        self.assertGreater(retired(), 0)
        gc.collect()


class Process(unittest.TestCase):
    @unittest.skipIf(TSAN or ASAN, "sanitizers stop at such a request")
    def test_too_much_is_refused(self):
        self.assertRaises(MemoryError, demo.buffer_beyond)

    def test_the_interpreters_end_with_some_retired_and_threads_at_work(self):
        run_python("""
    import threading, time
    import freelane_demo as demo
    from test_buffers import grow
    map_ = demo.Map()
    worker = threading.Thread(target=lambda: [grow(map_, 3000) for _ in range(10)])
    worker.start()
    grow(map_, 3000)
        """)

    @unittest.skipIf(not FREE_THREADED, "with the GIL they are freed at once")
    def test_without_stops_of_ones_own_collections_do(self):
        run_python("""
    import gc
    import freelane_demo as demo
    from test_buffers import Retired, retired
    gc.disable()
    Retired().churn(100) # more than the bound
    assert demo.stats()["stops"] == 0
    assert retired() > 40 << 20
    gc.collect()
    assert retired() == 0
        """, FREELANE_PYTHON_OPTIONS="stops=0")


if __name__ == "__main__":
    unittest.main()
