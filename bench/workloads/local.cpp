/* SPDX-License-Identifier: MIT
 *
 * One thread, blocks of 48 bytes.
 *
 *     pair/48       allocate, touch, free at once; 1000 times per iteration
 *     batch/48/n    allocate n into an array and touch each at once; then free all n in the same order
 *     batch-ordered/48/n
 *                   the same, where no backend has freed anything in another order before
 *     random/48/n   with n live blocks in an array: free the one at a random index, allocate another in its place, and
 *                   touch it; 1000 times per iteration. The index comes from a linear congruential generator. The
 *                   thread does so 2n times before the clock starts (n / 8 with --quick)
 *     aged/48/n     the same, a thousand at a time: a thousand are allocated and touched, then those at a thousand
 *                   random indices are freed, and the new ones take their places. A thread that frees and allocates at
 *                   once gets the same block again, so its heap does not age. This heap ages
 *
 * The blocks of both batches are allocated and freed once before the clock starts. Each backend begins with n free
 * blocks, in the order that it keeps them in. For `batch` they are freed in random order, the same for all, because a
 * program that has run for a while leaves its heap like that. For `batch-ordered` they are freed in the order of their
 * allocation, as in a program that has just begun. Even a list then leads through memory in the order of addresses, and
 * the processor prefetches the next block.
 */
#include "time/harness.h"

namespace bench
{

namespace
{

constexpr size_t kSize = 48;
constexpr unsigned kChunk = 1000;

template <class B> void run_pair(benchmark::State &state)
{
    B backend;
    backend.supply(kSize, 1);
    void *was = backend.first(kSize);
    backend.free(was, kSize);
    for (auto _ : state) {
        for (unsigned i = 0; i < kChunk; i++) {
            void *block = backend.alloc(kSize, was);
            touch(block, i);
            backend.free(block, kSize);
        }
    }
    report(state, kChunk);
}

enum class Order { kRandom, kAllocated };

template <class B> void run_batch(benchmark::State &state, size_t n, Order order)
{
    B backend;
    backend.supply(kSize, n);
    std::vector<void *> array(n);
    void **const blocks = array.data();
    for (size_t i = 0; i < n; i++)
        touch(blocks[i] = backend.first(kSize), i);
    uint64_t random = 482;
    if (order == Order::kRandom)
        for (size_t i = n - 1; i > 0; i--)
            std::swap(blocks[i], blocks[random_below(&random, static_cast<uint32_t>(i + 1))]);
    for (size_t i = 0; i < n; i++)
        backend.free(blocks[i], kSize);
    for (auto _ : state) {
        for (size_t i = 0; i < n; i++) {
            blocks[i] = backend.alloc(kSize, blocks[i]);
            touch(blocks[i], i);
        }
        for (size_t i = 0; i < n; i++)
            backend.free(blocks[i], kSize);
    }
    report(state, n);
}

template <class B> void replace(B &backend, void **blocks, uint32_t n, uint64_t *random, unsigned count)
{
    uint64_t state = *random;
    for (unsigned i = 0; i < count; i++) {
        void *&slot = blocks[random_below(&state, n)];
        backend.free(slot, kSize);
        slot = backend.alloc(kSize, slot);
        touch(slot, i);
    }
    *random = state;
}

template <class B> void run_random(benchmark::State &state, uint32_t n)
{
    B backend;
    backend.supply(kSize, n);
    std::vector<void *> array(n);
    for (void *&slot : array)
        touch(slot = backend.first(kSize), n);
    uint64_t random = 482;
    replace(backend, array.data(), n, &random, quick ? n / 8 : 2 * n);
    for (auto _ : state)
        replace(backend, array.data(), n, &random, kChunk);
    report(state, kChunk);
    for (void *block : array)
        backend.free(block, kSize);
}

template <class B> void replace_batch(B &backend, void **blocks, uint32_t n, void **fresh, uint64_t *random)
{
    for (unsigned i = 0; i < kChunk; i++)
        touch(fresh[i] = backend.alloc(kSize, fresh[i]), i);
    for (unsigned i = 0; i < kChunk; i++) {
        void *&slot = blocks[random_below(random, n)];
        std::swap(slot, fresh[i]);
        backend.free(fresh[i], kSize);
    }
}

template <class B> void run_aged(benchmark::State &state, uint32_t n)
{
    B backend;
    backend.supply(kSize, n + kChunk);
    std::vector<void *> array(n), fresh(kChunk);
    for (void *&slot : array)
        touch(slot = backend.first(kSize), n);
    for (void *&block : fresh)
        backend.free(block = backend.first(kSize), kSize);
    uint64_t random = 482;
    for (uint32_t i = 0; i < (quick ? n / 8 : 10 * n); i += kChunk)
        replace_batch(backend, array.data(), n, fresh.data(), &random);
    for (auto _ : state)
        replace_batch(backend, array.data(), n, fresh.data(), &random);
    report(state, kChunk);
    for (void *block : array)
        backend.free(block, kSize);
}

struct Add {
    template <class B> void visit()
    {
        add_workload<B>("pair/48", run_pair<B>);
        for (size_t n : {100, 1000, 10000, 100000})
            add_workload<B>("batch/48/" + std::to_string(n),
                            [n](benchmark::State &state) { run_batch<B>(state, n, Order::kRandom); });
        for (size_t n : {1000, 100000})
            add_workload<B>("batch-ordered/48/" + std::to_string(n),
                            [n](benchmark::State &state) { run_batch<B>(state, n, Order::kAllocated); });
        for (uint32_t n : {10000u, 500000u})
            add_workload<B>("random/48/" + std::to_string(n),
                            [n](benchmark::State &state) { run_random<B>(state, n); });
        for (uint32_t n : {10000u, 500000u})
            if (n == 10000 || !leaves_out_slow)
                add_workload<B>("aged/48/" + std::to_string(n),
                                [n](benchmark::State &state) { run_aged<B>(state, n); });
    }
};

void add()
{
    AllBackends::visit(Add());
}

const Workloads registered(kOneThread, add);

} // namespace

} // namespace bench
