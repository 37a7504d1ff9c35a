# SPDX-License-Identifier: MIT
"""What bench/python/multidict wrote, and the floors with the key "multidict" judged by it."""

import statistics


class MultidictResults:
    """Rows by group: "own" are the timings of multidict's own benchmarks."""

    def __init__(self, document):
        self.release = ".".join(document["python"].split(".")[:2])
        self.rows = document["rows"]

    def groups(self):
        return list(dict.fromkeys(row["name"].split(": ")[0] for row in self.rows))

    def of_group(self, group):
        return [row for row in self.rows if row["name"].split(": ")[0] == group]

    def judge(self, floor):
        """(subject, what is asked for, what was measured, whether that is enough). Of many timings a few lie off by chance:
        short are those whose whole interval is, that of the processes."""
        group, least = floor["multidict"], floor["at_least"]
        rows = self.of_group(group)
        subject, wanted = f"CPython {self.release}, multidict, {group}", f"the released one ≥ {least:g}× the moved one"
        if not rows:
            return subject, wanted, "not measured", False
        worst = min(rows, key=lambda row: row["high"])
        short = sum(row["high"] < least for row in rows)
        measured = f"{worst['ratio']:.2f} [{worst['low']:.2f}, {worst['high']:.2f}] ({worst['name'].split(': ')[1]})"
        if short:
            measured += f", {short} of {len(rows)} timings short"
        return subject, wanted, measured, short == 0

    def table(self):
        """Ratios by group: how many times as long as the moved one the released one takes."""
        table = [["the released one / the moved one", "timings", "least", "geometric mean", "most"]]
        for group in self.groups():
            ratios = [row["ratio"] for row in self.of_group(group)]
            values = min(ratios), statistics.geometric_mean(ratios), max(ratios)
            table.append([group, str(len(ratios)), *(f"{value:.2f}" for value in values)])
        return table
