# SPDX-License-Identifier: MIT
"""Instructions of the slots that call nothing of the interpreter while a thread's cache serves them, counted by callgrind.

Golden is what gcc 12 makes of them: raised only for a reason, given in the commit. Counted is the mean over many calls,
slow halves included.
"""

import pathlib
import platform
import re
import shutil
import sys
import tempfile
import unittest

import freelane_demo as demo
from demo_support import FREE_THREADED, run_command

CALLS = 100_000
ALIVE = 100

# A slot, the name of its type, the figure. Some 9 of each find the thread's seat (FREELANE_TLS_DYNAMIC).
# In Label's dealloc are its own tp_dealloc, and what looks after the stack.
# With the lock PyObject_Init writes the header of a new object.
GOLDEN = {
    "point_heap_freelane_dealloc": ("Point", 33),
    "point_static_freelane_dealloc": ("StaticPoint", 22),
    "label_heap_free": ("Label", 28),
    "label_heap_freelane_dealloc": ("Label", 82),
    "point_heap_alloc": ("Point", 35),
    "point_static_alloc": ("StaticPoint", 24),
    "gc_pair_heap_alloc": ("GCPair", 35),
    "gc_pair_heap_freelane_dealloc": ("GCPair", 66),
}
GOLDEN_WITH_THE_LOCK = {
    "point_heap_freelane_dealloc": ("Point", 34),
    "point_static_freelane_dealloc": ("StaticPoint", 23),
    "label_heap_free": ("Label", 28),
    "label_heap_freelane_dealloc": ("Label", 81),
}


def extension():
    return pathlib.Path(demo.__file__)


def means(slots):
    """Instructions of a call, by slot; those of what it calls included."""
    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder) / "callgrind"
        types = sorted({name for name, _ in slots.values()})  # the first pays for what happens once
        program = f"import freelane_demo as d; [d.churn(getattr(d, name), {ALIVE}, {CALLS}) for name in {types!r}]"
        run_command([
            "valgrind", "--quiet", "--tool=callgrind", "--compress-strings=no", f"--callgrind-out-file={output}",
            sys.executable, "-B", "-c", program,
        ], timeout=600, PYTHONPATH=str(extension().parent))
        text = output.read_text(encoding="utf-8")
    called = re.compile(r"^cfn=(\w+)\ncalls=(\d+) .*\n\S+ (\d+)$", re.MULTILINE)
    counts = {slot: [0, 0] for slot in slots}
    for slot, calls, instructions in called.findall(text):
        if slot in counts:
            counts[slot][0] += int(calls)
            counts[slot][1] += int(instructions)
    return {slot: instructions / max(calls, 1) for slot, (calls, instructions) in counts.items()}


class Instructions(unittest.TestCase):
    def test_slots(self):
        if not shutil.which("valgrind"):
            self.skipTest("no valgrind")
        comment = run_command(["readelf", "--string-dump=.comment", extension()])
        if platform.machine() != "x86_64" or not re.search(r"GCC: \(.*\) 12\.", comment):
            self.skipTest("the figures are those of gcc 12 on x86-64")
        golden = GOLDEN if FREE_THREADED else GOLDEN_WITH_THE_LOCK
        for slot, mean in means(golden).items():
            figure = golden[slot][1]
            print(f"{slot:<24} {mean:8.4g} {figure:6}", flush=True)
            with self.subTest(slot):
                self.assertGreater(mean, 5)
                self.assertLess(mean, figure + 0.5)
            if mean < figure - 0.5:
                print(f"{slot} has become shorter: lower its figure in {pathlib.Path(__file__).name}")


if __name__ == "__main__":
    unittest.main()
