/* SPDX-License-Identifier: MIT
 *
 * A model check of slabs that have been retired: src/heap/retired.c and src/grace/batch.c, compiled over
 * model_atomic.h, run by Relacy (model_check.h).
 *
 * One thread retires two slabs, as a trim does. The other one may still find a block there and read its kind. A grace
 * period ends when both threads have passed a quiescent state after it began (model_batch.cpp).
 *
 * Checked in each execution:
 *
 *     none is idle too early     the kind of a slab's blocks is a plain variable, which becomes another one when the
 *                                slab is made idle: to do so while a thread can still read it is a data race
 *     each goes one way          a slab is made idle once, or taken back into a home once; at the end none is retired
 *     lists have their lock      they are plain words (FLI_PLAIN): an access without the lock is a data race
 *
 *     waits      both threads take steps of the batch
 *     wanted     the reader, short of memory, takes a slab back meanwhile
 *
 * The program is built once as it is, and once for each mutant: one where locks lock nothing, one where a batch does not
 * wait, and one where it has the grace period of the batch before it.
 *
 * usage: model_retired waits|wanted [--expect-error]
 */
#include "heap/retired.h"
#include "heap/stall.h"
#include "heap/thread.h"
#include "memory/idle.h"
#include "memory/slab_list.h"
#include "model_periods.h"

#include <new>

namespace
{

enum { CLASS = 1, SLABS = 2, THREADS = 2, ANOTHER = 7 };

enum place { RETIRED, IN_HAND, AT_HOME, IDLE };

/* Of one execution. */
struct ground {
    fl_heap heap;
    fli_home home;
    periods grace_periods;
    rl::atomic<bool> found[SLABS + 1]; /* whether readers find a block of the slab */
    rl::var<unsigned> kind[SLABS + 1]; /* what readers see there */
    rl::var<unsigned> places[SLABS + 1];

    void move(uint32_t slab, place from, place to)
    {
        RL_ASSERT(slab >= 1 && slab <= SLABS && places[slab]($) == from);
        places[slab]($) = to;
    }
};

ground *now;

template <typename scenario> struct retired_model : rl::test_suite<scenario, THREADS> {
    ground here;
    alignas(fli_row) char row_memory[SLABS * sizeof(fli_row)];

    void before()
    {
        now = &here;
        fl_heap *heap = &here.heap;
        fli_slabs *slabs = &heap->backing.slabs;
        slabs->ranges.at[0].first = 1;
        slabs->ranges.at[0].slabs = SLABS;
        slabs->ranges.at[0].rows = (fli_row *)(void *)row_memory;
        for (uint32_t slab = 1; slab <= SLABS; slab++) {
            (::new (fli_slab_at(slabs, slab)) fli_slab)->class_index = CLASS;
            here.kind[slab]($) = CLASS;
            here.places[slab]($) = RETIRED;
            here.found[slab].store(true, rl::mo_relaxed, $);
        }
        fli_store_relaxed(&slabs->retired, 0u);
        fli_mutex_init(&heap->trim_lock, FLI_RANK_TRIM);
        heap->grace.kind = FL_GRACE_QSBR;
        heap->grace.calls.elapsed = has_elapsed;
        heap->retired.warm_most = 0;
        fli_retired_init(heap);
        fli_store_relaxed(&heap->retired.batch.token, (int64_t)0);
        here.grace_periods.before(THREADS);
    }

    void after()
    {
        fli_retired_reclaim(&here.heap); /* releases a batch, and closes the next one */
        fli_retired_reclaim(&here.heap);
        for (uint32_t slab = 1; slab <= SLABS; slab++) {
            RL_ASSERT(here.places[slab]($) == AT_HOME || here.places[slab]($) == IDLE);
            fli_slab_at(&here.heap.backing.slabs, slab)->~fli_slab();
        }
        RL_ASSERT(here.heap.retired.collecting == 0 && here.heap.retired.waiting == 0);
        RL_ASSERT(fli_load_relaxed(&here.heap.backing.slabs.retired) == 0);
        fli_mutex_close(&here.heap.trim_lock);
    }

    void pass(unsigned self)
    {
        here.grace_periods.pass(self);
    }

    void leave(unsigned self)
    {
        here.grace_periods.leave(self);
    }

    void read()
    {
        for (uint32_t slab = 1; slab <= SLABS; slab++)
            if (here.found[slab].load(rl::mo_acquire, $))
                RL_ASSERT(here.kind[slab]($) == CLASS);
    }

    void retire(uint32_t slab)
    {
        fl_heap *heap = &here.heap;
        here.found[slab].store(false, rl::mo_relaxed, $);
        fli_lock(&heap->trim_lock);
        fli_add_count(&heap->backing.slabs.retired, 1u);
        fli_slab_list_add(&heap->backing.slabs, &heap->retired.collecting, slab);
        fli_retired_reclaim_locked(heap);
        fli_unlock(&heap->trim_lock);
    }

    void thread(unsigned self)
    {
        if (self == 0) {
            retire(1);
            pass(self);
            retire(2);
            pass(self);
            fli_retired_reclaim(&here.heap);
        } else {
            static_cast<scenario *>(this)->use();
        }
        leave(self);
    }
};

struct waits : retired_model<waits> {
    void use()
    {
        read();
        pass(1);
        fli_retired_reclaim(&here.heap);
        read();
    }
};

struct wanted : retired_model<wanted> {
    void use()
    {
        read();
        fli_retired_take_back(&here.heap, CLASS, &here.home);
        pass(1);
        fli_retired_reclaim(&here.heap);
        read();
    }
};

} // namespace

/* ---- In place of the files that retired.c and batch.c use. */

void fli_stall_wait_for(void *, int64_t)
{
    RL_ASSERT(!"a thread waits");
}

size_t fli_idle_make(fli_slabs *slabs, uint32_t retired, size_t)
{
    while (retired != 0) {
        now->move(retired, RETIRED, IDLE);
        now->kind[retired]($) = ANOTHER;
        fli_sub_count(&slabs->retired, 1u);
        retired = fli_slab_at(slabs, retired)->next;
    }
    return 0;
}

void fli_slab_unretire(fli_slabs *slabs, uint32_t slab)
{
    now->move(slab, RETIRED, IN_HAND);
    fli_sub_count(&slabs->retired, 1u);
}

void fli_home_take_in(fli_homes *, fli_home *, uint32_t slab)
{
    now->move(slab, IN_HAND, AT_HOME);
}

/* The home is not busy. */
void fli_home_wait(fli_home *)
{
}

void fli_home_unlock(fli_home *)
{
}

const fli_range *fli_range_beyond(const fli_ranges *, uint32_t)
{
    RL_ASSERT(!"a slab beyond the range");
    return nullptr;
}

int main(int argc, char **argv)
{
    bool expect_error;
    if (is_asked_for("waits", argc, argv, &expect_error))
        return check<waits>(expect_error);
    if (is_asked_for("wanted", argc, argv, &expect_error))
        return check<wanted>(expect_error);
    std::cerr << "usage: " << argv[0] << " waits|wanted [--expect-error]" << std::endl;
    return 2;
}
