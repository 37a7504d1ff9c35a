/* SPDX-License-Identifier: MIT
 *
 *     tree/<depth>                a binary tree of 48-byte nodes, made depth-first, summed depth-first, dropped
 *                                 children first
 *     tree/<depth>/parent-first   the same, each node dropped before its children
 */
#include "use/drive.h"

namespace bench::use
{

namespace
{

struct TreeShape {
    unsigned depth;
    bool parent_first;
};

template <class B> class Tree
{
  public:
    struct Node {
        Node *left, *right;
        uint64_t values[4];
    };
    using Unit = Node *;

    Tree(const TreeShape &shape, uint64_t, bool) : shape_(shape)
    {
    }
    uint64_t nodes() const
    {
        return (uint64_t{2} << shape_.depth) - 1;
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
        *unit = grow(backend, shape_.depth);
    }
    bool use(B &, Unit *unit, PartClock &)
    {
        return sum(*unit) == nodes();
    }
    void drop(B &backend, Unit *unit)
    {
        shape_.parent_first ? fell(backend, *unit) : prune(backend, *unit);
    }
    void finish(B &)
    {
    }

  private:
    static Node *grow(B &backend, unsigned depth)
    {
        Node *node = static_cast<Node *>(backend.alloc(sizeof(Node), nullptr));
        node->values[0] = 1;
        node->left = depth ? grow(backend, depth - 1) : nullptr;
        node->right = depth ? grow(backend, depth - 1) : nullptr;
        return node;
    }
    static uint64_t sum(const Node *node)
    {
        return node ? node->values[0] + sum(node->left) + sum(node->right) : 0;
    }
    static void prune(B &backend, Node *node)
    {
        if (!node)
            return;
        prune(backend, node->left);
        prune(backend, node->right);
        backend.free(node, sizeof(Node));
    }
    static void fell(B &backend, Node *node)
    {
        if (!node)
            return;
        Node *left = node->left, *right = node->right;
        backend.free(node, sizeof(Node));
        fell(backend, left);
        fell(backend, right);
    }

    const TreeShape shape_;
};

Row tree(unsigned depth, bool parent_first, Set set)
{
    return row_of<Tree>("tree/" + std::to_string(depth) + (parent_first ? "/parent-first" : ""), set,
                        TreeShape{depth, parent_first});
}

const AddRow added[] = {
    AddRow(tree(12, false, Set::kL2)),     AddRow(tree(12, true, Set::kL2)),
    AddRow(tree(16, false, Set::kL3)),     AddRow(tree(16, true, Set::kL3)),
    AddRow(tree(18, false, Set::kBeyond)), AddRow(tree(18, true, Set::kBeyond)),
    AddRow(tree(21, false, Set::kBeyond)), AddRow(tree(21, true, Set::kBeyond)),
};

} // namespace

} // namespace bench::use
