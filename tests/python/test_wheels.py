# SPDX-License-Identifier: MIT
"""The Python package freelane, and the examples wheel-*/: extensions that compile Freelane's source into themselves, from
that package, without liburcu.

The package is installed from the source tree that make.py lays out. All examples are built as wheels with it, installed
beside each other and used in one process, which has no such package.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

from extension_support import HERE, ROOT, FolderTestCase, carried, tool_environment

EXAMPLES = ["setuptools", "meson", "scikit-build"]

# What runs with all copies in the process.
TOGETHER = """
import gc, queue, sys, threading
import vector_meson, vector_scikit_build, vector_setuptools

COPIES = vector_meson, vector_scikit_build, vector_setuptools
THREADS = 4
ROUNDS = 2000


def live():
    gc.collect()
    return [copy.live_bytes() for copy in COPIES]


def separate():
    for copy, other in zip(COPIES, COPIES[1:] + COPIES[:1]):
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
        ours, theirs = COPIES[i % 3], COPIES[(i + 1) % 3]
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


assert live() == [0, 0, 0], live()
separate()
assert live() == [0, 0, 0], live()
together()
assert live() == [0, 0, 0], live()
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
    """The environment in which pip and what builds wheels are at hand. What could lead a compiler or meson to another copy
    of Freelane, or to liburcu, is out of sight."""
    return {
        **tool_environment(),
        "PKG_CONFIG_LIBDIR": "/nonexistent",
        "PIP_NO_INDEX": "1",
        "PIP_NO_INPUT": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        # Quickly: the tests are of what is built, not of how good the code is.
        "CFLAGS": "-g0 -O0",
        "PIP_NO_COMPILE": "1",
    }


class Wheels(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if sys.version_info >= (3, 15):
            raise unittest.SkipTest("Debian's pip wants typing.no_type_check_decorator, which 3.15 has no more")
        cls.environment = wheel_environment()
        cls.scratch = pathlib.Path(tempfile.mkdtemp(prefix="with spaces "))
        cls.addClassCleanup(shutil.rmtree, cls.scratch)
        cls.site = cls.scratch / "site"
        cls.package = cls.install_package()
        cls.environment["PYTHONPATH"] += f"{os.pathsep}{cls.package}"
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            wheels = list(pool.map(cls.build, EXAMPLES))
        for wheel in wheels:
            cls.pip("install", "--no-deps", "--target", cls.site, wheel)

    @classmethod
    def pip(cls, *arguments):
        return run([sys.executable, "-m", "pip", *arguments], env=cls.environment)

    @classmethod
    def install_package(cls):
        """Lays out the package and installs it from its source tree."""
        run([sys.executable, "-B", ROOT / "src/python/package/make.py", cls.scratch / "package"])
        folder = cls.scratch / "package-site"
        cls.pip("install", "--no-build-isolation", "--no-deps", "--target", folder, cls.scratch / "package/tree")
        return folder

    @classmethod
    def carry(cls, example, tree):
        """What the author of an extension has."""
        shutil.copytree(HERE / f"wheel-{example}", tree)
        shutil.copy(HERE / "vector.c", tree)

    @classmethod
    def build(cls, example):
        """What the author does: builds a wheel."""
        tree, wheels = cls.scratch / example, cls.scratch / f"wheels-{example}"
        cls.carry(example, tree)
        cls.pip("wheel", "--no-build-isolation", "--no-deps", "-w", wheels, tree)
        (wheel,) = wheels.glob("*.whl")
        return wheel

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

    def test_a_wheel_needs_no_function_newer_than_manylinux2014(self):
        """Whose C library is glibc 2.17. What later came from its other libraries into libc got a newer version there."""
        moved = re.compile(r"(pthread|sem)_.*|dl(sym|open|close|error|addr)")
        for extension in self.site.glob("vector_*.so"):
            with self.subTest(extension.name):
                symbols = run(["nm", "--dynamic", "--undefined-only", extension])
                found = re.findall(r"^\s*U (\w+)@GLIBC_2\.(\d+)", symbols, re.MULTILINE)
                self.assertGreater(len(found), 20, symbols)
                newer = [name for name, minor in found if int(minor) > 17 and not moved.fullmatch(name)]
                self.assertEqual(newer, [])

    def test_a_source_distribution_has_what_a_wheel_needs(self):
        """Built from the example, unpacked elsewhere; a wheel is built of that, installed and used."""
        tree, elsewhere = self.scratch / "author", self.scratch / "user"
        self.carry("setuptools", tree)
        build = "import setuptools.build_meta as build; print(build.build_sdist('dist'))"
        name = run([sys.executable, "-c", build], env=self.environment, cwd=tree).split()[-1]
        shutil.unpack_archive(tree / "dist" / name, elsewhere, filter="data")
        shutil.rmtree(tree)
        (unpacked,) = elsewhere.iterdir()
        self.pip("wheel", "--no-build-isolation", "--no-deps", "-w", elsewhere / "wheels", unpacked)
        (wheel,) = (elsewhere / "wheels").iterdir()
        site = elsewhere / "site"
        self.pip("install", "--no-deps", "--target", site, wheel)
        program = "import vector_setuptools as v; assert v.Vector(1, 2).y == 2; v.check(); print(v.__file__)"
        where = run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(site)})
        self.assertIn(str(site), where)

    def test_three_copies_live_in_one_process(self):
        self.python(TOGETHER)

    def config(self, *options):
        return run([sys.executable, "-m", "freelane.config", *options], env=self.environment).strip()

    def test_the_package_has_what_is_carried(self):
        listed = (ROOT / "src/python/sources.txt").read_text(encoding="utf-8").split()
        carried = self.package / "freelane/carried"
        for file in listed:
            self.assertEqual((carried / file).read_bytes(), (ROOT / file).read_bytes(), file)
        self.assertEqual(self.config("--sources").split("\n"), [str(carried / f) for f in listed if f.endswith(".c")])
        self.assertEqual(self.config("--includedir"), str(carried / "include"))
        self.assertTrue(pathlib.Path(self.config("--pxd")).exists())

    def test_the_console_script_answers_as_the_module_does(self):
        script = run([self.package / "bin/freelane-config", "--cflags"], env=self.environment)
        self.assertEqual(script.strip(), self.config("--cflags"))
        self.assertIn("-DFREELANE_STATIC", shlex.split(script))

    def test_pkg_config_answers_as_the_module_does(self):
        if shutil.which("pkg-config") is None:
            self.skipTest("no pkg-config")
        environment = {**self.environment, "PKG_CONFIG_PATH": self.config("--pkgconfigdir")}

        def ask(*options):
            return shlex.split(run(["pkg-config", *options, "freelane-python"], env=environment))

        def resolved(words):
            return {str(pathlib.Path(word.removeprefix("-I")).resolve()) if "/" in word else word for word in words}

        self.assertEqual(resolved(ask("--cflags")), resolved(shlex.split(self.config("--cflags"))))
        sources = resolved(self.config("--sources").split("\n"))
        self.assertEqual(resolved(ask("--variable=sources")), sources)
        self.assertEqual(ask("--modversion"), [self.config("--version")])

    def test_the_distributions_hold_what_the_tree_holds(self):
        """The source distribution and the wheel that the build makes."""
        run([sys.executable, "-B", ROOT / "src/python/package/make.py", self.scratch / "made", "--dist"], env=self.environment)
        made = self.scratch / "made"
        names = {path.relative_to(made / "tree").as_posix() for path in (made / "tree/freelane").rglob("*") if path.is_file()}
        for archive, inside in (("freelane-*.tar.gz", "source/*"), ("freelane-*-py3-none-any.whl", "wheel")):
            (file,) = (made / "dist").glob(archive)
            options = {"format": "zip"} if file.suffix == ".whl" else {"filter": "data"}
            shutil.unpack_archive(file, made / inside.split("/")[0], **options)
            (folder,) = made.glob(inside)
            held = {path.relative_to(folder).as_posix() for path in (folder / "freelane").rglob("*") if path.is_file()}
            self.assertEqual(held, names, archive)


PROJECT = """
cmake_minimum_required(VERSION 3.18...4.0)
project(vector LANGUAGES {languages})
find_package(freelane-python REQUIRED)
add_library(vector MODULE {sources})
target_link_libraries(vector PRIVATE freelane::python)
"""


class Projects(FolderTestCase):
    """Of CMake, as authors write them."""

    def configure(self, sources, languages, *options):
        """What is compiled, or what CMake says."""
        cmake = shutil.which("cmake") or self.skipTest("no cmake")
        run([sys.executable, "-B", ROOT / "src/python/package/make.py", self.folder / "package"])
        for name in sources:
            self.write(name, "")
        self.write("CMakeLists.txt", PROJECT.format(sources=" ".join(sources), languages=languages))
        package = self.folder / "package/tree/freelane/share/cmake/freelane-python"
        build = self.folder / "build"
        command = [cmake, "-S", self.folder, "-B", build, "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"]
        result = subprocess.run([*command, f"-Dfreelane-python_DIR={package}", *options], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            return result.stderr
        return [entry["file"] for entry in json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))]

    def test_one_without_the_language_c_is_told(self):
        """Else CMake would leave Freelane's files out, and the import would miss their functions."""
        self.assertIn("LANGUAGES C CXX", self.configure(["vector.cpp"], "CXX"))
        self.assertEqual(len(self.configure(["vector.cpp"], "C CXX")), 1 + len(carried()))

    def test_a_unity_build_has_each_file_of_freelane_by_itself(self):
        files = self.configure(["one.c", "two.c", "three.c"], "C", "-DCMAKE_UNITY_BUILD=ON")
        self.assertEqual(len(files), 1 + len(carried()), files)


if __name__ == "__main__":
    unittest.main()
