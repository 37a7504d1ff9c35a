# SPDX-License-Identifier: MIT
"""The shared library exports what the public headers declare with FL_API, no more and no less.

usage: exports.py <root> <libfreelane.so>
"""

import re
import subprocess
import sys

from source import report, sources

# FL_API, attributes, return type, name; then a parameter list, or the end of a variable.
DECLARATION = re.compile(
    r"^(?:extern[ \t]+)?FL_API\b(?:\s*__attribute__\(\(.*?\)\))?[^;({]*?\b(\w+)\s*(?:\(|;|__attribute__)",
    re.MULTILINE | re.DOTALL,
)
SANITIZERS = re.compile(r"^(__odr_asan|__asan|__tsan|__ubsan|__sanitizer|__lsan|_ITM_|__gmon|__cxa)")


def declared(root):
    names = set()
    for header in sources(root, "include"):
        if header.path.name != "python.h":
            names |= set(DECLARATION.findall(header.code))
    return names


def exported(library):
    command = ["nm", "-D", "--defined-only", "--format=posix", library]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = {line.split()[0].split("@")[0] for line in output.splitlines() if line}
    return {name for name in names if not SANITIZERS.match(name)}


def main(root, library):
    public, symbols = declared(root), exported(library)
    problems = [f"{name} is exported and not declared with FL_API" for name in sorted(symbols - public)]
    problems += [f"{name} is declared with FL_API and not exported" for name in sorted(public - symbols)]
    problems += [f"{name} has no fl_ prefix" for name in sorted(symbols) if not name.startswith("fl_")]
    report(problems, len(symbols))


if __name__ == "__main__":
    main(*sys.argv[1:])
