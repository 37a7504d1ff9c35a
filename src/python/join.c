/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/join.h"

/* The running interpreter's; NULL with an exception. */
static PyObject *get_dict(void)
{
    PyObject *dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
    return dict != NULL ? dict : PyErr_NoMemory();
}

static PyObject *make_key(const void *what)
{
    return PyUnicode_FromFormat("freelane.%p", what);
}

/* The interpreter's PyDict_SetDefaultRef leaves the dict broken where it is refused memory to grow, so a lock makes of two
 * calls one. */
static PyMutex first_lock;

int fli_py_join_set_default(PyObject *dict, PyObject *key, PyObject *value, PyObject **found)
{
    PyMutex_Lock(&first_lock);
    int known = PyDict_GetItemRef(dict, key, found);
    if (known == 0 && PyDict_SetItem(dict, key, value) < 0)
        known = -1;
    PyMutex_Unlock(&first_lock);
    if (known == 0)
        *found = Py_NewRef(value);
    return known;
}

int fli_py_join_first(const void *what)
{
    PyObject *dict = get_dict(), *key = dict != NULL ? make_key(what) : NULL, *found = NULL;
    int known = key != NULL ? fli_py_join_set_default(dict, key, Py_True, &found) : -1;
    Py_XDECREF(found);
    Py_XDECREF(key);
    return known < 0 ? -1 : known == 0;
}

int fli_py_join_once(const void *what, int (*join)(void))
{
    PyObject *dict = get_dict(), *key = dict != NULL ? make_key(what) : NULL;
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
