# SPDX-License-Identifier: MIT
"""Many extensions on Freelane in one process: what each costs a collection."""

import functools
import pathlib
import re
import shutil
import sys
import tempfile
import unittest

from demo_support import run_command, run_python
from extension_support import SUFFIX, compile_carried, examples, link_extension

COPIES = 40

PROGRAM = """
import gc, importlib.util, time
gc.disable()

def load(number):
    spec = importlib.util.spec_from_file_location("geometry", {folder!r} + "/" + str(number) + "/geometry{suffix}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

def use(copies):
    for copy in copies:
        copy.Segment(copy.Point(1, 2), copy.Point(3, 4))

def milliseconds(generation, copies):
    taken = []
    for _ in range(50):
        use(copies)
        start = time.perf_counter()
        gc.collect(generation)
        taken.append(time.perf_counter() - start)
    return min(taken) * 1000
"""


class Copies(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        source = cls.folder / "geometry.c"
        source.write_text(examples(".c", "/* extension:")["geometry.c"], encoding="utf-8")
        built = link_extension(source, compile_carried(folder.name))
        for number in range(COPIES):
            (cls.folder / str(number)).mkdir()
            shutil.copy(built, cls.folder / str(number))  # another file is another copy to the loader

    @classmethod
    def program(cls, text):
        return PROGRAM.format(folder=str(cls.folder), suffix=SUFFIX) + text

    @classmethod
    @functools.cache
    def instructions(cls, copies, collections=0, generation=0, used=False):
        program = f"""
copies = [load(number) for number in range({copies})]
use(copies)
for _ in range(4):
    gc.collect()
for _ in range({collections}):
    use(copies if {used} else [])
    gc.collect({generation})
"""
        output = cls.folder / "callgrind"
        tool = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={output}"]
        run_command([*tool, sys.executable, "-B", "-c", cls.program(program)], timeout=600)
        return int(re.search(r"^(?:summary|totals): (\d+)", output.read_text(encoding="utf-8"), re.MULTILINE).group(1))

    def of_a_copy(self, generation, used=False, copies=10, collections=20):
        """Instructions that a copy adds to a collection."""
        with_copies = self.instructions(copies, collections, generation, used) - self.instructions(copies)
        without = self.instructions(0, collections, generation) - self.instructions(0)
        return (with_copies - without) / (copies * collections)

    def test_one_that_is_not_used_has_nothing_to_do(self):
        if not shutil.which("valgrind"):
            self.skipTest("no valgrind")
        added = self.of_a_copy(2)
        print(f"not used: {added:.0f} instructions", flush=True)
        self.assertGreater(added, 100)
        self.assertLess(added, 20000)  # the collector's own look at the module and its types included

    def test_one_that_is_used_a_little_is_not_trimmed(self):
        if not shutil.which("valgrind"):
            self.skipTest("no valgrind")
        added = self.of_a_copy(0, used=True)
        print(f"used: {added:.0f} instructions", flush=True)
        self.assertGreater(added, 1000)
        self.assertLess(added, 40000)

    def test_40_add_a_millisecond(self):
        output = run_python(
            self.program(
                f"""
before = [milliseconds(generation, []) for generation in (0, 2)]
copies = [load(number) for number in range({COPIES})]
use(copies)
after = [milliseconds(generation, []) for generation in (0, 2)]
added = [one - other for one, other in zip(after, before)]
print("not used:", *added)
assert max(added) < 1, added
print("used, the young:", milliseconds(0, copies) - before[0])
"""
            )
        )
        print(output, end="", flush=True)

    def test_a_collection_after_quiet_ones_returns_what_was_used_since(self):
        """Also what a thread keeps that does nothing any more."""
        run_python(
            """
import freelane_demo as demo
import gc, threading
gc.disable()
go, done = threading.Barrier(2), threading.Barrier(2)

def work():
    for _ in range(3):
        go.wait()
        many = [demo.Point() for _ in range(20000)] + [demo.GCPair() for _ in range(300)]
        del many
        done.wait()
    go.wait()

thread = threading.Thread(target=work, daemon=True)
thread.start()
for _ in range(3):
    for _ in range(5):
        gc.collect(0)
        gc.collect()
    before = demo.stats()["slab_bytes"]
    go.wait()
    done.wait()
    assert demo.stats()["slab_bytes"] >= before + 256 * 1024  # with the GIL the heap has trimmed itself down to that
    assert demo.stats()["cached_objects"] >= 300
    gc.collect()
    assert demo.stats()["slab_bytes"] == before, (demo.stats(), before)
    assert demo.stats()["cached_objects"] == 0
go.wait()
thread.join()
demo.check()
"""
        )


if __name__ == "__main__":
    unittest.main()
