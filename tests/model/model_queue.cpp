/* SPDX-License-Identifier: MIT
 *
 * A model check of how objects that end later change hands: src/heap/queue.c, spill.c and pile.c themselves, compiled
 * over model_atomic.h, run by Relacy (model_check.h).
 *
 * One OS thread puts an object where another thread has to find it, and alerts that one. The other thread passes
 * safepoints. At each it looks at its byte, as the eval breaker of its host does, and if that is set, it empties its
 * queue as fl_run_pending does. Memory is refused, so the object is linked through words of its own.
 *
 * Checked in each execution:
 *
 *     no object is lost       the object has been taken, or the byte asks for one more safepoint, which takes it
 *     none is taken twice
 *     objects are whole       their contents are plain variables: who takes one without order has a data race
 *
 *     left       a thread that has something pending ends
 *     served     an OS thread that can have no handle drops an object
 *
 * The program is run as model_pool is, and built once more so that the registry lock locks nothing.
 *
 * usage: model_queue left|served [--expect-error]
 */
#include "heap/queue.h"
#include "heap/registry.h"
#include "heap/thread.h"
#include "model_check.h"

void model_registry_pass(void);

namespace
{

enum { SAFEPOINTS = 2 };

struct node {
    uintptr_t words[2];
    rl::var<unsigned> contents;
};

fli_mutex *registry;

template <typename scenario> struct queue_model : rl::test_suite<scenario, 2> {
    fl_heap heap;
    fli_mutex registry_lock;
    fli_thread giver, taker, service;
    fli_dead list; /* no thread runs anything */
    fl_type type;
    node object;
    unsigned taken;
    /* Queues lie in memory of their own, because the one that is left is freed. */
    struct {
        alignas(fli_queue) char bytes[sizeof(fli_queue)];
    } places[3];

    void lay_out_thread(fli_thread *thread, unsigned place)
    {
        thread->heap = &heap;
        thread->dead = &list;
        thread->queue = ::new (places[place].bytes) fli_queue();
        thread->in_heap.next = nullptr;
        fli_store_relaxed(&thread->is_pending, 0);
    }

    void before()
    {
        registry = &registry_lock;
        list.runs = false;
        fli_mutex_init(&registry_lock, FLI_RANK_REGISTRY);
        fli_mutex_init(&heap.service_lock, FLI_RANK_SERVICE);
        fli_store_relaxed(&heap.left_queues, nullptr);
        lay_out_thread(&giver, 0);
        lay_out_thread(&taker, 1);
        lay_out_thread(&service, 2);
        heap.service = &service;
        heap.threads = &taker;
        std::memset(&type, 0, sizeof type);
        type.size = sizeof object;
        type.flags = FL_TYPE_HAS_WORDS;
        type.words_offset = offsetof(node, words);
        object.contents($) = 0;
        taken = 0;
    }

    void after()
    {
        safepoint();
        RL_ASSERT(taken == 1);
        RL_ASSERT(fli_load_relaxed(&taker.is_pending) == 0);
        for (fli_thread *thread : {&giver, &taker, &service})
            if (thread->queue != nullptr)
                thread->queue->~fli_queue();
        fli_mutex_close(&heap.service_lock);
        fli_mutex_close(&registry_lock);
    }

    void put(fli_thread *thread)
    {
        object.contents($) = 1;
        bool waits = fli_queue_put_owner(thread, {reinterpret_cast<uintptr_t>(&object), &type});
        RL_ASSERT(waits);
    }

    bool take(fli_dead_object *dead)
    {
        const fli_magazines *magazines = &heap.backing.magazines;
        return fli_queue_take(taker.queue, magazines, dead) ||
               (fli_queue_adopt_owner(&taker) && fli_queue_take(taker.queue, magazines, dead));
    }

    void safepoint()
    {
        fli_dead_object dead;
        if (fli_load_relaxed(&taker.is_pending) == 0)
            return;
        while (take(&dead)) {
            RL_ASSERT(fli_dead_address(dead.entry) == &object && object.contents($) == 1);
            object.contents($) = 2;
            taken++;
        }
        fli_queue_settle_owner(&taker);
    }

    void thread(unsigned self)
    {
        if (self == 0)
            return static_cast<scenario *>(this)->give();
        for (unsigned i = 0; i < SAFEPOINTS; i++)
            safepoint();
    }
};

struct left : queue_model<left> {
    void give()
    {
        put(&giver);
        fli_registry_lock();
        fli_queue_leave_locked(&giver);
        fli_registry_unlock();
        giver.queue = nullptr; /* the taker frees it */
    }
};

struct served : queue_model<served> {
    void give()
    {
        fli_lock(&heap.service_lock);
        put(&service);
        fli_unlock(&heap.service_lock);
        fli_queue_alert_all(&heap);
    }
};

} // namespace

/* ---- In place of the files that queue.c, spill.c and pile.c use. */

void fli_registry_lock(void)
{
    fli_lock(registry);
}

void fli_registry_unlock(void)
{
    fli_unlock(registry);
}

/* In place of these two, in one mutant. */
void model_registry_pass(void)
{
}

void fli_registry_assert_held(void)
{
}

/* There is no magazine. */
fli_magazine *fli_owner_obtain_empty_anywhere(fli_backing *, fli_owner *)
{
    return nullptr;
}

fli_magazine *fli_magazine_beyond(const fli_magazines *, uint32_t)
{
    RL_ASSERT(!"a magazine is used");
    return nullptr;
}

uint32_t fli_magazine_index_beyond(const fli_magazines *, const fli_magazine *)
{
    RL_ASSERT(!"a magazine is used");
    return 0;
}

uint64_t fli_stack_push_mpmc(fli_stack *, const fli_magazines *, fli_magazine *, fli_pool_counters *)
{
    RL_ASSERT(!"a magazine is used");
    return 0;
}

int main(int argc, char **argv)
{
    bool expect_error;
    if (is_asked_for("left", argc, argv, &expect_error))
        return check<left>(expect_error);
    if (is_asked_for("served", argc, argv, &expect_error))
        return check<served>(expect_error);
    std::cerr << "usage: " << argv[0] << " left|served [--expect-error]" << std::endl;
    return 2;
}
