/* SPDX-License-Identifier: MIT
 *
 * The workload `sizes`: one thread, with the sizes of a running interpreter (size_mix.h, which record/ measured: 16 to
 * 400 bytes, most of them 32 to 64). An array holds n live objects. The thread frees the one at a random index,
 * allocates one of the next size in its place, and touches it. The sizes come from a shuffled table of 4096, which
 * holds each in proportion. The array keeps an object's size beside its pointer, where an interpreter would ask the
 * object's type.
 */
#ifndef FREELANE_BENCH_SIZES_H
#define FREELANE_BENCH_SIZES_H

#include "common/backends.h"
#include "common/size_mix.h"

#include <algorithm>
#include <vector>

namespace bench
{

/* The table of sizes. */
class SizeTable
{
  public:
    static constexpr size_t kCount = 4096;

    SizeTable()
    {
        size_t total = 0, before = 0;
        for (const SizeShare &share : kSizeMix)
            total += share.share;
        for (const SizeShare &share : kSizeMix) {
            size_t from = before * kCount / total;
            before += share.share;
            std::fill(sizes_ + from, sizes_ + before * kCount / total, static_cast<uint16_t>(share.bytes));
        }
        uint64_t random = 16;
        for (uint32_t i = kCount - 1; i > 0; i--)
            std::swap(sizes_[i], sizes_[random_below(&random, i + 1)]);
    }
    size_t operator[](size_t i) const
    {
        return sizes_[i % kCount];
    }

  private:
    uint16_t sizes_[kCount];
};

template <class B> class Sizes
{
  public:
    /* The array is made and touched here, before any block. */
    explicit Sizes(uint32_t n) : slots_(n)
    {
    }

    void fill(B &backend)
    {
        /* Chance makes it more at times, never twice as many. */
        for (const SizeShare &share : kSizeMix)
            backend.supply(share.bytes, slots_.size() * share.share / 5000 + 1000);
        for (Slot &slot : slots_) {
            slot.size = table_[next_++];
            touch(slot.block = backend.first(slot.size), next_);
        }
    }
    void replace(B &backend, uint64_t count)
    {
        uint64_t random = random_, next = next_;
        Slot *const slots = slots_.data();
        const uint32_t n = static_cast<uint32_t>(slots_.size());
        for (uint64_t i = 0; i < count; i++) {
            Slot &slot = slots[random_below(&random, n)];
            backend.free(slot.block, slot.size);
            slot.size = table_[next++];
            slot.block = backend.alloc(slot.size, slot.block);
            touch(slot.block, i);
        }
        random_ = random;
        next_ = next;
    }
    void clear(B &backend)
    {
        for (Slot &slot : slots_)
            backend.free(slot.block, slot.size);
    }

  private:
    struct Slot {
        void *block = nullptr;
        size_t size = 0;
    };
    SizeTable table_;
    std::vector<Slot> slots_;
    uint64_t random_ = 482;
    uint64_t next_ = 0;
};

} // namespace bench

#endif
