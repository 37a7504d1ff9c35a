# SPDX-License-Identifier: MIT
#
# Puts the classes of a Cython module on Freelane: what @cython.freelist does where there is a GIL.
#
#     from freelane cimport freelist
#
#     cdef class Point:
#         cdef public double x, y
#
#     freelist(Point)
#
# freelist(Class) stands behind the class, in the module that defines it, before the first object of the class is made.
# It gives the class the slots of a LEGACY type of freelane/python.h. The tp_dealloc that Cython generates is called as
# before, where the stack has room for that, so that structures of any depth can be dropped. It raises a TypeError that
# says why if the class cannot have the slots, and an ImportError in a subinterpreter if Cython has made the class a static
# type. Where the module has 128 such classes already, further ones keep the interpreter's memory. A cdef class that is
# derived from one in the same module needs a line of its own. Classes derived in Python get the interpreter's memory.
#
# The module is compiled with the flags and together with the sources that the package freelane names. It does not need
# the package afterwards. Needs Cython 3.1 or later.

cdef extern from *:
    """
    #include <freelane/python.h>

    static inline int freelane_cython_freelist(PyObject *object)
    {
        unsigned flags = FL_PY_CYTHON;
        if (!PyType_Check(object)) {
            PyErr_Format(PyExc_TypeError, "freelane: freelist(%R): it is no class", object);
            return -1;
        }
    #if CYTHON_USE_MODULE_STATE
        /* The tp_dealloc may look for itself in order to find that of another module's class. */
        if (((PyTypeObject *)object)->tp_base != &PyBaseObject_Type)
            flags |= FL_PY_UNWRAPPED;
    #endif
        return fl_py_type_adopt((PyTypeObject *)object, flags);
    }
    """
    int freelist "freelane_cython_freelist"(object cls) except -1
