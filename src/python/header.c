/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/header.h"

#include <string.h>

bool fl_py_writes_tracked;
static bool compared;
static bool is_known = !FL_PY_HEADERS; /* else PyObject_Init writes all headers in any case */

/* Whether fl_py_init writes the same header as the interpreter gave a new object, over bytes that are all different. */
static bool writes_the_same(const PyObject *object)
{
    PyObject written;
    unsigned char *bytes = (unsigned char *)&written;
    memcpy(bytes, object, sizeof written);
    for (size_t i = 0; i < sizeof written; i++)
        bytes[i] ^= 0xFF;
    (void)fl_py_init(&written, &PyBaseObject_Type);
    return memcmp(bytes, object, sizeof written) == 0;
}

/* Whether fl_py_write_tracked and fl_py_write_untracked write the same as the interpreter does, and the interpreter then finds
 * the object tracked or not. The list is tracked. */
static bool tracks_the_same(PyObject *list)
{
    PyObject written = {0}, before = *list;
    fl_py_write_tracked(&written, &PyList_Type);
    bool same = memcmp(&written, &before, sizeof written) == 0;
    fl_py_write_untracked(list);
    written = *list;
    same = same && !PyObject_GC_IsTracked(list);
    *list = before;
    PyObject_GC_UnTrack(list);
    same = same && memcmp(&written, list, sizeof written) == 0;
    PyObject_GC_Track(list);
    return same;
}

/* Returns 0, or -1 with MemoryError. */
static int compare_tracked(void)
{
    PyObject *list = PyList_New(0);
    if (list == NULL)
        return -1;
    fl_py_writes_tracked = tracks_the_same(list);
    Py_DECREF(list);
    return 0;
}

int fli_py_header_ready(void)
{
    if (compared || !FL_PY_HEADERS)
        return 0;
    PyObject *object = PyBaseObject_Type.tp_alloc(&PyBaseObject_Type, 0);
    if (object == NULL)
        return -1;
    is_known = writes_the_same(object);
    Py_DECREF(object);
    if (is_known && compare_tracked() < 0)
        return -1;
    compared = true;
    return 0;
}

bool fli_py_header_is_known(void)
{
    return is_known;
}

#endif
