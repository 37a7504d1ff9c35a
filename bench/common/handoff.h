/* SPDX-License-Identifier: MIT
 *
 * The workload `handoff`: one thread allocates blocks of 48 bytes, touches them and pushes their addresses into a ring.
 * Another thread pops them, reads what was written, and frees them. Each free is remote. All backends use the same
 * ring.
 */
#ifndef FREELANE_BENCH_HANDOFF_H
#define FREELANE_BENCH_HANDOFF_H

#include "common/backends.h"

#include <sched.h>

#include <atomic>
#include <memory>

namespace bench
{

/* A bounded ring of pointers, one producer, one consumer. Each end keeps a copy of the other's index and looks at
 * the real one only when the copy says full (or empty); then it gives the processor away until there is something
 * to do. The producer publishes every kPublish pushes. */
class Ring
{
  public:
    static constexpr size_t kCapacity = 1024;

    void push(void *pointer)
    {
        if (pushed_ - popped_seen_ == kCapacity)
            wait_for_room();
        slots_[pushed_ % kCapacity] = pointer;
        if (++pushed_ % kPublish == 0)
            flush();
    }

    /* Publishes what was pushed. */
    void flush()
    {
        published_.store(pushed_, std::memory_order_release);
    }

    void *pop()
    {
        if (popped_ == published_seen_)
            wait_for_pointer();
        void *pointer = slots_[popped_ % kCapacity];
        if (++popped_ % kPublish == 0)
            consumed_.store(popped_, std::memory_order_release);
        return pointer;
    }

  private:
    static constexpr size_t kPublish = 32;

    void wait_for_room()
    {
        while (pushed_ - (popped_seen_ = consumed_.load(std::memory_order_acquire)) == kCapacity)
            sched_yield();
    }
    void wait_for_pointer()
    {
        while (popped_ == (published_seen_ = published_.load(std::memory_order_acquire)))
            sched_yield();
    }

    alignas(128) std::atomic<size_t> published_{0};
    alignas(128) std::atomic<size_t> consumed_{0};
    alignas(128) size_t pushed_ = 0; /* the producer's */
    size_t popped_seen_ = 0;
    alignas(128) size_t popped_ = 0; /* the consumer's */
    size_t published_seen_ = 0;
    alignas(128) void *slots_[kCapacity];
};

constexpr size_t kHandoffSize = 48;

/* Allocates and pushes `count` blocks whose first words are stamped from `stamp` on. `old` are kOldCount blocks
 * that only `none` uses, again and again. */
constexpr size_t kOldCount = 2 * Ring::kCapacity;

template <class B> void handoff_produce(B &backend, Ring &ring, void *const *old, uint64_t stamp, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        void *block = backend.alloc(kHandoffSize, old[(stamp + i) % kOldCount]);
        touch(block, stamp + i);
        ring.push(block);
    }
    ring.flush();
}

/* Pops and frees `count` blocks. Returns how many did not hold what was written. */
template <class B> uint64_t handoff_consume(B &backend, Ring &ring, uint64_t stamp, size_t count)
{
    uint64_t wrong = 0;
    for (size_t i = 0; i < count; i++) {
        void *block = ring.pop();
        const uint64_t *words = static_cast<const uint64_t *>(block);
        wrong += (words[0] != stamp + i) | (words[1] != ~(stamp + i));
        backend.free(block, kHandoffSize);
    }
    return wrong;
}

} // namespace bench

#endif
