# extension: shapes.pyx
# cython: language_level=3, freethreading_compatible=True

cdef extern from *:
    """
    #include <freelane/python.h>

    typedef struct { PyObject_HEAD double x, y; } PointLayout;
    FL_PY_TYPE(point, PointLayout, .kind = FL_DEALLOC_PLAIN, .subclassed = true)

    typedef struct { PyObject_HEAD PyObject *start, *end; } LineLayout;
    FL_PY_TYPE(line, LineLayout, .kind = FL_DEALLOC_LEGACY, .gc = true, .subclassed = true)

    static int put_on_freelane(PyTypeObject *type, const struct fl_py_type *freelane)
    {
        type->tp_alloc = freelane->alloc;
        type->tp_free = freelane->free;
        if (freelane->kind != FL_DEALLOC_LEGACY)
            type->tp_dealloc = freelane->dealloc;
        return fl_py_type_ready(freelane, type);
    }
    #define point_on_freelane(type) put_on_freelane((PyTypeObject *)(type), &point_freelane)
    #define line_on_freelane(type) put_on_freelane((PyTypeObject *)(type), &line_freelane)
    """
    int point_on_freelane(object type) except -1
    int line_on_freelane(object type) except -1

cdef class Point:
    cdef public double x, y

    def __init__(self, double x=0, double y=0):
        self.x, self.y = x, y

point_on_freelane(Point)

cdef class Line:
    cdef public object start, end

    def __init__(self, start, end):
        self.start, self.end = start, end

line_on_freelane(Line)
