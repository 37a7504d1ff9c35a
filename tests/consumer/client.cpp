/* SPDX-License-Identifier: MIT
 *
 * A client of the installed library, in C++: blocks move from one thread to another.
 */
#include <freelane/freelane.h>

#include <cstddef>
#include <cstdio>
#include <functional>
#include <thread>
#include <vector>

namespace
{

constexpr std::size_t block_bytes = 64;

void allocate(fl_heap *heap, std::vector<void *> &blocks)
{
    fl_thread *thread = fl_thread_attach(heap);
    for (void *&block : blocks)
        block = fl_alloc(thread, block_bytes);
    fl_thread_detach(thread);
}

std::size_t live_blocks(fl_heap *heap)
{
    static fl_stats stats;
    fl_heap_stats(heap, &stats);
    return stats.live_blocks;
}

} // namespace

int main()
{
    char error[200] = "";
    fl_heap *heap = fl_heap_create(nullptr, error, sizeof error);
    if (heap == nullptr) {
        std::fprintf(stderr, "client.cpp: %s\n", error);
        return 1;
    }
    std::vector<void *> blocks(1000);
    std::thread(allocate, heap, std::ref(blocks)).join();
    if (live_blocks(heap) != blocks.size())
        return 2;

    fl_thread *thread = fl_thread_attach(heap);
    for (void *block : blocks)
        fl_free_sized(thread, block, block_bytes);
    if (live_blocks(heap) != 0)
        return 3;
    fl_thread_detach(thread);
    return fl_heap_destroy(heap) == 0 ? 0 : 4;
}
