# SPDX-License-Identifier: MIT
"""What bench/python/measure has the interpreter do: read a plan from standard input, measure, write samples to standard
output, both JSON.

    python3.13t bench/python/worker.py time      one process of repetitions: nanoseconds per object
    python3.13t bench/python/worker.py memory    one type: 4 threads create objects, the main thread destroys them

freelane_demo is on the path. A way to create and destroy is one loop for all types:

    C         freelane_demo.churn
    Python    LOOP, below
"""

import functools
import gc
import itertools
import json
import os
import queue
import random
import sys
import threading
import time

import freelane_demo

# ---- Time --------------------------------------------------------------------------------------------------------


# What a program gives to a new object, and what it reads of one.
ARGUMENTS = {"Table": "None"}  # with an item it has both buffers
ATTRIBUTES = {"Point": "x", "Handle": "descriptor", "Label": "text", "Pair": "first", "Table": "used"}

# Creates `alive` objects, reads an attribute of each and destroys them, until `count` have been; returns nanoseconds.
LOOP = """
def churn(kind, alive, count):
    start = clock()
    if alive == 1:
        for _ in repeat(None, count):
            kind({arguments}).{attribute}
    else:
        numbers = range(alive)
        for _ in repeat(None, count // alive):
            for made in [kind({arguments}) for _ in numbers]:
                made.{attribute}
    return clock() - start
"""


@functools.cache
def loop_of(kind, cpu):
    """Each type has a loop of its own: the interpreter adapts a loop's bytecode to the type that it meets there."""
    plain = next(name for name in ATTRIBUTES if kind.__name__.endswith(name))
    names = {"repeat": itertools.repeat, "clock": time.thread_time_ns if cpu else time.perf_counter_ns}
    exec(LOOP.format(arguments=ARGUMENTS.get(plain, ""), attribute=ATTRIBUTES[plain]), names)
    return names["churn"]


def churn_in_python(kind, alive, count, cpu):
    return loop_of(kind, cpu)(kind, alive, count)


CHURN = {"C": freelane_demo.churn, "Python": churn_in_python}
WARM_UP = 256  # objects, at least

# As much as a thread caches of a type with gc from the start, and twice the most that it comes to cache.
BYTES = {"kept": freelane_demo.FL_PY_CACHE_BYTES, "beyond": 2 * freelane_demo.FL_PY_GROWN_BYTES}

TOGETHER_NS = 100_000  # from the last thread's arrival to the start
PROCESSORS = len(os.sched_getaffinity(0))

# A sample during which other work of the machine took the processor away for a larger share of it is taken again, so
# many times in all; the one disturbed least counts. Time that a thread sleeps, for a lock say, does not disturb.
DISTURBED = 0.02
ATTEMPTS = 4

this_thread = threading.local()


def time_runnable():
    """Nanoseconds that the calling thread has waited for a processor while it could have run."""
    if not hasattr(this_thread, "schedstat"):
        this_thread.schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    return int(os.pread(this_thread.schedstat, 64, 0).split()[1])


class Sample:
    """One run of a loop in several threads at once."""

    def __init__(self, way, kind, alive, threads, count, cpu):
        self.arguments = CHURN[way], kind, alive, count, cpu
        self.start = 0
        # Threads that wait for a processor would only take it from the others.
        self.spins = threads <= PROCESSORS
        self.barrier = threading.Barrier(threads, action=self._set_start)

    def _set_start(self):
        self.start = time.perf_counter_ns() + TOGETHER_NS

    def __call__(self):
        """When the loop began and ended, and how long it waited for a processor. What the interpreter does after a loop
        in C, a collection say, is not in it. With `cpu` the loop counts its thread's processor time."""
        churn, kind, alive, count, cpu = self.arguments
        churn(kind, alive, max(alive, WARM_UP // alive * alive), cpu)
        self.barrier.wait()
        waited = time_runnable()
        while self.spins and time.perf_counter_ns() < self.start:
            pass
        begin = time.perf_counter_ns()
        end = begin + churn(kind, alive, count, cpu)
        return begin, end, time_runnable() - waited


class Team:
    """Threads that live as long as the process."""

    def __init__(self, size, cpu):
        self.cpu = cpu
        self.inboxes = [queue.SimpleQueue() for _ in range(size)]
        self.outbox = queue.SimpleQueue()
        for inbox in self.inboxes:
            threading.Thread(target=self._work, args=(inbox,), daemon=True).start()

    def _work(self, inbox):
        while True:
            job = inbox.get()
            try:
                self.outbox.put(job())
            except BaseException as error:
                self.outbox.put(error)

    def measure(self, way, kind, alive, threads, count):
        """Nanoseconds from the first thread's start to the last one's end. Of processor time, those of the thread that
        took the most."""
        results = []
        while len(results) < ATTEMPTS:
            ns, waited = self._measure_once(way, kind, alive, threads, count)
            results.append((waited, ns))
            if self.cpu or threads > PROCESSORS or waited <= DISTURBED * ns:
                break
        return min(results)[1]

    def _measure_once(self, way, kind, alive, threads, count):
        sample = Sample(way, kind, alive, threads, count, self.cpu)
        for inbox in self.inboxes[:threads]:
            inbox.put(sample)
        times = [self.outbox.get() for _ in range(threads)]
        for result in times:
            if isinstance(result, BaseException):
                raise result
        begins, ends, waits = zip(*times)
        if self.cpu:
            return max(end - begin for begin, end in zip(begins, ends)), 0
        return max(ends) - min(begins), max(waits)


def calibrate(team, way, kind, alive, threads, target_ns):
    """How many objects a thread creates in a sample of this length."""
    count = max(alive, WARM_UP)
    while True:
        count = -(-count // alive) * alive
        ns = team.measure(way, kind, alive, threads, count)
        if ns >= 0.2 * target_ns:
            return max(round(count * target_ns / ns / alive), 1) * alive
        count = max(2 * count, int(0.3 * count * target_ns / ns))


def how_many(alive, kind):
    """A number of objects. What is no number names how many bytes they have, all together."""
    return alive if isinstance(alive, int) else BYTES[alive] // kind.__basicsize__


def measure_times(plan):
    """All cells once per repetition, in random order; the variants of a cell one after the other, in random order."""
    team = Team(max(cell["threads"] for cell in plan["cells"]), plan["cpu"])
    generator = random.Random(plan["seed"])
    for cell in plan["cells"]:
        kind = getattr(freelane_demo, cell["variants"]["default"])
        cell["alive"] = how_many(cell["alive"], kind)
        # More threads than processors take turns, and a turn is milliseconds long.
        target_ns = plan["sample_ns"] * (1 if cell["threads"] <= PROCESSORS else 3)
        cell["count"] = calibrate(team, cell["way"], kind, cell["alive"], cell["threads"], target_ns)
    samples = [{name: [] for name in cell["variants"]} for cell in plan["cells"]]
    for _ in range(plan["repetitions"]):
        for at in generator.sample(range(len(samples)), len(samples)):
            cell = plan["cells"][at]
            for name in generator.sample(list(cell["variants"]), len(cell["variants"])):
                kind = getattr(freelane_demo, cell["variants"][name])
                ns = team.measure(cell["way"], kind, cell["alive"], cell["threads"], cell["count"])
                samples[at][name].append(ns / (cell["threads"] * cell["count"]))
    return samples


# ---- Memory ------------------------------------------------------------------------------------------------------

BATCH = 10_000
THREADS = 4
BATCHES_WAITING = 8


def status(name):
    """Bytes of /proc/self/status."""
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1]) << 10
    raise KeyError(name)


def settled():
    """Resident bytes, when the allocators have had time to give back what they give back late."""
    time.sleep(0.05)
    return status("VmRSS")


def hand_over(kind, objects, batches):
    numbers = range(BATCH)
    for _ in range(objects // THREADS // BATCH):
        batches.put([kind() for _ in numbers])
    batches.put(None)


def measure_memory(plan):
    kind = getattr(freelane_demo, plan["type"])
    kind()
    batches = queue.Queue(BATCHES_WAITING)
    threads = [threading.Thread(target=hand_over, args=(kind, plan["objects"], batches)) for _ in range(THREADS)]
    gc.collect()
    start = settled()
    for thread in threads:
        thread.start()
    running = THREADS
    while running:
        batch = batches.get()
        running -= batch is None
        del batch  # destroys the objects, here
    for thread in threads:
        thread.join()
    after = settled()
    peak = status("VmHWM")
    gc.collect()
    return {"start": start, "peak": peak - start, "after": after - start, "collected": settled() - start}


# ---- ------------------------------------------------------------------------------------------------------------


def main():
    # What only an error would bring in: an extension that asks for the lock turns it on for everybody.
    if sys._is_gil_enabled():
        sys.exit("python_worker.py: the interpreter runs with the global lock")
    plan = json.load(sys.stdin)
    result = {"time": measure_times, "memory": measure_memory}[sys.argv[1]](plan)
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
