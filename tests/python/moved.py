# SPDX-License-Identifier: MIT
"""Extensions that other people released, as they are and moved onto Freelane, built for the running interpreter."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FLAGS = ["-fPIC", "-pthread", "-fvisibility=hidden", "-DFREELANE_STATIC", f"-I{ROOT / 'include'}", f"-I{ROOT / 'src'}"]
FLAGS += ["-isystem", sysconfig.get_path("include")]

# A function of a module: whether the heap is whole.
CHECK = """static PyObject *
check(PyObject *module, PyObject *unused)
{
    char error[256];
    (void)module, (void)unused;
    if (fl_heap_check(fl_py_heap(), error, sizeof error) != 0)
        return PyErr_Format(PyExc_AssertionError, "%s", error);
    Py_RETURN_NONE;
}
"""
CHECK_METHOD = '{"check", check, METH_NOARGS, NULL}'


class Unavailable(Exception):
    """What is needed cannot be had here; the text says why."""


@dataclass
class Release:
    """A package with one extension module in C. `changes` are by file: lists of (pattern, replacement, places), or the
    text of a new file."""

    package: str
    version: str  # how the version begins for which the changes are
    module: str  # its C file
    changes: dict

    def find(self):
        """The source tree."""
        source = pathlib.Path(find_tools(self.package)) / "python"
        text = (source / self.package / "__init__.py").read_text(encoding="utf-8")
        found = re.search(r'__version__ = "(.*)"', text)[1]
        if not found.startswith(self.version):
            raise Unavailable(f"{self.package} is {found} there, and the changes are for {self.version}*")
        return source

    def change(self, folder):
        for name, changes in self.changes.items():
            file = folder / name
            if isinstance(changes, str):
                file.write_text(changes, encoding="utf-8")
                continue
            text = file.read_text(encoding="utf-8")
            for pattern, replacement, places in changes:
                text, found = re.subn(pattern, replacement, text, flags=re.DOTALL)
                if found != places:
                    raise ValueError(f"{self.package}: {name}: {found} places instead of {places} for {pattern!r}")
            file.write_text(text, encoding="utf-8")

    def build(self, source, folder, freelane=None, flags=()):
        """Makes the package in the folder: moved, if it gets the object file of compile_freelane. Warnings are its
        authors' business."""
        folder = pathlib.Path(folder) / self.package
        shutil.copytree(source / self.package, folder)
        file = folder / self.module
        files = [file]
        if freelane is not None:
            self.change(folder)
            added = [name for name, changes in self.changes.items() if isinstance(changes, str)]
            files += [*(folder / name for name in added), freelane]
        # As its setup.py compiles it.
        theirs = ["-std=c99", "-O3", "-fno-strict-aliasing"]
        target = file.with_suffix(sysconfig.get_config_var("EXT_SUFFIX"))
        run([compiler(), *theirs, "-w", *FLAGS, *flags, "-shared", *files, "-o", target])


class CythonRelease(Release):
    """The module is one of Cython, for C++."""

    def build(self, source, folder, freelane=None, flags=()):
        if not shutil.which("g++"):
            raise Unavailable("no C++ compiler")
        cython = pathlib.Path(find_tools("cython-newest")) / "python"
        package = pathlib.Path(folder) / "freelane-package"
        run([sys.executable, "-B", ROOT / "src/python/package/make.py", package])
        folder = pathlib.Path(folder) / self.package
        shutil.copytree(source / self.package, folder)
        if freelane is not None:
            self.change(folder)
        file = folder / self.module
        path = f"{cython}{os.pathsep}{package / 'tree'}"
        run([sys.executable, "-B", "-m", "cython", "-3", "--cplus", file], PYTHONPATH=path)
        objects = [freelane] if freelane is not None else []
        target = file.with_suffix(sysconfig.get_config_var("EXT_SUFFIX"))
        run(["g++", "-O2", "-w", *FLAGS, *flags, "-shared", file.with_suffix(".cpp"), *objects, "-o", target])


def run(command, **environment):
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}")


def compiler():
    found = shutil.which("gcc") or shutil.which("cc")
    if found is None:
        raise Unavailable("no C compiler")
    return found


def find_tools(*names):
    """A folder of get-tools."""
    done = subprocess.run([HERE / "get-tools", *names], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"no {' '.join(names)}: {done.stderr.strip()}")
    return done.stdout.strip()


def compile_freelane(folder):
    """Makes one object of the files that an extension carries, in the folder."""
    lines = (ROOT / "src/python/sources.txt").read_text(encoding="utf-8").split()
    files = [ROOT / line for line in lines if line.endswith(".c")]
    target = os.path.join(folder, "freelane.o")
    run([compiler(), "-std=gnu11", "-O2", *FLAGS, "-r", "-nostdlib", *files, "-o", target])
    return target
