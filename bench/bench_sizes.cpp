/* SPDX-License-Identifier: MIT
 *
 *     sizes   the workload of sizes.h with 4096 live objects, 1000 replacements per iteration
 */
#include "harness.h"
#include "sizes.h"

namespace bench
{

namespace
{

constexpr uint32_t kLive = 4096;
constexpr unsigned kChunk = 1000;

template <class B> void run_sizes(benchmark::State &state)
{
    B backend;
    Sizes<B> workload(kLive);
    workload.fill(backend);
    workload.replace(backend, 4 * kLive);
    for (auto _ : state)
        workload.replace(backend, kChunk);
    report(state, kChunk);
    workload.clear(backend);
}

struct Add {
    template <class B> void visit()
    {
        add_workload<B>("sizes", run_sizes<B>);
    }
};

} // namespace

void add_sizes()
{
    AllBackends::visit(Add());
}

} // namespace bench
