# SPDX-License-Identifier: MIT
"""Reports which lines of src/ and include/ some programs reach, and why the rest is not reached.

usage: lines.py <reasons> <lcov>...

The lcov files are of several builds of one source; a line is reached if it is in one of them. A line of the reasons is

    <file> <function> <why>    why the function is not reached; * stands for all functions of the file that are not
    <file> ~ <why>             why other lines of the file are not reached

Each function and each such file needs a reason, and each reason has to have something to explain.
"""

import collections
import pathlib
import re
import sys


class File:
    def __init__(self):
        self.functions = {}  # name: (first line, reached)
        self.lines = collections.Counter()

    def unreached(self):
        return sorted(name for name, (_, reached) in self.functions.items() if not reached)

    def other_lines(self):
        """The lines not reached in functions that are."""
        starts = sorted((line, reached) for line, reached in self.functions.values())
        for line, count in sorted(self.lines.items()):
            before = [reached for start, reached in starts if start <= line]
            if count == 0 and before and before[-1]:
                yield line


def read(path, files):
    file, starts = None, {}
    for text in pathlib.Path(path).read_text(encoding="utf-8").split("\n"):
        kind, _, rest = text.partition(":")
        if kind == "SF":
            match = re.search(r"(?:^|/)((?:src|include)/.*)", rest)
            file = files[match[1]] if match else None
            starts = {}
        elif file is None:
            continue
        elif kind == "FN":
            line, name = rest.split(",", 1)
            starts[name] = int(line)
        elif kind == "FNDA":
            count, name = rest.split(",", 1)
            short = name.rpartition(":")[2]
            _, reached = file.functions.get(short, (0, False))
            file.functions[short] = (starts[name], reached or int(count) > 0)
        elif kind == "DA":
            line, count = rest.split(",")[:2]
            file.lines[int(line)] += int(count)


def read_reasons(path):
    reasons = {}
    for number, text in enumerate(pathlib.Path(path).read_text(encoding="utf-8").split("\n"), 1):
        if text.strip() and not text.startswith("#"):
            fields = text.split(None, 2)
            if len(fields) != 3:
                sys.exit(f"{path}:{number}: a file, a function and a reason are wanted")
            reasons[fields[0], fields[1]] = fields[2]
    return reasons


def spans(lines):
    """Line numbers as text, runs as first-last."""
    runs = []
    for line in lines:
        if runs and runs[-1][1] == line - 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def explain(name, file, reasons, used):
    """Yields what is not reached in the file, each with the reason."""
    for function in file.unreached():
        key = (name, function) if (name, function) in reasons else (name, "*")
        used.add(key)
        yield function + "()", reasons.get(key)
    lines = list(file.other_lines())
    if lines:
        used.add((name, "~"))
        yield "lines " + spans(lines), reasons.get((name, "~"))


def main(reasons_path, *paths):
    files = collections.defaultdict(File)
    for path in paths:
        read(path, files)
    reasons, used, missing = read_reasons(reasons_path), set(), []
    for name, file in sorted(files.items()):
        reached = sum(count > 0 for count in file.lines.values())
        print(f"{name}: {reached} of {len(file.lines)} lines")
        for what, reason in explain(name, file, reasons, used):
            print(f"    {what}: {reason or 'NO REASON'}")
            if reason is None:
                missing.append(f"{name}: {what} is not reached, and no reason is given")
    reached = sum(count > 0 for file in files.values() for count in file.lines.values())
    total = sum(len(file.lines) for file in files.values())
    print(f"{reached} of {total} lines are reached ({100 * reached / total:.1f} %)")
    stale = [f"{' '.join(key)}: a reason for what is reached" for key in reasons if key not in used]
    for problem in missing + stale:
        print(problem, file=sys.stderr)
    return 1 if missing or stale else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
