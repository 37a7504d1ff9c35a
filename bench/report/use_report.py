# SPDX-License-Identifier: MIT
"""Tables of what bench/use/measure measured: lists of rows of text, of which the first is the head."""

from ratios import OURS
from use_results import WAY_NAMES, UseResults


def number(value):
    return "" if value is None else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def parts(results, row, way, backend):
    return " + ".join(number(results.median(row, way, backend, part)) for part in ("make", "use", "drop"))


def totals(results, way, cells):
    rows = [["ns per node", *results.backends, "best peer / ours", "", "ours: make + use + drop", "the best peer’s"]]
    for row in cells:
        ratio, best = results.against_peers(row, way), results.best_peer(row, way)
        shown = [number(results.median(row, way, backend)) for backend in results.backends]
        ours, theirs = parts(results, row, way, OURS), parts(results, row, way, best) if best else ""
        rows.append([row, *shown, str(ratio or ""), best or "", ours, theirs])
    return rows


def memory(results, way, cells):
    rows = [["peak, MiB", *results.backends, "faults of the last round: ours", "best peer", "use: ours fresh", "last"]]
    for row in cells:
        best = results.best_peer(row, way)
        peaks = [
            f"{results.peak(row, way, backend) / (1 << 20):.1f}" if backend in results.cells[row, way] else ""
            for backend in results.backends
        ]
        faults = [f"{results.faults(row, way, backend):.0f}" if backend else "" for backend in (OURS, best)]
        use = [number(results.median(row, way, OURS, "use", moment)) for moment in ("first", "last")]
        rows.append([row, *peaks, *faults, *use])
    return rows


def tables(document):
    """(title, rows, how many columns are aligned to the left)"""
    results = UseResults(document)
    made = []
    for way, name in WAY_NAMES.items():
        cells = [row for row, of in results.cells if of == way]
        if cells:
            title = f"Make, use and drop, {name}: the last round, medians of processes; the ratio with its 95 % interval"
            made.append((title, totals(results, way, cells), 1))
            made.append((f"The same, {name}: memory", memory(results, way, cells), 1))
    return made
