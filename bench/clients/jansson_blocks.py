# SPDX-License-Identifier: MIT
"""Copies jansson's source and changes the copy: what jansson_typed.py and jansson_counted.py have in common.

The blocks that are no values become Freelane's (jansson_blocks.h). Every change has to find as many places as it did in
jansson 2.14; otherwise this fails.
"""

import os
import re
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
VALUE = "object|array|string|integer|real"

DEFAULTS = """bool blocks_are_mixed;

void *blocks_default_malloc(size_t size) { return fl_alloc(fl_thread_self(), size); }

void blocks_default_free(void *block) { block_release(block); }

json_malloc_t do_malloc = blocks_default_malloc;
json_free_t do_free = blocks_default_free;
"""

# file: (pattern, replacement, places)
CHANGES = {
    "src/value.c": [
        (r"\bjsonp_malloc\((array->size|new_size) \*", r"block_alloc(\1 *", 2),
        (r"\bjsonp_free\(array->table\)", r"block_free(array->table, array->size * sizeof(json_t *))", 1),
        (r"\bjsonp_free\(string->value\)", r"block_free(string->value, string->length + 1)", 2),
    ],
    "src/hashtable.c": [
        (r"\bjsonp_free\(pair\)", r"block_free(pair, offsetof(pair_t, key) + pair->key_len + 1)", 2),
        (
            r"\bjsonp_free\(hashtable->buckets\)",
            r"block_free(hashtable->buckets, hashsize(hashtable->order) * sizeof(bucket_t))",
            2,
        ),
        (r"\bjsonp_malloc\(", r"block_alloc(", 3),
    ],
    "src/memory.c": [
        (r"static json_malloc_t do_malloc = malloc;\nstatic json_free_t do_free = free;\n", DEFAULTS, 1),
        (r"\(\*do_free\)\(", r"block_release(", 1),
        (r"\bdo_free = (\w+_fn);", r"do_free = \1; blocks_are_mixed = true;", 1),
        (r"\bjsonp_malloc\(len \+ 1\)", r"block_alloc(len + 1)", 1),
    ],
    # The text of a token is as long as what stands between its quotes, unless that has escapes.
    "src/load.c": [
        (r"\bjsonp_malloc\(lex->saved_text\.length \+ 1\)", r"block_alloc(lex->saved_text.length - 1)", 1),
        (
            r"(    lex->value\.string\.len = t - lex->value\.string\.val;\n)",
            r"\1    lex->value.string.val ="
            r" block_fit(lex->value.string.val, lex->saved_text.length - 1, lex->value.string.len);\n"
            r"    if (!lex->value.string.val)\n        goto out;\n",
            1,
        ),
        (r"\bjsonp_free\(key\)", r"block_free(key, len + 1)", 6),
    ],
    "src/pack_unpack.c": [
        (
            r"\bstrbuffer_steal_value\(&strbuff\)",
            r"block_fit(strbuffer_steal_value(&strbuff), strbuff.size, strbuff.length)",
            1,
        ),
    ],
    "src/dump.c": [(r"\bjsonp_strdup\(", r"block_strdup_for_caller(", 1)],
}


def include_at_end(guarded, *headers):
    """The change that includes these at the end of a file, before the #endif of its guard if it has one."""
    lines = "".join(f'#include "{header}"\n' for header in headers)
    return (r"\n#endif\s*\Z", f"\n{lines}\n#endif\n", 1) if guarded else (r"\Z", f"\n{lines}", 1)


def change(path, changes):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for pattern, replacement, places in changes:
        text, found = re.subn(pattern, replacement, text)
        if found != places:
            sys.exit(f"jansson: {path}: {pattern} is in {found} places, not in {places}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def copy(source, dest, changes, headers):
    """Copies the source tree, and changes the copy as CHANGES say, and then as `changes` do."""
    shutil.rmtree(dest, ignore_errors=True)
    shutil.copytree(source, dest)
    for name in dict.fromkeys([*CHANGES, *changes]):
        change(os.path.join(dest, name), CHANGES.get(name, []) + changes.get(name, []))
    for name in ("jansson_blocks.h", *headers):
        shutil.copy(os.path.join(HERE, name), os.path.join(dest, "src"))
