# SPDX-License-Identifier: MIT
"""Symbols that the files of a build define for others.

usage: exports.py <root> <library> ...

    lib....so    the shared library: exports what the public headers declare with FL_API, no more and no less
    ....a        an archive: its objects share only names that begin with fl_ or fli_, so that it is no hazard to the
                 program or extension that it becomes a part of
    ....so       an extension module: exports its init function alone
"""

import pathlib
import re
import subprocess
import sys

from source import report, sources

# FL_API, attributes, return type, name; then a parameter list, or the end of a variable.
DECLARATION = re.compile(
    r"^(?:extern[ \t]+)?FL_API\b(?:\s*__attribute__\(\(.*?\)\))?[^;({]*?\b(\w+)\s*(?:\(|;|__attribute__)",
    re.MULTILINE | re.DOTALL,
)
SANITIZERS = re.compile(r"^(__odr_asan|__asan|__tsan|__ubsan|__sanitizer|__lsan|_ITM_|__gmon|__cxa|DW\.ref\.)")
PREFIX = re.compile(r"^fli?_")


def declared(root):
    names = set()
    for header in sources(root, "include"):
        if not header.path.name.startswith("python"):
            names |= set(DECLARATION.findall(header.code))
    return names


def defined(file, *options):
    """Names that the file, or a member of the archive, defines and others see."""
    command = ["nm", "--defined-only", "--format=posix", *options, file]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in output.splitlines()]
    names = {fields[0].split("@")[0] for fields in lines if len(fields) > 1}  # one field: the name of a member
    return {name for name in names if not SANITIZERS.match(name)}


def check_library(root, library):
    public, symbols = declared(root), defined(library, "--dynamic")
    yield from (f"{name} is exported and not declared with FL_API" for name in sorted(symbols - public))
    yield from (f"{name} is declared with FL_API and not exported" for name in sorted(public - symbols))
    yield from (f"{name} has no fl_ prefix" for name in sorted(symbols) if not name.startswith("fl_"))


def check_archive(archive):
    symbols = defined(archive, "--extern-only")
    if not symbols:
        yield f"{archive} defines nothing"
    yield from (f"{archive}: {name} has no fl_ or fli_ prefix" for name in sorted(symbols) if not PREFIX.match(name))


def check_extension(extension):
    init, symbols = f"PyInit_{pathlib.Path(extension).name.split('.')[0]}", defined(extension, "--dynamic")
    yield from (f"{extension} exports {name}" for name in sorted(symbols - {init}))
    yield from (f"{extension} does not export {name}" for name in sorted({init} - symbols))


def check(root, file):
    name = pathlib.Path(file).name
    if name.endswith(".a"):
        return check_archive(file)
    return check_library(root, file) if name.startswith("lib") else check_extension(file)


def main(root, *files):
    report([problem for file in files for problem in check(root, file)], len(files))


if __name__ == "__main__":
    main(*sys.argv[1:])
