/* SPDX-License-Identifier: MIT */
#include "heap/queue.h"
#include "base/check.h"
#include "heap/registry.h"
#include "heap/thread.h"

#include <stdlib.h>

/* ---- Places. */

/* The magazine that places lie in. A list (dead.c), of which places are a part, fits one. */
static struct fli_magazine *holder_of(struct fli_dead_places *places)
{
    return (struct fli_magazine *)((uintptr_t)places & ~(uintptr_t)(FLI_MAGAZINE_BYTES - 1));
}

static void give_places(struct fli_queue *queue, struct fli_backing *backing, struct fli_pool_counters *counters)
{
    struct fli_dead_places *places = fli_load_own(&queue->places);
    fli_store_own(&queue->places, NULL);
    fli_stack_push_mpmc(&backing->pool.empty, &backing->magazines, holder_of(places), counters);
}

/* Makes the places of a queue, unless that is empty or memory is refused. */
FLI_COLD static struct fli_dead_places *make_places(struct fli_thread *thread)
{
    struct fli_queue *queue = thread->queue;
    struct fli_magazine *holder = fli_queue_is_empty(queue) ? NULL : fli_pile_obtain_empty(thread);
    if (holder == NULL)
        return NULL;
    struct fli_dead_places *places = (struct fli_dead_places *)(void *)holder->slots;
    fli_store_own(&places->count, 0);
    places->first = 0;
    /* D4: release, pairs with a fork: the places count. */
    fli_store_release(&queue->places, places);
    return places;
}

void fli_queue_prepare_owner(struct fli_thread *thread)
{
    struct fli_dead_places *places = fli_load_own(&thread->queue->places);
    if (FLI_UNLIKELY(places == NULL))
        places = make_places(thread);
    if (FLI_LIKELY(places != NULL))
        places->few = FLI_DEAD_WINDOW;
}

/* ---- One object. */

bool fli_queue_put_owner(struct fli_thread *thread, struct fli_dead_object object)
{
    struct fli_queue *queue = thread->queue;
    struct fli_dead_places *places = thread->dead->runs ? fli_load_own(&queue->places) : NULL;
    fli_store_hint(&thread->is_pending, 1);
    if (places == NULL)
        return fli_pile_put(&queue->pile, object, thread);
    return fli_dead_put_quickly(places, object) || fli_dead_put_many(places, object) ||
           fli_spill_put(places, &queue->pile, object, thread);
}

void fli_queue_put_back_owner(struct fli_thread *thread, struct fli_dead_object object)
{
    struct fli_queue *queue = thread->queue;
    struct fli_dead_places *places = fli_load_own(&queue->places);
    bool is_back = places != NULL ? fli_dead_put_quickly(places, object) || fli_dead_put_many(places, object)
                                  : fli_pile_put(&queue->pile, object, thread);
    FLI_ASSERT(is_back);
}

bool fli_queue_take(struct fli_queue *queue, const struct fli_magazines *magazines, struct fli_dead_object *object)
{
    struct fli_dead_places *places = fli_load_own(&queue->places);
    if (places == NULL && fli_load_own(&queue->pile.count) == 0)
        return false;
    *object = places != NULL ? fli_spill_take(places, &queue->pile, magazines)
                             : fli_pile_take(&queue->pile, magazines);
    return object->type != NULL;
}

void fli_queue_flush_owner(struct fli_thread *thread)
{
    struct fli_queue *queue = thread->queue;
    struct fli_backing *backing = &thread->heap->backing;
    fli_pile_give_empties(&queue->pile, backing, &thread->owner.counters, false);
    if (fli_load_own(&queue->places) != NULL && fli_queue_placed(queue) == 0)
        give_places(queue, backing, &thread->owner.counters);
}

/* ---- What is left to the heap. */

bool fli_queue_is_left(struct fl_heap *heap)
{
    return fli_load_hint(&heap->left_queues) != NULL || !fli_queue_is_empty(heap->service->queue);
}

static void alert_all_locked(struct fl_heap *heap)
{
    fli_registry_assert_held();
    for (struct fli_thread *thread = heap->threads; thread != NULL; thread = thread->in_heap.next)
        fli_thread_alert(thread);
}

void fli_queue_alert_all(struct fl_heap *heap)
{
    fli_registry_lock();
    alert_all_locked(heap);
    fli_registry_unlock();
}

void fli_queue_leave_locked(struct fli_thread *thread)
{
    struct fl_heap *heap = thread->heap;
    struct fli_queue *queue = thread->queue;
    fli_registry_assert_held();
    fli_pile_recount(&queue->pile, &heap->backing.magazines);
    fli_queue_flush_owner(thread);
    if (fli_queue_is_empty(queue)) {
        free(queue);
        return;
    }
    queue->next = fli_load_own(&heap->left_queues);
    fli_store_hint(&heap->left_queues, queue);
    alert_all_locked(heap);
}

static struct fli_queue *take_left(struct fl_heap *heap)
{
    fli_registry_lock();
    struct fli_queue *left = fli_load_own(&heap->left_queues);
    if (left != NULL)
        fli_store_hint(&heap->left_queues, left->next);
    fli_registry_unlock();
    return left;
}

/* Moves what waits in the queue of the service thread, which has no places. */
static void take_served(struct fl_heap *heap, struct fli_pile *pile)
{
    fli_lock(&heap->service_lock);
    fli_pile_move(pile, &heap->service->queue->pile);
    fli_unlock(&heap->service_lock);
}

bool fli_queue_adopt_owner(struct fli_thread *thread)
{
    struct fl_heap *heap = thread->heap;
    if (!fli_queue_is_left(heap))
        return false;
    fli_queue_flush_owner(thread);
    struct fli_queue *left = take_left(heap);
    if (left == NULL) {
        take_served(heap, &thread->queue->pile);
    } else {
        fli_pile_move(&thread->queue->pile, &left->pile);
        fli_store_own(&thread->queue->places, fli_load_own(&left->places));
        free(left);
    }
    fli_queue_prepare_owner(thread);
    return true;
}

bool fli_queue_settle_owner(struct fli_thread *thread)
{
    if (!fli_queue_is_empty(thread->queue))
        return true;
    /* Q2: acquire, pairs with Q1 in fli_thread_alert: the byte is cleared before a look at what it told of. */
    fli_exchange(&thread->is_pending, 0, memory_order_acquire);
    bool left = fli_queue_is_left(thread->heap);
    if (left)
        fli_store_hint(&thread->is_pending, 1);
    return left;
}
