# SPDX-License-Identifier: MIT
"""The shape of the code: file sizes, variants, and what it never contains.

usage: shape.py <root>
"""

import pathlib
import re
import sys

from source import report, sources

LINES_MAX = 400
MAY_LOCK = ("src/base/life.", "src/base/lock.")
MAY_HAVE_VARIANTS = {"src/base/os.c", "src/grace/rcu.c"}
OF_PYTHON = "#if !FL_PY_FALLBACK"  # around all of a file of the CPython side

FORBIDDEN = [
    (re.compile(r"\bno_sanitize\w*|\bdisable_sanitizer_instrumentation\b|\bNO_SANITIZE\w*"), "switches a sanitizer off"),
    (re.compile(r"^[ \t]*#[ \t]*pragma[ \t]+(GCC|clang)[ \t]+diagnostic", re.MULTILINE), "switches a warning off"),
]
LOCKING = re.compile(r"\bpthread_mutex_(lock|trylock|unlock)\b")
ASSEMBLY = re.compile(r"\b(__asm__|__asm|asm)\b")

# A suppression list may name what is not ours: libraries, and for tests on CPython functions of the interpreter.
SUPPRESSION_LINE = re.compile(r"^(called_from_lib:liburcu-\w+\.so|#.*|)$")
INTERPRETER_LINE = re.compile(r"^(race|race_top|thread):(?!\w*(fl_|fli_|freelane|demo))\w+$")


def check_file(source):
    if source.name.startswith(("src/", "include/")):
        for match in ASSEMBLY.finditer(source.code):
            yield f"{source.name}:{source.line_of(match.start())}: inline assembly"
    if source.name.startswith("src/"):
        lines = source.text.count("\n")
        if lines > LINES_MAX:
            yield f"{source.name}: {lines} lines, at most {LINES_MAX}"
        for line, included, _ in source.includes():
            if included.endswith(".c"):
                yield f"{source.name}:{line}: includes {included}"
    if source.name.startswith("src/") and not source.name.startswith(MAY_LOCK):
        for match in LOCKING.finditer(source.code):
            yield f"{source.name}:{source.line_of(match.start())}: {match.group()}; see lock.h"
    if source.name.startswith("src/") and source.name.endswith(".c") and source.name not in MAY_HAVE_VARIANTS:
        for match in re.finditer(r"^[ \t]*#[ \t]*if.*", source.code, re.MULTILINE):
            if source.name.startswith("src/python/") and match.group().strip() == OF_PYTHON:
                continue
            yield f"{source.name}:{source.line_of(match.start())}: a variant ({match.group().strip()}); see config.h"
    for pattern, what in FORBIDDEN:
        for match in pattern.finditer(source.code):
            yield f"{source.name}:{source.line_of(match.start())}: {what} ({match.group().strip()})"


def check_suppressions(root):
    for folder in ("src", "tests", "stress", "bench", ".ci"):
        for path in sorted((pathlib.Path(root) / folder).rglob("*.supp*")):
            for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
                python = path.parent.name == "python" and INTERPRETER_LINE.match(line.strip())
                if not python and not SUPPRESSION_LINE.match(line.strip()):
                    yield f"{path.relative_to(root)}:{number}: suppresses {line.strip()}"


def main(root):
    files = list(sources(root, "src", "include", "tests", "stress", "bench"))
    problems = [problem for file in files for problem in check_file(file)]
    report(problems + list(check_suppressions(root)), len(files))


if __name__ == "__main__":
    main(sys.argv[1])
