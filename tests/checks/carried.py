# SPDX-License-Identifier: MIT
"""src/python/sources.txt lists what an extension carries: the core without liburcu and without the reading of stacks,
the CPython side, and their headers. CPython has objects of its own, so the object layer is not in it.

usage: carried.py <root>
"""

import pathlib
import re
import sys

from source import report

FOLDERS = ["include/freelane", "src"]
LEFT_OUT = {"src/base/stack.c", "src/grace/helper.c", "src/grace/helper.h", "src/grace/rcu.c"}
OBJECT_LAYER = re.compile(r"^(include/freelane/object|src/object/)")


def main(root):
    root = pathlib.Path(root)
    listed = (root / "src/python/sources.txt").read_text(encoding="utf-8").split("\n")[:-1]
    present = {
        path.relative_to(root).as_posix()
        for folder in FOLDERS
        for path in (root / folder).rglob("*")
        if path.suffix in (".c", ".h")
    } - LEFT_OUT
    present = {name for name in present if not OBJECT_LAYER.match(name)}
    problems = [f"src/python/sources.txt lacks {name}" for name in sorted(present - set(listed))]
    problems += [f"src/python/sources.txt lists {name}, which is not there" for name in sorted(set(listed) - present)]
    if listed != sorted(listed):
        problems.append("src/python/sources.txt is not sorted")
    report(problems, len(listed))


if __name__ == "__main__":
    main(sys.argv[1])
