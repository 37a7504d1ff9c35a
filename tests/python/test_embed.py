# SPDX-License-Identifier: MIT
"""A program that initializes and finalizes the interpreter several times in one process."""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent

USE = """
import gc, threading
import freelane_demo as demo
from demo_support import types

def use():
    for type_ in types():
        many = [type_() for _ in range(300)]
        del many

use()
thread = threading.Thread(target=use)
thread.start()
thread.join()
assert demo.stats()["cached_objects"] > 0
gc.collect()
assert demo.stats()["cached_objects"] == 0
use()
keep = [type_() for type_ in types()]
"""


class Embed(unittest.TestCase):
    def build(self, folder):
        """Links the program with the interpreter's library; skips where that was not installed."""
        value = sysconfig.get_config_var
        library = pathlib.Path(value("LIBDIR") or "") / (value("LDLIBRARY") or "")
        compiler = shutil.which("gcc") or shutil.which("cc")
        if not library.is_file() or compiler is None or "-fsanitize" in (value("PY_CFLAGS") or ""):
            self.skipTest(f"nothing to link with: {library}")
        program = folder / "embed"
        command = [compiler, f"-I{sysconfig.get_path('include')}", str(HERE / "embed.c"), str(library), "-o", str(program)]
        command += [f"-Wl,-rpath,{library.parent}", "-Wl,--export-dynamic", "-pthread", "-ldl", "-lm"]
        command += shlex.split(" ".join(value(name) or "" for name in ("LIBS", "SYSLIBS")))
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        return program

    def test_interpreters_one_after_the_other(self):
        with tempfile.TemporaryDirectory() as folder:
            program = self.build(pathlib.Path(folder))
            result = subprocess.run(
                [program, "4", USE],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=300,
                env={**os.environ, "PYTHONHOME": sys.base_prefix, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            self.assertEqual(result.returncode, 0, result.stdout)


if __name__ == "__main__":
    unittest.main()
