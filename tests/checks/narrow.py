# SPDX-License-Identifier: MIT
"""32-bit systems are refused with a sentence that says so: by the public headers, and by CMake when it configures.

usage: narrow.py <root> <scratch>

clang compiles for them. The headers of its own are all that it has of such a system, beside an empty stdio.h.
"""

import pathlib
import shutil
import subprocess
import sys

from source import report

SENTENCE = "Freelane is for 64-bit systems"
HEADERS = ["freelane.h", "object.h"]
# What compiles, for pointers of how many bytes; x32 has 32-bit pointers on a 64-bit processor.
TARGETS = {"i686-linux-gnu": 4, "arm-linux-gnueabihf": 4, "x86_64-linux-gnux32": 4, "x86_64-linux-gnu": 8, "aarch64-linux-gnu": 8}
LANGUAGES = {"C": ["-x", "c", "-std=c11"], "C++": ["-x", "c++", "-std=c++17"]}


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def complaints(result):
    """The errors that a compiler gave, a line for each."""
    return [line for line in result.stderr.split("\n") if "error: " in line]


def check_headers(clang, root, system):
    for target, size in TARGETS.items():
        for header in HEADERS:
            for language, flags in LANGUAGES.items():
                command = [clang, f"--target={target}", *flags, "-ffreestanding", "-nostdlibinc", "-isystem", system]
                result = run([*command, f"-I{root / 'include'}", "-fsyntax-only", "-"],
                             input=f"#include <freelane/{header}>\nextern int not_empty;\n")
                refused = any(SENTENCE in line for line in complaints(result))
                if size == 8 and result.returncode != 0:
                    yield f"{header} as {language} for {target}:\n{result.stderr}"
                if size < 8 and not refused:
                    yield f"{header} as {language} for {target} does not say: {SENTENCE}\n{result.stderr}"


def check_configuration(clang, root, build):
    """CMake's own tests of the compiler link no program here: there is no C library to link with."""
    shutil.rmtree(build, ignore_errors=True)
    result = run(["cmake", "-G", "Ninja", "-S", root, "-B", build, f"-DCMAKE_C_COMPILER={clang}", "-DCMAKE_C_COMPILER_LAUNCHER=",
                  "-DCMAKE_C_COMPILER_TARGET=i686-linux-gnu", "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY"])
    if result.returncode == 0:
        yield "CMake configures for i686-linux-gnu"
    elif SENTENCE not in result.stderr:
        yield f"CMake does not say: {SENTENCE}\n{result.stderr}"


def main(root, scratch):
    root, scratch = pathlib.Path(root), pathlib.Path(scratch)
    clang = shutil.which("clang") or shutil.which("clang-14")
    if clang is None:
        print("skipped: no clang")
        sys.exit(77)
    system = scratch / "include"
    system.mkdir(parents=True, exist_ok=True)
    (system / "stdio.h").write_text("typedef struct file FILE;\n", encoding="utf-8")
    problems = [*check_headers(clang, root, system), *check_configuration(clang, root, scratch / "build")]
    report(problems, len(TARGETS) * len(HEADERS) * len(LANGUAGES) + 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
