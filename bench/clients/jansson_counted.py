# SPDX-License-Identifier: MIT
"""Makes jansson's values objects of Freelane, which counts their references.

    jansson_counted.py SOURCE DEST

Copies the source tree and changes the copy: a value begins with a struct fl_object, whose type says what jansson's
`type` said (jansson_counted.h); json_incref and json_decref are fl_incref and fl_decref. Arrays and objects are constructed
objects, whose tables stay; integers and reals are PLAIN, strings CLEAR (jansson_counted_value.h). jansson_blocks.py does
the rest.

jansson's own tests are changed in two ways. They look at `refcount`, a member that is no more; in the copy they ask
json_refcount, which adds the two counts up. And two of them end a cycle of two values by dropping one of these twice,
besides what the other one drops of it when it dies: one reference more than there are. jansson's count passes 0 then
unnoticed, and Freelane reports misuse. In the copy the first of these drops empties the value instead.
"""

import sys

sys.dont_write_bytecode = True

from jansson_blocks import VALUE, copy, include_at_end

ALLOC = """static inline void *json_alloc(json_type type) {
    return fl_object_alloc(fl_thread_self(), &json_kinds[type].constructed.type);
}
"""

# In jansson's tests: how often they look at a count.
LOOKS = {"array": 2, "copy": 12, "number": 1, "object": 2, "pack": 27, "simple": 12, "unpack": 2}

CYCLES = ("array", "object")


def changes_of_test(name):
    changes = [(r"(\w+(?:\([^()]*\))?)->refcount\b", r"json_refcount(\1)", LOOKS[name])]
    if name in CYCLES:
        changes.append((r"(decref twice [^\n]*\n +)json_decref\(", rf"\1json_{name}_clear(", 1))
    return changes


# file: (pattern, replacement, places)
CHANGES = {
    "src/jansson.h": [
        (r'(#include "jansson_config\.h"\n)', r"\1\n#include <freelane/object.h>\n", 1),
        (r"(?s)typedef struct json_t \{.*?\} json_t;\n", r'#include "jansson_counted.h"\n', 1),
        (r"(#define json_typeof\(json\) +)\(\(json\)->type\)", r"\1json_kind_of(json)", 1),
        (r"\(json\) && json_typeof\(json\) == (JSON_\w+)\)", r"(json) && json_is_kind(json, \1))", 8),
        (r"(?s)/\* do not call JSON_INTERNAL_INCREF.*?\n#endif\n\n", "", 1),
        (
            r"if \(json && json->refcount != \(size_t\)-1\)\n +JSON_INTERNAL_INCREF\(json\);",
            "if (json)\n        fl_incref(fl_thread_self(), json);",
            1,
        ),
        (r"/\* do not call json_delete directly \*/\nvoid json_delete\(json_t \*json\);\n\n", "", 1),
        (
            r"if \(json && json->refcount != \(size_t\)-1 && JSON_INTERNAL_DECREF\(json\) == 0\)\n +json_delete\(json\);",
            "if (json)\n        fl_decref(fl_thread_self(), json);",
            1,
        ),
    ],
    "src/value.c": [
        (r"(?s)static JSON_INLINE void json_init\(.*?\n\}\n", ALLOC, 1),
        (rf"\bjsonp_malloc\(sizeof\(json_({VALUE})_t\)\)", lambda m: f"json_alloc(JSON_{m[1].upper()})", 5),
        # What the types' callbacks do instead: `construct` here, and `reset` and `clear` below.
        (r"(?s)    json_init\(&object->json, JSON_OBJECT\);\n.*?(    return &object->json;)", r"\1", 1),
        (r"(?s)    json_init\(&array->json, JSON_ARRAY\);\n.*?(    return &array->json;)", r"\1", 1),
        (r"    json_init\(&\w+->json, JSON_\w+\);\n", "", 3),
        (r"(?s)static void json_delete_\w+\(json_\w+ \*\w+\) \{\n.*?\n\}\n", "", 3),
        (r"static void json_delete_\w+\(json_\w+ \*\w+\) \{[^}]*\}\n", "", 2),
        (r"(?s)/\*\*\* deletion \*\*\*/\n\nvoid json_delete\(json_t \*json\) \{\n.*?\n\}\n", "", 1),
        (
            r"static json_t (the_\w+) = \{(JSON_\w+), \(size_t\)-1\};",
            r"static json_t \1 = FL_OBJECT_IMMORTAL(&json_kinds[\2].constructed.type);",
            3,
        ),
        # Debug builds of Freelane count these, too. jansson counts neither what it gives nor what it gets.
        (r"    return &(the_\w+);", r"    return json_incref(&\1);", 3),
        (r"(        case JSON_NULL:\n            return )((?:\(json_t \*\))?json);", r"\1json_incref(\2);", 2),
        include_at_end(False, "jansson_counted_value.h"),
    ],
    "src/jansson_private.h": [include_at_end(True, "jansson_blocks.h")],
    **{f"test/suites/api/test_{name}.c": changes_of_test(name) for name in LOOKS},
}

if __name__ == "__main__":
    copy(*sys.argv[1:], CHANGES, ["jansson_counted.h", "jansson_counted_value.h"])
