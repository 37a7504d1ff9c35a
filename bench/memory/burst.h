/* SPDX-License-Identifier: MIT
 *
 * The workload `burst` of the program `memory`. Four threads allocate 512 MiB in all and touch each page of it. When
 * all have done so, each frees what its neighbour allocated, in an order of its own, and ends. Sizes are 16 bytes to 32
 * KiB, and each doubling of the size has the same share of the bytes.
 */
#ifndef FREELANE_BENCH_BURST_H
#define FREELANE_BENCH_BURST_H

#include "common/backends.h"

#include <pthread.h>

#include <algorithm>
#include <thread>
#include <vector>

namespace bench
{

constexpr unsigned kBurstThreads = 4;

struct BurstSlot {
    void *block;
    uint32_t size;
};

/* One thread's blocks; the array is made and touched here, before any block. */
class BurstSlots
{
  public:
    BurstSlots(size_t bytes, uint64_t seed)
    {
        constexpr unsigned kDoublings = 11;
        for (unsigned doubling = 0; doubling < kDoublings; doubling++) {
            uint32_t least = 16u << doubling;
            for (size_t sum = 0; sum < bytes / kDoublings;) {
                uint32_t size = least + random_below(&seed, least) + 1;
                slots_.push_back({nullptr, size});
                sum += size;
            }
        }
        shuffle(&seed);
        seed_ = seed;
    }
    void shuffle()
    {
        shuffle(&seed_);
    }
    std::vector<BurstSlot> &slots()
    {
        return slots_;
    }

  private:
    void shuffle(uint64_t *seed)
    {
        for (size_t i = slots_.size(); i > 1; i--)
            std::swap(slots_[i - 1], slots_[random_below(seed, static_cast<uint32_t>(i))]);
    }

    std::vector<BurstSlot> slots_;
    uint64_t seed_;
};

/* Writes to every page of a block. */
inline void touch_pages(void *block, size_t size)
{
    for (size_t at = 0; at < size; at += 4096)
        static_cast<volatile char *>(block)[at] = 1;
    touch(block, size);
}

template <class B> class Burst
{
  public:
    explicit Burst(size_t bytes)
    {
        for (unsigned i = 0; i < kBurstThreads; i++)
            shares_.emplace_back(bytes / kBurstThreads, i + 1);
        pthread_barrier_init(&all_allocated_, nullptr, kBurstThreads);
    }
    ~Burst()
    {
        pthread_barrier_destroy(&all_allocated_);
    }
    Burst(const Burst &) = delete;
    Burst &operator=(const Burst &) = delete;

    bool run()
    {
        std::vector<std::thread> threads;
        for (unsigned i = 0; i < kBurstThreads; i++)
            threads.emplace_back([this, i] { live(shares_[i], shares_[(i + 1) % kBurstThreads]); });
        for (std::thread &thread : threads)
            thread.join();
        return true;
    }

  private:
    void live(BurstSlots &own, BurstSlots &neighbours)
    {
        B backend;
        for (BurstSlot &slot : own.slots())
            touch_pages(slot.block = backend.alloc(slot.size, nullptr), slot.size);
        own.shuffle();
        pthread_barrier_wait(&all_allocated_);
        for (BurstSlot &slot : neighbours.slots())
            backend.free(slot.block, slot.size);
    }

    std::vector<BurstSlots> shares_;
    pthread_barrier_t all_allocated_;
};

} // namespace bench

#endif
