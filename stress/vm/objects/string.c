/* SPDX-License-Identifier: MIT */
#include "objects/string.h"

#include <string.h>

enum { STEP = 16, SHORT_MOST = 512 };

static struct class classes[SHORT_MOST / STEP]; /* of objects of up to STEP, 2 * STEP, ... bytes */
static struct class long_class;

static void open_class(struct class *class, size_t size, uint32_t flags)
{
    class->shape = SHAPE_STRING;
    class->type.name = "string";
    class->type.size = size;
    class->type.kind = MEMORY_PLAIN;
    class->type.flags = flags;
    memory_type_ready(&class->type);
}

/* The first classes are of objects that no string fits. */
void strings_open(void)
{
    for (size_t size = STEP; size <= SHORT_MOST; size += STEP)
        if (size > sizeof(struct string))
            open_class(&classes[size / STEP - 1], size, 0);
    open_class(&long_class, SHORT_MOST + 1, MEMORY_VARIABLE);
}

/* ---- Strings */

/* FNV-1a. */
static uint64_t hash_bytes(const char *bytes, size_t length)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3u;
    return hash ^ hash >> 32;
}

struct string *string_begin(lane_t *lane, size_t length)
{
    if (length >= UINT32_MAX)
        fail("a string of %zu bytes is too long", length);
    size_t size = sizeof(struct string) + length + 1;
    bool is_short = size <= SHORT_MOST;
    struct string *made = (struct string *)(is_short ? object_new(lane, &classes[(size - 1) / STEP].type)
                                                     : object_new_sized(lane, &long_class.type, size));
    atomic_init(&made->hash, 0);
    made->length = (uint32_t)length;
    return made;
}

object_t *string_end(struct string *made, char *end)
{
    *end = 0;
    return &made->head;
}

static const struct string *as_string(const object_t *self)
{
    object_require(self, SHAPE_STRING);
    return (const struct string *)self;
}

object_t *string_new(lane_t *lane, const char *bytes, size_t length)
{
    struct string *made = string_begin(lane, length);
    memcpy(made->bytes, bytes, length);
    return string_end(made, made->bytes + length);
}

char *string_copy(const object_t *piece, char *to)
{
    const struct string *string = as_string(piece);
    return (char *)memcpy(to, string->bytes, string->length) + string->length;
}

size_t string_length(const object_t *self)
{
    return as_string(self)->length;
}

object_t *string_concat(lane_t *lane, const object_t *a, const object_t *b)
{
    struct string *made = string_begin(lane, string_length(a) + string_length(b));
    return string_end(made, string_copy(b, string_copy(a, made->bytes)));
}

bool string_equal(const object_t *a, const object_t *b)
{
    const struct string *left = (const struct string *)a, *right = (const struct string *)b;
    return left->length == right->length && memcmp(left->bytes, right->bytes, left->length) == 0;
}

uint64_t string_hash(const object_t *self)
{
    /* Relaxed: whoever finds none works out the same. */
    struct string *string = (struct string *)as_string(self);
    uint64_t hash = atomic_load_explicit(&string->hash, memory_order_relaxed);
    if (hash != 0)
        return hash;
    hash = hash_bytes(string->bytes, string->length);
    atomic_store_explicit(&string->hash, hash, memory_order_relaxed);
    return hash;
}

const char *string_bytes(const object_t *self)
{
    return as_string(self)->bytes;
}

/* ---- Interned strings */

static struct {
    struct lock lock;
    object_t **strings; /* a table with linear probing */
    size_t capacity, count;
} interned;

static object_t **find(const object_t *string)
{
    size_t at = string_hash(string) & (interned.capacity - 1);
    while (interned.strings[at] != NULL && !string_equal(interned.strings[at], string))
        at = (at + 1) & (interned.capacity - 1);
    return &interned.strings[at];
}

static void grow(void)
{
    object_t **old = interned.strings;
    size_t count = interned.capacity;
    interned.capacity = count == 0 ? 64 : 2 * count;
    interned.strings = (object_t **)allocate(interned.capacity * sizeof *old);
    for (size_t i = 0; i < count; i++)
        if (old[i] != NULL)
            *find(old[i]) = old[i];
    free(old);
}

object_t *string_intern(lane_t *lane, const char *bytes, size_t length)
{
    object_t *made = string_new(lane, bytes, length);
    lock_take(&interned.lock);
    if (2 * interned.count >= interned.capacity)
        grow();
    object_t **place = find(made), *found = *place;
    if (found == NULL) {
        object_make_immortal(made);
        *place = made;
        interned.count++;
    }
    lock_release(&interned.lock);
    if (found == NULL)
        return made;
    object_decref(lane, made);
    return found;
}

void strings_forget(lane_t *lane)
{
    for (size_t i = 0; i < interned.capacity; i++)
        if (interned.strings[i] != NULL)
            object_free(lane, interned.strings[i]);
    free(interned.strings);
    interned.strings = NULL;
    interned.capacity = interned.count = 0;
}
