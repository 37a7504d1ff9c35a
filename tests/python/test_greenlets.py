# SPDX-License-Identifier: MIT
"""The package greenlet, as Debian has it. Greenlets run on the thread's own stack, from which the parts of those that do
not run are copied away. So a deallocation may begin in one, and end much later, or never."""

import importlib
import pathlib
import shutil
import sys
import sysconfig
import tempfile
import threading
import time
import unittest

import freelane_demo as demo
from demo_support import TestCase, run_command, run_threads, types
from extension_support import SUFFIX, tool_environment
from test_nesting import DEEP_KINDS, KIB, Held, chain, run_in_thread

greenlet = None


def setUpModule():
    """Compiles it for this interpreter."""
    global greenlet
    source = pathlib.Path(tool_environment("greenlet")["PYTHONPATH"]) / "greenlet"
    if not shutil.which("g++"):
        raise unittest.SkipTest("no C++ compiler")
    folder = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(folder.cleanup)
    package = pathlib.Path(folder.name) / "greenlet"
    package.mkdir()
    for file in source.glob("*.py"):
        shutil.copy(file, package)
    flags = ["-std=c++17", "-O1", "-fPIC", "-w", "-isystem", sysconfig.get_path("include"), "-shared"]
    run_command(["g++", *flags, source / "greenlet.cpp", "-o", package / f"_greenlet{SUFFIX}"])
    sys.path.insert(0, folder.name)
    greenlet = importlib.import_module("greenlet")


class Away:
    """Leaves the greenlet that it dies in, until that is resumed."""

    def __del__(self):
        try:
            greenlet.getcurrent().parent.switch()
        except greenlet.GreenletExit:
            pass


def drop_one():
    demo.Pair()


class Greenlets(TestCase):
    def park(self, count, make):
        """Leaves so many destructors under way, each in a greenlet of its own, and returns these."""

        def drop():
            one = make(Away())
            del one

        parked = [greenlet.greenlet(drop) for _ in range(count)]
        for one in parked:
            one.switch()
            self.assertFalse(one.dead)
        return parked

    def finish(self, parked):
        for one in parked:
            while not one.dead:
                one.switch()

    def test_parked_destructors_hold_nothing_up(self):
        for type_ in types(DEEP_KINDS):
            parked = self.park(200, type_)
            for _ in range(100):
                type_(Held())
                self.assertEqual(Held.alive, 0)
                greenlet.greenlet(type_).switch(Held())
                self.assertEqual(Held.alive, 0)
            held = [demo.Pair(chain([type_], 100000), Held())]
            greenlet.greenlet(held.clear).switch()
            self.assertEqual(Held.alive, 0)
            self.assertFalse(any(one.dead for one in parked))
            self.finish(parked)

    def test_a_chain_whose_destructors_switch(self):
        """Each greenlet goes on with its part of the chain, in any order."""
        for type_ in types(["Pair", "GCPair"]):
            one = demo.Pair(None, Held())
            for i in range(20000):
                one = type_(Away() if i % 1000 == 0 else None, one)
            held = [one]
            del one
            first = greenlet.greenlet(held.clear)
            first.switch()
            switches = 1
            while not first.dead:
                type_(Held())
                self.assertEqual(Held.alive, 1, type_)
                first.switch()
                switches += 1
            type_()
            self.assertGreaterEqual(switches, 20)
            self.assertEqual(Held.alive, 0, type_)

    def test_what_waits_in_one_dies_in_another(self):
        """The list of those that wait is the thread's, and not a greenlet's."""

        def drop():
            for type_ in types(DEEP_KINDS, [""]):
                held = [type_(Held()) for _ in range(10)]

                def far_down():
                    demo.call_far_down(held.clear, 128 * KIB)
                    greenlet.getcurrent().parent.switch()

                parked = greenlet.greenlet(far_down)
                parked.switch()
                self.assertEqual(Held.alive, 10, type_)
                greenlet.greenlet(drop_one).switch()
                self.assertEqual(Held.alive, 0, type_)
                self.finish([parked])

        run_in_thread(drop, 1024 * KIB)

    def test_one_that_leaves_while_it_destroys_what_waits(self):
        """It holds up what lies deeper in the stack for a tenth of a second at most, and nothing else."""

        def drop():
            for type_ in types(["Pair", "GCPair", "Label"], [""]):
                # A list drops its last item first, and what waits last dies first.
                held = [type_(Away())] + [type_(Held()) for _ in range(10)]
                demo.call_far_down(held.clear, 128 * KIB)
                self.assertEqual(Held.alive, 10, type_)
                parked = greenlet.greenlet(drop_one)
                parked.switch()
                self.assertFalse(parked.dead, type_)
                self.assertEqual(Held.alive, 10, type_)
                until = time.monotonic() + 5
                while Held.alive and time.monotonic() < until:
                    greenlet.greenlet(drop_one).switch()
                self.assertEqual(Held.alive, 0, type_)
                self.finish([parked])

        run_in_thread(drop, 1024 * KIB)

    def test_one_that_is_killed_amid_a_chain(self):
        for type_ in types(["Pair", "GCPair", "Label", "GCLabel"]):
            for _ in range(20):
                one = type_(Held())
                held = [demo.Pair(Away(), chain([type_], 100)), one]
                del one
                killed = greenlet.greenlet(held.clear)
                killed.switch()
                self.assertFalse(killed.dead)
                del killed  # raises GreenletExit in it, which ends Away's destructor
                type_()
                self.assertEqual(Held.alive, 0, type_)

    def test_in_threads_side_by_side(self):
        ends = []

        def work():
            for _ in range(20):
                for type_ in types(["Pair", "GCPair", "Label"], [""]):
                    parked = self.park(5, type_)
                    held = [chain([type_], 2000)]
                    greenlet.greenlet(held.clear).switch()
                    self.finish(parked)
            ends.append(threading.get_ident())

        run_threads(4, work)
        self.assertEqual(len(ends), 4)


if __name__ == "__main__":
    unittest.main()
