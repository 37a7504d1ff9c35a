/* SPDX-License-Identifier: MIT
 *
 * What a hardened heap costs: Freelane by default, on a heap with options.hardened, and glibc's malloc. One thread,
 * blocks of 48 bytes.
 *
 *     pair     allocate, touch, free at once; 1000 times per iteration
 *     batch    allocate 10 000 and touch each, then free all in the same order
 *     tree     a binary tree of 8191 nodes: built, then freed, children before their parent
 */
#include "time/harness.h"

namespace bench
{

namespace
{

constexpr size_t kSize = 48, kBatch = 10000;
constexpr unsigned kChunk = 1000, kLevels = 13;

class Hardened
{
  public:
    static void purge()
    {
    }

    Hardened()
    {
        struct fl_options options = {};
        options.hardened = true;
        heap_ = fl_heap_create(&options, nullptr, 0);
        thread_ = static_cast<struct fl_thread *>(require(heap_ ? fl_thread_attach(heap_) : nullptr));
    }
    ~Hardened()
    {
        fl_thread_detach(thread_);
        fl_heap_destroy(heap_);
    }
    Hardened(const Hardened &) = delete;
    Hardened &operator=(const Hardened &) = delete;

    void supply(size_t, size_t)
    {
    }
    void *alloc(size_t size, void *)
    {
        return fl_alloc(thread_, size);
    }
    void free(void *block, size_t size)
    {
        fl_free_sized(thread_, block, size);
    }

  private:
    struct fl_heap *heap_;
    struct fl_thread *thread_;
};

template <class B> void run_pair(benchmark::State &state)
{
    B backend;
    for (auto _ : state) {
        for (unsigned i = 0; i < kChunk; i++) {
            void *block = backend.alloc(kSize, nullptr);
            touch(block, i);
            backend.free(block, kSize);
        }
    }
    report(state, kChunk);
}

template <class B> void run_batch(benchmark::State &state)
{
    B backend;
    std::vector<void *> blocks(kBatch);
    for (auto _ : state) {
        for (void *&block : blocks)
            touch(block = backend.alloc(kSize, nullptr), kBatch);
        for (void *block : blocks)
            backend.free(block, kSize);
    }
    report(state, kBatch);
}

struct Node {
    Node *left, *right;
};

template <class B> Node *build(B &backend, unsigned levels)
{
    Node *node = static_cast<Node *>(require(backend.alloc(kSize, nullptr)));
    node->left = levels > 1 ? build(backend, levels - 1) : nullptr;
    node->right = levels > 1 ? build(backend, levels - 1) : nullptr;
    return node;
}

template <class B> void drop(B &backend, Node *node)
{
    if (!node)
        return;
    drop(backend, node->left);
    drop(backend, node->right);
    backend.free(node, kSize);
}

template <class B> void run_tree(benchmark::State &state)
{
    B backend;
    for (auto _ : state)
        drop(backend, build(backend, kLevels));
    report(state, (1u << kLevels) - 1);
}

template <class B> void add_all(const std::string &name)
{
    auto purge = [](const benchmark::State &) { B::purge(); };
    bench::add("hardened", "pair-" + name, run_pair<B>, purge);
    bench::add("hardened", "batch-" + name, run_batch<B>, purge);
    bench::add("hardened", "tree-" + name, run_tree<B>, purge);
}

void add()
{
    add_all<Freelane>("default");
    add_all<Hardened>("hardened");
    add_all<Pointers<kGlibc>>("glibc");
}

const ReportTable kHardened = {
    11,
    "Hardened heaps",
    "What <code>options.hardened</code> costs: every call takes its slow half. Lower is better.",
    {{"s_per_op", "ns per allocation and free", "ns"}}};
const Workloads registered(kHardened, add);

} // namespace

} // namespace bench
