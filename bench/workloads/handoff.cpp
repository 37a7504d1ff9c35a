/* SPDX-License-Identifier: MIT
 *
 *     handoff   the workload of handoff.h: the even threads allocate, the odd ones free, each pair with a ring of its
 *               own; 4096 blocks per pair and iteration
 */
#include "common/handoff.h"
#include "time/harness.h"

#include <array>

namespace bench
{

namespace
{

constexpr size_t kChunk = 4096;

template <class B> void run_handoff(benchmark::State &state, std::vector<std::unique_ptr<Ring>> &rings)
{
    B backend;
    WallClock clock;
    Ring &ring = *rings[static_cast<size_t>(state.thread_index()) / 2];
    bool producer = state.thread_index() % 2 == 0;
    uint64_t stamp = 0, wrong = 0;
    std::vector<void *> old(kOldCount);
    if (producer)
        for (void *&block : old)
            block = backend.first(kHandoffSize);
    for (auto _ : state) {
        clock.start();
        if (producer)
            handoff_produce(backend, ring, old.data(), stamp, kChunk);
        else
            wrong += handoff_consume(backend, ring, stamp, kChunk);
        stamp += kChunk;
    }
    clock.report(state, stamp * static_cast<uint64_t>(state.threads()) / 2);
    if (producer)
        for (void *block : old)
            backend.free(block, kHandoffSize);
    if (wrong)
        fail(state, "a block did not hold what was written");
}

struct Add {
    template <class B> void visit()
    {
        auto rings = std::make_shared<std::vector<std::unique_ptr<Ring>>>();
        for (int pair = 0; pair < kThreadCounts.back() / 2; pair++)
            rings->push_back(std::make_unique<Ring>());
        add_workload<B>(
            "handoff", [rings](benchmark::State &state) { run_handoff<B>(state, *rings); }, kThreadCounts);
    }
};

void add()
{
    SharedBackends::visit(Add());
}

const Workloads registered(kManyThreads, add);

} // namespace

} // namespace bench
