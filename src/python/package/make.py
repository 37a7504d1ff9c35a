# SPDX-License-Identifier: MIT
"""Lays out the Python package `freelane`: its own files, and the source that an extension compiles into itself.

usage: make.py <folder> [--dist]

    <folder>/tree/    a source tree for pip and for any front end of pyproject.toml
    <folder>/dist/    with --dist: its source distribution and its wheel, made by setuptools without a network

What was there before is replaced. The version is that of the CMake project.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent

# Where the files here go in the tree.
PLACES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "freelane.pxd": "freelane/__init__.pxd",
    "freelane-python.pc": "freelane/share/pkgconfig/freelane-python.pc",
    "freelane-python-config.cmake": "freelane/share/cmake/freelane-python/freelane-python-config.cmake",
    "freelane-python-config-version.cmake": "freelane/share/cmake/freelane-python/freelane-python-config-version.cmake",
    **{f"freelane/{path.name}": f"freelane/{path.name}" for path in (HERE / "freelane").glob("*.py")},
}

# Where this Python has a choice.
FILTER = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}

BUILD = "import sys, setuptools.build_meta as build; getattr(build, sys.argv[1])(sys.argv[2])"


def version():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return re.search(r"^project\(freelane VERSION ([\d.]+)", text, re.MULTILINE).group(1)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def lay_out(tree):
    shutil.rmtree(tree, ignore_errors=True)
    carried = (ROOT / "src/python/sources.txt").read_text(encoding="utf-8").split()
    sources = " ".join(f"${{carried}}/{name}" for name in carried if name.endswith(".c"))
    for name, place in PLACES.items():
        text = (HERE / name).read_text(encoding="utf-8")
        write(tree / place, text.replace("@version@", version()).replace("@sources@", sources))
    for name in ["src/python/sources.txt", *carried]:
        write(tree / "freelane/carried" / name, (ROOT / name).read_text(encoding="utf-8"))
    shutil.copy(ROOT / "LICENSE", tree / "LICENSE")


def build(what, tree, dist):
    command = [sys.executable, "-c", BUILD, what, str(dist)]
    result = subprocess.run(command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{result.stdout}make.py: {sys.executable}: setuptools could not make the package ({what})")


def distribute(tree, dist):
    """The wheel is made of what the source distribution has."""
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        copied = shutil.copytree(tree, pathlib.Path(scratch) / "tree")
        build("build_sdist", copied, dist)
        (source,) = dist.iterdir()
        shutil.unpack_archive(source, scratch, **FILTER)
        build("build_wheel", pathlib.Path(scratch) / source.name.removesuffix(".tar.gz"), dist)
    for path in sorted(dist.iterdir()):
        print(path)


def main(arguments):
    if len(arguments) not in (1, 2) or arguments[1:] not in ([], ["--dist"]):
        sys.exit(__doc__)
    folder = pathlib.Path(arguments[0]).resolve()
    lay_out(folder / "tree")
    if arguments[1:]:
        distribute(folder / "tree", folder / "dist")


if __name__ == "__main__":
    main(sys.argv[1:])
