# SPDX-License-Identifier: MIT
"""multidict 6.4 as its authors released it, and moved onto Freelane (move_multidict.py). Its own tests pass with both, on
one thread and on four at once.

Left out of them are those that are no tests of the extension:

    test_circular_imports   looks for an installed package
    pure-python             the implementation in Python, which most tests are given, too

With four threads also:

    test_leaks              processes of their own
    test_version, *guard*   the number of a dict's change, which 6.4.3 counts for all threads together without an atomic
    what counts references or objects of the process: *leak*, *ref*
"""

import shutil
import unittest

from demo_support import FREE_THREADED
from move_multidict import MULTIDICT
from moved_support import MovedTestCase

ALONE = "not pure-python"
AT_ONCE = f"{ALONE} and not leak and not ref and not guard"

DICTS = ["MultiDict", "CIMultiDict", "MultiDictProxy", "CIMultiDictProxy"]
VIEWS = ["_KeysView", "_ItemsView", "_ValuesView", "_keysiter", "_itemsiter", "_valuesiter"]


class Multidict(MovedTestCase):
    release = MULTIDICT

    def test_its_own_tests(self):
        self.compare_own_tests(ALONE, 1, least=500, without=["test_circular_imports"])

    @unittest.skipUnless(FREE_THREADED, "with the GIL they are not at once")
    def test_its_own_tests_in_four_threads(self):
        without = ["test_circular_imports", "test_leaks", "test_version"]
        self.compare_own_tests(AT_ONCE, 4, least=500, without=without)

    def python(self, program):
        """Names of types without the module's."""
        return super().python(
            """
from multidict import _multidict
told_of = told

def told(name):
    return told_of(f"multidict._multidict.{name}")
"""
            + program
        )

    def test_each_type_is_on_freelane(self):
        self.python(
            f"""
gc.collect()
gc.disable()
one, other = MultiDict(a=1), CIMultiDict(b=2)
makers = {{
    "MultiDict": MultiDict,
    "CIMultiDict": CIMultiDict,
    "MultiDictProxy": lambda: MultiDictProxy(one),
    "CIMultiDictProxy": lambda: CIMultiDictProxy(other),
    "_KeysView": one.keys,
    "_ItemsView": one.items,
    "_ValuesView": one.values,
    "_keysiter": lambda: iter(one.keys()),
    "_itemsiter": lambda: iter(one.items()),
    "_valuesiter": lambda: iter(one.values()),
}}
assert set(makers) == set({DICTS + VIEWS!r})
for name, make in makers.items():
    row = told(name)
    assert (row["kind"], row["gc"]) == ("CLEAR", True), row
    before = row["live"]
    made = [make() for _ in range(100)]
    addresses = set(map(id, made))
    assert told(name)["live"] == before + 100, told(name)
    kept = told(name)["kept"]
    del made
    assert told(name)["live"] == before, told(name)
    # What died is kept, and used again.
    assert told(name)["kept"] >= kept + 90, told(name)
    assert len({{id(object) for object in [make() for _ in range(90)]}} & addresses) == 90, name
_multidict.check()
"""
        )

    def test_strings_lie_in_slabs(self):
        self.python(
            """
gc.collect()
before = sys.getallocatedblocks()
strings = [istr("Content-Type") for _ in range(5000)]
row = told("istr")
assert (row["kind"], row["gc"], row["live"]) == ("LEGACY", False, 5000), row
# The text is the interpreter's, and so is that in lower case. Beyond those there are what lists and threads hold.
assert sys.getallocatedblocks() - before < 2.6 * 5000, sys.getallocatedblocks() - before
assert all(string == "Content-Type" for string in strings)
keys = CIMultiDict((string, i) for i, string in enumerate(strings[:20]))
assert keys.getall("content-type") == list(range(20))
del strings, keys
assert told("istr")["live"] == 0
_multidict.check()
"""
        )

    def test_threads_with_objects_of_their_own(self):
        self.python(
            """
def work(seed):
    for i in range(300):
        one = MultiDict((f"key{j % 7}", j) for j in range(i % 60))
        two = CIMultiDict(one)
        for made in (one, two, one.copy(), MultiDictProxy(one), CIMultiDictProxy(two)):
            assert list(made.items()) == list(zip(made.keys(), made.values()))
            assert sum(made.values()) == sum(range(i % 60))
        if i % 60 > 7:
            assert two.getall(istr("KEY3"))[0] == 3
            assert one.pop("key3") == 3
        two.add("self", two.items())
        one.add("self", iter(one.values()))
        if i % 100 == seed:
            gc.collect()
    done.append(seed)

done = []
in_threads(work, range(4))
assert sorted(done) == [0, 1, 2, 3]
gc.collect()
for name in ("MultiDict", "CIMultiDict", "_ItemsView", "_valuesiter", "istr"):
    assert told(name)["live"] == 0, told(name)
_multidict.check()
"""
        )

    def test_objects_cross_threads(self):
        self.python(
            """
shared = [MultiDict(number=i) for i in range(64)]

def replace(seed):
    for i in range(5000):
        place = (i * seed) % 64
        assert "number" in shared[place].keys()
        shared[place] = CIMultiDict(number=i)

in_threads(replace, (1, 3, 5))
del shared
gc.collect()
assert told("MultiDict")["live"] == told("CIMultiDict")["live"] == 0
_multidict.check()
"""
        )

    def test_a_change_that_finds_nothing_is_named(self):
        folder = self.folder / "wrong"
        shutil.copytree(self.source / "multidict", folder)
        file = folder / "_multilib/istr.h"
        file.write_text(file.read_text(encoding="utf-8").replace("state->IStrType =", "other ="), encoding="utf-8")
        with self.assertRaisesRegex(ValueError, "istr.h: 0 places instead of 1 for "):
            MULTIDICT.change(folder)


if __name__ == "__main__":
    unittest.main()
