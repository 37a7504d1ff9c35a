/* SPDX-License-Identifier: MIT
 *
 * The registry of the workloads, what the report is told of them, and how far a run is.
 */
#include "time/harness.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <map>
#include <tuple>

namespace bench
{

bool quick, leaves_out_slow;

const std::vector<int> kThreadCounts = {2, 4, 8};

namespace
{

std::atomic<bool> failed;

/* ---- Registration ---------------------------------------------------------------------------------------------- */

/* The workloads of one file. */
struct File {
    const ReportTable *table;
    void (*add)();
    const char *name;
};

/* A workload that was added, and the backends it was added for. */
struct Row {
    const ReportTable *table;
    std::string workload;
    std::vector<std::string> backends;
};

std::vector<File> &files()
{
    static std::vector<File> all;
    return all;
}

std::vector<Row> rows;
const ReportTable *table_of_file;

bool comes_before(const File &a, const File &b)
{
    int order = std::strcmp(a.name, b.name);
    return std::tie(a.table->place, order) < std::make_tuple(b.table->place, 0);
}

void note(const std::string &workload, const std::string &backend)
{
    auto same = [&](const Row &row) { return row.workload == workload; };
    auto row = std::find_if(rows.begin(), rows.end(), same);
    if (row == rows.end())
        row = rows.insert(rows.end(), {table_of_file, workload, {}});
    if (std::find(row->backends.begin(), row->backends.end(), backend) == row->backends.end())
        row->backends.push_back(backend);
}

/* ---- JSON: no text here has a quote or a backslash in it --------------------------------------------------------- */

std::string quoted(const std::string &text)
{
    return '"' + text + '"';
}

template <class List, class Describe> std::string json_list(const List &list, Describe describe)
{
    std::string text;
    for (const auto &element : list)
        text += (text.empty() ? "" : ", ") + describe(element);
    return '[' + text + ']';
}

std::string describe_column(const Column &column)
{
    return "{\"counter\": " + quoted(column.counter) + ", \"head\": " + quoted(column.head) +
           ", \"unit\": " + quoted(column.unit) + '}';
}

std::string describe_row(const Row &row)
{
    return "{\"name\": " + quoted(row.workload) + ", \"backends\": " + json_list(row.backends, quoted) + '}';
}

std::string describe_table(const ReportTable *table)
{
    std::vector<Row> own;
    std::copy_if(rows.begin(), rows.end(), std::back_inserter(own),
                 [=](const Row &row) { return row.table == table; });
    return "{\"title\": " + quoted(table->title) + ", \"text\": " + quoted(table->text) +
           ", \"columns\": " + json_list(table->columns, describe_column) +
           ", \"workloads\": " + json_list(own, describe_row) + '}';
}

/* ---- Progress --------------------------------------------------------------------------------------------------- */

/* Counts repetitions: Google Benchmark runs each benchmark with growing numbers of iterations until the time is
 * long enough and keeps that number from then on, so the runs with the latest number are the repetitions. */
class Progress
{
  public:
    void enable(unsigned repetitions)
    {
        repetitions_ = repetitions;
    }
    void expect(unsigned benchmarks)
    {
        total_ += benchmarks;
    }
    void run(const std::string &name, benchmark::IterationCount iterations)
    {
        if (!repetitions_)
            return;
        Runs &runs = runs_[name];
        unsigned before = std::min(runs.count, repetitions_);
        runs.count = runs.iterations == iterations ? runs.count + 1 : 1;
        runs.iterations = iterations;
        done_ = done_ + std::min(runs.count, repetitions_) - before;
        unsigned percent = 100 * done_ / (total_ * repetitions_);
        if (percent != shown_)
            std::fprintf(stderr, "\r  %3u %%  %-40.40s", shown_ = percent, name.c_str());
    }
    void end()
    {
        if (repetitions_)
            std::fprintf(stderr, "\r  100 %%  %-40s\n", "");
    }

  private:
    struct Runs {
        benchmark::IterationCount iterations = 0;
        unsigned count = 0;
    };
    std::map<std::string, Runs> runs_;
    unsigned repetitions_ = 0;
    unsigned total_ = 0;
    unsigned done_ = 0;
    unsigned shown_ = ~0u;
} progress;

} // namespace

Workloads::Workloads(const ReportTable &table, void (*add)(), const char *file)
{
    files().push_back({&table, add, file});
}

void add_registered()
{
    std::sort(files().begin(), files().end(), comes_before);
    for (const File &file : files()) {
        table_of_file = file.table;
        file.add();
    }
}

std::string describe_tables()
{
    std::vector<const ReportTable *> tables;
    for (const Row &row : rows)
        if (tables.empty() || tables.back() != row.table)
            tables.push_back(row.table);
    return json_list(tables, describe_table);
}

void fail(benchmark::State &state, const std::string &message)
{
    failed = true;
    state.SkipWithError(message.c_str());
}

bool has_failed()
{
    return failed;
}

void add(const std::string &workload, const std::string &backend, std::function<void(benchmark::State &)> function,
         void (*setup)(const benchmark::State &), const std::vector<int> &threads)
{
    const std::string name = workload + '/' + backend;
    note(workload, backend.substr(0, backend.find('/')));
    auto run = [name, function = std::move(function)](benchmark::State &state) {
        std::string shown = state.threads() > 1 ? name + ", " + std::to_string(state.threads()) + " threads" : name;
        if (state.thread_index() == 0)
            progress.run(shown, state.max_iterations);
        function(state);
    };
    auto *added = benchmark::RegisterBenchmark(name.c_str(), std::move(run));
    added->UseRealTime()->Setup(setup);
    for (int count : threads)
        added->Threads(count);
    progress.expect(threads.empty() ? 1 : static_cast<unsigned>(threads.size()));
}

void show_progress(unsigned repetitions)
{
    progress.enable(repetitions);
}

void end_progress()
{
    progress.end();
}

} // namespace bench
