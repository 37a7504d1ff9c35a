# SPDX-License-Identifier: MIT
"""What comes of an error or an attack: what a program prints (tools/planted.c, attacks/attacks.c) is what a table of
tests/README.md says.

usage: found.py <README> <tool> <command...>

The table has a row per error, and a column per tool or heap, below its name. The command prints lines
`<error>: <kind of block>: <who finds it, or what comes of it>`.
"""

import pathlib
import re
import subprocess
import sys

FOUND = re.compile(r"^([\w ]+): (\w+): (\w+)$", re.MULTILINE)


def promised(readme, tool):
    """Who finds each error under the tool, by the table: that whose head names the tool."""
    tables = re.findall(r"(?:^\|.*\|\n){3,}", pathlib.Path(readme).read_text(encoding="utf-8"), re.MULTILINE)
    for table in tables:
        head, _, *rows = [re.split(r" *\| *", line.strip("| ")) for line in table.splitlines()]
        if tool in head:
            return {row[0]: row[head.index(tool)] for row in rows}
    sys.exit(f"{readme} has no table with a column {tool}")


def problems_of(promises, found):
    """What is not as promised. `found` has (error, kind, finder)."""
    for error, kind, finder in found:
        if promises.get(error) != finder:
            yield f"{error}, kind {kind}: {finder}, the README says {promises.get(error)}"
    for error in promises:
        if error not in {name for name, _, _ in found}:
            yield f"{error}: was not planted"


def run(readme, tool, command, **options):
    """Runs the command. Returns how many errors it has planted, and what is not as promised, with what it said."""
    promises = promised(readme, tool)
    options = {"timeout": 100, **options}
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, **options)
    found = FOUND.findall(result.stdout)
    problems = list(problems_of(promises, found))
    if result.returncode != 0:
        problems.append(f"the program ends with {result.returncode}")
    return len(found), "\n".join([result.stdout, result.stderr, *problems]) if problems else ""


def main(readme, tool, *command):
    count, problems = run(readme, tool, command)
    if problems:
        sys.exit(problems)
    print(f"{count} errors: found as promised")


if __name__ == "__main__":
    main(*sys.argv[1:])
