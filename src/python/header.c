/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/header.h"

#include <string.h>

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

int fli_py_header_ready(void)
{
    if (compared || !FL_PY_HEADERS)
        return 0;
    PyObject *object = PyBaseObject_Type.tp_alloc(&PyBaseObject_Type, 0);
    if (object == NULL)
        return -1;
    is_known = writes_the_same(object);
    compared = true;
    Py_DECREF(object);
    return 0;
}

bool fli_py_header_is_known(void)
{
    return is_known;
}

#endif
