# SPDX-License-Identifier: MIT
"""Prints what Freelane holds in the extensions of a process: types, kept and live objects, slabs, memory by type.

    python -m freelane script.py arguments...     runs the script; prints when it has ended
    python -m freelane -m module arguments...     likewise
    python -m freelane -i module                  imports the module and prints

With --json as JSON. A program prints the same of itself at any time: print(freelane.report()).
"""

import argparse
import importlib
import os
import runpy
import sys

import freelane


def parse(arguments):
    parser = argparse.ArgumentParser(
        "python -m freelane", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("-i", dest="imports", metavar="MODULE", action="append", default=[], help="import it first")
    parser.add_argument("-m", dest="module", metavar="MODULE ...", nargs=argparse.REMAINDER, help="run it, with arguments")
    parser.add_argument("script", metavar="SCRIPT ...", nargs=argparse.REMAINDER, help="run it, with arguments")
    options = parser.parse_args(arguments)
    if options.module == []:
        parser.error("-m needs a module")
    return options


def look_first_in(folder):
    """As the interpreter does for a script or a module, unless it was told not to (-P)."""
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = folder


def run(options):
    """Runs what is to be run. Returns its global names, which live until the report."""
    if options.module:
        sys.argv = options.module
        look_first_in(os.getcwd())
        return runpy.run_module(options.module[0], run_name="__main__", alter_sys=True)
    if options.script:
        sys.argv = options.script
        look_first_in(os.path.dirname(os.path.abspath(options.script[0])))
        return runpy.run_path(options.script[0], run_name="__main__")
    return None


def main(arguments):
    options = parse(arguments)
    for module in options.imports:
        importlib.import_module(module)
    try:
        names = run(options)
    finally:
        sys.stdout.flush()
        print(freelane.report(json=options.json), flush=True)
    del names


if __name__ == "__main__":
    main(sys.argv[1:])
