# SPDX-License-Identifier: MIT
"""Options of an extension's heap, and objects for which it has no room."""

import unittest

import freelane_demo as demo
from demo_support import FREE_THREADED, few, run_python

# More than fits where the options leave 4 MiB.
OBJECTS = few(200000, 100000)

BEYOND = f"""
    import freelane_demo as demo
    objects = [demo.Point(i, -i) for i in range({OBJECTS})]
    owned = sum(map(demo.owns, objects))
    assert 0 < owned < len(objects), owned
    assert demo.stats()["slab_bytes"] <= 4 << 20, demo.stats()
    assert all(one.x == -one.y for one in objects)
    objects[::2] = [None] * len(objects[::2])
    objects.extend(demo.Point(i, -i) for i in range(1000))
    assert all(one is None or one.x == -one.y for one in objects)
    del objects[:]
    demo.check()
    assert demo.stats()["live_bytes"] == 0, demo.stats()
"""


class Environment(unittest.TestCase):
    def test_beyond_the_reserve_the_interpreters_memory_serves(self):
        run_python(BEYOND, FREELANE_PYTHON_OPTIONS="reserve=4M")

    def test_beyond_the_limit_likewise(self):
        run_python(BEYOND, FREELANE_PYTHON_OPTIONS="limit=4M,retain=1M")

    @unittest.skipIf(not FREE_THREADED, "with the GIL there are no stops")
    def test_stops_can_be_turned_off(self):
        program = """
    import gc
    import freelane_demo as demo
    from test_pace import phases
    gc.disable()
    phases()
    print(demo.stats()["stops"])
        """
        self.assertEqual(run_python(program, FREELANE_PYTHON_OPTIONS="stops=0").strip(), "0")
        self.assertNotEqual(run_python(program, FREELANE_PYTHON_OPTIONS="stops=1").strip(), "0")

    def test_what_makes_no_sense_is_refused_with_a_sentence(self):
        program = """
    try:
        import freelane_demo
    except ValueError as error:
        print(error)
        """
        for text, word in (("stops=2", "stops=2"), ("grace=qsbr", "grace=qsbr"), ("reserve=1K", "reserve"),
                           ("limit=much", "much"), ("retain", "retain")):
            with self.subTest(text):
                output = run_python(program, FREELANE_PYTHON_OPTIONS=text)
                self.assertIn("FREELANE_PYTHON_OPTIONS", output)
                self.assertIn(word, output)


class Configure(unittest.TestCase):
    def test_the_extension_sets_options(self):
        run_python(BEYOND, FREELANE_DEMO_LIMIT=str(4 << 20))

    def test_the_environment_has_the_last_word(self):
        run_python(BEYOND, FREELANE_DEMO_LIMIT=str(1 << 30), FREELANE_PYTHON_OPTIONS="limit=4M")

    def test_too_late(self):
        with self.assertRaisesRegex(RuntimeError, "too late"):
            demo.configure(0)


if __name__ == "__main__":
    unittest.main()
