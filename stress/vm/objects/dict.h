/* SPDX-License-Identifier: MIT
 *
 * Dictionaries of integers and strings, with a lock for readers and writers: open addressing, linear probing, and no
 * removal.
 */
#ifndef VM_DICT_H
#define VM_DICT_H

#include "objects/object.h"

struct entry {
    object_t *key, *value;
};

struct table {
    object_t head;
    uint32_t capacity; /* a power of 2 */
    struct entry entries[];
};

struct dict {
    struct container container;
    struct table *table; /* NULL: none yet */
};

void dicts_open(void);

object_t *dict_new(lane_t *lane);

/* The value of a key; NULL if there is none. */
object_t *dict_find(lane_t *lane, object_t *self, object_t *key);

/* Sets the value of a key. Takes over the references to both. */
void dict_put(lane_t *lane, object_t *self, object_t *key, object_t *value);

/* Adds to the integer that is the value of a key, as one step. It is 0 at first. */
void dict_tally(lane_t *lane, object_t *self, object_t *key, int64_t amount);

uint32_t dict_length(object_t *self);

#endif
