/* SPDX-License-Identifier: MIT
 *
 * Measures how long single operations take, each backend in a process of its own.
 *
 *     latency [--quick | --smoke] [--allow-missing-peers] [--out=FILE]
 *
 * One thread allocates n blocks of 48 bytes and touches each, then frees them in the same order. n runs through the
 * powers of two from 64 to 2 Mi, in a shuffled order that is the same for all backends. Each allocation and each free
 * is timed alone, and touching is not timed. Each cost of an allocator appears in some operation of the bursts. An
 * allocation may refill a cache, carve a slab or take a page fault. A free may exchange a magazine, and after the
 * greatest burst, which leaves 96 MiB free, it may return memory to the OS.
 *
 * The time comes from the processor's time stamp counter between fences, elsewhere from the monotonic clock. The median
 * of two readings with nothing between them is subtracted, and results below that are 0. `none` times nothing: its tail
 * is interrupts and preemption, which the tail of each backend has too. A histogram keeps 1/32 of each value.
 *
 * Then it measures what a fork costs another thread (forks.h), where much is written and where there are many heaps: the
 * median and the most of some forks. And how long the call itself takes with a great many heaps.
 *
 * For each backend, operation and repetition the document gives the nanoseconds at p50, p99, p99.99 and the maximum.
 * "curve" gives the nanoseconds at 1 - 10^-x, for x from 0.25 in steps of a quarter. With --smoke everything is brief,
 * and the program fails unless what it counted and sorted is consistent.
 */
#include "common/child.h"
#include "latency/forks.h"

#include <time.h>

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <numeric>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace bench
{

namespace
{

constexpr size_t kSize = 48;
constexpr unsigned kLog2Least = 6;

struct Scale {
    unsigned log2_most, cycles, repetitions, forks, fork_heaps, fork_many;
    size_t fork_bytes;
};

constexpr Scale kFull = {21, 3, 3, 15, 500, 10000, size_t(2) << 30};
constexpr Scale kQuick = {21, 1, 1, 5, 500, 10000, 256 << 20};
constexpr Scale kSmoke = {12, 1, 1, 2, 20, 40, 1 << 20};

const Scale &scale_of(const MeasureOptions &options)
{
    return options.smoke ? kSmoke : options.quick ? kQuick : kFull;
}

uint64_t clock_ns()
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return uint64_t(now.tv_sec) * 1000000000u + uint64_t(now.tv_nsec);
}

#if defined(__x86_64__)
inline uint64_t ticks_before()
{
    _mm_lfence();
    uint64_t ticks = __rdtsc();
    _mm_lfence();
    return ticks;
}

inline uint64_t ticks_after()
{
    unsigned processor;
    uint64_t ticks = __rdtscp(&processor);
    _mm_lfence();
    return ticks;
}
#else
inline uint64_t ticks_before()
{
    return clock_ns();
}

inline uint64_t ticks_after()
{
    return clock_ns();
}
#endif

/* Counts of ticks in buckets of 1/32 of their value. */
class Histogram
{
  public:
    void add(uint64_t ticks)
    {
        counts_[bucket(ticks)]++;
        total_++;
        most_ = std::max(most_, ticks);
    }
    uint64_t total() const
    {
        return total_;
    }
    uint64_t most() const
    {
        return most_;
    }

    /* The least value that a share of `share` of all does not exceed. */
    uint64_t quantile(double share) const
    {
        uint64_t rank = static_cast<uint64_t>(std::ceil(share * static_cast<double>(total_))), seen = 0;
        for (size_t i = 0; i < kBuckets; i++) {
            seen += counts_[i];
            if (seen >= rank && seen > 0)
                return std::min(middle(i), most_);
        }
        return most_;
    }

  private:
    static constexpr unsigned kBits = 5;
    static constexpr size_t kBuckets = (64 - kBits + 1) << kBits;

    static size_t bucket(uint64_t ticks)
    {
        if (ticks < (2u << kBits))
            return ticks;
        unsigned shift = 63u - unsigned(__builtin_clzll(ticks)) - kBits;
        return (size_t(shift) << kBits) + (ticks >> shift);
    }
    static uint64_t middle(size_t bucket)
    {
        if (bucket < (2u << kBits))
            return bucket;
        unsigned shift = unsigned(bucket >> kBits) - 1;
        return ((bucket - (size_t(shift) << kBits)) << shift) + ((uint64_t(1) << shift) >> 1);
    }

    uint64_t counts_[kBuckets] = {};
    uint64_t total_ = 0;
    uint64_t most_ = 0;
};

uint64_t timer_overhead()
{
    Histogram histogram;
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t before = ticks_before();
        histogram.add(ticks_after() - before);
    }
    return histogram.quantile(0.5);
}

/* The orders of magnitude of the bursts, each `cycles` times, shuffled. */
std::vector<unsigned> burst_order(const Scale &scale)
{
    std::vector<unsigned> order;
    for (unsigned cycle = 0; cycle < scale.cycles; cycle++)
        for (unsigned log2 = kLog2Least; log2 <= scale.log2_most; log2++)
            order.push_back(log2);
    uint64_t random = 482;
    for (uint32_t i = static_cast<uint32_t>(order.size()) - 1; i > 0; i--)
        std::swap(order[i], order[random_below(&random, i + 1)]);
    return order;
}

class Report
{
  public:
    Report(uint64_t overhead, double ns_per_tick) : overhead_(overhead), ns_per_tick_(ns_per_tick)
    {
    }

    bool print(const char *operation, const Histogram &histogram) const
    {
        double p50 = ns(histogram.quantile(0.5)), p99 = ns(histogram.quantile(0.99)),
               p9999 = ns(histogram.quantile(0.9999)), most = ns(histogram.most());
        std::printf("\"%s\": {\"count\": %" PRIu64 ", \"p50\": %.1f, \"p99\": %.1f, \"p99.99\": %.1f, \"max\": %.1f, "
                    "\"curve\": [",
                    operation, histogram.total(), p50, p99, p9999, most);
        for (int quarter = 1; std::pow(10, quarter / 4.0) <= static_cast<double>(histogram.total()); quarter++)
            std::printf("%s%.1f", quarter > 1 ? ", " : "", ns(histogram.quantile(1 - std::pow(10, -quarter / 4.0))));
        std::printf("]}");
        return p50 <= p99 && p99 <= p9999 && p9999 <= most && most > 0;
    }

  private:
    double ns(uint64_t ticks) const
    {
        return ticks > overhead_ ? static_cast<double>(ticks - overhead_) * ns_per_tick_ : 0;
    }

    uint64_t overhead_;
    double ns_per_tick_;
};

struct Measure {
    const Scale &scale;
    bool good = false;

    template <class B> void visit()
    {
        std::vector<void *> blocks(size_t(1) << scale.log2_most);
        static Histogram alloc_times, free_times;
        uint64_t overhead = timer_overhead(), expected = 0;
        uint64_t begin_ns = clock_ns(), begin_ticks = ticks_before();
        {
            B backend;
            for (void *&block : blocks)
                block = std::is_same_v<B, None> ? backend.first(kSize) : nullptr;
            for (unsigned log2 : burst_order(scale)) {
                size_t n = size_t(1) << log2;
                expected += n;
                for (size_t i = 0; i < n; i++) {
                    void *was = blocks[i];
                    uint64_t before = ticks_before();
                    void *block = backend.alloc(kSize, was);
                    keep(block);
                    alloc_times.add(ticks_after() - before);
                    touch(blocks[i] = block, i);
                }
                for (size_t i = 0; i < n; i++) {
                    void *block = blocks[i];
                    uint64_t before = ticks_before();
                    backend.free(block, kSize);
                    free_times.add(ticks_after() - before);
                }
            }
        }
        uint64_t ticks = ticks_after() - begin_ticks;
        double ns_per_tick = static_cast<double>(clock_ns() - begin_ns) / static_cast<double>(ticks);
        Report report(overhead, ns_per_tick);
        std::printf("\"timer_ns\": %.1f, ", static_cast<double>(overhead) * ns_per_tick);
        good = report.print("alloc", alloc_times);
        std::printf(", ");
        good = report.print("free", free_times) && good;
        good = good && alloc_times.total() == expected && free_times.total() == expected;
    }
};

struct MeasureForks {
    const Scale &scale;
    bool heaps;
    bool good = false;

    template <class B> void visit()
    {
        std::vector<double> lost =
            Forks<B>{heaps ? 0 : scale.fork_bytes, heaps ? scale.fork_heaps : 0, scale.forks}.run();
        good = !lost.empty();
        if (good)
            std::printf("\"lost_ms\": %.3f, \"most_ms\": %.3f", lost[lost.size() / 2], lost.back());
    }
};

struct TimeForks {
    const Scale &scale;
    bool good = false;

    template <class B> void visit()
    {
        std::vector<double> taken = time_forks<B>(scale.fork_many, scale.forks);
        good = !taken.empty();
        if (good)
            std::printf("\"fork_ms\": %.3f, \"most_ms\": %.3f", taken[taken.size() / 2], taken.back());
    }
};

constexpr const char *kForking[] = {"freelane", "glibc", "mimalloc-new", "jemalloc-new"};

int run_as_child(const MeasureOptions &options)
{
    if (options.child[0] == "fork" || options.child[0] == "fork/heaps") {
        load_backend(options.child.at(1));
        MeasureForks measurement{scale_of(options), options.child[0] == "fork/heaps"};
        return !visit_backend(options.child.at(1), measurement) || !measurement.good;
    }
    if (options.child[0] == "fork/many") {
        load_backend(options.child.at(1));
        TimeForks measurement{scale_of(options)};
        return !visit_backend(options.child.at(1), measurement) || !measurement.good;
    }
    load_backend(options.child[0]);
    Measure measurement{scale_of(options)};
    return !visit_backend(options.child[0], measurement) || !measurement.good;
}

int run_as_parent(const MeasureOptions &options)
{
    std::vector<std::string> backends = find_backends(options, true);
    if (backends.empty())
        return 1;
    std::string results, output;
    for (unsigned repetition = 0; repetition < scale_of(options).repetitions; repetition++) {
        for (const std::string &backend : backends) {
            if (!run_child_of(options, {backend}, backend, &output))
                return 1;
            if (output.empty())
                continue;
            results += (results.empty() ? "\n" : ",\n");
            results += "    {\"backend\": \"" + backend + "\", \"repetition\": " + std::to_string(repetition) + ", " +
                       output + "}";
        }
    }
    std::string forks;
    for (const std::string workload : {"fork", "fork/heaps", "fork/many"}) {
        for (const std::string backend : kForking) {
            if (std::find(backends.begin(), backends.end(), backend) == backends.end())
                continue;
            if (!run_child_of(options, {workload, backend}, backend, &output))
                return 1;
            if (output.empty())
                continue;
            forks += (forks.empty() ? "\n" : ",\n");
            forks += "    {\"workload\": \"" + workload + "\", \"backend\": \"" + backend + "\", " + output + "}";
        }
    }
    return !write_document(options, {"\"latency\": [" + results + "]", "\"forks\": [" + forks + "]"});
}

} // namespace

} // namespace bench

int main(int argc, char **argv)
{
    bench::MeasureOptions options = bench::parse_measure_options("latency", argc, argv);
    return options.child.empty() ? bench::run_as_parent(options) : bench::run_as_child(options);
}
