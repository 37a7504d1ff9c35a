/* SPDX-License-Identifier: MIT
 *
 * Runs a workload in one or more threads for some rounds. Nothing is flushed, trimmed, detached or ended between
 * rounds.
 *
 * The time of a round runs from the moment when all threads begin it until the last one is done. A thread that makes
 * for another one has at most two units that are not dropped yet, so while one is used the next one is made.
 */
#ifndef FREELANE_BENCH_USE_DRIVE_H
#define FREELANE_BENCH_USE_DRIVE_H

#include "common/process_memory.h"
#include "use/workload.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>

namespace bench::use
{

class Barrier
{
  public:
    explicit Barrier(unsigned threads)
    {
        pthread_barrier_init(&barrier_, nullptr, threads);
    }
    ~Barrier()
    {
        pthread_barrier_destroy(&barrier_);
    }
    Barrier(const Barrier &) = delete;
    Barrier &operator=(const Barrier &) = delete;

    void pass()
    {
        pthread_barrier_wait(&barrier_);
    }

  private:
    pthread_barrier_t barrier_;
};

inline long minor_faults()
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

/* Two units that go from the thread that makes them to the one that drops them and back. */
template <class Unit> class Channel
{
  public:
    Unit *units()
    {
        return units_;
    }
    static constexpr unsigned kUnits = 2;

    /* The maker's: a unit that was dropped, and that it is full now. */
    Unit *empty()
    {
        while (made_.load(std::memory_order_relaxed) - dropped_.load(std::memory_order_acquire) == kUnits)
            sched_yield();
        return &units_[made_.load(std::memory_order_relaxed) % kUnits];
    }
    void give()
    {
        made_.store(made_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }
    /* The dropper's: a full unit, and that it is empty now. */
    Unit *full()
    {
        while (!has_full())
            sched_yield();
        return &units_[dropped_.load(std::memory_order_relaxed) % kUnits];
    }
    bool has_full() const
    {
        return made_.load(std::memory_order_acquire) != dropped_.load(std::memory_order_relaxed);
    }
    void take_back()
    {
        dropped_.store(dropped_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }

  private:
    alignas(128) std::atomic<unsigned> made_{0};
    alignas(128) std::atomic<unsigned> dropped_{0};
    alignas(128) Unit units_[kUnits];
};

template <class W, class B> class Drive
{
  public:
    template <class Shape>
    Drive(const Shape &shape, const Plan &plan) : plan_(plan), barrier_(count_of(plan.threads) + 1)
    {
        unsigned count = count_of(plan.threads);
        for (unsigned i = 0; i < count; i++) {
            lines_.push_back(std::make_unique<Line>(shape, i, count > 1 && plan.threads != Threads::kOwn));
            for (unsigned unit = 0; unit < Channel<Unit>::kUnits; unit++)
                lines_[i]->workload.prepare(&lines_[i]->channel.units()[unit]);
        }
        uint64_t least = plan.smoke ? 1 : std::max(kNodesLeast, lines_[0]->workload.nodes_least());
        uint64_t nodes = lines_[0]->workload.nodes(), several = nodes < kNodesLeast ? 4 : 2;
        units_ = std::max<uint64_t>(least / nodes, plan.threads == Threads::kOne ? 1 : several);
    }

    void run(Measured *measured)
    {
        std::vector<std::thread> threads;
        for (auto &line : lines_)
            threads.emplace_back([this, &line] { live(*line); });
        barrier_.pass(); /* the backends are there */
        reset_peak();
        uint64_t start = resident();
        measured->nodes = units_ * makers() * lines_[0]->workload.nodes();
        for (unsigned round = 0; round < plan_.rounds; round++)
            measured->rounds.push_back(time_round(measured->nodes));
        uint64_t most = peak() + plan_.library;
        measured->peak = most > start ? most - start : 0;
        for (std::thread &thread : threads)
            thread.join();
        measured->good = std::all_of(lines_.begin(), lines_.end(), [](auto &line) { return line->good; });
    }

  private:
    using Unit = typename W::Unit;

    static constexpr uint64_t kNodesLeast = 500000; /* that a thread makes in a round, to have something to time */

    struct Line {
        template <class Shape>
        Line(const Shape &shape, unsigned number, bool several)
            : index(number), workload(shape, 482 + number, several)
        {
        }
        unsigned index;
        W workload;
        PartClock clock;
        Channel<Unit> channel; /* of what this thread makes */
        bool good = true;
    };

    static unsigned count_of(Threads threads)
    {
        return threads == Threads::kOne ? 1 : threads == Threads::kThree ? 4 : 2;
    }
    uint64_t makers() const
    {
        return plan_.threads == Threads::kPass ? 1 : plan_.threads == Threads::kThree ? 3 : lines_.size();
    }

    Round time_round(uint64_t nodes)
    {
        long faults = minor_faults();
        barrier_.pass();
        Clock::time_point begin = Clock::now();
        barrier_.pass();
        std::chrono::duration<double> wall = Clock::now() - begin;
        Round round = {};
        for (auto &line : lines_) {
            std::vector<double> seconds = line->clock.take();
            for (unsigned part = 0; part < kParts; part++)
                round.parts[part] += seconds[part] * 1e9 / static_cast<double>(nodes);
        }
        /* Threads that do the same count as one that does it once. */
        bool alike = plan_.threads == Threads::kOwn || plan_.threads == Threads::kSwap;
        round.total = wall.count() * 1e9 * (alike ? 2 : 1) / static_cast<double>(nodes);
        round.faults = minor_faults() - faults;
        return round;
    }

    void live(Line &line)
    {
        B backend;
        barrier_.pass();
        for (unsigned round = 0; round < plan_.rounds; round++) {
            barrier_.pass();
            run_units(backend, line);
            barrier_.pass();
        }
        line.workload.finish(backend);
    }

    void run_units(B &backend, Line &line)
    {
        switch (plan_.threads) {
        case Threads::kOne:
        case Threads::kOwn:
            do_all(backend, line, line, line);
            return;
        case Threads::kSwap:
            do_all(backend, line, line, *lines_[1 - line.index]);
            return;
        case Threads::kPass:
        case Threads::kThree:
            if (line.index < makers())
                for (uint64_t i = 0; i < units_; i++)
                    make(backend, line);
            else
                drop_all(backend, line);
        }
    }

    void make(B &backend, Line &line)
    {
        Unit *unit = line.channel.empty();
        line.clock.begin(kMake);
        line.workload.make(backend, unit);
        line.clock.pause();
        line.channel.give();
    }

    void drop(B &backend, Line &line, Channel<Unit> &channel)
    {
        Unit *unit = channel.full();
        line.clock.begin(kUse);
        line.good &= line.workload.use(backend, unit, line.clock);
        line.clock.begin(kDrop);
        line.workload.drop(backend, unit);
        line.clock.pause();
        channel.take_back();
    }

    void do_all(B &backend, Line &line, Line &own, Line &other)
    {
        for (uint64_t i = 0; i < units_; i++) {
            make(backend, own);
            drop(backend, line, other.channel);
        }
    }

    void drop_all(B &backend, Line &line)
    {
        for (uint64_t left = units_ * makers(); left > 0;) {
            uint64_t before = left;
            for (unsigned maker = 0; maker < makers(); maker++)
                if (lines_[maker]->channel.has_full()) {
                    drop(backend, line, lines_[maker]->channel);
                    left--;
                }
            if (left == before)
                sched_yield();
        }
    }

    const Plan plan_;
    Barrier barrier_;
    uint64_t units_;
    std::vector<std::unique_ptr<Line>> lines_;
};

template <template <class> class W, class Shape> struct RunShape {
    const Shape &shape;
    const Plan &plan;
    Measured *measured;

    template <class B> void visit()
    {
        Drive<W<B>, B>(shape, plan).run(measured);
    }
};

/* A row of the workload W<B> in this shape. */
template <template <class> class W, class Shape> Row row_of(const std::string &name, Set set, Shape shape)
{
    return {name, set, [shape](const std::string &backend, const Plan &plan, Measured *measured) {
                RunShape<W, Shape> run{shape, plan, measured};
                return WithPeers<>::visit_named(backend, run) && !measured->rounds.empty();
            }};
}

} // namespace bench::use

#endif
