/* SPDX-License-Identifier: MIT
 *
 *     graph/<n>   n nodes of 48 bytes that are linked in the order of their making, and each to another one at random.
 *                 Made and then aged: a thousand at random places are replaced at a time, the new ones made before the
 *                 old ones go, until ten times the graph was replaced. Then it is walked four times in the order of
 *                 making, with a look at the other one from every eighth node; and dropped place by place
 */
#include "use/drive.h"

namespace bench::use
{

namespace
{

struct GraphShape {
    uint32_t nodes;
};

template <class B> class Graph
{
    static constexpr unsigned kAge = 10, kWalks = 4;

  public:
    struct Node {
        Node *next, *previous;
        uint64_t value;
        uint64_t other; /* the place of another one */
        uint64_t words[2];
    };
    struct Unit {
        std::vector<Node *> places;
        Node *first, *last;
    };

    Graph(const GraphShape &shape, uint64_t seed, bool)
        : count_(shape.nodes), batch_(std::min(1000u, shape.nodes / 4)), fresh_(batch_), random_(seed)
    {
    }
    uint64_t nodes() const
    {
        return uint64_t{kAge + 1} * count_; /* all that are made */
    }
    uint64_t nodes_least() const
    {
        return 0;
    }
    void prepare(Unit *unit)
    {
        unit->places.resize(count_);
    }
    void make(B &backend, Unit *unit)
    {
        unit->first = unit->last = nullptr;
        for (Node *&place : unit->places)
            place = append(backend, unit);
        for (uint64_t replaced = 0; replaced < uint64_t{kAge} * count_; replaced += batch_)
            replace(backend, unit);
    }
    bool use(B &, Unit *unit, PartClock &)
    {
        uint64_t sum = 0, seen = 0;
        for (unsigned time = 0; time < kWalks; time++)
            for (const Node *node = unit->first; node; node = node->next) {
                sum += node->value;
                if (seen++ % 8 == 0)
                    sum += unit->places[node->other]->value;
            }
        return seen == uint64_t{kWalks} * count_ && sum == seen + (seen + 7) / 8;
    }
    void drop(B &backend, Unit *unit)
    {
        for (Node *node : unit->places)
            backend.free(node, sizeof(Node));
    }
    void finish(B &)
    {
    }

  private:
    Node *append(B &backend, Unit *unit)
    {
        Node *node = static_cast<Node *>(backend.alloc(sizeof(Node), nullptr));
        *node = {nullptr, unit->last, 1, random_below(&random_, count_), {1, 2}};
        (unit->last ? unit->last->next : unit->first) = node;
        return unit->last = node;
    }
    static void remove(B &backend, Unit *unit, Node *node)
    {
        (node->previous ? node->previous->next : unit->first) = node->next;
        (node->next ? node->next->previous : unit->last) = node->previous;
        backend.free(node, sizeof(Node));
    }
    void replace(B &backend, Unit *unit)
    {
        for (Node *&node : fresh_)
            node = append(backend, unit);
        for (Node *node : fresh_) {
            Node *&place = unit->places[random_below(&random_, count_)];
            remove(backend, unit, place);
            place = node;
        }
    }

    const uint32_t count_, batch_;
    std::vector<Node *> fresh_;
    uint64_t random_;
};

Row graph(uint32_t nodes, Set set)
{
    return row_of<Graph>("graph/" + std::to_string(nodes), set, GraphShape{nodes});
}

const AddRow added[] = {
    AddRow(graph(8000, Set::kL2)),
    AddRow(graph(150000, Set::kL3)),
    AddRow(graph(1000000, Set::kBeyond)),
};

} // namespace

} // namespace bench::use
