/* SPDX-License-Identifier: MIT
 *
 *     defer   one thread, objects of 48 bytes, as in batch/48/100000: it allocates 100 000 into an array and touches
 *             each at once. Then it defers or frees all of them in the same order, while readers may still look at
 *             them. After each 1000 operations the thread reads one object. With qsbr it then passes a quiescent state,
 *             as an interpreter does at its safepoints. The time includes all work and waiting of this thread until
 *             memory can be used again
 *
 * Backends:
 *
 *     qsbr          fl_free_deferred; fl_quiescent at safepoints
 *     bp            fl_free_deferred; a read-side section around the read
 *     call_rcu      malloc, and urcu_qsbr_call_rcu with a callback that calls free (call_rcu.h)
 *     call_rcu-bp   the same with liburcu's other flavor
 *     free          fl_free_sized, without a grace period
 *
 * ThreadSanitizer sees no order in what call_rcu does, so such builds leave it out.
 *
 * The counters are bytes in flight, which means deferred and not yet free: on average and at most, read every 10 000
 * deferrals.
 */

/* needs: liburcu */
#include "time/harness.h"
#include "workloads/call_rcu.h"

#include <algorithm>
#include <chrono>

namespace bench
{

namespace
{

constexpr size_t kCount = 100000;
constexpr size_t kBetween = 1000, kBetweenLooks = 10000;

template <enum fl_grace Grace> class Deferred
{
  public:
    static const char *name()
    {
        return Grace == FL_GRACE_BP ? "bp" : "qsbr";
    }
    void *alloc()
    {
        return fl_alloc(thread_.thread(), kDeferSize);
    }
    void free(void *block)
    {
        fl_free_deferred(thread_.thread(), block, kDeferSize);
    }
    template <class Read> void pause(Read read)
    {
        thread_.pause(read);
    }
    size_t in_flight() const
    {
        return heap_.in_flight();
    }

  private:
    GraceHeap<Grace> heap_;
    GraceThread<Grace> thread_{heap_};
};

class Free
{
  public:
    static const char *name()
    {
        return "free";
    }
    void *alloc()
    {
        return backend_.alloc(kDeferSize, nullptr);
    }
    void free(void *block)
    {
        backend_.free(block, kDeferSize);
    }
    template <class Read> void pause(Read read)
    {
        read();
    }
    size_t in_flight() const
    {
        return 0;
    }

  private:
    Freelane backend_;
};

struct InFlight {
    size_t sum = 0, looks = 0, peak = 0;

    void add(size_t bytes)
    {
        sum += bytes;
        looks++;
        peak = std::max(peak, bytes);
    }
};

constexpr uint64_t kNothing[2] = {};

void look(const void *object)
{
    keep(reinterpret_cast<const void *>(*static_cast<const volatile uint64_t *>(object)));
}

template <class B> void batch(B &backend, void **blocks, benchmark::State *state, InFlight *in_flight)
{
    for (size_t i = 0; i < kCount; i += kBetween) {
        for (size_t k = i; k < i + kBetween; k++)
            touch(blocks[k] = backend.alloc(), k);
        backend.pause([=] { look(blocks[i]); });
    }
    for (size_t i = 0; i < kCount; i += kBetween) {
        for (size_t k = i; k < i + kBetween; k++)
            backend.free(blocks[k]);
        if (state && (i + kBetween) % kBetweenLooks == 0) {
            state->PauseTiming();
            in_flight->add(backend.in_flight());
            state->ResumeTiming();
        }
        backend.pause([=] { look(i + kBetween < kCount ? blocks[i + kBetween] : &kNothing); });
    }
}

/* Until the heap has found out how much memory goes round. */
template <class B> void warm_up(B &backend, void **blocks)
{
    auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
    do {
        batch(backend, blocks, nullptr, nullptr);
        batch(backend, blocks, nullptr, nullptr);
    } while (std::chrono::steady_clock::now() < end);
}

template <class B> void run_defer(benchmark::State &state)
{
    B backend;
    std::vector<void *> array(kCount);
    InFlight in_flight;
    warm_up(backend, array.data());
    for (auto _ : state)
        batch(backend, array.data(), &state, &in_flight);
    report(state, kCount);
    state.counters["in_flight_mean"] = static_cast<double>(in_flight.sum) / static_cast<double>(in_flight.looks);
    state.counters["in_flight_peak"] = static_cast<double>(in_flight.peak);
}

template <class B> void add_one()
{
    bench::add("defer", B::name(), run_defer<B>, [](const benchmark::State &) { Freelane::purge(); });
}

void add()
{
    benchmark::AddCustomContext("liburcu", BENCH_RCU_VERSION);
    benchmark::AddCustomContext("call_rcu", kThreadSanitizer ? "none" : "here");
    add_one<Deferred<FL_GRACE_QSBR>>();
    add_one<Deferred<FL_GRACE_BP>>();
    if (!kThreadSanitizer) {
        add_one<CallRcu<QsbrFlavor>>();
        add_one<CallRcu<BpFlavor>>();
    }
    add_one<Free>();
}

const ReportTable kDeferred = {
    4,
    "Deferred frees",
    "Objects that readers may still be looking at are deferred, in heaps with the grace periods of liburcu, or given "
    "to "
    "call_rcu with a free for each object. The backend free waits for nobody. In flight is what is deferred and not "
    "free yet.",
    {{"s_per_op", "ns per alloc+free", "ns"},
     {"in_flight_mean", "in flight, mean", "MiB"},
     {"in_flight_peak", "at most", "MiB"}}};
const Workloads registered(kDeferred, add);

} // namespace

} // namespace bench
