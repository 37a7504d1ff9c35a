# SPDX-License-Identifier: MIT
"""An extension that carries Freelane in the folder freelane/ beside this file."""

import pathlib
import sys

from setuptools import Extension, setup

freelane = pathlib.Path("freelane")
listed = freelane / "src/python/sources.txt"
carried = listed.read_text(encoding="utf-8").split()
# Elsewhere the header falls back to the interpreter's allocation, and needs no file.
linux = sys.platform == "linux"

setup(
    ext_modules=[
        Extension(
            "vector_setuptools",
            ["vector.c", *(str(freelane / file) for file in carried if linux and file.endswith(".c"))],
            # What a source distribution has to have besides.
            depends=[str(listed), *(str(freelane / file) for file in carried if file.endswith(".h"))],
            include_dirs=[str(freelane / "include"), str(freelane / "src")],
            define_macros=[("MODULE", "vector_setuptools"), ("FREELANE_STATIC", "1")],
            # Hidden, so that extensions which carry Freelane keep to their own copies.
            extra_compile_args=["-std=gnu11", "-pthread", "-fvisibility=hidden"] if linux else [],
            extra_link_args=["-pthread"] if linux else [],
        )
    ]
)
