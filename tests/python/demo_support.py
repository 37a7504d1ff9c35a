# SPDX-License-Identifier: MIT
"""What the tests of the demonstration's types share."""

import gc
import os
import subprocess
import sys
import sysconfig
import textwrap
import threading
import unittest
import warnings

import freelane_demo as demo

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
TSAN = "-fsanitize=thread" in (sysconfig.get_config_var("PY_CFLAGS") or "")
ASAN = "libasan" in os.environ.get("LD_PRELOAD", "")

KINDS = ["Point", "Pair", "GCPair", "WeakPair", "Handle", "GCHandle", "Label", "GCLabel", "Node", "Table"]
GC_KINDS = [kind for kind in KINDS if kind.startswith("GC") or kind in ("Node", "Table", "WeakPair")]
PLAIN_KINDS = [kind for kind in KINDS if kind not in GC_KINDS]
FREELANE = ["", "Static", "Immortal"]
TWINS = ["Default", "DefaultStatic", "Freelist", "FreelistStatic"]


def types(kinds=KINDS, variants=FREELANE):
    names = [variant + kind for kind in kinds for variant in variants]
    return [getattr(demo, name) for name in names if hasattr(demo, name)]


def references(object_):
    """How many references there are. Those of objects to their type count in their thread (free-threaded 3.14) until a
    collection, which empties this thread's caches too."""
    gc.collect()
    return sys.getrefcount(object_)


def few(many, under_tsan):
    """How often to do something: less under the sanitizer, which is slow."""
    return under_tsan if TSAN else many


def resident_bytes():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def run_threads(count, target, *args):
    """Runs target(*args) in so many threads; what one of them raises is raised here."""
    raised = []
    barrier = threading.Barrier(count)

    def run():
        try:
            barrier.wait()
            target(*args)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def run_in_child(work):
    """Runs it in a forked child, which exits without a word if all is well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside other threads
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    if code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise AssertionError(f"a child has ended with {code}")


def run_command(command, returncode=0, timeout=300, **environment):
    """Runs it and returns its output."""
    result = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=timeout,
        env={**os.environ, **environment},
    )
    if result.returncode != returncode:
        raise AssertionError(f"exit code {result.returncode}\n{result.stdout}")
    return result.stdout


def run_python(program, **options):
    """Runs a program in a process of its own and returns its output."""
    command = [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(program)]
    return run_command(command, PYTHONPATH=os.pathsep.join(sys.path), **options)


class TestCase(unittest.TestCase):
    """After each test the heap is whole and nothing is left of it."""

    def setUp(self):
        gc.collect()
        self.live_before = demo.stats()["live_bytes"]

    def tearDown(self):
        gc.collect()
        demo.check()
        self.assertEqual(demo.stats()["live_bytes"], self.live_before)
