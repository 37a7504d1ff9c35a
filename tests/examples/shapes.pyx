# extension: shapes.pyx
# cython: language_level=3, freethreading_compatible=True

from freelane cimport freelist

cdef class Point:
    cdef public double x, y

    def __init__(self, double x=0, double y=0):
        self.x, self.y = x, y

freelist(Point)

cdef class Line:
    cdef public object start, end

    def __init__(self, start, end):
        self.start, self.end = start, end

freelist(Line)
