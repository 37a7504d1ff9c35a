# SPDX-License-Identifier: MIT
"""Says how to build an extension with Freelane: python -m freelane.config, or freelane-config."""

import argparse
import shlex
import sys

import freelane

ANSWERS = [
    ("--cflags", lambda: shlex.join(freelane.cflags()), "the flags of a C compiler, for all files of the extension"),
    ("--arguments", lambda: "\n".join(freelane.cflags()), "the same flags, one a line and as they are"),
    ("--libs", lambda: "-pthread", "the flags of the linker"),
    ("--sources", lambda: "\n".join(freelane.sources()), "the C files to compile into it, one a line"),
    ("--includedir", freelane.include_dir, "the folder with <freelane/python.h>"),
    ("--includes", lambda: "\n".join(freelane.include_dirs()), "all include folders, one a line"),
    ("--pxd", freelane.pxd, "the declarations for Cython"),
    ("--cmakedir", freelane.cmake_dir, "the folder for freelane-python_DIR"),
    ("--pkgconfigdir", freelane.pkgconfig_dir, "the folder for PKG_CONFIG_PATH"),
    ("--version", lambda: freelane.__version__, "the version"),
]


def main(arguments=None):
    """Prints the answers to all that is asked, in the order of --help."""
    parser = argparse.ArgumentParser("freelane-config", description=__doc__, allow_abbrev=False)
    for option, _, text in ANSWERS:
        parser.add_argument(option, action="store_true", help=text)
    asked = parser.parse_args(arguments)
    answers = [answer for option, answer, _ in ANSWERS if getattr(asked, option[2:])]
    if not answers:
        parser.error("nothing is asked")
    for answer in answers:
        print(answer())
    return 0


if __name__ == "__main__":
    sys.exit(main())
