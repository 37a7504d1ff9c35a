# SPDX-License-Identifier: MIT
"""Ratios of medians with their intervals, what decides whether one meets a floor, and the names of the allocators."""

import json
import os
import random
from dataclasses import dataclass

OURS = "freelane"
PEERS = ["glibc", "mimalloc", "mimalloc-new", "jemalloc", "jemalloc-new", "tcmalloc", "tcmalloc-new"]
# Without these a floor against the best peer counts as unmeasured: gperftools' new source is not always to be had.
NEEDED_PEERS = [peer for peer in PEERS if peer != "tcmalloc-new"]
RESAMPLES = 1000
WIDEST = 0.1  # an interval that reaches further than this from the value, either way, is wide


def read_floors():
    """What floors.json asks for."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "floors.json")
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def median_interval(function, *sample_sets):
    """A 95 % interval of function(samples...) by bootstrap over the repetitions of each set."""
    generator = random.Random(482)
    values = sorted(
        function(*[generator.choices(samples, k=len(samples)) for samples in sample_sets]) for _ in range(RESAMPLES)
    )
    return values[int(0.025 * RESAMPLES)], values[int(0.975 * RESAMPLES) - 1]


@dataclass
class Ratio:
    value: float
    low: float
    high: float
    other: str

    def __str__(self):
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]".replace("inf", "∞")


def is_wide(ratio):
    return ratio.high > ratio.value * (1 + WIDEST) or ratio.low < ratio.value * (1 - WIDEST)


def is_met(ratio, at_least=0.0, at_most=float("inf")):
    """A floor is missed when the whole interval misses it. A wide interval counts as missed too, unless all of it
    meets the floor."""
    if ratio.low >= at_least and ratio.high <= at_most:
        return True
    return ratio.high >= at_least and ratio.low <= at_most and not is_wide(ratio)


def is_clear(ratio, floor):
    """Whether the whole interval meets the floor, or misses it."""
    least, most = floor.get("at_least", 0.0), floor.get("at_most", float("inf"))
    return ratio.low >= least and ratio.high <= most or ratio.high < least or ratio.low > most


def megabytes(count):
    return "not measured" if count is None else f"{count / (1 << 20):.2f} MiB"
