# SPDX-License-Identifier: MIT
"""Looks at all copies of Freelane in the running process. src/python/report.h of Freelane says how they are found and
what they tell. A copy here is that, as JSON has it:

    name      the modules of its types
    types     in place of each type its name; of a type without gc `kept` is None: types of one size share blocks
"""

import json
import sys

VERSION = 1

TITLES = ["type", "kind", "bytes", "live", "live bytes", "kept", "kept bytes", "derived"]
TEXTS = {"type", "kind"}
SIZE_TITLES = ["block", "slabs", "live", "live bytes", "kept", "kept bytes"]


def _type(told):
    kept = told["kept"]
    name = f"{told['type'].__module__}.{told['type'].__qualname__}"
    return {**told, "type": name, "kept_bytes": None if kept is None else kept * told["size"]}


def _size(told):
    return {**told, "live_bytes": told["live"] * told["block"], "kept_bytes": told["kept"] * told["block"]}


def _copy(told):
    if told["version"] != VERSION:
        return {"name": "unknown", "version": told["version"], "types": []}
    modules = sorted({row["type"].__module__ for row in told["types"]})
    types = sorted(map(_type, told["types"]), key=lambda row: (-row["live_bytes"], row["type"]))
    return {**told, "name": ", ".join(modules) or "unloaded", "types": types, "sizes": list(map(_size, told["sizes"]))}


def copies():
    """What each copy holds. Any thread; stops the world twice for each copy."""
    return sorted((_copy(tell()) for tell in list(getattr(sys, "_freelane", []))), key=lambda copy: copy["name"])


def as_json(found):
    return json.dumps({"copies": found}, indent=2)


def _table(titles, rows):
    """Rows of text and numbers; None is shown as a dash."""
    shown = [titles, *(["-" if cell is None else str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*shown)]
    texts = [title in TEXTS for title in titles]
    for row in shown:
        yield "  " + "  ".join(
            cell.ljust(width) if text else cell.rjust(width) for cell, width, text in zip(row, widths, texts)
        ).rstrip()


def _with_shared(copy):
    """The rows of the types. A type without gc keeps the free blocks of its size, together with others: marked so."""
    kept = {row["block"]: row["kept"] for row in copy["sizes"]}
    for row in copy["types"]:
        if row["kept"] is None and row["block"] in kept:
            count = kept[row["block"]]
            row = {**row, "kept": f"{count}*", "kept_bytes": f"{count * row['block']}*"}
        yield row


def _lines(copy):
    yield f"Freelane in {copy['name']}"
    if copy["version"] != VERSION:
        yield f"  tells in version {copy['version']}, which this package does not know (it knows {VERSION})"
        return
    stats = copy["stats"]
    yield (
        f"  {stats['slab_bytes']} bytes in slabs: {stats['live_bytes']} live, {stats['free_bytes']} kept; "
        f"{stats['cached_bytes']} bytes of objects with gc kept; threads: {stats['threads']}; "
        f"caching: {'on' if copy['caching'] else 'off'}"
    )
    fields = ["type", "kind", "size", "live", "live_bytes", "kept", "kept_bytes", "derived"]
    yield from _table(TITLES, [[row[field] for field in fields] for row in _with_shared(copy)])
    if lent := [row["type"] for row in copy["types"] if row.get("lent")]:
        yield f"  in the interpreter's memory, and not counted without gc: {', '.join(sorted(lent))}"
    if copy["sizes"]:
        yield "  * shared by all types without gc whose objects have blocks of this size"
    if copy["others"]["live"] > 0:
        yield f"  of other types: {copy['others']['live']} live, {copy['others']['live_bytes']} bytes"
    if copy["sizes"]:
        yield "  blocks of objects without gc:"
        fields = ["block", "slabs", "live", "live_bytes", "kept", "kept_bytes"]
        yield from _table(SIZE_TITLES, [[row[field] for field in fields] for row in copy["sizes"]])


def as_text(found):
    if not found:
        return "No extension with Freelane is in this process."
    return "\n\n".join("\n".join(_lines(copy)) for copy in found)
