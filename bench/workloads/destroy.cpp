/* SPDX-License-Identifier: MIT
 *
 * The death of a graph: a binary tree whose nodes have 48 bytes each, two of the words being the children. On Freelane
 * the nodes are CLEAR objects, whose `clear` drops the children. On the other backends a recursive function destroys
 * the children and frees the node.
 *
 *     destroy/cold   two million nodes at random addresses, none of them in the processor's caches
 *     destroy/warm   a hundred nodes that have just been made
 *
 * Only the destruction is timed, per node.
 */
#include "time/harness.h"

#include <algorithm>
#include <cstring>

namespace bench
{

namespace
{

constexpr size_t kCold = 2000000, kWarm = 100;
constexpr size_t kSwept = 64 << 20;

struct Node {
    uint64_t stamp;
    Node *first, *second;
    uint64_t payload[3];
};

/* ---- How a node is made, and how a tree dies. */

void clear_node(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    Node *node = static_cast<Node *>(object);
    if (node->first)
        fl_dealloc(thread, node->first, type);
    if (node->second)
        fl_dealloc(thread, node->second, type);
}

const struct fl_type *node_type()
{
    static struct fl_type type;
    static const bool ready = [] {
        type.name = "node";
        type.size = sizeof(Node);
        type.clear = clear_node;
        return fl_type_ready(&type, nullptr, nullptr, 0) == 0;
    }();
    return ready ? &type : nullptr;
}

Node *make(Freelane &backend)
{
    return static_cast<Node *>(fl_type_alloc(backend.thread(), node_type()));
}

void destroy(Freelane &backend, Node *root)
{
    fl_dealloc(backend.thread(), root, node_type());
}

template <class B> Node *make(B &backend)
{
    return static_cast<Node *>(backend.alloc(sizeof(Node), nullptr));
}

template <class B> __attribute__((noinline)) void destroy(B &backend, Node *node)
{
    if (node->first)
        destroy(backend, node->first);
    if (node->second)
        destroy(backend, node->second);
    backend.free(node, sizeof(Node));
}

/* ---- Trees. */

/* The nodes of a tree, the children of `i` being 2 * i + 1 and 2 * i + 2. */
template <class B> Node *make_tree(B &backend, std::vector<Node *> &nodes, uint64_t *random)
{
    for (Node *&node : nodes)
        node = make(backend);
    if (random)
        for (size_t i = nodes.size() - 1; i > 0; i--)
            std::swap(nodes[i], nodes[random_below(random, static_cast<uint32_t>(i + 1))]);
    for (size_t i = 0; i < nodes.size(); i++) {
        size_t child = 2 * i + 1;
        *nodes[i] = {i,
                     child < nodes.size() ? nodes[child] : nullptr,
                     child + 1 < nodes.size() ? nodes[child + 1] : nullptr,
                     {}};
    }
    return nodes[0];
}

/* Fills the processor's caches with other memory. */
void sweep()
{
    static std::vector<char> memory(kSwept);
    std::memset(memory.data(), 1, memory.size());
    keep(memory.data());
}

template <class B, size_t kNodes> void run_destroy(benchmark::State &state)
{
    using Clock = std::chrono::steady_clock;
    constexpr bool is_cold = kNodes == kCold;
    B backend;
    std::vector<Node *> nodes(kNodes);
    uint64_t random = 24;
    std::chrono::duration<double> spent{0};
    for (auto _ : state) {
        Node *root = make_tree(backend, nodes, is_cold ? &random : nullptr);
        if (is_cold)
            sweep();
        Clock::time_point begin = Clock::now();
        destroy(backend, root);
        spent += Clock::now() - begin;
    }
    state.counters["s_per_op"] = spent.count() / static_cast<double>(state.iterations() * kNodes);
}

struct Add {
    template <class B> void visit()
    {
        if (!leaves_out_slow)
            add_workload<B>("destroy/cold", run_destroy<B, kCold>);
        add_workload<B>("destroy/warm", run_destroy<B, kWarm>);
    }
};

void add()
{
    Backends<Freelane, Pointers<kGlibc>, Pointers<kMimalloc>, Pointers<kMimallocNew>, Pointers<kJemalloc>,
             Pointers<kJemallocNew>, Pointers<kTcmalloc>, Pointers<kTcmallocNew>>::visit(Add());
}

const ReportTable kDestroy = {6, "The death of a graph",
                              "A binary tree dies: Freelane's fl_dealloc, and free behind a recursive function."};
const Workloads registered(kDestroy, add);

} // namespace

} // namespace bench
