/* SPDX-License-Identifier: MIT
 *
 * What the workloads of fl_bench share: registration, the counter s_per_op, failure and progress.
 *
 * A workload is a function template over the backend in a file of its own, which ends in a function that adds it
 * for every backend; fl_bench.cpp calls that function. To add a workload, write such a file; to add a backend, write
 * its class in backends.h and put it on the lists there.
 */
#ifndef FREELANE_BENCH_HARNESS_H
#define FREELANE_BENCH_HARNESS_H

#include "common/backends.h"

#include <benchmark/benchmark.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace bench
{

/* Adds one benchmark. `setup` is called before each of its runs. An empty `threads` means one. */
void add(const std::string &name, std::function<void(benchmark::State &)> function,
         void (*setup)(const benchmark::State &), const std::vector<int> &threads = {});

/* Adds `function`, the workload compiled for B, as "<workload>/<backend>". */
template <class B>
void add_workload(const std::string &workload, std::function<void(benchmark::State &)> function,
                  const std::vector<int> &threads = {})
{
    add(
        workload + "/" + B::name(), std::move(function), [](const benchmark::State &) { B::purge(); }, threads);
}

/* Whether --quick or --smoke asks for less warming up. */
extern bool quick;

/* Whether --quick leaves out the workloads that take long to get going. */
extern bool leaves_out_slow;

/* The thread counts of the workloads that have several. */
extern const std::vector<int> kThreadCounts;

/* Ends the benchmark with an error, and fl_bench with status 1. */
void fail(benchmark::State &state, const std::string &message);

/* After the loop of a single-threaded workload: sets s_per_op, wall seconds per alloc+free. */
inline void report(benchmark::State &state, uint64_t operations_per_iteration)
{
    double operations = static_cast<double>(state.iterations()) * static_cast<double>(operations_per_iteration);
    state.counters["s_per_op"] = benchmark::Counter(operations,
                                                    benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

/* The same for a workload of several threads. The wall time runs from the moment all threads start until the last
 * one is done: create it before the loop, start() in the loop, report() after it (both are barriers). */
class WallClock
{
  public:
    void start()
    {
        if (!started_) {
            started_ = true;
            begin_ = std::chrono::steady_clock::now();
        }
    }
    void report(benchmark::State &state, uint64_t operations_of_all_threads)
    {
        std::chrono::duration<double> wall = std::chrono::steady_clock::now() - begin_;
        if (state.thread_index() == 0)
            state.counters["s_per_op"] = wall.count() / static_cast<double>(operations_of_all_threads);
    }

  private:
    bool started_ = false;
    std::chrono::steady_clock::time_point begin_;
};

/* One for each file of workloads. */
void add_local();   /* pair, batch, random: one thread, one size */
void add_sizes();   /* sizes */
void add_typed();   /* typed */
void add_replay();  /* replay */
void add_own();     /* own */
void add_handoff(); /* handoff */
void add_larson();  /* larson */
void add_churn();   /* churn */
void add_dealloc(); /* dealloc */
void add_defer();   /* defer, where liburcu is */
void add_readers(); /* readers, likewise */

} // namespace bench

#endif
