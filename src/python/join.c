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

/* Enters it, unless there is one, in one step for all copies of Freelane. PyDict_SetDefaultRef would leave the dict broken
 * where it is refused memory to grow (3.13). */
static int merge(PyObject *dict, PyObject *key, PyObject *value)
{
    PyObject *entry = PyDict_New();
    int failed = entry == NULL || PyDict_SetItem(entry, key, value) < 0 ? -1 : PyDict_Merge(dict, entry, 0);
    Py_XDECREF(entry);
    return failed;
}

int fli_py_join_set_default(PyObject *dict, PyObject *key, PyObject *value, PyObject **found)
{
    int known = 0;
    *found = NULL;
    while (known == 0) /* another thread may take out what it has entered */
        known = merge(dict, key, value) < 0 ? -1 : PyDict_GetItemRef(dict, key, found);
    return known < 0 ? -1 : *found != value;
}

int fli_py_join_first(const void *what)
{
    PyObject *dict = get_dict(), *key = dict != NULL ? make_key(what) : NULL, *mark = PyList_New(0), *found = NULL;
    int known = key != NULL && mark != NULL ? fli_py_join_set_default(dict, key, mark, &found) : -1;
    Py_XDECREF(found);
    Py_XDECREF(mark);
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
