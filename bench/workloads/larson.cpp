/* SPDX-License-Identifier: MIT
 *
 *     larson   the workload of larson.h: each thread of the benchmark is a line of short-lived threads, one life per
 *              iteration; two arrays per line
 */
#include "common/larson.h"
#include "time/harness.h"

namespace bench
{

namespace
{

constexpr uint32_t kSlots = 1000;

template <class B> void run_larson(benchmark::State &state, Larson<B> &server)
{
    B backend;
    WallClock clock;
    size_t line = static_cast<size_t>(state.thread_index());
    server.fill(backend, line);
    for (auto _ : state) {
        clock.start();
        server.live(line);
    }
    clock.report(state, static_cast<uint64_t>(state.iterations()) * static_cast<uint64_t>(state.threads()) *
                            kLarsonReplacements);
    server.clear(backend, line);
}

/* One server per number of threads, made when its benchmark is added: it is empty between runs. */
struct Add {
    template <class B> void visit()
    {
        for (int threads : kThreadCounts) {
            auto server = std::make_shared<Larson<B>>(static_cast<unsigned>(threads), kSlots);
            add_workload<B>("larson", [server](benchmark::State &state) { run_larson<B>(state, *server); },
                            {threads});
        }
    }
};

void add()
{
    SharedBackends::visit(Add());
}

const Workloads registered(kManyThreads, add);

} // namespace

} // namespace bench
