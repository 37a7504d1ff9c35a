# SPDX-License-Identifier: MIT
"""The folders of src/ are its layers: a file includes and calls what stands in its own folder and in those before it.

usage: layers.py <root>

A quoted include names its folder. Below api/ no function of freelane.h is called: what two layers need has a name of
the library's own there.
"""

import re
import sys

from exports import declared
from source import report, sources

# From the bottom of the library to its top.
LAYERS = ["base", "memory", "large", "grace", "pool", "heap", "api", "object", "python"]

# Where functions of freelane.h may be called.
CALLERS = {"api", "object", "python"}

# System headers with one place of their own.
PRIVATE_HEADERS = [
    (re.compile(r"^sys/mman\.h$"), {"src/base/os.c", "src/base/config.h"}),
    (re.compile(r"^(urcu|urcu[-/].*)\.h$|^urcu\.h$"), {"src/grace/rcu.c", "src/grace/rcu.h"}),
    (re.compile(r"^unwind\.h$"), {"src/base/stack.c"}),
    (re.compile(r"^stdatomic\.h$"), {"src/base/atomic.h"}),
    (re.compile(r"^Python\.h$"), {"src/python/", "include/freelane/python.h"}),
]

CORE_HEADERS = {"freelane.h", "inline.h"}
OBJECT_HEADERS = {"object.h", "object_inline.h"}
PYTHON_HEADERS = {"python.h", "python_fallback.h", "python_inline.h"}
CALL = re.compile(r"\bfl_\w+(?=\()")
INDENTED = re.compile(r"^[ \t].*", re.MULTILINE)


def layer_of(source):
    """The folder of a file of src/; None for a public header."""
    return source.name.split("/")[1] if source.name.startswith("src/") else None


def check_private(source, line, included):
    for pattern, places in PRIVATE_HEADERS:
        if pattern.match(included) and not any(source.name.startswith(place) for place in places):
            yield f"{source.name}:{line}: only {', '.join(sorted(places))} may include <{included}>"


def check_public(source, line, included):
    """The core includes no header of a layer above, nor does such a layer include another's."""
    header, own, name = included.removeprefix("freelane/"), layer_of(source), source.path.name
    may = CORE_HEADERS
    if own == "object" or name in OBJECT_HEADERS:
        may = CORE_HEADERS | OBJECT_HEADERS
    if own == "python" or name in PYTHON_HEADERS:
        may = CORE_HEADERS | PYTHON_HEADERS
    if header not in may:
        yield f"{source.name}:{line}: the core includes <{included}>"


def check_layer(source, line, included):
    """A quoted include of a file of src/."""
    own, (folder, _, name) = layer_of(source), included.rpartition("/")
    if included == "model_atomic.h" and source.name == "src/base/atomic.h":
        return
    if folder not in LAYERS:
        yield f"{source.name}:{line}: {included} does not name a folder of src/"
    elif LAYERS.index(folder) > LAYERS.index(own):
        yield f"{source.name}:{line}: {own}/ includes {included}, and stands before it"


def check_calls(source, public):
    """A line that is not indented defines or declares."""
    for line in INDENTED.finditer(source.code):
        for name in CALL.findall(line.group()):
            if name in public:
                yield f"{source.name}:{source.line_of(line.start())}: calls {name} from below api/"


def check_file(source, public):
    layer = layer_of(source)
    if layer is not None and layer not in LAYERS:
        yield f"{source.name}: is in no layer (tests/checks/layers.py)"
        return
    for line, included, quoted in source.includes():
        yield from check_private(source, line, included)
        if included.startswith("freelane/"):
            yield from check_public(source, line, included)
        elif layer is not None and quoted:
            yield from check_layer(source, line, included)
    if layer is not None and layer not in CALLERS:
        yield from check_calls(source, public)


def main(root):
    public = declared(root)
    files = list(sources(root, "src", "include"))
    report([problem for file in files for problem in check_file(file, public)], len(files))


if __name__ == "__main__":
    main(sys.argv[1])
