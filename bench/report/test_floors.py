# SPDX-License-Identifier: MIT
"""What meets a floor and what misses it, by samples made up."""

import sys

sys.dont_write_bytecode = True

import unittest

from client_results import ClientResults
from multidict_results import MultidictResults
from python_results import PythonResults
from ratios import NEEDED_PEERS, OURS, Ratio, is_clear, is_met, is_wide, read_floors
from results import Results
from use_results import UseResults

MIB = 1 << 20


def sample(backend, total, use=None, first=None, peak=100 * MIB, row="tree/21", way="one"):
    last = {"make": 1.0, "use": use or total, "drop": 1.0, "total": total, "faults": 0}
    return {
        "row": row,
        "threads": way,
        "backend": backend,
        "peak": peak,
        "first": {**last, "use": first or last["use"]},
        "last": last,
    }


def measured(ours, others, **options):
    """Five samples of each backend; the peers need `others` on average, ours `ours`, all with 1 % of spread."""
    return [
        sample(backend, value * (1 + spread), **options)
        for backend, value in [(OURS, ours), *((peer, others) for peer in NEEDED_PEERS)]
        for spread in (-0.01, -0.005, 0, 0.005, 0.01)
    ]


def judge(samples, **floor):
    _, _, said, met = UseResults({"samples": samples}).judge({"ways": ["one"], **floor})
    return said, met


class Floors(unittest.TestCase):
    def test_an_interval_that_reaches_the_floor_meets_it(self):
        self.assertTrue(is_met(Ratio(0.97, 0.95, 1.01, ""), at_least=1.0))
        self.assertFalse(is_met(Ratio(0.95, 0.93, 0.99, ""), at_least=1.0))
        self.assertTrue(is_met(Ratio(1.32, 1.29, 1.35, ""), at_most=1.3))
        self.assertFalse(is_met(Ratio(1.4, 1.35, 1.45, ""), at_most=1.3))

    def test_a_wide_interval_misses_a_floor_that_lies_inside_it(self):
        wide = Ratio(1.1, 0.9, 1.3, "")
        self.assertTrue(is_wide(wide))
        self.assertFalse(is_met(wide, at_least=1.0))
        self.assertFalse(is_clear(wide, {"at_least": 1.0}))

    def test_a_wide_interval_above_the_floor_meets_it(self):
        self.assertTrue(is_met(Ratio(4.0, 3.0, 5.0, ""), at_least=2.0))

    def test_one_slow_row_misses_the_floor_of_all_rows(self):
        samples = measured(10, 12) + measured(10, 12, row="list/64/1000000")
        self.assertTrue(judge(samples, use="total", at_least=1.0)[1])
        said, met = judge(samples + measured(10, 8, row="map/500000"), use="total", at_least=1.0)
        self.assertFalse(met)
        self.assertIn("2 of 3 rows; map/500000", said)

    def test_the_mean_weighs_rows_alike(self):
        samples = measured(10, 20) + measured(10, 8, row="list/64/1000000")
        self.assertTrue(judge(samples, use="mean", at_least=1.2)[1])
        self.assertFalse(judge(samples, use="mean", at_least=1.3)[1])

    def test_a_heap_that_is_fresh_no_more_may_cost_only_so_much(self):
        self.assertTrue(judge(measured(10, 12, use=4.0, first=3.5), use="fresh", at_most=1.3)[1])
        self.assertFalse(judge(measured(10, 12, use=12.0, first=3.5), use="fresh", at_most=1.3)[1])

    def test_the_best_peer_of_the_use_part_counts(self):
        samples = [*measured(10, 12, use=4.0), *[sample("mimalloc-new", 12, use=3.0) for _ in range(9)]]
        self.assertFalse(judge(samples, use="use", at_most=1.15)[1])
        self.assertTrue(judge(samples, use="use", at_most=1.35)[1])

    def test_two_mebibytes_of_peak_are_free(self):
        ours = [sample(OURS, 10, peak=106 * MIB)]
        peers = [sample(peer, 12, peak=100 * MIB) for peer in NEEDED_PEERS]
        self.assertTrue(judge(ours + peers, use="peak", at_most=1.05)[1])
        ours = [sample(OURS, 10, peak=108 * MIB)]
        self.assertFalse(judge(ours + peers, use="peak", at_most=1.05)[1])

    def test_without_a_peer_of_today_a_floor_is_unmeasured(self):
        samples = [entry for entry in measured(10, 12) if entry["backend"] != "jemalloc-new"]
        for use in ("total", "mean", "use", "fresh", "peak"):
            said, met = judge(samples, use=use, at_least=1.0, at_most=2.0)
            self.assertFalse(met)
            self.assertIn("unmeasured", said)


def judge_memory(left, **floor):
    """What a floor says of `left` bytes by backend."""
    results = Results.__new__(Results)
    results.memory = {"quiet/trickle": {backend: {"left": bytes_} for backend, bytes_ in left.items()}}
    verdict = results._judge_memory({"memory": "quiet/trickle", "what": "left", "at_most": 1.0, **floor})
    return verdict.measured, verdict.met


class MemoryFloors(unittest.TestCase):
    """What is asked of memory, and of forks."""

    def test_named_peers_are_the_ones_that_count(self):
        left = {OURS: 5 * MIB, "glibc": 90 * MIB, "mimalloc-new": 6 * MIB, "jemalloc-new": 7 * MIB}
        named = ["mimalloc-new", "jemalloc-new"]
        self.assertTrue(judge_memory(left, against=named)[1])
        self.assertFalse(judge_memory({**left, "jemalloc-new": 4 * MIB}, against=named)[1])
        self.assertTrue(judge_memory({**left, "glibc": MIB}, against=named)[1])

    def test_without_one_of_them_a_floor_is_unmeasured(self):
        left = {OURS: 5 * MIB, "mimalloc-new": 6 * MIB}
        said, met = judge_memory(left, against=["mimalloc-new", "jemalloc-new"])
        self.assertFalse(met)
        self.assertIn("unmeasured", said)
        self.assertIn("unmeasured", judge_memory(left, against="peer")[0])

    def test_a_fork_is_judged_for_each_workload(self):
        results = Results.__new__(Results)
        results.forks = {"fork": {OURS: {"lost_ms": 3.0}, "glibc": {"lost_ms": 4.0}}}
        floor = {"what": "lost_ms", "against": "glibc", "at_most": 1.0}
        self.assertTrue(results._judge_fork({"fork": "fork", **floor}).met)
        self.assertEqual(results._judge_fork({"fork": "fork/heaps", **floor}).measured, "not measured")

    def test_each_floor_of_memory_can_be_measured(self):
        """One against all peers asks for a workload that all of them run."""
        for floor in read_floors():
            if floor.get("memory", "").startswith("quiet/"):
                self.assertEqual(floor["against"], ["mimalloc-new", "jemalloc-new"])


def python_cell(kind, ratio, alive="kept", threads=1):
    """A cell in which the freelist takes `ratio` times as long as ours, with 2 % of spread."""
    spread = [0.98, 0.99, 1.0, 1.01, 1.02, 0.98, 1.0, 1.02]
    ns = {OURS: [50.0] * len(spread), "freelist": [50 * ratio * value for value in spread]}
    return {"way": "Python", "kind": kind, "form": "heap", "threads": threads, "alive": alive, "ns": ns}


class PythonFloors(unittest.TestCase):
    FLOOR = {"python": "time", "subject": "CPython, kept", "alive": ["kept"], "against": "freelist", "at_least": 1.15,
             "judged_by": "interval"}  # fmt: skip

    def judge(self, *cells, **changes):
        results = PythonResults({"context": {"version": "3.14.7"}, "time": cells})
        return results.judge({**self.FLOOR, **changes})

    def test_a_cell_is_short_where_its_whole_interval_is(self):
        self.assertTrue(self.judge(python_cell("Pair", 1.3), python_cell("Table", 1.14))[-1])
        subject, _, said, met = self.judge(python_cell("Pair", 1.3), python_cell("Table", 1.1))
        self.assertFalse(met)
        self.assertEqual(subject, "CPython 3.14, kept")
        self.assertIn("Table, heap type, 1 thread, kept", said)
        self.assertIn("1 of 2 cells short", said)

    def test_a_floor_is_judged_by_its_own_cells(self):
        cells = python_cell("Pair", 1.3), python_cell("Pair", 0.9, alive=1)
        self.assertTrue(self.judge(*cells)[-1])
        self.assertFalse(self.judge(*cells, alive=[1], at_least=1.0)[-1])

    def test_one_timing_of_multidict_misses_the_floor_of_all(self):
        def judge(*highs):
            rows = [{"name": f"own: {i}", "ratio": high - 0.02, "low": high - 0.04, "high": high} for i, high in enumerate(highs)]
            return MultidictResults({"python": "3.13.5", "rows": rows}).judge({"multidict": "own", "at_least": 1.0})

        self.assertTrue(judge(1.0, 1.2)[-1])
        self.assertFalse(judge(0.99, 1.2)[-1])
        self.assertIn("1 of 2 timings short", judge(0.99, 1.2)[2])


def client_rows(client, **peers_by_program):
    """Five samples of each program: ours take 10, all others what is said, with 1 % of spread."""
    return [
        {"client": client, "program": program, "threads": 1, "backend": backend, "s_per_op": value * (1 + spread)}
        for program, peers in peers_by_program.items()
        for backend, value in [(OURS, 10), *((peer, peers) for peer in NEEDED_PEERS)]
        for spread in (-0.01, -0.005, 0, 0.005, 0.01)
    ]


def judge_clients(rows, **floor):
    where, _, _, met = ClientResults({"clients": rows}).judge({"clients": "time", **floor})
    return where, met


class ClientFloors(unittest.TestCase):
    def test_a_floor_may_be_about_some_programs_of_a_client(self):
        rows = client_rows("jansson", parse=12, large=12, store=8)
        floor = {"client": "jansson", "threads": 1, "at_least": 1.15}
        where, met = judge_clients(rows, programs=["parse", "large"], **floor)
        self.assertEqual(where, "jansson (parse and large), 1 thread")
        self.assertTrue(met)
        self.assertFalse(judge_clients(rows, **floor)[1])
        self.assertFalse(judge_clients(rows, programs=["parse", "store"], **floor)[1])

    def test_a_floor_is_missed_if_one_of_its_programs_is_not_measured(self):
        rows = client_rows("jansson", parse=12)
        floor = {"client": "jansson", "threads": 1, "at_least": 1.15}
        self.assertTrue(judge_clients(rows, programs=["parse"], **floor)[1])
        self.assertFalse(judge_clients(rows, programs=["parse", "large"], **floor)[1])

    def test_another_way_to_move_a_client_does_not_raise_the_mean(self):
        rows = client_rows("lua", trees=10) + client_rows("jansson-counted", parse=30)
        self.assertTrue(judge_clients(rows, at_least=0.99)[1])
        self.assertFalse(judge_clients(rows, at_least=1.05)[1])


if __name__ == "__main__":
    unittest.main()
