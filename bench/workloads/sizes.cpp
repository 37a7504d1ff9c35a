/* SPDX-License-Identifier: MIT
 *
 *     sizes          the workload of sizes.h with 4096 live objects, 1000 replacements per iteration
 *     sizes/500000   the same with 500 000, more than the processor's caches hold
 */
#include "time/harness.h"
#include "common/sizes.h"

namespace bench
{

namespace
{

constexpr unsigned kChunk = 1000;

template <class B, uint32_t kLive> void run_sizes(benchmark::State &state)
{
    B backend;
    Sizes<B> workload(kLive);
    workload.fill(backend);
    workload.replace(backend, 4 * uint64_t{kLive});
    for (auto _ : state)
        workload.replace(backend, kChunk);
    report(state, kChunk);
    workload.clear(backend);
}

struct Add {
    template <class B> void visit()
    {
        add_workload<B>("sizes", run_sizes<B, 4096>);
        if (!leaves_out_slow)
            add_workload<B>("sizes/500000", run_sizes<B, 500000>);
    }
};

void add()
{
    AllBackends::visit(Add());
}

const Workloads registered(kOneThread, add);

} // namespace

} // namespace bench
