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
# before, where the stack has room for that, so that structures of any depth can be dropped. It raises a TypeError that says why if the class cannot have them, and an ImportError in a
# subinterpreter. A module has at most 64 such classes. A cdef class that is derived from one in the same module needs a
# line of its own. Classes derived in Python get the interpreter's memory.
#
# The module is compiled with the flags and together with the sources that the package freelane names. It does not need
# the package afterwards. Needs Cython 3.1 or later.

cdef extern from *:
    """
    #include <freelane/python.h>

    /* The declarations of the module's classes. freelist fills them in where the module is executed; constant from
     * then on. */
    static struct fl_py_state freelane_cython_states[64];
    static struct fl_py_type freelane_cython_types[64];
    static unsigned freelane_cython_count;

    /* The fast paths, once for all classes: the slots of each jump here. */
    static __attribute__((noinline)) PyObject *freelane_cython_alloc(const struct fl_py_type *self, PyTypeObject *type,
                                                                     Py_ssize_t items)
    {
        return fl_py_alloc(self, type, items);
    }

    static __attribute__((noinline)) void freelane_cython_free(const struct fl_py_type *self, PyObject *object)
    {
        fl_py_free(self, object);
    }

    static __attribute__((noinline)) void freelane_cython_dealloc(const struct fl_py_type *self, PyObject *object)
    {
        fl_py_dealloc(self, object);
    }

    /* Numbers are octal. */
    #define FREELANE_CYTHON_SLOTS(n)                                                                                  \\
        static PyObject *freelane_cython_alloc_##n(PyTypeObject *type, Py_ssize_t items)                              \\
        {                                                                                                             \\
            return freelane_cython_alloc(&freelane_cython_types[n], type, items);                                     \\
        }                                                                                                             \\
        static void freelane_cython_free_##n(void *object)                                                            \\
        {                                                                                                             \\
            freelane_cython_free(&freelane_cython_types[n], (PyObject *)object);                                      \\
        }                                                                                                             \\
        static void freelane_cython_dealloc_##n(PyObject *object)                                                     \\
        {                                                                                                             \\
            freelane_cython_dealloc(&freelane_cython_types[n], object);                                               \\
        }
    #define FREELANE_CYTHON_NAMES(n) {freelane_cython_alloc_##n, freelane_cython_free_##n, freelane_cython_dealloc_##n},
    #define FREELANE_CYTHON_EIGHT(m, n) m(n##0) m(n##1) m(n##2) m(n##3) m(n##4) m(n##5) m(n##6) m(n##7)
    #define FREELANE_CYTHON_ALL(m)                                                                                    \\
        FREELANE_CYTHON_EIGHT(m, 00) FREELANE_CYTHON_EIGHT(m, 01) FREELANE_CYTHON_EIGHT(m, 02)                        \\
        FREELANE_CYTHON_EIGHT(m, 03) FREELANE_CYTHON_EIGHT(m, 04) FREELANE_CYTHON_EIGHT(m, 05)                        \\
        FREELANE_CYTHON_EIGHT(m, 06) FREELANE_CYTHON_EIGHT(m, 07)

    FREELANE_CYTHON_ALL(FREELANE_CYTHON_SLOTS)

    static const struct { allocfunc alloc; freefunc free; destructor dealloc; } freelane_cython_slots[64] = {
        FREELANE_CYTHON_ALL(FREELANE_CYTHON_NAMES)
    };

    static __attribute__((unused)) int freelane_cython_freelist(PyObject *object)
    {
        PyTypeObject *type = (PyTypeObject *)object;
        if (!PyType_Check(object) || freelane_cython_count == 64) {
            PyErr_Format(PyExc_TypeError, "freelane: freelist(%R): %s", object,
                         PyType_Check(object) ? "the module has 64 such classes already" : "it is no class");
            return -1;
        }
        unsigned n = freelane_cython_count++;
        struct fl_py_type *self = &freelane_cython_types[n];
        allocfunc alloc = type->tp_alloc;
        freefunc free = type->tp_free;
        self->kind = FL_DEALLOC_LEGACY;
        self->gc = PyType_HasFeature(type, Py_TPFLAGS_HAVE_GC);
        self->subclassed = PyType_HasFeature(type, Py_TPFLAGS_BASETYPE);
        self->immortal = !PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE);
        self->variable = type->tp_itemsize != 0;
        self->size = (size_t)type->tp_basicsize;
        self->alloc = type->tp_alloc = freelane_cython_slots[n].alloc;
        self->free = type->tp_free = freelane_cython_slots[n].free;
        self->dealloc = freelane_cython_slots[n].dealloc;
        self->state = &freelane_cython_states[n];
        self->state->cython = true;
    #if CYTHON_USE_MODULE_STATE
        /* The tp_dealloc may look for itself in order to find that of another module's class. */
        self->unwrapped = type->tp_base != &PyBaseObject_Type;
    #endif
        if (fl_py_type_ready(self, type) == 0)
            return 0;
        type->tp_alloc = alloc;
        type->tp_free = free;
        return -1;
    }
    """
    int freelist "freelane_cython_freelist"(object cls) except -1
