# SPDX-License-Identifier: MIT
"""Where memory is refused: the heap serves where the interpreter has none, and the interpreter where the heap has none.
There is a MemoryError where neither has any, and then nothing is lost."""

import os
import re
import sys
import unittest

from demo_support import ASAN, FREE_THREADED, TSAN, run_command, run_python

try:
    import _testcapi  # has the interpreter refuse memory
except ImportError:
    _testcapi = None

# Loops that need no memory but that of the objects: no iterators, and no numbers above 256.
COMMON = f"""
import gc, mmap, resource, sys, threading
import freelane_demo as demo
gc.disable()
FREE_THREADED = {FREE_THREADED}

def rows():
    return [[None] * 250 for _ in range(250)]

def fill(rows, type, argument, count=250):
    "Whether there was memory for all of them."
    j = 0
    try:
        while j < count:
            row = rows[j]
            i = 0
            while i < 250:
                row[i] = type(argument)
                i += 1
            j += 1
    except MemoryError:
        return False
    return True

def made(rows):
    return sum(one is not None for row in rows for one in row)

def drop(rows):
    for row in rows:
        row[:] = [None] * len(row)

def use_up_elsewhere(rows, length):
    "Another thread makes more objects than the heap has room for, drops them, and does nothing any more until it is ended."
    done, go, found = threading.Event(), threading.Event(), []
    def work():
        fill(rows, demo.Vector, length)
        found[:] = demo.owns(rows[0][0]), demo.owns(rows[-1][-1])
        drop(rows)
        done.set()
        go.wait()
    def end():
        go.set()
        thread.join()
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    done.wait()
    assert found == [True, False], found
    return end

def check_all_is_dropped():
    gc.collect()
    gc.collect()
    demo.check()
    assert demo.stats()["live_bytes"] == 0, demo.stats()
"""

# The limit is reached by blocks of one size, which are free. Then others are wanted.
REFUSED_BY_THE_INTERPRETER = """
import _testcapi

def fill_refused(rows, type, argument, count=250):
    _testcapi.set_nomemory(0)
    try:
        return fill(rows, type, argument, count)
    finally:
        _testcapi.remove_mem_hooks()

first, second, third = rows(), rows(), rows()
fill(second, demo.Vector, 10, 1)
end = use_up_elsewhere(first, 6)
before = demo.stats()
assert not FREE_THREADED or before["free_bytes"] > 2 << 20, before

assert fill_refused(second, demo.Vector, 10, 40), made(second)
assert all(demo.owns(one) for row in second[:40] for one in row)
after = demo.stats()
assert not FREE_THREADED or after["stops"] > before["stops"], (before, after)

for _ in range(3):
    assert not fill_refused(third, demo.Vector, 20)
    assert made(third) > 0 and all(one is None or demo.owns(one) for row in third for one in row)
    demo.check()
assert demo.stats()["slab_bytes"] <= 4 << 20, demo.stats()
assert fill(third, demo.Vector, 20)
drop(second)
drop(third)
end()
check_all_is_dropped()
"""

# The process has no address space left, and the range of the heap is full of free blocks of one size.
REFUSED_BY_THE_SYSTEM = """
first, second, third, others = rows(), rows(), rows(), [rows() for _ in range(8)]
fill(second, demo.Vector, 60, 1)
fill(second, demo.DefaultVector, 60, 1)
end = use_up_elsewhere(first, 40)
before = demo.stats()

chunks, size = [], 1 << 30
while size >= 4096:
    try:
        chunks.append(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ))
    except (MemoryError, OSError):
        size //= 2
k = 0
while fill(others[k], demo.DefaultVector, 60):
    k += 1

assert fill(second, demo.Vector, 60, 80), made(second)
assert not fill(third, demo.Vector, 60)
chunks.clear()
owned = sum(demo.owns(one) for row in second[:80] for one in row)
assert owned > 10000, owned
after = demo.stats()
assert not FREE_THREADED or after["stops"] > before["stops"], (before, after)
assert fill(third, demo.Vector, 60)
for many in second, third, *others:
    drop(many)
end()
check_all_is_dropped()
"""

# The system commits no memory any more. The interpreter has some, in pages that are partly in use.
NOT_COMMITTED = """
interpreters, objects = rows(), rows()
fill(interpreters, demo.DefaultVector, 30)
for row in interpreters:
    row[::2] = [None] * len(row[::2])
with open("/proc/self/status") as status:
    data = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (data, resource.RLIM_INFINITY))
assert fill(objects, demo.Vector, 30, 100), made(objects)
owned = sum(demo.owns(one) for row in objects for one in row)
assert owned < 5000, owned
demo.check()
resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
drop(objects)
assert fill(objects, demo.Vector, 30)
assert sum(demo.owns(one) for row in objects for one in row) > 50000
drop(objects)
check_all_is_dropped()
"""

# Children import the types with more and more address space: prints what became of each.
NO_ROOM_FOR_A_HEAP = """
import os, resource

def work():
    import freelane_demo as demo
    for kind in ("Point", "Pair", "GCPair", "Label", "ImmortalPair", "Handle", "Vector", "Table"):
        many = [getattr(demo, kind)() for _ in range(1000)]
        del many
    demo.check()
    return 2 if demo.stats()["slab_bytes"] else 1

def result(extra):
    with open("/proc/self/statm", encoding="ascii") as file:
        virtual = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (virtual + extra, resource.RLIM_INFINITY))
    try:
        return work()
    except (ImportError, MemoryError) as error:
        return 3 if "freelane:" in str(error) else 0

for step in range(1, 41):
    pid = os.fork()
    if pid == 0:
        os._exit(result(step << 19))
    print("result", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def run(program, options, **more):
    return run_python(COMMON + program, FREELANE_PYTHON_OPTIONS=f"stops=0,{options}", **more)


@unittest.skipIf(_testcapi is None, "the interpreter has no _testcapi")
class Interpreter(unittest.TestCase):
    def test_a_stop_makes_blocks_of_another_size(self):
        run(REFUSED_BY_THE_INTERPRETER, options="limit=4M")

    def test_objects_with_gc_are_asked_for_once_more(self):
        run(
            """
import _testcapi
for type_ in demo.GCPair, demo.StaticGCPair, demo.Table, demo.Node:
    kept = type_()  # has the thread's cache made, which is empty
    stops, collections = demo.stats()["stops"], demo.stats()["collections"]
    _testcapi.set_nomemory(0, 1)
    try:
        object_ = type_()
    finally:
        _testcapi.remove_mem_hooks()
    assert type(object_) is type_ and gc.is_tracked(object_)
    after = demo.stats()
    assert after["stops"] == stops + 1 and after["collections"] == collections, (type_, after)
    del object_, kept
""",
            options="limit=4M",
        )

    def test_where_there_is_none_there_is_a_memory_error(self):
        for kind in ("Point", "Pair", "GCPair", "Vector"):
            with self.subTest(kind):
                run(
                    f"""
import _testcapi
objects, more, most = rows(), rows(), rows()
fill(objects, demo.{kind}, 1)
drop(objects)
_testcapi.set_nomemory(0)
try:
    filled = fill(objects, demo.{kind}, 1) and fill(more, demo.{kind}, 1) and fill(most, demo.{kind}, 1)
finally:
    _testcapi.remove_mem_hooks()
assert not filled
assert made(objects) > 0
for many in objects, more, most:
    drop(many)
assert fill(objects, demo.{kind}, 1)
drop(objects)
check_all_is_dropped()
""",
                    options="limit=4M",
                )


@unittest.skipIf(TSAN or ASAN, "the memory of a sanitizer's process cannot be bounded")
class System(unittest.TestCase):
    def test_a_stop_makes_blocks_of_another_size(self):
        limited = ["sh", "-c", f'ulimit -v {400 << 10}; exec "$0" "$@"', sys.executable, "-X", "faulthandler", "-c"]
        run_command([*limited, COMMON + REFUSED_BY_THE_SYSTEM], PYTHONPATH=os.pathsep.join(sys.path),
                    FREELANE_PYTHON_OPTIONS="stops=0,reserve=16M")

    def test_an_import_without_room_for_a_heap_succeeds(self):
        """First nothing can be loaded, then there is no heap, then there is one."""
        output = run_python(NO_ROOM_FOR_A_HEAP)
        results = [int(word) for word in re.findall(r"^result (\d+)$", output, re.MULTILINE)]
        self.assertEqual(len(results), 40, output)
        self.assertEqual(results, sorted(results))
        self.assertLessEqual({1, 2}, set(results))
        self.assertLessEqual(max(results), 2)

    def test_memory_that_is_not_committed_is_the_interpreters(self):
        run(NOT_COMMITTED, options="reserve=64M")


if __name__ == "__main__":
    unittest.main()
