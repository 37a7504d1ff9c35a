# SPDX-License-Identifier: MIT
"""What extensions leave of the address space that a process may have, beside the same extensions with the fall-back."""

import pathlib
import tempfile
import unittest

from demo_support import run_python
from extension_support import SUFFIX, compile_carried, copy_extension, examples, link_extension

MIB = 1 << 20
THREADS = 20

# What a copy may take: a 64th of the limit is the range of its heap, which has tables of its slabs beside it.
SHARE = 48

# Prints the MiB of the largest mapping that the process may still have after the import, and the number of threads that
# could be started. They use every copy, and all are alive at the same time.
PROGRAM = """
import resource
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
import gc, importlib.util, mmap, threading
gc.disable()

def left():
    least, most = 0, {limit} >> 20
    while least < most:
        middle = (least + most + 1) // 2
        try:
            mmap.mmap(-1, middle << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ).close()
            least = middle
        except (MemoryError, OSError):
            most = middle - 1
    return least

def load(number):
    spec = importlib.util.spec_from_file_location("geometry", f"{folder}/{{number}}/geometry{suffix}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

def use():
    return [copy.Segment(copy.Point(1, 2), copy.Point(3, 4)) for copy in copies for _ in range(300)]

def work():
    used.append(len(use()))
    done.set()
    go.wait()

copies = [load(number) for number in range({copies})]
kept, used, threads, done, go = use(), [], [], threading.Event(), threading.Event()
after_import = left()
for _ in range({threads}):
    thread = threading.Thread(target=work)
    try:
        thread.start()
    except RuntimeError:
        break
    threads.append(thread)
    done.wait()
    done.clear()
go.set()
for thread in threads:
    thread.join()
assert used == [len(kept)] * len(threads), used
print(after_import, len(threads))
"""


class AddressSpace(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        source = cls.folder / "geometry.c"
        source.write_text(examples(".c", "/* extension:")["geometry.c"], encoding="utf-8")
        for name, arguments in (("freelane", [compile_carried(cls.folder)]), ("twin", ["-DFREELANE_PYTHON_FALLBACK"])):
            built = link_extension(source, *arguments)
            copy_extension(built, cls.folder / name, 8)

    def run_copies(self, name, copies, limit):
        """The MiB that are left, and the least and the most threads that three runs could start."""
        program = PROGRAM.format(folder=self.folder / name, suffix=SUFFIX, copies=copies, limit=limit, threads=THREADS)
        left, started = zip(*(map(int, run_python(program).split()) for _ in range(3)))
        return min(left), min(started), max(started)

    def test_an_import_leaves_nearly_what_the_fall_back_leaves(self):
        """A free-threaded interpreter itself starts 14 to 20 threads at 2 GiB: each takes 72 MiB or more, as malloc's arenas
        happen to lie."""
        for limit in (2 << 30, 3 << 30, 4 << 30):
            twins_left, twins_started, _ = self.run_copies("twin", 8, limit)
            for copies in (1, 8):
                with self.subTest(limit=limit, copies=copies):
                    left, _, started = self.run_copies("freelane", copies, limit)
                    print(f"limit {limit // MIB} MiB, {copies} copies: {left} MiB left, {started} threads; "
                          f"with the fall-back {twins_left} MiB, {twins_started} threads", flush=True)
                    taken = copies * limit // MIB // SHARE
                    self.assertGreaterEqual(left, twins_left - taken - 1)
                    self.assertGreaterEqual(started, min(twins_started, THREADS - 1) - taken // 72)


if __name__ == "__main__":
    unittest.main()
