# SPDX-License-Identifier: MIT
"""All C and C++ is as clang-format 14 and .clang-format have it. Exit code 77 (skipped) where it is not installed.

usage: formatted.py <root>
"""

import shutil
import subprocess
import sys

from source import report, sources


def main(root):
    if not shutil.which("clang-format-14"):
        print("clang-format-14 is not installed")
        sys.exit(77)
    files = [str(file.path) for file in sources(root, "include", "src", "tests", "stress", "bench")]
    result = subprocess.run(["clang-format-14", "--dry-run", "-Werror", *files], cwd=root, check=False)
    report(["clang-format-14 -i <file> puts it right"] if result.returncode else [], len(files))


if __name__ == "__main__":
    main(sys.argv[1])
