# SPDX-License-Identifier: MIT
"""What READMEs quote is a file of tests/examples, whose programs compile without a warning, run, and exit with 0.
src/README.md names each file of src/, in the table of its folder.

The first line of an example is a comment that names it and says what it is:

    /* example: embed.c */         a complete program
    /* extension: geometry.c */    an extension of CPython, which tests/python compiles

A fenced block that begins with such a line has to be the file. `cc` and `cxx` are how to compile and link a program: the
source is put before their arguments. README.md itself is a page: at most 160 lines, the first program within 40.

usage: readme.py <root> <scratch folder> --cc <command...> --cxx <command...>
"""

import pathlib
import re
import subprocess
import sys
import textwrap

from source import report

BLOCK = re.compile(r"^( *)```[\w+]+[ \t]*\n(.*?)^\1```[ \t]*$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"(?:/\*|#) (example|extension): ([\w-]+\.\w+)")
PART = re.compile(r"^`(\w+)/`", re.MULTILINE)
FILES = re.compile(r"`([^`]*\.(?:c|h|\[ch\])[^`]*)`")
FOLDERS = [".", "include", "src", "src/python", "tests", "bench"]
LINES_MAX, PROGRAM_WITHIN = 160, 40
SECONDS = 60


def check_quotes(root):
    """Returns (problems, number of quotes)."""
    problems, quotes = [], 0
    for readme in [root / folder / "README.md" for folder in FOLDERS]:
        text = readme.read_text(encoding="utf-8") if readme.exists() else ""
        for match in BLOCK.finditer(text):
            block = textwrap.dedent(match.group(2))
            name = NAME.match(block)
            if not name:
                continue
            quotes += 1
            file = root / "tests/examples" / name.group(2)
            if not file.exists():
                problems.append(f"{readme}: quotes {name.group(2)}, which tests/examples does not have")
            elif file.read_text(encoding="utf-8") != block:
                problems.append(f"{readme}: {name.group(2)} is not what tests/examples has")
    return problems, quotes


def named(text):
    """The files that the tables of src/README.md name."""
    _, *parts = PART.split(text)
    for folder, part in zip(parts[::2], parts[1::2]):
        rows = [line for line in part.split("\n") if line.startswith("|")]
        for name in " ".join(FILES.findall("\n".join(rows))).split():
            stem = name.removesuffix(".[ch]")
            yield from (f"{folder}/{file}" for file in ([name] if stem == name else [f"{stem}.c", f"{stem}.h"]))


def check_map(source, readme):
    names = set(named(readme.read_text(encoding="utf-8"))) if readme.exists() else set()
    files = {str(file.relative_to(source)) for file in source.glob("*/*.[ch]")}
    yield from (f"{readme} does not name {file}" for file in sorted(files - names))


def check_page(readme):
    lines = readme.read_text(encoding="utf-8").split("\n")[:-1]
    if len(lines) > LINES_MAX:
        yield f"{readme.name} has {len(lines)} lines, at most {LINES_MAX}"
    if not any(line.startswith("```c") for line in lines[:PROGRAM_WITHIN]):
        yield f"{readme.name} has no program within {PROGRAM_WITHIN} lines"


def run(command):
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"took more than {SECONDS} seconds"
    if result.returncode == 0:
        return ""
    return f"exit code {result.returncode}\n{result.stdout}{result.stderr}"


def check_program(path, scratch, compilers):
    program = scratch / path.stem
    command, *arguments = compilers[path.suffix]
    complaint = run([command, "-Wall", "-Wextra", "-Werror", str(path), "-o", str(program), *arguments])
    if complaint:
        yield f"{path.name} does not compile: {complaint}"
        return
    complaint = run([str(program)])
    if complaint:
        yield f"{path.name} does not run: {complaint}"


def check_examples(root, scratch, compilers):
    """Returns (problems, number of examples)."""
    problems, count = [], 0
    for path in sorted((root / "tests/examples").iterdir()):
        name = NAME.match(path.read_text(encoding="utf-8"))
        count += 1
        if not name or name.group(2) != path.name:
            problems.append(f"{path.name} does not begin with a comment that names it")
        elif name.group(1) == "example":
            problems += check_program(path, scratch, compilers)
    return problems, count


def main(arguments):
    root, scratch = map(pathlib.Path, arguments[:2])
    cc, cxx = arguments.index("--cc"), arguments.index("--cxx")
    compilers = {".c": arguments[cc + 1 : cxx], ".cpp": arguments[cxx + 1 :]}
    scratch.mkdir(parents=True, exist_ok=True)
    problems, examples = check_examples(root, scratch, compilers)
    wrong, quotes = check_quotes(root)
    problems += [*wrong, *check_map(root / "src", root / "src/README.md"), *check_page(root / "README.md")]
    report(problems, min(examples, quotes))


if __name__ == "__main__":
    main(sys.argv[1:])
