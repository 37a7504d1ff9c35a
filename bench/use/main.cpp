/* SPDX-License-Identifier: MIT
 *
 * Measures one workload of one backend: what making, using and dropping objects costs on a heap that is no longer
 * fresh.
 *
 *     fl_bench_use --backend=NAME --workload=ROW [--threads=one|own|pass|swap|three] [--rounds=N] [--smoke]
 *     fl_bench_use --list
 *
 * The first form prints one line of JSON. It has the nanoseconds per node of the first round and of the last one (of
 * 6), by part and in all, the minor page faults of these rounds, and `peak`, the highest number of resident bytes over
 * the start. workload.h says what --threads means, and each file of programs says what its rows do. --smoke makes
 * rounds as short as possible. The second form prints the backends that are here, and the rows with what each fits
 * into.
 *
 * bench/use/measure runs all of it.
 */
#include "common/child.h"
#include "common/process_memory.h"
#include "use/workload.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <iterator>

namespace bench::use
{

std::vector<Row> &rows()
{
    static std::vector<Row> all;
    return all;
}

AddRow::AddRow(Row row)
{
    rows().push_back(std::move(row));
}

namespace
{

constexpr const char *kThreadNames[] = {"one", "own", "pass", "swap", "three"};
constexpr const char *kSetNames[] = {"L2", "L3", "beyond"};

struct Arguments {
    std::string backend, workload, threads = "one", rounds = "6";
    bool smoke = false, list = false;
};

[[noreturn]] void usage()
{
    std::fprintf(stderr, "usage: fl_bench_use --backend=NAME --workload=ROW [--threads=one|own|pass|swap|three]\n"
                         "                    [--rounds=N] [--smoke]\n"
                         "       fl_bench_use --list\n");
    std::exit(2);
}

Arguments parse(int argc, char **argv)
{
    Arguments arguments;
    const std::pair<std::string, std::string *> named[] = {{"--backend=", &arguments.backend},
                                                           {"--workload=", &arguments.workload},
                                                           {"--threads=", &arguments.threads},
                                                           {"--rounds=", &arguments.rounds}};
    for (int i = 1; i < argc; i++) {
        std::string argument = argv[i];
        auto starts = [&](const auto &name) { return argument.compare(0, name.first.size(), name.first) == 0; };
        auto found = std::find_if(std::begin(named), std::end(named), starts);
        if (found != std::end(named))
            *found->second = argument.substr(found->first.size());
        else if (argument == "--smoke")
            arguments.smoke = true;
        else if (argument == "--list")
            arguments.list = true;
        else
            usage();
    }
    return arguments;
}

int list()
{
    MeasureOptions options;
    options.allow_missing = true;
    std::string backends;
    for (const std::string &name : find_backends(options, false))
        backends += (backends.empty() ? "\"" : ", \"") + name + "\"";
    std::printf("{\"backends\": [%s], \"rows\": {", backends.c_str());
    for (const Row &row : rows())
        std::printf("%s\"%s\": \"%s\"", &row == &rows()[0] ? "" : ", ", row.name.c_str(), kSetNames[int(row.set)]);
    std::printf("}}\n");
    return 0;
}

void print(const char *name, const Round &round)
{
    std::printf(", \"%s\": {\"make\": %.3f, \"use\": %.3f, \"drop\": %.3f, \"total\": %.3f, \"faults\": %ld}", name,
                round.parts[kMake], round.parts[kUse], round.parts[kDrop], round.total, round.faults);
}

int run(const Arguments &arguments)
{
    auto row = std::find_if(rows().begin(), rows().end(), [&](const Row &r) { return r.name == arguments.workload; });
    auto threads = std::find(std::begin(kThreadNames), std::end(kThreadNames), arguments.threads);
    unsigned rounds = static_cast<unsigned>(std::atoi(arguments.rounds.c_str()));
    if (row == rows().end() || threads == std::end(kThreadNames) || rounds == 0)
        usage();
    uint64_t before = anonymous();
    load_backend(arguments.backend);
    uint64_t after = anonymous();
    Plan plan = {Threads(threads - std::begin(kThreadNames)), rounds, arguments.smoke,
                 after > before ? after - before : 0};
    Measured measured;
    if (!row->run(arguments.backend, plan, &measured)) {
        std::fprintf(stderr, "fl_bench_use: there is no backend %s here\n", arguments.backend.c_str());
        return 1;
    }
    std::printf("{\"row\": \"%s\", \"threads\": \"%s\", \"backend\": \"%s\", \"nodes\": %" PRIu64
                ", \"peak\": %" PRIu64,
                row->name.c_str(), *threads, arguments.backend.c_str(), measured.nodes, measured.peak);
    print("first", measured.rounds.front());
    print("last", measured.rounds.back());
    std::printf("}\n");
    if (!measured.good)
        std::fprintf(stderr, "fl_bench_use: %s on %s: not all was there that had been made\n", row->name.c_str(),
                     arguments.backend.c_str());
    return !measured.good;
}

} // namespace

} // namespace bench::use

int main(int argc, char **argv)
{
    bench::execute_with_static_tls(argv);
    bench::use::Arguments arguments = bench::use::parse(argc, argv);
    return arguments.list ? bench::use::list() : bench::use::run(arguments);
}
