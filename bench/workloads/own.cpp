/* SPDX-License-Identifier: MIT
 *
 *     own/48/10000    each thread allocates 10 000 blocks of 48 bytes, touches them, and frees them in the same order.
 *                     No block meets another thread: the workload shows what unrelated threads cost each other. Each
 *                     thread does so three times before the clock starts
 *     own/32768/128   the same with 128 of the largest blocks
 */
#include "time/harness.h"

namespace bench
{

namespace
{

template <class B, size_t kSize> void go_up_and_down(B &backend, std::vector<void *> &blocks, uint64_t stamp)
{
    for (void *&block : blocks)
        touch(block = backend.alloc(kSize, block), stamp);
    for (void *block : blocks)
        backend.free(block, kSize);
}

template <class B, size_t kSize, size_t kBlocks> void run_own(benchmark::State &state)
{
    B backend;
    backend.supply(kSize, kBlocks);
    WallClock clock;
    std::vector<void *> blocks(kBlocks);
    for (void *&block : blocks)
        touch(block = backend.first(kSize), 0);
    for (void *block : blocks)
        backend.free(block, kSize);
    for (unsigned i = 0; i < 3; i++)
        go_up_and_down<B, kSize>(backend, blocks, i);
    uint64_t stamp = 0;
    for (auto _ : state) {
        clock.start();
        go_up_and_down<B, kSize>(backend, blocks, stamp++);
    }
    clock.report(state, stamp * static_cast<uint64_t>(state.threads()) * kBlocks);
}

struct Add {
    template <class B> void visit()
    {
        std::vector<int> threads = {1};
        threads.insert(threads.end(), kThreadCounts.begin(), kThreadCounts.end());
        add_workload<B>("own/48/10000", run_own<B, 48, 10000>, threads);
        if (!leaves_out_slow)
            add_workload<B>("own/32768/128", run_own<B, 32768, 128>, threads);
    }
};

void add()
{
    SharedBackends::visit(Add());
}

const Workloads registered(kManyThreads, add);

} // namespace

} // namespace bench
