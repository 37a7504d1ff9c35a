# SPDX-License-Identifier: MIT
"""Making types ready runs code of others: import hooks, which may import the same extension, wait for another thread, or
be under way when a process forks. The demonstration makes its types ready where its module is executed."""

import unittest

from demo_support import TSAN, run_python

# `load` makes a module object of the demonstration beside others. `hooked` calls a function where an import of a name begins.
PROGRAM = """
import builtins, contextlib, gc, importlib.util, os, signal, sys, threading, warnings

found = importlib.util.find_spec("freelane_demo")

def load():
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module

@contextlib.contextmanager
def hooked(wanted, function):
    import_as_before = builtins.__import__

    def import_(name, *args, **kwargs):
        if name == wanted:
            function()
        return import_as_before(name, *args, **kwargs)

    builtins.__import__ = import_
    try:
        yield
    finally:
        builtins.__import__ = import_as_before

def check(*modules):
    for module in modules:
        many = [getattr(module, name)() for name in ("Point", "GCPair", "Label", "Handle") for _ in range(100)]
        del many
    gc.collect()
    gc.collect()
    assert len(sys._freelane) == 1, sys._freelane
    names = [row["type"].__name__ for row in sys._freelane[0]()["types"]]
    assert names.count("Point") == len(modules), names
    assert names.count("StaticPoint") == 1, names
    for module in modules:
        module.check()

signal.alarm(60)
"""

# A thread loads, and waits inside of an import hook for the event `go_on`. Its module comes into `modules`.
WAITING = """
inside, go_on = threading.Event(), threading.Event()
modules = []

def wait():
    if threading.current_thread() is thread:
        inside.set()
        go_on.wait()

thread = threading.Thread(target=lambda: modules.append(load()))
"""

# What the first type of an extension imports: for collections, forks, the interpreter's end, and the report.
NAMES = ["gc", "os", "atexit", "sys"]


class ATypeIsMadeReady(unittest.TestCase):
    def test_inside_of_an_import_hook(self):
        """Also where another type of the same extension is being made ready."""
        for name in NAMES:
            with self.subTest(name):
                run_python(
                    PROGRAM
                    + f"""
inner = []
with hooked({name!r}, lambda: inner or (inner.append(None), inner.append(load()))):
    outer = load()
check(outer, inner[1])
"""
                )

    def test_while_an_import_hook_of_another_thread_waits_for_it(self):
        for name in NAMES:
            with self.subTest(name):
                run_python(
                    PROGRAM
                    + WAITING
                    + f"""
with hooked({name!r}, wait):
    thread.start()
    inside.wait()
    modules.append(load())
    go_on.set()
    thread.join()
check(*modules)
"""
                )

    @unittest.skipIf(TSAN, "ThreadSanitizer takes no forks with threads")
    def test_in_the_child_of_a_fork_while_a_thread_of_the_parent_was_at_it(self):
        for name in NAMES:
            with self.subTest(name):
                run_python(
                    PROGRAM
                    + WAITING
                    + f"""
with hooked({name!r}, wait):
    thread.start()
    inside.wait()
warnings.simplefilter("ignore")
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    module = load()
    module.Point(1, 2)
    gc.collect()
    module.check()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
go_on.set()
thread.join()
check(*modules)
"""
                )

    def test_by_several_threads_at_once(self):
        run_python(
            PROGRAM
            + """
modules, barrier = [], threading.Barrier(4)

def work():
    barrier.wait()
    modules.append(load())

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
check(*modules)
"""
        )


if __name__ == "__main__":
    unittest.main()
