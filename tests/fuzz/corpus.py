# SPDX-License-Identifier: MIT
"""The corpus as a text, a program per line, and as a folder, a program per file.

usage: corpus.py unpack <text> <folder> | pack <folder> <text> | seed <number> <folder> | print <file>
"""

import hashlib
import pathlib
import random
import sys

BYTES_MAX = 100_000
STEPS = (8, 30, 90)  # of a program that is made at random

# Numbers of operations (program.c) that belong together.
THEMES = (
    (0, 1, 2, 3, 4, 4, 6, 7, 7, 8, 9, 28, 29),  # blocks
    (0, 0, 9, 6, 28, 45),  # large ones
    (10, 10, 11, 12, 12, 13, 14, 15, 16, 17),  # types
    (12, 10, 16, 31, 13, 44),  # what ends later
    (18, 18, 18, 19, 20, 20, 20, 21, 22, 11, 23),  # objects
    (18, 20, 20, 29, 28),  # constructed ones
    (25, 26, 27, 24, 7, 16, 4, 12),  # grace periods
    (44, 45, 30, 53, 46, 47, 4, 7, 18, 20),  # threads
    (4, 7, 48, 49, 28, 29, 16, 12),  # memory
    (34, 35, 36, 50, 51, 37, 39, 33, 38, 52, 54),  # questions
    (41, 41, 40, 3, 4, 7, 7, 8, 0, 6, 48),  # real-time threads
    (42, 42, 42, 0, 6, 10, 13, 18, 20),  # profiles
    (43, 13, 14, 16, 32, 45, 44, 10),  # trees, and callbacks that are left
)


def unpack(text, folder):
    for line in pathlib.Path(text).read_text(encoding="ascii").split():
        program = bytes.fromhex(line)
        (pathlib.Path(folder) / hashlib.sha1(program).hexdigest()).write_bytes(program)


def seed(count, folder):
    """Makes programs of some themes each, on one heap or on all of them."""
    for number in range(int(count)):
        choose = random.Random(number)
        operations = [operation for theme in choose.sample(THEMES, choose.choice((1, 2, 3))) for operation in theme]
        heaps = choose.choice(((0,), (0,), (0, 1, 2)))
        options = [choose.choice((0, choose.randrange(256))) for _ in range(3)]
        program = bytearray([0, *options])
        for _ in range(choose.choice(STEPS)):
            who = choose.choice(heaps) + 3 * choose.randrange(4)
            program += bytes((choose.choice(operations), who, choose.randrange(256) >> choose.randrange(8)))
            program.append(choose.randrange(256) >> choose.randrange(8))
        (pathlib.Path(folder) / f"seed-{number}").write_bytes(program)


def pack(folder, text):
    """Writes the shortest programs first, as many as fit."""
    programs = sorted((path.read_bytes() for path in pathlib.Path(folder).iterdir()), key=lambda p: (len(p), p))
    lines, size = [], 0
    for program in programs:
        line = program[: len(program) // 4 * 4].hex() + "\n"
        size += len(line)
        if size <= BYTES_MAX:
            lines.append(line)
    pathlib.Path(text).write_text("".join(lines), encoding="ascii")
    print(f"{text}: {len(lines)} of {len(programs)} programs")


def main(what, *arguments):
    if what == "unpack":
        unpack(*arguments)
    elif what == "seed":
        seed(*arguments)
    elif what == "pack":
        pack(*arguments)
    else:
        print(pathlib.Path(arguments[0]).read_bytes().hex())


if __name__ == "__main__":
    main(*sys.argv[1:])
