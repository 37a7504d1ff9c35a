# SPDX-License-Identifier: MIT
"""What fl_bench, memory, latency and bench/python wrote, and the floors of floors.json judged by it."""

import json
import os
import random
import statistics
import subprocess
from dataclasses import dataclass

from python_results import PythonResults

OURS = "freelane"
PEERS = ["glibc", "mimalloc", "mimalloc-new", "jemalloc", "jemalloc-new", "tcmalloc", "tcmalloc-new"]
# Without these a floor against the best peer counts as unmeasured: gperftools' new source is not always to be had.
NEEDED_PEERS = [peer for peer in PEERS if peer != "tcmalloc-new"]
BACKENDS = [OURS, "freelane-call", *PEERS, "limit", "none"]
DEFERRING = ["qsbr", "bp", "call_rcu", "call_rcu-bp", "free"]
READING = ["qsbr", "bp", "rwlock", "rwlock-w"]
BURSTING = [OURS, "freelane-keep", "freelane-qsbr", "freelane-bp", *PEERS]
RESAMPLES = 1000


def median_interval(function, *sample_sets):
    """A 95 % interval of function(samples...) by bootstrap over the repetitions of each set."""
    generator = random.Random(482)
    values = sorted(
        function(*[generator.choices(samples, k=len(samples)) for samples in sample_sets]) for _ in range(RESAMPLES)
    )
    return values[int(0.025 * RESAMPLES)], values[int(0.975 * RESAMPLES) - 1]


@dataclass
class Verdict:
    """One floor: what it asks for, what was measured, and whether that is enough."""

    subject: str
    wanted: str
    measured: str
    met: bool


@dataclass
class Ratio:
    value: float
    low: float
    high: float
    other: str

    def __str__(self):
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]".replace("inf", "∞")


class Results:
    """Samples of s_per_op by (workload, threads) and backend; memory and latency by backend."""

    def __init__(self, directory):
        self.directory = directory
        self.raw = {name: self._read(name) for name in ("time", "memory", "latency", "python")}
        self.python = PythonResults(self.raw["python"])
        self.context = self.raw["time"]["context"]
        self.samples = {}
        self.nets = {}
        self.counts = {}
        for run in self.raw["time"]["benchmarks"]:
            if run["run_type"] == "iteration" and not run.get("error_occurred"):
                workload, backend, threads = self._parse_name(run["run_name"])
                self.samples.setdefault((workload, threads), {}).setdefault(backend, []).append(run["s_per_op"])
                if "net_s_per_op" in run:
                    self.nets.setdefault((workload, threads), {}).setdefault(backend, []).append(run["net_s_per_op"])
                counts = self.counts.setdefault((workload, threads), {}).setdefault(backend, {})
                for name in ("in_flight_mean", "in_flight_peak", "reads_per_s", "writes_per_s"):
                    if name in run:
                        counts.setdefault(name, []).append(run[name])
        self.memory = self._medians(self.raw["memory"]["memory"], lambda row: row["workload"])
        self.counters = self.raw["memory"]["counters"]
        latency = [
            {"backend": row["backend"], "operation": operation, **row[operation]}
            for row in self.raw["latency"]["latency"]
            for operation in ("alloc", "free")
        ]
        self.latency = self._medians(latency, lambda row: row["operation"])

    def _read(self, name):
        with open(os.path.join(self.directory, name + ".json"), encoding="utf-8") as file:
            return json.load(file)

    @staticmethod
    def _parse_name(name):
        threads = 1
        parts = []
        for part in name.split("/"):
            if part.startswith("threads:"):
                threads = int(part[len("threads:") :])
            elif part != "real_time":
                parts.append(part)
        return "/".join(parts[:-1]), parts[-1], threads

    @staticmethod
    def _medians(rows, group):
        """{group: {backend: {member: median over the repetitions}}}; of lists, element by element."""
        collected = {}
        for row in rows:
            members = collected.setdefault(group(row), {}).setdefault(row["backend"], {})
            for member, value in row.items():
                if isinstance(value, (int, float, list)):
                    members.setdefault(member, []).append(value)
        return {
            name: {
                backend: {
                    member: [statistics.median(point) for point in zip(*values)]
                    if isinstance(values[0], list)
                    else statistics.median(values)
                    for member, values in members.items()
                }
                for backend, members in backends.items()
            }
            for name, backends in collected.items()
        }

    # ---- Time

    def median(self, workload, backend, threads=1):
        samples = self.samples.get((workload, threads), {}).get(backend)
        return statistics.median(samples) if samples else None

    def measured(self, backend):
        """Whether the backend was there."""
        return any(backend in backends for backends in self.samples.values())

    def count(self, name, workload, backend, threads=1):
        """The median of a counter that is not a time; of peaks the highest."""
        values = self.counts.get((workload, threads), {}).get(backend, {}).get(name)
        if not values:
            return None
        return max(values) if name.endswith("_peak") else statistics.median(values)

    def has(self, what):
        """Whether fl_bench had liburcu, or its call_rcu."""
        return self.context.get(what, "none") != "none"

    def trim_rate(self, backend):
        """Seconds per GiB that the burst's trim gave back; None where there was next to nothing left to give."""
        row = self.memory.get("burst", {}).get(backend)
        given = row["idle"] - row["held"] if row else 0
        return row["trim"] * (1 << 30) / given if given >= 1 << 22 else None

    def spread(self, workload, backend, threads=1):
        """The quartiles."""
        samples = self.samples[workload, threads][backend]
        if len(samples) < 2:
            return samples[0], samples[0]
        low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
        return low, high

    def best_peer(self, workload, threads=1):
        return self._best_peer(self.samples.get((workload, threads), {}))

    @staticmethod
    def _best_peer(samples):
        present = [peer for peer in PEERS if peer in samples]
        return min(present, key=lambda peer: statistics.median(samples[peer])) if present else None

    def peers_complete(self, workload, threads=1):
        return all(self.median(workload, peer, threads) is not None for peer in NEEDED_PEERS)

    def against_peers(self, workload, threads=1, net=False):
        """How many times as long as ours the best peer takes; `net` of the backend `none` on both sides, or where
        each run measured that by itself, of what it measured."""
        nets = self.nets.get((workload, threads)) if net else None
        backends = nets or self.samples.get((workload, threads), {})
        peers = [backends[peer] for peer in PEERS if peer in backends]
        subtracts = net and not nets
        if not peers or OURS not in backends or (subtracts and "none" not in backends):
            return None

        def ratio(none, ours, *others):
            base = statistics.median(none) if subtracts else 0.0
            mine = statistics.median(ours) - base
            best = max(min(statistics.median(other) for other in others) - base, 0.0)
            return best / mine if mine > 0 else float("inf")  # no longer than nothing at all

        sets = [backends.get("none", [0.0]), backends[OURS], *peers]
        return Ratio(ratio(*sets), *median_interval(ratio, *sets), self._best_peer(backends))

    def against(self, workload, other_workload, other, inverse=False, backend=OURS):
        """How many times as long as ours another one takes; `inverse` how many times as long as it ours."""
        ours = self.samples.get((workload, 1), {}).get(backend)
        theirs = self.samples.get((other_workload, 1), {}).get(other)
        if not ours or not theirs:
            return None

        def ratio(a, b):
            value = statistics.median(b) / statistics.median(a)
            return 1 / value if inverse else value

        return Ratio(ratio(ours, theirs), *median_interval(ratio, ours, theirs), other)

    # ---- Floors

    def verdicts(self):
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "floors.json")
        with open(path, encoding="utf-8") as file:
            floors = json.load(file)
        return [self._judge(floor) for floor in floors if self._can_judge(floor)]

    def _can_judge(self, floor):
        """What was left out of the build, the report says where its tables would be."""
        if "python" in floor:
            return not self.python.left_out
        return "needs" not in floor or self.has(floor["needs"])

    def _judge(self, floor):
        if "python" in floor:
            return Verdict(*self.python.judge(floor))
        if "workload" in floor:
            return self._judge_time(floor)
        return self._judge_memory(floor) if "memory" in floor else self._judge_counter(floor)

    def _judge_time(self, floor):
        workload, threads, against = floor["workload"], floor.get("threads", 1), floor["against"]
        net = floor.get("net", False)
        subject = "/".join([workload, *([floor["backend"]] if "backend" in floor else [])])
        subject += f", {threads} threads" if threads > 1 else ""
        complete = True
        if against == "peer":
            ratio = self.against_peers(workload, threads, net)
            complete = self.peers_complete(workload, threads)
            wanted = f"best peer ≥ {floor['at_least']:g}× ours"
            if net:
                wanted += ", net of an empty thread" if workload.startswith("churn") else ", net of the loop"
        elif against == "limit":
            ratio = self.against(workload, workload, "limit", inverse=True)
            wanted = f"ours ≤ {floor['at_most']:g}× the bare list"
        elif "backend" in floor:
            other_workload, other = against.rsplit("/", 1)
            ratio = self.against(workload, other_workload, other, "at_most" in floor, floor["backend"])
            shown = other_workload if other == OURS else against
            wanted = f"{shown} ≥ {floor['at_least']:g}× ours" if "at_least" in floor else f"≤ {floor['at_most']:g}× {shown}"
        else:
            ratio = self.against(workload, against, "libpython3.11")
            wanted = f"{against} ≥ {floor['at_least']:g}× ours"
        if ratio is None:
            return Verdict(subject, wanted, "not measured", False)
        if "at_least" in floor:
            met = ratio.value >= floor["at_least"]
        else:
            met = ratio.value <= floor["at_most"]
        measured = str(ratio) + (f" ({ratio.other})" if against == "peer" else "")
        if not complete:
            measured += ", unmeasured: a peer is missing"
        return Verdict(subject, wanted, measured, met and complete)

    def _judge_memory(self, floor):
        workload, what = floor["memory"], floor["what"]
        rows = self.memory.get(workload, {})
        ours = rows.get(floor.get("backend", OURS), {}).get(what)
        subject = f"{workload}, {what} memory" + (f", {floor['backend']}" if "backend" in floor else "")
        if "at_most_bytes" in floor:
            limit = floor["at_most_bytes"]
            wanted = f"ours ≤ {megabytes(limit)} over the start"
            return Verdict(subject, wanted, megabytes(ours), ours is not None and ours <= limit)
        peers = {peer: rows[peer][what] for peer in PEERS if peer in rows}
        wanted = "ours ≤ the best peer's"
        if ours is None or any(peer not in peers for peer in NEEDED_PEERS):
            return Verdict(subject, wanted, "unmeasured: a peer is missing", False)
        best = min(peers, key=peers.get)
        measured = f"{megabytes(ours)} against {megabytes(peers[best])} ({best})"
        return Verdict(subject, wanted, measured, ours <= floor["at_most"] * peers[best])

    def _judge_counter(self, floor):
        counts = self.counters[floor["counter"]]
        if floor["counter"] == "steady":
            return Verdict(
                "steady state in a thread",
                "no shared read-modify-write",
                f"{counts['shared_updates']} in {counts['operations']:,} operations",
                counts["shared_updates"] <= floor["at_most"],
            )
        per = counts["shared_updates"] / counts["exchanges"] if counts["exchanges"] else float("inf")
        return Verdict(
            "handoff, one pair",
            f"≤ {floor['at_most']} shared read-modify-writes per magazine exchanged",
            f"{per:.3f} ({counts['exchanges']:,} exchanges)",
            per <= floor["at_most"],
        )

    # ---- The machine

    def facts(self):
        """What a reader needs to judge the numbers, as (name, value)."""
        context = self.context
        caches = ", ".join(
            f"L{c['level']}{ {'Data': 'd', 'Instruction': 'i'}.get(c['type'], '') } {c['size'] // 1024} KiB"
            for c in context.get("caches", [])
        )
        peers = ", ".join(f"{peer} {context[peer].split('-0-g')[0]}" for peer in PEERS if peer in context)
        return [
            ("CPU", f"{context.get('cpu', 'unknown')}, {context['num_cpus']} cores, {context['mhz_per_cpu']} MHz"),
            ("Caches", caches),
            ("Kernel", context.get("kernel", "unknown")),
            ("Transparent huge pages", context.get("transparent_hugepage", "unknown")),
            ("Compiler", context.get("compiler", "unknown")),
            ("Peers", peers),
            ("liburcu", self.context["liburcu"] if self.has("liburcu") else "none: defer and readers are left out"),
            ("Load before", ", ".join(f"{load:.2f}" for load in context.get("load_avg", []))),
            ("Date", context["date"]),
            ("Commit", commit()),
            ("Repetitions", str(self.repetitions())),
        ]

    def repetitions(self):
        return min(len(samples) for backends in self.samples.values() for samples in backends.values())


def commit():
    """The commit measured, and whether the tree differs from it."""

    def git(*arguments):
        directory = os.path.dirname(os.path.abspath(__file__))
        done = subprocess.run(["git", "-C", directory, *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        return (head + (" and changes" if git("status", "--porcelain") else "")) if head else "unknown"
    except FileNotFoundError:
        return "unknown"


def megabytes(count):
    return "not measured" if count is None else f"{count / (1 << 20):.2f} MiB"


def nanoseconds(seconds):
    """A time for a table: three figures."""
    if seconds is None:
        return ""
    value = seconds * 1e9
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def duration(ns):
    """A duration with its unit, for latencies."""
    if ns < 1000:
        return f"{ns:.0f} ns"
    return f"{ns / 1e3:.1f} µs" if ns < 1e6 else f"{ns / 1e6:.1f} ms"
