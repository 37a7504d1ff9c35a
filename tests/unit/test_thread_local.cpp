/* SPDX-License-Identifier: MIT
 *
 * Destructors of C++ thread_local objects that free through a handle: of objects older and younger than the handle.
 */
#include "require.h"

#include <freelane/freelane.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

namespace
{

constexpr size_t kSize = 48;
constexpr int kMany = 1000;

/* Frees what it holds when its thread ends. */
struct Holder {
    struct fl_thread *thread = nullptr;
    void *blocks[kMany] = {};

    void fill(struct fl_thread *with)
    {
        thread = with;
        for (void *&block : blocks)
            REQUIRE((block = fl_alloc(thread, kSize)) != nullptr);
    }

    ~Holder()
    {
        for (void *block : blocks)
            if (block != nullptr)
                fl_free_sized(thread, block, kSize);
        if (thread != nullptr)
            fl_free(thread, fl_alloc(thread, 50000));
    }
};

thread_local Holder older, younger;

void touch(Holder &holder)
{
    holder.thread = nullptr; /* constructs it */
}

void work(struct fl_heap *heap)
{
    touch(older);
    struct fl_thread *thread = heap == fl_heap_default() ? fl_thread_self() : fl_thread_attach(heap);
    fl_free(thread, fl_alloc(thread, kSize));
    if (heap == fl_heap_default())
        thread = fl_thread_self();
    touch(younger);
    older.fill(thread);
    younger.fill(thread);
}

struct fl_stats stats_of(struct fl_heap *heap)
{
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    return stats;
}

void check(struct fl_heap *heap)
{
    size_t live = stats_of(heap).live_blocks, threads = stats_of(heap).threads;
    std::thread(work, heap).join();
    REQUIRE(stats_of(heap).live_blocks == live);
    REQUIRE(stats_of(heap).threads == threads);
    char error[256];
    REQUIRE(fl_heap_check(heap, error, sizeof error) == 0);
}

} // namespace

int main()
{
    struct fl_heap *heap = fl_heap_create(nullptr, nullptr, 0);
    REQUIRE(heap != nullptr);
    check(heap);
    check(fl_heap_default());
    REQUIRE(fl_heap_destroy(heap) == 0);
    return 0;
}
