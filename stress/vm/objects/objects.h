/* SPDX-License-Identifier: MIT
 *
 * An array of pointers to objects that grows, in memory of the C library. It counts no references.
 */
#ifndef VM_OBJECTS_H
#define VM_OBJECTS_H

#include "objects/object.h"

struct objects {
    object_t **items;
    size_t count, capacity;
};

static inline void objects_add(struct objects *objects, object_t *object)
{
    if (objects->count == objects->capacity) {
        objects->capacity = objects->capacity == 0 ? 256 : 2 * objects->capacity;
        objects->items = reallocate(objects->items, objects->capacity * sizeof(void *));
    }
    objects->items[objects->count++] = object;
}

static inline void objects_free(struct objects *objects)
{
    free(objects->items);
    *objects = (struct objects){NULL, 0, 0};
}

#endif
