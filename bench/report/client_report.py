# SPDX-License-Identifier: MIT
"""Tables of what bench/clients/run measured: lists of rows of text, of which the first is the head."""

from client_results import ClientResults


def milliseconds(seconds):
    return "" if seconds is None else f"{seconds * 1e3:.2f}"


def mebibytes(count):
    return "" if count is None else f"{count / (1 << 20):.1f}"


def millions(count):
    return "" if count is None else f"{count / 1e6:.2f}"


def table(results, head, place, show, ratios):
    names = results.backends()
    rows = [[head, "threads", *names]]
    if ratios:
        rows[0].append("best peer / ours")
    for cell in place:
        client, program, threads = cell
        row = [f"{client}/{program}", str(threads), *(show(results.median(place, cell, name)) for name in names)]
        rows.append(row + [with_peer(results.against_peers([cell]))] if ratios else row)
    return rows


def with_peer(ratio):
    return f"{ratio} {ratio.other}" if ratio else ""


def summary(results):
    names = results.backends()
    rows = [["client", "threads", "best peer / ours", *(f"{name}, MiB" for name in names)]]
    for group in results.groups():
        ratio = results.against_peers(results.of_group(group))
        memory = [mebibytes(results.memory(group, name)) for name in names]
        rows.append([group[0], str(group[1]), with_peer(ratio), *memory])
    rows.append(["geometric mean", "", with_peer(results.over_groups()), *[""] * len(names)])
    return rows


def tables(document):
    """(title, rows, how many columns are aligned to the left)"""
    results = ClientResults(document)
    if results.left_out:
        return [(f"Clients: left out, because {results.left_out}", [["client"]], 1)]
    titles = [
        ("Clients: the geometric mean over a client's programs, and the sum of their peaks", summary(results), 2),
        (
            "Clients' programs: medians; the ratio with its 95 % interval",
            table(results, "ms per round", results.samples, milliseconds, True),
            2,
        ),
        ("Their peak memory", table(results, "MiB", results.peaks, mebibytes, False), 2),
    ]
    if results.counts:
        counted = table(results, "million instructions per round", results.counts, millions, False)
        titles.append(("Their instructions, by callgrind", counted, 2))
    return titles
