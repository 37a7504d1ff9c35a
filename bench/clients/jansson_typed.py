# SPDX-License-Identifier: MIT
"""Moves jansson's structures onto types of Freelane.

    jansson_typed.py SOURCE DEST

Copies the source tree and changes the copy: values come from typed_alloc and end in fl_dealloc, each with the kind that
its type needs (jansson_typed.h). The reference count stays jansson's own. jansson_blocks.py does the rest.
"""

import sys

sys.dont_write_bytecode = True

from jansson_blocks import VALUE, copy, include_at_end

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
        (rf"\bjsonp_malloc\(sizeof\(json_({VALUE})_t\)\)", lambda m: f"typed_alloc(JSON_{m[1].upper()})", 5),
        (rf"\bjsonp_free\(({VALUE})\)", lambda m: f"typed_free({m[1]}, JSON_{m[1].upper()})", 2),
        include_at_end(False, "jansson_typed_value.h"),
    ],
    "src/jansson_private.h": [include_at_end(True, "jansson_blocks.h", "jansson_typed.h")],
}

if __name__ == "__main__":
    copy(*sys.argv[1:], CHANGES, ["jansson_typed.h", "jansson_typed_value.h"])
