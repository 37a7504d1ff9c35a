# SPDX-License-Identifier: MIT
"""What comes of an error or an attack: what a program prints (tools/planted.c, attacks/attacks.c) is what a table of
tests/README.md says.

usage: found.py <README> <tool> <command...>

The table has a row per error, and a column per tool or heap, below its name. The command prints lines
`<error>: <kind of block>: <who finds it, or what comes of it>`. With WRITE_TABLES=1 in the environment they are entered in
the table.
"""

import fcntl
import os
import pathlib
import re
import subprocess
import sys

FOUND = re.compile(r"^([\w ]+): (\w+): (\w+)$", re.MULTILINE)


TABLE = re.compile(r"(?:^\|.*\|\n){3,}", re.MULTILINE)


def table_of(text, tool):
    """The table whose head names the tool: where it stands, the tool's column, and the rows."""
    for match in TABLE.finditer(text):
        head, _, *rows = [re.split(r" *\| *", line.strip("| ")) for line in match.group().splitlines()]
        if tool in head:
            return match, head.index(tool), rows
    sys.exit(f"no table has a column {tool}")


def promised(readme, tool):
    """Who finds each error under the tool, by the table."""
    _, column, rows = table_of(pathlib.Path(readme).read_text(encoding="utf-8"), tool)
    return {row[0]: row[column] for row in rows}


def enter(readme, tool, found):
    """Writes who has found each error into the table. Tests of other columns may do so at the same time."""
    finders = {error: finder for error, _, finder in found}
    with open(readme, "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = file.read()
        match, column, rows = table_of(text, tool)
        for row in rows:
            row[column] = finders.pop(row[0], row[column])
        width = len(rows[0])
        rows += [[error, *[finder if i == column else "?" for i in range(1, width)]] for error, finder in finders.items()]
        lines = match.group().splitlines()[:2] + [f"| {' | '.join(row)} |" for row in rows]
        file.seek(0)
        file.truncate()
        file.write(text[: match.start()] + "\n".join(lines) + "\n" + text[match.end() :])


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
    options = {"timeout": 100, **options}
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, **options)
    found = FOUND.findall(result.stdout)
    if os.environ.get("WRITE_TABLES") and result.returncode == 0:
        enter(readme, tool, found)
    problems = list(problems_of(promised(readme, tool), found))
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
