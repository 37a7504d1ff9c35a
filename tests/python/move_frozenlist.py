# SPDX-License-Identifier: MIT
"""Moves frozenlist 1.8 onto Freelane: its one class, of Cython, becomes LEGACY by the line that src/python/README.md
names. The list in each object is the interpreter's. `check` is for tests: whether the heap is whole."""

from moved import CythonRelease

END = '''
from freelane cimport freelist

freelist(FrozenList)

cdef extern from *:
    """
    #include <freelane/python.h>
    static int is_whole(void)
    {
        char error[256];
        return fl_heap_check(fl_py_heap(), error, sizeof error) == 0;
    }
    """
    bint is_whole()

def check():
    if not is_whole():
        raise AssertionError("the heap is not whole")
'''

FROZENLIST = CythonRelease("frozenlist", "1.8.", "_frozenlist.pyx", {"_frozenlist.pyx": [(r"\Z", END, 1)]})
