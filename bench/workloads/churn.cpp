/* SPDX-License-Identifier: MIT
 *
 *     churn        a thread starts, allocates 20 blocks each of 24, 48, 64, 128 and 400 bytes, touches them, frees them
 *                  in the same order, and ends. Each thread of the benchmark starts such threads one after the other.
 *                  With `none` a thread starts and ends
 *     churn/5000   the same with 1000 blocks of each size, 650 KB: the next thread uses what outlives a thread
 *
 * A thread takes 50 us to start and end, and that varies by more than an allocator takes for 100 blocks. Therefore 25
 * lives are followed by 25 empty ones. The counter net_s_per_op is how much longer the former took, per allocation and
 * free: the median of all such pairs of a run.
 */
#include "time/harness.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace bench
{

namespace
{

constexpr size_t kChurnSizes[] = {24, 48, 64, 128, 400};
constexpr unsigned kSizes = sizeof kChurnSizes / sizeof *kChurnSizes;

/* Lives of each thread between two looks at the clock, and how often at least there are so many, where they allocate
 * little. */
constexpr int kLives = 25, kLivesQuick = 1;
constexpr int kPairsLeast = 48;
constexpr unsigned kLittle = 20;

using Clock = std::chrono::steady_clock;

template <class B, unsigned kEach> void life()
{
    if constexpr (!std::is_same_v<B, None>) {
        B backend;
        void *blocks[kEach * kSizes];
        unsigned n = 0;
        for (size_t size : kChurnSizes)
            for (unsigned i = 0; i < kEach; i++)
                touch(blocks[n++] = backend.alloc(size, nullptr), i);
        n = 0;
        for (size_t size : kChurnSizes)
            for (unsigned i = 0; i < kEach; i++)
                backend.free(blocks[n++], size);
    }
}

class Barrier
{
  public:
    explicit Barrier(int threads)
    {
        pthread_barrier_init(&barrier_, nullptr, static_cast<unsigned>(threads));
    }
    ~Barrier()
    {
        pthread_barrier_destroy(&barrier_);
    }
    Barrier(const Barrier &) = delete;
    Barrier &operator=(const Barrier &) = delete;

    /* Waits until all threads are here, and returns when that was. */
    Clock::time_point pass()
    {
        pthread_barrier_wait(&barrier_);
        return Clock::now();
    }

  private:
    pthread_barrier_t barrier_;
};

/* The barrier of the benchmarks with so many threads. */
Barrier &barrier_of(int threads)
{
    static std::mutex lock;
    static std::map<int, Barrier> barriers;
    std::lock_guard<std::mutex> guard(lock);
    return barriers.try_emplace(threads, threads).first->second;
}

template <class B, unsigned kEach> void live(int count)
{
    for (int i = 0; i < count; i++)
        std::thread(life<B, kEach>).join();
}

double median(std::vector<double> *values)
{
    auto middle = values->begin() + static_cast<std::ptrdiff_t>(values->size() / 2);
    std::nth_element(values->begin(), middle, values->end());
    return *middle;
}

template <class B, unsigned kEach> void run_churn(benchmark::State &state)
{
    using Seconds = std::chrono::duration<double>;
    const int lives = quick ? kLivesQuick : kLives;
    const double operations = static_cast<double>(state.threads() * lives) * kEach * kSizes;
    Barrier &barrier = barrier_of(state.threads());
    Seconds all{};
    std::vector<double> net;
    Clock::time_point begin = barrier.pass();
    auto pair = [&] {
        live<B, kEach>(lives);
        Clock::time_point between = barrier.pass();
        live<None, kEach>(lives);
        Clock::time_point end = barrier.pass();
        Seconds with = between - begin, without = end - between;
        all += with;
        net.push_back((with - without).count() / operations);
        begin = end;
    };
    for (auto _ : state)
        pair();
    for (int i = static_cast<int>(state.iterations()); !quick && kEach <= kLittle && i < kPairsLeast; i++)
        pair();
    if (state.thread_index() != 0)
        return;
    state.counters["s_per_op"] = all.count() / (operations * static_cast<double>(net.size()));
    state.counters["net_s_per_op"] = median(&net);
}

struct Add {
    template <class B> void visit()
    {
        add_workload<B>("churn", run_churn<B, 20>, kThreadCounts);
        add_workload<B>("churn/5000", run_churn<B, 1000>, kThreadCounts);
    }
};

void add()
{
    SharedBackends::visit(Add());
}

const Workloads registered(kManyThreads, add);

} // namespace

} // namespace bench
