/* SPDX-License-Identifier: MIT
 *
 * The module: types and functions.
 */
#include "demo.h"

#include <stdlib.h>

/* Sets options, once in the process, if the environment says so. */
static int configure(void)
{
    const char *limit = getenv("FREELANE_DEMO_LIMIT");
    if (limit == NULL || fl_py_heap() != NULL)
        return 0;
    struct fl_py_options options = {.limit_bytes = strtoull(limit, NULL, 10)};
    return fl_py_configure(&options);
}

static int execute(PyObject *module)
{
    if (configure() < 0)
        return -1;
    if (PyModule_AddIntMacro(module, FL_PY_CACHE_BYTES) < 0 || PyModule_AddIntMacro(module, FL_PY_GROWN_BYTES) < 0 ||
        PyModule_AddIntMacro(module, FL_PY_GROWN_PARTS) < 0)
        return -1;
    if (demo_add_types(module) < 0 || demo_add_subtypes(module) < 0 || demo_add_maps(module) < 0)
        return -1;
    return demo_add_nesting(module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
    {0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "freelane_demo", .m_methods = demo_functions,
                                        .m_slots = slots};

PyMODINIT_FUNC PyInit_freelane_demo(void)
{
    return PyModuleDef_Init(&definition);
}
