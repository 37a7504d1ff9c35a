# SPDX-License-Identifier: MIT
"""The examples of the README compile without a warning, run, and exit with 0.

A fenced block of C or C++ is a complete program if its first line is a comment such as

    /* example: embed.c */

and `cc` or `cxx` is how to compile and link one: the source is put before its arguments. There must be one.

usage: readme.py <README.md> <scratch folder> --cc <command...> --cxx <command...>
"""

import pathlib
import re
import subprocess
import sys

from source import report

BLOCK = re.compile(r"^```(c|cpp|c\+\+)[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"/\* example: ([\w-]+\.(?:c|cpp)) \*/")
SECONDS = 60


def examples(text):
    for match in BLOCK.finditer(text):
        name = NAME.match(match.group(2))
        if name:
            yield name.group(1), match.group(2)


def run(command):
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"took more than {SECONDS} seconds"
    if result.returncode == 0:
        return ""
    return f"exit code {result.returncode}\n{result.stdout}{result.stderr}"


def check_example(name, text, scratch, compilers):
    path = scratch / name
    path.write_text(text, encoding="utf-8")
    program = scratch / path.stem
    command, *arguments = compilers[path.suffix]
    complaint = run([command, "-Wall", "-Wextra", "-Werror", str(path), "-o", str(program), *arguments])
    if complaint:
        yield f"{name} does not compile: {complaint}"
        return
    complaint = run([str(program)])
    if complaint:
        yield f"{name} does not run: {complaint}"


def main(arguments):
    readme, scratch = map(pathlib.Path, arguments[:2])
    cc, cxx = arguments.index("--cc"), arguments.index("--cxx")
    compilers = {".c": arguments[cc + 1 : cxx], ".cpp": arguments[cxx + 1 :]}
    scratch.mkdir(parents=True, exist_ok=True)
    found = list(examples(readme.read_text(encoding="utf-8")))
    names = [name for name, _ in found]
    problems = [f"two examples are called {name}" for name in set(names) if names.count(name) > 1]
    for name, text in found:
        problems += check_example(name, text, scratch, compilers)
    report(problems, len(found))


if __name__ == "__main__":
    main(sys.argv[1:])
