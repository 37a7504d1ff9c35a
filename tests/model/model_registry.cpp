/* SPDX-License-Identifier: MIT
 *
 * A model check of the registry against OS threads that exit: src/heap/registry.c, os_thread.c, thread.c, submit.c, the
 * destroying of heap.c, the look at stalled readers of stall.c, and src/grace/reader.c, compiled over model_atomic.h, run
 * by Relacy (model_check.h).
 *
 * An OS thread that exits runs the destructors of its values in rounds, as POSIX says, and is gone afterwards. Its
 * handle has a block, which goes home when the handle is flushed. Meanwhile another thread does what concerns the handle
 * or the records of OS threads.
 *
 * Checked in each execution:
 *
 *     lists have their lock      what the registry lock guards are plain words (FLI_PLAIN): an access without it is a
 *                                data race
 *     a cache has one user       the block is in a plain variable, too: two threads that flush one handle have a data
 *                                race
 *     what has ended is at rest  nobody uses a handle, a record or a heap that has been freed. To free one that another
 *                                thread may be using is a data race
 *     nothing is lost            at the end the block is at home, and each handle and record has been freed
 *     counts are true            a heap has as many threads on its list as it says
 *     a reader is one thread     each registration as a reader is ended by the thread that made it, before it is gone
 *
 *     destroyed   an OS thread exits, and another one destroys the heap as soon as it has no thread
 *     walked      an OS thread exits, and another one looks for readers that hold a grace period up, counts, and walks
 *     flushed     an OS thread goes offline with its handle, is online again and exits; another one takes what handles
 *                 that are offline hold, as a trim does
 *     stopped     the world is stopped, and all handles are flushed, while an OS thread exits, for which no stop waits
 *     detached    an OS thread exits whose handle is offline; another one detaches that, and a third one takes what such
 *                 handles hold
 *     reused      an OS thread exits, uses its handle and another one in a late destructor, and is gone; another thread
 *                 attaches meanwhile, and frees what that one has left, or moves into its home
 *     gone        two threads find an OS thread that is gone and has detached nothing
 *
 * All interleavings have at most three preemptions. The program is built once as it is, and once for each mutant.
 *
 * usage: model_registry destroyed|walked|flushed|stopped|detached|reused|gone [--expect-error]
 */
#include "base/check.h"
#include "base/os.h"
#include "heap/caretaker.h"
#include "heap/guest.h"
#include "heap/profile.h"
#include "heap/record.h"
#include "heap/registry.h"
#include "heap/self.h"
#include "heap/service.h"
#include "heap/share.h"
#include "heap/stall.h"
#include "heap/thread.h"
#include "heap/trace.h"
#include "large/supply.h"
#include "memory/stray.h"
#include "model_check.h"
#include "pool/exchange.h"
#include "pool/reserve.h"

#include <new>

fli_model_words fli_model_globals;
FLI_ATOMIC(uintptr_t) fli_lock_holder;

namespace
{

enum { CLASS = 1, THREADS_MOST = 3, ANOTHER = 2, MAIN = THREADS_MOST, OS_THREADS, NOBODY = -1 };

/* The rounds of destructors that POSIX promises. */
enum { ROUNDS = 4 };

void (*end_of_value)(void *value);

struct os_thread {
    struct fli_self self;
    void *value;
    fli_life *life;
    rl::atomic<bool> gone;
    bool joined;
};

struct ground {
    os_thread os_threads[OS_THREADS];
    int acting; /* the OS thread that before() or after() runs on, or NOBODY */
    pthread_mutex_t registry, homes_lock;
    fli_home homes[OS_THREADS];
    rl::var<bool> lived_in[OS_THREADS];
    rl::var<unsigned> cached[OS_THREADS]; /* blocks of who lives there */
    rl::var<unsigned> at_home;
    rl::var<bool> exists; /* the heap does */
    fl_heap *heap;
    bool destroyed;
    unsigned blocks;
    size_t used; /* of the memory below */

    os_thread *current()
    {
        return &os_threads[acting != NOBODY ? (unsigned)acting : fli_model_self() - 1];
    }

    unsigned number(const fli_home *home)
    {
        RL_ASSERT(home >= homes && home < homes + OS_THREADS);
        return (unsigned)(home - homes);
    }

    void use_heap()
    {
        RL_ASSERT(exists($));
    }
};

ground *now;
alignas(128) char memory[4 << 20];
void *a_slot;

bool never(void *, int64_t)
{
    return false;
}

/* ---- The calling OS thread as a reader. */

bool join()
{
    RL_ASSERT(!now->current()->joined);
    return now->current()->joined = true;
}

void leave()
{
    RL_ASSERT(now->current()->joined);
    now->current()->joined = false;
}

void go_on()
{
    RL_ASSERT(now->current()->joined);
}

bool is_inside()
{
    return false;
}

/* One that began when all threads were attached, and lasts. */
int64_t latest(uint64_t *begun)
{
    *begun = 0;
    return now->acting == NOBODY ? 1 : 0;
}

const fli_reader_calls readers = {join, leave, go_on, go_on, go_on, go_on, go_on, is_inside, is_inside, latest};

void tell_stall(fl_heap *, const fl_stall *, void *)
{
    now->use_heap();
}

/* ---- Scenarios. */

template <typename scenario, unsigned threads = 2> struct registry_model : rl::test_suite<scenario, threads> {
    ground here;

    void lay_out()
    {
        now = &here;
        fli_model_begin();
        here.acting = MAIN;
        here.destroyed = false;
        here.blocks = 0;
        here.used = 0;
        pthread_mutex_init(&here.registry, nullptr);
        pthread_mutex_init(&here.homes_lock, nullptr);
        for (os_thread &one : here.os_threads) {
            one.self = {};
            one.value = one.life = nullptr;
            one.gone.store(false, rl::mo_relaxed, $);
            one.joined = false;
        }
        for (unsigned i = 0; i < OS_THREADS; i++) {
            here.lived_in[i]($) = false;
            here.cached[i]($) = 0;
            fli_store_relaxed(&here.homes[i].away, false);
        }
        here.at_home($) = 0;
        here.exists($) = true;
        lay_out_heap();
    }

    void lay_out_heap()
    {
        fl_heap *heap = here.heap = fli_model_calloc(sizeof *heap);
        heap->grace.kind = FL_GRACE_QSBR;
        heap->grace.calls.elapsed = never;
        heap->grace.readers = &readers;
        heap->options.on_stall = tell_stall;
        RL_ASSERT(fli_registry_enter(heap) == 0);
    }

    /* Attaches an OS thread, whose handle then has a block. */
    fl_thread *attach(int who)
    {
        here.acting = who;
        fl_thread *face = attach();
        here.acting = MAIN;
        return face;
    }

    fl_thread *attach()
    {
        fl_thread *face = fl_thread_attach_abi(FL_ABI, here.heap);
        RL_ASSERT(face != nullptr);
        put(face);
        return face;
    }

    void put(fl_thread *face)
    {
        fli_thread *thread = fli_thread_of(face);
        unsigned home = here.number(thread->owner.home);
        here.cached[home]($) = here.cached[home]($) + 1;
        here.blocks++;
        fli_thread_cache(thread, CLASS)->floor = &a_slot;
    }

    void begin()
    {
        here.acting = NOBODY;
    }

    /* Runs the destructors, the host's last, and then the OS thread is gone. */
    template <typename last> void exit_thread(last destructor)
    {
        os_thread *self = here.current();
        for (unsigned round = 0; round < ROUNDS && self->value != nullptr; round++) {
            void *value = self->value;
            self->value = nullptr;
            end_of_value(value);
        }
        destructor();
        RL_ASSERT(!self->joined);
        self->gone.store(true, rl::mo_release, $);
    }

    void exit_thread()
    {
        exit_thread([] {});
    }

    void walk()
    {
        fli_registry_lock();
        size_t count = 0;
        for (fli_thread *thread = here.heap->threads; thread != nullptr; thread = thread->in_heap.next) {
            fli_os_thread *record = thread->os_thread;
            RL_ASSERT(record == nullptr || fli_load_hint(&record->readers[FL_GRACE_QSBR].handles) <= 1);
            count++;
        }
        RL_ASSERT(count == here.heap->thread_count);
        fli_registry_unlock();
    }

    void after()
    {
        here.acting = MAIN;
        for (unsigned self = 0; self < MAIN; self++)
            here.os_threads[self].gone.store(true, rl::mo_relaxed, $);
        if (!here.destroyed)
            RL_ASSERT(fl_heap_destroy(here.heap) == 0);
        fli_os_thread_reap(true);
        RL_ASSERT(here.at_home($) == here.blocks);
        for (unsigned i = 0; i < fli_model_globals.count; i++) {
            char *word = static_cast<char *>(fli_model_globals.words[i].shared);
            RL_ASSERT(word < memory || word >= memory + sizeof memory);
        }
        pthread_mutex_destroy(&here.registry);
        pthread_mutex_destroy(&here.homes_lock);
        fli_model_end();
    }
};

struct destroyed : registry_model<destroyed> {
    void before()
    {
        lay_out();
        attach(0);
        begin();
    }
    void thread(unsigned self)
    {
        if (self == 0)
            return exit_thread();
        for (unsigned i = 0; i < 2 && !here.destroyed; i++) {
            int failed = fl_heap_destroy(here.heap);
            RL_ASSERT(failed == (here.destroyed ? 0 : -EBUSY));
            if (failed != 0)
                rl::yield(1, $);
        }
    }
};

struct walked : registry_model<walked> {
    void before()
    {
        lay_out();
        attach(0);
        begin();
    }
    void thread(unsigned self)
    {
        if (self == 0)
            return exit_thread();
        unsigned inside;
        fli_stall_look(here.heap);
        RL_ASSERT(fli_registry_count(here.heap, &inside) <= 1 && inside == 0);
        walk();
    }
};

struct flushed : registry_model<flushed> {
    fl_thread *face;

    void before()
    {
        lay_out();
        face = attach(0);
        begin();
    }
    void thread(unsigned self)
    {
        if (self == 1)
            return fli_thread_flush_unused(here.heap, false);
        fl_thread_offline(face);
        fl_thread_online(face);
        put(face);
        exit_thread();
    }
};

struct stopped : registry_model<stopped> {
    void before()
    {
        lay_out();
        attach(0);
        begin();
    }
    void thread(unsigned self)
    {
        if (self == 0)
            return exit_thread();
        fl_heap_flush_stopped(here.heap);
    }
};

struct detached : registry_model<detached, 3> {
    fl_thread *face;

    void before()
    {
        lay_out();
        face = attach(0);
        here.acting = 0;
        fl_thread_offline(face);
        begin();
    }
    void thread(unsigned self)
    {
        if (self == 0)
            exit_thread();
        else if (self == 1)
            RL_ASSERT(fl_thread_detach(face) == 0);
        else
            fli_thread_flush_unused(here.heap, false);
    }
};

struct reused : registry_model<reused> {
    fl_thread *face;

    void before()
    {
        lay_out();
        face = attach(0);
        begin();
    }
    void thread(unsigned self)
    {
        if (self == 1) {
            RL_ASSERT(fl_thread_detach(attach()) == 0);
            return;
        }
        exit_thread([this] {
            for (fl_thread *left : {face, fl_thread_attach_abi(FL_ABI, here.heap)})
                RL_ASSERT(fli_thread_left(left) == here.heap && fl_thread_detach(left) == 0);
        });
    }
};

struct gone : registry_model<gone> {
    void before()
    {
        lay_out();
        attach(ANOTHER);
        here.os_threads[ANOTHER].gone.store(true, rl::mo_relaxed, $);
        begin();
    }
    void thread(unsigned)
    {
        unsigned inside;
        RL_ASSERT(fli_registry_count(here.heap, &inside) <= 1 && inside == 0);
    }
};

} // namespace

/* ---- In place of what the OS does for a thread. */

struct fli_self *fli_self_here(void)
{
    return &now->current()->self;
}

int fli_model_key_create(void (*end)(void *value))
{
    end_of_value = end;
    return 0;
}

int fli_model_setspecific(void *value)
{
    now->current()->value = value;
    return 0;
}

fli_model_object fli_model_calloc(size_t bytes)
{
    char *object = memory + now->used;
    now->used += fli_round_up(bytes, 128);
    RL_VERIFY(now->used <= sizeof memory);
    std::memset(object, 0, bytes);
    return {object};
}

void fli_life_begin(fli_life *life)
{
    now->current()->life = life;
}

void fli_life_end(fli_life *)
{
    RL_ASSERT(!"a key is refused");
}

/* Under the registry lock. */
bool fli_life_is_over(fli_life *life)
{
    for (os_thread &one : now->os_threads)
        if (one.life == life) {
            RL_ASSERT(&one != now->current());
            bool over = one.gone.load(rl::mo_acquire, $);
            if (over)
                one.life = nullptr; /* and nobody asks again */
            return over;
        }
    RL_ASSERT(!"a life is watched");
    return false;
}

/* ---- In place of lock.c. The registry's is the only lock. */

void fli_lock(fli_mutex *mutex)
{
    RL_ASSERT(mutex->rank == FLI_RANK_REGISTRY);
    pthread_mutex_lock(&now->registry);
}

void fli_unlock(fli_mutex *)
{
    pthread_mutex_unlock(&now->registry);
}

/* ---- In place of homes and caches. */

fli_home *fli_homes_enter(fli_homes *)
{
    now->use_heap();
    pthread_mutex_lock(&now->homes_lock);
    unsigned home = 0;
    while (now->lived_in[home]($))
        home++;
    now->lived_in[home]($) = true;
    RL_ASSERT(now->cached[home]($) == 0);
    pthread_mutex_unlock(&now->homes_lock);
    return &now->homes[home];
}

void fli_homes_leave(fli_homes *, fli_home *home)
{
    now->use_heap();
    pthread_mutex_lock(&now->homes_lock);
    RL_ASSERT(now->lived_in[now->number(home)]($));
    now->lived_in[now->number(home)]($) = false;
    pthread_mutex_unlock(&now->homes_lock);
}

void fli_exchange_flush_owner(fl_cache *cache, unsigned, fli_backing *, fli_owner *owner)
{
    now->use_heap();
    unsigned home = now->number(owner->home), blocks = now->cached[home]($);
    now->cached[home]($) = 0;
    cache->floor = nullptr;
    pthread_mutex_lock(&now->homes_lock);
    now->at_home($) = now->at_home($) + blocks;
    pthread_mutex_unlock(&now->homes_lock);
}

void fli_exchange_end_flush_owner(fli_backing *, fli_owner *owner)
{
    RL_ASSERT(now->cached[now->number(owner->home)]($) == 0);
}

void fli_reserve_end_owner(fli_backing *, fli_owner *owner)
{
    now->use_heap();
    (void)(unsigned)now->cached[now->number(owner->home)]($);
}

void fli_reserve_destroy(fli_owner *)
{
}

/* ---- In place of what else a heap has. Whatever looks at it finds nothing to do. */

unsigned fli_large_next_shard(fli_large *)
{
    return 0;
}

bool fli_large_was_used(fli_large *)
{
    return false;
}

void fli_supply_flush(fli_large *, unsigned)
{
    now->use_heap();
}

void fli_bound_advance_deferred(fl_heap *)
{
    now->use_heap();
}

void fli_bound_await_deferred(fl_heap *)
{
    now->use_heap();
}

void fli_bound_keep_at_flush(fl_heap *, bool)
{
    now->use_heap();
}

void fli_share_racks_locked(fl_heap *)
{
    now->use_heap();
}

void fli_stray_tell_each(fli_slabs *, const void *, const char *)
{
    RL_ASSERT(!"a stray");
}

bool fli_unsubmitted_submit_classes_owner(fli_deferred *, void ***, fli_class_set *classes, fli_owner *)
{
    RL_ASSERT(fli_class_set_is_empty(classes));
    return false;
}

const fli_dead fli_dead_none = {};

uint32_t fli_dead_waits_in(const fl_heap *)
{
    return 0;
}

fli_dead *fli_dead_create(uint32_t)
{
    static fli_dead none;
    return &none;
}

void fli_dead_destroy(fli_dead *)
{
}

bool fli_dead_drains(fli_thread *)
{
    return false;
}

void fli_dead_flush_owner(fli_thread *)
{
}

void fli_dead_leave_locked(fli_thread *)
{
}

bool fli_queue_is_left(fl_heap *)
{
    return false;
}

void fli_queue_flush_owner(fli_thread *)
{
}

void fli_queue_leave_locked(fli_thread *thread)
{
    fli_model_free(thread->queue);
}

void fli_trace_settle_locked(fli_thread *)
{
}

void fli_guest_leave(fli_thread *, bool)
{
}

void fli_guest_come_back(fli_thread *)
{
}

void fli_guest_remove_locked(fli_thread *)
{
}

bool fli_guest_evict(fli_thread *)
{
    return false;
}

void fli_guest_hand_over_locked(fli_thread *)
{
}

bool fli_callback_runs(const fli_callback *, fli_frame)
{
    RL_ASSERT(!"a thread detaches a handle twice");
    return true;
}

bool fli_callback_call(fli_callback *, const char *, const void *, void (*)(void *argument), void *)
{
    RL_ASSERT(!"there is no callback");
    return true;
}

/* A heap that has threads is not destroyed. */
void fli_misuse(const char *, const void *, const char *, const char *, ...)
{
}

int64_t fli_grace_begin(const fli_grace *)
{
    RL_ASSERT(!"nobody may be reading");
    return 0;
}

bool fli_grace_wait(const fli_grace *, int64_t, unsigned)
{
    RL_ASSERT(!"nobody waits");
    return false;
}

bool fli_grace_elapsed_host(const fli_grace *, int64_t)
{
    RL_ASSERT(!"the host implements grace periods");
    return false;
}

bool fli_grace_is_inside(const fli_grace *)
{
    return false;
}

uint64_t fli_grace_now_about(void)
{
    return 1;
}

/* ---- What a heap consists of ends with it. */

void fli_caretaker_give_up(fl_heap *)
{
    now->exists($) = false;
    now->destroyed = true;
}

void fli_guest_close(fl_heap *)
{
}

void fli_profile_close(fl_heap *)
{
}

void fli_service_destroy(fl_heap *)
{
}

void fli_deferred_close(fli_deferred *)
{
}

void fli_large_close(fli_large *)
{
}

void fli_homes_close(fli_homes *)
{
}

void fli_record_free(fl_heap *heap)
{
    fli_model_free(heap);
}

void fli_magazines_close(fli_magazines *)
{
}

void fli_slabs_close(fli_slabs *)
{
}

void fli_os_release(void *, size_t)
{
}

int main(int argc, char **argv)
{
    bool expect_error;
    if (is_asked_for("destroyed", argc, argv, &expect_error))
        return check<destroyed>(expect_error, 3);
    if (is_asked_for("walked", argc, argv, &expect_error))
        return check<walked>(expect_error, 3);
    if (is_asked_for("flushed", argc, argv, &expect_error))
        return check<flushed>(expect_error, 3);
    if (is_asked_for("stopped", argc, argv, &expect_error))
        return check<stopped>(expect_error, 3);
    if (is_asked_for("detached", argc, argv, &expect_error))
        return check<detached>(expect_error, 3);
    if (is_asked_for("reused", argc, argv, &expect_error))
        return check<reused>(expect_error, 3);
    if (is_asked_for("gone", argc, argv, &expect_error))
        return check<gone>(expect_error, 3);
    std::cerr << "usage: " << argv[0] << " SCENARIO [--expect-error], see the head of model_registry.cpp"
              << std::endl;
    return 2;
}
