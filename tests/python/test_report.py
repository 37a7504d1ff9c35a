# SPDX-License-Identifier: MIT
"""What a copy of Freelane tells of itself, and how the package freelane shows it: freelane.report() in a program,
python -m freelane around one."""

import gc
import json
import os
import pathlib
import sys
import tempfile
import textwrap
import threading
import unittest

import freelane_demo as demo
from demo_support import PLAIN_KINDS, TestCase, few, run_command, run_python, types

PACKAGE = str(pathlib.Path(__file__).resolve().parents[2] / "src/python/package")
sys.path.append(PACKAGE)

import freelane

HAVE_GC = 1 << 14  # Py_TPFLAGS_HAVE_GC

SCRIPT = """
import sys
import freelane_demo as demo
points = [demo.Point() for _ in range(321)]
print("arguments", sys.argv[1:])
sys.exit(5)
"""


def told():
    (copy,) = freelane.copies()
    return copy


def row(name):
    (found,) = [row for row in told()["types"] if row["type"] == f"freelane_demo.{name}"]
    return found


def run_module(*arguments, **options):
    options = {"PYTHONPATH": os.pathsep.join([PACKAGE, *sys.path]), **options}
    return run_command([sys.executable, "-X", "faulthandler", "-m", "freelane", *arguments], **options)


class Counts(TestCase):
    def test_live_objects_of_each_type(self):
        for type_ in types():
            with self.subTest(type_):
                before = row(type_.__name__)["live"]
                objects = [type_() for _ in range(700)]
                after = row(type_.__name__)
                self.assertEqual(after["live"] - before, 700)
                self.assertGreaterEqual(after["live_bytes"], 700 * type_.__basicsize__)
                self.assertEqual(after["size"], type_.__basicsize__)
                self.assertEqual(after["gc"], type_.__flags__ & HAVE_GC != 0)
                del objects
                self.assertEqual(row(type_.__name__)["live"], before)

    def test_kept_objects_of_a_type_with_gc(self):
        gc.collect()
        nodes = [demo.Node() for _ in range(100)]
        del nodes
        self.assertEqual((row("Node")["kept"], row("Node")["live"]), (100, 0))
        keeper = threading.Thread(target=lambda: [demo.Node() for _ in range(50)])
        keeper.start()
        keeper.join()
        self.assertEqual(row("Node")["kept_bytes"], row("Node")["kept"] * demo.Node.__basicsize__)
        gc.collect()
        self.assertEqual(row("Node")["kept"], 0)

    def test_objects_of_subclasses_are_told_apart(self):
        class Named(demo.GCPair):
            pass

        named = [Named(1, 2) for _ in range(30)]
        self.assertEqual((row("GCPair")["derived"], row("GCPair")["live"]), (30, 0))
        del named
        self.assertEqual(row("GCPair")["derived"], 0)

    def test_the_blocks_are_those_of_the_types(self):
        kept_alive = [type_() for type_ in types(PLAIN_KINDS) for _ in range(300)]
        copy = told()
        sizes = {size["block"]: size for size in copy["sizes"]}
        for block, size in sizes.items():
            live = sum(type_["live"] for type_ in copy["types"] if type_["block"] == block)
            self.assertEqual(size["live"], live, size)
            self.assertGreater(size["slabs"], 0)
            self.assertEqual(size["kept_bytes"], size["kept"] * block)
        self.assertEqual(copy["others"]["live"], 0)
        live = sum(type_["live_bytes"] for type_ in copy["types"] if not type_["gc"])
        self.assertEqual(live, copy["stats"]["live_bytes"])
        del kept_alive

    def test_it_is_told_while_other_threads_allocate(self):
        done = threading.Event()

        def allocate():
            mine = []
            while not done.is_set():
                mine = [type_() for type_ in (demo.Point, demo.Pair, demo.Node) for _ in range(100)]
            del mine

        def look():
            try:
                for _ in range(few(200, 20)):
                    copy = told()
                    for type_ in copy["types"]:
                        # What the three hold now, what they are about to drop, and no more.
                        self.assertLessEqual(type_["live"], 3 * 200)
            finally:
                done.set()

        threads = [threading.Thread(target=allocate) for _ in range(3)]
        for thread in threads:
            thread.start()
        look()
        for thread in threads:
            thread.join()


class Copies(unittest.TestCase):
    def test_types_of_a_module_that_is_gone_are_not_told(self):
        run_python(
            f"""
            import gc, sys
            sys.path.append({PACKAGE!r})
            import freelane, freelane_demo

            def names():
                gc.collect()
                gc.collect()
                return sorted(row["type"] for row in freelane.copies()[0]["types"])

            for _ in range(3):
                before = names()
                del sys.modules["freelane_demo"], freelane_demo
                after = names()
                assert "freelane_demo.Node" in before and "freelane_demo.Node" not in after, after
                import freelane_demo
                assert names() == before
            """,
            FREELANE_DEMO_MORTAL="1",
        )

    def test_a_type_that_is_made_ready_again_is_told_once(self):
        names = [(type_["type"], type_["kind"]) for type_ in told()["types"]]
        run_python(
            f"""
            import sys
            sys.path.append({PACKAGE!r})
            import freelane, freelane_demo as first
            del sys.modules["freelane_demo"]
            import freelane_demo as second
            names = [row["type"] for row in freelane.copies()[0]["types"]]
            assert names.count("freelane_demo.StaticPoint") == 1, names
            assert names.count("freelane_demo.Point") == 2, names
            """
        )
        self.assertEqual(len(set(names)), len(names))

    def test_types_on_the_interpreters_memory(self):
        """LEGACY types that keep their tp_dealloc have no slot of their declaration there."""
        program = f"""
            import sys
            sys.path.append({PACKAGE!r})
            import freelane, freelane_demo as demo
            many = [type_() for type_ in (demo.LookingLabel, demo.WideLabel, demo.BareLabel, demo.Label, demo.GCLabel)]
            (copy,) = freelane.copies()
            kinds = {{row["type"].removeprefix("freelane_demo."): row["kind"] for row in copy["types"]}}
            assert {{kinds[type(one).__name__] for one in many}} == {{"LEGACY"}}, kinds
            assert kinds["Point"] == "PLAIN" and kinds["GCHandle"] == "FINALIZE", kinds
            freelane.report()
            """
        run_python(program, PYTHONMALLOC="debug")
        run_python(program)

    def test_another_interpreter_tells_of_its_own(self):
        """Not of the main one's blocks, whose threads it does not stop."""
        program = f"""
            import sys
            sys.path[:] = {[PACKAGE, *sys.path]!r}
            import freelane, freelane_demo as demo
            many = [type_() for type_ in (demo.GCPair, demo.Pair, demo.LookingLabel) for _ in range(70)]
            (copy,) = freelane.copies()
            rows = {{row["type"].removeprefix("freelane_demo."): row for row in copy["types"]}}
            assert rows["GCPair"]["live"] == 70 and rows["LookingLabel"]["kind"] == "LEGACY", copy
            assert rows["Point"]["live"] == copy["others"]["live"] == 0, copy
            """
        run_python(
            f"""
            import _interpreters
            import freelane_demo as demo
            points = [demo.Point() for _ in range(1000)]
            failure = _interpreters.exec(_interpreters.create(), {textwrap.dedent(program)!r})
            assert failure is None, failure
            """
        )

    @unittest.skipUnless(hasattr(os, "fork"), "no fork")
    def test_the_child_of_a_fork_tells_too(self):
        run_python(
            f"""
            import os, sys
            sys.path.append({PACKAGE!r})
            import freelane, freelane_demo as demo
            points = [demo.Point() for _ in range(10)]
            pid = os.fork()
            (copy,) = freelane.copies()
            (row,) = [row for row in copy["types"] if row["type"] == "freelane_demo.Point"]
            assert row["live"] == 10, row
            if pid == 0:
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            """
        )

    def test_a_copy_of_another_version_is_named_and_not_read(self):
        run_python(
            f"""
            import sys
            sys.path.append({PACKAGE!r})
            sys._freelane = [lambda: {{"version": 7}}]
            import freelane
            assert "version 7, which this package does not know" in freelane.report(), freelane.report()
            """
        )


class Program(unittest.TestCase):
    """python -m freelane."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.script = pathlib.Path(folder.name) / "points.py"
        self.script.write_text(SCRIPT, encoding="utf-8")

    def assert_points(self, output):
        line, _, rest = output.partition("\n")
        self.assertEqual(line, "arguments ['-x', '--json']")
        (points,) = [
            row for copy in json.loads(rest)["copies"] for row in copy["types"] if row["type"] == "freelane_demo.Point"
        ]
        self.assertEqual((points["live"], points["kind"]), (321, "PLAIN"))

    def test_a_script(self):
        self.assert_points(run_module("--json", self.script, "-x", "--json", returncode=5))

    def test_a_module(self):
        options = {"returncode": 5, "PYTHONPATH": os.pathsep.join([str(self.script.parent), PACKAGE, *sys.path])}
        self.assert_points(run_module("--json", "-m", "points", "-x", "--json", **options))

    def test_a_script_finds_modules_as_the_interpreter_finds_them(self):
        folder = str(self.script.parent)
        self.script.write_text(f"import sys; print(sys.path.index({folder!r}) if {folder!r} in sys.path else None)")
        for safe, place in (("", "0"), ("1", "None")):
            alone = run_command([sys.executable, self.script], PYTHONSAFEPATH=safe)
            self.assertEqual(alone, f"{place}\n")
            self.assertEqual(run_module(self.script, PYTHONSAFEPATH=safe).split("\n")[0], place)

    def test_text(self):
        output = run_module(self.script, returncode=5)
        self.assertIn("Freelane in freelane_demo\n", output)
        self.assertRegex(output, r"\n  freelane_demo\.Point +PLAIN +\d+ +321 ")

    def test_a_module_that_is_imported_only(self):
        self.assertRegex(run_module("-i", "freelane_demo"), r"\n  freelane_demo\.Node +CLEAR +\d+ +0 ")

    def test_a_process_without_such_an_extension(self):
        self.assertEqual(run_module(), "No extension with Freelane is in this process.\n")
        self.assertEqual(json.loads(run_module("--json")), {"copies": []})


if __name__ == "__main__":
    unittest.main()
