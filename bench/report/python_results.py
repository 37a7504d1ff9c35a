# SPDX-License-Identifier: MIT
"""What bench/python/measure wrote, and the floors with the key "python" judged by it."""

import math
import statistics
from dataclasses import dataclass

from ratios import read_floors

OURS = "freelane"
INTERVAL_LEAST = 6  # repetitions of which all differ from the median in the same way less often than 1 in 20


@dataclass
class Ratio:
    """The median of the repetitions' ratios, and the interval in which it lies with 95 %."""

    value: float
    low: float
    high: float
    where: str = ""

    def __str__(self):
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def median_ratio(ratios, where=""):
    """The interval is between two of the samples themselves, so wide that the median lies outside as seldom as a coin
    falls that way; all of them where there are too few."""
    ordered = sorted(ratios)
    n, rank, chance = len(ordered), 0, 0.5 ** len(ordered)
    while chance <= 0.025 and rank < n // 2:
        rank += 1
        chance += math.comb(n, rank) * 0.5**n
    at = max(rank - 1, 0)
    return Ratio(statistics.median(ordered), ordered[at], ordered[n - 1 - at], where)


class Cell:
    """One loop, kind, form, number of threads and of objects alive: nanoseconds per object by variant."""

    def __init__(self, row):
        self.way, self.kind, self.form = row["way"], row["kind"], row["form"]
        self.threads, self.alive, self.ns = row["threads"], row["alive"], row["ns"]

    def __str__(self):
        threads = f"{self.threads} thread" + ("s" if self.threads > 1 else "")
        alive = f"{self.alive:,} alive" if isinstance(self.alive, int) else self.alive
        return f"{self.kind}, {self.form} type, {threads}, {alive}".replace(",0", " 0")

    def median(self, name):
        return statistics.median(self.ns[name]) if name in self.ns else None

    def quartiles(self, name):
        samples = self.ns[name]
        if len(samples) < 2:
            return samples[0], samples[0]
        low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
        return low, high

    def against(self, name):
        """How many times as long as ours another one takes; samples that were taken one after the other make a ratio."""
        return median_ratio([theirs / ours for ours, theirs in zip(self.ns[OURS], self.ns[name])], str(self))

    def scaling(self, name):
        """How many times as much ours gains as another one, from one thread to those of this cell."""
        one = self.alone
        ours = [a / b for a, b in zip(one.ns[OURS], self.ns[OURS])]
        theirs = [a / b for a, b in zip(one.ns[name], self.ns[name])]
        return median_ratio([a / b for a, b in zip(ours, theirs)], str(self))


class PythonResults:
    def __init__(self, document):
        self.left_out = document.get("left_out")
        self.context = document.get("context", {})
        self.cells = [Cell(row) for row in document.get("time", [])]
        self._by_key = {(c.way, c.kind, c.form, c.threads, c.alive): c for c in self.cells}
        for cell in self.cells:
            cell.alone = self._by_key.get((cell.way, cell.kind, cell.form, 1, cell.alive))
        self.memory_rows = document.get("memory", [])

    def cell(self, way, kind, form, threads, alive):
        """None where it was not measured."""
        return self._by_key.get((way, kind, form, threads, alive))

    def values(self, name):
        """What the cells have of this, in their order."""
        return list(dict.fromkeys(getattr(cell, name) for cell in self.cells))

    def memory_samples(self, kind, variant, what):
        """Bytes over the start, of each process."""
        return [row[what] for row in self.memory_rows if (row["kind"], row["variant"]) == (kind, variant)]

    def memory(self, kind, variant, what):
        """Bytes over the start, the median of the processes."""
        return statistics.median(self.memory_samples(kind, variant, what))

    def memory_processes(self):
        """Of each kind and variant."""
        return len(self.memory_rows) // max(len({(row["kind"], row["variant"]) for row in self.memory_rows}), 1)

    def repetitions(self):
        return min(len(samples) for cell in self.cells for samples in cell.ns.values())

    # ---- Floors

    def release(self):
        """Which CPython it was: 3.13, say."""
        return ".".join(self.context["version"].split(".")[:2])

    def verdicts(self):
        """Those of all floors of which something was measured."""
        floors = [floor for floor in read_floors() if "python" in floor]
        return [self.judge(floor) for floor in floors if self.memory_rows or self._chosen(floor)]

    def judge(self, floor):
        """(subject, what is asked for, what was measured, whether that is enough)."""
        subject, *rest = self._judge(floor)
        return subject.replace("CPython", f"CPython {self.release()}"), *rest

    def _judge(self, floor):
        return self._judge_memory(floor) if floor["python"] == "memory" else self._judge_time(floor)

    def _chosen(self, floor):
        """The cells of a floor on times."""
        names = ("way", "kind", "form", "threads", "alive")
        cells = [cell for cell in self.cells if floor["python"] == "time" or (floor["python"] == "scaling" and cell.alone)]
        return [cell for cell in cells if all(getattr(cell, name) in floor[name] for name in names if name in floor)]

    def _judge_time(self, floor):
        chosen = self._chosen(floor)
        scaling, against, least = floor["python"] == "scaling", floor["against"], floor["at_least"]
        ratios = [cell.scaling(against) if scaling else cell.against(against) for cell in chosen]
        # Of many cells a few lie off by chance: short are those whose whole interval is.
        reached = (lambda ratio: ratio.high) if floor["judged_by"] == "interval" else (lambda ratio: ratio.value)
        worst = min(ratios, key=reached)
        short = sum(reached(ratio) < least for ratio in ratios)
        wanted = f"ours ≥ {least:g}× the {against}’s scaling" if scaling else f"{against} ≥ {least:g}× ours"
        measured = f"{worst} ({worst.where})"
        if short:
            measured += f", {short} of {len(ratios)} cells short"
        return floor["subject"], wanted, measured, short == 0

    def _judge_memory(self, floor):
        kind, what, against = floor["kind"], floor["what"], floor["against"]
        ours, theirs = (self.memory_samples(kind, name, what) for name in (OURS, against))
        ratio = median_ratio([a / b for a, b in zip(ours, theirs)])
        reached = ratio.low if floor["judged_by"] == "interval" else ratio.value
        wanted = f"ours ≤ {floor['at_most']:g}× the {against}’s"
        return floor["subject"], wanted, f"{ratio}", reached <= floor["at_most"]
