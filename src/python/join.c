/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/join.h"

int fli_py_join_once(const void *what, int (*join)(void))
{
    PyObject *dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
    if (dict == NULL)
        return PyErr_NoMemory(), -1;
    PyObject *key = PyUnicode_FromFormat("freelane.%p", what);
    int known = key != NULL ? PyDict_Contains(dict, key) : -1;
    if (known == 0)
        known = join() < 0 || PyDict_SetItem(dict, key, Py_True) < 0 ? -1 : 1;
    Py_XDECREF(key);
    return known < 0 ? -1 : 0;
}

/* By Python's atexit: PyUnstable_AtExit calls when the interpreter lets no thread attach any more. */
int fli_py_join_exit(PyMethodDef *method, PyObject *self)
{
    PyObject *atexit = PyImport_ImportModule("atexit");
    PyObject *done = atexit != NULL ? PyObject_CallMethod(atexit, "register", "N", PyCFunction_New(method, self))
                                    : NULL;
    int failed = done != NULL ? 0 : -1;
    Py_XDECREF(done);
    Py_XDECREF(atexit);
    return failed;
}

#endif
