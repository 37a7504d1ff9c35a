/* SPDX-License-Identifier: MIT */
#include "heap/fork.h"
#include "grace/rcu.h"
#include "heap/caretaker.h"
#include "heap/guest.h"
#include "heap/profile.h"
#include "heap/registry.h"
#include "heap/thread.h"
#include "heap/trim.h"
#include "heap/walk.h"
#include "pool/allowance.h"
#include "pool/reserve.h"
#include "pool/unsubmitted.h"

#include <errno.h>
#include <stdlib.h>

static void await_homes(struct fl_heap *heap)
{
    for (struct fli_home *home = fli_homes_first(&heap->backing.homes); home != NULL; home = home->next)
        fli_home_await(home);
}

/* Waits until every lock of a heap of the rank, which is closed, is free. */
static void await_locks(struct fl_heap *heap, enum fli_rank rank)
{
    struct fli_backing *backing = &heap->backing;
    switch (rank) {
    case FLI_RANK_SERVICE:
        fli_lock_await(&heap->service_lock);
        break;
    case FLI_RANK_TRIM:
        fli_lock_await(&heap->trim_lock);
        break;
    case FLI_RANK_DEFERRED:
        fli_lock_await(&heap->deferred.lock);
        break;
    case FLI_RANK_HOMES:
        fli_lock_await(&backing->homes.lock);
        break;
    case FLI_RANK_HOME:
        await_homes(heap);
        break;
    default:
        fli_lock_await(&backing->slabs.lock);
        fli_lock_await(&backing->magazines.lock);
        fli_lock_await(&heap->profile_lock);
        fli_large_for_each_lock(&backing->large, fli_lock_await);
    }
}

/* Applies an operation to every heap. Under the registry lock. */
static void for_each_heap(void (*operation)(struct fl_heap *))
{
    size_t count;
    struct fl_heap *const *heaps = fli_registry_heaps(&count);
    for (size_t i = 0; i < count; i++)
        operation(heaps[i]);
}

/* Waits until all locks of all heaps are free, in the order of ranks: a thread that holds a lock may wait for one of a
 * later rank. */
static void close_heaps(void)
{
    size_t count;
    struct fl_heap *const *heaps = fli_registry_heaps(&count);
    for (enum fli_rank rank = FLI_RANK_SERVICE; rank <= FLI_RANK_MEMORY; rank++) {
        fli_lock_close(rank);
        for (size_t i = 0; i < count; i++)
            await_locks(heaps[i], rank);
    }
}

/* ---- The pool. */

enum { STACKS = FL_CLASS_COUNT + 1 };

static struct fli_stack *stack_at(struct fl_heap *heap, unsigned number)
{
    if (number == FL_CLASS_COUNT)
        return &heap->deferred.collecting;
    return number == 0 ? &heap->backing.pool.empty : &heap->backing.pool.filled[number];
}

static void set_pool_aside(struct fl_heap *heap)
{
    for (unsigned i = 0; i < STACKS; i++) {
        struct fli_stack *stack = stack_at(heap, i);
        fli_chain_begin(&stack->held, fli_stack_take_all_mpmc(stack, &heap->service->owner.counters));
        stack->is_aside = true;
    }
}

/* The magazines that were set aside, which from now on are so no longer. */
static uint32_t take_held(struct fli_stack *stack)
{
    stack->is_aside = false;
    return fli_chain_end(&stack->held);
}

static void put_pool_back(struct fl_heap *heap)
{
    for (unsigned i = 0; i < STACKS; i++)
        fli_stack_put_back_mpmc(stack_at(heap, i), &heap->backing.magazines, take_held(stack_at(heap, i)),
                                &heap->service->owner.counters);
}

static void reset_pool(struct fl_heap *heap)
{
    for (unsigned i = 0; i < STACKS; i++)
        fli_stack_reset_stw(stack_at(heap, i), take_held(stack_at(heap, i)));
}

/* ---- What threads share without a lock. */

/* Whether other OS threads may use the heap during the fork: a thread without a handle would need a lock. */
static bool is_shared(const struct fl_heap *heap)
{
    for (const struct fli_thread *thread = heap->threads; thread != NULL; thread = thread->in_heap.next)
        if (!fli_os_thread_is_ours_locked(thread))
            return true;
    return false;
}

static void set_aside(struct fl_heap *heap)
{
    if (!is_shared(heap))
        return;
    heap->is_aside = true;
    set_pool_aside(heap);
    fli_large_set_aside(&heap->backing.large);
}

static void put_back(struct fl_heap *heap)
{
    if (!heap->is_aside)
        return;
    heap->is_aside = false;
    put_pool_back(heap);
}

static void reset(struct fl_heap *heap)
{
    if (!heap->is_aside)
        return;
    heap->is_aside = false;
    reset_pool(heap);
    fli_large_forget_stw(&heap->backing.large);
}

/* Writes only where there is something to forget (fork.h). */
static void forget_stopped(struct fl_heap *heap)
{
    if (heap->world_stopped)
        heap->world_stopped = false;
}

/* The parent's work on a heap. */
static void resume(struct fl_heap *heap)
{
    forget_stopped(heap);
    put_back(heap);
}

/* The cancellation state before the fork under way. Under all locks. */
static int cancel_state;

static void child(void);

static void prepare(void)
{
    int state = fli_cancel_off();
    fli_rcu_before_fork();
    fli_lock_begin_fork();
    fli_lock(&fli_default_lock);
    fli_registry_lock();
    fli_caretaker_lock();
    close_heaps();
    for_each_heap(set_aside);
    fli_rcu_lock();
    cancel_state = state;
    fli_lock_hold_all(child);
}

static void parent(void)
{
    if (!fli_lock_is_forking())
        return; /* the handlers were registered during this fork */
    int state = cancel_state;
    fli_lock_release_all();
    for_each_heap(resume);
    fli_lock_end_fork();
    fli_caretaker_unlock();
    fli_registry_unlock();
    fli_unlock(&fli_default_lock);
    fli_rcu_after_fork_parent();
    fli_cancel_restore(state);
}

/* Counts the blocks in the caches of a thread that no longer runs as lost. The blocks that it keeps at home are not
 * lost: they go home. */
static void lose(struct fli_thread *thread)
{
    struct fl_heap *heap = thread->heap;
    heap->has_lost = true;
    fli_reserve_break_off_owner(&thread->owner);
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        struct fl_cache *cache = fli_thread_cache(thread, c);
        heap->lost[c] += fli_cache_blocks(cache, heap->backing.magazine_blocks[c], &heap->backing.magazines);
        heap->lost_magazines += (size_t)(fli_cache_loaded(cache) != NULL) +
                                (fli_cache_previous(cache, &heap->backing.magazines) != NULL);
        void ***place = fli_thread_deferred(thread, c);
        heap->lost[c] += fli_unsubmitted_blocks(place, c, &heap->backing);
        heap->lost_magazines += fli_unsubmitted_magazine(place) != NULL;
        heap->lost[c] += fli_reserve_blocks(&thread->owner, c, &heap->backing.magazines);
        while (fli_reserve_take_owner(&thread->owner, c, &heap->backing.magazines) != NULL)
            heap->lost_magazines++;
    }
    heap->lost_magazines += fli_reserve_forget_empties_owner(&thread->owner, &heap->backing.magazines);
    fli_exchange_end_flush_owner(&heap->backing, &thread->owner);
}

/* Empties and removes the threads of a heap that the child does not have. */
static void leave_behind(struct fl_heap *heap, void (*empty)(struct fli_thread *thread))
{
    struct fli_thread *next;
    for (struct fli_thread *thread = heap->threads; thread != NULL; thread = next) {
        next = thread->in_heap.next;
        if (fli_os_thread_may_use_locked(thread))
            continue;
        empty(thread);
        fli_reserve_end_owner(&heap->backing, &thread->owner);
        fli_thread_remove_locked(thread);
        free(thread);
    }
}

/* Counts the room for deferred blocks of the threads that the child has. */
static void recount_unsubmitted(struct fl_heap *heap)
{
    size_t noted = heap->service->owner.noted;
    for (struct fli_thread *thread = heap->threads; thread != NULL; thread = thread->in_heap.next)
        noted += thread->owner.noted;
    fli_quota_recount_stw(&heap->deferred.rooms, noted);
}

/* The child's work while all locks count as held. */
static void begin_anew(struct fl_heap *heap)
{
    fli_walk_leave_behind_stw(heap);
    fli_profile_begin_anew_stw(heap);
    if (heap->grace.kind != FL_GRACE_NONE) {
        fli_deferred_recount_stw(&heap->deferred);
        fli_retired_wait_anew_stw(heap);
    }
    if (!heap->world_stopped && heap->is_aside) /* otherwise all its threads are the forking one's */
        leave_behind(heap, lose);
    recount_unsubmitted(heap);
    fli_allowance_recount_stw(&heap->backing);
    fli_guest_begin_anew_stw(heap);
    reset(heap);
}

/* The child's work after that: flushes may make the heap trim, which takes locks. */
static void flush_stopped(struct fl_heap *heap)
{
    if (heap->world_stopped)
        leave_behind(heap, fli_thread_flush_owner);
    forget_stopped(heap);
}

/* Runs once: as the handler, or earlier when a handler of the host asks for the first lock. */
static void child(void)
{
    if (!fli_lock_is_forking())
        return;
    fli_lock_note_child();
    fli_lock_keep_stw(&fli_default_lock);
    fli_registry_keep_stw();
    fli_caretaker_keep_stw();
    fli_random_begin_anew_stw();
    int state = cancel_state;
    for_each_heap(begin_anew);
    fli_lock_release_all();
    fli_lock_end_fork();
    fli_rcu_after_fork_child(); /* nobody has asked for its locks since they have become free */
    for_each_heap(flush_stopped);
    fli_os_thread_forget_others_stw();
    fli_caretaker_begin_anew_stw();
    fli_caretaker_unlock();
    fli_registry_unlock();
    fli_unlock(&fli_default_lock);
    fli_cancel_restore(state);
}

int fli_fork_watch(void)
{
    static bool watched;
    int failed = 0;
    fli_registry_lock();
    if (!watched) {
        failed = pthread_atfork(prepare, parent, child);
        watched = failed == 0;
    }
    fli_registry_unlock();
    return failed == 0 ? 0 : -ENOMEM;
}

static void set_world_stopped(struct fl_heap *heap, bool stopped)
{
    fli_registry_lock();
    heap->world_stopped = stopped;
    fli_registry_unlock();
}

void fl_heap_fork_stopped(struct fl_heap *heap)
{
    set_world_stopped(heap, true);
}

void fl_heap_fork_resumed(struct fl_heap *heap)
{
    set_world_stopped(heap, false);
}
