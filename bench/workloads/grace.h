/* SPDX-License-Identifier: MIT
 *
 * Heaps with grace periods, as the workloads `defer` and `readers` use them: what a thread does from time to time, and
 * when it waits because too much is in flight.
 *
 *     qsbr    a thread is a reader all the time, and passes quiescent states
 *     bp      a thread is a reader in read-side sections, which are short
 *
 * A thread that has more than kDeferBytes in flight waits until half of that is left, so that no backend wins by
 * holding more memory.
 */
#ifndef FREELANE_BENCH_GRACE_H
#define FREELANE_BENCH_GRACE_H

#include <freelane/freelane.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>

namespace bench
{

constexpr size_t kDeferSize = 48;
constexpr size_t kDeferBytes = 64 << 20; /* the default of options.defer_bytes */

inline void wait_a_moment()
{
    struct timespec moment = {0, 50000};
    nanosleep(&moment, nullptr);
}

/* A heap and what is in flight in it. */
template <enum fl_grace Grace> class GraceHeap
{
  public:
    GraceHeap()
    {
        struct fl_options options = {};
        options.grace = Grace;
        options.defer_bytes = kDeferBytes;
        char error[200];
        heap_ = fl_heap_create(&options, error, sizeof error);
        if (!heap_) {
            std::fprintf(stderr, "fl_heap_create: %s\n", error);
            std::abort();
        }
        pressure_ = fl_heap_pressure(heap_);
    }
    ~GraceHeap()
    {
        fl_heap_destroy(heap_);
    }
    GraceHeap(const GraceHeap &) = delete;
    GraceHeap &operator=(const GraceHeap &) = delete;

    struct fl_heap *heap() const
    {
        return heap_;
    }
    bool has_pressure() const
    {
        return __atomic_load_n(pressure_, __ATOMIC_RELAXED) != 0;
    }
    size_t in_flight() const
    {
        static struct fl_stats stats;
        fl_heap_stats(heap_, &stats);
        return stats.deferred_bytes;
    }

  private:
    struct fl_heap *heap_;
    const unsigned char *pressure_;
};

/* A thread of such a heap. */
template <enum fl_grace Grace> class GraceThread
{
  public:
    explicit GraceThread(GraceHeap<Grace> &heap) : heap_(heap), thread_(fl_thread_attach(heap.heap()))
    {
        if (!thread_) {
            std::perror("fl_thread_attach");
            std::abort();
        }
    }
    ~GraceThread()
    {
        fl_thread_detach(thread_);
    }
    GraceThread(const GraceThread &) = delete;
    GraceThread &operator=(const GraceThread &) = delete;

    /* What a thread does every now and then: with qsbr it tells that it holds no pointers, with bp it reads
     * something. */
    template <class Read> void pause(Read read)
    {
        if constexpr (Grace == FL_GRACE_BP) {
            fl_read_lock(thread_);
            read();
            fl_read_unlock(thread_);
        } else {
            read();
            fl_quiescent(thread_);
        }
        while (heap_.has_pressure())
            fl_quiescent(thread_);
    }
    struct fl_thread *thread()
    {
        return thread_;
    }

  private:
    GraceHeap<Grace> &heap_;
    struct fl_thread *const thread_;
};

} // namespace bench

#endif
