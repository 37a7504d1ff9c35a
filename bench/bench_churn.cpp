/* SPDX-License-Identifier: MIT
 *
 *     churn        a thread starts, allocates 20 blocks each of 24, 48, 64, 128 and 400 bytes, touches them, frees
 *                  them in the same order, and ends; one such thread after the other in each thread of the
 *                  benchmark, one per iteration. `none` is a thread that starts and ends
 *     churn/5000   the same with 1000 blocks of each size, 650 KB: what outlives a thread is the next one's
 */
#include "harness.h"

#include <thread>
#include <type_traits>

namespace bench
{

namespace
{

constexpr size_t kChurnSizes[] = {24, 48, 64, 128, 400};
constexpr unsigned kSizes = sizeof kChurnSizes / sizeof *kChurnSizes;

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

template <class B, unsigned kEach> void run_churn(benchmark::State &state)
{
    WallClock clock;
    for (auto _ : state) {
        clock.start();
        std::thread(life<B, kEach>).join();
    }
    clock.report(state,
                 static_cast<uint64_t>(state.iterations()) * static_cast<uint64_t>(state.threads()) * kEach * kSizes);
}

struct Add {
    template <class B> void visit()
    {
        add_workload<B>("churn", run_churn<B, 20>, kThreadCounts);
        add_workload<B>("churn/5000", run_churn<B, 1000>, kThreadCounts);
    }
};

} // namespace

void add_churn()
{
    SharedBackends::visit(Add());
}

} // namespace bench
