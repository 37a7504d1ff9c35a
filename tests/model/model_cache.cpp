/* SPDX-License-Identifier: MIT
 *
 * A model check of caches and homes: the files of src/pool/ themselves, compiled over
 * model_atomic.h, run by Relacy (model_check.h).
 *
 * Threads allocate and free through caches of their own, and meet in the pool and in each other's homes. Slabs and
 * magazines come from the functions that lock; here they hand out what there is, and more than that is refused. A slab
 * has two blocks, and a magazine holds one or two.
 *
 * Checked in each execution:
 *
 *     a block has one owner at a time    `owner`, a plain variable of each block, is free when it is allocated; an
 *                                        access that is not ordered on the block's way is a data race
 *     words under a home's lock          are plain variables (FLI_PLAIN): an access without the lock is a data race
 *     nothing is lost or doubled         at the end each block of a slab that has begun, and each magazine, is in one
 *                                        place: a bit of a slab, a shelf, the pool
 *     homes are true                     a slab is on a list of its home, and numbers of free blocks are those of bits
 *
 *     exchange    both threads' homes are held for ever, so magazines go through the pool, which has three at first:
 *                 one thread allocates two blocks and frees them, the other one
 *     refused     homes keep no magazines, and blocks and magazines are short: allocation fails, and frees find no
 *                 magazine
 *     counted     a thread allocates and frees, while others count the blocks in its cache
 *     strangers   two threads free each other's blocks, which go home to the other, and allocate
 *     kept        a thread keeps magazines at home, and another one takes them, as a trim does
 *     handed      a thread frees blocks of another one, whose magazines it hands over as they are while that one
 *                 allocates
 *     hasty       a real-time thread frees blocks of another one, which allocates meanwhile: into the pool, and home
 *                 once no magazine can be had
 *     adopted     a thread frees a block of a slab while another one adopts the slab from its home
 *     moved       the lock of a thread's home is held for ever: the thread moves to another home, and another thread
 *                 looks for a slab to adopt meanwhile
 *     settled     a thread moves to a new home and adopts a slab there, while another one frees a block of the slab
 *     passed      threads move in where others move out
 *     single      two threads put single blocks into the pool's top magazine and take some out
 *
 * The program is built and run as model_pool is.
 *
 * usage: model_cache exchange|refused|counted|strangers|kept|handed|hasty|adopted|moved|settled|passed|single
 *        [--expect-error]
 */
#include "base/lock.h"
#include "memory/stray.h"
#include "model_check.h"
#include "pool/exchange.h"
#include "pool/single.h"

#include <new>

namespace
{

enum {
    THREADS_MOST = 3,
    SMALL = 1,
    LARGE = 2, /* blocks of more than FLI_HOME_BLOCK_MOST */
    SLAB_BLOCKS = 2,
    SLABS_MOST = 3,
    BLOCKS_MOST = SLABS_MOST * SLAB_BLOCKS,
    MAGAZINES_MOST = 8,
    HOMES_MOST = THREADS_MOST + 1,
    FREE = 100,
};

/* What can be had, of one execution; the objects are made anew for each. */
struct ground {
    uint32_t slabs_begun, slabs;
    uint32_t magazines_carved, magazines;
    unsigned homes_made, homes;
    alignas(FLI_CACHE_LINE) char home_memory[HOMES_MOST][sizeof(fli_home)];
};

ground *now;

template <typename scenario, unsigned class_index, unsigned capacity, unsigned threads = 2>
struct cache_model : rl::test_suite<scenario, threads> {
    fli_backing backing;
    fl_cache caches[threads];
    fli_owner owners[threads];
    ground here;
    rl::var<unsigned> owner[BLOCKS_MOST];
    FLI_ATOMIC(uint8_t) classes[SLABS_MOST];
    alignas(fli_row) char row_memory[SLABS_MOST * sizeof(fli_row)];
    char memory[(MAGAZINES_MOST + 2) * FLI_MAGAZINE_BYTES];

    void lay_out_slabs()
    {
        fli_slabs *slabs = &backing.slabs;
        fli_range *range = &slabs->ranges.at[0];
        range->base = (char *)((uintptr_t)1 << 32); /* no block is touched */
        range->span = (size_t)SLABS_MOST << FLI_SLAB_SHIFT;
        range->first = 1;
        range->slabs = SLABS_MOST;
        range->classes = classes;
        range->rows = (fli_row *)(void *)row_memory;
        size_t bytes = fli_class_bytes(class_index);
        slabs->by_class[class_index].block_bytes = bytes;
        slabs->by_class[class_index].blocks = SLAB_BLOCKS;
        slabs->by_class[class_index].reciprocal = (uint32_t)((((uint64_t)1 << 32) + bytes - 1) / bytes);
        for (uint32_t slab = 1; slab <= SLABS_MOST; slab++) {
            ::new (fli_slab_at(slabs, slab)) fli_slab;
            ::new (fli_slab_free_bits(slabs, slab)) FLI_ATOMIC(uint64_t);
            fli_store_relaxed(&classes[slab - 1], 0);
        }
        fli_mutex_init(&slabs->lock, FLI_RANK_MEMORY);
    }

    void lay_out_magazines(uint32_t magazines)
    {
        uintptr_t start = fli_round_up((uintptr_t)memory, FLI_MAGAZINE_BYTES);
        backing.magazines.at[0] = {(char *)start, 0, magazines + 1};
        for (uint32_t index = 1; index <= magazines; index++)
            ::new (fli_magazine_at(&backing.magazines, index)) fli_magazine;
        fli_stack_init(&backing.pool.empty);
        fli_stack_init(&backing.pool.filled[class_index]);
    }

    /* So many slabs and magazines can be had. A home keeps `rack_bytes` bytes in magazines. */
    void lay_out(uint32_t slabs, uint32_t magazines, size_t rack_bytes)
    {
        now = &here;
        here.slabs_begun = here.magazines_carved = here.homes_made = 0;
        here.slabs = slabs;
        here.magazines = magazines;
        here.homes = HOMES_MOST;
        backing.magazine_blocks[class_index] = capacity;
        fli_store_relaxed(&backing.allowance.is_scarce, false);
        backing.small_bytes = rack_bytes;
        fli_store_relaxed(&backing.rack_bytes, rack_bytes);
        lay_out_slabs();
        lay_out_magazines(magazines);
        fli_homes_init(&backing.homes, &backing.slabs, false);
        fli_store_relaxed(&backing.homes.first, nullptr);
        std::memset(caches, 0, sizeof caches);
        for (fli_owner &one : owners) {
            one.home = fli_homes_enter(&backing.homes);
            one.given_magazines = one.given_bytes = 0;
            fli_store_own(&one.reserve, static_cast<fli_reserve *>(nullptr));
            one.realtime = one.closes = false;
        }
        for (rl::var<unsigned> &one : owner)
            one($) = FREE;
    }

    void *alloc(unsigned self, bool pressed = false)
    {
        fl_cache *cache = &caches[self];
        if (fl_cache_top(cache) == cache->floor && !fli_cache_lower_floor_owner(cache, capacity) &&
            fli_exchange_refill_owner(cache, class_index, &backing, &owners[self], pressed) == 0)
            return nullptr;
        void *block = fl_cache_take(cache, fl_cache_top(cache));
        unsigned number = number_of(block);
        RL_ASSERT(owner[number]($) == FREE);
        owner[number]($) = self;
        return block;
    }

    /* Frees a block that `holder` has. Returns false if no magazine can be had for it. */
    bool free(unsigned self, void *block, unsigned holder)
    {
        fl_cache *cache = &caches[self];
        RL_ASSERT(owner[number_of(block)]($) == holder);
        owner[number_of(block)]($) = FREE;
        if (fl_cache_is_full(fl_cache_top(cache)) &&
            !fli_exchange_make_room_owner(cache, class_index, &backing, &owners[self]))
            return false;
        fl_cache_put(cache, fl_cache_top(cache), block);
        return true;
    }

    unsigned number_of(const void *block)
    {
        uint32_t slab = fli_slab_number(&backing.slabs, block);
        uint32_t index = fli_slab_block_index(&backing.slabs, class_index, block);
        RL_ASSERT(slab >= 1 && slab <= here.slabs_begun && index < SLAB_BLOCKS);
        return (slab - 1) * SLAB_BLOCKS + index;
    }

    /* Allocates blocks and frees them. Returns how many of them found no magazine. */
    unsigned work(unsigned self, unsigned count)
    {
        void *blocks[BLOCKS_MOST];
        unsigned left = 0;
        for (unsigned i = 0; i < count; i++)
            blocks[i] = alloc(self);
        for (unsigned i = 0; i < count; i++)
            left += blocks[i] != nullptr && !free(self, blocks[i], self);
        return left;
    }

    void flush(unsigned self)
    {
        fli_exchange_flush_owner(&caches[self], class_index, &backing, &owners[self]);
        RL_ASSERT(caches[self].floor == nullptr && caches[self].top == nullptr);
    }

    void give_up(unsigned self)
    {
        flush(self);
        fli_exchange_end_flush_owner(&backing, &owners[self]);
    }

    /* Puts the blocks of the first `count` that a thread allocates into the pool, as it does while its home is held. */
    void leave_pooled(unsigned count)
    {
        void *blocks[BLOCKS_MOST];
        for (unsigned i = 0; i < count; i++)
            blocks[i] = alloc(0);
        bool held = fli_home_try(owners[0].home);
        RL_ASSERT(held);
        for (unsigned i = 0; i < count; i++)
            free(0, blocks[i], 0);
        give_up(0);
        fli_home_unlock(owners[0].home);
    }

    /* ---- What there is at the end. */

    uint32_t seen; /* a bit per block */

    void see(const void *block)
    {
        unsigned number = number_of(block);
        RL_ASSERT((seen & 1u << number) == 0 && owner[number]($) == FREE);
        seen |= 1u << number;
    }

    void see_magazine(fli_magazine *magazine, bool is_filled)
    {
        unsigned count = fli_load_relaxed(&magazine->count);
        RL_ASSERT((count > 0) == is_filled && count <= capacity);
        for (unsigned i = 0; i < count; i++)
            see(fli_magazine_floor(magazine, capacity)[i]);
    }

    uint32_t see_shelf(fli_chain *shelf, bool is_filled)
    {
        uint32_t magazines = 0;
        for (uint32_t index = fli_load_relaxed(&shelf->first); index != 0; magazines++) {
            fli_magazine *magazine = fli_magazine_at(&backing.magazines, index);
            see_magazine(magazine, is_filled);
            index = fli_load_relaxed(&magazine->next);
        }
        return magazines;
    }

    uint32_t see_stack(fli_stack *stack, bool is_filled)
    {
        uint32_t magazines = 0;
        for (; fli_magazine *magazine = fli_stack_pop_mpmc(stack, &backing.magazines, &owners[0].counters);
             magazines++)
            see_magazine(magazine, is_filled);
        return magazines;
    }

    bool is_listed(const fli_home_class *of, uint32_t slab)
    {
        const fli_slab *record = fli_slab_at(&backing.slabs, slab);
        if (record->list == FLI_HOME_CURRENT)
            return of->current == slab;
        if (record->list == FLI_HOME_FULL)
            return record->free == 0;
        uint32_t at = of->lists[record->list];
        while (at != slab && at != 0)
            at = fli_slab_at(&backing.slabs, at)->next;
        return at == slab;
    }

    /* Returns the free blocks of the slab. */
    unsigned see_slab(uint32_t slab)
    {
        const fli_slab *record = fli_slab_at(&backing.slabs, slab);
        const fli_home *home = fli_load_relaxed(&record->home);
        uint64_t bits = fli_load_relaxed(fli_slab_free_bits(&backing.slabs, slab));
        unsigned bits_set = (unsigned)__builtin_popcountll(bits);
        RL_ASSERT(bits >> SLAB_BLOCKS == 0 && bits_set == record->free);
        RL_ASSERT(home != nullptr && is_listed(&home->classes[class_index], slab));
        for (unsigned i = 0; i < SLAB_BLOCKS; i++)
            if ((bits >> i & 1) != 0)
                see(fli_slab_start(&backing.slabs, slab) + i * fli_class_bytes(class_index));
        return bits_set;
    }

    /* All blocks are free and in one place each, but for `left` that the threads still have. */
    void take_stock(unsigned left)
    {
        for (unsigned self = 0; self < threads; self++)
            give_up(self);
        seen = 0;
        unsigned free_bits = 0;
        uint32_t magazines = see_stack(&backing.pool.filled[class_index], true) +
                             see_stack(&backing.pool.empty, false);
        for (uint32_t slab = 1; slab <= here.slabs_begun; slab++)
            free_bits += see_slab(slab);
        for (fli_home *home = fli_homes_first(&backing.homes); home != nullptr; home = home->next) {
            RL_ASSERT(fli_load_relaxed(&home->lock) == 0);
            magazines += see_shelf(&home->classes[class_index].shelf, true) +
                         see_shelf(&home->rack.empty_shelf, false);
        }
        RL_ASSERT(free_bits == fli_homes_free(&backing.homes, class_index));
        RL_ASSERT((unsigned)__builtin_popcount(seen) + left == here.slabs_begun * SLAB_BLOCKS);
        RL_ASSERT(magazines == here.magazines_carved);
        clear_up();
    }

    void clear_up()
    {
        for (uint32_t index = 1; index <= here.magazines; index++)
            fli_magazine_at(&backing.magazines, index)->~fli_magazine();
        for (uint32_t slab = 1; slab <= SLABS_MOST; slab++) {
            fli_slab_at(&backing.slabs, slab)->~fli_slab();
            fli_model_free(fli_slab_free_bits(&backing.slabs, slab));
        }
        fli_homes_close(&backing.homes);
        fli_mutex_close(&backing.slabs.lock);
    }
};

/* What a home keeps in magazines: nothing, or two of small blocks and one without. */
enum { NO_RACK = 0, A_RACK = 8 * FLI_MAGAZINE_BYTES };

struct exchange : cache_model<exchange, LARGE, 1> {
    fli_home *held[2];

    void before()
    {
        lay_out(SLABS_MOST, MAGAZINES_MOST, NO_RACK);
        leave_pooled(3);
        for (unsigned self = 0; self < 2; self++)
            RL_ASSERT(fli_home_try(held[self] = owners[self].home));
    }
    void thread(unsigned self)
    {
        RL_ASSERT(work(self, self == 0 ? 2 : 1) == 0);
        flush(self);
    }
    void after()
    {
        for (fli_home *home : held)
            fli_home_unlock(home);
        take_stock(0);
    }
};

struct refused : cache_model<refused, LARGE, 1> {
    unsigned left[2];

    void before()
    {
        lay_out(2, 2, NO_RACK);
        leave_pooled(1);
    }
    void thread(unsigned self)
    {
        left[self] = work(self, 2 - self);
    }
    void after()
    {
        take_stock(left[0] + left[1]);
    }
};

struct counted : cache_model<counted, SMALL, 2, 3> {
    void before()
    {
        lay_out(SLABS_MOST, MAGAZINES_MOST, NO_RACK);
        leave_pooled(1);
    }
    void thread(unsigned self)
    {
        if (self > 0) {
            for (unsigned i = 0; i < 2; i++)
                RL_ASSERT(fli_cache_blocks(&caches[0], backing.magazine_blocks[SMALL], &backing.magazines) <= 4);
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

struct strangers : cache_model<strangers, SMALL, 1> {
    void *block[2], *got[2];

    void before()
    {
        lay_out(2, MAGAZINES_MOST, NO_RACK);
        for (unsigned self = 0; self < 2; self++)
            block[self] = alloc(self);
    }
    void thread(unsigned self)
    {
        RL_ASSERT(free(self, block[1 - self], 1 - self));
        flush(self);
        got[self] = alloc(self);
    }
    void after()
    {
        for (unsigned self = 0; self < 2; self++)
            RL_ASSERT(got[self] == nullptr || free(self, got[self], self));
        take_stock(0);
    }
};

struct kept : cache_model<kept, SMALL, 1> {
    void *block[3];

    void before()
    {
        lay_out(SLABS_MOST, MAGAZINES_MOST, A_RACK);
        for (void *&one : block)
            one = alloc(0);
    }
    void thread(unsigned self)
    {
        if (self == 1) {
            take_kept(owners[0].home);
            return;
        }
        for (void *one : block)
            RL_ASSERT(free(0, one, 0));
        RL_ASSERT(work(0, 3) == 0);
    }
    void after()
    {
        take_stock(0);
    }

    /* To the pool, as a trim does. */
    void take_kept(fli_home *home)
    {
        fli_home_wait(home);
        while (fli_magazine *magazine = fli_owner_take_shelved(&backing, home, SMALL))
            fli_stack_push_mpmc(&backing.pool.filled[SMALL], &backing.magazines, magazine, &owners[1].counters);
        fli_home_unlock(home);
    }
};

struct handed : cache_model<handed, SMALL, 1> {
    void *block[4];
    fli_home *held; /* thus its thread keeps nothing there */

    void before()
    {
        lay_out(SLABS_MOST, MAGAZINES_MOST, A_RACK);
        for (void *&one : block)
            one = alloc(0);
        RL_ASSERT(fli_home_try(held = owners[1].home));
    }
    void thread(unsigned self)
    {
        if (self == 0) {
            RL_ASSERT(work(0, 1) == 0);
            return;
        }
        for (void *one : block)
            RL_ASSERT(free(1, one, 0));
    }
    void after()
    {
        fli_home_unlock(held);
        take_stock(0);
    }
};

struct single : cache_model<single, SMALL, 2> {
    void *block[2], *got[2];

    void before()
    {
        lay_out(SLABS_MOST, MAGAZINES_MOST, NO_RACK);
        for (unsigned self = 0; self < 2; self++)
            block[self] = alloc(self);
    }
    void thread(unsigned self)
    {
        owner[number_of(block[self])]($) = FREE;
        RL_ASSERT(fli_single_pool_owner(&block[self], 1, SMALL, &backing, &owners[self]) == 0);
        got[self] = fli_single_take_pooled_owner(SMALL, &backing, &owners[self]);
        if (got[self] == nullptr)
            return; /* the other one has the magazine in hand */
        RL_ASSERT(owner[number_of(got[self])]($) == FREE);
        owner[number_of(got[self])]($) = self;
    }
    void after()
    {
        for (unsigned self = 0; self < 2; self++)
            RL_ASSERT(got[self] == nullptr || free(self, got[self], self));
        take_stock(0);
    }
};

/* One thread frees a block of a slab while the other adopts the slab. */
template <typename scenario> struct adopting : cache_model<scenario, SMALL, 1> {
    void *block;

    void before()
    {
        this->lay_out(1, MAGAZINES_MOST, NO_RACK);
        block = this->alloc(0);
        this->give_up(0);
    }
    void thread(unsigned self)
    {
        if (self == 0) {
            RL_ASSERT(this->free(0, block, 0));
            this->flush(0);
        } else {
            RL_ASSERT(this->work(self, 1) == 0);
        }
    }
    void after()
    {
        this->take_stock(0);
    }
};

struct hasty : cache_model<hasty, SMALL, 1> {
    void *block[4];
    unsigned left;

    void before()
    {
        lay_out(2, 4, NO_RACK);
        left = 0;
        for (void *&one : block)
            one = alloc(0);
        owners[1].realtime = true;
    }
    void thread(unsigned self)
    {
        if (self == 0) {
            void *got = alloc(0);
            RL_ASSERT(got == nullptr || free(0, got, 0));
            return;
        }
        for (void *one : block)
            left += !free(1, one, 0);
    }
    void after()
    {
        take_stock(left);
    }
};

struct adopted : adopting<adopted> {
};

struct moved : cache_model<moved, SMALL, 1> {
    fli_home *held;
    void *block[2];

    void before()
    {
        lay_out(2, MAGAZINES_MOST, NO_RACK);
        held = owners[0].home;
        RL_ASSERT(fli_home_try(held));
    }
    void thread(unsigned self)
    {
        block[self] = alloc(self);
        RL_ASSERT(block[self] != nullptr);
        RL_ASSERT(self != 0 || owners[0].home != held);
    }
    void after()
    {
        for (unsigned self = 0; self < 2; self++)
            RL_ASSERT(free(self, block[self], self));
        fli_home_unlock(held);
        take_stock(0);
    }
};

struct settled : adopting<settled> {
    fli_home *held;

    void before()
    {
        adopting::before();
        held = owners[1].home;
        RL_ASSERT(fli_home_try(held));
    }
    void after()
    {
        fli_home_unlock(held);
        adopting::after();
    }
};

struct passed : cache_model<passed, SMALL, 1> {
    void *block[2];

    void before()
    {
        lay_out(2, MAGAZINES_MOST, NO_RACK);
        work(0, 1);
        give_up(0);
    }
    void thread(unsigned self)
    {
        fli_homes_leave(&backing.homes, owners[self].home);
        owners[self].home = fli_homes_enter(&backing.homes);
        block[self] = alloc(self);
        RL_ASSERT(block[self] != nullptr);
    }
    void after()
    {
        RL_ASSERT(owners[0].home != owners[1].home);
        for (unsigned self = 0; self < 2; self++)
            RL_ASSERT(free(self, block[self], self));
        take_stock(0);
    }
};

} // namespace

/* ---- In place of what begins slabs, carves magazines and has memory. */

fli_magazine *fli_magazine_carve(fli_magazines *magazines)
{
    if (now->magazines_carved == now->magazines)
        return nullptr;
    fli_magazine *magazine = fli_magazine_at(magazines, ++now->magazines_carved);
    fli_store_relaxed(&magazine->count, 0);
    return magazine;
}

fli_magazine *fli_magazine_carve_quickly(fli_magazines *magazines)
{
    return fli_magazine_carve(magazines);
}

uint32_t fli_slab_begin(fli_slabs *slabs, unsigned class_index, uint32_t, uint32_t)
{
    fli_lock(&slabs->lock);
    uint32_t slab = now->slabs_begun < now->slabs ? ++now->slabs_begun : 0;
    if (slab != 0) {
        fli_slab *record = fli_slab_at(slabs, slab);
        record->blocks = record->free = SLAB_BLOCKS;
        record->class_index = (uint16_t)class_index;
        fli_store_relaxed(fli_slab_free_bits(slabs, slab), ((uint64_t)1 << SLAB_BLOCKS) - 1);
        fli_store_relaxed(fli_slab_class_at(slabs, slab), (uint8_t)class_index);
    }
    fli_unlock(&slabs->lock);
    return slab;
}

bool fli_slab_begin_anew(fli_slabs *, unsigned, uint32_t)
{
    return false;
}

const fli_range *fli_range_beyond(const fli_ranges *, uint32_t)
{
    return nullptr;
}

const fli_range *fli_range_around(const fli_ranges *, const void *)
{
    return nullptr;
}

fli_magazine *fli_magazine_beyond(const fli_magazines *, uint32_t)
{
    return nullptr;
}

uint32_t fli_magazine_index_beyond(const fli_magazines *, const fli_magazine *)
{
    return 0;
}

void fli_allowance_note_home_owner(fli_owner *, unsigned, unsigned)
{
}

void fli_stray_note(fli_slabs *, unsigned, const void *, bool)
{
    RL_ASSERT(!"a block is no stray");
}

fli_model_memory fli_model_aligned_alloc(size_t, size_t)
{
    return {now->homes_made < now->homes ? now->home_memory[now->homes_made++] : nullptr};
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
    if (is_asked_for("strangers", argc, argv, &expect_error))
        return check<strangers>(expect_error);
    if (is_asked_for("kept", argc, argv, &expect_error))
        return check<kept>(expect_error);
    if (is_asked_for("handed", argc, argv, &expect_error))
        return check<handed>(expect_error);
    if (is_asked_for("hasty", argc, argv, &expect_error))
        return check<hasty>(expect_error);
    if (is_asked_for("adopted", argc, argv, &expect_error))
        return check<adopted>(expect_error);
    if (is_asked_for("moved", argc, argv, &expect_error))
        return check<moved>(expect_error);
    if (is_asked_for("settled", argc, argv, &expect_error))
        return check<settled>(expect_error);
    if (is_asked_for("passed", argc, argv, &expect_error))
        return check<passed>(expect_error);
    if (is_asked_for("single", argc, argv, &expect_error))
        return check<single>(expect_error);
    std::cerr << "usage: " << argv[0] << " SCENARIO [--expect-error], see the head of model_cache.cpp" << std::endl;
    return 2;
}
