/* SPDX-License-Identifier: MIT
 *
 * As passed.c, for the fallback of the CPython side. Of the interpreter it has the headers.
 *
 * usage: passed_fallback known
 */
#define FREELANE_PYTHON_FALLBACK 1
#include <freelane/python.h>

#include "passed.h"

/* ---- Types that are made at run time. */

static struct fl_py_fallback_known *list;
static PyTypeObject type;

static void make_known(void)
{
    static struct fl_py_fallback_known known;
    known.type = &type;
    fl_py_fallback_know(&list, &known);
    reach(1);
}

static void use_known(void)
{
    await(1);
    struct fl_py_fallback_known *known = fl_py_fallback_first(&list);
    MUST(known != NULL && known->type == &type);
}

/* ---- The scenarios. */

static const struct scenario scenarios[] = {{"known", nothing, make_known, use_known}};

int main(int argc, char **argv)
{
    return run_scenario(scenarios, 1, argc, argv);
}
