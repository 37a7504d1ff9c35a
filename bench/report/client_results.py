# SPDX-License-Identifier: MIT
"""What bench/clients/run wrote, and the floors with the key "clients" judged by it."""

import math
import statistics

from ratios import OURS, PEERS, Ratio, is_wide, median_interval, megabytes

# Other ways to move a client onto Freelane: the mean of all clients leaves them out.
VARIANTS = ["jansson-counted"]

REQUIRED = ["glibc", "mimalloc", "mimalloc-new", "jemalloc-new"]  # without these a floor counts as unmeasured


class ClientResults:
    """Samples by client, program and number of threads, and backend. A group is a client at a number of threads."""

    def __init__(self, document):
        self.left_out = document.get("left_out")
        self.context = document.get("context", {})
        self.samples, self.peaks, self.counts = {}, {}, {}
        for row in document.get("clients", []):
            cell = (row["client"], row["program"], row["threads"])
            for name, place in (("s_per_op", self.samples), ("peak", self.peaks), ("instructions", self.counts)):
                if name in row:
                    place.setdefault(cell, {}).setdefault(row["backend"], []).append(row[name])
        self.peers = [name for name in PEERS if any(name in backends for backends in self.samples.values())]

    def backends(self):
        names = dict.fromkeys(name for backends in self.samples.values() for name in backends)
        return [name for name in [OURS, *PEERS] if name in names]

    def groups(self):
        return list(dict.fromkeys((client, threads) for client, _, threads in self.samples))

    def of_group(self, group):
        return [cell for cell in self.samples if (cell[0], cell[2]) == group]

    @staticmethod
    def median(place, cell, backend):
        values = place.get(cell, {}).get(backend)
        return statistics.median(values) if values else None

    # ---- Ratios: how many times as long as ours the best peer takes

    def against_peers(self, cells):
        """Of the geometric means over cells; the best peer is the one whose mean is least."""
        peers = [peer for peer in self.peers if all(peer in self.samples[cell] for cell in cells)]
        if not peers or not cells or not all(OURS in self.samples[cell] for cell in cells):
            return None
        names = [OURS, *peers]

        def means(sets):
            table = [sets[i : i + len(cells)] for i in range(0, len(sets), len(cells))]
            return [statistics.geometric_mean([statistics.median(samples) for samples in row]) for row in table]

        def ratio(*sets):
            ours, *others = means(sets)
            return min(others) / ours

        sets = [self.samples[cell][name] for name in names for cell in cells]
        others = means(sets)[1:]
        return Ratio(ratio(*sets), *median_interval(ratio, *sets), peers[others.index(min(others))])

    def over_groups(self):
        """The geometric mean of the groups' ratios. Its interval is that of groups which vary independently."""
        groups = [group for group in self.groups() if group[0] not in VARIANTS]
        ratios = [self.against_peers(self.of_group(group)) for group in groups]
        if not ratios or None in ratios:
            return None
        value = statistics.geometric_mean([ratio.value for ratio in ratios])
        spread = math.sqrt(sum(math.log(ratio.high / ratio.low) ** 2 for ratio in ratios)) / (2 * len(ratios))
        return Ratio(value, value * math.exp(-spread), value * math.exp(spread), "each group's best")

    def memory(self, group, backend):
        """The sum of the programs' peaks."""
        peaks = [self.median(self.peaks, cell, backend) for cell in self.of_group(group)]
        return None if not peaks or None in peaks else sum(peaks)

    def wide_groups(self):
        """Those whose ratio has an interval that settles nothing."""
        ratios = {group: self.against_peers(self.of_group(group)) for group in self.groups()}
        return [group for group, ratio in ratios.items() if ratio and is_wide(ratio)]

    # ---- Floors

    def missing(self):
        """The peers that floors need and this run has not measured."""
        absent = [name for name in REQUIRED if name not in self.peers]
        return absent if {"tcmalloc", "tcmalloc-new"} & set(self.peers) else [*absent, "tcmalloc"]

    def judge(self, floor):
        """The members of a verdict: subject, what is wanted, what was measured, whether it is met. A floor may name
        some of the client's programs."""
        group = (floor["client"], floor["threads"]) if "client" in floor else None
        where = self._where(floor, group) if group else "geometric mean of the clients"
        if self.missing():
            return where, "the best of all peers", f"not measured: without {', '.join(self.missing())}", False
        if floor["clients"] == "memory":
            return self._judge_memory(floor, group, where)
        ratio = self.against_peers(self._cells(floor, group)) if group else self.over_groups()
        wanted = f"best peer ≥ {floor['at_least']:g}× ours"
        if ratio is None:
            return where, wanted, "not measured", False
        return where, wanted, f"{ratio} ({ratio.other})", ratio.high >= floor["at_least"] and not is_wide(ratio)

    @staticmethod
    def _where(floor, group):
        programs = f" ({' and '.join(floor['programs'])})" if "programs" in floor else ""
        return "{}{}, {} thread{}".format(group[0], programs, group[1], "s" * (group[1] > 1))

    def _cells(self, floor, group):
        """Those that the floor is about; none if one of its programs was not measured."""
        cells = self.of_group(group)
        wanted = floor.get("programs", [program for _, program, _ in cells])
        found = [cell for cell in cells if cell[1] in wanted]
        return found if len(found) == len(wanted) else []

    def _judge_memory(self, floor, group, where):
        """Against the peer that is the fastest; the one that needs least is told as well."""
        subject, wanted = f"{where}, peak memory", "ours ≤ the fastest peer's"
        ratio = self.against_peers(self.of_group(group))
        ours = self.memory(group, OURS)
        peers = {name: self.memory(group, name) for name in self.peers}
        if ratio is None or ours is None or None in peers.values():
            return subject, wanted, "not measured", False
        least = min(peers, key=peers.get)
        measured = f"{megabytes(ours)} against {megabytes(peers[ratio.other])} ({ratio.other})"
        if least != ratio.other:
            measured += f"; the least is {megabytes(peers[least])} ({least})"
        return subject, wanted, measured, ours <= floor["at_most"] * peers[ratio.other]
