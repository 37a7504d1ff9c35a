/* SPDX-License-Identifier: MIT */
#include "fork.h"
#include "rcu.h"
#include "thread.h"
#include "trim.h"

#include <errno.h>

/* Applies an operation to every lock of a heap, in the order of heap.h. */
static void for_each_lock(struct fl_heap *heap, void (*operation)(pthread_mutex_t *))
{
    operation(&heap->service_lock);
    operation(&heap->trim_lock);
    operation(&heap->deferred.lock);
    operation(&heap->backing.slabs.lock);
    operation(&heap->backing.magazines.lock);
    operation(&heap->backing.large.lock);
}

static void lock(pthread_mutex_t *mutex)
{
    fli_lock(mutex);
}

static void unlock(pthread_mutex_t *mutex)
{
    fli_unlock(mutex);
}

enum { STACKS = FL_CLASS_COUNT + 1 };

static struct fli_stack *stack_at(struct fl_heap *heap, unsigned number)
{
    if (number == FL_CLASS_COUNT)
        return &heap->deferred.collecting;
    return number == 0 ? &heap->backing.pool.empty : &heap->backing.pool.filled[number];
}

static void empty_pool(struct fl_heap *heap)
{
    for (unsigned i = 0; i < STACKS; i++)
        heap->held[i] = fli_stack_take_all_mpmc(stack_at(heap, i), &heap->service->rack.counters);
}

static void put_pool_back(struct fl_heap *heap)
{
    for (unsigned i = 0; i < STACKS; i++)
        fli_stack_put_back_mpmc(stack_at(heap, i), &heap->backing.magazines, heap->held[i],
                                &heap->service->rack.counters);
}

static void reset_pool(struct fl_heap *heap)
{
    for (unsigned i = 0; i < STACKS; i++)
        fli_stack_reset_stw(stack_at(heap, i), heap->held[i]);
}

static void prepare(void)
{
    fli_rcu_before_fork();
    lock(&fli_default_lock);
    fli_registry_lock();
    for (struct fl_heap *heap = fli_registry_heaps(); heap != NULL; heap = heap->next) {
        for_each_lock(heap, lock);
        empty_pool(heap);
    }
    fli_rcu_lock();
}

static void parent(void)
{
    for (struct fl_heap *heap = fli_registry_heaps(); heap != NULL; heap = heap->next) {
        heap->world_stopped = false;
        put_pool_back(heap);
        for_each_lock(heap, unlock);
    }
    fli_registry_unlock();
    unlock(&fli_default_lock);
    fli_rcu_after_fork_parent();
}

/* Counts what the caches of a thread that no longer runs hold as lost. */
static void lose(struct fli_thread *thread)
{
    struct fl_heap *heap = thread->heap;
    heap->has_lost = true;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        struct fl_cache *cache = fli_thread_cache(thread, c);
        heap->lost[c] += fli_cache_blocks(cache, c, &heap->backing);
        heap->lost_magazines += (size_t)(fli_cache_loaded(cache) != NULL) +
                                (fli_cache_previous(cache, &heap->backing.magazines) != NULL);
        heap->lost_magazines += fli_cache_racked_blocks(cache, c, &heap->backing) / heap->backing.magazine_blocks[c];
        void ***place = fli_thread_deferred(thread, c);
        heap->lost[c] += fli_deferred_unsubmitted(place, c, &heap->backing);
        heap->lost_magazines += fli_deferred_magazine(place) != NULL;
    }
    heap->lost_magazines += fli_rack_blocks(&thread->rack.empty_shelf, &heap->backing.magazines);
}

static void leave_behind(struct fl_heap *heap)
{
    struct fli_thread *next;
    for (struct fli_thread *thread = heap->threads; thread != NULL; thread = next) {
        next = thread->next;
        if (fli_thread_is_ours_locked(thread))
            continue;
        if (heap->world_stopped)
            fli_thread_flush_owner(thread);
        else
            lose(thread);
        fli_thread_remove_locked(thread);
    }
    heap->world_stopped = false;
}

static void child(void)
{
    for (struct fl_heap *heap = fli_registry_heaps(); heap != NULL; heap = heap->next) {
        reset_pool(heap);
        fli_deferred_recount_stw(&heap->deferred);
        fli_trim_wait_anew_stw(heap);
        leave_behind(heap);
        for_each_lock(heap, unlock);
    }
    fli_thread_forget_others_stw();
    fli_registry_unlock();
    unlock(&fli_default_lock);
    fli_rcu_after_fork_child();
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

void fl_heap_fork_stopped(struct fl_heap *heap)
{
    fli_registry_lock();
    heap->world_stopped = true;
    fli_registry_unlock();
}
