/* SPDX-License-Identifier: MIT
 *
 * What a class in Rust (polygons.rs) needs in C: one call of Freelane.
 */
#include <freelane/python.h>

int polygons_execute(PyObject *module);
int polygons_adopt(PyTypeObject *type);

/* Called by the Rust side, before the first object of the class is made. */
int polygons_adopt(PyTypeObject *type)
{
    return fl_py_type_adopt(type, 0);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)polygons_execute},
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
    {0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "polygons", .m_slots = slots};

PyMODINIT_FUNC PyInit_polygons(void)
{
    return PyModuleDef_Init(&definition);
}
