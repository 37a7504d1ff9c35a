/* SPDX-License-Identifier: MIT
 *
 * Strings: constant bytes with their hash. They are PLAIN. As with tuples, short ones have a class for each size in
 * steps of 16 bytes, so that they are allocated and freed inline. Longer ones share a class of different sizes.
 *
 * The reader interns the strings of a program: strings of the same bytes are one object, which is immortal, so threads
 * that share it do not count in it.
 */
#ifndef VM_STRING_H
#define VM_STRING_H

#include "objects/object.h"

struct string {
    object_t head;
    uint64_t hash;
    uint32_t length;
    char bytes[]; /* and a 0 behind the last */
};

void strings_open(void);

object_t *string_new(lane_t *lane, const char *bytes, size_t length);

/* A new string of two. */
object_t *string_concat(lane_t *lane, const object_t *a, const object_t *b);

/* A new string of all strings of an array. */
object_t *string_join(lane_t *lane, object_t *const *parts, size_t count);

bool string_equal(const object_t *a, const object_t *b);
uint64_t string_hash(const object_t *self);

/* The bytes; fails if it is no string. */
const char *string_bytes(const object_t *self);

/* ---- Interned strings */

/* The string of these bytes. It needs no count. Any thread. */
object_t *string_intern(lane_t *lane, const char *bytes, size_t length);

/* Frees all interned strings. Nobody uses one any more. */
void strings_forget(lane_t *lane);

#endif
