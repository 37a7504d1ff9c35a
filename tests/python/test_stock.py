# SPDX-License-Identifier: MIT
"""References to heap types without gc: threads have some in stock, and give them back when they are asked to."""

import gc
import queue
import sys
import threading
import unittest

import freelane_demo as demo
from demo_support import FREE_THREADED, PLAIN_KINDS, TSAN, TestCase, few, references, run_python, run_threads, types

# The most that a thread has of one type besides those of objects: FL_PY_REFERENCES, and the one that keeps the type.
MOST = 4096 + 1 if FREE_THREADED else 0


class Stocks(TestCase):
    def setUp(self):
        super().setUp()
        self.before = self.counts()

    def counts(self):
        return {type_.__name__: references(type_) for type_ in types(PLAIN_KINDS, [""])}

    def tearDown(self):
        """However a test left them, a collection finds every type's count where it was."""
        self.assertEqual(self.counts(), self.before)
        super().tearDown()

    def assert_within_stock(self, type_, alive, threads=1):
        more = sys.getrefcount(type_) - self.before[type_.__name__] - alive
        self.assertLessEqual(more, threads * MOST + 1, type_)  # one of this function

    def test_are_bounded(self):
        for type_ in types(PLAIN_KINDS, [""]):
            many = []
            for _ in range(20):
                many += [type_() for _ in range(few(2000, 200))]
                self.assert_within_stock(type_, len(many))
            while many:
                del many[-few(1000, 100) :]
                self.assert_within_stock(type_, len(many))

    def test_are_given_back_at_a_collection(self):
        for type_ in types(PLAIN_KINDS, [""]):
            many = [type_() for _ in range(100)]
            self.assertEqual(references(type_), self.before[type_.__name__] + 100)
            del many
            self.assertEqual(references(type_), self.before[type_.__name__])

    def test_are_given_back_when_caching_is_turned_off(self):
        for type_ in types(PLAIN_KINDS, [""]):
            many = [type_() for _ in range(100)]
            demo.set_caching(False)
            self.assert_within_stock(type_, 100, threads=0)
            many += [type_() for _ in range(100)]
            self.assertEqual(references(type_), self.before[type_.__name__] + 200)
            demo.set_caching(True)
            del many

    def test_objects_die_in_other_threads_than_they_were_born_in(self):
        rounds = few(300, 30)
        for type_ in types(PLAIN_KINDS, [""]):
            handed = queue.SimpleQueue()

            def create():
                for _ in range(rounds):
                    handed.put([type_() for _ in range(100)])

            def destroy():
                type_()
                for _ in range(rounds):
                    handed.get()

            threads = [threading.Thread(target=work) for work in (create, destroy) * 2]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            # What threads leave behind, the next collection gives back.
            self.assert_within_stock(type_, 0, threads=5)

    def test_threads_with_a_stock_at_collections(self):
        stop = threading.Event()

        def work():
            while not stop.is_set():
                for type_ in types(PLAIN_KINDS, [""]):
                    many = [type_() for _ in range(50)]
                    del many[::2]

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(few(50, 5)):
            gc.collect()
            demo.set_caching(False)
            demo.set_caching(True)
        stop.set()
        for thread in threads:
            thread.join()

    def test_thread_states_that_end(self):
        def work():
            for type_ in types(PLAIN_KINDS, [""]):
                many = [type_() for _ in range(10)]
                del many

        demo.foreign_rounds(work, 20)
        self.assertEqual(self.counts(), self.before)
        for _ in range(5):
            demo.clear_elsewhere(work)
            demo.clear_elsewhere(work, work)
        self.assertEqual(self.counts(), self.before)
        run_threads(4, work)
        if not TSAN:  # whose runtime knows no thread that is so far gone
            demo.run_late(work, work)


@unittest.skipIf(TSAN, "slow")
class Owner(unittest.TestCase):
    @unittest.skipIf(not FREE_THREADED, "there is one count")
    def test_the_thread_that_owns_a_legacy_type_goes_on_to_own_it(self):
        """Where its own count comes to 0, the interpreter merges both counts, and all changes are atomic from then on."""
        run_python("""
    import freelane_demo as demo
    def owner(type_):
        return int.from_bytes(demo.memory_read(id(type_), 8), "little")
    for type_ in (demo.Label, demo.GCLabel):
        first = owner(type_)
        assert first != 0
        for alive in (1, 100, 5000):
            demo.churn(type_, alive, 50000)
            assert owner(type_) == first, (type_, alive)
        """)


class Modules(unittest.TestCase):
    """The types of a module that is gone are collected as those of a module that nobody has used: where a thread has been
    started, free-threaded 3.13 keeps both, and then nothing more refers to the ones than to the others."""

    PROGRAM = """
        import gc, os, sys, threading, weakref
        import freelane_demo as other
        from demo_support import FREE_THREADED

        NAMES = ("Point", "Pair", "Handle", "Label")
        turn = threading.Barrier(2)

        def import_again():
            del sys.modules["freelane_demo"]
            import freelane_demo as module
            sys.modules["freelane_demo"] = other
            assert module is not other
            return module

        def start(work):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            return thread

        def use(module):
            for name in NAMES:
                many = [getattr(module, name)() for _ in range(100)]
                del many

        def watch(module):
            return [weakref.ref(getattr(module, name)) for name in NAMES]

        def left(watched):
            gc.collect()
            gc.collect()
            return [(str(type_()), sys.getrefcount(type_())) for type_ in watched if type_()]

        def check_gone():
            modules.clear()
            assert left(used) == left(unused), (left(used), left(unused))
            if not (threads and FREE_THREADED and sys.version_info < (3, 14)):
                assert not left(used), left(used)

        threads = []
        modules = [import_again(), import_again()]
        used, unused = map(watch, modules)
    """

    def run_program(self, program):
        run_python(self.PROGRAM + program, FREELANE_DEMO_MORTAL="1", timeout=60)

    def test_without_threads(self):
        self.run_program("""
        use(modules[0])
        check_gone()
        """)

    def test_one_collection_is_enough(self):
        self.run_program("""
        use(modules[0])
        modules.clear()
        gc.collect()
        assert not [type_() for type_ in used if type_()]
        """)

    def test_when_the_threads_have_ended(self):
        self.run_program("""
        threads.append(start(lambda: use(modules[0])))
        threads[0].join()
        use(modules[0])
        check_gone()
        """)

    def test_while_a_thread_that_has_used_them_is_idle(self):
        self.run_program("""
        def work():
            use(modules[0])
            turn.wait()
            turn.wait()  # collected

        threads.append(start(work))
        turn.wait()
        check_gone()
        turn.wait()
        threads[0].join()
        """)

    def test_when_the_last_objects_died_after_the_module(self):
        self.run_program("""
        objects = [getattr(modules[0], name)() for name in NAMES]
        use(modules[0])
        modules.clear()
        assert len(left(used)) == 4 and not left(unused)
        objects.clear()
        check_gone()
        """)

    def test_in_a_forked_child(self):
        self.run_program("""
        def work():
            use(modules[0])
            turn.wait()
            turn.wait()  # forked

        threads.append(start(work))
        turn.wait()
        pid = os.fork()
        if pid == 0:
            use(modules[0])
            check_gone()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        turn.wait()
        threads[0].join()
        use(modules[0])
        check_gone()
        """)


if __name__ == "__main__":
    unittest.main()
