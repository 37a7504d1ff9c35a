# SPDX-License-Identifier: MIT
"""An extension that compiles Freelane into itself, from the package freelane."""

import freelane
from setuptools import Extension, setup

settings = freelane.settings()
settings["define_macros"] += [("MODULE", "vector_setuptools")]

setup(ext_modules=[Extension("vector_setuptools", ["vector.c", *freelane.sources()], **settings)])
