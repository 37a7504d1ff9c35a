# SPDX-License-Identifier: MIT
"""Forked children: in a file, and so in a process, of their own, because ThreadSanitizer does not take to forks."""

import gc
import threading
import unittest

import freelane_demo as demo
from demo_support import TSAN, TestCase, few, run_in_child, types


class Fork(TestCase):
    def use(self):
        for type_ in types():
            many = [type_() for _ in range(1000)]
            del many

    def test_the_child_goes_on(self):
        mine = [type_() for type_ in types() for _ in range(10)]

        def child():
            self.use()
            mine.clear()
            gc.collect()
            demo.check()
            self.use()

        run_in_child(child)
        mine.clear()

    def test_with_other_threads_at_work(self):
        stop = threading.Event()

        def work():
            while not stop.is_set():
                self.use()

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()

        def child():
            # What the other threads had kept is given back, and they are not counted any more.
            self.assertLessEqual(demo.stats()["threads"], 1)
            self.use()
            before = demo.stats()["collections"]
            gc.collect()
            # A child that was forked in the middle of another thread's collection never collects again.
            if demo.stats()["collections"] > before:
                self.assertEqual(demo.stats()["cached_objects"], 0)

        try:
            for _ in range(few(30, 3)):
                run_in_child(child)
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def test_from_another_thread_which_starts_threads(self):
        def child():
            self.use()
            if not TSAN:
                thread = threading.Thread(target=self.use)
                thread.start()
                thread.join()
            gc.collect()

        failed = []

        def work():
            try:
                self.use()
                run_in_child(child)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        self.assertEqual(failed, [])

    def test_grandchildren(self):
        run_in_child(lambda: (self.use(), run_in_child(self.use), self.use()))


if __name__ == "__main__":
    unittest.main()
