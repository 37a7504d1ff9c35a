# SPDX-License-Identifier: MIT
"""Memory orders: every ordered atomic access carries a label whose partner names it back.

A label is a capital letter and a number at the start of a comment, a few lines above its access:

    /* R1: release, pairs with A1 in fli_pool_pop: the slots are visible before the head. */

The function that it names after "in", or the file, is the one where the partner stands. A store whose order matters to
the child of a fork pairs with a fork.

Relaxed accesses say why nothing is ordered: by one of the names that atomic.h has for plain uses, or in a comment with
the word "relaxed" beside them, earlier in their function, or at the head of the file for all of it.

usage: orders.py <root>
"""

import re
import sys

from source import function_of, report, sources

LINES_ABOVE = 4
LABEL = re.compile(r"^([A-Z]\d+): (.*)$")
REFERENCE = re.compile(r"\b[A-Z]\d+\b")
PLACE = re.compile(r"\b([A-Z]\d+) in (\w+(?:\.[ch]\b)?)")
ORDER = re.compile(
    r"memory_order_(?P<c>\w+)|__ATOMIC_(?P<b>[A-Z_]+)|fli_\w+?_(?P<n>relaxed|acquire|release|acq_rel|seq_cst)\b"
)
RAW_ACCESS = re.compile(r"\b(atomic_(?!h\b)\w+|__atomic_\w+|__sync_\w+)[ \t]*\(")
FENCE = re.compile(r"\b(atomic_(?:thread|signal)_fence|__atomic_(?:thread|signal)_fence|__sync_synchronize)\b")
# What a plain use is defined by: relaxed operations of other names, or of the compiler's on a word that is no _Atomic.
PLAIN_BODY = re.compile(r"[ \t]+(fli_\w+_relaxed\(|__atomic_(load|store)_n\(.*__ATOMIC_RELAXED\))")
ORDER_WORDS = ("acquire", "release", "acq_rel", "seq_cst", "consume")


def operations(files):
    """The names that atomic.h gives to atomic operations whose order an access has to explain. A name that is defined by
    a relaxed one is that of a plain use, which explains itself."""
    atomic = next(file for file in files if file.name == "src/base/atomic.h")
    defined = re.findall(r"#[ \t]*define[ \t]+(fli_\w+)\(([^)]*)\)(.*)", atomic.code)
    return [name for name, _, body in defined if not PLAIN_BODY.match(body)]


def call_text(code, start):
    """From `start` to the parenthesis that closes the call there."""
    depth = 0
    for i in range(code.index("(", start), len(code)):
        depth += {"(": 1, ")": -1}.get(code[i], 0)
        if depth == 0:
            return code[start : i + 1]
    return code[start:]


class Access:
    def __init__(self, source, match):
        self.source = source
        self.line = source.line_of(match.start())
        self.text = call_text(source.code, match.start())
        self.last = self.line + self.text.count("\n")
        self.orders = set()
        for order in ORDER.finditer(self.text):
            word = order.group("c") or order.group("b") or order.group("n")
            self.orders.add(word.lower())

    @property
    def ordered(self):
        return self.orders != {"relaxed"}

    def where(self):
        return f"{self.source.name}:{self.line}"


def accesses(source, names):
    pattern = re.compile(r"\b(" + "|".join(names) + r"|__atomic_\w+)[ \t]*\(")
    for match in pattern.finditer(source.code):
        line = source.code[source.code.rfind("\n", 0, match.start()) + 1 : match.start()]
        if not re.match(r"[ \t]*#[ \t]*define", line):
            yield Access(source, match)


class Label:
    def __init__(self, source, comment, name, text):
        self.source, self.comment, self.name, self.text = source, comment, name, text
        pairs = re.search(r"pairs with ([^:.]*)", text)
        self.partners = REFERENCE.findall(pairs.group(1)) if pairs else []
        self.places = PLACE.findall(text)
        self.is_for_forks = pairs is not None and pairs.group(1) == "a fork"

    def where(self):
        return f"{self.source.name}:{self.comment.first}: {self.name}"

    def covers(self, access):
        return (
            access.source is self.source
            and self.comment.first <= access.last
            and access.line - self.comment.last <= LINES_ABOVE
        )


def labels(source):
    for comment in source.comments:
        match = LABEL.match(comment.text)
        if match:
            yield Label(source, comment, match.group(1), match.group(2))


def check_pairs(found):
    by_name = {}
    for label in found:
        if label.name in by_name:
            yield f"{label.where()} is also at {by_name[label.name].where()}"
        by_name[label.name] = label
    for label in found:
        if not label.partners and not label.is_for_forks:
            yield f"{label.where()} does not say what it pairs with"
        for partner in label.partners:
            if partner not in by_name:
                yield f"{label.where()} pairs with {partner}, which does not exist"
            elif label.name not in by_name[partner].partners:
                yield f"{label.where()} pairs with {partner}, which does not name it back"


def check_places(found, every):
    """Whether partners stand where labels say."""
    places = {}
    for label in found:
        for access in filter(label.covers, every):
            file = access.source.name.rpartition("/")[2]
            places.setdefault(label.name, set()).update((file, function_of(access.source, access.line)))
    for label in found:
        for partner, place in label.places:
            if partner in places and place not in places[partner]:
                yield f"{label.where()} names {partner} in {place}, but it is in {' '.join(sorted(places[partner]))}"


def check_access(access, found):
    covering = [label for label in found if label.covers(access)]
    if not covering:
        yield f"{access.where()}: no label within {LINES_ABOVE} lines above: {access.text.split('(')[0]}"
        return
    for order in access.orders & set(ORDER_WORDS):
        words = ("acq", "rel") if order == "acq_rel" else (order,)
        if not any(all(word in label.text for word in words) for label in covering):
            yield f"{access.where()}: {covering[0].name} does not say {order}"


def function_start(source, line):
    """The line after the last closing brace in the first column above `line`."""
    lines = source.code.split("\n")[: line - 1]
    return max((i + 2 for i, text in enumerate(lines) if text.startswith("}")), default=1)


def check_relaxed(access):
    source = access.source
    start = function_start(source, access.line)
    for comment in source.comments:
        near = comment.first >= start and comment.first <= access.last
        if "relaxed" in comment.text.lower() and (near or comment.first == 1):
            return
    yield f"{access.where()}: relaxed, and no comment says why"


def check_raw(source):
    for match in FENCE.finditer(source.code):
        yield f"{source.name}:{source.line_of(match.start())}: a standalone fence"
    if source.name == "src/base/atomic.h" or source.name in (
        f"include/freelane/{name}.h" for name in ("inline", "object_inline", "python_fallback")
    ):
        return
    is_of_python = source.name.startswith("src/python/") or source.name == "include/freelane/python_inline.h"
    for match in RAW_ACCESS.finditer(source.code):
        if is_of_python and "__ATOMIC_RELAXED" in call_text(source.code, match.start()):
            continue  # words of the interpreter's objects
        yield f"{source.name}:{source.line_of(match.start())}: {match.group(1)} beside the names of atomic.h"


def main(root):
    files = list(sources(root, "src", "include"))
    names = operations(files)
    found = [label for file in files for label in labels(file)]
    every = [access for file in files for access in accesses(file, names)]
    problems = list(check_pairs(found)) + list(check_places(found, [access for access in every if access.ordered]))
    for access in every:
        problems += check_access(access, found) if access.ordered else check_relaxed(access)
    for label in found:
        if not any(label.covers(access) for access in every):
            problems.append(f"{label.where()} stands above no atomic access")
    for file in files:
        problems += check_raw(file)
    report(problems, len(every))


if __name__ == "__main__":
    main(sys.argv[1])
