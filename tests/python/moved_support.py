# SPDX-License-Identifier: MIT
"""What the tests share that move an extension which other people released."""

import os
import pathlib
import re
import shutil
import sys
import tempfile
import unittest

from demo_support import run_command, run_python
from moved import HERE, ROOT, Unavailable, compile_freelane, find_tools

SETTINGS = """[pytest]
addopts = -p pytest_codspeed -p no:cacheprovider --quiet --strict-markers
filterwarnings = error
markers = leaks: of memory
xfail_strict = true
"""


class MovedTestCase(unittest.TestCase):
    """Has the package `release` in self.folder as `unchanged` and as `moved`."""

    release = None

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        try:
            cls.pytest = pathlib.Path(find_tools("pytest")) / "python"
            cls.source = cls.release.find()
            freelane = compile_freelane(cls.folder)
            cls.release.build(cls.source, cls.folder / "unchanged")
            cls.release.build(cls.source, cls.folder / "moved", freelane)
        except Unavailable as reason:
            raise unittest.SkipTest(str(reason))
        shutil.copytree(cls.source / "tests", cls.folder / "tests")
        (cls.folder / "pytest.ini").write_text(SETTINGS, encoding="utf-8")

    def own_tests(self, variant, chosen, threads, without):
        """Runs those that the expression chooses, without the files named, and returns how many have passed."""
        path = [self.folder / variant, HERE / "plugins", self.pytest]
        command = [sys.executable, "-X", "faulthandler", "-m", "pytest", "-c", self.folder / "pytest.ini", "-k", chosen]
        command += [f"--ignore={self.folder / 'tests' / file}.py" for file in without]
        output = run_command(
            [*command, self.folder / "tests"],
            timeout=900,
            PYTHONPATH=os.pathsep.join(map(str, path)),
            PYTHONDONTWRITEBYTECODE="1",
            FREELANE_TEST_THREADS=str(threads),
        )
        return int(re.search(r"(\d+) passed", output)[1])

    def compare_own_tests(self, chosen, threads, least, without=()):
        """All pass, and as many with the moved package; at least so many."""
        passed = {variant: self.own_tests(variant, chosen, threads, without) for variant in ("unchanged", "moved")}
        self.assertGreater(passed["moved"], least)
        self.assertEqual(passed["moved"], passed["unchanged"])

    def python(self, program):
        """Runs a program that has the names of the moved package, `told`: what Freelane holds of a type, and
        `in_threads`: calls something with each of the arguments, in a thread of its own."""
        prologue = f"""
import gc, sys, threading
sys.path[:0] = [{str(self.folder / "moved")!r}, {str(ROOT / "src/python/package")!r}]
import freelane
from {self.release.package} import *

def told(name):
    (row,) = [row for copy in freelane.copies() for row in copy["types"] if row["type"] == name]
    return row

def in_threads(target, arguments):
    threads = [threading.Thread(target=target, args=(argument,)) for argument in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
        return run_python(prologue + program)
