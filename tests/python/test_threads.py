# SPDX-License-Identifier: MIT
"""Objects that cross threads, threads that come and go, collections in between."""

import gc
import queue
import sys
import threading
import time
import unittest

import freelane_demo as demo
from demo_support import (
    FREELANE,
    GC_KINDS,
    KINDS,
    PLAIN_KINDS,
    TSAN,
    TWINS,
    TestCase,
    few,
    resident_bytes,
    run_threads,
    types,
)

SECONDS = 1.0


def until(seconds=SECONDS):
    """Goes on for so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield


class Crossing(TestCase):
    def test_threads_by_themselves(self):
        def work():
            for type_ in types(KINDS, FREELANE + TWINS):
                for _ in range(10):
                    many = [type_() for _ in range(few(300, 30))]
                    del many

        run_threads(4, work)

    def test_created_here_and_freed_there(self):
        for kinds in (PLAIN_KINDS, GC_KINDS):
            handed = queue.Queue(maxsize=8)
            makers = types(kinds)

            def free():
                while handed.get() is not None:
                    pass

            freer = threading.Thread(target=free)
            freer.start()
            for i in range(few(600, 60)):
                handed.put([makers[i % len(makers)]() for _ in range(100)])
            handed.put(None)
            freer.join()

    def test_freed_by_whoever_is_last(self):
        shared = [[type_() for type_ in types()] for _ in range(few(2000, 100))]
        lists = [list(row) for row in shared for _ in range(1)]
        parts = [[row[:] for row in lists] for _ in range(4)]
        del shared, lists
        locks = iter(parts)

        def work():
            mine = next(locks)
            while mine:
                mine.pop()

        run_threads(4, work)
        parts.clear()

    def test_attributes_are_replaced_by_all(self):
        holder = demo.GCPair()

        def work():
            for i in range(few(20000, 1000)):
                holder.first = demo.Point(i, i)
                holder.second = demo.GCPair(i)
                point, pair = holder.first, holder.second
                assert type(point) is demo.Point and point.x == point.y, point
                assert type(pair) is demo.GCPair and type(pair.first) is int, pair

        # Members are replaced under the object's lock by the interpreter.
        run_threads(4, work)


class ReadWithoutLocks(TestCase):
    """The stale readers: a list's item is read while another thread replaces it."""

    def replace_and_read(self, make, check, seconds=SECONDS, writers=2, readers=2):
        items = [make(i) for i in range(16)]
        stop = threading.Event()

        def write():
            i = 0
            while not stop.is_set():
                for k in range(16):
                    items[k] = make(i)
                    i += 1

        def read():
            while not stop.is_set():
                for k in range(16):
                    check(items[k])

        failed = []

        def guarded(run):
            try:
                run()
            except BaseException as error:
                failed.append(error)
                stop.set()

        threads = [threading.Thread(target=guarded, args=(run,)) for run in [write] * writers + [read] * readers]
        for thread in threads:
            thread.start()
        for _ in until(seconds):
            if stop.wait(0.05):
                break
        stop.set()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]

    def check_point(self, point):
        # Another size class than the pairs', so no block of theirs ever shows up here.
        if type(point) is not demo.Point or point.x != -point.y:
            raise AssertionError(repr(point))

    def test_points(self):
        self.replace_and_read(lambda i: demo.Point(i, -i), self.check_point)

    def test_pairs(self):
        def check(pair):
            if type(pair) is not demo.Pair or pair.first != pair.second:
                raise AssertionError(repr(pair))

        self.replace_and_read(lambda i: demo.Pair(i, i), check)

    def test_pairs_with_gc(self):
        def check(pair):
            if type(pair) is not demo.GCPair or pair.first != pair.second:
                raise AssertionError(repr(pair))

        self.replace_and_read(lambda i: demo.GCPair(i, i), check)

    def test_all_kinds_at_once(self):
        makers = types()

        def check(one):
            if type(one) not in makers:
                raise AssertionError(repr(one))

        self.replace_and_read(lambda i: makers[i % len(makers)](), check)

    def test_with_collections_and_returned_slabs(self):
        stop = threading.Event()

        def collect():
            while not stop.is_set():
                # Whole slabs come and go, so that some are returned under the readers' eyes.
                many = [demo.Point(1, -1) for _ in range(few(20000, 2000))]
                del many
                gc.collect()

        collector = threading.Thread(target=collect)
        collector.start()
        try:
            self.replace_and_read(lambda i: demo.Point(i, -i), self.check_point, seconds=2 * SECONDS)
        finally:
            stop.set()
            collector.join()

    def test_dicts(self):
        shared = dict.fromkeys(range(16), demo.Point(0, 0))
        stop = threading.Event()

        def write():
            i = 0
            while not stop.is_set():
                shared[i % 16] = demo.Point(i, -i)
                i += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in until():
                for k in range(16):
                    self.check_point(shared[k])
        finally:
            stop.set()
            writer.join()


class Collections(TestCase):
    def test_a_storm(self):
        stop = threading.Event()

        def collect():
            while not stop.is_set():
                gc.collect()

        collectors = [threading.Thread(target=collect) for _ in range(2)]
        for collector in collectors:
            collector.start()

        def work():
            for _ in until():
                for type_ in types():
                    many = [type_() for _ in range(100)]
                    many[0] = None
                    del many
                pair = demo.GCPair()
                pair.first = pair

        try:
            run_threads(2, work)
        finally:
            stop.set()
            for collector in collectors:
                collector.join()

    def idle_threads(self, count, work):
        """So many threads that have done the work and wait until this one has come back."""
        idle, go = threading.Barrier(count + 1), threading.Event()

        def run():
            work()
            idle.wait()
            go.wait()
            work()

        threads = [threading.Thread(target=run) for _ in range(count)]
        for thread in threads:
            thread.start()
        idle.wait()
        yield
        go.set()
        for thread in threads:
            thread.join()

    def check_nothing_is_kept(self):
        stats = demo.stats()
        self.assertEqual((stats["cached_objects"], stats["free_bytes"], stats["slab_bytes"]), (0, 0, 0))

    def use_all(self):
        for type_ in types():
            many = [type_() for _ in range(few(1000, 100))]
            del many

    def test_what_idle_threads_keep_is_taken_back(self):
        for _ in self.idle_threads(few(50, 8), self.use_all):
            kept = demo.stats()
            self.assertGreater(kept["cached_objects"], 0)
            self.assertGreater(kept["free_bytes"], 0)
            gc.collect()
            self.check_nothing_is_kept()
            demo.check()

    def test_likewise_when_all_objects_are_frozen(self):
        for _ in self.idle_threads(4, self.use_all):
            gc.freeze()
            try:
                gc.collect()
                self.check_nothing_is_kept()
            finally:
                gc.unfreeze()

    def test_threads_that_end_meanwhile(self):
        stop = threading.Event()

        def start_and_end():
            while not stop.is_set():
                run_threads(4, self.use_all)

        starter = threading.Thread(target=start_and_end)
        starter.start()
        for _ in until():
            gc.collect()
        stop.set()
        starter.join()
        gc.collect()
        self.check_nothing_is_kept()

    def test_callbacks_that_use_the_types(self):
        def callback(phase, info):
            many = [type_() for type_ in types()]
            del many

        gc.callbacks.append(callback)
        try:
            for _ in range(20):
                gc.collect()
        finally:
            gc.callbacks.remove(callback)

    def test_without_the_collector(self):
        gc.disable()
        try:
            for type_ in types():
                for _ in range(1000):
                    type_()
        finally:
            gc.enable()


class Churn(TestCase):
    def test_threads_that_come_and_go_leave_nothing(self):
        def work():
            for type_ in types():
                many = [type_() for _ in range(5)]
                del many

        def batch(count):
            for _ in range(count // 10):
                run_threads(10, work)

        batch(100)
        gc.collect()
        before = resident_bytes(), demo.stats()
        batch(few(10000, 200))
        gc.collect()
        after = resident_bytes(), demo.stats()
        self.assertEqual(after[1]["threads"], before[1]["threads"])
        self.assertEqual(after[1]["cached_objects"], 0)
        self.assertLessEqual(after[1]["slab_bytes"], before[1]["slab_bytes"] + (1 << 20))
        self.assertLess(after[0], before[0] + (24 << 20))

    def test_a_thread_state_for_each_call(self):
        def work():
            for type_ in types():
                many = [type_() for _ in range(3)]
                del many

        demo.foreign_rounds(work, 100)
        gc.collect()
        self.assertEqual(demo.stats()["cached_objects"], 0)

    def test_a_thread_state_cleared_by_another_thread(self):
        def work():
            for type_ in types():
                many = [type_() for _ in range(10)]
                del many

        work()
        for _ in range(20):
            demo.clear_elsewhere(work)
            demo.clear_elsewhere(work, work)
        gc.collect()
        stats = demo.stats()
        self.assertEqual(stats["cached_objects"], 0)
        self.assertEqual(stats["threads"], 1)

    def test_objects_that_die_while_the_thread_ends(self):
        """In the exceptions and contexts of the thread state, and in the thread's own storage after that."""
        local = threading.local()
        unraisable = []

        def work():
            local.objects = [type_() for type_ in types()]
            many = [type_() for type_ in types()]
            del many
            try:
                raise ValueError([type_() for type_ in types()])
            except ValueError:
                sys.exc_info()

        hook, sys.unraisablehook = sys.unraisablehook, unraisable.append
        try:
            for _ in range(20):
                thread = threading.Thread(target=work)
                thread.start()
                thread.join()
                if not TSAN:  # whose runtime knows no thread that is so far gone
                    demo.run_late(work, work)
        finally:
            sys.unraisablehook = hook
        self.assertEqual(unraisable, [])
        del local

    def test_threads_that_only_free(self):
        for type_ in types():
            many = [[type_() for _ in range(100)] for _ in range(8)]
            run_threads(4, lambda: [many.pop() and None for _ in range(2)])


if __name__ == "__main__":
    unittest.main()
