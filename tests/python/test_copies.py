# SPDX-License-Identifier: MIT
"""Many extensions on Freelane in one process: what each costs start-up and collections."""

import functools
import pathlib
import re
import shutil
import sys
import tempfile
import unittest

from demo_support import ASAN, TSAN, run_command, run_python
from extension_support import (
    FLAGS, INCLUDES, ROOT, SUFFIX, compile_carried, compiler, copy_extension, examples, link_extension
)

COPIES = 40

# What a copy may add to the start of a process, for 40 to take 5 ms; and to a full collection, its use before that included.
# In instructions, at 2 and 3 for each nanosecond: loading waits for memory.
START_MOST = 250_000
FULL_MOST = 40_000

# Calls of madvise that one makes in a full collection: for its slabs, and for its magazines.
FULL_CALLS = 2

PROGRAM = """
import gc, importlib.util, sys, time
gc.disable()

def create(number, kind=""):
    spec = importlib.util.spec_from_file_location("geometry", f"{folder}/{{kind}}{{number}}/geometry{suffix}")
    return importlib.util.module_from_spec(spec)

def load(number, kind=""):
    module = create(number, kind)
    module.__spec__.loader.exec_module(module)
    return module

def use(copies):
    for copy in copies:
        copy.Segment(copy.Point(1, 2), copy.Point(3, 4))

# Of a collection, in processor time: the least of many, because the machine may do other things meanwhile.
def milliseconds(generation, copies):
    taken = []
    for _ in range(50):
        use(copies)
        start = time.process_time()
        gc.collect(generation)
        taken.append(time.process_time() - start)
    return min(taken) * 1000
"""

# Counts calls of madvise.
COUNTER = """
#include <sys/syscall.h>
#include <unistd.h>

unsigned long madvise_calls;

int madvise(void *address, size_t length, int advice)
{
    __atomic_fetch_add(&madvise_calls, 1, __ATOMIC_RELAXED);
    return (int)syscall(SYS_madvise, address, length, advice);
}
"""


class Copies(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        source = cls.folder / "geometry.c"
        source.write_text(examples(".c", "/* extension:")["geometry.c"], encoding="utf-8")
        cls.source, cls.carried = source, compile_carried(folder.name)
        copy_extension(link_extension(source, cls.carried), cls.folder, COPIES)
        copy_extension(link_extension(source, "-DFREELANE_PYTHON_FALLBACK"), cls.folder, COPIES, "twin")

    @classmethod
    def program(cls, text):
        return PROGRAM.format(folder=str(cls.folder), suffix=SUFFIX) + text

    @classmethod
    def count(cls, program):
        """The instructions of a program, the loader's and the interpreter's included."""
        output = cls.folder / "callgrind"
        tool = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={output}"]
        run_command([*tool, sys.executable, "-B", "-c", cls.program(program)], timeout=600)
        return int(re.search(r"^(?:summary|totals): (\d+)", output.read_text(encoding="utf-8"), re.MULTILINE).group(1))

    @classmethod
    @functools.cache
    def instructions(cls, copies, collections=0, generation=0, used=False):
        return cls.count(
            f"""
copies = [load(number) for number in range({copies})]
use(copies)
for _ in range(4):
    gc.collect()
for _ in range({collections}):
    use(copies if {used} else [])
    gc.collect({generation})
"""
        )

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

    def test_one_that_is_used_a_little_is_taken_back_at_little_cost(self):
        if not shutil.which("valgrind"):
            self.skipTest("no valgrind")
        added = self.of_a_copy(2, used=True)
        print(f"used, full: {added:.0f} instructions", flush=True)
        self.assertGreater(added, 1000)
        self.assertLess(added, FULL_MOST)

    def test_one_adds_little_to_the_start(self):
        """Beside its twin, the same extension with the interpreter's allocation: loading more code, and joining."""
        if not shutil.which("valgrind"):
            self.skipTest("no valgrind")
        ends = [self.count(f"for number in range({COPIES}): load(number, {kind!r})") for kind in ("", "twin")]
        added = (ends[0] - ends[1]) / COPIES
        print(f"start: {added:.0f} instructions", flush=True)
        self.assertGreater(added, 1000)
        self.assertLess(added, START_MOST)

    def start_milliseconds(self, kind):
        program = f"""
start = time.perf_counter()
for number in range({COPIES}):
    load(number, {kind!r})
print((time.perf_counter() - start) * 1000)
"""
        return min(float(run_python(self.program(program))) for _ in range(5))

    def test_the_start_of_40_takes_milliseconds(self):
        added = self.start_milliseconds("") - self.start_milliseconds("twin")
        print(f"start of {COPIES}: {added:.1f} ms", flush=True)
        self.assertLess(added, 50)  # a machine that does other things, too, is not to fail here

    def test_all_of_one_version_stop_the_world_together(self):
        run_python(
            self.program(
                f"""
def stops():
    return sum(report()["stats"]["stops"] for report in sys._freelane)

copies = [load(number) for number in range({COPIES})]
assert [callback.__name__ for callback in gc.callbacks].count("freelane_collection") == 1, gc.callbacks
for _ in range(3):
    use(copies)
    before = stops()
    gc.collect()
    assert 1 <= stops() - before - {COPIES} <= 2, (before, stops())  # each report makes one stop, too
    # Where nothing was used, nothing is done.
    for _ in range(3):
        gc.collect()
    before = stops()
    gc.collect()
    assert stops() - before == {COPIES}, (before, stops())
"""
            )
        )

    def test_one_that_the_system_refuses_a_heap_works_without(self):
        run_python(
            self.program(
                """
import resource
copies = [load(0)]
with open("/proc/self/statm", encoding="ascii") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 20), resource.RLIM_INFINITY))
for _ in range(3):
    use(100 * copies)
    gc.collect(0)
    gc.collect()
try:
    sys._freelane[0]()
    raise AssertionError("there is a heap")
except MemoryError:
    pass
"""
            )
        )

    @unittest.skipIf(TSAN or ASAN, "the failing allocator is no sanitizer's")
    def test_an_import_that_memory_is_refused_can_be_tried_again(self):
        """Whichever allocation is refused. Each copy is tried: the interpreter's dict has an entry of each, and grows at one."""
        run_python(
            self.program(
                """
import _imp, atexit, os, signal, _testcapi  # the modules that a copy imports are there: importlib may crash, too

def fails(number, at):
    module = create(number)
    _testcapi.set_nomemory(at, at + 1)
    try:
        _imp.exec_dynamic(module)  # importlib may crash where memory is refused
    except Exception:  # the interpreter has several for it, RuntimeError and SystemError among them
        return True
    finally:
        _testcapi.remove_mem_hooks()
    return False

def again(number, at):
    signal.alarm(20)
    failed = fails(number, at)
    use([load(number)])
    gc.collect()
    gc.collect()
    assert len(sys._freelane) == number + 1, sys._freelane
    [report() for report in sys._freelane]
    return failed

def in_child(number, at):
    pid = os.fork()
    if pid == 0:
        code = 3
        try:
            code = again(number, at)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 1), (number, at, code)
    return code == 1

# The last ones do not reach so far.
for number in range(4):
    failed = [True]
    while any(failed[-3:]):
        failed.append(in_child(number, len(failed) - 1))
    assert len(failed) > 20, failed
    load(number)
"""
            ),
            FREELANE_PYTHON_OPTIONS="tools=0",
        )

    @unittest.skipIf(TSAN or ASAN, "the failing allocator is no sanitizer's")
    def test_a_dict_of_the_interpreter_that_may_not_grow_stays_whole(self):
        """sys.__dict__ grows at the entry of the first copy. PyDict_SetDefaultRef would count one that is not there."""
        run_python(
            self.program(
                """
import _imp, atexit, os, _testcapi

def fill(count=1 << 20):
    "Adds so many entries, or until it has grown; returns how many."
    names, size = vars(sys), sys.getsizeof(vars(sys))
    for i in range(count):
        names[f"filler{i}"] = None
        if sys.getsizeof(names) != size:
            return i + 1
    return count

def fails(at):
    module = create(0)
    _testcapi.set_nomemory(at, at + 1)
    try:
        _imp.exec_dynamic(module)
    except Exception:
        return True
    finally:
        _testcapi.remove_mem_hooks()
    return False

def in_child(at):
    pid = os.fork()
    if pid == 0:
        code = 3
        try:
            size = sys.getsizeof(vars(sys))
            code = fails(at)
            names = vars(sys)
            assert len(names) == len(list(names)), (len(names), len(list(names)))
            code |= (sys.getsizeof(names) == size) << 1
            use([load(0)])
            assert len(sys._freelane) == 1 and sys.getsizeof(names) > size
        except BaseException:
            sys.excepthook(*sys.exc_info())
            code = 4
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

pid = os.fork()
if pid == 0:
    os._exit(fill())
room = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) - 1
fill(room)
codes = [3]
while any(code & 1 for code in codes[-3:]):  # the last ones do not reach so far
    codes.append(in_child(len(codes) - 1))
assert set(codes) <= {0, 1, 3} and codes.count(3) > 10, codes
"""
            ),
            FREELANE_PYTHON_OPTIONS="tools=0",
        )

    def test_copies_of_another_version_work_beside_them(self):
        header = (ROOT / "include/freelane/freelane.h").read_text(encoding="utf-8")
        changed = self.folder / "freelane.h"
        changed.write_text(re.sub(r"(#define FL_VERSION_PATCH) \d+", r"\1 99", header), encoding="utf-8")
        other = self.folder / "copies.o"
        source = ROOT / "src/python/copies.c"  # which finds the others
        flags = [*FLAGS, *INCLUDES, "-D_GNU_SOURCE", "-include", changed]
        run_command([compiler(), *flags, "-c", source, "-o", other])
        copy_extension(link_extension(self.source, other, self.carried, "-Wl,-z,muldefs"), self.folder, 3, "other")
        run_python(
            self.program(
                """
import os
copies = [load(0), load(0, "other"), load(1), load(1, "other"), load(2, "other")]
assert [callback.__name__ for callback in gc.callbacks].count("freelane_collection") == 2, gc.callbacks

def work():
    many = [copy.Point(1, 2) for copy in copies for _ in range(20000)]
    many += [copy.Segment(many[0], many[1]) for copy in copies for _ in range(300)]
    used = [report()["stats"] for report in sys._freelane]
    assert all(stats["slab_bytes"] >= 20000 * 32 for stats in used), used
    del many
    gc.collect()
    left = [report()["stats"] for report in sys._freelane]
    for stats, before in zip(left, used):
        assert stats["collections"] == before["collections"] + 1, (stats, before)
        assert stats["live_bytes"] == stats["cached_objects"] == 0 and stats["slab_bytes"] <= 64 << 10, stats

work()
pid = os.fork()
if pid == 0:
    work()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
work()
"""
            )
        )

    @unittest.skipIf(TSAN or ASAN, "a sanitizer takes time")
    def test_40_add_a_millisecond(self):
        output = run_python(
            self.program(
                f"""
generations = (0, 2)
before = [milliseconds(generation, []) for generation in generations]
copies = [load(number) for number in range({COPIES})]
use(copies)
unused, used = ([milliseconds(generation, those) - least for generation, least in zip(generations, before)]
                for those in ([], copies))
print(f"not used: {{unused[0]:.2f}} ms, full {{unused[1]:.2f}} ms; used: {{used[0]:.2f}} ms, full {{used[1]:.2f}} ms")
assert max(unused) < 1, unused  # used ones are judged by instructions and calls
"""
            )
        )
        print(output, end="", flush=True)

    @unittest.skipIf(TSAN or ASAN, "a sanitizer makes such calls, too")
    def test_a_full_collection_makes_few_calls_of_the_system(self):
        source = self.folder / "counter.c"
        source.write_text(COUNTER, encoding="utf-8")
        library = source.with_suffix(".so")
        run_command([compiler(), "-O1", "-shared", "-fPIC", source, "-o", library])
        output = run_python(
            self.program(
                f"""
import ctypes, os
calls = ctypes.c_ulong.in_dll(ctypes.CDLL(os.environ["LD_PRELOAD"]), "madvise_calls")

def added(copies):
    gc.collect()
    before = calls.value
    for _ in range(10):
        use(copies)
        gc.collect()
        assert all(report()["stats"]["slab_bytes"] == 0 for report in sys._freelane)
    return (calls.value - before) / 10

copies = [load(number) for number in range({COPIES})]
use(copies)
print((added(copies) - added([])) / {COPIES})
"""
            ),
            LD_PRELOAD=str(library),
        )
        print(f"used, full: {output.strip()} calls of madvise", flush=True)
        self.assertGreater(float(output), 0)
        self.assertLessEqual(float(output), FULL_CALLS)

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
