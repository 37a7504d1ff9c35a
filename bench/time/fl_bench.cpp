/* SPDX-License-Identifier: MIT
 *
 * Freelane against the allocators a user would pick instead, in one process and one run.
 *
 *     fl_bench [--quick | --smoke] [--allow-missing-peers] [--progress] [--benchmark_...]
 *
 * Without options: 10 randomly interleaved repetitions of at least 0.1 s each, about 17 minutes in all. --quick
 * makes a repetition 3 ms and leaves out what takes long to get going; --smoke runs everything once, as briefly as
 * possible, after checking that every backend keeps what is written to its blocks. --progress prints the share that
 * is done to stderr, and everything else to stdout. The options of Google Benchmark override these.
 *
 * The benchmarks are named <workload>/<backend>/real_time[/threads:N]. Their counter s_per_op is wall seconds per
 * allocation and free, all threads taken together. Every file of workloads says what each of them does; backends.h
 * says what the backends are. Before each run the backend gives its free memory back to the system, and the
 * workload then warms up before the clock starts: no run begins with what an earlier one left.
 */
#include "time/harness.h"

#include <sys/utsname.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>

namespace bench
{

namespace
{

struct Options {
    bool smoke = false;
    bool allow_missing = false;
    bool progress = false;
    unsigned repetitions = 10;
};

/* Takes our own options out of the arguments and puts our defaults before the rest. */
std::vector<char *> parse(int argc, char **argv, Options *options)
{
    std::vector<char *> rest;
    for (int i = 1; i < argc; i++) {
        if (!std::strcmp(argv[i], "--quick"))
            quick = leaves_out_slow = true;
        else if (!std::strcmp(argv[i], "--smoke"))
            quick = options->smoke = true;
        else if (!std::strcmp(argv[i], "--allow-missing-peers"))
            options->allow_missing = true;
        else if (!std::strcmp(argv[i], "--progress"))
            options->progress = true;
        else
            rest.push_back(argv[i]);
    }
    if (options->smoke)
        options->repetitions = 1;
    for (char *argument : rest)
        std::sscanf(argument, "--benchmark_repetitions=%u", &options->repetitions);
    static char interleave[] = "--benchmark_enable_random_interleaving=true";
    static char aggregates[] = "--benchmark_display_aggregates_only=true";
    static char repetitions[] = "--benchmark_repetitions=10", once[] = "--benchmark_repetitions=1";
    static char full[] = "--benchmark_min_time=0.1", brief[] = "--benchmark_min_time=0.003",
                least[] = "--benchmark_min_time=0.0001";
    rest.insert(rest.begin(), {argv[0], interleave, aggregates, options->smoke ? once : repetitions,
                               options->smoke ? least
                               : quick        ? brief
                                              : full});
    rest.push_back(nullptr);
    return rest;
}

std::string first_line(const char *path, const char *key = "")
{
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        if (line.compare(0, std::strlen(key), key) == 0) {
            size_t colon = *key ? line.find(": ") : std::string::npos;
            return colon == std::string::npos ? line : line.substr(colon + 2);
        }
    }
    return "unknown";
}

std::string compiler()
{
#if defined(__clang__)
    return __VERSION__;
#else
    return "gcc " __VERSION__;
#endif
}

void describe_machine()
{
    struct utsname names;
    uname(&names);
    benchmark::AddCustomContext("cpu", first_line("/proc/cpuinfo", "model name"));
    benchmark::AddCustomContext("kernel", std::string(names.sysname) + " " + names.release);
    benchmark::AddCustomContext("transparent_hugepage", first_line("/sys/kernel/mm/transparent_hugepage/enabled"));
    benchmark::AddCustomContext("compiler", compiler());
    for (const Peer &peer : peers)
        if (peer.malloc && !peer.version.empty())
            benchmark::AddCustomContext(peer.name, peer.version);
}

bool load_peers(bool allow_missing)
{
    bool complete = true;
    for (unsigned id = 0; id < kPeerCount; id++) {
        std::string error;
        if (peer_fits_build(PeerId(id)) && !load_peer(PeerId(id), &error)) {
            std::fprintf(stderr, "fl_bench: %s: %s\n", peers[id].name, error.c_str());
            complete &= is_new(PeerId(id));
        }
    }
    if (!complete && !allow_missing)
        std::fprintf(stderr, "fl_bench: a peer is missing; --allow-missing-peers goes on without it\n");
    return complete || allow_missing;
}

/* Fills blocks of many sizes to the last byte, checks all of them, frees every other one, and so on: no backend
 * may hand out memory twice. */
struct CheckContents {
    bool good = true;

    template <class B> void visit()
    {
        constexpr unsigned kBlocks = 3000, kRounds = 4;
        B backend;
        std::vector<unsigned char *> blocks(kBlocks);
        std::vector<size_t> sizes(kBlocks);
        for (size_t size = 16; size <= 512; size += 16)
            backend.supply(size, kBlocks);
        auto fill = [&](unsigned i, void *block) {
            blocks[i] = static_cast<unsigned char *>(block);
            std::memset(blocks[i], static_cast<int>(i % 251), sizes[i]);
        };
        uint64_t random = 1;
        for (unsigned i = 0; i < kBlocks; i++) {
            sizes[i] = 16 + random_below(&random, 497);
            fill(i, backend.first(sizes[i]));
        }
        for (unsigned round = 0; round < kRounds; round++) {
            for (unsigned i = round % 2; i < kBlocks; i += 2)
                backend.free(blocks[i], sizes[i]);
            for (unsigned i = round % 2; i < kBlocks; i += 2)
                fill(i, backend.alloc(sizes[i], blocks[i]));
            for (unsigned i = 0; i < kBlocks; i++)
                for (size_t byte = 0; byte < sizes[i]; byte++)
                    good &= blocks[i][byte] == i % 251;
        }
        for (unsigned i = 0; i < kBlocks; i++)
            backend.free(blocks[i], sizes[i]);
        if (!good)
            std::fprintf(stderr, "fl_bench: %s gave out memory that was in use\n", B::name());
    }
};

} // namespace

} // namespace bench

int main(int argc, char **argv)
{
    using namespace bench;
    execute_with_static_tls(argv);

    Options options;
    std::vector<char *> arguments = parse(argc, argv, &options);
    int count = static_cast<int>(arguments.size()) - 1;
    benchmark::Initialize(&count, arguments.data());
    if (benchmark::ReportUnrecognizedArguments(count, arguments.data()))
        return 2;
    if (!load_peers(options.allow_missing))
        return 1;
    if (options.smoke) {
        CheckContents check;
        WithPeers<Limit>::visit(check);
        if (!check.good)
            return 1;
    }

    add_registered();
    describe_machine();
    benchmark::AddCustomContext("tables", describe_tables());
    if (options.progress)
        show_progress(options.repetitions);
    benchmark::ConsoleReporter plain(benchmark::ConsoleReporter::OO_None);
    plain.SetErrorStream(&std::cout); /* stderr is for the progress alone */
    size_t ran = benchmark::RunSpecifiedBenchmarks(options.progress ? &plain : nullptr);
    end_progress();
    benchmark::Shutdown();
    return has_failed() || ran == 0;
}
