/* SPDX-License-Identifier: MIT
 *
 * The workloads `quiet/silence` and `quiet/trickle` of the program `memory`. Four threads allocate 1 GiB in all, in
 * blocks of 48 to 1024 bytes, write to all of it and free it, in three waves. Then they live on and do nothing; or one
 * of them allocates a block each millisecond and frees the one it allocated a thousand blocks before. Resident memory
 * is taken each second.
 */
#ifndef FREELANE_BENCH_QUIET_H
#define FREELANE_BENCH_QUIET_H

#include "common/backends.h"
#include "common/process_memory.h"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

namespace bench
{

constexpr unsigned kQuietThreads = 4;

template <class B> class Quiet
{
  public:
    Quiet(size_t bytes, unsigned seconds, bool trickles) : bytes_(bytes), seconds_(seconds), trickles_(trickles)
    {
        pthread_barrier_init(&all_freed_, nullptr, kQuietThreads + 1);
    }
    ~Quiet()
    {
        pthread_barrier_destroy(&all_freed_);
    }
    Quiet(const Quiet &) = delete;
    Quiet &operator=(const Quiet &) = delete;

    /* Resident bytes when all was freed, and after each second. */
    std::vector<uint64_t> run()
    {
        std::vector<std::thread> threads;
        for (unsigned i = 0; i < kQuietThreads; i++)
            threads.emplace_back([this, i] { live(i); });
        pthread_barrier_wait(&all_freed_);
        std::vector<uint64_t> taken = {resident()};
        for (unsigned second = 0; second < seconds_; second++) {
            std::this_thread::sleep_for(std::chrono::seconds(1));
            taken.push_back(resident());
        }
        done_ = true;
        for (std::thread &thread : threads)
            thread.join();
        return taken;
    }

  private:
    /* A block, linked to the one before. */
    struct Node {
        Node *next;
        size_t size;
    };

    static constexpr unsigned kWaves = 3, kTrickling = 1000;
    static constexpr uint32_t kLeast = 48, kMost = 1024;

    static Node *make(B &backend, uint64_t *seed, Node *next)
    {
        size_t size = kLeast + random_below(seed, kMost - kLeast + 1);
        Node *node = static_cast<Node *>(require(backend.alloc(size, nullptr)));
        std::memset(node, 1, size);
        *node = {next, size};
        return node;
    }

    void wave(B &backend, uint64_t *seed)
    {
        Node *list = nullptr;
        for (size_t made = 0; made < bytes_ / kQuietThreads; made += list->size)
            list = make(backend, seed, list);
        while (list) {
            Node *next = list->next;
            backend.free(list, list->size);
            list = next;
        }
    }

    void live(unsigned number)
    {
        B backend;
        uint64_t seed = number + 1;
        for (unsigned i = 0; i < kWaves; i++)
            wave(backend, &seed);
        pthread_barrier_wait(&all_freed_);
        Node *recent[kTrickling] = {};
        for (uint64_t i = 0; !done_; i++) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
            if (trickles_ && number == 0)
                replace(backend, &seed, &recent[i % kTrickling]);
        }
        for (Node *node : recent)
            if (node)
                backend.free(node, node->size);
    }

    static void replace(B &backend, uint64_t *seed, Node **node)
    {
        if (*node)
            backend.free(*node, (*node)->size);
        *node = make(backend, seed, nullptr);
    }

    size_t bytes_;
    unsigned seconds_;
    bool trickles_;
    std::atomic<bool> done_{false};
    pthread_barrier_t all_freed_;
};

} // namespace bench

#endif
