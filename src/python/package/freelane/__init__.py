# SPDX-License-Identifier: MIT
"""Freelane for CPython extensions: where its source is, for who builds one, and what it holds in the running process.

An extension compiles the files of sources() into itself, with settings(). report() tells of all such extensions in the
process. Nothing here is needed by a finished extension.
"""

import os as _os
import sys as _sys

__version__ = "@version@"
__all__ = ["cflags", "cmake_dir", "copies", "include_dir", "include_dirs", "pkgconfig_dir", "pxd", "report", "settings", "sources"]

_here = _os.path.dirname(_os.path.abspath(__file__))
_carried = _os.path.join(_here, "carried")


def include_dir():
    """The folder with <freelane/python.h>, for the extension's own files."""
    return _os.path.join(_carried, "include")


def include_dirs():
    """The include folders of an extension that compiles sources() into itself: include_dir() and one for those."""
    return [include_dir(), _os.path.join(_carried, "src")]


def sources():
    """The C files that an extension compiles into itself: absolute paths. They are C11 with the GNU extensions.

    None but on 64-bit Linux, for CPython 3.13 and later: elsewhere freelane/python.h falls back to the interpreter's own
    allocation and needs no file.
    """
    if _sys.platform != "linux" or _sys.maxsize < 2**32:
        return []
    if _sys.implementation.name != "cpython" or _sys.version_info < (3, 13):
        return []
    with open(_os.path.join(_carried, "src", "python", "sources.txt"), encoding="utf-8") as file:
        names = file.read().split()
    return [_os.path.join(_carried, *name.split("/")) for name in names if name.endswith(".c")]


def settings():
    """Keyword arguments of a setuptools.Extension that compiles sources() into itself:

        Extension("geometry", ["geometry.c", *freelane.sources()], **freelane.settings())

    All files of the extension get them. The hidden visibility keeps the copies of several extensions apart.
    """
    return {
        "include_dirs": include_dirs(),
        "define_macros": [("FREELANE_STATIC", None)],
        "extra_compile_args": ["-fvisibility=hidden", "-pthread"] if _sys.platform == "linux" else [],
        "extra_link_args": ["-pthread"] if _sys.platform == "linux" else [],
    }


def cflags():
    """The same as a list of arguments of a compiler; a linker needs -pthread."""
    given = settings()
    return [
        *(f"-I{folder}" for folder in given["include_dirs"]),
        *(f"-D{name}" for name, _ in given["define_macros"]),
        *given["extra_compile_args"],
    ]


def pxd():
    """The declarations for Cython, which finds them by itself: from freelane cimport freelist."""
    return _os.path.join(_here, "__init__.pxd")


def cmake_dir():
    """The folder that find_package(freelane-python) looks for, as the variable freelane-python_DIR."""
    return _os.path.join(_here, "share", "cmake", "freelane-python")


def pkgconfig_dir():
    """The folder of freelane-python.pc, for PKG_CONFIG_PATH."""
    return _os.path.join(_here, "share", "pkgconfig")


def copies():
    """What each copy of Freelane in the process holds: a list of dicts, one for each extension. See inside.py."""
    from freelane import inside

    return inside.copies()


def report(json=False):
    """What all copies of Freelane in the process hold, as text for people or as JSON. Returns the text.

    Stops the world twice for each copy, for as long as a look at the live objects takes. Any thread may call it.
    """
    from freelane import inside

    return inside.as_json(copies()) if json else inside.as_text(copies())
