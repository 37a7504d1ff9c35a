# SPDX-License-Identifier: MIT
"""Headers compile on their own: the public ones as C11 and as C++17 by every compiler here, the library's own as C.

usage: headers.py <root>
"""

import os
import pathlib
import re
import subprocess
import sys

from source import report

WARNINGS = ["-Wall", "-Wextra", "-Werror"]
LANGUAGES = {
    "C11": (["-x", "c", "-std=c11", "-Wstrict-prototypes"], re.compile(r"gcc|clang(-\d+)?")),
    "C++17": (["-x", "c++", "-std=c++17"], re.compile(r"g\+\+|clang\+\+(-\d+)?")),
}


def installed(name):
    """The compilers on the path whose name is such a one, each once whatever it is called."""
    found = {}
    for folder in os.get_exec_path():
        for path in sorted(pathlib.Path(folder).glob("*")):
            if name.fullmatch(path.name):
                found.setdefault(path.resolve(), path.name)
    return list(found.values())


def compile_header(compiler, flags, folders, header):
    """Includes the header twice and nothing before it; returns the compiler's complaints."""
    command = [compiler, *flags, *WARNINGS, "-fsyntax-only", *(f"-I{folder}" for folder in folders), "-"]
    text = f'#include "{header}"\n#include "{header}"\nextern int not_empty;\n'
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    return "" if result.returncode == 0 else result.stderr or "failed silently"


def main(root):
    root = pathlib.Path(root)
    public = sorted(path.relative_to(root / "include").as_posix() for path in (root / "include").rglob("*.h"))
    problems, checked = [], 0
    for language, (flags, name) in LANGUAGES.items():
        present = installed(name)
        print(f"{language}: {', '.join(present) or 'no compiler'}")
        for compiler in present:
            for header in public:
                if header.startswith("freelane/python"):
                    continue  # these want the interpreter's headers
                checked += 1
                complaint = compile_header(compiler, flags, [root / "include"], header)
                if complaint:
                    problems.append(f"{header} as {language} by {compiler}:\n{complaint}")
    for path in sorted((root / "src").rglob("*.h")):
        name = path.relative_to(root / "src").as_posix()
        if name.startswith("python/"):
            continue  # likewise
        checked += 1
        folders = [root / "include", root / "src"]
        complaint = compile_header("gcc", ["-x", "c", "-std=gnu11"], folders, name)
        if complaint:
            problems.append(f"src/{name} by gcc:\n{complaint}")
    report(problems, checked)


if __name__ == "__main__":
    main(sys.argv[1])
