/* SPDX-License-Identifier: MIT
 *
 * What the workloads of fl_bench share: registration, the counter s_per_op, and failure.
 *
 * A workload is a function template over the backend. It stands in a file of workloads/, which the build finds by
 * itself. The file registers itself by an object at namespace scope, which names a table of the report and the function
 * that adds the workloads:
 *
 *     void add()
 *     {
 *         AllBackends::visit(Add()); // calls add_workload<B>("name", run<B>) for each backend
 *     }
 *
 *     const Workloads registered(kOneThread, add);
 *
 * To add a workload, write such a file; to add a backend, write its class in common/backends.h and put it on the lists
 * there.
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

/* ---- Registration ---------------------------------------------------------------------------------------------- */

/* A column of a table of the report: a counter, what stands above it, and the unit of the cells. */
struct Column {
    const char *counter, *head;
    const char *unit; /* ns, MiB, million, thousand or percent */
};

/* A table of the report. Its workloads come in the order of their files' names, a file's in the order of their adding. */
struct ReportTable {
    int place; /* the report shows tables in this order */
    const char *title;
    const char *text;                 /* a paragraph of the page */
    std::vector<Column> columns = {}; /* none: a column for each backend, with nanoseconds per allocation and free */
};

inline const ReportTable kOneThread = {1, "One thread", ""};
inline const ReportTable kManyThreads = {2, "Several threads", "All threads taken together."};

/* The workloads of a file. `add` is called once, when all backends are loaded. */
class Workloads
{
  public:
    Workloads(const ReportTable &table, void (*add)(), const char *file = __builtin_FILE());
};

/* Calls what the files have registered. */
void add_registered();

/* The tables with their workloads and backends, as the report reads them: JSON. */
std::string describe_tables();

/* Adds one benchmark, "<workload>/<backend>". `setup` is called before each of its runs. An empty `threads` means one.
 * Behind the name of the backend there may be more of the benchmark's name, after a slash. */
void add(const std::string &workload, const std::string &backend, std::function<void(benchmark::State &)> function,
         void (*setup)(const benchmark::State &), const std::vector<int> &threads = {});

/* Adds `function`, the workload compiled for B. */
template <class B>
void add_workload(const std::string &workload, std::function<void(benchmark::State &)> function,
                  const std::vector<int> &threads = {})
{
    auto purge = [](const benchmark::State &) { B::purge(); };
    add(workload, B::name(), std::move(function), purge, threads);
}

/* ---- What a workload may ask and tell --------------------------------------------------------------------------- */

/* Whether --quick or --smoke asks for less warming up. */
extern bool quick;

/* Whether --quick leaves out the workloads that take long to get going. */
extern bool leaves_out_slow;

/* The thread counts of the workloads that have several. */
extern const std::vector<int> kThreadCounts;

/* Ends the benchmark with an error, and fl_bench with status 1. */
void fail(benchmark::State &state, const std::string &message);

/* Whether a benchmark has ended with an error. */
bool has_failed();

/* After the loop of a single-threaded workload: sets s_per_op, wall seconds per allocation and free. */
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

/* ---- Progress --------------------------------------------------------------------------------------------------- */

/* From now on the share that is done is printed to stderr; `repetitions` is that of each benchmark. */
void show_progress(unsigned repetitions);

/* Ends the line of the progress. */
void end_progress();

} // namespace bench

#endif
