/* SPDX-License-Identifier: MIT
 *
 * A model check of blocks that wait for a grace period: src/grace/batch.c, src/pool/deferred.c, src/memory/mark.c,
 * src/pool/merge.c, src/pool/unsubmitted.c and the stack of src/pool/pool.c, compiled over model_atomic.h, run by Relacy (model_check.h).
 *
 * Each of two threads unlinks a block, defers it, submits it, and passes quiescent states. Then it reads the block of
 * the other one, if it still finds that; in one scenario a third thread does. One of them, or both, take steps of the
 * batches and reuse what has come free. A grace period ends when each thread has passed a quiescent state after it
 * began. Its orders are those that grace.h promises.
 *
 * Checked in each execution:
 *
 *     none is free too early     the contents of a block are a plain variable: to reuse a block that another
 *                                thread can still read is a data race
 *     each is free once          at the end each block has been reused, and none was reused twice
 *     counts are true            at the end no block counts as submitted
 *     words under the lock       are plain variables (FLI_PLAIN): an access without the lock is a data race
 *
 *     merged      each thread has a magazine that is not full: a batch may have one or both of them
 *     marked      there is no magazine: blocks are marked in their slab, whose home may be busy; both take steps
 *     drained     one thread waits until what it has submitted is free, while the other one submits, too
 *     closed      one thread closes a batch while another one submits; the third one, after a quiescent state, reads
 *                 (with one preemption)
 *
 * The program is built once as it is, and once for each mutant: one where locks lock nothing, one where a batch does not
 * wait, one where it has the grace period of the batch before it, and one where its grace period begins before it is
 * closed.
 *
 * usage: model_batch merged|marked|drained|closed [--expect-error]
 */
#include "base/check.h"
#include "memory/block.h"
#include "memory/mark.h"
#include "memory/state.h"
#include "memory/stray.h"
#include "model_periods.h"
#include "pool/deferred.h"
#include "pool/deliver.h"
#include "pool/unsubmitted.h"

#include <new>

namespace
{

enum { CLASS = 1, THREADS = 2, STEPS = 2, ALIVE = 1, REUSED = 2 };

/* Of one execution. */
struct ground {
    fli_backing backing;
    fli_deferred deferred;
    fli_grace grace;
    fli_owner owners[THREADS];
    periods grace_periods;
    rl::atomic<bool> found[THREADS]; /* whether readers find the block */
    rl::var<unsigned> contents[THREADS];
    void **places[THREADS][CLASS + 1];
    unsigned magazines; /* how many can be had */
    fli_mutex home_lock;

    void *block(unsigned number)
    {
        return fli_slab_start(&backing.slabs, 1) + number * fli_class_bytes(CLASS);
    }

    void reuse(unsigned number)
    {
        RL_ASSERT(number < THREADS && contents[number]($) == ALIVE);
        contents[number]($) = REUSED;
    }
};

ground *now;

/* Only a step sees whether the grace period has ended. */
void wait_a_while(void *, int64_t)
{
    rl::yield(1, $);
}

void wait_for(void *, int64_t, unsigned)
{
}

template <typename scenario, unsigned capacity, unsigned magazines_each, unsigned readers = 0>
struct batch_model : rl::test_suite<scenario, THREADS + readers> {
    ground here;
    FLI_ATOMIC(uint8_t) slab_class;
    uint64_t marks[2 * FLI_SLAB_BIT_WORDS];
    fli_home home;
    alignas(fli_row) char row_memory[sizeof(fli_row)];
    char memory[(THREADS + 2) * FLI_MAGAZINE_BYTES];

    void lay_out_slab()
    {
        fli_slabs *slabs = &here.backing.slabs;
        fli_range *range = &slabs->ranges.at[0];
        range->base = (char *)((uintptr_t)1 << 32); /* no block is touched */
        range->span = FLI_SLAB_BYTES;
        range->first = range->slabs = 1;
        range->classes = &slab_class;
        range->rows = (fli_row *)(void *)row_memory;
        range->marks = marks;
        size_t bytes = fli_class_bytes(CLASS);
        slabs->by_class[CLASS].block_bytes = bytes;
        slabs->by_class[CLASS].blocks = THREADS;
        slabs->by_class[CLASS].reciprocal = (uint32_t)((((uint64_t)1 << 32) + bytes - 1) / bytes);
        slabs->hardened = slabs->watched = false;
        slabs->marks = fli_marks();
        std::memset(marks, 0, sizeof marks);
        fli_store_relaxed(&slab_class, CLASS);
        fli_slab *record = ::new (fli_slab_at(slabs, 1)) fli_slab;
        record->class_index = CLASS;
        record->marks = 0;
        fli_store_relaxed(&record->home, &home);
        fli_mutex_init(&slabs->lock, FLI_RANK_MEMORY);
        fli_mutex_init(&here.home_lock, FLI_RANK_HOME);
    }

    fli_magazine *magazine(unsigned index)
    {
        return fli_magazine_at(&here.backing.magazines, index);
    }

    void lay_out_magazines()
    {
        uintptr_t start = fli_round_up((uintptr_t)memory, FLI_MAGAZINE_BYTES);
        here.backing.magazines.at[0] = {(char *)start, 0, THREADS + 1};
        for (unsigned index = 1; index <= THREADS; index++)
            ::new (magazine(index)) fli_magazine;
        here.magazines = magazines_each;
        here.backing.magazine_blocks[CLASS] = capacity;
        fli_stack_init(&here.backing.pool.empty);
        fli_stack_init(&here.backing.pool.filled[CLASS]);
    }

    void lay_out_deferred()
    {
        fli_deferred *deferred = &here.deferred;
        fli_deferred_init(deferred, &here.backing, &here.grace, SIZE_MAX / 4);
        fli_store_relaxed(&deferred->bytes, (size_t)0);
        for (unsigned c = 0; c < FL_CLASS_COUNT; c++)
            fli_store_relaxed(&deferred->blocks[c], (size_t)0);
        fli_store_relaxed(&deferred->has_marks, false);
        deferred->pressure = 0;
        fli_store_relaxed(&deferred->batch.token, (int64_t)0);
        fli_chain_begin(&deferred->waiting, 0);
    }

    void before()
    {
        now = &here;
        here.grace.kind = FL_GRACE_QSBR;
        here.grace.calls.elapsed = has_elapsed;
        here.grace.wait_for = wait_for;
        here.grace_periods.before(THREADS + readers);
        lay_out_slab();
        lay_out_magazines();
        lay_out_deferred();
        for (unsigned i = 0; i < THREADS; i++) {
            here.owners[i].realtime = false;
            here.owners[i].submitted_parts = 0;
            here.places[i][CLASS] = nullptr;
            here.found[i].store(true, rl::mo_relaxed, $);
            here.contents[i]($) = ALIVE;
        }
    }

    void after()
    {
        for (unsigned steps = 0; fli_deferred_is_waiting(&here.deferred); steps++) {
            RL_ASSERT(steps < 4);
            fli_deferred_advance(&here.deferred);
        }
        take();
        for (unsigned i = 0; i < THREADS; i++)
            RL_ASSERT(here.contents[i]($) == REUSED);
        for (unsigned c = 0; c < FL_CLASS_COUNT; c++)
            RL_ASSERT(fli_load_relaxed(&here.deferred.blocks[c]) == 0);
        clear_up();
    }

    void clear_up()
    {
        for (unsigned index = 1; index <= THREADS; index++)
            magazine(index)->~fli_magazine();
        fli_slab_at(&here.backing.slabs, 1)->~fli_slab();
        fli_deferred_close(&here.deferred);
        fli_mutex_close(&here.backing.slabs.lock);
        fli_mutex_close(&here.home_lock);
    }

    /* Reuses what has come free. Returns a bit per block. */
    unsigned take()
    {
        fli_stack *filled = &here.backing.pool.filled[CLASS];
        unsigned taken = 0;
        while (fli_magazine *one = fli_stack_pop_mpmc(filled, &here.backing.magazines, &here.owners[0].counters)) {
            unsigned count = fli_load_relaxed(&one->count);
            RL_ASSERT(count >= 1 && count <= capacity);
            for (unsigned i = 0; i < count; i++) {
                unsigned number = fli_slab_block_index(&here.backing.slabs, CLASS,
                                                       fli_magazine_floor(one, capacity)[i]);
                here.reuse(number);
                taken |= 1u << number;
            }
        }
        return taken;
    }

    /* Unlinks the thread's block, and defers it. */
    void defer(unsigned self)
    {
        here.found[self].store(false, rl::mo_relaxed, $);
        fli_unsubmitted_put_owner(&here.deferred, here.places[self], CLASS, here.block(self), &here.owners[self]);
        struct fli_class_set classes = {};
        fli_class_set_add(&classes, CLASS);
        fli_unsubmitted_submit_classes_owner(&here.deferred, here.places[self], &classes, &here.owners[self]);
    }

    void read_block(unsigned number)
    {
        if (here.found[number].load(rl::mo_acquire, $))
            RL_ASSERT(here.contents[number]($) == ALIVE);
    }

    void read(unsigned self)
    {
        read_block(1 - self);
    }

    void pass(unsigned self)
    {
        here.grace_periods.pass(self);
    }

    void pass_and_advance(unsigned self)
    {
        pass(self);
        fli_deferred_advance(&here.deferred);
    }

    /* The thread reads no more. */
    void leave(unsigned self)
    {
        here.grace_periods.leave(self);
    }

    void thread(unsigned self)
    {
        defer(self);
        static_cast<scenario *>(this)->step(self);
        leave(self);
    }
};

struct merged : batch_model<merged, 2, 1> {
    void step(unsigned self)
    {
        for (unsigned i = 0; self == 0 && i < STEPS; i++)
            pass_and_advance(self);
        if (self == 0)
            take();
        pass(self);
        read(self);
    }
};

struct marked : batch_model<marked, 2, 0> {
    void step(unsigned self)
    {
        for (unsigned i = 0; i < STEPS - self; i++)
            pass_and_advance(self);
        read(self);
    }
};

struct drained : batch_model<drained, 1, 1> {
    void step(unsigned self)
    {
        if (self != 0) {
            pass(self);
            read(self);
            return;
        }
        leave(self);
        RL_ASSERT(fli_deferred_drain(&here.deferred, wait_a_while, nullptr) == 0);
        RL_ASSERT((take() & 1) != 0);
    }
};

struct closed : batch_model<closed, 1, 1, 1> {
    void before()
    {
        batch_model::before();
        defer(0);
        leave(0);
        leave(1);
    }
    void thread(unsigned self)
    {
        if (self == 1)
            return defer(self);
        if (self == 0) {
            for (unsigned i = 0; i < STEPS; i++)
                fli_deferred_advance(&here.deferred);
            take();
            return;
        }
        pass(self);
        read_block(1);
        leave(self);
    }
};

} // namespace

/* ---- In place of the files that deferred.c, batch.c, mark.c, merge.c and unsubmitted.c use. */

fli_magazine *fli_owner_obtain_empty_anywhere(fli_backing *backing, fli_owner *owner)
{
    return now->magazines > 0 ? fli_magazine_at(&backing->magazines, 1 + (uint32_t)(owner - now->owners)) : nullptr;
}

fli_magazine *fli_magazine_beyond(const fli_magazines *, uint32_t)
{
    RL_ASSERT(!"a magazine beyond the range");
    return nullptr;
}

uint32_t fli_magazine_index_beyond(const fli_magazines *, const fli_magazine *)
{
    RL_ASSERT(!"a magazine beyond the range");
    return 0;
}

/* The library asks whether there is a slab behind the last one. */
const fli_range *fli_range_beyond(const fli_ranges *, uint32_t)
{
    return nullptr;
}

const fli_range *fli_range_around(const fli_ranges *, const void *)
{
    RL_ASSERT(!"a block beyond the range");
    return nullptr;
}

uint32_t fli_slab_committed(fli_slabs *)
{
    return 1;
}

bool fli_block_is_start(const fli_slabs *, unsigned, const void *)
{
    return true;
}

bool fli_block_is_free(const fli_slabs *, unsigned, const void *)
{
    return false;
}

int fli_complain(int, char *, size_t, const char *, ...)
{
    RL_ASSERT(!"a check");
    return 0;
}

void fli_stray_note(fli_slabs *, unsigned, const void *, bool)
{
    RL_ASSERT(!"a stray");
}

bool fli_home_try_briefly(fli_home *)
{
    return fli_trylock(&now->home_lock);
}

void fli_home_unlock(fli_home *)
{
    fli_unlock(&now->home_lock);
}

void fli_deliver_bits(fli_homes *, fli_home *, uint32_t, const uint64_t *bits)
{
    for (uint64_t left = bits[0]; left != 0; left &= left - 1)
        now->reuse((unsigned)__builtin_ctzll(left));
}

/* There are no large blocks. */
size_t fli_large_close_deferred(fli_large *)
{
    return 0;
}

size_t fli_large_release_deferred(fli_large *, size_t *blocks)
{
    return *blocks = 0;
}

/* The heap is neither hardened nor watched. */
void fli_block_poison(fli_slabs *, unsigned, void *)
{
}

void fli_state_release(fli_slabs *, unsigned, void *const *, size_t)
{
}

void fli_state_release_marked(fli_slabs *, unsigned, uint32_t, const uint64_t *)
{
}

unsigned fli_homes_return(fli_homes *, unsigned, void **, unsigned, bool, fli_pool_counters *)
{
    return 0;
}

int main(int argc, char **argv)
{
    bool expect_error;
    if (is_asked_for("merged", argc, argv, &expect_error))
        return check<merged>(expect_error);
    if (is_asked_for("marked", argc, argv, &expect_error))
        return check<marked>(expect_error);
    if (is_asked_for("drained", argc, argv, &expect_error))
        return check<drained>(expect_error);
    if (is_asked_for("closed", argc, argv, &expect_error))
        return check<closed>(expect_error, 1);
    std::cerr << "usage: " << argv[0] << " merged|marked|drained|closed [--expect-error]" << std::endl;
    return 2;
}
