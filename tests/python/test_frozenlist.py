# SPDX-License-Identifier: MIT
"""frozenlist 1.8 as its authors released it, and moved onto Freelane (move_frozenlist.py). Its own tests pass with both,
on one thread and on four at once. test_iface is left out: it wants the names that a class in Python has, and 3.14 gives
such a class more of them."""

import unittest

from demo_support import FREE_THREADED
from move_frozenlist import FROZENLIST
from moved_support import MovedTestCase


class Frozenlist(MovedTestCase):
    release = FROZENLIST

    def test_its_own_tests(self):
        self.compare_own_tests("not test_iface", 1, least=50)

    @unittest.skipUnless(FREE_THREADED, "with the GIL they are not at once")
    def test_its_own_tests_in_four_threads(self):
        self.compare_own_tests("not test_iface", 4, least=50)

    def test_its_class_is_on_freelane(self):
        self.python(
            """
from frozenlist import _frozenlist
gc.collect()
gc.disable()
lists = [FrozenList((i,)) for i in range(100)]
addresses = set(map(id, lists))
row = told("frozenlist._frozenlist.FrozenList")
assert (row["kind"], row["gc"], row["live"]) == ("LEGACY", True, 100), row
assert [one[0] for one in lists] == list(range(100))
del lists
row = told("frozenlist._frozenlist.FrozenList")
assert (row["live"], row["kept"]) == (0, 100), row
assert len({id(one) for one in [FrozenList() for _ in range(90)]} & addresses) == 90
_frozenlist.check()
"""
        )

    def test_threads_with_objects_of_their_own(self):
        self.python(
            """
from frozenlist import _frozenlist
def work(seed):
    for i in range(2000):
        one = FrozenList(range(seed + 3))
        one.append(i)
        one.freeze()
        assert hash(one) == hash(tuple(one)) and one[-1] == i and one.frozen
        cycle = FrozenList()
        cycle.append(cycle)
        if i % 500 == seed:
            gc.collect()
    done.append(seed)

done = []
in_threads(work, range(4))
assert sorted(done) == [0, 1, 2, 3]
gc.collect()
assert told("frozenlist._frozenlist.FrozenList")["live"] == 0
_frozenlist.check()
"""
        )


if __name__ == "__main__":
    unittest.main()
