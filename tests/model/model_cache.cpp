/* SPDX-License-Identifier: MIT
 *
 * A model check of caches that exchange magazines: src/cache.c, src/rack.c and src/pool.c themselves, compiled over
 * model_atomic.h, run by Relacy (model_check.h).
 *
 * Two threads allocate and free through caches of their own, give up what they have at the end, and meet in the pool.
 * What the pool cannot give comes from the functions that carve, which lock; here they hand out what there is, and
 * more than that is refused. Magazines hold one block or two.
 *
 * Checked in each execution:
 *
 *     a block has one owner at a time    `owner`, a plain variable of each block, is free when it is allocated; an
 *                                        access that is not ordered by the exchange of its magazine is a data race
 *     nothing is lost or doubled         at the end the pool has each block that was carved and each magazine once
 *
 *     exchange    one thread allocates two blocks and frees them, the other one; the pool has three at first
 *     refused     each allocates two and frees them, where a block and a magazine are short: allocation fails, and
 *                 frees find no magazine
 *     counted     one thread does so, while others count the blocks in its cache
 *
 * The program is built once as it is, and once for each mutant, as model_pool is.
 *
 * usage: model_cache exchange|refused|counted [--expect-error]
 */
#include "cache.h"
#include "model_check.h"

#include <new>

namespace
{

enum { CLASS = 1, THREADS = 3, BLOCKS_MOST = 5, MAGAZINES_MOST = 8, FREE = 100 };

/* What a rack holds of a magazine with a block in it. */
enum { RACKED = FLI_MAGAZINE_BYTES + 16 };

/* What can be carved, of one execution; the objects are made anew for each. */
struct ground {
    unsigned blocks_carved, blocks;
    uint32_t magazines_carved, magazines;
    char memory[BLOCKS_MOST][16];
};

ground *now;

template <typename scenario, unsigned capacity> struct cache_model : rl::test_suite<scenario, THREADS> {
    fli_backing backing;
    fl_cache caches[THREADS];
    fli_rack racks[THREADS];
    ground here;
    rl::var<unsigned> owner[BLOCKS_MOST];
    char memory[(MAGAZINES_MOST + 2) * FLI_MAGAZINE_BYTES];

    static void nothing(fli_backing *)
    {
    }

    /* A rack holds `rack_bytes` bytes. */
    void lay_out(unsigned blocks, uint32_t magazines, size_t rack_bytes)
    {
        now = &here;
        here.blocks_carved = here.magazines_carved = 0;
        here.blocks = blocks;
        here.magazines = magazines;
        uintptr_t start = fli_round_up((uintptr_t)memory, FLI_MAGAZINE_BYTES);
        backing.magazines.base = (char *)start;
        backing.magazine_blocks[CLASS] = capacity;
        backing.pool_grew = nothing;
        fli_store_relaxed(&backing.rack_bytes, rack_bytes);
        fli_stack_init(&backing.pool.empty);
        fli_stack_init(&backing.pool.filled[CLASS]);
        fli_store_relaxed(&backing.slabs.by_class[CLASS].parked, 0);
        std::memset(caches, 0, sizeof caches);
        for (fli_rack &rack : racks)
            rack.full = rack.empty = {0, 0, 0, 0}, fli_store_relaxed(&rack.empty_shelf, 0);
        for (uint32_t index = 1; index <= magazines; index++)
            ::new (fli_magazine_at(&backing.magazines, index)) fli_magazine;
        for (unsigned block = 0; block < BLOCKS_MOST; block++)
            owner[block]($) = FREE;
    }

    void *alloc(unsigned self)
    {
        fl_cache *cache = &caches[self];
        if (fl_cache_top(cache) == cache->floor && !fli_cache_lower_floor_owner(cache, capacity) &&
            fli_cache_refill_owner(cache, CLASS, &backing, &racks[self]) == 0)
            return nullptr;
        void *block = fl_cache_take(cache, fl_cache_top(cache));
        unsigned number = number_of(block);
        RL_ASSERT(owner[number]($) == FREE);
        owner[number]($) = self;
        return block;
    }

    /* Returns false if no magazine can be had for the block. */
    bool free(unsigned self, void *block)
    {
        fl_cache *cache = &caches[self];
        RL_ASSERT(owner[number_of(block)]($) == self);
        owner[number_of(block)]($) = FREE;
        if (fl_cache_is_full(fl_cache_top(cache)) && !fli_cache_make_room_owner(cache, CLASS, &backing, &racks[self]))
            return false;
        fl_cache_put(cache, fl_cache_top(cache), block);
        return true;
    }

    unsigned number_of(void *block)
    {
        size_t number = (size_t)((char *)block - here.memory[0]) / sizeof here.memory[0];
        RL_ASSERT(number < here.blocks_carved);
        return (unsigned)number;
    }

    /* Allocates blocks and frees them. Returns how many of them found no magazine. */
    unsigned work(unsigned self, unsigned count)
    {
        void *blocks[BLOCKS_MOST];
        unsigned left = 0;
        for (unsigned i = 0; i < count; i++)
            blocks[i] = alloc(self);
        for (unsigned i = 0; i < count; i++)
            left += blocks[i] != nullptr && !free(self, blocks[i]);
        return left;
    }

    void give_up(unsigned self)
    {
        fli_cache_flush_owner(&caches[self], CLASS, &backing, &racks[self]);
        fli_cache_end_flush_owner(&backing, &racks[self]);
        RL_ASSERT(caches[self].floor == nullptr && caches[self].top == nullptr);
    }

    /* Everything is in the pool but for blocks that found no magazine. */
    void take_stock(unsigned left)
    {
        unsigned blocks = 0;
        uint32_t magazines = 0, seen = 0;
        for (fli_stack *stack : {&backing.pool.filled[CLASS], &backing.pool.empty}) {
            while (fli_magazine *magazine = fli_stack_pop_mpmc(stack, &backing.magazines, &racks[0].counters)) {
                unsigned count = fli_load_relaxed(&magazine->count);
                RL_ASSERT((count > 0) == (stack != &backing.pool.empty) && count <= capacity);
                for (unsigned i = 0; i < count; i++) {
                    unsigned number = number_of(fli_magazine_floor(magazine, capacity)[i]);
                    RL_ASSERT((seen & 1u << number) == 0 && owner[number]($) == FREE);
                    seen |= 1u << number;
                    blocks++;
                }
                magazines++;
            }
        }
        RL_ASSERT(blocks + left == here.blocks_carved);
        RL_ASSERT(magazines == here.magazines_carved);
        for (uint32_t index = 1; index <= here.magazines; index++)
            fli_magazine_at(&backing.magazines, index)->~fli_magazine();
    }

    /* Puts blocks into the pool, as a thread that has gone would leave them. */
    void leave(unsigned count)
    {
        work(0, count);
        give_up(0);
    }
};

struct exchange : cache_model<exchange, 1> {
    void before()
    {
        lay_out(BLOCKS_MOST, MAGAZINES_MOST, RACKED);
        leave(3);
    }
    void thread(unsigned self)
    {
        if (self == 2)
            return;
        RL_ASSERT(work(self, self == 0 ? 2 : 1) == 0);
        give_up(self);
    }
    void after()
    {
        take_stock(0);
    }
};

struct refused : cache_model<refused, 1> {
    unsigned left[THREADS];

    void before()
    {
        lay_out(3, 2, 0);
        left[0] = left[1] = 0;
        leave(1);
    }
    void thread(unsigned self)
    {
        if (self == 2)
            return;
        left[self] = work(self, 2);
        give_up(self);
    }
    void after()
    {
        take_stock(left[0] + left[1]);
    }
};

struct counted : cache_model<counted, 2> {
    void before()
    {
        lay_out(BLOCKS_MOST, MAGAZINES_MOST, 0);
        leave(1);
    }
    void thread(unsigned self)
    {
        if (self > 0) {
            for (unsigned i = 0; i < 2; i++)
                RL_ASSERT(fli_cache_blocks(&caches[0], CLASS, &backing) <= 4);
            return;
        }
        RL_ASSERT(work(self, 2) == 0);
        give_up(self);
    }
    void after()
    {
        take_stock(0);
    }
};

} // namespace

/* ---- In place of what carves. */

struct fli_magazine *fli_magazine_carve(struct fli_magazines *magazines)
{
    if (now->magazines_carved == now->magazines)
        return nullptr;
    fli_magazine *magazine = fli_magazine_at(magazines, ++now->magazines_carved);
    fli_store_relaxed(&magazine->count, 0);
    return magazine;
}

unsigned fli_slab_carve(struct fli_slabs *, unsigned, unsigned count, void **blocks)
{
    unsigned done = 0;
    for (; done < count && now->blocks_carved < now->blocks; done++)
        blocks[done] = now->memory[now->blocks_carved++];
    return done;
}

unsigned fli_slab_unpark(struct fli_slabs *, unsigned, unsigned, void **)
{
    return 0; /* no block is parked here */
}

int main(int argc, char **argv)
{
    bool expect_error;
    if (is_asked_for("exchange", argc, argv, &expect_error))
        return check<exchange>(expect_error);
    if (is_asked_for("refused", argc, argv, &expect_error))
        return check<refused>(expect_error);
    if (is_asked_for("counted", argc, argv, &expect_error))
        return check<counted>(expect_error);
    std::cerr << "usage: " << argv[0] << " exchange|refused|counted [--expect-error]" << std::endl;
    return 2;
}
