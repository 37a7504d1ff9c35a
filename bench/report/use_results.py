# SPDX-License-Identifier: MIT
"""What bench/use/measure wrote, and the floors with the key "use" judged by it."""

import statistics

from ratios import NEEDED_PEERS, OURS, PEERS, Ratio, is_met, is_wide, median_interval, megabytes

WAY_NAMES = {
    "one": "one thread",
    "own": "2 threads, each its own",
    "pass": "2 threads, one makes, one drops",
    "swap": "2 threads, each makes for the other",
    "three": "3 threads make, one drops",
}
SLACK = 2 << 20  # of peak memory


class UseResults:
    """Samples by row and way, and backend."""

    def __init__(self, document):
        self.document = document
        self.cells = {}
        for sample in document["samples"]:
            self.cells.setdefault((sample["row"], sample["threads"]), {}).setdefault(sample["backend"], []).append(sample)
        self.backends = [b for b in [OURS, *PEERS] if any(b in backends for backends in self.cells.values())]

    def times(self, row, way, part="total", moment="last"):
        """Nanoseconds per node, by backend."""
        return {
            backend: [sample[moment][part] for sample in samples]
            for backend, samples in self.cells.get((row, way), {}).items()
        }

    def median(self, row, way, backend, part="total", moment="last"):
        values = self.times(row, way, part, moment).get(backend)
        return statistics.median(values) if values else None

    def peak(self, row, way, backend):
        return statistics.median(sample["peak"] for sample in self.cells[row, way][backend])

    def faults(self, row, way, backend, moment="last"):
        return statistics.median(sample[moment]["faults"] for sample in self.cells[row, way][backend])

    def best_peer(self, row, way, part="total"):
        times = self.times(row, way, part)
        return min((peer for peer in PEERS if peer in times), key=lambda p: statistics.median(times[p]), default=None)

    def complete(self, row, way):
        return all(peer in self.cells[row, way] for peer in NEEDED_PEERS)

    def against_peers(self, row, way, part="total"):
        """How many times as long as ours the best peer takes."""
        times = self.times(row, way, part)
        peers = [times[peer] for peer in PEERS if peer in times]
        if OURS not in times or not peers:
            return None

        def ratio(ours, *others):
            return min(statistics.median(other) for other in others) / statistics.median(ours)

        sets = [times[OURS], *peers]
        return Ratio(ratio(*sets), *median_interval(ratio, *sets), self.best_peer(row, way, part))

    def against_fresh(self, row, way):
        """How many times as long as in the first round our use takes in the last one."""
        last, first = (self.times(row, way, "use", moment).get(OURS) for moment in ("last", "first"))
        if not last:
            return None

        def ratio(a, b):
            return statistics.median(a) / statistics.median(b)

        return Ratio(ratio(last, first), *median_interval(ratio, last, first), "fresh")

    def mean(self, ways):
        """The geometric mean of all rows' ratios, and its interval: each row varies by itself."""
        ratios = [self.against_peers(row, way) for row, way in self.cells if way in ways]
        if not ratios or None in ratios:
            return None
        means = [
            statistics.geometric_mean([pick(ratio) for ratio in ratios])
            for pick in (lambda r: r.value, lambda r: r.low, lambda r: r.high)
        ]
        shrink = len(ratios) ** 0.5
        value, low, high = means
        return Ratio(value, value * (low / value) ** (1 / shrink), value * (high / value) ** (1 / shrink), "each row's best")

    # ---- Floors

    def can_judge(self, floor):
        return any(way in floor["ways"] for _, way in self.cells)

    def judge(self, floor):
        """The members of a verdict: subject, what is wanted, what was measured, whether it is met."""
        where = "use/*, " + " and ".join(dict.fromkeys(WAY_NAMES[way].split(",")[0] for way in floor["ways"]))
        if floor["use"] == "mean":
            return self._judge_mean(floor, where)
        cells = [cell for cell in self.cells if cell[1] in floor["ways"]]
        if floor["use"] == "fresh":
            cells = [cell for cell in cells if is_dropped_whole(cell[0])]
        judge = {
            "total": self._judge_total,
            "peak": self._judge_peak,
            "use": self._judge_use,
            "fresh": self._judge_fresh,
        }[floor["use"]]
        wanted = {
            "total": f"best peer ≥ {floor.get('at_least', 0):g}× ours in each row",
            "peak": f"ours ≤ {floor.get('at_most', 0):g}× the fastest peer’s + 2 MiB in each row",
            "use": f"ours ≤ {floor.get('at_most', 0):g}× the best peer’s use in each row",
            "fresh": f"use ≤ {floor.get('at_most', 0):g}× that on a fresh heap in each row",
        }[floor["use"]]
        if not all(self.complete(*cell) for cell in cells):
            return f"{where}: {floor['use']}", wanted, "unmeasured: a peer is missing", False
        judged = [(cell, *judge(floor, *cell)) for cell in cells]
        missed = [entry for entry in judged if not entry[3]]
        worst = min(judged, key=lambda entry: entry[2])
        measured = f"{len(judged) - len(missed)} of {len(judged)} rows; {worst[0][0]} {worst[0][1]}: {worst[1]}"
        return f"{where}: {floor['use']}", wanted, measured, not missed

    def _judge_mean(self, floor, where):
        subject, wanted = f"{where}: geometric mean", f"best peer ≥ {floor['at_least']:g}× ours"
        if not all(self.complete(*cell) for cell in self.cells if cell[1] in floor["ways"]):
            return subject, wanted, "unmeasured: a peer is missing", False
        ratio = self.mean(floor["ways"])
        return subject, wanted, str(ratio), is_met(ratio, at_least=floor["at_least"])

    # Each of these returns what was measured, how good it is, and whether it is enough.

    def _judge_total(self, floor, row, way):
        ratio = self.against_peers(row, way)
        return f"{ratio} ({ratio.other})", ratio.value, is_met(ratio, at_least=floor["at_least"])

    def _judge_use(self, floor, row, way):
        ratio = self.against_peers(row, way, "use")
        return f"{1 / ratio.value:.2f} ({ratio.other})", ratio.value, is_met(ratio, at_least=1 / floor["at_most"])

    def _judge_fresh(self, floor, row, way):
        ratio = self.against_fresh(row, way)
        return str(ratio), 1 / ratio.value, is_met(ratio, at_most=floor["at_most"])

    def _judge_peak(self, floor, row, way):
        best = self.best_peer(row, way)
        ours, theirs = self.peak(row, way, OURS), self.peak(row, way, best)
        bound = floor["at_most"] * theirs + SLACK
        return f"{megabytes(ours)} against {megabytes(theirs)} ({best})", bound / ours, ours <= bound


def is_dropped_whole(row):
    """Whether a round ends with nothing alive and begins on a heap that was fresh once. One that ages before it uses does not."""
    return row.startswith(("tree/", "list/")) or row == "document/large"
