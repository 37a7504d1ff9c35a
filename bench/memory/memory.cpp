/* SPDX-License-Identifier: MIT
 *
 * Measures memory by workload and backend, each in a process of its own, and counts shared read-modify-writes.
 *
 *     memory [--quick | --smoke] [--allow-missing-peers] [--out=FILE]
 *
 * The workloads are larger than in fl_bench, so that the allocator outweighs the rest of the process:
 *
 *     sizes     a million live objects, ten million replacements
 *     larson    two lines of threads and four arrays of 20 000 blocks, 50 lives of 80 000 replacements per line
 *     handoff   one pair of threads, five million blocks
 *     burst     512 MiB of mixed sizes, which other threads free than allocated them (burst.h). Freelane also runs it
 *               on a heap that returns nothing until a trim, and on heaps with grace periods, where all frees are
 *               deferred
 *
 *     crowd     2000 sleeping threads that have used a few blocks; after a flush, too (crowd.h)
 *     quiet     1 GiB made and dropped by four threads in three waves, and then 30 seconds in which they are silent, or
 *               one of them allocates a block each millisecond (quiet.h)
 *
 * All bytes are resident bytes over the start. At the start the workload's own arrays are in memory, and a thread has
 * lived and ended. What a library allocated for itself while it was loaded is added.
 *
 *     peak      the highest while the workload ran
 *     idle      after all blocks were freed and all threads that used the backend had ended
 *     held      after the backend was then told to return what it can: by fl_heap_trim, malloc_trim, mi_collect,
 *               jemalloc's purge of all arenas or MallocExtension_ReleaseFreeMemory; on a heap with grace periods
 *               after fl_heap_barrier
 *     trim      how many seconds that took
 *     each      of `crowd`: what was resident for each thread, its stack included
 *     seconds   of `quiet`: what was resident when all was freed, and after each second; `left` is the last of these
 *
 * The counters are Freelane's alone: exchanges of magazines, shared read-modify-writes and visits to homes. They are
 * taken in `handoff`, and in a steady state inside one thread, where none of them may rise: ten million pairs, and a
 * hundred thousand batches of 100.
 *
 * With --smoke everything is brief, and the program fails unless the counters are as promised.
 */
#include "memory/burst.h"
#include "memory/crowd.h"
#include "memory/heaps.h"
#include "memory/quiet.h"
#include "common/child.h"
#include "common/handoff.h"
#include "common/larson.h"
#include "common/process_memory.h"
#include "common/sizes.h"

#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <thread>

namespace bench
{

namespace
{

struct Scale {
    uint32_t sizes_live, larson_slots;
    uint64_t sizes_replacements;
    unsigned larson_lives;
    size_t handoff_blocks;
    size_t burst_bytes, quiet_bytes;
    unsigned quiet_seconds, crowd_threads;
    unsigned steady_rounds;
    unsigned repetitions;
};

constexpr Scale kFull = {1000000, 20000, 10000000, 50, 5000000, 512 << 20, 1 << 30, 30, 2000, 100000, 3};
constexpr Scale kQuick = {1000000, 20000, 2000000, 10, 1000000, 128 << 20, 128 << 20, 5, 2000, 10000, 1};
constexpr Scale kSmoke = {20000, 1000, 20000, 2, 50000, 8 << 20, 8 << 20, 1, 50, 100, 1};
constexpr unsigned kLines = 2;

const Scale &scale_of(const MeasureOptions &options)
{
    return options.smoke ? kSmoke : options.quick ? kQuick : kFull;
}

template <class B> struct SizesRun {
    const Scale &scale;
    Sizes<B> workload{scale.sizes_live};

    bool run()
    {
        std::thread([this] {
            B backend;
            workload.fill(backend);
            workload.replace(backend, scale.sizes_replacements);
            workload.clear(backend);
        }).join();
        return true;
    }
};

template <class B> struct LarsonRun {
    const Scale &scale;
    Larson<B> workload{kLines, scale.larson_slots};

    bool run()
    {
        std::thread([this] {
            B backend;
            for (size_t line = 0; line < kLines; line++)
                workload.fill(backend, line);
        }).join();
        std::vector<std::thread> lines;
        for (size_t line = 0; line < kLines; line++)
            lines.emplace_back([this, line] {
                for (unsigned life = 0; life < scale.larson_lives; life++)
                    workload.live(line, 4 * scale.larson_slots);
            });
        for (std::thread &line : lines)
            line.join();
        std::thread([this] {
            B backend;
            for (size_t line = 0; line < kLines; line++)
                workload.clear(backend, line);
        }).join();
        return true;
    }
};

template <class B> struct HandoffRun {
    const Scale &scale;
    std::unique_ptr<Ring> ring = std::make_unique<Ring>();

    bool run()
    {
        uint64_t wrong = 0;
        std::vector<void *> old(kOldCount);
        std::thread producer([&] {
            B backend;
            handoff_produce(backend, *ring, old.data(), 0, scale.handoff_blocks);
        });
        std::thread consumer([&] {
            B backend;
            wrong = handoff_consume(backend, *ring, 0, scale.handoff_blocks);
        });
        producer.join();
        consumer.join();
        return wrong == 0;
    }
};

template <class B> struct BurstRun {
    const Scale &scale;
    Burst<B> workload{scale.burst_bytes};

    bool run()
    {
        return workload.run();
    }
};

/* Prints the members "start", "library", "peak", "idle", "held" and "trim"; `library` bytes were allocated by the
 * backend when it was loaded. */
template <class B, template <class> class Run> bool measure(const Scale &scale, uint64_t library)
{
    Run<B> workload{scale};
    std::thread([] {}).join();
    reset_peak();
    uint64_t start = resident();
    bool good = workload.run();
    uint64_t highest = peak(), idle = resident();
    auto before = std::chrono::steady_clock::now();
    B::purge();
    std::chrono::duration<double> trim = std::chrono::steady_clock::now() - before;
    uint64_t held = resident();
    auto over = [=](uint64_t bytes) { return bytes + library > start ? bytes + library - start : 0; };
    std::printf("\"start\": %" PRIu64 ", \"library\": %" PRIu64 ", \"peak\": %" PRIu64 ", \"idle\": %" PRIu64
                ", \"held\": %" PRIu64 ", \"trim\": %.6f",
                start, library, over(highest), over(idle), over(held), trim.count());
    return good && highest >= start;
}

/* Prints the member "each". */
template <class B> bool measure_crowd(const Scale &scale, bool gives_back)
{
    B warm;
    warm.free(warm.alloc(1 << 10, nullptr), 1 << 10);
    std::thread([] {}).join();
    std::printf("\"each\": %" PRIu64, Crowd<B>{scale.crowd_threads, gives_back}.run());
    return true;
}

struct Measure {
    const std::string &workload;
    const Scale &scale;
    uint64_t library;
    bool good = false;

    template <class B> void visit()
    {
        if (workload == "sizes")
            good = measure<B, SizesRun>(scale, library);
        else if (workload == "larson")
            good = measure<B, LarsonRun>(scale, library);
        else if (workload == "handoff")
            good = measure<B, HandoffRun>(scale, library);
        else if (workload == "burst")
            good = measure<B, BurstRun>(scale, library);
        else if (workload == "crowd" || workload == "crowd/flushed")
            good = measure_crowd<B>(scale, workload == "crowd/flushed");
    }
};

/* Prints the members "seconds" and "left". */
template <class B> bool measure_quiet(const Scale &scale, bool trickles)
{
    B::background();
    std::thread([] {}).join();
    uint64_t start = resident();
    std::vector<uint64_t> taken = Quiet<B>{scale.quiet_bytes, scale.quiet_seconds, trickles}.run();
    std::printf("\"seconds\": [");
    for (size_t i = 0; i < taken.size(); i++)
        std::printf("%s%" PRIu64, i > 0 ? ", " : "", taken[i] > start ? taken[i] - start : 0);
    std::printf("], \"left\": %" PRIu64, taken.back() > start ? taken.back() - start : 0);
    return true;
}

struct MeasureQuiet {
    const Scale &scale;
    bool trickles;

    template <class B> void visit()
    {
        measure_quiet<B>(scale, trickles);
    }
};

/* Backends of `burst` alone. */
template <class... Kinds> struct FreelaneHeaps {
    /* Measures the one of this name. Returns whether there is one. */
    static bool measure_burst(const std::string &name, const Scale &scale, bool *good)
    {
        return ((name == Kinds::kName && (*good = measure<FreelaneHeap<Kinds>, BurstRun>(scale, 0), true)) || ...);
    }
    static std::vector<std::string> names()
    {
        std::vector<std::string> found;
        ((FreelaneHeap<Kinds>::heap() ? found.push_back(Kinds::kName) : void()), ...);
        return found;
    }
};

using BurstHeaps = FreelaneHeaps<KeepsAll, DefersQsbr, DefersBp>;

struct Counters {
    uint64_t exchanges, shared_updates, cas_failures, home_visits;
    size_t magazine_blocks;

    /* Read-modify-writes on what threads share. */
    uint64_t shared() const
    {
        return shared_updates + home_visits;
    }
};

Counters read_counters()
{
    static struct fl_stats stats;
    fl_heap_stats(fl_heap_default(), &stats);
    return {stats.exchanges, stats.shared_updates, stats.cas_failures, stats.home_visits,
            stats.classes[fl_size_class(kHandoffSize)].magazine_blocks};
}

void print_counters(uint64_t operations, const Counters &before, const Counters &after)
{
    std::printf("\"operations\": %" PRIu64 ", \"exchanges\": %" PRIu64 ", \"shared_updates\": %" PRIu64
                ", \"cas_failures\": %" PRIu64 ", \"home_visits\": %" PRIu64 ", \"magazine_blocks\": %zu",
                operations, after.exchanges - before.exchanges, after.shared_updates - before.shared_updates,
                after.cas_failures - before.cas_failures, after.home_visits - before.home_visits,
                after.magazine_blocks);
}

bool count_handoff(const Scale &scale)
{
    Counters before = read_counters();
    bool good = HandoffRun<Freelane>{scale}.run();
    Counters after = read_counters();
    print_counters(scale.handoff_blocks, before, after);
    uint64_t updates = after.shared() - before.shared();
    return good && updates > 0 && updates <= 4 * (scale.handoff_blocks / after.magazine_blocks + 1);
}

bool count_steady(const Scale &scale)
{
    constexpr unsigned kBatch = 100;
    Freelane backend;
    void *blocks[kBatch];
    auto batch = [&] {
        for (unsigned i = 0; i < kBatch; i++)
            touch(blocks[i] = backend.alloc(kHandoffSize, nullptr), i);
        for (void *block : blocks)
            backend.free(block, kHandoffSize);
        for (unsigned i = 0; i < kBatch; i++) {
            void *block = backend.alloc(kHandoffSize, nullptr);
            touch(block, i);
            backend.free(block, kHandoffSize);
        }
    };
    batch();
    Counters before = read_counters();
    for (unsigned round = 0; round < scale.steady_rounds; round++)
        batch();
    Counters after = read_counters();
    print_counters(uint64_t(scale.steady_rounds) * 2 * kBatch, before, after);
    /* Two magazines of a build that makes rare paths common do not hold a batch. */
    return after.shared() == before.shared() || 2 * after.magazine_blocks < kBatch;
}

/* How `quiet` goes on after the waves, and which backends are measured in it. */
struct QuietWay {
    const char *workload;
    bool trickles;
    std::vector<std::string> backends;
};
const QuietWay kQuietWays[] = {
    {"quiet/silence", false, {"freelane", "freelane-thread", "glibc", "mimalloc-new", "jemalloc-new"}},
    {"quiet/trickle", true, {"freelane", "glibc", "mimalloc-new", "jemalloc-new"}},
};

bool run_quiet_child(const Scale &scale, const QuietWay &way, const std::string &backend)
{
    if (backend == DecaysInSilence::kName)
        return measure_quiet<FreelaneHeap<DecaysInSilence>>(scale, way.trickles);
    load_backend(backend);
    MeasureQuiet measurement{scale, way.trickles};
    return visit_backend(backend, measurement);
}

/* Measures one way, all backends at the same time: most of it is sleep. Appends a row for each. */
bool measure_quiet_way(const MeasureOptions &options, const QuietWay &way, const std::vector<std::string> &found,
                       std::vector<std::string> *results)
{
    std::vector<std::string> names;
    for (const std::string &name : way.backends)
        if (name == DecaysInSilence::kName || std::find(found.begin(), found.end(), name) != found.end())
            names.push_back(name);
    std::vector<std::string> outputs(names.size());
    std::vector<char> good(names.size());
    std::vector<std::thread> runs;
    for (size_t i = 0; i < names.size(); i++)
        runs.emplace_back([&, i] {
            good[i] = run_child_of(options, {way.workload, names[i]}, names[i], &outputs[i]);
        });
    for (std::thread &run : runs)
        run.join();
    for (size_t i = 0; i < names.size(); i++)
        if (!outputs[i].empty())
            results->push_back("    {\"workload\": \"" + std::string(way.workload) + "\", \"backend\": \"" +
                               names[i] + "\", \"repetition\": 0, " + outputs[i] + "}");
    return std::all_of(good.begin(), good.end(), [](char one) { return one; });
}

int run_as_child(const MeasureOptions &options)
{
    const Scale &scale = scale_of(options);
    for (const QuietWay &way : kQuietWays)
        if (options.child[0] == way.workload)
            return !run_quiet_child(scale, way, options.child.at(1));
    if (options.child[0] == "counters")
        return !(options.child.at(1) == "handoff" ? count_handoff(scale) : count_steady(scale));
    bool good = false;
    if (BurstHeaps::measure_burst(options.child.at(1), scale, &good))
        return !good;
    uint64_t before = anonymous();
    load_backend(options.child.at(1));
    uint64_t after = anonymous();
    Measure measurement{options.child[0], scale, after > before ? after - before : 0};
    return !visit_backend(options.child.at(1), measurement) || !measurement.good;
}

int run_as_parent(const MeasureOptions &options)
{
    std::vector<std::string> backends = find_backends(options, false), results, counters;
    const Scale &scale = scale_of(options);
    if (backends.empty())
        return 1;
    std::string output;
    std::vector<std::string> with_heaps = backends, heaps = BurstHeaps::names();
    with_heaps.insert(with_heaps.begin() + 1, heaps.begin(), heaps.end());
    for (unsigned repetition = 0; repetition < scale.repetitions; repetition++) {
        for (const std::string workload : {"sizes", "larson", "handoff", "burst", "crowd", "crowd/flushed"}) {
            for (const std::string &backend : workload == "burst" ? with_heaps : backends) {
                if (!run_child_of(options, {workload, backend}, backend, &output))
                    return 1;
                if (output.empty())
                    continue;
                results.push_back("    {\"workload\": \"" + workload + "\", \"backend\": \"" + backend +
                                  "\", \"repetition\": " + std::to_string(repetition) + ", " + output + "}");
            }
        }
    }
    for (const QuietWay &way : kQuietWays)
        if (!measure_quiet_way(options, way, backends, &results))
            return 1;
    for (const char *what : {"handoff", "steady"}) {
        if (!run_child(options, {"counters", what}, &output))
            return 1;
        counters.push_back("    \"" + std::string(what) + "\": {" + output + "}");
    }
    auto join = [](const std::vector<std::string> &lines) {
        std::string joined;
        for (const std::string &line : lines)
            joined += (joined.empty() ? "\n" : ",\n") + line;
        return joined;
    };
    return !write_document(options,
                           {"\"memory\": [" + join(results) + "]", "\"counters\": {" + join(counters) + "}"});
}

} // namespace

} // namespace bench

int main(int argc, char **argv)
{
    bench::MeasureOptions options = bench::parse_measure_options("memory", argc, argv);
    return options.child.empty() ? bench::run_as_parent(options) : bench::run_as_child(options);
}
