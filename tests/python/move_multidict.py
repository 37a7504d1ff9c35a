# SPDX-License-Identifier: MIT
"""Moves the types of multidict 6.4 onto Freelane.

The source tree is that which `get-tools multidict` finds. None of it is kept here: a copy is changed, by the recipes of
src/python/README.md (moved.py). Every change has to find as many places as it does in 6.4.3; otherwise this fails and
names the file and what was looked for.

What becomes of the types:

    dicts, proxies    CLEAR, with gc. The case-insensitive ones derive from the others in C, and have a tp_dealloc of
                      their own each: so each is a declared type.
    views, iterators  CLEAR, with gc. They were made by PyObject_GC_New, and are made by tp_alloc now.
    istr              LEGACY: it derives from str, whose tp_dealloc ends with tp_free. Its tp_dealloc never gave up the
                      reference to the type. So its type cannot die in 6.4.3 either, and may be immortal.

All types are moved. What is left to the interpreter: the buffers of dicts with more than 28 items (PyMem_New), and
objects of subclasses in Python.

The declarations stand in a file of their own, _freelane.c. In _multidict.c the compiler inlines up to a limit for each
file, which the released file has reached: what is added there, its own functions lose. `isdisjoint` of keys took 1.1 to
1.2 times as long.
"""

from moved import CHECK, CHECK_METHOD, Release

# Types that hold one reference to a dict.
VIEWS = ["itemsview", "keysview", "valuesview"]
ITERATORS = ["items_iter", "keys_iter", "values_iter"]
DICTS = ["multidict", "cimultidict"]
PROXIES = ["multidict_proxy", "cimultidict_proxy"]

# Their names in the module's state.
NAMES = {
    "itemsview": "ItemsView",
    "keysview": "KeysView",
    "valuesview": "ValuesView",
    "items_iter": "ItemsIter",
    "keys_iter": "KeysIter",
    "values_iter": "ValuesIter",
    "multidict": "MultiDict",
    "cimultidict": "CIMultiDict",
    "multidict_proxy": "MultiDictProxy",
    "cimultidict_proxy": "CIMultiDictProxy",
    "istr": "IStr",
}
PREFIXES = {name: prefix for prefix, name in NAMES.items()}


def declare(prefixes, struct, clear, subclassed=False):
    fields = f".kind = FL_DEALLOC_CLEAR, .clear = {clear}, .gc = true" + (", .subclassed = true" if subclassed else "")
    return "\n".join(f"FL_PY_TYPE({prefix}, {struct}, {fields})" for prefix in prefixes)


FREELANE_H = "\n" + "".join(f"int {prefix}_on_freelane(PyTypeObject *type);\n" for prefix in NAMES)

FREELANE_C = f"""#include "Python.h"
#include <freelane/python.h>

#include "_multilib/pythoncapi_compat.h"
#include "_multilib/dict.h"
#include "_multilib/istr.h"
#include "_multilib/iter.h"
#include "_multilib/views.h"

/* What a dict gives up when it dies: its items and their buffer. */
static int
multidict_end(PyObject *self)
{{
    pair_list_dealloc(&((MultiDictObject *)self)->pairs);
    return 0;
}}

static int
multidict_proxy_end(PyObject *self)
{{
    Py_CLEAR(((MultiDictProxyObject *)self)->md);
    return 0;
}}

static int
view_end(PyObject *self)
{{
    return multidict_view_clear((_Multidict_ViewObject *)self);
}}

static int
iter_end(PyObject *self)
{{
    return multidict_iter_clear((MultidictIter *)self);
}}

{declare(DICTS, "MultiDictObject", "multidict_end", True)}
{declare(PROXIES, "MultiDictProxyObject", "multidict_proxy_end", True)}
{declare(VIEWS, "_Multidict_ViewObject", "view_end")}
{declare(ITERATORS, "MultidictIter", "iter_end")}
FL_PY_TYPE(istr, istrobject, .kind = FL_DEALLOC_LEGACY, .subclassed = true, .immortal = true)

static int
on_freelane(const struct fl_py_type *freelane, PyTypeObject *type)
{{
    type->tp_alloc = freelane->alloc;
    type->tp_free = freelane->free;
    if (freelane->kind != FL_DEALLOC_LEGACY)
        type->tp_dealloc = freelane->dealloc;
    return fl_py_type_ready(freelane, type);
}}
""" + "".join(
    f"int {prefix}_on_freelane(PyTypeObject *type) {{ return on_freelane(&{prefix}_freelane, type); }}\n" for prefix in NAMES
)


def function(name):
    """A pattern for a whole function."""
    return rf"static inline \w+\n{name}\([^{{]*\{{.*?\n\}}\n"


def ready(places, failed):
    """Where types are made, they are put on Freelane."""

    def add(match):
        name = match[1]
        return f"{match[0]}    if ({PREFIXES[name]}_on_freelane(state->{name}Type) < 0) {{\n        {failed}\n    }}\n"

    return (r"state->(\w+)Type = \(PyTypeObject \*\)tmp;\n", add, places)


def holders(prefix, struct):
    """The changes to one file with three types whose objects hold one reference to a dict."""
    return [
        (function(f"{prefix}_dealloc"), "", 1),
        (rf"    \{{Py_tp_dealloc, {prefix}_dealloc\}},\n", "", 3),
        # tp_alloc tracks the object. The collector passes over a member that is NULL yet.
        (
            rf"{struct} \*(\w+) = PyObject_GC_New\(\s*{struct}, (md->pairs\.state->\w+)\);",
            rf"{struct} *\1 = ({struct} *)\2->tp_alloc(\2, 0);",
            3,
        ),
        (r"    PyObject_GC_Track\(\w+\);\n", "", 3),
        # Each object gives up its reference to the type now, so the collector has to know of it.
        (rf"({prefix}_traverse\([^{{]*\{{\n)", r"\1    Py_VISIT(Py_TYPE(self));\n", 1),
        ready(3, "return -1;"),
    ]


# file: (pattern, replacement, places), or the text of a new file
CHANGES = {
    "_freelane.c": FREELANE_C,
    "_multilib/state.h": [(r"(\} mod_state;\n)", rf"\1{FREELANE_H}", 1)],
    "_multilib/views.h": holders("multidict_view", "_Multidict_ViewObject"),
    "_multilib/iter.h": holders("multidict_iter", "MultidictIter"),
    "_multilib/istr.h": [ready(1, "return -1;")],
    "_multidict.c": [
        (r'(#include "Python\.h"\n)', r"\1#include <freelane/python.h>\n", 1),
        (function("multidict_tp_dealloc"), "", 1),
        (function("multidict_proxy_tp_dealloc"), "", 1),
        (r"    \{Py_tp_dealloc, \w+_tp_dealloc\},\n", "", 2),
        (r"    \{Py_tp_alloc, PyType_GenericAlloc\},\n", "", 2),
        (r"    \{Py_tp_free, PyObject_GC_Del\},\n", "", 2),
        ready(4, "goto fail;"),
        (r"(static PyMethodDef module_methods\[\] = \{\n)", rf"{CHECK}\n\1    {CHECK_METHOD},\n", 1),
    ],
}

MULTIDICT = Release("multidict", "6.4.", "_multidict.c", CHANGES)
