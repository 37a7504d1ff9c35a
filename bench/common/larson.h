/* SPDX-License-Identifier: MIT
 *
 * The workload `larson`, after Larson and Krishnan, "Memory allocation for long-running server applications" (ISMM
 * 1998). A thread inherits an array of 1000 live blocks of 16 to 512 bytes. 10 000 times it frees a random one,
 * allocates one of another random size in its place, and touches it. Then it leaves the array to a later thread, and
 * ends. Most blocks are freed by another thread than the one that allocated them.
 */
#ifndef FREELANE_BENCH_LARSON_H
#define FREELANE_BENCH_LARSON_H

#include "common/backends.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace bench
{

constexpr unsigned kLarsonReplacements = 10000;

template <class B> class LarsonArray
{
  public:
    LarsonArray(uint32_t slots, uint64_t seed) : slots_(slots), random_(seed)
    {
    }

    void fill(B &backend)
    {
        for (Slot &slot : slots_) {
            slot.size = next_size(&random_);
            touch(slot.block = backend.first(slot.size), 0);
        }
    }
    void replace(B &backend, unsigned count)
    {
        uint64_t random = random_;
        Slot *const slots = slots_.data();
        const uint32_t n = static_cast<uint32_t>(slots_.size());
        for (unsigned i = 0; i < count; i++) {
            Slot &slot = slots[random_below(&random, n)];
            backend.free(slot.block, slot.size);
            slot.size = next_size(&random);
            slot.block = backend.alloc(slot.size, slot.block);
            touch(slot.block, i);
        }
        random_ = random;
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
    static size_t next_size(uint64_t *random)
    {
        return 16 + random_below(random, 497);
    }

    std::vector<Slot> slots_;
    uint64_t random_;
};

/* The arrays of a server with `lines` lines of threads, and as many mailboxes. At the end of a life a thread puts its
 * array into a mailbox, of those in turn the next, and takes out what another line has left there. */
template <class B> class Larson
{
  public:
    Larson(unsigned lines, uint32_t slots) : held_(lines), lives_(lines), mailbox_(lines)
    {
        for (unsigned line = 0; line < lines; line++) {
            held_[line] = std::make_unique<LarsonArray<B>>(slots, 2 * line + 1).release();
            mailbox_[line] = std::make_unique<LarsonArray<B>>(slots, 2 * line + 2).release();
        }
    }
    ~Larson()
    {
        for (size_t line = 0; line < held_.size(); line++) {
            delete held_[line];
            delete mailbox_[line].load();
        }
    }
    Larson(const Larson &) = delete;
    Larson &operator=(const Larson &) = delete;

    void fill(B &backend, size_t line)
    {
        held_[line]->fill(backend);
        mailbox_[line].load()->fill(backend);
    }

    /* One life: a thread is born, does its replacements and ends; its array goes on to another line. */
    void live(size_t line, unsigned replacements = kLarsonReplacements)
    {
        std::thread([this, line, replacements] {
            B backend;
            held_[line]->replace(backend, replacements);
        }).join();
        held_[line] = mailbox_[(line + ++lives_[line]) % mailbox_.size()].exchange(held_[line]);
    }

    /* When no line lives any more. */
    void clear(B &backend, size_t line)
    {
        held_[line]->clear(backend);
        mailbox_[line].load()->clear(backend);
    }

  private:
    std::vector<LarsonArray<B> *> held_;
    std::vector<size_t> lives_;
    std::vector<std::atomic<LarsonArray<B> *>> mailbox_;
};

} // namespace bench

#endif
