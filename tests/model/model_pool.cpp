/* SPDX-License-Identifier: MIT
 *
 * A model check of the pool: src/pool/pool.c itself, compiled over model_atomic.h, run by Relacy (model_check.h).
 *
 * Checked in each execution:
 *
 *     a magazine has one owner at a time     `owner`, a plain variable of each magazine, is free when it is taken
 *     its slots are ordered by the stacks    `slot` is a plain variable too: an access without order is a data race
 *     no magazine is lost                    at the end the stacks hold each of them once
 *     the depth of a stack is its sum        at the end `below` of the top is the sum of the counts
 *
 * The scenarios, each of three threads with two magazines:
 *
 *     recycle     one thread takes two magazines and puts them back in the same order, so that the top of the stack is
 *                 what it was and the magazine under it is not; each of the others takes one and puts it back, twice
 *     exchange    magazines move between two stacks both ways, as filled and empty ones do
 *     take_all    one thread takes the whole stack and puts it back; each of the others takes one magazine and puts it
 *                 back, twice
 *     counted     one thread pushes a magazine, another one asks how many blocks there are
 *     chained     the same with a chain (chain.h)
 *     begun       the same with a chain that is made of the magazine
 *     shortened   one thread puts both magazines on a chain, and another one takes one of them; the third one asks
 *
 * The program is built once as it is, and Relacy must find no error. With a weaker order (tests/orders) it must find
 * one, and with tags that do not count: for those the program is built again (-DFREELANE_MODEL_NO_TAG).
 *
 * usage: model_pool recycle|exchange|take_all|counted|chained|begun|shortened [--expect-error]
 */
#include "base/lock.h"
#include "model_check.h"
#include "pool/pool.h"

namespace
{

enum { MAGAZINES = 2, FREE = 100 };

/* What the scenarios share. The objects are made anew for each execution. */
template <typename scenario> struct pool_model : rl::test_suite<scenario, 3> {
    fli_stack filled, empty;
    fli_magazines magazines;
    fli_pool_counters counters;
    rl::var<unsigned> owner[MAGAZINES + 1], slot[MAGAZINES + 1];
    alignas(16) char memory[(MAGAZINES + 2) * FLI_MAGAZINE_BYTES];

    /* The magazines' slots are `slot` here, so that the model sees them; those in memory are not touched. */
    void before()
    {
        magazines.at[0] = {memory, 0, MAGAZINES + 1};
        fli_store_relaxed(&filled.head, fli_tagged_empty(0));
        fli_store_relaxed(&empty.head, fli_tagged_empty(0));
        for (uint32_t index = 1; index <= MAGAZINES; index++) {
            fli_magazine *magazine = ::new (at(index)) fli_magazine;
            fli_store_relaxed(&magazine->count, index);
            owner[index]($) = FREE;
            slot[index]($) = index;
            fli_stack_push_mpmc(&filled, &magazines, magazine, &counters);
        }
    }

    fli_magazine *at(uint32_t index)
    {
        return fli_magazine_at(&magazines, index);
    }

    void own(fli_magazine *magazine, unsigned thread)
    {
        uint32_t index = fli_magazine_index(&magazines, magazine);
        RL_ASSERT(index >= 1 && index <= MAGAZINES);
        RL_ASSERT(owner[index]($) == FREE);
        owner[index]($) = thread;
        RL_ASSERT(slot[index]($) == index);
        slot[index]($) = 0;
    }

    fli_magazine *pop(fli_stack *stack, unsigned thread)
    {
        fli_magazine *magazine = fli_stack_pop_mpmc(stack, &magazines, &counters);
        if (magazine != nullptr)
            own(magazine, thread);
        return magazine;
    }

    void disown(fli_magazine *magazine, unsigned thread)
    {
        uint32_t index = fli_magazine_index(&magazines, magazine);
        RL_ASSERT(owner[index]($) == thread);
        slot[index]($) = index;
        owner[index]($) = FREE;
    }

    void push(fli_stack *stack, fli_magazine *magazine, unsigned thread)
    {
        if (magazine == nullptr)
            return;
        uint64_t count = fli_load_relaxed(&magazine->count);
        disown(magazine, thread);
        uint64_t blocks = fli_stack_push_mpmc(stack, &magazines, magazine, &counters);
        RL_ASSERT(blocks == count || blocks == 1 + 2);
    }

    void after()
    {
        unsigned found = 0;
        for (fli_stack *stack : {&filled, &empty}) {
            uint64_t blocks = fli_stack_blocks(stack, &magazines);
            while (fli_magazine *magazine = pop(stack, 3)) {
                RL_ASSERT(fli_load_relaxed(&magazine->below) == blocks);
                blocks -= fli_load_relaxed(&magazine->count);
                found++;
            }
            RL_ASSERT(blocks == 0);
        }
        RL_ASSERT(found == MAGAZINES);
        for (uint32_t index = 1; index <= MAGAZINES; index++)
            at(index)->~fli_magazine();
    }
};

struct recycle : pool_model<recycle> {
    void thread(unsigned self)
    {
        if (self == 0) {
            fli_magazine *first = pop(&filled, self), *second = pop(&filled, self);
            push(&filled, first, self);
            push(&filled, second, self);
            return;
        }
        for (unsigned i = 0; i < 2; i++)
            push(&filled, pop(&filled, self), self);
    }
};

struct exchange : pool_model<exchange> {
    void thread(unsigned self)
    {
        if (self != 1)
            push(&empty, pop(&filled, self), self);
        if (self != 2)
            push(&filled, pop(&empty, self), self);
    }
};

struct take_all : pool_model<take_all> {
    void thread(unsigned self)
    {
        if (self > 0) {
            for (unsigned i = 0; i < 2; i++)
                push(&filled, pop(&filled, self), self);
            return;
        }
        uint32_t first = fli_stack_take_all_mpmc(&filled, &counters);
        unsigned count = 0;
        for (uint32_t index = first; index != 0; index = fli_load_relaxed(&at(index)->next)) {
            RL_ASSERT(++count <= MAGAZINES);
            own(at(index), self);
        }
        for (uint32_t index = first; index != 0; index = fli_load_relaxed(&at(index)->next))
            disown(at(index), self);
        fli_stack_put_back_mpmc(&filled, &magazines, first, &counters);
    }
};

/* A magazine that is on no stack, and whose `below` is that of long ago. */
template <typename scenario> struct count_model : pool_model<scenario> {
    enum { STALE = 77 };
    fli_magazine *spare;
    fli_chain chain;
    fli_mutex lock;
    unsigned put;

    void before()
    {
        pool_model<scenario>::before();
        spare = fli_stack_pop_mpmc(&this->filled, &this->magazines, &this->counters);
        fli_store_relaxed(&spare->below, STALE);
        fli_chain_begin(&chain, 0);
        fli_mutex_init(&lock, FLI_RANK_HOME);
        put = 0;
    }

    void after()
    {
        for (uint32_t index = 1; index <= MAGAZINES; index++)
            this->at(index)->~fli_magazine();
        fli_mutex_close(&lock);
    }

    void thread(unsigned self)
    {
        if (self == 0)
            static_cast<scenario *>(this)->change();
        if (self == 1)
            RL_ASSERT(static_cast<scenario *>(this)->count() <= 1 + 2);
        if (self == 2)
            static_cast<scenario *>(this)->change_again();
    }

    void change_again()
    {
    }

    uint64_t count()
    {
        return fli_chain_blocks(&chain, &this->magazines);
    }
};

struct counted : count_model<counted> {
    void change()
    {
        fli_stack_push_mpmc(&filled, &magazines, spare, &counters);
    }

    uint64_t count()
    {
        return fli_stack_blocks(&filled, &magazines);
    }
};

struct chained : count_model<chained> {
    void change()
    {
        fli_chain_put(&chain, &magazines, spare);
    }
};

struct begun : count_model<begun> {
    void change()
    {
        fli_store_relaxed(&spare->below, fli_load_relaxed(&spare->count));
        fli_chain_begin(&chain, fli_magazine_index(&magazines, spare));
    }
};

struct shortened : count_model<shortened> {
    void change()
    {
        fli_magazine *other = fli_stack_pop_mpmc(&filled, &magazines, &counters);
        fli_lock(&lock);
        fli_chain_put(&chain, &magazines, spare);
        fli_chain_put(&chain, &magazines, other);
        put = 2;
        fli_unlock(&lock);
    }

    void change_again()
    {
        fli_lock(&lock);
        if (put == 2)
            fli_chain_take(&chain, &magazines);
        fli_unlock(&lock);
    }
};

} // namespace

/* In place of what finds magazines of further ranges. */
fli_magazine *fli_magazine_beyond(const fli_magazines *, uint32_t)
{
    return nullptr;
}

uint32_t fli_magazine_index_beyond(const fli_magazines *, const fli_magazine *)
{
    return 0;
}

int main(int argc, char **argv)
{
    bool expect_error;
    if (is_asked_for("recycle", argc, argv, &expect_error))
        return check<recycle>(expect_error);
    if (is_asked_for("exchange", argc, argv, &expect_error))
        return check<exchange>(expect_error);
    if (is_asked_for("take_all", argc, argv, &expect_error))
        return check<take_all>(expect_error);
    if (is_asked_for("counted", argc, argv, &expect_error))
        return check<counted>(expect_error);
    if (is_asked_for("chained", argc, argv, &expect_error))
        return check<chained>(expect_error);
    if (is_asked_for("begun", argc, argv, &expect_error))
        return check<begun>(expect_error);
    if (is_asked_for("shortened", argc, argv, &expect_error))
        return check<shortened>(expect_error);
    std::cerr << "usage: " << argv[0] << " SCENARIO [--expect-error], see the head of model_pool.cpp" << std::endl;
    return 2;
}
