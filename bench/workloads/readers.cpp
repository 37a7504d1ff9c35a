/* SPDX-License-Identifier: MIT
 *
 *     readers   a table of 4096 objects of 48 bytes. Half of the threads read: again and again a thread walks along 64
 *               slots, looks at each object, and lets go. The others write: a thread replaces objects at random places
 *               of the table, 32 at a time, and frees what it took out. A reader that finds an object that is not
 *               whole, because its memory is in use for another one, ends the benchmark with an error. An iteration
 *               lasts 10 ms
 *
 * Backends:
 *
 *     qsbr        readers take no lock and pass a quiescent state after each walk; writers call fl_free_deferred
 *     bp          a walk is a read-side section; writers call fl_free_deferred
 *     rwlock      a walk holds a pthread_rwlock_t for reading; a replacement holds it for writing, and calls
 *                 fl_free_sized at once
 *     rwlock-w    the same with a lock that prefers writers, because the default one may let them starve
 *
 * s_per_op is wall seconds per object read. reads_per_s and writes_per_s count objects, all threads taken together.
 * in_flight_mean is the mean of the bytes in flight at the end of each iteration.
 */

/* needs: liburcu */
#include "time/harness.h"
#include "workloads/grace.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <thread>

namespace bench
{

namespace
{

constexpr uint32_t kSlots = 4096;
constexpr uint32_t kWalk = 64;
constexpr unsigned kReplacements = 32;
constexpr auto kWindow = std::chrono::milliseconds(10);

using Table = std::array<std::atomic<uint64_t *>, kSlots>;

bool is_whole(const uint64_t *object)
{
    return __atomic_load_n(&object[0], __ATOMIC_RELAXED) == ~__atomic_load_n(&object[1], __ATOMIC_RELAXED);
}

/* Makes an object, which is not whole meanwhile. */
void fill(uint64_t *object, uint64_t stamp)
{
    __atomic_store_n(&object[1], stamp, __ATOMIC_RELAXED);
    __atomic_store_n(&object[0], stamp, __ATOMIC_RELAXED);
    keep(object);
    __atomic_store_n(&object[1], ~stamp, __ATOMIC_RELAXED);
}

/* A heap with grace periods; readers take no lock. */
template <enum fl_grace Grace> class ByGracePeriods
{
  public:
    static const char *name()
    {
        return Grace == FL_GRACE_BP ? "bp" : "qsbr";
    }
    class Thread
    {
      public:
        explicit Thread(ByGracePeriods &all) : thread_(all.heap_)
        {
        }
        template <class Read> void read(Read walk)
        {
            thread_.pause(walk);
        }
        uint64_t *alloc()
        {
            return static_cast<uint64_t *>(fl_alloc(thread_.thread(), kDeferSize));
        }
        void replace(std::atomic<uint64_t *> &slot, uint64_t *object)
        {
            free(slot.exchange(object, std::memory_order_acq_rel));
        }
        void free(uint64_t *object)
        {
            fl_free_deferred(thread_.thread(), object, kDeferSize);
        }
        void wrote()
        {
            thread_.pause([] {});
        }

      private:
        GraceThread<Grace> thread_;
    };
    size_t in_flight() const
    {
        return heap_.in_flight();
    }

  private:
    GraceHeap<Grace> heap_;
};

/* The default heap and a lock. */
template <int Kind> class ByLock
{
  public:
    static const char *name()
    {
        return Kind == PTHREAD_RWLOCK_DEFAULT_NP ? "rwlock" : "rwlock-w";
    }
    ByLock()
    {
        pthread_rwlockattr_t attributes;
        pthread_rwlockattr_init(&attributes);
        pthread_rwlockattr_setkind_np(&attributes, Kind);
        pthread_rwlock_init(&lock_, &attributes);
        pthread_rwlockattr_destroy(&attributes);
    }
    ~ByLock()
    {
        pthread_rwlock_destroy(&lock_);
    }
    class Thread
    {
      public:
        explicit Thread(ByLock &all) : lock_(&all.lock_)
        {
        }
        template <class Read> void read(Read walk)
        {
            pthread_rwlock_rdlock(lock_);
            walk();
            pthread_rwlock_unlock(lock_);
        }
        uint64_t *alloc()
        {
            return static_cast<uint64_t *>(backend_.alloc(kDeferSize, nullptr));
        }
        void replace(std::atomic<uint64_t *> &slot, uint64_t *object)
        {
            pthread_rwlock_wrlock(lock_);
            uint64_t *old = slot.exchange(object, std::memory_order_relaxed);
            pthread_rwlock_unlock(lock_);
            free(old);
        }
        void free(uint64_t *object)
        {
            backend_.free(object, kDeferSize);
        }
        void wrote()
        {
        }

      private:
        pthread_rwlock_t *const lock_;
        Freelane backend_;
    };
    size_t in_flight() const
    {
        return 0;
    }

  private:
    pthread_rwlock_t lock_;
};

/* What the threads of one benchmark share. */
template <class B> struct Shared {
    B backend;
    Table table = {};
    std::atomic<bool> whole{true};
    std::atomic<uint64_t> reads{0}, writes{0};
    /* Of one window. */
    std::atomic<unsigned> ready{0};
    std::atomic<bool> begun{false}, ended{false};

    void wait_for_begin()
    {
        ready++;
        while (!begun)
            sched_yield();
    }
};

template <class B> void read_window(Shared<B> &shared)
{
    typename B::Thread thread(shared.backend);
    bool whole = true;
    uint64_t count = 0;
    uint32_t from = 0;
    shared.wait_for_begin();
    while (!shared.ended.load(std::memory_order_relaxed)) {
        thread.read([&] {
            for (uint32_t i = from; i < from + kWalk; i++)
                whole &= is_whole(shared.table[i].load(std::memory_order_acquire));
        });
        from = (from + kWalk) % kSlots;
        count += kWalk;
    }
    shared.reads += count;
    if (!whole)
        shared.whole = false;
}

template <class B> void write_window(Shared<B> &shared, uint64_t random)
{
    typename B::Thread thread(shared.backend);
    uint64_t count = 0;
    shared.wait_for_begin();
    while (!shared.ended.load(std::memory_order_relaxed)) {
        for (unsigned i = 0; i < kReplacements; i++) {
            uint64_t *object = thread.alloc();
            fill(object, random);
            thread.replace(shared.table[random_below(&random, kSlots)], object);
        }
        thread.wrote();
        count += kReplacements;
        wait_a_moment();
    }
    shared.writes += count;
}

/* Half of the threads read for one window, the others write. Returns how long it was, in seconds. */
template <class B> double run_window(Shared<B> &shared, unsigned threads, uint64_t random)
{
    shared.ready = 0;
    shared.begun = shared.ended = false;
    std::vector<std::thread> running;
    for (unsigned i = 0; i < threads; i += 2) {
        running.emplace_back([&shared] { read_window(shared); });
        running.emplace_back([&shared, random, i] { write_window(shared, random + i); });
    }
    while (shared.ready < threads)
        sched_yield();
    auto start = std::chrono::steady_clock::now();
    shared.begun = true;
    std::this_thread::sleep_for(kWindow);
    shared.ended = true;
    std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    for (std::thread &thread : running)
        thread.join();
    return seconds.count();
}

template <class B> void run_readers(benchmark::State &state, unsigned threads)
{
    Shared<B> shared;
    {
        typename B::Thread thread(shared.backend);
        for (std::atomic<uint64_t *> &slot : shared.table)
            fill(slot = thread.alloc(), 0);
    }
    uint64_t windows = 0, in_flight = 0;
    double seconds = 0;
    for (auto _ : state) {
        seconds += run_window(shared, threads, ++windows);
        in_flight += shared.backend.in_flight();
    }
    state.counters["s_per_op"] = seconds / static_cast<double>(std::max<uint64_t>(shared.reads, 1));
    state.counters["reads_per_s"] = static_cast<double>(shared.reads) / seconds;
    state.counters["writes_per_s"] = static_cast<double>(shared.writes) / seconds;
    state.counters["in_flight_mean"] = static_cast<double>(in_flight) / static_cast<double>(windows);
    if (!shared.whole)
        fail(state, "a reader saw an object that was not whole");
    typename B::Thread thread(shared.backend);
    for (std::atomic<uint64_t *> &slot : shared.table)
        thread.free(slot);
}

template <class B> void add_one()
{
    for (unsigned threads : {2u, 4u})
        bench::add(
            "readers", std::string(B::name()) + "/threads:" + std::to_string(threads),
            [threads](benchmark::State &state) { run_readers<B>(state, threads); },
            [](const benchmark::State &) { Freelane::purge(); });
}

void add()
{
    add_one<ByGracePeriods<FL_GRACE_QSBR>>();
    add_one<ByGracePeriods<FL_GRACE_BP>>();
    add_one<ByLock<PTHREAD_RWLOCK_DEFAULT_NP>>();
    add_one<ByLock<PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP>>();
}

const ReportTable kReaders = {
    5,
    "Readers beside writers",
    "Half of the threads read a table, in sections of 64 objects; the others replace objects, 32 "
    "about every 100 µs. With "
    "a reader-writer lock (rwlock-w prefers writers) objects are freed at once.",
    {{"reads_per_s", "million reads/s", "million"},
     {"writes_per_s", "thousand replaced/s", "thousand"},
     {"in_flight_mean", "in flight, mean", "MiB"}}};
const Workloads registered(kReaders, add);

} // namespace

} // namespace bench
