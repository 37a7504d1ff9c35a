# SPDX-License-Identifier: MIT
"""Which interpreters tests/run tests with, and what it says of those that it leaves out, with a stand-in for get-python.

usage: interpreters.py <interpreters.sh>
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(sys.argv.pop(1)).resolve()

# Notes how it is called, and does what the file named after its options says: print a path, or complain and fail.
FINDER = """#!/bin/bash
cd "$(dirname "$0")"
echo "$*" >>calls
name="$(echo "answer $*" | tr -d ' ')"
[ -e "$name" ] && . "./$name"
exit 1
"""

DRIVER = """
set -euo pipefail
python_choice="$2" python_build="$3" python_log=log
. "$1"
python_finder=./finder
shift 3
for preset in "$@"; do
    python_list "$preset"
    echo "$preset: ${pythons[*]-}"
done
python_report
"""


class Interpreters(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        finder = self.folder / "finder"
        finder.write_text(FINDER, encoding="utf-8")
        finder.chmod(0o755)

    def answer(self, options, path=None, complaint=""):
        """What get-python does when it is called with these options."""
        script = f"echo {path}; exit 0" if path else f"echo '{complaint}' >&2"
        (self.folder / f"answer{options.replace(' ', '')}").write_text(script, encoding="utf-8")

    def run_driver(self, choice, build, *presets):
        """Returns the lines that it prints."""
        command = ["bash", "-c", DRIVER, "driver", SCRIPT, choice, build, *presets]
        result = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True, timeout=60)
        return result.stdout.splitlines()

    def calls(self):
        return (self.folder / "calls").read_text(encoding="utf-8").splitlines()

    def test_what_is_there_is_taken_and_looked_for_once(self):
        self.answer("--no-build", "/a/python3.13t")
        self.answer("--version=3.14 --no-build", "/e/python3.14t")
        self.answer("--gil --no-build", "/b/python3.13")
        self.answer("--version=3.14 --gil --no-build", "/c/python3.14")
        self.answer("--tsan --no-build", "/d/python3.13t")
        lines = self.run_driver("all", "yes", "release", "debug", "asan", "tsan")
        self.assertEqual(
            lines,
            [
                "release: /a/python3.13t /e/python3.14t /b/python3.13 /c/python3.14",
                "debug: /a/python3.13t",
                "asan: /a/python3.13t",
                "tsan: /d/python3.13t",
            ],
        )
        self.assertEqual(len(self.calls()), 5)

    def test_what_is_not_there_is_built(self):
        self.answer("", "/built")
        self.assertEqual(self.run_driver("free", "yes", "debug")[0], "debug: /built")
        self.assertEqual(self.calls(), ["--no-build", ""])

    def test_what_serves_two_kinds_is_named_once(self):
        for options in ("", "--version=3.14"):
            self.answer(f"{options} --no-build", "/a")
        for options in ("--gil", "--version=3.14 --gil"):
            self.answer(f"{options} --no-build", "/b")
        self.assertEqual(self.run_driver("all", "yes", "release"), ["release: /a /b"])

    def test_what_cannot_be_had_is_left_out_with_the_reason(self):
        self.answer("--gil --no-build", "/b")
        self.answer("", complaint="== compiles\nget-python: this failed: make")
        lines = self.run_driver("all", "yes", "release", "debug")
        self.assertEqual(lines[:2], ["release: /b", "debug: "])
        self.assertIn("Left out: the python tests on the interpreter (nogil): ./finder: get-python: this failed: make", lines)
        # Those that fail without a word.
        for kind in ("nogil-3.14", "gil-3.14"):
            self.assertIn(f"Left out: the python tests on the interpreter ({kind}): ./finder: ", lines)
        self.assertEqual(len(lines), 5)
        # Not tried again for the second preset.
        self.assertEqual(self.calls().count(""), 1)

    def test_nothing_is_built_for_a_selection_of_tests(self):
        lines = self.run_driver("all", "no", "tsan")
        self.assertEqual(lines[0], "tsan: ")
        self.assertRegex(lines[1], r"^Left out: .*\(tsan\): not there yet.*finder --tsan does$")
        self.assertEqual(self.calls(), ["--tsan --no-build"])

    def test_what_was_not_asked_for_is_said(self):
        lines = self.run_driver("none", "yes", "release", "tsan")
        self.assertEqual(lines, ["release: ", "tsan: ", "Left out: all python tests, by --python=none"])
        self.answer("--no-build", "/a")
        lines = self.run_driver("free", "yes", "release", "tsan")
        self.assertEqual(lines[:2], ["release: /a", "tsan: "])
        self.assertRegex(lines[2], "^Left out: .* by --python=free$")


if __name__ == "__main__":
    unittest.main()
