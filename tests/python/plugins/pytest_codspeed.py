# SPDX-License-Identifier: MIT
"""In the place of a plugin of pytest by this name, which multidict's own tests ask for: what is to be timed runs once.

With FREELANE_TEST_THREADS=N each test function runs in so many threads at once, each with the objects that it makes."""

import os
import threading

import pytest

THREADS = int(os.environ.get("FREELANE_TEST_THREADS", "1"))


class BenchmarkFixture:
    def __call__(self, run):
        run()
        return run


@pytest.fixture
def benchmark():
    return BenchmarkFixture()


def pytest_pyfunc_call(pyfuncitem):
    if THREADS == 1:
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    barrier = threading.Barrier(THREADS)
    raised = []

    def run():
        barrier.wait()
        try:
            pyfuncitem.obj(**arguments)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]
    return True
