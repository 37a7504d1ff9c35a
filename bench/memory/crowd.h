/* SPDX-License-Identifier: MIT
 *
 * The workload `crowd` of the program `memory`: 2000 threads are alive at once. Each allocates ten blocks of each of
 * ten sizes, 32 to 320 bytes, writes to them, frees them and sleeps; or it also gives back what it keeps, before it
 * sleeps.
 */
#ifndef FREELANE_BENCH_CROWD_H
#define FREELANE_BENCH_CROWD_H

#include "common/backends.h"
#include "common/process_memory.h"

#include <pthread.h>

#include <cstdlib>
#include <cstring>

namespace bench
{

template <class B> class Crowd
{
  public:
    Crowd(unsigned threads, bool gives_back) : threads_(threads), gives_back_(gives_back)
    {
        pthread_barrier_init(&asleep_, nullptr, threads + 1);
        pthread_barrier_init(&awake_, nullptr, threads + 1);
    }
    ~Crowd()
    {
        pthread_barrier_destroy(&asleep_);
        pthread_barrier_destroy(&awake_);
    }
    Crowd(const Crowd &) = delete;
    Crowd &operator=(const Crowd &) = delete;

    /* Resident bytes for each thread while all sleep, its stack included. */
    uint64_t run()
    {
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, 64 << 10);
        std::vector<pthread_t> ids(threads_);
        uint64_t start = resident();
        for (pthread_t &id : ids)
            if (pthread_create(&id, &attributes, live, this) != 0)
                std::abort();
        pthread_barrier_wait(&asleep_);
        uint64_t end = resident();
        pthread_barrier_wait(&awake_);
        for (pthread_t id : ids)
            pthread_join(id, nullptr);
        return (end > start ? end - start : 0) / threads_;
    }

  private:
    static constexpr unsigned kSizes = 10, kBlocks = 10, kStep = 32;

    static void *live(void *argument)
    {
        Crowd *crowd = static_cast<Crowd *>(argument);
        B backend;
        void *blocks[kSizes * kBlocks];
        for (unsigned i = 0; i < kSizes * kBlocks; i++) {
            blocks[i] = require(backend.alloc(size_of(i), nullptr));
            std::memset(blocks[i], 1, size_of(i));
        }
        for (unsigned i = 0; i < kSizes * kBlocks; i++)
            backend.free(blocks[i], size_of(i));
        if (crowd->gives_back_)
            backend.give_back();
        pthread_barrier_wait(&crowd->asleep_);
        pthread_barrier_wait(&crowd->awake_);
        return nullptr;
    }
    static size_t size_of(unsigned i)
    {
        return (i / kBlocks + 1) * kStep;
    }

    unsigned threads_;
    bool gives_back_;
    pthread_barrier_t asleep_, awake_;
};

} // namespace bench

#endif
