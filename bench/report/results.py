# SPDX-License-Identifier: MIT
"""What fl_bench, memory, latency and the scripts of bench/python wrote, and the floors of floors.json judged by it."""

import json
import os
import statistics
import subprocess
from dataclasses import dataclass

from client_results import ClientResults
from multidict_results import MultidictResults
from python_results import PythonResults
from ratios import (
    NEEDED_PEERS, OURS, PEERS, Ratio, is_clear, is_met, is_wide, median_interval, megabytes, read_floors
)
from use_results import UseResults

BACKENDS = [OURS, "freelane-call", *PEERS, "limit", "none"]
DEFERRING = ["qsbr", "bp", "call_rcu", "call_rcu-bp", "free"]
# What bench/python/measure wrote, for each interpreter, and what bench/python/multidict did.
PYTHONS = ["python", "python-3.14"]
MULTIDICTS = ["multidict-3.13", "multidict-3.14"]
# What a run may have left out: a second measurement, other people's programs, the second interpreter, and multidict.
OPTIONAL = ["again", "clients", *PYTHONS[1:], *MULTIDICTS]
READING = ["qsbr", "bp", "rwlock", "rwlock-w"]
BURSTING = [OURS, "freelane-keep", "freelane-qsbr", "freelane-bp", *PEERS]


@dataclass
class Verdict:
    """One floor: what it asks for, what was measured, and whether that is enough."""

    subject: str
    wanted: str
    measured: str
    met: bool
    counts: bool = True  # otherwise it is reported and judges nothing


class Results:
    """Samples of s_per_op by (workload, threads) and backend; memory and latency by backend. What was measured again
    takes the place of what the first measurement says."""

    def __init__(self, directory):
        self.directory = directory
        self.raw = {name: self._read(name) for name in ("time", "memory", "latency", "python", "use")}
        for name in OPTIONAL:
            if os.path.exists(self._path(name)):
                self.raw[name] = self._read(name)
        self.pythons = [PythonResults(self.raw[name]) for name in PYTHONS if name in self.raw]
        self.multidicts = [MultidictResults(self.raw[name]) for name in MULTIDICTS if name in self.raw]
        self.use = UseResults(self.raw["use"])
        self.clients = self._read_clients()
        self.context = self.raw["time"]["context"]
        self.tables = json.loads(self.context["tables"])  # what the workloads of fl_bench have registered
        self.samples = {}
        self.nets = {}
        self.counts = {}
        again = self.raw.get("again", {}).get("benchmarks", [])
        names = {run["run_name"] for run in again if "s_per_op" in run}
        for run in [run for run in self.raw["time"]["benchmarks"] if run["run_name"] not in names] + again:
            if run["run_type"] == "iteration" and not run.get("error_occurred"):
                workload, backend, threads = self._parse_name(run["run_name"])
                self.samples.setdefault((workload, threads), {}).setdefault(backend, []).append(run["s_per_op"])
                if "net_s_per_op" in run:
                    self.nets.setdefault((workload, threads), {}).setdefault(backend, []).append(run["net_s_per_op"])
                counts = self.counts.setdefault((workload, threads), {}).setdefault(backend, {})
                for name in self.counters_shown() & run.keys():
                    counts.setdefault(name, []).append(run[name])
        self.memory = self._medians(self.raw["memory"]["memory"], lambda row: row["workload"])
        self.counters = self.raw["memory"]["counters"]
        latency = [
            {"backend": row["backend"], "operation": operation, **row[operation]}
            for row in self.raw["latency"]["latency"]
            for operation in ("alloc", "free")
        ]
        self.latency = self._medians(latency, lambda row: row["operation"])
        self.forks = {}
        for row in self.raw["latency"]["forks"]:
            self.forks.setdefault(row.get("workload", "fork"), {})[row["backend"]] = row

    def _path(self, name):
        return os.path.join(self.directory, name + ".json")

    def _read(self, name):
        with open(self._path(name), encoding="utf-8") as file:
            return json.load(file)

    def _read_clients(self):
        """None where bench/clients/run was not asked."""
        if "clients" not in self.raw:
            return None
        return ClientResults(self.raw["clients"])

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

    def counters_shown(self):
        return {column["counter"] for table in self.tables for column in table["columns"]}

    def threads_of(self, workload, backend=None):
        """The numbers of threads that the workload was measured with."""
        return sorted(
            threads
            for (name, threads), backends in self.samples.items()
            if name == workload and (backend is None or backend in backends)
        )

    def count(self, name, workload, backend, threads=1):
        """The median of a counter of a table; of peaks the highest."""
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

    def quiet(self):
        """Of each row of quiet/*: its workload, its backend, and the bytes resident after each second."""
        return [
            (workload, backend, row["seconds"])
            for workload, backends in self.memory.items()
            if workload.startswith("quiet/")
            for backend, row in backends.items()
        ]

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

    def against(self, workload, other_workload, other, inverse=False, backend=OURS, threads=1):
        """How many times as long as ours another one takes; `inverse` how many times as long as it ours."""
        ours = self.samples.get((workload, threads), {}).get(backend)
        theirs = self.samples.get((other_workload, threads), {}).get(other)
        if not ours or not theirs:
            return None

        def ratio(a, b):
            value = statistics.median(b) / statistics.median(a)
            return 1 / value if inverse else value

        return Ratio(ratio(ours, theirs), *median_interval(ratio, ours, theirs), other)

    # ---- Floors

    def verdicts(self):
        return [verdict for floor in read_floors() if self._can_judge(floor) for verdict in self._judge_all(floor)]

    def _can_judge(self, floor):
        """What was left out of the build, the report says where its tables would be."""
        if "python" in floor or "multidict" in floor:
            return True
        if "clients" in floor:
            return self.clients is not None and not self.clients.left_out
        if "use" in floor:
            return self.use.can_judge(floor)
        ours = floor.get("backend", OURS)
        if floor.get("slow") and self.median(floor["workload"], ours, floor.get("threads", 1)) is None:
            return False
        return "needs" not in floor or self.has(floor["needs"])

    def _judge_all(self, floor):
        """A verdict; for each interpreter, if the floor is one of theirs."""
        if "python" in floor:
            return [Verdict(*python.judge(floor)) for python in self.pythons if not python.left_out]
        if "multidict" in floor:
            return [Verdict(*multidict.judge(floor)) for multidict in self.multidicts]
        return [self._judge(floor)]

    def _judge(self, floor):
        if "clients" in floor:
            return Verdict(*self.clients.judge(floor))
        if "use" in floor:
            return Verdict(*self.use.judge(floor))
        if "column" in floor:
            return self._judge_column(floor)
        if "workload" in floor:
            return self._judge_time(floor)
        if "fork" in floor:
            return self._judge_fork(floor)
        return self._judge_memory(floor) if "memory" in floor else self._judge_counter(floor)

    def _ratio_of(self, floor):
        workload, against = floor["workload"], floor["against"]
        if against == "peer":
            return self.against_peers(workload, floor.get("threads", 1), floor.get("net", False))
        if against == "limit":
            return self.against(workload, workload, "limit", inverse=True)
        if "backend" in floor:
            other_workload, other = against.rsplit("/", 1)
            threads = floor.get("threads", 1)
            return self.against(workload, other_workload, other, "at_most" in floor, floor["backend"], threads)
        return self.against(workload, against, "libpython3.11")

    @staticmethod
    def _wanted_of(floor):
        workload, against = floor["workload"], floor["against"]
        if against == "peer":
            net = ", net of an empty thread" if workload.startswith("churn") else ", net of the loop"
            return f"best peer ≥ {floor['at_least']:g}× ours" + (net if floor.get("net") else "")
        if against == "limit":
            return f"ours ≤ {floor['at_most']:g}× the bare list"
        if "backend" in floor:
            other_workload, other = against.rsplit("/", 1)
            shown = other_workload if other == OURS else against
            return f"{shown} ≥ {floor['at_least']:g}× ours" if "at_least" in floor else f"≤ {floor['at_most']:g}× {shown}"
        return f"{against} ≥ {floor['at_least']:g}× ours"

    def _judge_time(self, floor):
        workload, threads, against = floor["workload"], floor.get("threads", 1), floor["against"]
        subject = "/".join([workload, *([floor["backend"]] if "backend" in floor else [])])
        subject += f", {threads} threads" if threads > 1 else ""
        complete = against != "peer" or self.peers_complete(workload, threads)
        ratio, wanted, counts = self._ratio_of(floor), self._wanted_of(floor), not floor.get("reported", False)
        if ratio is None:
            return Verdict(subject, wanted, "not measured", False, counts)
        met = is_met(ratio, floor.get("at_least", 0.0), floor.get("at_most", float("inf")))
        measured = str(ratio) + (f" ({ratio.other})" if against == "peer" else "")
        if not complete:
            measured += ", unmeasured: a peer is missing"
        return Verdict(subject, wanted, measured, met and complete, counts)

    def _judge_column(self, floor):
        """A share, which a table of fl_bench has a column for."""
        columns = [column for table in self.tables for column in table["columns"]]
        head = next((column["head"] for column in columns if column["counter"] == floor["column"]), floor["column"])
        share = self.count(floor["column"], floor["workload"], floor["backend"])
        subject, wanted = f"{floor['workload']}/{floor['backend']}, {head}", f"≥ {floor['at_least']:.1%}"
        if share is None:
            return Verdict(subject, wanted, "not measured", False)
        return Verdict(subject, wanted, f"{share:.2%}", share >= floor["at_least"])

    def wide_workloads(self):
        """Those whose floors have an interval that settles nothing."""
        wide = []
        for floor in read_floors():
            if "against" in floor and "workload" in floor and self._can_judge(floor) and not floor.get("reported"):
                ratio = self._ratio_of(floor)
                if ratio and is_wide(ratio) and not is_clear(ratio, floor):
                    wide.append(floor["workload"])
                    if "/" in floor["against"]:
                        wide.append(floor["against"])
        return list(dict.fromkeys(wide))

    def _judge_memory(self, floor):
        workload, what = floor["memory"], floor["what"]
        rows = self.memory.get(workload, {})
        ours = rows.get(floor.get("backend", OURS), {}).get(what)
        subject = f"{workload}, {what} memory" + (f", {floor['backend']}" if "backend" in floor else "")
        if "at_most_bytes" in floor:
            limit = floor["at_most_bytes"]
            wanted = f"ours ≤ {megabytes(limit)}" + ("" if what == "each" else " over the start")
            return Verdict(subject, wanted, megabytes(ours), ours is not None and ours <= limit)
        # Some workloads are measured with the named peers alone.
        named = floor["against"] if isinstance(floor["against"], list) else None
        peers = {peer: rows[peer][what] for peer in named or PEERS if peer in rows}
        wanted = "ours ≤ " + (" and ".join(f"{peer}'s" for peer in named) if named else "the best peer's")
        if ours is None or any(peer not in peers for peer in named or NEEDED_PEERS):
            return Verdict(subject, wanted, "unmeasured: a peer is missing", False)
        best = min(peers, key=peers.get)
        measured = f"{megabytes(ours)} against {megabytes(peers[best])} ({best})"
        return Verdict(subject, wanted, measured, ours <= floor["at_most"] * peers[best])

    def _judge_fork(self, floor):
        workload = floor["fork"]
        subject = "fork, what another thread loses" + (", 500 heaps" if workload == "fork/heaps" else "")
        wanted = f"ours ≤ {floor['against']}'s"
        rows = [self.forks.get(workload, {}).get(name) for name in (OURS, floor["against"])]
        if None in rows:
            return Verdict(subject, wanted, "not measured", False)
        ours, theirs = (row[floor["what"]] for row in rows)
        met = ours <= floor["at_most"] * theirs
        return Verdict(subject, wanted, f"{ours:.1f} ms against {theirs:.1f} ms", met)

    def _judge_counter(self, floor):
        counts = self.counters[floor["counter"]]
        updates = counts["shared_updates"] + counts["home_visits"]
        if floor["counter"] == "steady":
            return Verdict(
                "steady state in a thread",
                "no shared read-modify-write",
                f"{updates} in {counts['operations']:,} operations",
                updates <= floor["at_most"],
            )
        magazines = counts["operations"] / counts["magazine_blocks"]
        return Verdict(
            "handoff, one pair",
            f"≤ {floor['at_most']} shared read-modify-writes per magazine of blocks",
            f"{updates / magazines:.3f} ({magazines:,.0f} magazines)",
            updates <= floor["at_most"] * magazines,
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
