# SPDX-License-Identifier: MIT
"""The examples wheel-setuptools/ and wheel-meson/: extensions that carry Freelane's source, without CMake and liburcu.

Both are built as wheels, installed beside each other and used in one process.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

from extension_support import HERE, ROOT, tool_environment

EXAMPLES = ["setuptools", "meson"]

# What runs with both copies in the process.
TOGETHER = """
import gc, queue, sys, threading
import vector_meson, vector_setuptools

COPIES = vector_meson, vector_setuptools
THREADS = 4
ROUNDS = 2000


def live():
    gc.collect()
    return [copy.live_bytes() for copy in COPIES]


def separate():
    for copy, other in (COPIES, COPIES[::-1]):
        before = other.live_bytes()
        vectors = [copy.Vector(i, -i) for i in range(1000)]
        assert copy.live_bytes() >= 1000 * copy.Vector.__basicsize__, copy
        assert other.live_bytes() == before, other
        assert all((vector.x, vector.y) == (i, -i) for i, vector in enumerate(vectors))
        assert type(vectors[0]) is copy.Vector and not isinstance(vectors[0], other.Vector)
        del vectors


def mixed(inbox, outbox):
    # Boxes of one copy hold vectors of the other; a third of them in cycles; most die in the thread that gets them.
    for i in range(ROUNDS):
        ours, theirs = COPIES[:: 1 if i % 2 else -1]
        box = ours.Box(theirs.Box(theirs.Vector(i, 1)))
        if i % 3 == 0:
            box.value.value = box
        outbox.put(box)
        if inbox.qsize() > 10:
            inbox.get().value = ours.Vector(1, i)
        if i % 500 == 0:
            gc.collect()


def together():
    queues = [queue.SimpleQueue() for _ in range(THREADS)]
    threads = [
        threading.Thread(target=mixed, args=(queues[i], queues[(i + 1) % THREADS])) for i in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


assert live() == [0, 0], live()
separate()
assert live() == [0, 0], live()
together()
assert live() == [0, 0], live()
for copy in COPIES:
    copy.check()
if "t" in sys.abiflags:
    assert not sys._is_gil_enabled()
alive_at_exit = [copy.Box(copy.Vector()) for copy in COPIES]
"""


def run(command, **options):
    """Runs it and returns its output; its failure is the test's."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    if result.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}\n{result.stdout}")
    return result.stdout


def wheel_environment():
    """The environment in which pip, setuptools and meson are at hand. What could lead a compiler or meson to another copy
    of Freelane, or to liburcu, is out of sight."""
    return {
        **tool_environment(),
        "PKG_CONFIG_LIBDIR": "/nonexistent",
        "PIP_NO_INDEX": "1",
        "PIP_NO_INPUT": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
    }


class Wheels(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.environment = wheel_environment()
        cls.scratch = pathlib.Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.scratch)
        cls.site = cls.scratch / "site"
        for example in EXAMPLES:
            cls.install(example)

    @classmethod
    def carry(cls, example, tree):
        """What the author of an extension has: the example, and the listed files."""
        shutil.copytree(HERE / f"wheel-{example}", tree)
        shutil.copy(HERE / "vector.c", tree)
        listed = (ROOT / "src/python/sources.txt").read_text(encoding="utf-8").split()
        for file in ["src/python/sources.txt", *listed]:
            (tree / "freelane" / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, tree / "freelane" / file)

    @classmethod
    def install(cls, example):
        """What the author does: builds a wheel, installs it."""
        tree = cls.scratch / example
        cls.carry(example, tree)
        pip = [sys.executable, "-m", "pip"]
        wheels = cls.scratch / "wheels"
        run([*pip, "wheel", "--no-build-isolation", "--no-deps", "-w", wheels, tree], env=cls.environment)
        (wheel,) = wheels.glob(f"vector_{example}-*.whl")
        run([*pip, "install", "--no-deps", "--target", cls.site, wheel], env=cls.environment)

    def python(self, program):
        return run(
            [sys.executable, "-X", "faulthandler", "-W", "error", "-c", program],
            env={**os.environ, "PYTHONPATH": str(self.site)},
        )

    def test_a_wheel_needs_no_library_but_the_systems(self):
        for extension in self.site.glob("vector_*.so"):
            with self.subTest(extension.name):
                needed = run(["readelf", "--dynamic", extension])
                self.assertNotRegex(needed, r"NEEDED.*(urcu|freelane)")

    def test_a_wheel_shows_its_init_function_only(self):
        for extension in self.site.glob("vector_*.so"):
            with self.subTest(extension.name):
                symbols = run(["nm", "--dynamic", "--defined-only", "--format=just-symbols", extension]).split()
                self.assertEqual(symbols, [f"PyInit_{extension.name.split('.')[0]}"])

    def test_a_source_distribution_has_what_a_wheel_needs(self):
        """Built from the example, unpacked elsewhere; a wheel is built of that, installed and used."""
        tree, elsewhere = self.scratch / "author", self.scratch / "user"
        self.carry("setuptools", tree)
        build = "import setuptools.build_meta as build; print(build.build_sdist('dist'))"
        name = run([sys.executable, "-c", build], env=self.environment, cwd=tree).split()[-1]
        shutil.unpack_archive(tree / "dist" / name, elsewhere, filter="data")
        shutil.rmtree(tree)
        (unpacked,) = elsewhere.iterdir()
        pip = [sys.executable, "-m", "pip"]
        command = [*pip, "wheel", "--no-build-isolation", "--no-deps", "-w", elsewhere / "wheels", unpacked]
        run(command, env=self.environment)
        (wheel,) = (elsewhere / "wheels").iterdir()
        site = elsewhere / "site"
        run([*pip, "install", "--no-deps", "--target", site, wheel], env=self.environment)
        program = "import vector_setuptools as v; assert v.Vector(1, 2).y == 2; v.check(); print(v.__file__)"
        where = run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(site)})
        self.assertIn(str(site), where)

    def test_two_copies_live_in_one_process(self):
        self.python(TOGETHER)


if __name__ == "__main__":
    unittest.main()
