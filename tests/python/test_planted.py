# SPDX-License-Identifier: MIT
"""An extension plants errors in objects of its types (tests/tools/planted_python.c). Tools that watch memory find what the
table of tests/README.md says. The interpreter is not compiled for them."""

import pathlib
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import unittest

from demo_support import ASAN, FREE_THREADED, TSAN, run_command
from extension_support import ROOT, compile_carried, compiler, library_of, link_extension

sys.path.append(str(ROOT / "tests/tools"))
import found

README = ROOT / "tests/README.md"
PLANT = "import os, planted_python; planted_python.plant(); os._exit(0)"
ADDRESS = "-fsanitize=address"
CHECKED = "-DFREELANE_CHECKED=1"
VALGRIND = "-DFREELANE_VALGRIND=1"


def has_header(name):
    command = [compiler(), "-E", "-x", "c", "-include", name, "/dev/null"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


class PlantedTestCase(unittest.TestCase):
    """Compiles the files that an extension carries once: FLAGS."""

    FLAGS = []

    @classmethod
    def setUpClass(cls):
        if ASAN or TSAN:
            raise unittest.SkipTest("a sanitizer is there already")
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.carried = compile_carried(cls.folder, *cls.FLAGS)

    def extension(self, *flags, by=None):
        """A folder with the extension in it."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        source = pathlib.Path(shutil.copy(ROOT / "tests/tools/planted_python.c", folder))
        link_extension(source, f"-I{ROOT / 'tests/tools'}", *flags, self.carried, by=by)
        return folder

    def finds(self, column, folder, *command, **environment):
        """What is found is what the column says."""
        count, problems = found.run(
            README, column, [*command, sys.executable, "-B", "-c", PLANT], timeout=300,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder), **environment},
        )
        if "cannot be set up" in problems:
            self.skipTest("Valgrind cannot start this interpreter here")
        self.assertEqual(problems, "")
        self.assertEqual(count, 15)

    def address_sanitizer_finds(self, column, folder, runtime, leaks=0, **environment):
        options = f"exitcode=41:symbolize=0:detect_leaks={leaks}"
        self.finds(column, folder, LD_PRELOAD=runtime, ASAN_OPTIONS=options, **environment)


class OrdinaryBuild(PlantedTestCase):
    """The carried files are compiled without a sanitizer, and ask Memcheck where they can."""

    FLAGS = [VALGRIND] if has_header("valgrind/memcheck.h") else []

    def with_memcheck(self, column, **environment):
        valgrind = shutil.which("valgrind")
        if valgrind is None or not self.FLAGS:
            self.skipTest("no Valgrind")
        leaks = ["--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]
        # The interpreter's reserve would be looked through for pointers: 1 GiB.
        self.finds(column, self.extension(), valgrind, "-q", *leaks, MIMALLOC_ARENA_RESERVE="0", **environment)

    def with_gcc(self):
        return self.extension(ADDRESS, by="gcc"), library_of("gcc", "libasan.so")

    def with_clang(self):
        runtime = library_of("clang", f"libclang_rt.asan-{platform.machine()}.so")
        return self.extension(ADDRESS, "-shared-libasan", by="clang"), runtime

    def test_memcheck(self):
        self.with_memcheck("Memcheck of an extension")

    @unittest.skipIf(FREE_THREADED, "a free-threaded interpreter has no other allocator")
    def test_memcheck_with_malloc(self):
        self.with_memcheck("Memcheck with malloc", PYTHONMALLOC="malloc")

    def test_address_sanitizer_of_gcc(self):
        self.address_sanitizer_finds("AddressSanitizer of an extension", *self.with_gcc())

    def test_address_sanitizer_of_clang(self):
        self.address_sanitizer_finds("AddressSanitizer of an extension", *self.with_clang())

    @unittest.skipIf(FREE_THREADED, "a free-threaded interpreter has no other allocator")
    def test_address_sanitizer_with_malloc(self):
        for with_compiler in (self.with_gcc, self.with_clang):
            with self.subTest(with_compiler.__name__):
                self.address_sanitizer_finds(
                    "AddressSanitizer with malloc", *with_compiler(), leaks=1, PYTHONMALLOC="malloc"
                )


class CheckedBuild(PlantedTestCase):
    """All files are compiled with AddressSanitizer, and check."""

    FLAGS = [ADDRESS, CHECKED, "-O0"]

    def test_address_sanitizer(self):
        runtime = library_of("gcc", "libasan.so")
        column = f"checked build, {'free-threaded' if FREE_THREADED else 'with the GIL'}"
        self.address_sanitizer_finds(column, self.extension(ADDRESS, CHECKED, by="gcc"), runtime)


@unittest.skipIf(ASAN or TSAN, "a sanitizer is there already")
class MemorySanitizer(unittest.TestCase):
    """It wants all of a process compiled for it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def compile(self, program, *arguments):
        """Compiles with the sanitizer, or the test is skipped."""
        clang = shutil.which("clang")
        (self.folder / "try.c").write_text("int main(void) { return 0; }\n", encoding="ascii")
        command = [clang or "", "-fsanitize=memory", f"-I{sysconfig.get_path('include')}"]
        if clang is None or subprocess.run(
            [*command, self.folder / "try.c", "-o", self.folder / "try"], capture_output=True, check=False
        ).returncode:
            self.skipTest("no compiler with MemorySanitizer")
        run_command([*command, *arguments, "-o", self.folder / program])
        return self.folder / program

    def test_the_table_says_that_it_is_impossible(self):
        self.assertEqual(set(found.promised(README, "MemorySanitizer of an extension").values()), {"impossible"})

    def test_an_extension_cannot_be_loaded(self):
        source = self.folder / "small.c"
        source.write_text(
            "#include <Python.h>\n"
            "static struct PyModuleDef small = {PyModuleDef_HEAD_INIT, .m_name = \"small\"};\n"
            "PyMODINIT_FUNC PyInit_small(void) { return PyModuleDef_Init(&small); }\n",
            encoding="ascii",
        )
        self.compile(f"small{sysconfig.get_config_var('EXT_SUFFIX')}", "-shared", "-fPIC", source)
        output = run_command([sys.executable, "-B", "-c", "import small"], returncode=1, PYTHONPATH=str(self.folder))
        self.assertRegex(output, r"ImportError: .*undefined symbol: __msan_")

    def test_a_program_ends_where_it_starts_the_interpreter(self):
        value = sysconfig.get_config_var
        library = pathlib.Path(value("LIBDIR") or "") / (value("LDLIBRARY") or "")
        if not library.is_file():
            self.skipTest(f"nothing to link with: {library}")
        libraries = shlex.split(" ".join(value(name) or "" for name in ("LIBS", "SYSLIBS")))
        program = self.compile(
            "embed", ROOT / "tests/python/embed.c", library, f"-Wl,-rpath,{library.parent}", "-Wl,--export-dynamic",
            "-pthread", "-ldl", "-lm", *libraries,
        )
        result = subprocess.run(
            [program, "1", "print('started')"], capture_output=True, text=True, errors="replace", check=False, timeout=100
        )
        self.assertNotEqual(result.returncode, 0)
        self.assertNotIn("started", result.stdout)
        self.assertIn("MemorySanitizer: use-of-uninitialized-value", result.stderr)


if __name__ == "__main__":
    unittest.main()
