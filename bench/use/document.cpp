/* SPDX-License-Identifier: MIT
 *
 * Parsed documents: nodes of four sizes in a tree, three of four with a text, which has one of four sizes too. A node
 * is made after its parent and its older siblings.
 *
 *     document/<n>     n documents of 200 nodes stand on a shelf: a new one is made, takes the place of a random one,
 *                      two others at random are walked, and the old one is dropped; n times or more a round
 *     document/large   one of a million nodes is made, walked, and dropped
 */
#include "use/drive.h"

#include <cstring>

namespace bench::use
{

namespace
{

template <class B> class Parser
{
  public:
    struct Node {
        Node *next, *child;
        char *text;
        uint32_t kind, length;
    };

    explicit Parser(uint64_t seed) : random_(seed)
    {
    }

    /* A document of so many nodes. */
    Node *parse(B &backend, uint32_t nodes)
    {
        Node *open[kDeepest] = {new_node(backend)}, *last[kDeepest] = {};
        unsigned depth = 0;
        for (uint32_t i = 1; i < nodes; i++) {
            Node *node = new_node(backend);
            (last[depth] ? last[depth]->next : open[depth]->child) = node;
            last[depth] = node;
            uint32_t turn = random_below(&random_, 8);
            if (turn < 3 && depth + 1 < kDeepest) {
                open[++depth] = node;
                last[depth] = nullptr;
            } else if (turn >= 5 && depth > 0) {
                depth--;
            }
        }
        return open[0];
    }

    /* How many nodes there are, each looked at as a program does that looks for something. */
    static uint64_t walk(const Node *node)
    {
        uint64_t count = 0;
        for (; node; node = node->next) {
            count += 1 + (node->text && node->text[0] != node->text[node->length - 1] ? kWrong : 0);
            count += walk(node->child);
        }
        return count;
    }

    static void drop(B &backend, Node *node)
    {
        for (Node *next; node; node = next) {
            next = node->next;
            drop(backend, node->child);
            if (node->text)
                backend.free(node->text, node->length);
            backend.free(node, kNodeSizes[node->kind]);
        }
    }

  private:
    static constexpr unsigned kDeepest = 24;
    static constexpr size_t kNodeSizes[] = {32, 40, 64, 80}, kTextSizes[] = {16, 24, 48, 112};
    static constexpr uint64_t kWrong = uint64_t{1} << 40;

    Node *new_node(B &backend)
    {
        uint32_t choice = random_below(&random_, 64), kind = choice % 4, text = choice / 4 % 4;
        Node *node = static_cast<Node *>(backend.alloc(kNodeSizes[kind], nullptr));
        *node = {nullptr, nullptr, nullptr, kind, 0};
        std::memset(node + 1, 0, kNodeSizes[kind] - sizeof(Node));
        if (choice / 16) {
            node->length = static_cast<uint32_t>(kTextSizes[text]);
            node->text = static_cast<char *>(backend.alloc(node->length, nullptr));
            std::memset(node->text, 'a' + static_cast<int>(kind), node->length);
        }
        return node;
    }

    uint64_t random_;
};

struct ShelfShape {
    uint32_t documents;
};

template <class B> class Shelf
{
  public:
    using Node = typename Parser<B>::Node;
    using Unit = std::vector<Node *>;

    Shelf(const ShelfShape &shape, uint64_t seed, bool several)
        : parser_(seed), batch_(several ? kSeveral : 1), random_(seed), shelf_(shape.documents)
    {
    }
    uint64_t nodes() const
    {
        return uint64_t{kNodes} * batch_;
    }
    uint64_t nodes_least() const
    {
        return uint64_t{kNodes} * shelf_.size();
    }
    void prepare(Unit *unit)
    {
        unit->resize(batch_);
    }
    void make(B &backend, Unit *unit)
    {
        for (Node *&document : *unit)
            document = parser_.parse(backend, kNodes);
    }
    /* Leaves in the unit what it replaced. */
    bool use(B &, Unit *unit, PartClock &)
    {
        bool good = true;
        for (Node *&document : *unit) {
            std::swap(document, next_place());
            for (unsigned i = 0; i < kWalks; i++)
                good &= Parser<B>::walk(shelf_[random_below(&random_, filled_)]) == kNodes;
        }
        return good;
    }
    void drop(B &backend, Unit *unit)
    {
        for (Node *document : *unit)
            Parser<B>::drop(backend, document);
    }
    void finish(B &backend)
    {
        drop(backend, &shelf_);
    }

  private:
    static constexpr uint32_t kNodes = 200, kSeveral = 16, kWalks = 2;

    Node *&next_place()
    {
        uint32_t size = static_cast<uint32_t>(shelf_.size());
        return shelf_[filled_ < size ? filled_++ : random_below(&random_, size)];
    }

    Parser<B> parser_;
    const uint32_t batch_;
    uint64_t random_;
    Unit shelf_;
    uint32_t filled_ = 0;
};

struct LargeShape {
    uint32_t nodes;
};

template <class B> class Large
{
  public:
    using Unit = typename Parser<B>::Node *;

    Large(const LargeShape &shape, uint64_t seed, bool) : parser_(seed), nodes_(shape.nodes)
    {
    }
    uint64_t nodes() const
    {
        return nodes_;
    }
    uint64_t nodes_least() const
    {
        return 0;
    }
    void prepare(Unit *)
    {
    }
    void make(B &backend, Unit *unit)
    {
        *unit = parser_.parse(backend, nodes_);
    }
    bool use(B &, Unit *unit, PartClock &)
    {
        return Parser<B>::walk(*unit) == nodes_;
    }
    void drop(B &backend, Unit *unit)
    {
        Parser<B>::drop(backend, *unit);
    }
    void finish(B &)
    {
    }

  private:
    Parser<B> parser_;
    const uint32_t nodes_;
};

Row shelf(uint32_t documents, Set set)
{
    return row_of<Shelf>("document/" + std::to_string(documents), set, ShelfShape{documents});
}

const AddRow added[] = {
    AddRow(shelf(30, Set::kL2)),
    AddRow(shelf(500, Set::kL3)),
    AddRow(shelf(4000, Set::kBeyond)),
    AddRow(row_of<Large>("document/large", Set::kBeyond, LargeShape{1000000})),
};

} // namespace

} // namespace bench::use
