# SPDX-License-Identifier: MIT
"""The interpreter's own tests, in a process in which the demonstration's types are in use.

Objects of every type are created and dropped, some of them in cycles, with weak references and in other threads,
before and after each test case, and some stay alive throughout. Interpreters that a test starts as child processes
do the same when they start and hold objects when they exit (see site/sitecustomize.py).

usage: own_tests.py [test ...]
"""

import os
import pathlib
import sys
import unittest

TESTS = ["test_gc", "test_weakref", "test_threading", "test_capi.test_mem"]
SITE = pathlib.Path(__file__).resolve().parent / "site"


def with_traffic(run, traffic):
    """TestCase.run with objects created and dropped before and after the test."""

    def run_with_traffic(self, result=None):
        traffic.burst()
        try:
            return run(self, result)
        finally:
            traffic.burst()

    return run_with_traffic


def main(tests):
    import traffic

    sys.path.insert(0, str(SITE))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(SITE), os.environ.get("PYTHONPATH", "")])

    from test.libregrtest.main import main as regrtest
    from test.support import script_helper

    # Child processes are to see PYTHONPATH.
    script_helper.interpreter_requires_environment = lambda: True

    traffic.burst()
    unittest.TestCase.run = with_traffic(unittest.TestCase.run, traffic)
    sys.argv[1:] = []
    try:
        regrtest(tests=tests or TESTS, fail_env_changed=True, verbose3=True)
    finally:
        traffic.report()


if __name__ == "__main__":
    main(sys.argv[1:])
