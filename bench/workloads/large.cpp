/* SPDX-License-Identifier: MIT
 *
 *     large/33K     each thread allocates 16 blocks of 33 KiB, touches each of their pages, and frees them
 *     large/256K    the same with 8 blocks of 256 KiB
 *     large/2M      the same with 4 blocks of 2 MiB
 *     grow/64M      an array grows from 1 KiB to 64 MiB by half of its size at a time, each page touched as it comes,
 *                   and is freed; with fl_realloc and with realloc
 *
 * All of them are beside glibc's malloc alone.
 */
#include "time/harness.h"

#include <algorithm>
#include <cstdlib>

namespace bench
{

namespace
{

constexpr size_t kPage = 4096;

/* Writes to the pages that begin between two offsets of a block. */
void touch_pages(void *block, size_t from, size_t to, uint64_t stamp)
{
    for (size_t at = (from + kPage - 1) / kPage * kPage; at + sizeof stamp <= to; at += kPage)
        *reinterpret_cast<uint64_t *>(static_cast<char *>(block) + at) = stamp;
    keep(block);
}

template <class B, size_t kSize, size_t kBlocks> void go_up_and_down(B &backend, uint64_t stamp)
{
    void *blocks[kBlocks];
    for (void *&block : blocks)
        touch_pages(block = backend.first(kSize), 0, kSize, stamp);
    for (void *block : blocks)
        backend.free(block, kSize);
}

template <class B, size_t kSize, size_t kBlocks> void run_large(benchmark::State &state)
{
    B backend;
    WallClock clock;
    for (unsigned i = 0; i < 3; i++)
        go_up_and_down<B, kSize, kBlocks>(backend, i);
    uint64_t stamp = 0;
    for (auto _ : state) {
        clock.start();
        go_up_and_down<B, kSize, kBlocks>(backend, stamp++);
    }
    clock.report(state, stamp * static_cast<uint64_t>(state.threads()) * kBlocks);
}

constexpr size_t kFirst = 1024, kLast = 64 << 20;

struct OurRealloc {
    Freelane backend;
    void *operator()(void *block, size_t old_size, size_t size)
    {
        return fl_realloc(backend.thread(), block, old_size, size);
    }
    void free(void *block, size_t size)
    {
        backend.free(block, size);
    }
};

struct LibraryRealloc {
    void *operator()(void *block, size_t, size_t size)
    {
        return std::realloc(block, size);
    }
    void free(void *block, size_t)
    {
        std::free(block);
    }
};

template <class R> bool grow(R &reallocate, uint64_t stamp)
{
    void *array = nullptr;
    size_t size = 0;
    for (size_t next = kFirst; size < kLast; next = std::min(size + size / 2, kLast)) {
        void *grown = reallocate(array, size, next);
        if (!grown)
            break;
        touch_pages(array = grown, size, next, stamp);
        size = next;
    }
    reallocate.free(array, size);
    return size == kLast;
}

template <class R> void run_grow(benchmark::State &state)
{
    R reallocate;
    uint64_t stamp = 0;
    for (auto _ : state)
        if (!grow(reallocate, stamp++)) {
            fail(state, "the array does not grow to its end");
            return;
        }
    report(state, 1);
}

struct Add {
    template <class B> void visit()
    {
        const std::vector<int> threads = {1, 2, 8};
        add_workload<B>("large/33K", run_large<B, 33 << 10, 16>, threads);
        add_workload<B>("large/256K", run_large<B, 256 << 10, 8>, threads);
        add_workload<B>("large/2M", run_large<B, 2 << 20, 4>, threads);
    }
};

void add()
{
    Backends<Freelane, Pointers<kFreelaneCall>, Pointers<kGlibc>>::visit(Add());
    add_workload<Freelane>("grow/64M", run_grow<OurRealloc>);
    add_workload<Pointers<kGlibc>>("grow/64M", run_grow<LibraryRealloc>);
}

const Workloads registered(kManyThreads, add);

} // namespace

} // namespace bench
