/* SPDX-License-Identifier: MIT */
#include "heap/queue.h"
#include "heap/registry.h"
#include "heap/thread.h"

#include <stdlib.h>

bool fli_queue_put_owner(struct fli_thread *thread, struct fli_dead_object object)
{
    fli_store_hint(&thread->is_pending, 1);
    fli_dead_prefetch(object);
    return fli_pile_put(&thread->queue->pile, object, thread);
}

void fli_queue_flush_owner(struct fli_thread *thread)
{
    fli_pile_give_empties(&thread->queue->pile, &thread->heap->backing, &thread->owner.counters, false);
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

/* Moves what waits in the queue of the service thread. */
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
        return true;
    }
    fli_pile_move(&thread->queue->pile, &left->pile);
    free(left);
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
