# SPDX-License-Identifier: MIT
"""Subtypes in Python and in C, and objects that change their type."""

import gc
import unittest
import weakref

import freelane_demo as demo
from demo_support import FREELANE, KINDS, TWINS, TestCase, references, types

OPEN_KINDS = [kind for kind in KINDS if kind != "Point"]


def with_slots(type_):
    return type("Slots", (type_,), {"__slots__": ()})


def with_dict(type_):
    return type("Dict", (type_,), {})


def with_more(type_):
    return type("More", (type_,), {"__slots__": ("more", "__weakref__") if not type_.__weakrefoffset__ else ("more",)})


def references_in_python(type_):
    """To a class made in Python: None if it is immortal, as such classes are once a thread has been started (3.13)."""
    count = references(type_)
    return count if count < 1 << 31 else None


class InPython(TestCase):
    def test_their_memory_is_the_interpreters(self):
        for type_ in types(OPEN_KINDS):
            for make in (with_slots, with_dict, with_more):
                one = make(type_)()
                self.assertFalse(demo.owns(one))
                self.assertIsInstance(one, type_)

    def test_they_come_and_go(self):
        for type_ in types(OPEN_KINDS, FREELANE + TWINS):
            for make in (with_slots, with_dict, with_more):
                subtype = make(type_)
                before = references_in_python(subtype)
                many = [subtype() for _ in range(100)]
                self.assertEqual(references_in_python(subtype), before and before + 100, subtype.__mro__)
                del many
                self.assertEqual(references_in_python(subtype), before, subtype.__mro__)

    def test_references_to_the_base_balance(self):
        for type_ in types(OPEN_KINDS, ["", "Default"]):
            subtype = with_slots(type_)
            before = references(type_)
            for _ in range(100):
                subtype()
            self.assertEqual(references(type_), before, type_)

    def test_what_the_base_holds_is_dropped(self):
        class Held:
            pass

        for type_ in types(["Pair", "GCPair", "Node"]):
            for make in (with_slots, with_dict, with_more):
                held = Held()
                reference = weakref.ref(held)
                one = make(type_)(held)
                del held
                self.assertIsNotNone(reference())
                del one
                self.assertIsNone(reference())

    def test_attributes_and_weak_references(self):
        for type_ in types(OPEN_KINDS):
            one = with_dict(type_)()
            one.attribute = [one]
            reference = weakref.ref(one)
            del one
            gc.collect()
            self.assertIsNone(reference())

    def test_slots_of_the_subtype(self):
        for type_ in types(OPEN_KINDS):
            one = with_more(type_)()
            one.more = [1]
            reference = weakref.ref(one)
            del one
            self.assertIsNone(reference())

    def test_del_and_resurrection(self):
        for type_ in types(["Pair", "GCPair", "Label", "GCLabel", "Node"]):
            kept = []

            class Resurrected(type_):
                __slots__ = ()

                def __del__(self):
                    kept.append(self)

            one = Resurrected()
            address = id(one)
            del one
            self.assertEqual([id(item) for item in kept], [address])
            self.assertIs(type(kept[0]), Resurrected)
            del Resurrected.__del__
            kept.clear()

    def test_del_of_a_handle(self):
        for type_ in types(["Handle", "GCHandle"]):
            called = []

            class Closing(type_):
                def __del__(self):
                    called.append("del")

            Closing(-1, lambda handle: called.append("finalize"))
            # As with any type: __del__ takes the place of the base's finalizer.
            self.assertEqual(called, ["del"])
            called.clear()
            with_dict(type_)(-1, lambda handle: called.append("finalize"))
            self.assertEqual(called, ["finalize"])

    def test_cycles(self):
        for type_ in types(["GCPair", "Node"]):
            subtype = with_dict(type_)
            if references(subtype) is None:
                self.skipTest("classes are immortal by now")
            reference = weakref.ref(subtype)
            one = subtype(subtype)
            one.itself = one
            del one, subtype
            gc.collect()
            self.assertIsNone(reference())

    def test_deep_chains(self):
        subtype = with_slots(demo.GCPair)
        one = None
        for i in range(100000):
            one = (subtype if i % 2 else demo.GCPair)(one)
        del one


class InC(TestCase):
    def test_a_subtype_that_adds_nothing_shares_the_heap(self):
        for base in types(["Pair", "Label"]):
            self.assertTrue(demo.owns(getattr(demo, "Sub" + base.__name__)()))

    def test_references_to_a_subtype_that_adds_nothing(self):
        """Whether the base is a heap type or not, immortal or not: each object has one."""
        for base in types(["Pair", "GCPair", "Label", "GCLabel"]):
            subtype = getattr(demo, "Sub" + base.__name__)
            for _ in range(3):
                before = references(subtype), references(base)
                many = [subtype([i]) for i in range(1000)] + [base([i]) for i in range(1000)]
                self.assertEqual(references(subtype), before[0] + 1000, subtype)
                del many
                many = [subtype() for _ in range(100)] + [base() for _ in range(100)]
                del many
                self.assertEqual((references(subtype), references(base)), before, subtype)

    def test_a_wider_subtype(self):
        for subtype, base in ((demo.WidePair, demo.Pair), (demo.WideGCPair, demo.GCPair), (demo.TrackedPair, demo.Pair)):
            self.assertGreater(subtype.__basicsize__, base.__basicsize__)
            before = references(subtype), references(base)
            for i in range(1000):
                one = subtype(i, [i])
                self.assertRaises(AttributeError, lambda one=one: one.third)
                one.third = [one.second]
                other = base(i)
            del one, other
            self.assertEqual((references(subtype), references(base)), before, subtype)

    def test_whose_memory_it_is(self):
        self.assertTrue(demo.owns(demo.WidePair()))
        self.assertFalse(demo.owns(demo.TrackedPair()))
        self.assertFalse(demo.owns(demo.WideGCPair()))

    def test_cycles_of_a_subtype_that_adds_gc(self):
        for subtype in (demo.TrackedPair, demo.WideGCPair):
            class Held:
                pass

            one = subtype(Held())
            reference = weakref.ref(one.first)
            one.third = one
            del one
            gc.collect()
            self.assertIsNone(reference())

    def test_subtypes_in_python_of_subtypes_in_c(self):
        for base in (demo.SubPair, demo.WidePair, demo.TrackedPair, demo.WideGCPair):
            for make in (with_slots, with_dict, with_more):
                subtype = make(base)
                before = references(subtype)
                many = [subtype([i]) for i in range(100)]
                del many
                self.assertEqual(references(subtype), before)


class Legacy(TestCase):
    """Types whose tp_dealloc stays in its slot."""

    def drop(self, make, fill):
        class Held:
            pass

        for _ in range(100):
            one, held = make(), Held()
            seen = weakref.ref(held)
            setattr(one, fill, held)
            del one, held
            self.assertIsNone(seen())

    def test_one_that_looks_for_itself(self):
        for type_, fill in ((demo.WideLabel, "third"), (demo.WideLabel, "text"), (demo.LookingLabel, "held")):
            before = references(type_)
            self.drop(type_, fill)
            self.assertTrue(demo.owns(type_()))
            self.assertEqual(references(type_), before, type_)
            for make in (with_slots, with_dict, with_more):
                self.drop(make(type_), fill)

    def test_one_without_a_dealloc(self):
        before = references(demo.BareLabel)
        many = [demo.BareLabel() for _ in range(1000)]
        self.assertTrue(demo.owns(many[0]))
        del many
        for make in (with_slots, with_dict, with_more):
            for _ in range(100):
                make(demo.BareLabel)()
        self.assertEqual(references(demo.BareLabel), before)


class Assignment(TestCase):
    def test_an_object_changes_its_type(self):
        """Between types that are laid out alike the memory goes along."""
        for _ in range(100):
            one = demo.Pair([1], [2])
            one.__class__ = demo.SubPair
            self.assertEqual((type(one), one.first), (demo.SubPair, [1]))
            del one
            other = demo.SubPair([1], [2])
            other.__class__ = demo.Pair
            del other
        before = references(demo.Pair), references(demo.SubPair)
        one = demo.Pair()
        one.__class__ = demo.SubPair
        del one
        self.assertEqual((references(demo.Pair), references(demo.SubPair)), before)

    def test_not_to_types_with_another_memory(self):
        for type_ in types(OPEN_KINDS):
            self.assertRaises(TypeError, setattr, type_(), "__class__", with_slots(type_))
            self.assertRaises(TypeError, setattr, with_slots(type_)(), "__class__", type_)
        self.assertRaises(TypeError, setattr, demo.Pair(), "__class__", demo.DefaultPair)
        self.assertRaises(TypeError, setattr, demo.Pair(), "__class__", demo.ImmortalPair)


class Refusals(TestCase):
    def test_contradictions_are_refused_with_a_sentence(self):
        names = demo.refusals()
        self.assertGreater(len(names), 10)
        for name in names:
            with self.subTest(name):
                with self.assertRaisesRegex(TypeError, r"^freelane: freelane_demo\.Wrong"):
                    demo.refuse(name)

    def test_a_kind_weaker_than_its_bases_names_both(self):
        with self.assertRaisesRegex(TypeError, "freelane_demo.Wrong is PLAIN, weaker than its base freelane_demo.Base"):
            demo.refuse("weaker than its base")

    def test_refused_types_leave_nothing_behind(self):
        for _ in range(3):
            for name in demo.refusals():
                self.assertRaises(TypeError, demo.refuse, name)
        self.assertEqual(demo.Pair(1).first, 1)


if __name__ == "__main__":
    unittest.main()
