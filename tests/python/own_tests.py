# SPDX-License-Identifier: MIT
"""The interpreter's own tests, in a process in which the demonstration's types are in use.

Before and after each test case objects of every type are created and dropped, here and in another thread; others are
alive all the while. Interpreters that a test starts as child processes do the same when they start, without another
thread (after the first one, free-threaded 3.13 finalizes less at exit), and hold objects when they exit
(site/sitecustomize.py).

usage: own_tests.py [test ...]
"""

import os
import pathlib
import sys
import unittest

import traffic

TESTS = ["test_gc", "test_weakref", "test_threading", "test_capi.test_mem"]
SITE = pathlib.Path(__file__).resolve().parent / "site"


def with_traffic(run):
    def run_with_traffic(self, result=None):
        traffic.burst(elsewhere=True)
        try:
            return run(self, result)
        finally:
            traffic.burst(elsewhere=True)

    return run_with_traffic


def reach_children():
    """Child processes start with the path of this one, and with sitecustomize."""
    from test.support import script_helper

    os.environ["PYTHONPATH"] = os.pathsep.join([str(SITE), os.environ["PYTHONPATH"]])
    script_helper.interpreter_requires_environment = lambda: True
    _, output, _ = script_helper.assert_python_ok("-c", "import traffic; print(len(traffic.alive))")
    assert int(output) > 0, output


def main(tests):
    from test.libregrtest.main import main as regrtest

    reach_children()
    traffic.keep()
    unittest.TestCase.run = with_traffic(unittest.TestCase.run)
    sys.argv[1:] = []
    try:
        regrtest(tests=tests, fail_env_changed=True, verbose3=True)
    finally:
        print(f"{traffic.made} objects of {', '.join(traffic.MAKERS)}")


if __name__ == "__main__":
    main(sys.argv[1:] or TESTS)
