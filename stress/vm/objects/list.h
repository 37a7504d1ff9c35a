/* SPDX-License-Identifier: MIT
 *
 * Lists: threads change them with a lock, and read them without one.
 *
 *     list ──> array ──> items
 *
 * A reader loads the array, loads an item, and tries to take a reference. The item may have been replaced meanwhile,
 * and be dead: then object_try_incref fails. It fails, too, for an item that no thread but its owner has read so far.
 * In both cases the reader takes the lock. There it publishes the item, so that the next reader finds it without.
 *
 * An array that has become too small is freed once no reader can look at it any more. Its places are set to NULL
 * before the lock is released: what object_try_incref asks of a place is that a dead object has left it.
 */
#ifndef VM_LIST_H
#define VM_LIST_H

#include "objects/object.h"

struct array {
    object_t head;
    uint32_t capacity;
    _Atomic(object_t *) items[];
};

struct list {
    struct container container;
    _Atomic(struct array *) array; /* NULL: none yet */
};

void lists_open(void);

object_t *list_new(lane_t *lane);

/* Takes over the reference to the item. */
void list_append(lane_t *lane, object_t *self, object_t *item);

/* The last item, which leaves the list; NULL if there is none. */
object_t *list_pop(lane_t *lane, object_t *self);

/* An item; NULL if there is none at the index. */
object_t *list_get(lane_t *lane, object_t *self, int64_t index);

/* Replaces an item; fails if there is none. Takes over the reference to the item. */
void list_set(lane_t *lane, object_t *self, int64_t index, object_t *item);

uint32_t list_length(object_t *self);

/* A string of all items, which are strings. No other thread changes the list. */
object_t *list_join(lane_t *lane, object_t *self);

#endif
