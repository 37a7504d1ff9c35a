# SPDX-License-Identifier: MIT
"""Stops of the world that are asked for where nobody collects: who serves the request, forks, the interpreter's end."""

import gc
import threading
import time
import unittest

import freelane_demo as demo
from demo_support import FREE_THREADED, TSAN, TestCase, few, run_python

# More slabs than the bound on free ones, in each of the phases. Checked builds have a lower bound.
OBJECTS = few(100000, 20000)
PHASES = 8


def phases():
    """Objects of other sizes each time, all of which die."""
    for i in range(PHASES):
        many = [demo.Vector(2 * i + 24) for _ in range(OBJECTS)]
        del many


def phase_bytes():
    """The largest of them."""
    return OBJECTS * demo.Vector(2 * PHASES + 24).__sizeof__()


@unittest.skipIf(not FREE_THREADED, "with the GIL the heap trims itself")
class Stops(TestCase):
    def setUp(self):
        super().setUp()
        gc.disable()
        self.addCleanup(gc.enable)
        self.before = demo.stats()

    def check_served(self):
        stats = demo.stats()
        self.assertGreater(stats["stops"], self.before["stops"])
        self.assertEqual(stats["collections"], self.before["collections"])
        self.assertLess(stats["slab_bytes"], 3 * phase_bytes())

    def test_the_main_thread_serves(self):
        phases()
        self.check_served()

    def test_a_helper_serves_where_the_main_thread_waits(self):
        served = []

        def work():
            phases()
            time.sleep(0.1)
            phases()
            time.sleep(0.1)
            served.append(demo.stats()["stops"] - self.before["stops"])

        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        self.assertGreater(served[0], 0)
        self.check_served()

    def test_at_most_one_for_each_bound_of_new_slabs(self):
        kept = []
        for _ in range(PHASES):
            many = [demo.Vector(24) for _ in range(OBJECTS)]
            kept.append(many.pop())
            del many
        self.assertLessEqual(demo.stats()["stops"] - self.before["stops"], PHASES * phase_bytes() // (1 << 20))

    def test_not_without_free_memory(self):
        kept = [demo.Vector(24) for _ in range(2 * OBJECTS)]
        self.assertEqual(demo.stats()["stops"], self.before["stops"])
        del kept

    def test_with_threads_at_work(self):
        threads = [threading.Thread(target=phases) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.check_served()


PROGRAM = """
    import gc, os, sys, threading, time
    import freelane_demo as demo
    from test_pace import phases
    gc.disable()

    def work():
        while True:
            phases()

    def start(count):
        for _ in range(count):
            threading.Thread(target=work, daemon=True).start()
"""


@unittest.skipIf(not FREE_THREADED, "with the GIL the heap trims itself")
class Process(unittest.TestCase):
    @unittest.skipIf(TSAN, "a forked child starts threads")
    def test_forks_while_requests_are_made_and_served(self):
        run_python(PROGRAM + """
    start(2)
    for _ in range(5):
        time.sleep(0.07)
        pid = os.fork()
        if pid == 0:
            before = demo.stats()["stops"]
            worker = threading.Thread(target=lambda: (phases(), os._exit(demo.stats()["stops"] > before)))
            worker.start()
            worker.join()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    os._exit(0)
        """, FREELANE_PYTHON_OPTIONS="reserve=256M")

    @unittest.skipIf(TSAN, "the interpreter itself frees what its daemon threads still look at")
    def test_the_interpreter_ends_meanwhile(self):
        for i in range(6):
            run_python(PROGRAM + f"""
    start(2)
    threading.Event().wait({0.05 * i})
            """)

    def test_the_interpreter_ends_while_a_helper_serves(self):
        run_python(PROGRAM + """
    def work():
        demo.delay_others(0.3)
        while demo.delayed() == 0:
            phases()

    demo.delay_others(0)
    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
        """, timeout=60)

    def test_at_exit_there_is_nothing_to_wait_for(self):
        run_python(PROGRAM + """
    import atexit
    atexit.register(phases)
    phases()
        """)


if __name__ == "__main__":
    unittest.main()
