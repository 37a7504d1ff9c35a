# SPDX-License-Identifier: MIT
"""Include order: a file of src/ includes only what stands above it here.

usage: layers.py <root>
"""

import re
import sys

from source import report, sources

# From the bottom of the library to its top. Names on one line do not know each other. A header stands apart from its
# source file where lower layers share its struct (heap) or call its hook (fork).
LAYERS = """
config
base
sanitizer
atomic
lock
check pin
stack.h
stack.c stack_none
callback
os
sizeclass
limit
magazine
slab.h
idle.h
slab.c idle.c large
grace.h
rcu
rcu_none
grace.c
reader
pool
rack
home
cache
deferred
heap.h
stray
fork.h
thread
stall
trim
fork.c
alloc
type
quiescent
stats
heap_check
options
heap.c
"""

# System headers with one place of their own.
PRIVATE_HEADERS = [
    (re.compile(r"^sys/mman\.h$"), {"src/os.c", "src/config.h"}),
    (re.compile(r"^(urcu|urcu[-/].*)\.h$|^urcu\.h$"), {"src/rcu.c", "src/rcu.h"}),
    (re.compile(r"^unwind\.h$"), {"src/stack.c"}),
    (re.compile(r"^stdatomic\.h$"), {"src/atomic.h"}),
    (re.compile(r"^Python\.h$"), {"src/python/", "include/freelane/python.h"}),
]

CORE_HEADERS = {"freelane.h", "inline.h"}
RANK = {
    file: rank
    for rank, line in enumerate(LAYERS.split("\n"))
    for name in line.split()
    for file in ([name] if "." in name else [f"{name}.h", f"{name}.c"])
}


def check_private(source, line, included):
    for pattern, places in PRIVATE_HEADERS:
        if pattern.match(included) and not any(source.name.startswith(place) for place in places):
            yield f"{source.name}:{line}: only {', '.join(sorted(places))} may include <{included}>"


def check_public(source, line, included):
    header = included.removeprefix("freelane/")
    in_core = source.name.count("/") == 1 or source.path.name in CORE_HEADERS
    if in_core and header not in CORE_HEADERS:
        yield f"{source.name}:{line}: the core includes <{included}>"


def check_core(source, line, included):
    """A file src/<name>.[ch] and a quoted include."""
    own = source.path.name
    if included == "model_atomic.h" and own == "atomic.h":
        return
    if included not in RANK:
        yield f"{source.name}:{line}: the core includes {included}, which is no layer of it"
    elif included != f"{source.path.stem}.h" and RANK[included] >= RANK[own]:
        yield f"{source.name}:{line}: {own} includes {included}, which does not stand above it"


def check_file(source):
    core = source.name.startswith("src/") and source.name.count("/") == 1
    if core and source.path.name not in RANK:
        yield f"{source.name}: is not in the table of layers (tests/meta/layers.py)"
        return
    for line, included, quoted in source.includes():
        yield from check_private(source, line, included)
        if included.startswith("freelane/"):
            yield from check_public(source, line, included)
        elif core and quoted:
            yield from check_core(source, line, included)


def main(root):
    files = list(sources(root, "src", "include"))
    report([problem for file in files for problem in check_file(file)], len(files))


if __name__ == "__main__":
    main(sys.argv[1])
