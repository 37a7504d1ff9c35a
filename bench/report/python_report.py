# SPDX-License-Identifier: MIT
"""Tables, sections of the page and plots of what bench/python/measure measured."""

import os

import plots
from plots import MARGIN, curves_by_threads, draw, grid_of, lines_key
from python_results import INTERVAL_LEAST, OURS, PythonResults

NAMES = {"heap": [OURS, "immortal", "default", "freelist"], "static": [OURS, "default", "freelist"]}
plots.COLORS.update({"immortal": "#5eb5ac", "default": "#94a3b8", "freelist": "#e0913a"})
DEALLOCATION = {
    "Point": "PLAIN",
    "Pair": "CLEAR",
    "GCPair": "CLEAR, collected",
    "Handle": "FINALIZE",
    "GCHandle": "FINALIZE, collected",
    "Label": "LEGACY",
    "GCLabel": "LEGACY, collected",
    "Table": "CLEAR, collected, 200 bytes",
}
MEMORY = {
    "peak": "the most while it ran",
    "after": "all destroyed, the threads gone",
    "collected": "the same after gc.collect()",
}


# ---- Tables ----------------------------------------------------------------------------------------------------


def nanoseconds(value):
    return "" if value is None else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def against_default(cell):
    return "" if cell is None else str(cell.against("default"))


def time_table(results, way):
    names = NAMES["heap"]
    several = [threads for threads in results.values("threads") if threads > 1]
    rows = [["ns per object", "type", "alive", *names, "freelist / ours", "default / ours"]]
    rows[0] += [f"at {threads} threads" for threads in several]
    for kind in results.values("kind"):
        for form in results.values("form"):
            for alive in results.values("alive"):
                cell = results.cell(way, kind, form, 1, alive)
                if cell is None:
                    continue
                row = [f"{kind} ({DEALLOCATION[kind]})", form, str(alive), *(nanoseconds(cell.median(name)) for name in names)]
                row += [str(cell.against("freelist")), str(cell.against("default"))]
                row += [against_default(results.cell(way, kind, form, threads, alive)) for threads in several]
                rows.append(row)
    return rows


def memory_table(results):
    rows = [["MiB over the start", "", *NAMES["static"]]]
    for kind in dict.fromkeys(row["kind"] for row in results.memory_rows):
        for what, text in MEMORY.items():
            cells = [f"{results.memory(kind, name, what) / (1 << 20):.2f}" for name in NAMES["static"]]
            rows.append([kind, text, *cells])
    return rows


def memory_words(results):
    count = results.memory_processes()
    return f"medians of {count} processes" if count > 1 else "one process"


def heading(results):
    clock = ", in processor time" if results.context.get("clock") == "processor time" else ""
    return f"CPython {results.context['version']}, free-threaded, {results.repetitions()} repetitions{clock}"


def interval_words(results):
    return "95 % intervals" if results.repetitions() >= INTERVAL_LEAST else "ranges, of few repetitions"


def tables(document):
    """[(title, rows, columns aligned to the left)] for the terminal."""
    results = PythonResults(document)
    if results.left_out:
        return [(f"CPython: left out: {results.left_out}", [[""]], 1)]
    shown = [
        (f"{heading(results)}: created and destroyed in {way}, one thread; the ratios with their {interval_words(results)}",
         time_table(results, way), 2)
        for way in results.values("way")
    ]  # fmt: skip
    objects = results.context["objects"]
    if not results.memory_rows:
        return shown
    shown.append((f"CPython: memory; 4 threads create {objects:,} objects, the main thread destroys them; "
                  f"{memory_words(results)} each", memory_table(results), 2))  # fmt: skip
    return shown


# ---- Plots -----------------------------------------------------------------------------------------------------


def plot_time(way):
    def plot(results, path):
        kinds, alive_counts = results.values("kind"), results.values("alive")
        size, places = grid_of(len(kinds) * len(alive_counts), 3, 1080, 196)
        script = ""
        panels = [(kind, alive) for kind in kinds for alive in alive_counts]
        for number, (place, (kind, alive)) in enumerate(zip(places, panels)):
            rows = []
            for form in results.values("form"):
                cell = results.cell(way, kind, form, 1, alive)
                for name in NAMES[form]:
                    shown = name if form == "heap" else f"static {name}"
                    plots.COLORS.setdefault(shown, plots.COLORS[name])
                    value = cell.median(name)
                    rows.append((shown, value, *cell.quartiles(name), nanoseconds(value) + " ns"))
            note = f"{DEALLOCATION[kind]}; {alive} alive"
            script += plots.bars(place, kind, note, rows, number)
        draw(script, *size, path)

    return plot


def plot_threads(results, path):
    panels = [
        (way, kind, form) for way in results.values("way") for kind in ("Point", "GCPair") for form in ("heap", "static")
    ]
    size, places = grid_of(len(panels), 4, 1080, 270, top=20)
    counts = results.values("threads")
    script = ""
    for number, (place, (way, kind, form)) in enumerate(zip(places, panels)):
        cells = [results.cell(way, kind, form, n, 100) for n in counts]
        rates = {name: [1e3 / cell.median(name) for cell in cells] for name in NAMES[form]}
        script += place.frame(30, 6, 44, 38) + place.title(f"{kind}, {form} type", f"in {way}; million objects per second")
        script += lines_key(size, NAMES["heap"], 14) if number == 0 else ""
        script += curves_by_threads(f"python{number}", counts, rates)
    draw(script, *size, path)


def plot_memory(results, path):
    kinds = list(dict.fromkeys(row["kind"] for row in results.memory_rows))
    size, places = grid_of(len(kinds) * len(MEMORY), 3, 1080, 120 + MARGIN)
    script = ""
    panels = [(kind, what) for kind in kinds for what in MEMORY]
    for number, (place, (kind, what)) in enumerate(zip(places, panels)):
        values = [(name, results.memory(kind, name, what) / (1 << 20)) for name in NAMES["static"]]
        rows = [(name, max(value, 0), value, value, f"{value:.1f} MiB") for name, value in values]
        script += plots.bars(place, f"{kind} · {what}", MEMORY[what], rows, number)
    draw(script, *size, path)


PLOTS = [
    ("python-c", "CPython: from C", "Nanoseconds per object created and destroyed by a loop in C, one thread, medians; "
     "the thin lines are quartiles. Shorter is better. <code>default</code> is the interpreter’s allocation, "
     "<code>freelist</code> one freed object kept for each thread, <code>immortal</code> a heap type on Freelane whose "
     "objects do not count as references to it.", plot_time("C")),
    ("python-python", "CPython: from Python", "The same by a loop in Python.", plot_time("Python")),
    ("python-threads", "CPython: throughput by number of threads", "100 objects alive in each thread. Higher is better.",
     plot_threads),
    ("python-memory", "CPython: memory", "Resident memory over the start; heap types; four threads create objects which "
     "the main thread destroys. Shorter is better.", plot_memory),
]  # fmt: skip


# ---- The page --------------------------------------------------------------------------------------------------


def draw_plots(document, directory):
    results = PythonResults(document)
    if not results.left_out:
        for name, _, _, plot in PLOTS:
            plot(results, os.path.join(directory, file_of(name, results)))


def file_of(name, results):
    return f"{name}-{results.release()}.svg"


def sections(document, directory, html_table, figure, with_plots):
    """The page's part on CPython; `html_table` and `figure` are report.py's."""
    results = PythonResults(document)
    if results.left_out:
        return f"<section><h2>CPython</h2><p>Left out: {results.left_out}</p></section>"
    release = f"CPython {results.release()}"
    figures = [
        figure(directory, file_of(name, results)[: -len(".svg")], title.replace("CPython", release), text)
        for name, title, text, _ in PLOTS
        if with_plots
    ]
    parts = [figures.pop(0) if figures else ""]
    for way in results.values("way"):
        parts.append(
            f"<section><h2>{release}, in {way}, in numbers</h2><p>{heading(results)}, randomly interleaved. Medians in "
            "nanoseconds per object created and destroyed, all threads taken together. A ratio is the median of those of "
            f"samples taken one after the other; with their {interval_words(results)}.</p>"
            + html_table(time_table(results, way), "l")
            + "</section>"
        )
        parts += figures[:1]
        del figures[:1]
    parts.append(
        f"<section><h2>{release}: memory in numbers</h2><p>{results.context['objects']:,} objects in all; "
        f"{memory_words(results)} each.</p>"
        + html_table(memory_table(results), "l")
        + "</section>"
    )
    return "".join(parts + figures)
