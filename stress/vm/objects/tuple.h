/* SPDX-License-Identifier: MIT
 *
 * Tuples: a constant number of constant items. They are CLEAR.
 *
 * Short tuples have a class for each length, so that their size is the type's: they are allocated and freed inline.
 * Longer ones share a class whose objects differ in size.
 */
#ifndef VM_TUPLE_H
#define VM_TUPLE_H

#include "objects/object.h"

struct tuple {
    struct container container;
    object_t *items[];
};

void tuples_open(void);

/* Takes over the references to the items. */
object_t *tuple_new(lane_t *lane, object_t *const *items, size_t count);

/* The same for two. */
object_t *tuple_pair(lane_t *lane, object_t *first, object_t *second);

/* An item; fails if there is none. */
static inline object_t *tuple_get(lane_t *lane, const object_t *self, int64_t index)
{
    const struct tuple *tuple = (const struct tuple *)self;
    if (index < 0 || index >= container_count(&tuple->container))
        fail("a tuple of %u has no item %lld", container_count(&tuple->container), (long long)index);
    object_incref(lane, tuple->items[index]);
    return tuple->items[index];
}

#endif
