/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/queue.h"

#include "heap/registry.h"

#include <stdlib.h>

enum { FIRST_ROOM = FLI_RARE_PATHS ? 2 : 64 };

struct fli_py_queue *fli_py_queue_create(int64_t interpreter)
{
    struct fli_py_queue *queue = calloc(1, sizeof *queue);
    if (queue != NULL)
        queue->interpreter = interpreter;
    return queue;
}

void fli_py_queue_destroy(struct fli_py_queue *queue)
{
    free(queue->places);
    free(queue);
}

/* ---- Room. */

static FLI_ATOMIC(PyObject *) * place_of(const struct fli_py_queue *queue, uint64_t number)
{
    return &queue->places[number & (queue->room - 1)];
}

/* Lets the references lie in other places. Returns those that they lay in. */
static void *move_locked(struct fli_py_queue *queue, FLI_ATOMIC(PyObject *) * places, uint64_t room)
{
    void *before = queue->places;
    fli_registry_assert_held();
    for (uint64_t n = fli_load_own(&queue->taken); n != fli_load_own(&queue->put); n++)
        fli_store_own(&places[n & (room - 1)], fli_load_own(place_of(queue, n)));
    queue->places = places;
    queue->room = room;
    return before;
}

/* Gives the queue another room, in which the references have a place each. Returns false, and changes nothing, if memory
 * is refused. */
static bool move(struct fli_py_queue *queue, uint64_t room)
{
    bool fits = room > 0 && room <= SIZE_MAX / sizeof *queue->places;
    FLI_ATOMIC(PyObject *) *places = fits ? malloc(room * sizeof *places) : NULL;
    if (places == NULL && room > 0)
        return false;
    fli_registry_lock();
    void *before = move_locked(queue, places, room);
    fli_registry_unlock();
    free(before);
    return true;
}

/* A room for `count` references, and of `least` places at least. */
static uint64_t room_for(uint64_t least, uint64_t count)
{
    uint64_t room = fli_max(least, (uint64_t)FIRST_ROOM);
    while (room < count)
        room *= 2;
    return room;
}

/* How many more references there is room for. */
static uint64_t free_places(const struct fli_py_queue *queue)
{
    /* U4: acquire, pairs with U3 in fli_py_queue_take: a thread that took a reference has read its place. */
    return queue->room - (fli_load_own(&queue->put) - fli_load_acquire(&queue->taken));
}

bool fli_py_queue_reserve_owner(struct fli_py_queue *queue, size_t count)
{
    uint64_t free = free_places(queue);
    if (free < count && (count > SIZE_MAX / 4 || !move(queue, room_for(queue->room, queue->room - free + count))))
        return false;
    queue->reserved = fli_max(queue->reserved, (uint64_t)count);
    return true;
}

void fli_py_queue_shrink_owner(struct fli_py_queue *queue, size_t most)
{
    if (queue->room <= most || free_places(queue) < queue->room)
        return;
    uint64_t room = queue->reserved > 0 ? room_for(0, queue->reserved) : 0;
    if (room < queue->room)
        (void)move(queue, room);
}

/* ---- References. */

bool fli_py_queue_put_owner(struct fli_py_queue *queue, PyObject *object)
{
    uint64_t put = fli_load_own(&queue->put);
    if (FLI_UNLIKELY(free_places(queue) == 0) && !move(queue, room_for(2 * queue->room, 0)))
        return false;
    queue->reserved -= queue->reserved > 0;
    fli_store_own(place_of(queue, put), object);
    /* U1: seq_cst, pairs with U2 in fli_py_queue_take and U6: the place, and what the object holds. */
    fli_store_order(&queue->put, put + 1, memory_order_seq_cst);
    return true;
}

PyObject *fli_py_queue_take(struct fli_py_queue *queue)
{
    uint64_t taken = fli_load_hint(&queue->taken);
    for (;;) {
        /* U2: acquire, pairs with U1 in fli_py_queue_put_owner. */
        uint64_t put = fli_load_acquire(&queue->put);
        if ((int64_t)(put - taken) <= 0)
            return NULL;
        PyObject *object = fli_load_hint(place_of(queue, taken)); /* it counts if the exchange succeeds */
        /* U3: release, pairs with U4 in free_places: the place has been read. Failure: relaxed, nothing is read. */
        if (fli_cas_strong(&queue->taken, &taken, taken + 1, memory_order_release, memory_order_relaxed))
            return object;
    }
}

size_t fli_py_queue_length_locked(const struct fli_py_queue *queue)
{
    uint64_t taken = fli_load_hint(&queue->taken);
    /* U6: seq_cst, pairs with U1 in fli_py_queue_put_owner: see fl_py_decref_later. */
    return (size_t)(fli_load_order(&queue->put, memory_order_seq_cst) - taken);
}

bool fli_py_queue_has_before_locked(const struct fli_py_queue *queue, uint64_t end)
{
    return (int64_t)(end - fli_load_hint(&queue->taken)) > 0;
}

#endif
