# SPDX-License-Identifier: MIT
"""Whether each memory order of the library is needed: which program fails when it is weaker.

A place is an ordered atomic access in src/ or include/, known by its label (tests/checks/orders.py). Each order of it
is weakened by one step: acquire and release become relaxed, acq_rel loses one half or the other, seq_cst becomes
acq_rel (acquire for a load, release for a store). weaken.h does that when a program starts.

The table of orders in tests/README.md has a row for each weakening, with the program that fails then, or why no
program has to.

usage: orders.py check [<root>]            the table has the rows that the source asks for
       orders.py list                      the weakenings, with what FREELANE_WEAKEN has to be
       orders.py write                     writes the rows anew, with what is known of those that stay
       orders.py fails <program> <build>   the program, in the build folder, fails in each row that names it
       orders.py find <build> <pattern> [<row or label> ...]
                                           tries the programs of a build folder that the pattern matches, and enters in
                                           the table the first that fails; without rows, for those without a program
"""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = "tests/README.md"
BEGIN, END = "<!-- orders -->\n", "<!-- end of orders -->\n"  # around the table
sys.path.insert(0, str(ROOT / "tests" / "checks"))

import orders
from source import function_of, report, sources

VALUES = {"relaxed": 0, "acquire": 2, "release": 3, "acq_rel": 4}
NAMED = re.compile(r"^(?:memory_order_|__ATOMIC_)(\w+)$")
TSAN_OPTIONS = f"halt_on_error=1:die_after_fork=0:suppressions={ROOT}/tests/tsan.supp"
NOT_FOUND = "not found yet"
WITHOUT_PROGRAM = "not needed: "  # and why no program fails

# Where a build folder has programs, by the first word of their names.
FOLDERS = {
    "model": "tests/model",
    "test": "tests/unit",
    "stress": "stress",
    "snapshot": "tests/orders",
    "passed": "tests/orders",
}

# How often a program may run until it fails, and for how long each time. A model explores the same states each time.
TRIES = int(os.environ.get("ORDERS_TRIES", 6))
SECONDS = 60


class Weakening:
    """One order of one access, and the next weaker one."""

    def __init__(self, label, access, which, order, weaker):
        self.label, self.access, self.which, self.order, self.weaker = label, access, which, order, weaker

    @property
    def name(self):
        return "-".join([self.label.name] + ["failure"] * self.which + [self.weaker])

    @property
    def place(self):
        function = function_of(self.access.source, self.access.line)
        return f"{self.access.source.name.split('/', 1)[1]}, `{function}`"

    def setting(self):
        access = self.access
        return f"{access.source.name} {access.line} {access.last} {self.which} {VALUES[self.weaker]}"


def arguments(call):
    depth, start = 0, call.index("(") + 1
    for i in range(start - 1, len(call)):
        depth += {"(": 1, ")": -1}.get(call[i], 0)
        if (depth == 1 and call[i] == ",") or depth == 0:
            yield call[start:i].strip()
            start = i + 1


def orders_of(access):
    """The orders of an access, first that of success."""
    name = access.text.split("(")[0].strip()
    suffix = re.search(r"_(acquire|release)$", name)
    if suffix:
        return [suffix.group(1)]
    found = []
    for argument in arguments(access.text):
        match = NAMED.match(argument)
        if match:
            found.append(match.group(1).lower())
    return found


def steps(access, which, order):
    """The orders that are weaker by one step."""
    is_load = which == 1 or "load" in access.text.split("(")[0]
    is_store = "store" in access.text.split("(")[0]
    if order == "seq_cst":
        return ["acquire" if is_load else "release" if is_store else "acq_rel"]
    if order == "acq_rel":
        return ["acquire", "release"]
    return ["relaxed"] if order != "relaxed" else []


def weakenings(root=ROOT):
    files = list(sources(root, "src", "include"))
    labels = [label for file in files for label in orders.labels(file)]
    names = orders.operations(files)
    for file in files:
        for access in orders.accesses(file, names):
            if not access.ordered:
                continue
            covering = [label for label in labels if label.covers(access)]
            label = max(covering, key=lambda label: label.comment.first)
            for which, order in enumerate(orders_of(access)):
                for weaker in steps(access, which, order):
                    yield Weakening(label, access, which, order, weaker)


# ---- The table.


def parts(root):
    """The text before the table, the table, and the text behind it."""
    before, begin, rest = (root / TABLE).read_text(encoding="utf-8").partition(BEGIN)
    table, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"{TABLE} has no table of orders, between {BEGIN.strip()} and {END.strip()}")
    return before + begin, table, end + after


def rows(root=ROOT):
    """What the table says fails, by name."""
    lines = parts(root)[1].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[-1] for row in cells}


def program_of(cell):
    """The program and its arguments that a row names, or None."""
    match = re.match(r"`((?:model|test|stress|snapshot|passed)[_ ][^`]*)`", cell)
    return match.group(1).split() if match else None


def lines_of_table(every, known):
    yield "| weakened | where | order | what fails then |"
    yield "|---|---|---|---|"
    for weakening in sorted(every, key=lambda one: (one.label.name[0], int(one.label.name[1:]), one.which)):
        yield f"| {weakening.name} | {weakening.place} | {weakening.order} | {known.get(weakening.name, NOT_FOUND)} |"


def write(known, root=ROOT):
    before, _, after = parts(root)
    table = "\n".join(lines_of_table(weakenings(root), known)) + "\n"
    (root / TABLE).write_text(before + table + after, encoding="utf-8")


def check(root=ROOT):
    known, table = rows(root), parts(root)[1].splitlines()
    wanted = list(lines_of_table(weakenings(root), known))
    problems = [f"no row in {TABLE}: {line}" for line in wanted if line not in table]
    problems += [f"{TABLE}: no such place: {line}" for line in table if line not in wanted]
    for name, cell in known.items():
        if program_of(cell) is None and not cell.startswith(WITHOUT_PROGRAM):
            problems.append(f"{TABLE}: {name} names no program, and does not say why: {cell}")
    report(problems, len(wanted) - 2)


# ---- Programs.


def fails(build, program, setting):
    """Whether the program fails with a place weakened. What a sanitizer or a check of the program finds is a failure;
    a program that ends too late is none."""
    name, *rest = program
    folder = FOLDERS[name.split("_")[0]]
    is_model = name.startswith("model_")
    command = [str(pathlib.Path(build) / folder / name), *rest, *(["--expect-error"] if is_model else [])]
    for _ in range(1 if is_model else TRIES):
        try:
            done = subprocess.run(
                command,
                env={"TSAN_OPTIONS": TSAN_OPTIONS, **os.environ, "FREELANE_WEAKEN": setting},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            continue
        if (done.returncode == 0) == is_model and done.returncode not in (2, 77):
            return done.stdout.decode(errors="replace")[-3000:] or "failed"
    return None


def fails_everywhere(name, build, root=ROOT):
    known = {row: program_of(cell) for row, cell in rows(root).items()}
    seen = missed = 0
    for weakening in weakenings(root):
        program = known.get(weakening.name)
        if program is None or program[0] != name:
            continue
        seen += 1
        output = fails(build, program, weakening.setting())
        missed += output is None
        print(f"{weakening.name}: {' '.join(program)} {'fails' if output is not None else 'DOES NOT FAIL'}", flush=True)
    if missed or not seen:
        sys.exit(f"{name}: {seen} place(s), {missed} of them weaker without a failure")


def candidates(build):
    """The programs of a build folder and their arguments, as ctest knows them."""
    listed = subprocess.run(["ctest", "--test-dir", build, "-N", "-V"], capture_output=True, text=True, check=True)
    for line in listed.stdout.split("\n"):
        match = re.search(r"Test command: \S*/((?:(?:model|test|stress|snapshot|passed)_\w+)|passed)(.*)$", line)
        if match and "mutant" not in match.group(1) and "--expect-error" not in line:
            yield [match.group(1), *re.findall(r'"([^"]*)"', match.group(2))]


def find(build, pattern, *names):
    programs = [one for one in candidates(build) if re.match(pattern, " ".join(one))]
    for weakening in weakenings():
        known = rows()
        is_named = weakening.name in names or weakening.label.name in names
        if not is_named and (names or program_of(known.get(weakening.name, ""))):
            continue
        stem = weakening.access.source.path.stem
        for one in sorted(programs, key=lambda one: stem not in one[0]):
            if fails(build, one, weakening.setting()) is not None:
                known = rows()
                known[weakening.name] = f"`{' '.join(one)}`"
                write(known)
                break
        print(weakening.name, known.get(weakening.name, NOT_FOUND), flush=True)


def main(command, *rest):
    if command == "check":
        check(*map(pathlib.Path, rest))
    elif command == "list":
        for weakening in weakenings():
            print(f"{weakening.name:16} {weakening.order:8} {weakening.setting()}")
    elif command == "write":
        write(rows())
    elif command == "fails":
        fails_everywhere(*rest)
    elif command == "find":
        find(*rest)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
