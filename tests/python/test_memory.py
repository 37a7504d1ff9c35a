# SPDX-License-Identifier: MIT
"""Memory of the process while objects come and go, beside that of the same types on the interpreter's allocator.

Not for checked builds, whose magazines of two blocks take more than the objects, nor for sanitizers, which keep some of
what is freed.
"""

import unittest

from demo_support import TestCase, run_python

MIB = 1 << 20
OBJECTS = 10000000

# In the shape of CPython issue 145615: threads create, one frees. Prints the resident bytes: the most until a tenth of
# the objects was freed, the most of all, and at the end.
PROGRAM = """
    import gc, queue, threading
    import freelane_demo as demo
    from demo_support import resident_bytes
    type_, count = demo.TYPE, COUNT
    handed = queue.Queue(maxsize=16)

    def create():
        for _ in range(count // 4 // 1000):
            handed.put([type_() for _ in range(1000)])
        handed.put(None)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    ended, freed, early, peak = 0, 0, 0, 0
    while ended < 4:
        many = handed.get()
        if many is None:
            ended += 1
            continue
        freed += len(many)
        del many
        if freed % 100000 == 0:
            peak = max(peak, resident_bytes())
            if freed <= count // 10:
                early = peak
    for thread in threads:
        thread.join()
    gc.collect()
    print(early, peak, resident_bytes())
"""


# Threads work in turn and are idle then. Prints the resident bytes that a collection leaves.
IDLE_THREADS = 200
IDLE_PROGRAM = """
    import gc, threading
    import freelane_demo as demo
    from demo_support import resident_bytes
    turn, idle, go = threading.Lock(), threading.Barrier(COUNT + 1), threading.Event()

    def work():
        with turn:
            demo.churn(demo.TYPE, 5000, 25000)
        idle.wait()
        go.wait()

    before = resident_bytes()
    threads = [threading.Thread(target=work) for _ in range(COUNT)]
    for thread in threads:
        thread.start()
    idle.wait()
    gc.collect()
    print(resident_bytes() - before)
    stats = demo.stats()
    assert (stats["cached_bytes"], stats["free_bytes"], stats["slab_bytes"]) == (0, 0, 0), stats
    go.set()
    for thread in threads:
        thread.join()
"""


# One phase after the other, each with objects of another size, without collections. Prints the most resident bytes.
PHASE_OBJECTS = 300000
PHASES_PROGRAM = """
    import gc, sys, threading
    import freelane_demo as demo
    from demo_support import resident_bytes
    peak, before = 0, resident_bytes()

    def phases():
        global peak
        for size in range(2, 34, 2):
            many = [demo.TYPE(size) for _ in range(COUNT)]
            peak = max(peak, resident_bytes() - before)
            del many

    HOW
    print(peak)
"""
WITHOUT_COLLECTIONS = {
    "collector off": "gc.disable(); phases()",
    "none due": "phases()",
    "callbacks cleared": "gc.callbacks.clear(); phases()",
    "main thread waits": "gc.disable(); work = threading.Thread(target=phases); work.start(); work.join()",
    "beside an idle interpreter": "import _interpreters as all; idle = all.create(); phases(); all.destroy(idle)",
}


# Under a limit on address space: what an import takes of it; then threads, one after the other, with objects of another
# size each. Prints the bytes that the import takes.
LIMIT_PROGRAM = """
    import resource, sys, threading
    resource.setrlimit(resource.RLIMIT_AS, (COUNT, COUNT))

    def virtual_bytes():
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()

    before = virtual_bytes()
    import freelane_demo as demo
    demo.TYPE(1)
    print(virtual_bytes() - before)

    def work(length):
        size = demo.TYPE(length).__sizeof__()
        many = [demo.TYPE(length) for _ in range((700 << 20) // size)]
        served.append(len(many))

    served = []
    for length in (4, 10):
        thread = threading.Thread(target=work, args=(length,))
        thread.start()
        thread.join()
    assert len(served) == 2, served
"""


def run(kind, program=PROGRAM, count=OBJECTS):
    program = program.replace("TYPE", kind).replace("COUNT", str(count))
    return [int(word) for word in run_python(program, timeout=600).split()]


class Memory(TestCase):
    def check(self, kind):
        """Compares the least of several runs, as many as it takes. A leak of one byte an object shows as 10 MiB in every
        run; what the interpreter itself keeps varies by some MiB with how the threads are scheduled, for the twin too."""
        grown, after, twins_after = [], [], []
        for _ in range(6):
            early, peak, end = run(kind)
            _, twins_peak, twins_end = run("Default" + kind)
            print(f"{kind}: MiB early {early / MIB:.1f}, peak {peak / MIB:.1f}, after {end / MIB:.1f}; "
                  f"default twin: peak {twins_peak / MIB:.1f}, after {twins_end / MIB:.1f}")
            grown.append(peak - early)
            after.append(end)
            twins_after.append(twins_end)
            if min(grown) < 4 * MIB and min(after) < min(twins_after) + 4 * MIB:
                return
        self.fail(f"{kind} grows, or keeps more than its twin")

    def test_idle_threads(self):
        for kind in ("Point", "GCPair"):
            (left,), (twins_left,) = (run(variant, IDLE_PROGRAM, IDLE_THREADS) for variant in (kind, "Default" + kind))
            print(f"{IDLE_THREADS} idle threads, {kind}: MiB {left / MIB:.1f}, default twin {twins_left / MIB:.1f}")
            self.assertLess(left, twins_left + IDLE_THREADS * (64 << 10))

    def check_phases(self, name, how):
        """Compares the peaks of several runs, as many as it takes: on a busy machine, a thread that is due to give memory back
        may have to wait."""
        program = PHASES_PROGRAM.replace("HOW", how)
        for _ in range(4):
            (peak,), (twins_peak,) = (run(kind, program, PHASE_OBJECTS) for kind in ("Vector", "DefaultVector"))
            print(f"phases, {name}: MiB peak {peak / MIB:.1f}, default twin {twins_peak / MIB:.1f}")
            if peak < 1.2 * twins_peak + 32 * MIB:
                return
        self.fail(f"phases, {name}: the peak is too high each time")

    def test_phases_without_collections(self):
        for name, how in WITHOUT_COLLECTIONS.items():
            self.check_phases(name, how)

    def test_memory_of_one_size_serves_another_under_a_limit(self):
        for limit in (2 << 30, 3 << 30, 4 << 30):
            (taken,) = run("Vector", LIMIT_PROGRAM, limit)
            print(f"limit {limit / MIB:.0f} MiB: the import takes {taken / MIB:.1f}")
            self.assertLess(taken, limit // 32)

    def test_points(self):
        self.check("Point")

    def test_pairs_with_gc(self):
        self.check("GCPair")


if __name__ == "__main__":
    unittest.main()
