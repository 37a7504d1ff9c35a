# SPDX-License-Identifier: MIT
"""What the tests share that compile extensions: the examples of the manual, together with the files that an extension
carries."""

import os
import pathlib
import shutil
import subprocess
import sysconfig
import tempfile
import unittest

from demo_support import run_command

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
INCLUDES = [f"-I{ROOT / 'include'}", f"-I{ROOT / 'src'}", "-isystem", sysconfig.get_path("include")]
FLAGS = ["-std=gnu11", "-O1", "-fPIC", "-fvisibility=hidden", "-pthread", "-DFREELANE_STATIC"]
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")

# A function of an extension: whether the heap is whole.
CHECK = """
static PyObject *check(PyObject *module, PyObject *unused)
{
    char error[256];
    (void)module, (void)unused;
    if (fl_heap_check(fl_py_heap(), error, sizeof error) != 0)
        return PyErr_Format(PyExc_AssertionError, "%s", error);
    Py_RETURN_NONE;
}
"""


def examples(suffix, comment):
    """The files of tests/examples whose first line is a comment that begins so: {name: text}."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests/examples").glob(f"*{suffix}")}
    return {name: text for name, text in texts.items() if text.startswith(f"{comment} {name}")}


def compiler():
    """The C compiler, or the test is skipped."""
    found = shutil.which("gcc") or shutil.which("cc")
    if found is None:
        raise unittest.SkipTest("no C compiler")
    return found


def carried():
    """The C files that an extension carries."""
    lines = (ROOT / "src/python/sources.txt").read_text(encoding="utf-8").split()
    return [ROOT / line for line in lines if line.endswith(".c")]


def library_of(name, library):
    """The path of a library that comes with a compiler, or the test is skipped."""
    path = run_command([name, f"-print-file-name={library}"]).strip() if shutil.which(name) else ""
    if not path.startswith("/"):
        raise unittest.SkipTest(f"no {library} of {name}")
    return path


class FolderTestCase(unittest.TestCase):
    """Has a folder of its own for the time of a test."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, name, text):
        file = self.folder / name
        file.write_text(text, encoding="utf-8")
        return file


def compile_files(command, files, result):
    """Makes one object of C files. Many tests compile the same ones in the same way: ccache, where it is, does it once."""
    launcher = [shutil.which("ccache")] if shutil.which("ccache") else []
    with tempfile.TemporaryDirectory() as folder:
        objects = [pathlib.Path(folder) / f"{number}.o" for number in range(len(files))]
        for file, made in zip(files, objects):
            run_command([*launcher, *command, "-c", file, "-o", made])
        run_command([command[0], "-r", "-nostdlib", *objects, "-o", result])
    return result


def compile_carried(folder, *flags):
    """Makes one object of what is carried in the folder."""
    return compile_files(
        [compiler(), *FLAGS, *WARNINGS, *INCLUDES, *flags], carried(), pathlib.Path(folder) / "freelane.o"
    )


def link_extension(source, *arguments, by=None):
    """Makes an extension module of a C file, beside it; `by` is another compiler."""
    extension = source.with_suffix(SUFFIX)
    run_command([by or compiler(), *FLAGS, *INCLUDES, "-shared", source, *arguments, "-o", extension])
    return extension


def copy_extension(extension, folder, count, kind=""):
    """Copies it into the folders <kind>0, <kind>1 and so on below the folder: another file is another copy to the loader."""
    for number in range(count):
        (folder / f"{kind}{number}").mkdir(parents=True)
        shutil.copy(extension, folder / f"{kind}{number}")


def tool_environment(*names):
    """The environment in which what get-tools finds is at hand, or the test is skipped."""
    result = subprocess.run([HERE / "get-tools", *names], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise unittest.SkipTest(f"no tools: {result.stderr.strip()}")
    tools = pathlib.Path(result.stdout.strip())
    return {**os.environ, "PATH": f"{tools / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(tools / "python")}
