/* SPDX-License-Identifier: MIT
 *
 * The workloads `fork` and `fork/heaps` of the program `latency`: what a fork costs another thread. One thread forks, with
 * 2 GiB in blocks of 512 bytes that it has written; or with 500 heaps beside the one at work, of which each has served
 * it. Another allocates and frees all the time, 32 operations at a time, and keeps up to 20 000 blocks. What such a turn
 * takes beyond 20 us, while a fork is under way, is lost. Other allocators have no heaps to make: theirs are the figures
 * of a program that has as little memory.
 *
 * And `fork/many`: how long the call of fork takes with 10 000 such heaps, in a process with one thread.
 */
#ifndef FREELANE_BENCH_FORKS_H
#define FREELANE_BENCH_FORKS_H

#include "common/backends.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

namespace bench
{

/* Heaps that have served the thread, where the allocator has heaps. */
template <class B> struct Heaps {
    explicit Heaps(unsigned)
    {
    }
};

template <> class Heaps<Freelane>
{
  public:
    explicit Heaps(unsigned count)
    {
        for (unsigned i = 0; i < count; i++) {
            struct fl_heap *heap = fl_heap_create(nullptr, nullptr, 0);
            struct fl_thread *thread = heap ? fl_thread_attach(heap) : nullptr;
            std::memset(require(thread ? fl_alloc(thread, 64) : nullptr), 1, 64);
            heaps_.push_back({heap, thread});
        }
    }
    ~Heaps()
    {
        for (auto [heap, thread] : heaps_) {
            fl_thread_detach(thread);
            fl_heap_destroy(heap);
        }
    }
    Heaps(const Heaps &) = delete;
    Heaps &operator=(const Heaps &) = delete;

  private:
    std::vector<std::pair<struct fl_heap *, struct fl_thread *>> heaps_;
};

/* Milliseconds that the call of fork takes with so many heaps, sorted. Empty if a fork was refused. */
template <class B> std::vector<double> time_forks(unsigned heaps, unsigned forks)
{
    Heaps<B> made(heaps);
    std::vector<double> taken;
    for (unsigned i = 0; i < forks; i++) {
        auto before = std::chrono::steady_clock::now();
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        taken.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - before).count());
        if (child < 0 || waitpid(child, nullptr, 0) != child)
            return {};
    }
    std::sort(taken.begin(), taken.end());
    return taken;
}

template <class B> class Forks
{
  public:
    Forks(size_t bytes, unsigned heaps, unsigned forks) : heaps_(heaps), written_(bytes / kSize), forks_(forks)
    {
    }

    /* Milliseconds that the other thread loses to each fork, sorted. Empty if a fork was refused. */
    std::vector<double> run()
    {
        B backend;
        for (void *&block : written_)
            std::memset(block = require(backend.alloc(kSize, nullptr)), 1, kSize);
        std::thread other([this] { work(); });
        std::vector<double> lost;
        for (unsigned i = 0; i < forks_ && fork_once(); i++)
            lost.push_back(1e3 * lost_.exchange(0));
        done_ = true;
        other.join();
        for (void *block : written_)
            backend.free(block, kSize);
        std::sort(lost.begin(), lost.end());
        return lost.size() == forks_ ? lost : std::vector<double>();
    }

  private:
    using Clock = std::chrono::steady_clock;
    static constexpr size_t kSize = 512, kKept = 20000;
    static constexpr double kNotLost = 20e-6;

    /* Returns whether there was a child, and waits for its end. */
    bool fork_once()
    {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        forking_ = true;
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        std::this_thread::sleep_for(std::chrono::milliseconds(1)); /* the other ends its turn */
        forking_ = false;
        return child > 0 && waitpid(child, nullptr, 0) == child;
    }

    void work()
    {
        B backend;
        std::vector<void *> kept(kKept);
        uint64_t seed = 1;
        while (!done_) {
            bool forking = forking_;
            Clock::time_point before = Clock::now();
            take_turn(backend, kept, &seed);
            double seconds = std::chrono::duration<double>(Clock::now() - before).count();
            if ((forking || forking_) && seconds > kNotLost)
                lost_ = lost_ + seconds;
        }
        for (size_t i = 0; i < kKept; i++)
            if (kept[i])
                backend.free(kept[i], size_of(i));
    }

    static void take_turn(B &backend, std::vector<void *> &kept, uint64_t *seed)
    {
        for (unsigned i = 0; i < 32; i++) {
            uint32_t at = random_below(seed, kKept);
            if (kept[at]) {
                backend.free(kept[at], size_of(at));
                kept[at] = nullptr;
            } else {
                touch(kept[at] = require(backend.alloc(size_of(at), nullptr)), at);
            }
        }
    }

    static size_t size_of(size_t at)
    {
        return 16u << at % 6;
    }

    Heaps<B> heaps_;
    std::vector<void *> written_;
    unsigned forks_;
    std::atomic<bool> forking_{false}, done_{false};
    std::atomic<double> lost_{0};
};

} // namespace bench

#endif
