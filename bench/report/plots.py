# SPDX-License-Identifier: MIT
"""The plots of the report, drawn by gnuplot."""

import re
import shutil
import subprocess

from results import BURSTING, DEFERRING, OURS, PEERS, READING

COLORS = {
    "freelane": "#0f766e",
    "freelane-call": "#5eb5ac",
    "glibc": "#94a3b8",
    "mimalloc": "#e0913a",
    "mimalloc-new": "#c2410c",
    "jemalloc": "#b9617f",
    "jemalloc-new": "#8f3a58",
    "tcmalloc": "#6b8fd6",
    "tcmalloc-new": "#3f63ad",
    "limit": "#475569",
    "none": "#d5dbe3",
    "libpython3.11": "#94a3b8",
    "qsbr": "#0f766e",
    "bp": "#2f9187",
    "call_rcu": "#e0913a",
    "call_rcu-bp": "#e8b074",
    "free": "#475569",
    "batch": "#475569",
    "rwlock": "#b9617f",
    "rwlock-w": "#cf93a8",
    "freelane-keep": "#2f9187",
    "freelane-thread": "#5eb5ac",
    "freelane-qsbr": "#2f9187",
    "freelane-bp": "#2f9187",
}
INK, MUTED, GRID = "#1e293b", "#64748b", "#e7ebf0"
MARGIN = 16


def available():
    return shutil.which("gnuplot") is not None


def draw(script, width, height, path):
    """Runs gnuplot on the body of a multiplot; `path` ends in .svg or .png."""
    if path.endswith(".png"):
        terminal = f'pngcairo size {2 * width},{2 * height} enhanced font "Sans,24" fontscale 0.9 linewidth 2'
    else:
        terminal = f'svg size {width},{height} dynamic enhanced font "Helvetica,12"'
    head = f"""
set terminal {terminal} background "#ffffff"
set output "{path}"
set encoding utf8
set multiplot
set border 0
set tics scale 0
set style fill solid 1.0 noborder
set key off
set title font ",13" textcolor rgb "{INK}"
set tics textcolor rgb "{MUTED}" font ",11"
set ylabel textcolor rgb "{MUTED}" font ",11"
set xlabel textcolor rgb "{MUTED}" font ",11"
set grid linecolor rgb "{GRID}" linewidth 1 linetype 1, linecolor rgb "{GRID}" linewidth 1 linetype 1
"""
    subprocess.run(["gnuplot"], input=head + script + "\nunset multiplot\n", text=True, check=True)
    if path.endswith(".svg"):
        with open(path, encoding="utf-8") as file:
            text = re.sub(r'font-family="[^"]*"', 'font-family="Inter, Helvetica, Arial, sans-serif"', file.read())
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


class Panel:
    """A rectangle of the picture, in pixels from its upper left corner."""

    def __init__(self, size, left, top, width, height):
        self.size, self.left, self.top, self.width, self.height = size, left, top, width, height

    def frame(self, left, right, top, bottom):
        """Puts the axes inside the panel, with these margins in pixels."""
        across, down = self.size
        return (
            f"set lmargin at screen {(self.left + left) / across:.5f}\n"
            f"set rmargin at screen {(self.left + self.width - right) / across:.5f}\n"
            f"set tmargin at screen {1 - (self.top + top) / down:.5f}\n"
            f"set bmargin at screen {1 - (self.top + self.height - bottom) / down:.5f}\n"
        )

    def title(self, text, note=""):
        """The title stands at the panel's upper left, a note below it."""
        across, down = self.size
        x, y = self.left / across, 1 - (self.top + 10) / down
        lines = f'set label 1 "{{/:Bold {text}}}" at screen {x:.5f},{y:.5f} left font ",14" textcolor rgb "{INK}"\n'
        if note:
            y = 1 - (self.top + 27) / down
            lines += f'set label 2 "{note}" at screen {x:.5f},{y:.5f} left font ",12" textcolor rgb "{MUTED}"\n'
        return lines


def grid_of(count, columns, width, panel_height, top=0):
    """The picture's size and its panels, row by row."""
    rows = -(-count // columns)
    size = (width, top + rows * panel_height + MARGIN)
    step = (width - MARGIN) / columns
    return size, [
        Panel(size, MARGIN + (i % columns) * step, top + MARGIN + (i // columns) * panel_height, step - 2 * MARGIN,
              panel_height - MARGIN)
        for i in range(count)
    ]


def name_color(name):
    return INK if name == OURS else MUTED


def bars(panel, title, note, rows, number):
    """Horizontal bars: rows of (name, value, low, high, label); values of any unit, all from 0."""
    most = max(row[1] for row in rows) or 1
    most = max(most, min(max(row[3] for row in rows), 1.25 * most))
    rows = [(name, value, low, min(high, most), label) for name, value, low, high, label in rows]
    data = "\n".join(
        f"{value} {len(rows) - i} {low} {high} {int(COLORS[name][1:], 16)}"
        for i, (name, value, low, high, _) in enumerate(rows)
    )
    script = panel.frame(92, 58, 40, 2) + panel.title(title, note)
    script += f"$panel{number} << EOD\n{data}\nEOD\n"
    script += f"set xrange [0:{most}]\nset yrange [0.4:{len(rows) + 0.6}]\nunset xtics\nunset ytics\nunset grid\n"
    for i, (name, value, _, high, label) in enumerate(rows):
        bold = "{/:Bold %s}"
        shown, text = (bold % name, bold % label) if name == OURS else (name, label)
        y = len(rows) - i
        script += (
            f'set label {10 + 2 * i} "{shown}" at graph 0,first {y} right offset character -0.7,0 font ",12" '
            f'textcolor rgb "{name_color(name)}"\n'
            f'set label {11 + 2 * i} "{text}" at first {max(value, high)},{y} left offset character 0.6,0 font ",12" '
            f'textcolor rgb "{name_color(name)}"\n'
        )
    script += f"plot $panel{number} using (0):2:(0):1:($2-0.36):($2+0.36):5 with boxxyerror linecolor rgb variable"
    if any(high - low > 0.01 * most for _, _, low, high, _ in rows):
        script += f', $panel{number} using 1:2:3:4 with xerrorbars pointtype -1 linewidth 1 linecolor rgb "{INK}"'
    return script + "\nunset label\n"


def plot_time(results, path):
    """Time per operation by workload and allocator."""
    panels = [
        ("pair/48", 1, "allocate, free at once"),
        ("batch/48/100", 1, "100, then free them"),
        ("batch/48/1000", 1, "1000, then free them"),
        ("batch/48/100000", 1, "100 000, then free them"),
        ("random/48/10000", 1, "replace one of 10 000"),
        ("random/48/500000", 1, "replace one of 500 000"),
        ("sizes", 1, "the sizes of an interpreter"),
        ("handoff", 2, "every free on another thread"),
        ("larson", 2, "a server, 2 lines of threads"),
        ("churn", 2, "threads start, allocate, die"),
        ("dealloc", 1, "by kind, and CPython’s path"),
    ]
    shown = []
    for workload, threads, note in panels:
        if workload == "dealloc":
            rows = [(f"dealloc/{kind}", OURS, kind) for kind in ("plain", "clear", "finalize", "legacy")]
            rows.append(("dealloc/pyobject", "libpython3.11", "pyobject"))
            rows = [row for row in rows if results.median(row[0], row[1]) is not None]
        else:
            present = results.samples.get((workload, threads), {})
            names = [name for name in (OURS, "freelane-call", *PEERS, "limit", "none") if name in present]
            rows = [(workload, name, name) for name in names]
        if rows:
            shown.append((workload, threads, note, rows))
    size, places = grid_of(len(shown), 3, 1080, 262)
    script = ""
    for number, (place, (workload, threads, note, rows)) in enumerate(zip(places, shown)):
        bar_rows = []
        for row_workload, backend, name in rows:
            value = results.median(row_workload, backend, threads) * 1e9
            low, high = (1e9 * x for x in results.spread(row_workload, backend, threads))
            label = f"{value:.1f}" if value < 100 else f"{value:.0f}"
            COLORS.setdefault(name, COLORS[backend])
            bar_rows.append((name, value, low, high, label + " ns"))
        title = workload + (" · 2 threads" if threads > 1 else "")
        script += bars(place, title, note, bar_rows, number)
    draw(script, *size, path)


def lines_key(size, names, top):
    """A legend in one line above the panels."""
    across, down = size
    script, x, y = "", MARGIN, 1 - top / down
    for i, name in enumerate(names):
        weight = "{/:Bold %s}" % name if name == OURS else name
        script += (
            f'set label {100 + 2 * i} "" at screen {(x + 5) / across:.5f},{y:.5f} point pointtype 5 pointsize 1.1 '
            f'linecolor rgb "{COLORS[name]}"\n'
            f'set label {101 + 2 * i} "{weight}" at screen {(x + 16) / across:.5f},{y:.5f} left font ",12" '
            f'textcolor rgb "{name_color(name)}"\n'
        )
        x += 42 + 7.2 * len(name)
    return script


def line_style(name):
    return f'linecolor rgb "{COLORS[name]}" linewidth {3 if name == OURS else 1.8}'


def curves_by_threads(block, counts, rates):
    """The curves of one panel: `rates` has for each name its rate at each number of threads in `counts`. Data blocks are
    called after `block`."""
    most = max(max(values) for values in rates.values())
    script = ""
    for i, values in enumerate(rates.values()):
        data = "\n".join(f"{at} {rate}" for at, rate in enumerate(values))
        script += f"${block}_{i} << EOD\n{data}\nEOD\n"
    tics = ", ".join(f'"{count}" {at}' for at, count in enumerate(counts))
    script += f"set xtics ({tics})\nset ytics autofreq\nset xlabel 'threads' offset 0,0.3\nset grid ytics\n"
    script += f"set xrange [-0.15:{len(counts) - 0.85}]\nset yrange [0:{1.08 * most}]\n"
    curves = [
        f"${block}_{i} using 1:2 with linespoints pointtype 7 pointsize {0.75 if name == OURS else 0.55} "
        + line_style(name)
        for i, name in enumerate(rates)
    ]
    return script + "plot " + ", ".join(reversed(curves)) + "\nunset label\n"


def plot_threads(results, path):
    """Throughput by number of threads."""
    names = [OURS, "freelane-call", *PEERS]
    workloads = [
        ("own/48/10000", "each thread its own 10 000 blocks"),
        ("handoff", "pairs: one allocates, one frees"),
        ("larson", "a server of short-lived threads"),
        ("churn", "threads start, allocate, die"),
    ]
    names = [name for name in names if results.measured(name)]
    size, places = grid_of(4, 2, 1080, 560, top=20)
    script = ""
    for number, (place, (workload, note)) in enumerate(zip(places, workloads)):
        counts = sorted(threads for name, threads in results.samples if name == workload)
        present = [name for name in names if all(results.median(workload, name, n) for n in counts)]
        if not present:
            continue
        rates = {name: [1e-6 / results.median(workload, name, n) for n in counts] for name in present}
        script += place.frame(38, 6, 44, 38) + place.title(workload, note + "; million alloc+free per second")
        script += lines_key(size, names, 14) if number == 0 else ""
        script += curves_by_threads(f"threads{number}", counts, rates)
    draw(script, *size, path)


def plot_memory(results, path):
    """Peak memory and memory held after the end."""
    workloads = [
        ("sizes", "peak", "a million live objects; peak over the start"),
        ("larson", "peak", "four arrays of 20 000 blocks; peak over the start"),
        ("handoff", "peak", "one pair of threads; peak over the start"),
        ("sizes", "held", "freed, threads gone, purged; over the start"),
        ("larson", "held", "freed, threads gone, purged; over the start"),
        ("handoff", "held", "freed, threads gone, purged; over the start"),
    ]
    size, places = grid_of(len(workloads), 3, 1080, 222)
    script = ""
    for number, (place, (workload, what, note)) in enumerate(zip(places, workloads)):
        rows = []
        for name in (OURS, *PEERS):
            if name in results.memory.get(workload, {}):
                value = results.memory[workload][name][what] / (1 << 20)
                rows.append((name, value, value, value, f"{value:.1f} MiB" if value < 100 else f"{value:.0f} MiB"))
        if rows:
            script += bars(place, f"{workload} · {what}", note, rows, number)
    draw(script, *size, path)


def plot_quiet(results, path):
    """Resident memory by second after a burst."""
    titles = {"quiet/silence": "four silent threads", "quiet/trickle": "an allocation each millisecond"}
    size, places = grid_of(2, 2, 1080, 330, top=20)
    names = list(dict.fromkeys(name for _, name, _ in results.quiet()))
    script = ""
    for number, (place, (workload, note)) in enumerate(zip(places, titles.items())):
        rows = {name: taken for of, name, taken in results.quiet() if of == workload}
        if not rows:
            continue
        for i, taken in enumerate(rows.values()):
            data = "\n".join(f"{second} {value / (1 << 20)}" for second, value in enumerate(taken))
            script += f"$quiet{number}_{i} << EOD\n{data}\nEOD\n"
        most = max(max(taken) for taken in rows.values()) / (1 << 20)
        script += place.frame(52, 10, 44, 38) + place.title(workload, note + "; MiB resident")
        script += lines_key(size, names, 14) if number == 0 else ""
        script += "set xtics autofreq\nset ytics autofreq\nset xlabel 'seconds after the burst' offset 0,0.3\n"
        script += f"set grid ytics\nset xrange [0:*]\nset yrange [0:{1.08 * most}]\n"
        curves = [f"$quiet{number}_{i} using 1:2 with lines " + line_style(name) for i, name in enumerate(rows)]
        script += "plot " + ", ".join(reversed(curves)) + "\nunset label\n"
    draw(script, *size, path)


def plot_grace(results, path):
    """Deferred frees, readers, and what is left after a burst."""

    def row(name, value, label):
        return (name, value, value, value, label)

    def mib(value):
        return f"{value / (1 << 20):.1f} MiB"

    times = [(name, results.median("defer", name)) for name in DEFERRING]
    times.append(("batch", results.median("batch/48/100000", OURS)))
    flying = [(name, results.count("in_flight_mean", "defer", name)) for name in DEFERRING]
    reads = [(name, results.count("reads_per_s", "readers", name, 4)) for name in READING]
    writes = [(name, results.count("writes_per_s", "readers", name, 4)) for name in READING]
    burst = results.memory.get("burst", {})
    held = [(name, burst[name]["held"] if name in burst else None) for name in BURSTING]
    rates = [(name, results.trim_rate(name)) for name in BURSTING]
    panels = [
        ("defer", "allocate 100 000, let them all go", times, lambda value: f"{1e9 * value:.1f} ns"),
        ("defer · in flight", "deferred and not yet free, on average", flying, mib),
        ("readers · 4 threads", "objects read per second", reads, lambda value: f"{value / 1e6:.0f} M"),
        ("readers · 4 threads", "objects replaced per second", writes, lambda value: f"{value / 1e3:.0f} k"),
        ("burst · held", "512 MiB freed, threads gone, purged", held, mib),
        ("burst · trim", "seconds per GiB given back", rates, lambda value: f"{value:.2f} s"),
    ]
    shown = [
        (title, note, [row(name, value, label(value)) for name, value in pairs if value is not None])
        for title, note, pairs, label in panels
    ]
    shown = [panel for panel in shown if panel[2]]
    size, places = grid_of(len(shown), 3, 1080, 212)
    script = ""
    for number, (place, (title, note, rows)) in enumerate(zip(places, shown)):
        script += bars(place, title, note, rows, number)
    draw(script, *size, path)


def plot_latency(results, path):
    """Latency of single operations by quantile."""
    names = [name for name in (OURS, *PEERS, "none") if results.measured(name)]
    size, places = grid_of(2, 2, 1080, 380, top=20)
    script = ""
    for number, (place, operation) in enumerate(zip(places, ("alloc", "free"))):
        rows = results.latency.get(operation, {})
        present = [name for name in names if name in rows]
        if not present:
            continue
        for i, name in enumerate(present):
            data = "\n".join(
                f"{(at + 1) / 4} {max(value, 1.0)}" for at, value in enumerate(rows[name]["curve"])
            )
            script += f"$latency{number}_{i} << EOD\n{data}\nEOD\n"
        points = max(len(rows[name]["curve"]) for name in present)
        tics = ['"90 %%" 1', '"99 %%" 2'] + [f'"99.{"9" * n} %%" {n + 2}' for n in range(1, points // 4 - 1)]
        script += place.frame(52, 10, 44, 38)
        script += place.title(operation, "time of one operation that this share does not exceed")
        script += lines_key(size, names, 14) if number == 0 else ""
        script += "set logscale y\nset yrange [1:*]\n"
        script += f"set xrange [0.25:{points / 4}]\nset xtics ({', '.join(tics)})\nset xlabel ''\n"
        script += 'set ytics ("≤ 1 ns" 1, "10 ns" 10, "100 ns" 100, "1 µs" 1e3, "10 µs" 1e4, "100 µs" 1e5, "1 ms" 1e6, '
        script += '"10 ms" 1e7, "100 ms" 1e8)\nset grid xtics ytics\n'
        curves = [
            f"$latency{number}_{i} using 1:2 with lines " + line_style(name) for i, name in enumerate(present)
        ]
        script += "plot " + ", ".join(reversed(curves)) + "\nunset label\n"
    draw(script, *size, path)


PLOTS = [
    ("time", "Time per operation", "Nanoseconds per allocation and free, medians; the thin lines are quartiles. "
     "Shorter is better. <code>limit</code> is a bare list without checks, <code>none</code> the loop alone.", plot_time),
    ("threads", "Throughput by number of threads", "Higher is better.", plot_threads),
    ("memory", "Memory", "Resident memory over what was resident before the workload began. Shorter is better.",
     plot_memory),
    ("quiet", "Memory after a burst", "Four threads make and drop 1 GiB three times, and live on. <code>freelane-thread</code> is "
     "a heap with <code>decay_thread</code>; jemalloc has its background thread. Lower is better.", plot_quiet),
    ("grace", "Grace periods and bursts", "Memory that readers may still be looking at, against <code>call_rcu</code> and a "
     "reader-writer lock, and <code>batch</code> and <code>free</code>, which wait for nobody. What is left after a burst, and "
     "what it takes to give it back.", plot_grace),
    ("latency", "Tail latency", "Bursts of 64 to 2 million blocks, every operation timed by itself: refills, page "
     "faults and trims included. <code>none</code> times nothing and shows what the machine adds. Lower is better.",
     plot_latency),
]
