/* SPDX-License-Identifier: MIT
 *
 * Strings: constant bytes, and their hash once somebody has asked for it. They are PLAIN. As with tuples, short ones have a
 * class for each size in steps of 16 bytes, so that they are allocated and freed inline. Longer ones share a class of
 * different sizes.
 *
 * The reader interns the strings of a program: strings of the same bytes are one object, which is immortal, so threads
 * that share it do not count in it.
 */
#ifndef VM_STRING_H
#define VM_STRING_H

#include "objects/object.h"

struct string {
    object_t head;
    _Atomic(uint64_t) hash; /* 0: nobody has asked for it yet */
    uint32_t length;
    char bytes[]; /* and a 0 behind the last */
};

void strings_open(void);

object_t *string_new(lane_t *lane, const char *bytes, size_t length);

/* A new string of two. */
object_t *string_concat(lane_t *lane, const object_t *a, const object_t *b);

/* A new string, piece by piece: it begins with a length, each piece returns where the next one goes, and the last one
 * ends it. */
struct string *string_begin(lane_t *lane, size_t length);
char *string_copy(const object_t *piece, char *to);
object_t *string_end(struct string *made, char *end);

size_t string_length(const object_t *self);

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
