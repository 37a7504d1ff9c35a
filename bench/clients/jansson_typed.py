# SPDX-License-Identifier: MIT
"""Moves jansson's structures onto types of Freelane.

    jansson_typed.py SOURCE DEST

Copies the source tree and changes the copy: values come from typed_alloc and end in fl_dealloc, each with the kind that
its type needs (jansson_typed.h); the nodes and tables of objects and arrays are freed by size. What has no size, strings
above all, goes through jansson's own allocation functions, which are Freelane's unless the program sets others.

Every change has to find as many places as it did in jansson 2.14; otherwise this fails.
"""

import os
import re
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
VALUE = "object|array|string|integer|real"

# file: (pattern, replacement, places)
CHANGES = {
    "src/value.c": [
        # What frees a value first lets go of what it holds; the block itself is fl_dealloc's.
        (
            rf"(static void json_delete_({VALUE})\(json_\w+ \*\w+\) \{{[^}}]*?)jsonp_free\(\2\);",
            r"\1(void)\2;",
            5,
        ),
        (r"\bvoid json_delete\(json_t \*(\w+)\) \{", r"static inline void json_delete_untyped(json_t *\1) {", 1),
        (r"\bjsonp_free\(array->table\)", r"typed_free_sized(array->table, array->size * sizeof(json_t *))", 1),
        (rf"\bjsonp_malloc\(sizeof\(json_({VALUE})_t\)\)", lambda m: f"typed_alloc(JSON_{m[1].upper()})", 5),
        (rf"\bjsonp_free\(({VALUE})\)", lambda m: f"typed_free({m[1]}, JSON_{m[1].upper()})", 2),
        (r"\bjsonp_malloc\((array->size|new_size) \*", r"typed_alloc_sized(\1 *", 2),
        (r"\bjsonp_free\(string->value\)", r"typed_release(string->value)", 2),
        (r"\Z", '\n#include "jansson_typed_value.h"\n', 1),
    ],
    "src/hashtable.c": [
        (r"\bjsonp_free\(pair\)", r"typed_free_sized(pair, offsetof(pair_t, key) + pair->key_len + 1)", 2),
        (
            r"\bjsonp_free\(hashtable->buckets\)",
            r"typed_free_sized(hashtable->buckets, hashsize(hashtable->order) * sizeof(bucket_t))",
            2,
        ),
        (r"\bjsonp_malloc\(", r"typed_alloc_sized(", 3),
    ],
    "src/memory.c": [
        (r"\bstatic (json_\w+_t do_\w+) = (malloc|free);", r"\1 = typed_default_\2;", 2),
        (r"\(\*do_free\)\(", r"typed_release(", 1),
        (r"\bdo_free = (\w+_fn);", r"do_free = \1; typed_is_mixed = true;", 1),
    ],
    "src/load.c": [(r"\bjsonp_malloc\((lex->saved_text.length \+ 1)\)", r"typed_alloc_sized(\1)", 1)],
    "src/dump.c": [(r"\bjsonp_strdup\(", r"typed_strdup_for_caller(", 1)],
    "src/jansson_private.h": [(r"\n#endif\s*\Z", '\n#include "jansson_typed.h"\n\n#endif\n', 1)],
}


def change(path, changes):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for pattern, replacement, places in changes:
        text, found = re.subn(pattern, replacement, text)
        if found != places:
            sys.exit(f"jansson_typed.py: {path}: {pattern} is in {found} places, not in {places}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def main(source, dest):
    shutil.rmtree(dest, ignore_errors=True)
    shutil.copytree(source, dest)
    for name, changes in CHANGES.items():
        change(os.path.join(dest, name), changes)
    for name in ("jansson_typed.h", "jansson_typed_value.h"):
        shutil.copy(os.path.join(HERE, name), os.path.join(dest, "src"))


if __name__ == "__main__":
    main(*sys.argv[1:])
