# SPDX-License-Identifier: MIT
"""References that are dropped later: by whom, in which interpreter, and what happens where memory is refused."""

import gc
import os
import sys
import threading
import time
import unittest
import warnings

import freelane_demo as demo
from demo_support import ASAN, TSAN, TestCase, few, run_in_child, run_python, run_threads

COUNT = few(20000, 2000)


class Noted:
    """Notes in which thread it died."""

    def __init__(self, deaths):
        self.deaths = deaths

    def __del__(self):
        self.deaths.append(threading.get_ident())


def queue_one(deaths):
    demo.decref_later(Noted(deaths))


def make_elsewhere(make, count=1):
    """Objects whose thread has ended: they die where they are dropped. An object that belongs to another thread, a
    free-threaded interpreter destroys in that one, when it next runs Python code. (It knows threads by their addresses, which
    later threads get again.)"""
    made = []
    thread = threading.Thread(target=lambda: made.extend(make() for _ in range(count)))
    thread.start()
    thread.join()
    return made


def make_without_owner(make, count):
    """Objects that die where they are dropped, whatever threads come later: their thread has given up its references before
    others have."""
    made, is_made, is_taken = [], threading.Event(), threading.Event()

    def work():
        made.extend(make() for _ in range(count))
        is_made.set()
        is_taken.wait()
        made.clear()

    thread = threading.Thread(target=work)
    thread.start()
    is_made.wait()
    taken = made.copy()
    is_taken.set()
    thread.join()
    return taken


def until(condition, seconds=5.0):
    """Waits where the main thread serves no pending call while it sleeps in C."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it never came to that")
        demo.wait_in_c(0.005)


class Later(TestCase):
    def tearDown(self):
        super().tearDown()
        self.assertEqual(demo.stats()["later_references"], 0)
        self.assertEqual(demo.stats()["leaked_references"], 0)

    def test_the_thread_drops_its_own(self):
        deaths = []
        demo.later_reserve(1)
        queue_one(deaths)
        self.assertEqual(demo.run_later(), 1)
        self.assertEqual(deaths, [threading.get_ident()])
        self.assertEqual(demo.run_later(), 0)

    def test_all_of_them_whatever_was_reserved(self):
        for reserved in (None, 0, 1, 3, 64, 1000, COUNT):
            deaths = []
            if reserved is not None:
                demo.later_reserve(reserved)
            for _ in range(300):
                queue_one(deaths)
            demo.run_later()
            self.assertEqual(len(deaths), 300)

    def test_references_count(self):
        item = object()
        before = sys.getrefcount(item)
        for _ in range(5):
            demo.decref_later(item, COUNT)
            demo.run_later()
            self.assertEqual(sys.getrefcount(item), before)

    def test_destructors_may_queue_more_and_run(self):
        deaths = []

        class Chained(Noted):
            def __init__(self, left, runs):
                super().__init__(deaths)
                self.left = left
                self.runs = runs

            def __del__(self):
                super().__del__()
                if self.left > 0:
                    demo.decref_later(Chained(self.left - 1, self.runs))
                if self.runs:
                    demo.run_later()

        for runs in (False, True):
            deaths.clear()
            demo.decref_later(Chained(99, runs))
            self.assertGreaterEqual(demo.run_later(), 1)
            self.assertEqual(len(deaths), 100)

    def test_no_code_runs_in_a_critical_section(self):
        items = []

        class Intruder:
            def __del__(self):
                items.append(None)
                items.pop()
                if items:
                    items[-1] = None

        for _ in range(few(200, 20)):
            items[:] = [Intruder() for _ in range(50)]
            self.assertEqual(demo.replace_items(items, 1), 0)

    def test_threads_in_critical_sections_of_one_list(self):
        shared = [object() for _ in range(100)]

        def work():
            for i in range(few(1000, 100)):
                self.assertEqual(demo.replace_items(shared, [i]), 0)

        run_threads(4, work)

    def test_a_thread_that_ends_drops_what_it_has_queued(self):
        for reserve in (True, False):
            deaths = []

            def work():
                if reserve:
                    demo.later_reserve(1)
                queue_one(deaths)

            run_threads(4, work)
            until(lambda: len(deaths) == 4 or demo.run_later() > 9)

    def test_what_a_foreign_thread_leaves_is_dropped_by_the_next_to_run(self):
        deaths = []
        demo.foreign_rounds(lambda: queue_one(deaths), 3)
        demo.run_later()
        until(lambda: len(deaths) == 3)

    def test_what_is_queued_while_the_thread_ends(self):
        deaths = []
        demo.run_late(lambda: queue_one(deaths), lambda: queue_one(deaths))
        demo.run_later()
        until(lambda: len(deaths) == 2)

    def test_a_thread_state_cleared_elsewhere(self):
        deaths = []
        demo.clear_elsewhere(lambda: queue_one(deaths))
        demo.clear_elsewhere(lambda: queue_one(deaths), lambda: queue_one(deaths))
        demo.run_later()
        until(lambda: len(deaths) == 3)

    def test_a_collection_drops_them(self):
        deaths = []
        queue_one(deaths)
        gc.collect()
        self.assertEqual(len(deaths), 1)

    def test_the_main_thread_drops_them_where_nobody_else_does(self):
        deaths = []
        done = threading.Event()

        def work():
            items = make_elsewhere(lambda: Noted(deaths))
            demo.decref_later(items.pop())
            done.wait()

        worker = threading.Thread(target=work)
        worker.start()
        end = time.monotonic() + 5
        while not deaths and time.monotonic() < end:
            sum(range(1000))
        done.set()
        worker.join()
        self.assertEqual(deaths, [threading.main_thread().ident])

    def test_the_main_thread_goes_on_beside_many_slow_ones(self):
        """It drops some, and a helper the others."""
        deaths = []

        class Slow:
            def __del__(self):
                time.sleep(0.01)
                deaths.append(threading.get_ident())

        def work():
            while items:
                demo.decref_later(items.pop())
            done.wait()

        items = make_without_owner(Slow, 300)
        done = threading.Event()
        worker = threading.Thread(target=work)
        worker.start()
        longest, last, end = 0, time.monotonic(), time.monotonic() + 30
        while len(deaths) < 300 and time.monotonic() < end:
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        done.set()
        worker.join()
        self.assertEqual(len(deaths), 300)
        self.assertIn(threading.main_thread().ident, deaths)
        self.assertLess(longest, 1)

    def test_a_helper_drops_them_where_the_main_thread_waits(self):
        deaths = []
        served = []

        def work():
            items = make_elsewhere(lambda: Noted(deaths))
            demo.decref_later(items.pop())
            until(lambda: deaths)
            served.extend(deaths)

        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        self.assertEqual(len(served), 1)
        self.assertNotIn(served[0], (worker.ident, threading.main_thread().ident))

    def test_a_helper_drops_what_a_thread_queues_that_calls_no_more(self):
        deaths = []

        def work():
            items = make_elsewhere(lambda: Noted(deaths), 3)
            while items:
                demo.decref_later(items.pop())
                demo.wait_in_c(0.3)
            served.append(len(deaths))

        served = []
        run_threads(2, work)
        self.assertTrue(all(count >= 4 for count in served), served)

    def test_threads_queue_while_helpers_drop(self):
        deaths = []

        def work():
            end = time.monotonic() + 1
            while time.monotonic() < end:
                for _ in range(100):
                    queue_one(deaths)
                    made.append(None)
                if len(made) % 300 == 0:
                    demo.run_later()

        made = []
        run_threads(3, work)
        demo.run_later()
        until(lambda: len(deaths) == len(made))

    def test_too_many_to_reserve(self):
        for count in (2**62, 2**63, 2**64 - 1):
            with self.assertRaises(MemoryError):
                demo.later_reserve(count)


class Interpreters(TestCase):
    @unittest.skipIf(TSAN, "the interpreter makes its static types again while other threads look at them")
    def test_references_are_dropped_in_theirs(self):
        results = []
        worker = threading.Thread(target=lambda: results.append(demo.later_in_subinterpreter(0.3)))
        worker.start()
        while worker.is_alive():
            demo.run_later()
            gc.collect()
        self.assertEqual(results, [3])

    def test_at_the_end_of_theirs(self):
        self.assertEqual(demo.later_in_subinterpreter(-1), 4)
        self.assertEqual(demo.stats()["later_references"], 0)


# From here on the system refuses memory beyond so many bytes.
REFUSE = """
    import resource, sys
    import freelane_demo as demo
    item = object()
    room = 1 << 20
    def address_space():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    def refuse(beyond):
        resource.setrlimit(resource.RLIMIT_AS, (address_space() + beyond, resource.RLIM_INFINITY))
"""


class Process(unittest.TestCase):
    def test_the_interpreters_end_drops_them(self):
        for program in ("demo.decref_later(Noted())", "threading.Thread(target=lambda: demo.decref_later(Noted())).start()"):
            self.assertEqual(run_python("""
    import threading
    import freelane_demo as demo
    class Noted:
        def __del__(self):
            print("dead")
    """ + program).strip(), "dead")

    def test_the_interpreters_end_drops_what_destructors_queue(self):
        output = run_python("""
    import freelane_demo as demo
    class Chained:
        def __init__(self, left):
            self.left = left
        def __del__(self):
            print(self.left)
            if self.left > 0:
                demo.decref_later(Chained(self.left - 1))
    demo.decref_later(Chained(5))
        """)
        self.assertEqual(output.split(), ["5", "4", "3", "2", "1", "0"])

    def test_the_end_is_no_longer_than_some_seconds(self):
        """However many slow ones wait, and while they come faster than they are dropped."""
        for program in ("", """
    def work():
        while True:
            more = make_without_owner(Slow, 10)
            while more:
                demo.decref_later(more.pop())
    threading.Thread(target=work, daemon=True).start()
    time.sleep(0.5)
        """):
            start = time.monotonic()
            run_python("""
    import threading, time
    import freelane_demo as demo
    from test_later import make_without_owner
    class Slow:
        def __del__(self):
            time.sleep(0.02)
    items = make_without_owner(Slow, 3000)
    while items:
        demo.decref_later(items.pop())
    """ + program)
            self.assertGreater(time.monotonic() - start, 1)
            self.assertLess(time.monotonic() - start, 40)  # and not 60, also where other things go on

    def test_the_end_waits_for_no_idle_helper(self):
        output = run_python("""
    import atexit, time
    import freelane_demo as demo
    atexit.register(lambda: print(time.monotonic() - start < 0.5))
    demo.decref_later(object())
    demo.run_later()
    start = time.monotonic()
        """)
        self.assertEqual(output.strip(), "True")

    def test_the_end_while_a_helper_drops(self):
        output = run_python("""
    import threading, time
    import freelane_demo as demo
    from test_later import make_elsewhere
    begun = threading.Event()
    class Slow:
        def __del__(self):
            begun.set()
            time.sleep(0.3)
            print("dead")
    def work():
        items = make_elsewhere(Slow)
        demo.decref_later(items.pop())
        begun.wait()
    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
        """)
        self.assertEqual(output.strip(), "dead")

    @unittest.skipIf(TSAN or ASAN, "its memory cannot be bounded")
    def test_what_was_reserved_stays_until_it_is_used(self):
        run_python(REFUSE + """
    import gc
    class Runs:
        def __del__(self):
            demo.later_reserve(1)
            demo.decref_later(object())
            demo.run_later()
    def make_garbage():
        cycle = [Runs()]
        cycle.append(cycle)
    demo.later_reserve(room + 1)
    for _ in range(3):
        make_garbage()
        gc.collect()
        demo.run_later()
    demo.decref_later(item)
    gc.collect()
    refuse(1 << 20)
    demo.decref_later(item, room - 4)
    assert demo.stats()["leaked_references"] == 0
    with_room = address_space()
    while demo.stats()["later_references"] > 0:
        demo.run_later()
    demo.run_later()  # a helper may have dropped the last ones
    # It is used, and its 8 MiB have been given back. The interpreter may have mapped some pages meanwhile.
    assert address_space() <= with_room - 7 * room, (address_space(), with_room)
        """)

    @unittest.skipIf(TSAN or ASAN, "its memory cannot be bounded")
    def test_where_memory_is_refused_references_leak_and_are_counted(self):
        run_python(REFUSE + """
    demo.later_reserve(room)
    before = sys.getrefcount(item)
    refuse(8 << 20)
    try:
        demo.later_reserve(2 * room)
    except MemoryError:
        pass
    else:
        raise AssertionError("it was to be refused")
    demo.decref_later(item, room)
    assert demo.stats()["leaked_references"] == 0
    demo.decref_later(item, 3)
    assert demo.stats()["leaked_references"] == 3
    demo.run_later()
    assert sys.getrefcount(item) == before + 3
        """)


class Fork(unittest.TestCase):
    @unittest.skipIf(TSAN, "a forked child starts threads")
    def test_the_child_has_those_of_all_threads(self):
        deaths = []
        queued, done = threading.Event(), threading.Event()

        def work():
            items = make_elsewhere(lambda: Noted(deaths))
            demo.decref_later(items.pop())
            queued.set()
            done.wait()

        def child():
            demo.run_later()
            self.assertEqual(len(deaths), 2)
            queue_one(deaths)
            demo.wait_in_c(0.5)
            self.assertEqual(len(deaths), 3)

        worker = threading.Thread(target=work)
        worker.start()
        queued.wait()
        queue_one(deaths)
        run_in_child(child)
        demo.run_later()
        until(lambda: len(deaths) == 2)
        done.set()
        worker.join()

    def test_a_helper_is_no_thread_of_the_program(self):
        queue_one([])
        demo.run_later()
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            os._exit(0)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)

    def test_a_helper_waits_for_what_the_forking_thread_holds(self):
        run_python("""
    import os, threading
    import freelane_demo as demo
    from test_later import make_elsewhere, until
    lock, begun, dead = threading.Lock(), threading.Event(), threading.Event()
    class Locks:
        def __del__(self):
            begun.set()
            with lock:
                dead.set()
    def work():
        items = make_elsewhere(Locks)
        demo.decref_later(items.pop())
        begun.wait()
        pid = os.fork()
        if pid == 0:
            os._exit(demo.run_later())
        assert os.waitpid(pid, 0)[1] == 0
        lock.release()
        dead.wait()
    lock.acquire()
    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
        """, PYTHONWARNINGS="ignore", timeout=60)

    @unittest.skipIf(TSAN, "a forked child starts threads")
    def test_a_helper_forks(self):
        run_python("""
    import os, threading
    import freelane_demo as demo
    from test_later import make_elsewhere
    codes = []
    class Forks:
        def __del__(self):
            pid = os.fork()
            if pid == 0:
                demo.decref_later(object())
                demo.run_later()
                os._exit(7)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    def work():
        items = make_elsewhere(Forks)
        demo.decref_later(items.pop())
        while not codes:
            demo.wait_in_c(0.01)
    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    assert codes == [7], codes
        """, PYTHONWARNINGS="ignore")


if __name__ == "__main__":
    unittest.main()
