/* SPDX-License-Identifier: MIT
 *
 * A model check of reference counts: the inline fast paths of object.h, and count.c, slot.c and hand.c of src/object/
 * over the stacks of src/pool/, compiled over model_atomic.h, run by Relacy (model_check.h).
 *
 * Checked in each execution:
 *
 *     an object dies once               `lives`, a plain variable of the object, is set when it dies
 *     it dies after all uses of it      each thread that has a reference writes a plain variable of the object, and its
 *                                       death reads them all: a use that is not ordered before is a data race
 *     nothing is lost                   at the end the object is dead, if nobody has a reference any more; what is in
 *                                       the owner's queue, the slot's state tells
 *
 * Thread 0 owns the object, through slot 1; but in `comes` and `passes` it is thread 1 in the end.
 *
 *     dropped     the owner and two other threads, which count in the shared word, drop their references
 *     handed      a thread drops two references that count in the owner's word, while the owner drops one and merges
 *     leaves      a thread drops such a reference while the owner leaves its slot (exit against enqueue)
 *     claims      two threads drop such references, and the owner is not there
 *     removed     the owner is gone without having left, and another thread drops one
 *     comes       one does, while another thread takes the slot and drops one
 *     passes      the owner leaves, and a thread drops the last reference
 *     published   a reader without locks tries to take a reference against the owner's last decref
 *     linked      the same, and the dead object waits, linked through its counts
 *     reborn      as published, and the object is made anew, and published at another place
 *     inherited   the same, but another thread makes it anew
 *     returned    as reborn, and the new object is stored at the reader's place
 *
 * The program is run as model_pool is, and built once more without publication (FREELANE_MODEL_NO_PUBLISH): a reader
 * may raise any count that is not merged.
 *
 * usage: model_count dropped|handed|leaves|removed|claims|comes|passes|published|linked|reborn|inherited|returned
 *        [--expect-error]
 */
#include "model_check.h"
#include "object/hand.h"

#include <algorithm>
#include <new>

namespace
{

/* Each thread gets so many magazines. */
enum {
    THREADS_MOST = 3,
    EACH = 2,
    MAGAZINES = THREADS_MOST * EACH,
    SLOT = 1,
    OTHER = 2,
    MARK = SLOT << FLI_LOCAL_BITS
};

/* What the functions below, which stand for those of object.c, work on: that of the execution under way. */
struct count_world {
    fli_slot slots[OTHER + 1];
    fli_stack dead, empty;
    fli_magazines magazines;
    fli_pool_counters counters;
    alignas(16) char memory[(MAGAZINES + 2) * FLI_MAGAZINE_BYTES];

    fl_type type;
    fl_object object;
    fl_thread threads[THREADS_MOST];
    rl::var<bool> lives;
    rl::var<unsigned> uses[THREADS_MOST];
    unsigned taken[THREADS_MOST]; /* magazines that a thread has got; its own */
    bool owner_ended;             /* thread 0 has deallocated the object; its own */

    fli_merging merging()
    {
        return fli_merging{&magazines, &dead, &empty, &counters, nullptr, FLI_DROP_LIVES};
    }

    void die()
    {
        RL_ASSERT(lives($));
        lives($) = false;
        for (rl::var<unsigned> &use : uses)
            (void)use($).load();
    }

    /* For thread 1 through the outs of its slot, for another without. */
    fli_handing handing(fl_thread *thread)
    {
        fli_slot *mine = thread == &threads[1] ? &slots[OTHER] : nullptr;
        return fli_handing{reinterpret_cast<fli_thread *>(thread), slots, mine, merging(), false};
    }

    void end_handing(const fli_handing &handing)
    {
        RL_ASSERT(handing.merging.wrong == nullptr && !handing.refused);
        end_dead();
    }

    /* What fl_merge does with the outs of thread 1. */
    void hand_outs()
    {
        fli_handing outs = handing(&threads[1]);
        fli_hand_outs(&outs);
        end_handing(outs);
    }

    /* Deallocates the dead objects that merges have found. */
    void end_dead()
    {
        while (fli_magazine *magazine = fli_stack_pop_mpmc(&dead, &magazines, &counters))
            for (uint32_t i = 0; i < fli_magazine_count(magazine); i++)
                die();
    }
};

count_world *world;

template <typename scenario, unsigned thread_count>
struct count_model : rl::test_suite<scenario, thread_count>, count_world {
    /* An object of slot 1 with so many references in either word. */
    void set_up(uint32_t local, uint32_t shared, bool online)
    {
        world = this;
        magazines.at[0] = {memory, 0, MAGAZINES + 1};
        fli_hand_forget(&slots[OTHER]);
        fli_store_relaxed(&slots[OTHER].handed, 0);
        for (fli_stack *stack : {&dead, &empty, &slots[SLOT].queue}) {
            fli_store_relaxed(&stack->head, fli_tagged_empty(0));
            stack->is_aside = false;
        }
        for (uint32_t index = 1; index <= MAGAZINES; index++) {
            fli_magazine *magazine = ::new (fli_magazine_at(&magazines, index)) fli_magazine;
            fli_store_relaxed(&magazine->count, 0);
        }
        std::fill(taken, taken + THREADS_MOST, 0);
        fli_store_relaxed(&slots[SLOT].state, online ? FLI_SLOT_ONLINE : 0);
        std::memset(threads, 0, sizeof threads);
        threads[0].slot = online ? (uint32_t)MARK : 0;
        type = fl_type();
        owner_ended = false;
        for (rl::var<unsigned> &use : uses)
            use($) = 0;
        make(local, shared);
    }

    void make(uint32_t local, uint32_t shared)
    {
        fli_store_relaxed(&object.counts.local, MARK + local);
        fli_store_relaxed(&object.counts.shared, shared * FL_SHARED_ONE);
        object.type = &type;
        lives($) = true;
    }

    void use(unsigned self)
    {
        RL_ASSERT(lives($));
        uses[self]($) = uses[self]($) + 1;
    }

    void drop(unsigned self)
    {
        use(self);
        fl_decref(&threads[self], &object);
    }

    /* What fl_merge does. */
    void merge()
    {
        fli_merging with = merging();
        if (!fli_slot_claim_owner(&slots[SLOT]))
            return;
        fli_slot_merge(&slots[SLOT], &with);
        RL_ASSERT(with.wrong == nullptr);
        end_dead();
    }

    /* What detaching does. */
    void leave()
    {
        while (!fli_slot_leave(&slots[SLOT]))
            merge();
        threads[0].slot = 0;
    }

    /* At the end the owner merges once more if it is there. Then the object is dead. */
    void expect_dead()
    {
        if ((fli_load_relaxed(&slots[SLOT].state) & FLI_SLOT_ONLINE) != 0)
            merge();
        RL_ASSERT(!lives($));
        RL_ASSERT(fli_load_relaxed(&slots[SLOT].state) == (fli_load_relaxed(&slots[SLOT].state) & FLI_SLOT_ONLINE));
        for (uint32_t index = 1; index <= MAGAZINES; index++)
            fli_magazine_at(&magazines, index)->~fli_magazine();
    }
};

struct dropped : count_model<dropped, 3> {
    void before()
    {
        set_up(1, 2, true);
    }
    void thread(unsigned self)
    {
        drop(self);
    }
    void after()
    {
        expect_dead();
    }
};

struct handed : count_model<handed, 2> {
    void before()
    {
        set_up(3, 0, true);
    }
    void thread(unsigned self)
    {
        drop(self);
        if (self == 0)
            return merge();
        hand_outs();
        drop(self);
        hand_outs();
    }
    void after()
    {
        RL_ASSERT((fli_load_relaxed(&slots[SLOT].state) & FLI_SLOT_PENDING) == 0 ||
                  fli_load_relaxed(&slots[SLOT].handed) != 0);
        expect_dead();
    }
};

struct leaves : count_model<leaves, 2> {
    void before()
    {
        set_up(2, 0, true);
    }
    void thread(unsigned self)
    {
        drop(self);
        if (self == 0)
            leave();
        else
            hand_outs();
    }
    void after()
    {
        expect_dead();
    }
};

struct removed : count_model<removed, 2> {
    void before()
    {
        set_up(2, 0, true);
    }
    void thread(unsigned self)
    {
        drop(self);
        if (self == 1)
            return hand_outs();
        fli_slot_remove(&slots[SLOT]);
        threads[0].slot = 0;
    }
    void after()
    {
        fli_merging with = merging();
        if (fli_slot_claim(&slots[SLOT]))
            fli_slot_merge(&slots[SLOT], &with); /* as whoever hands something over next */
        end_dead();
        expect_dead();
    }
};

struct claims : count_model<claims, 2> {
    void before()
    {
        set_up(2, 0, false);
    }
    void thread(unsigned self)
    {
        drop(self);
        if (self == 1)
            hand_outs();
    }
    void after()
    {
        expect_dead();
    }
};

struct comes : count_model<comes, 2> {
    void before()
    {
        set_up(2, 0, false);
    }
    void thread(unsigned self)
    {
        if (self == 1) {
            fli_slot_enter(&slots[SLOT]);
            threads[1].slot = MARK;
        }
        drop(self);
        if (self == 1)
            hand_outs();
    }
    void after()
    {
        expect_dead();
    }
};

struct passes : count_model<passes, 2> {
    void before()
    {
        set_up(2, 0, true);
    }
    void thread(unsigned self)
    {
        if (self == 1) {
            drop(self);
            return hand_outs();
        }
        fl_incref(&threads[0], &object);
        drop(0);
        fl_decref(&threads[0], &object);
        fli_slot_leave(&slots[SLOT]); /* or not, if something was handed over: then it stays */
    }
    void after()
    {
        expect_dead();
    }
};

/* A reader finds the object at a place. */
template <typename scenario, unsigned thread_count = 2> struct read_model : count_model<scenario, thread_count> {
    fli_model_atomic<fl_object *> place;

    void begin()
    {
        this->set_up(1, 0, true);
        publish();
        fli_store_release(&place, &this->object);
    }

    void publish()
    {
#if !defined(FREELANE_MODEL_NO_PUBLISH)
        fli_count_publish(&this->object.counts);
#endif
    }

    /* The owner takes it away, and drops it. */
    void take_away()
    {
        fli_store_release(&place, nullptr);
        this->drop(0);
    }

    /* Whether the reader has a reference, and found the object at its place after it took that. */
    bool try_place()
    {
        fl_object *found = fli_load_acquire(&place);
        return found != nullptr && fl_try_incref(&this->threads[1], found, &place);
    }
};

struct published : read_model<published> {
    void before()
    {
        begin();
    }
    void thread(unsigned self)
    {
        if (self == 0)
            take_away();
        else if (try_place())
            drop(1);
    }
    void after()
    {
        expect_dead();
    }
};

/* What the shared count of an object that is linked has in the bit that makes it negative. */
#if !defined(MODEL_LINK_SIGN)
#define MODEL_LINK_SIGN FLI_SHARED_LINKED
#endif

/* The library stores both counts at once. A reader that looks at one of them may find it as it is here between two. */
struct linked : read_model<linked> {
    void before()
    {
        begin();
    }
    void thread(unsigned self)
    {
        if (self == 1) {
            if (try_place())
                drop(1);
            return;
        }
        take_away();
        if (!owner_ended)
            return;
        fli_store_public(&object.counts.local, ~0u);
        uint32_t link = ~(FLI_SHARED_LINKED | (uint32_t)FL_SHARED_IMMORTAL);
        fli_store_public(&object.counts.shared, link | FL_SHARED_MERGED | MODEL_LINK_SIGN);
        fli_store_public(&object.counts.local, 0u);
        fli_store_public(&object.counts.shared, (uint32_t)(FL_SHARED_PUBLISHED | FL_SHARED_MERGED));
    }
    void after()
    {
        expect_dead();
    }
};

/* The owner makes the object anew, if that is dead, with a reference of its own. */
template <typename scenario, bool returns> struct anew_model : read_model<scenario> {
    rl::var<unsigned> life;
    bool again;

    void before()
    {
        this->begin();
        again = false;
        life($) = 1;
    }
    void thread(unsigned self)
    {
        if (self == 1) {
            if (!this->try_place())
                return;
            RL_ASSERT(life($) == 1 || returns);
            return this->drop(1);
        }
        this->take_away();
        if (this->owner_ended)
            make_anew();
    }
    void make_anew()
    {
        again = true;
        this->make(1, 0);
        this->publish();
        life($) = 2;
        if (returns)
            fli_store_release(&this->place, &this->object);
    }
    void after()
    {
        if (again)
            this->drop(0);
        this->expect_dead();
    }
};

struct reborn : anew_model<reborn, false> {
};

/* Thread 2 makes the object anew, once it has heard that it is dead. All references to it are shared. */
struct inherited : read_model<inherited, 3> {
    fli_model_atomic<uint32_t> ended;
    rl::var<unsigned> life;
    bool again;

    void before()
    {
        begin();
        again = false;
        life($) = 1;
        fli_store_relaxed(&ended, 0u);
    }
    void thread(unsigned self)
    {
        if (self == 0) {
            take_away();
            fli_store_release(&ended, (uint32_t)owner_ended);
        } else if (self == 2 && fli_load_acquire(&ended) != 0) {
            make_anew();
        } else if (self == 1 && try_place()) {
            RL_ASSERT(life($) == 1);
            drop(1);
        }
    }
    void make_anew()
    {
        again = true;
        lives($) = true;
        life($) = 2;
        fli_store_relaxed(&object.counts.local, 0u);
        fli_store_relaxed(&object.counts.shared, (uint32_t)(FL_SHARED_MERGED | FL_SHARED_ONE));
        publish();
    }
    void after()
    {
        if (again)
            drop(2);
        expect_dead();
    }
};

struct returned : anew_model<returned, true> {
};

} // namespace

/* ---- In place of object.c. */

void fl_dealloc_slow(fl_thread *thread, void *, const fl_type *)
{
    world->owner_ended |= thread == &world->threads[0];
    world->die();
}

void fl_object_end_slow(fl_thread *thread, fl_object *object, const fl_type *type)
{
    fl_dealloc_slow(thread, object, type);
}

void fl_counts_incref_slow(fl_thread *, fl_counts *counts)
{
    fli_count_add(counts, 1);
}

static void finish(fl_thread *thread, fl_object *object, fli_drop drop)
{
    RL_ASSERT(drop < FLI_DROP_HAND);
    if (drop == FLI_DROP_LAST)
        fl_dealloc(thread, object, object->type);
}

void fl_decref_slow(fl_thread *thread, fl_object *object)
{
    fli_drop drop = fli_count_drop(&object->counts, false);
    fli_handing handing = world->handing(thread);
    if (drop == FLI_DROP_HAND &&
        (handing.mine == nullptr || !fli_hand_quickly(handing.mine, &object->counts, &drop))) {
        drop = fli_hand_over(&handing, &object->counts, false);
        world->end_handing(handing);
    }
    finish(thread, object, drop);
}

void fl_decref_merge(fl_thread *thread, fl_object *object)
{
    finish(thread, object, fli_count_merge_last(&object->counts));
}

bool fl_counts_try_slow(fl_thread *, fl_counts *counts)
{
    return fli_count_try(counts) != FLI_TRY_FAILED;
}

void fl_object_init_slow(fl_thread *, fl_object *, const fl_type *)
{
}

fl_object *fl_object_alloc_slow(fl_thread *, const fl_type *)
{
    return nullptr;
}

/* ---- In place of the library. */

/* In place of what finds magazines of further ranges. */
fli_magazine *fli_magazine_beyond(const fli_magazines *, uint32_t)
{
    return nullptr;
}

uint32_t fli_magazine_index_beyond(const fli_magazines *, const fli_magazine *)
{
    return 0;
}

/* Magazines are a thread's own here: the check of the pool has those that threads share. */
fli_magazine *fli_hand_obtain_empty(fli_thread *server)
{
    auto self = (unsigned)(reinterpret_cast<fl_thread *>(server) - world->threads);
    RL_ASSERT(self < THREADS_MOST && world->taken[self] < EACH);
    return fli_magazine_at(&world->magazines, self * EACH + ++world->taken[self]);
}

int main(int argc, char **argv)
{
    bool expect_error;
#define CHECK(scenario)                                                                                              \
    if (is_asked_for(#scenario, argc, argv, &expect_error))                                                          \
    return check<scenario>(expect_error)
    CHECK(dropped);
    CHECK(handed);
    CHECK(leaves);
    CHECK(removed);
    CHECK(claims);
    CHECK(comes);
    CHECK(passes);
    CHECK(published);
    CHECK(linked);
    CHECK(reborn);
    CHECK(inherited);
    CHECK(returned);
    std::cerr
        << "usage: " << argv[0]
        << " dropped|handed|leaves|removed|claims|comes|passes|published|reborn|inherited|returned [--expect-error]"
        << std::endl;
    return 2;
}
