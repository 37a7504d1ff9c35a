/* SPDX-License-Identifier: MIT
 *
 *     list/<lists>/<n>   n boxed numbers in 2 or 64 linked lists, which grow in turns: a cell of 32 bytes and a box of
 *                        24 for each. The lists are summed twice, one list after the other, and dropped likewise, in
 *                        another order of lists
 */
#include "use/drive.h"

namespace bench::use
{

namespace
{

struct ListShape {
    uint32_t lists;
    uint64_t numbers;
};

template <class B> class List
{
  public:
    struct Box {
        uint64_t references, type, number;
    };
    struct Cell {
        uint64_t references, type;
        Cell *next;
        Box *box;
    };
    struct Unit {
        std::vector<Cell *> first, last;
    };

    List(const ListShape &shape, uint64_t, bool) : shape_(shape)
    {
    }
    uint64_t nodes() const
    {
        return 2 * shape_.numbers;
    }
    uint64_t nodes_least() const
    {
        return 0;
    }
    void prepare(Unit *unit)
    {
        unit->first.resize(shape_.lists);
        unit->last.resize(shape_.lists);
    }
    void make(B &backend, Unit *unit)
    {
        for (uint64_t i = 0; i < shape_.numbers; i++) {
            Cell *cell = new_cell(backend, i);
            size_t list = i % shape_.lists;
            (i < shape_.lists ? unit->first[list] : unit->last[list]->next) = cell;
            unit->last[list] = cell;
        }
    }
    bool use(B &, Unit *unit, PartClock &)
    {
        uint64_t sum = 0;
        for (unsigned time = 0; time < 2; time++)
            for (const Cell *cell : unit->first)
                for (; cell; cell = cell->next)
                    sum += cell->box->number;
        return sum == shape_.numbers * (shape_.numbers - 1);
    }
    void drop(B &backend, Unit *unit)
    {
        for (uint32_t i = 0; i < shape_.lists; i++)
            for (Cell *cell = unit->first[(27 * i + 13) % shape_.lists], *next; cell; cell = next) {
                next = cell->next;
                backend.free(cell->box, sizeof(Box));
                backend.free(cell, sizeof(Cell));
            }
    }
    void finish(B &)
    {
    }

  private:
    static Cell *new_cell(B &backend, uint64_t number)
    {
        Box *box = static_cast<Box *>(backend.alloc(sizeof(Box), nullptr));
        *box = {1, 1, number};
        Cell *cell = static_cast<Cell *>(backend.alloc(sizeof(Cell), nullptr));
        *cell = {1, 2, nullptr, box};
        return cell;
    }

    const ListShape shape_;
};

Row list(uint32_t lists, uint64_t numbers, Set set)
{
    return row_of<List>("list/" + std::to_string(lists) + "/" + std::to_string(numbers), set,
                        ListShape{lists, numbers});
}

const AddRow added[] = {
    AddRow(list(2, 6000, Set::kL2)),        AddRow(list(64, 6000, Set::kL2)),
    AddRow(list(2, 100000, Set::kL3)),      AddRow(list(64, 100000, Set::kL3)),
    AddRow(list(2, 1000000, Set::kBeyond)), AddRow(list(64, 1000000, Set::kBeyond)),
};

} // namespace

} // namespace bench::use
