/* SPDX-License-Identifier: MIT
 *
 * The death of a graph: a binary tree whose nodes have 48 bytes each, two of the words being the children. On Freelane
 * the nodes are CLEAR objects, whose `clear` drops the children. On the other backends a recursive function destroys
 * the children and frees the node.
 *
 *     destroy/cold   two million nodes at random addresses, none of them in the processor's caches
 *     destroy/warm   a hundred nodes that have just been made
 *
 *     later          the two million again, on Freelane alone
 *     later/tree     ten million nodes
 *     later/list     a list with ten million children, which its clear_some drops 16 at a time
 *
 *         direct     fl_dealloc of the root destroys them
 *         queued     fl_dealloc only queues the root. fl_run_pending destroys the nodes, 100 microseconds at a time;
 *                    share_within is the share of its calls that take at most 200 microseconds of the thread's time
 *
 * Only the destruction is timed, per node. --quick and --smoke make the trees of `later` smaller; the former leaves out
 * the other two.
 */
#include "time/harness.h"

#include <time.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace bench
{

namespace
{

constexpr size_t kCold = 2000000, kWarm = 100, kQuick = 100000, kMost = 10000000, kPiece = 16;
constexpr uint64_t kBudget = 100;                /* of a call of fl_run_pending, in microseconds */
constexpr int64_t kLongest = 2 * kBudget * 1000; /* what a call should take at most, in nanoseconds */
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

/* A list: its stamp is the number of its children, the array of these its first word. */
bool clear_some_of_list(struct fl_thread *thread, void *object, const struct fl_type *)
{
    Node *list = static_cast<Node *>(object);
    Node **children = reinterpret_cast<Node **>(list->first);
    const struct fl_type *type = reinterpret_cast<const struct fl_type *>(list->second);
    for (size_t i = 0; i < kPiece && list->stamp > 0; i++)
        fl_dealloc(thread, children[--list->stamp], type);
    return list->stamp > 0;
}

/* The same nodes, which end later. */
class Queued : public Freelane
{
  public:
    void destroy(Node *root)
    {
        fl_dealloc(thread(), root, type());
        run_all();
    }
    void destroy_list(std::vector<Node *> &children)
    {
        Node *list = static_cast<Node *>(fl_type_alloc(thread(), list_type()));
        *list = {children.size(),
                 reinterpret_cast<Node *>(children.data()),
                 reinterpret_cast<Node *>(const_cast<struct fl_type *>(type())),
                 {}};
        fl_dealloc(thread(), list, list_type());
        run_all();
    }
    double share_within() const
    {
        return static_cast<double>(within_) / static_cast<double>(calls_);
    }

  private:
    static const struct fl_type *type()
    {
        static struct fl_type type;
        static const bool ready = [] {
            type.name = "queued node";
            type.size = sizeof(Node);
            type.clear = clear_node;
            type.flags = FL_TYPE_HAS_WORDS | FL_TYPE_LATER;
            type.words_offset = offsetof(Node, payload);
            return fl_type_ready(&type, nullptr, nullptr, 0) == 0;
        }();
        return ready ? &type : nullptr;
    }
    static const struct fl_type *list_type()
    {
        static struct fl_type type;
        static const bool ready = [] {
            type.name = "queued list";
            type.size = sizeof(Node);
            type.clear_some = clear_some_of_list;
            type.flags = FL_TYPE_HAS_WORDS | FL_TYPE_LATER;
            type.words_offset = offsetof(Node, payload);
            return fl_type_ready(&type, nullptr, nullptr, 0) == 0;
        }();
        return ready ? &type : nullptr;
    }
    void run_all()
    {
        while (*fl_thread_pending(thread()))
            run();
    }
    static int64_t now_of_thread()
    {
        struct timespec now;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    }
    void run()
    {
        int64_t begin = now_of_thread();
        fl_run_pending(thread(), fl_budget_microseconds(kBudget));
        within_ += now_of_thread() - begin <= kLongest;
        calls_++;
    }

    uint64_t calls_ = 0, within_ = 0;
};

void destroy(Queued &backend, Node *root)
{
    backend.destroy(root);
}

/* ---- Trees. */

template <class B> void make_nodes(B &backend, std::vector<Node *> &nodes, uint64_t *random)
{
    for (Node *&node : nodes)
        node = make(backend);
    if (random)
        for (size_t i = nodes.size() - 1; i > 0; i--)
            std::swap(nodes[i], nodes[random_below(random, static_cast<uint32_t>(i + 1))]);
}

/* The nodes of a tree, the children of `i` being 2 * i + 1 and 2 * i + 2. */
template <class B> Node *make_tree(B &backend, std::vector<Node *> &nodes, uint64_t *random)
{
    make_nodes(backend, nodes, random);
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

/* Times `destroy` of what `make` has made, `count` objects. */
template <class Make, class Destroy>
void time_deaths(benchmark::State &state, size_t count, Make &&make, Destroy &&destroy)
{
    using Clock = std::chrono::steady_clock;
    std::chrono::duration<double> spent{0};
    for (auto _ : state) {
        make();
        if (count > kWarm)
            sweep();
        Clock::time_point begin = Clock::now();
        destroy();
        spent += Clock::now() - begin;
    }
    state.counters["s_per_op"] = spent.count() / static_cast<double>(state.iterations() * count);
}

template <class B> void run_deaths(benchmark::State &state, B &backend, size_t count)
{
    std::vector<Node *> nodes(count);
    uint64_t random = 24;
    Node *root = nullptr;
    time_deaths(
        state, count, [&] { root = make_tree(backend, nodes, count > kWarm ? &random : nullptr); },
        [&] { destroy(backend, root); });
}

template <class B, size_t kNodes> void run_destroy(benchmark::State &state)
{
    B backend;
    run_deaths(state, backend, kNodes);
}

void run_direct(benchmark::State &state)
{
    Freelane backend;
    run_deaths(state, backend, quick ? kQuick : kCold);
}

void run_queued(benchmark::State &state, size_t count)
{
    Queued backend;
    run_deaths(state, backend, quick ? kQuick : count);
    state.counters["share_within"] = backend.share_within();
}

void run_list(benchmark::State &state)
{
    Queued backend;
    std::vector<Node *> nodes(quick ? kQuick : kMost);
    uint64_t random = 24;
    time_deaths(
        state, nodes.size(),
        [&] {
            make_nodes(backend, nodes, &random);
            for (Node *node : nodes)
                *node = {};
        },
        [&] { backend.destroy_list(nodes); });
    state.counters["share_within"] = backend.share_within();
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

void add_later()
{
    auto purge = [](const benchmark::State &) { Freelane::purge(); };
    bench::add("later", "direct", run_direct, purge);
    bench::add(
        "later", "queued", [](benchmark::State &state) { run_queued(state, kCold); }, purge);
    if (leaves_out_slow)
        return;
    bench::add(
        "later/tree", "queued", [](benchmark::State &state) { run_queued(state, kMost); }, purge);
    bench::add("later/list", "queued", run_list, purge);
}

const ReportTable kLater = {
    7,
    "A graph that dies later",
    "A binary tree dies in fl_dealloc; or in calls of fl_run_pending, 100 µs each.",
    {{"s_per_op", "ns per object", "ns"}, {"share_within", "calls within 200 µs of the thread's time", "percent"}}};
const Workloads registered_later(kLater, add_later);

} // namespace

} // namespace bench
