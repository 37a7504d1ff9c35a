# SPDX-License-Identifier: MIT
"""The longest call of a real-time thread, in instructions, counted by callgrind over the program of longest.c.

Callgrind writes down what each counted call has executed: from its entry to its return, the C library included. The
longest free of a real-time thread, and its longest allocation of what it has reserved, may execute MOST instructions.
Those of an ordinary thread execute more, so the program is one that can tell. Exit code 77 (skipped) without valgrind.

usage: longest.py <program> <scratch folder>
"""

import pathlib
import re
import shutil
import subprocess
import sys

MOST = 20000
BLOCKS = 4000  # that each of the other threads allocates
NAMES = {
    "f": "free of a known size", "u": "free", "d": "deferred free", "a": "allocation", "r": "reserved allocation"}
BOUND = "fudr"  # the calls whose work has a bound


def counts_of(program, mode, scratch):
    """The instructions of each counted call, by its letter."""
    output = scratch / f"longest-{mode}.callgrind"
    function = "counted_call"
    command = [
        "valgrind", "--quiet", "--tool=callgrind", "--combine-dumps=yes", f"--toggle-collect={function}",
        f"--zero-before={function}", f"--dump-after={function}", f"--callgrind-out-file={output}", program, mode,
        str(BLOCKS),
    ]
    output.unlink(missing_ok=True)
    letters = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    pattern = rf"^desc: Trigger: --dump-after={function}\n(?:.*\n)*?summary: (\d+)$"
    counts = re.findall(pattern, output.read_text(), re.MULTILINE)
    output.unlink()
    if len(counts) != len(letters):
        sys.exit(f"{len(letters)} calls were made, but {len(counts)} counted")
    by_call = {}
    for letter, count in zip(letters, counts):
        by_call.setdefault(letter, []).append(int(count))
    return by_call


def main(program, folder):
    if not shutil.which("valgrind"):
        print("valgrind is not installed")
        sys.exit(77)
    scratch = pathlib.Path(folder)
    scratch.mkdir(parents=True, exist_ok=True)
    longest = {}
    print(f"\n{'thread':<10} {'call that takes a slow half':<28} calls  median  longest")
    for mode in "ordinary", "realtime":
        for letter, counts in counts_of(program, mode, scratch).items():
            longest[mode, letter] = max(counts)
            median = sorted(counts)[len(counts) // 2]
            print(f"{mode:<10} {NAMES[letter]:<28} {len(counts):5}  {median:6}  {max(counts):7}", flush=True)
    wrong = [NAMES[letter] for letter in BOUND if longest["realtime", letter] > MOST]
    if wrong:
        print(f"above {MOST} instructions in a real-time thread: {', '.join(wrong)}")
    if max(longest["ordinary", letter] for letter in BOUND) <= MOST:
        wrong.append("ordinary")
        print(f"no call of an ordinary thread is above {MOST} instructions, so the program tells nothing")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
