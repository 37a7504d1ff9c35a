# SPDX-License-Identifier: MIT
"""Makes a table and a page of what fl_bench, memory, latency and the scripts of bench/python measured.

    python3 bench/report/report.py [--smoke | --wide] DIRECTORY

Reads use.json, time.json, memory.json, latency.json, python.json and, where there are such, again.json, clients.json,
python-3.14.json, multidict-3.13.json and multidict-3.14.json in DIRECTORY, prints the tables, and writes report.html
and its plots there. With --wide it only prints a pattern of the workloads in time.json that are to be measured again
(again.json), because an interval of theirs is too wide for their floor. With --smoke the numbers mean nothing: nothing
is judged by them, and without gnuplot there are no plots."""

import sys

sys.dont_write_bytecode = True

import base64
import html
import json
import os
import re

import client_report
import plots
import python_report
import use_report
from results import BACKENDS, BURSTING, OURS, PEERS, PYTHONS, Results, duration, megabytes, nanoseconds
from use_results import WAY_NAMES

# ---- Tables, as lists of rows of text; the first row is the head -----------------------------------------------


def backend_row(results, workload, threads):
    """A row with a column for each backend. One that has no column is told in the last cell."""
    cells = [nanoseconds(results.median(workload, name, threads)) for name in BACKENDS]
    ratio = results.against_peers(workload, threads)
    others = [
        f"{name}: {nanoseconds(results.median(workload, name, threads))} ns"
        for name in results.samples[workload, threads]
        if name not in BACKENDS
    ]
    return [workload, str(threads), *cells, str(ratio) if ratio else ", ".join(others)]


def time_table(results, table):
    rows = [["ns per alloc+free", "threads", *BACKENDS, "best peer / ours"]]
    for row in table["workloads"]:
        rows += [backend_row(results, row["name"], threads) for threads in results.threads_of(row["name"])]
    return rows


def counter_cell(value, unit):
    if value is None:
        return ""
    return {
        "ns": nanoseconds,
        "MiB": megabytes,
        "million": lambda number: f"{number / 1e6:.0f}",
        "thousand": lambda number: f"{number / 1e3:.0f}",
        "percent": lambda share: f"{share:.2%}",
    }[unit](value)


def counter_table(results, table):
    """A column for each counter, a row for each backend and number of threads."""
    rows = [["", "threads", *(column["head"] for column in table["columns"])]]
    for row in table["workloads"]:
        for backend in row["backends"]:
            for threads in results.threads_of(row["name"], backend):
                cells = [
                    counter_cell(results.count(column["counter"], row["name"], backend, threads), column["unit"])
                    for column in table["columns"]
                ]
                rows.append([backend, str(threads), *cells])
    return rows


def workload_tables(results, with_columns):
    """(title, text, rows) of the tables that fl_bench's workloads have registered: those that name their columns, or
    those with a column for each backend."""
    make = counter_table if with_columns else time_table
    for table in results.tables:
        rows = make(results, table)
        if bool(table["columns"]) == with_columns and len(rows) > 1:
            yield table["title"], table["text"], rows


def memory_table(results):
    rows = [["MiB over the start", "", OURS, *PEERS]]
    for workload in ("sizes", "larson", "handoff"):
        for what in ("peak", "idle", "held"):
            cells = []
            for backend in (OURS, *PEERS):
                row = results.memory.get(workload, {}).get(backend)
                cells.append(f"{row[what] / (1 << 20):.2f}" if row else "")
            rows.append([workload, what, *cells])
    return rows


def burst_table(results):
    rows = [["512 MiB of mixed sizes", "peak, MiB", "idle", "held", "trim, s per GiB"]]
    for backend in BURSTING:
        row = results.memory.get("burst", {}).get(backend)
        if row:
            rate = results.trim_rate(backend)
            cells = [f"{row[what] / (1 << 20):.2f}" for what in ("peak", "idle", "held")]
            rows.append([backend, *cells, f"{rate:.3f}" if rate is not None else "nothing left"])
    return rows


def crowd_table(results):
    rows = [["2000 sleeping threads", OURS, *PEERS]]
    for workload, title in (("crowd", "KiB for each"), ("crowd/flushed", "the same, after a flush")):
        cells = results.memory.get(workload, {})
        rows.append([title, *(f"{cells[name]['each'] / 1024:.1f}" if name in cells else "" for name in rows[0][1:])])
    return rows


def fork_table(results):
    rows = []
    for workload, title in (("fork", "a fork with 2 GiB written"), ("fork/heaps", "a fork with 500 heaps")):
        cells = results.forks.get(workload)
        if cells is None:
            continue
        rows.append([title, *cells])
        for what, what_title in (("lost_ms", "ms that another thread loses"), ("most_ms", "at most")):
            rows.append([what_title, *(f"{row[what]:.1f}" for row in cells.values())])
    cells = results.forks.get("fork/many")
    if cells is not None:
        rows.append(["a fork with 10 000 heaps", *cells])
        rows.append(["ms that the call takes", *(f"{row['fork_ms']:.1f}" for row in cells.values())])
    return rows


def quiet_table(results):
    rows = [["MiB after three waves of 1 GiB", "", "at once", "5 s", "10 s", "the end"]]
    for workload, name, taken in results.quiet():
        shown = [taken[min(second, len(taken) - 1)] for second in (0, 5, 10, len(taken))]
        rows.append([workload, name, *(f"{value / (1 << 20):.1f}" for value in shown)])
    return rows


def latency_table(results):
    rows = [["one operation", "", OURS, *PEERS, "none"]]
    for operation in ("alloc", "free"):
        for what in ("p50", "p99", "p99.99", "max"):
            cells = []
            for backend in (OURS, *PEERS, "none"):
                row = results.latency.get(operation, {}).get(backend)
                cells.append(duration(row[what]) if row else "")
            rows.append([operation, what, *cells])
    return rows


def floor_table(verdicts):
    rows = [["floor", "asked for", "measured", ""]]
    for verdict in verdicts:
        said = "met" if verdict.met else "NOT met"
        rows.append([verdict.subject, verdict.wanted, verdict.measured, said if verdict.counts else "reported"])
    return rows


def floors_met(verdicts):
    """How many floors are met, of how many."""
    counting = [verdict for verdict in verdicts if verdict.counts]
    return sum(verdict.met for verdict in counting), len(counting)


def python_documents(results):
    """What bench/python/measure wrote, for each interpreter."""
    return [results.raw[name] for name in PYTHONS if name in results.raw]


def multidict_title(multidict):
    return f"CPython {multidict.release}: multidict 6.4, released and moved onto Freelane, timed from Python"


def program_tables(results):
    """What programs pay: use/* and, where they were measured, the clients."""
    tables = use_report.tables(results.raw["use"])
    if results.clients:
        tables += client_report.tables(results.raw["clients"])
    return tables


# ---- Text ------------------------------------------------------------------------------------------------------


def print_table(rows, left=2):
    """`left` columns are aligned to the left, the others to the right. A word alike in the row above is left out."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    above = None
    for number, row in enumerate(rows):
        cells = [
            cell.ljust(width) if i < left else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))
        ]
        if above and above[0] == row[0]:
            cells[0] = " " * widths[0]
        line = "  ".join(cells).rstrip()
        if sys.stdout.isatty():
            line = line.replace("NOT met", "\033[1;31mNOT met\033[0m")
            line = f"\033[1m{line}\033[0m" if number == 0 else line
        print(line)
        above = row
    print()


def print_report(results, verdicts):
    print()
    for name, value in results.facts():
        print(f"{name + ':':<24}{value}")
    print()
    for title, rows, left in program_tables(results):
        print(title + "\n")
        print_table(rows, left)
    print("Time: medians; the ratio with its 95 % interval\n")
    for title, _, rows in workload_tables(results, False):
        print(title + "\n")
        print_table(rows)
    print("Memory: peak while it ran; idle when all was freed and all threads had ended; held after a trim\n")
    print_table(memory_table(results))
    print_table(burst_table(results), left=1)
    print_table(quiet_table(results))
    print_table(crowd_table(results), left=1)
    for title, _, rows in workload_tables(results, True):
        print(title + "\n")
        print_table(rows)
    print("Latency\n")
    print_table(latency_table(results))
    print_table(fork_table(results), left=1)
    for python in python_documents(results):
        for title, rows, left in python_report.tables(python):
            print(title + "\n")
            print_table(rows, left)
    for multidict in results.multidicts:
        print(multidict_title(multidict) + "\n")
        print_table(multidict.table(), left=1)
    print("Floors: the ratio of medians with its 95 % interval\n")
    print_table(floor_table(verdicts), left=4)
    print("%d of %d floors met" % floors_met(verdicts))


# ---- The page --------------------------------------------------------------------------------------------------

STYLE = """
:root { --ink: #1e293b; --muted: #64748b; --line: #e2e8f0; --accent: #0f766e; --bad: #b42318; --paper: #ffffff; }
* { box-sizing: border-box; }
body { margin: 0; background: #f5f7f9; color: var(--ink); line-height: 1.5;
       font: 15px/1.5 Inter, system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 30px; line-height: 1.2; letter-spacing: -0.02em; margin: 0 0 6px; }
h2 { font-size: 19px; letter-spacing: -0.01em; margin: 0 0 4px; }
p { margin: 0 0 14px; color: var(--muted); max-width: 78ch; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 12px; padding: 24px; margin-top: 20px; }
img { display: block; width: 100%; min-width: 760px; height: auto; }
code { font: 0.92em ui-monospace, "SF Mono", Menlo, Consolas, monospace; color: var(--ink); }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin-top: 22px; }
.tile { flex: 1 1 150px; background: var(--paper); border: 1px solid var(--line); border-radius: 12px; padding: 14px 18px; }
.tile b { display: block; font-size: 26px; letter-spacing: -0.02em; color: var(--accent); font-variant-numeric: tabular-nums; }
.tile.bad b { color: var(--bad); }
.tile span { color: var(--muted); font-size: 13px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 10px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { color: var(--muted); font-weight: 500; }
tr:last-child td { border-bottom: 0; }
.l th:nth-child(-n+2), .l td:nth-child(-n+2), .f th, .f td { text-align: left; }
.l td:nth-child(3) { color: var(--accent); font-weight: 600; }
.met { color: var(--accent); font-weight: 600; }
.not { color: var(--bad); font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 24px; margin: 0; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
a { color: var(--accent); }
"""


def html_table(rows, style):
    parts = [f'<div class="scroll"><table class="{style}"><thead><tr>']
    parts += [f"<th>{html.escape(cell)}</th>" for cell in rows[0]]
    parts.append("</tr></thead><tbody>")
    above = None
    for row in rows[1:]:
        parts.append("<tr>")
        for i, cell in enumerate(row):
            cell_class = {"met": ' class="met"', "NOT met": ' class="not"'}.get(cell, "")
            repeated = i == 0 and above and above[0] == cell and style == "l"
            parts.append(f"<td{cell_class}>{'' if repeated else html.escape(cell)}</td>")
        parts.append("</tr>")
        above = row
    parts.append("</tbody></table></div>")
    return "".join(parts)


def tile(value, label, bad=False):
    return f'<div class="tile{" bad" if bad else ""}"><b>{html.escape(value)}</b><span>{html.escape(label)}</span></div>'


def tiles(results, verdicts):
    met, floors = floors_met(verdicts)
    parts = [tile(f"{met} / {floors}", "floors met", bad=met < floors)]
    ours = results.median("pair/48", OURS)
    parts.append(tile(f"{nanoseconds(ours)} ns", "an allocation and its free"))
    for workload, threads, label in (
        ("sizes", 1, "as fast as the best peer, sizes of an interpreter"),
        ("handoff", 2, "as fast as the best peer, frees on another thread"),
    ):
        ratio = results.against_peers(workload, threads)
        if ratio:
            parts.append(tile(f"{ratio.value:.1f}×", label))
    python = results.against("dealloc/plain", "dealloc/pyobject", "libpython3.11")
    if python:
        parts.append(tile(f"{python.value:.1f}×", "as fast as CPython from dealloc to free"))
    return '<div class="tiles">' + "".join(parts) + "</div>"


def figure(directory, name, title, text):
    with open(os.path.join(directory, name + ".svg"), "rb") as file:
        data = base64.b64encode(file.read()).decode()
    return (
        f'<section><h2>{html.escape(title)}</h2><p>{text}</p>'
        f'<div class="scroll"><img alt="{html.escape(title)}; the numbers are in the tables" src="data:image/svg+xml;base64,{data}"></div></section>'
    )


def times_section(results):
    tables = "".join(
        f"<p><br>{html.escape(f'{title}. {text}'.strip())}</p>{html_table(rows, 'l')}"
        for title, text, rows in workload_tables(results, False)
    )
    return f"""<section><h2>All times</h2><p>Medians in nanoseconds per allocation and free. The ratio is that of the
medians, with its 95 % interval.</p>{tables}</section>"""


def multidict_sections(results):
    return "".join(
        f"<section><h2>{html.escape(multidict_title(multidict))}</h2>{html_table(multidict.table(), 'f')}</section>"
        for multidict in results.multidicts
    )


def counter_sections(results):
    return "".join(
        f"<section><h2>{html.escape(title)}</h2><p>{html.escape(text)}</p>{html_table(rows, 'l')}</section>"
        for title, text, rows in workload_tables(results, True)
    )


def write_page(results, verdicts, with_plots):
    directory = results.directory
    facts = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in results.facts())
    figures = [figure(directory, name, title, text) for name, title, text, _ in plots.PLOTS] if with_plots else []
    raw = "".join(
        f'<script type="application/json" id="raw-{name}">'
        + json.dumps(document, separators=(",", ":")).replace("</", "<\\/")
        + "</script>"
        for name, document in results.raw.items()
    )
    programs = "".join(
        f"<p><br>{html.escape(title)}</p>{html_table(rows, 'l')}" for title, rows, _ in program_tables(results)
    )
    links = ", ".join(f'<a href="{name}.json">{name}.json</a>' for name in results.raw)
    page = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Freelane: measurements</title><style>{STYLE}</style></head><body><main>
<h1>Freelane, measured</h1>
<p>Against the allocators of the system in the same process and run, {results.repetitions()} randomly interleaved
repetitions, on {html.escape(results.context.get("cpu", "an unknown CPU"))} with {results.context["num_cpus"]} cores.</p>
{tiles(results, verdicts)}
<section><h2>What programs pay</h2><p>Objects made, used and dropped, again and again in one heap, one process per allocator.
The times are those of the last round.</p>{programs}</section>
{figures[0] if figures else ""}
{times_section(results)}
{"".join(figures[1:4])}
<section><h2>Memory in numbers</h2><p><code>peak</code> is the highest while the workload ran, <code>idle</code> what was
left when all was freed and all threads had ended, <code>held</code> what was left after the allocator was told to give back
what it can.</p>{html_table(memory_table(results), "l")}
<p><br>After a burst by four threads, each block freed by another thread than the one that allocated it. <code>freelane-keep</code> gives
nothing back before the trim; on <code>freelane-qsbr</code> and <code>freelane-bp</code> all frees are deferred.</p>{html_table(burst_table(results), "l")}
<p><br>After three waves of 1 GiB by four threads that live on: silent, or with one allocation a millisecond.
<code>freelane-thread</code> has a thread of the library's own, and jemalloc its background thread.</p>{html_table(quiet_table(results), "l")}
<p><br>2000 threads that have used a hundred blocks each and sleep, their stacks included.</p>{html_table(crowd_table(results), "l")}</section>
{counter_sections(results)}
{"".join(figures[4:])}
<section><h2>Latency in numbers</h2><p>The timer's own time is subtracted; it moves in steps of the processor's time
stamp counter, about 10 ns on many machines.</p>{html_table(latency_table(results), "l")}
<p><br>What a thread that allocates and frees all the time loses while another one forks.</p>{html_table(fork_table(results), "l")}</section>
{"".join(python_report.sections(python, directory, html_table, figure, with_plots) for python in python_documents(results))}
{multidict_sections(results)}
<section><h2>Floors</h2><p>What this run had to show.</p>{html_table(floor_table(verdicts), "f")}</section>
<section><h2>The machine</h2><dl>{facts}</dl></section>
<section><h2>The raw data</h2><p>{links}; this page holds the same documents in script elements
named <code>raw-</code> and the name of the document.</p></section>
{raw}</main></body></html>
"""
    path = os.path.join(directory, "report.html")
    with open(path, "w", encoding="utf-8") as file:
        file.write(page)
    return path


def wide_pattern(results):
    """Matches the benchmarks of the workloads that are to be measured again; empty if there is none."""
    return "|".join(f"^{re.escape(workload)}/[^/]+/real_time" for workload in results.wide_workloads())


def check_complete(results):
    """For --smoke: everything that the floors need was measured."""
    missing = [verdict.subject for verdict in results.verdicts() if verdict.measured == "not measured"]
    missing += [f"use/*: {way}" for way in WAY_NAMES if way not in {way for _, way in results.use.cells}]
    workloads = [row["name"] for table in results.tables for row in table["workloads"]]
    missing += [workload for workload in workloads if not results.threads_of(workload)]
    return missing


def main():
    arguments = sys.argv[1:]
    smoke = "--smoke" in arguments
    directories = [argument for argument in arguments if not argument.startswith("-")]
    if len(directories) != 1:
        sys.exit(__doc__)
    results = Results(directories[0])
    if "--wide" in arguments:
        print(wide_pattern(results))
        return
    verdicts = results.verdicts()
    with_plots = plots.available()
    if not with_plots and not smoke:
        sys.exit("report.py: gnuplot is missing: apt-get install gnuplot-nox")
    if with_plots:
        for name, _, _, plot in plots.PLOTS:
            plot(results, os.path.join(directories[0], name + ".svg"))
        for python in python_documents(results):
            python_report.draw_plots(python, directories[0])
    if not smoke:
        print_report(results, verdicts)
    path = write_page(results, verdicts, with_plots)
    print(path if with_plots else f"{path}, without plots: there is no gnuplot")
    if smoke:
        missing = check_complete(results)
        if missing:
            sys.exit("report.py: not measured: " + ", ".join(missing))


if __name__ == "__main__":
    main()
