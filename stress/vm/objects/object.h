/* SPDX-License-Identifier: MIT
 *
 * What all objects of the machine have in common.
 *
 * A class is a type descriptor of memory (memory.h) with what the machine adds: the shape, and how the collector sees
 * what an object holds. The descriptor comes first, so the `type` in an object's header leads to its class.
 *
 *     shape              file          kind
 *     none               object.c      static and immortal
 *     integer, real      number.c      PLAIN
 *     string             string.c      PLAIN, a class for each size
 *     tuple              tuple.c       CLEAR
 *     list               list.c        constructed: keeps its array, a PLAIN one, or is cleared piece by piece
 *     dict               dict.c        constructed: keeps its table, a PLAIN one
 *     closure            closure.c     CLEAR
 *     handle             handle.c      FINALIZE: runs a closure of the program when it dies
 *     thread             thread.c      LEGACY: its dealloc does everything itself
 *
 * The variables of the machine own references: a function that takes `object_t *` borrows it, unless it says that it
 * takes over the caller's reference. A function that returns an object returns a reference.
 */
#ifndef VM_OBJECT_H
#define VM_OBJECT_H

#include "memory/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum shape {
    SHAPE_NONE,
    SHAPE_INTEGER,
    SHAPE_REAL,
    SHAPE_STRING,
    SHAPE_TUPLE,
    SHAPE_LIST,
    SHAPE_DICT,
    SHAPE_CLOSURE,
    SHAPE_HANDLE,
    SHAPE_THREAD,
    SHAPE_PART
};

typedef void (*visitor)(void *context, object_t *held);

struct class
{
    union {
        type_t type;
        constructed_t constructed; /* it begins with a type, too */
    };
    enum shape shape;
    /* Calls the visitor for all that an object holds, none of it NULL. NULL if objects hold nothing. */
    void (*visit)(object_t *self, visitor visit, void *context);
    /* Drops all that an object holds, which may be done twice. It may be the type's `clear`, too. */
    void (*empty)(lane_t *lane, void *self, const type_t *type);
};

/* The beginning of objects that hold others. */
struct container {
    object_t head;
    _Atomic(uint32_t) count; /* of what it holds, where that is a number */
    struct lock lock;        /* of writers */
    uint8_t mark;            /* the collection that last found it reachable */
    uint8_t finalized;       /* of a handle: its finalizer has run, or is about to */
};

extern object_t none;

/* Makes all classes ready. */
void objects_open(void);

static inline const struct class *class_of(const object_t *self)
{
    return (const struct class *)(const void *)self->type;
}

static inline enum shape shape_of(const object_t *self)
{
    return class_of(self)->shape;
}

/* Relaxed: the count of a list may be another one already, and its readers verify it. All others' is constant. */
static inline uint32_t container_count(const struct container *self)
{
    return atomic_load_explicit(&self->count, memory_order_relaxed);
}

static inline void container_init(struct container *self, uint32_t count)
{
    atomic_init(&self->count, count);
    atomic_init(&self->lock.taken, false);
    self->mark = 0;
    self->finalized = 0;
}

/* Fails, saying that the object is not of the shape. */
__attribute__((noreturn, cold)) void object_complain(const object_t *self, enum shape shape);

/* Fails unless the object has the shape. */
static inline void object_require(const object_t *self, enum shape shape)
{
    if (shape_of(self) != shape)
        object_complain(self, shape);
}

static inline void object_empty(lane_t *lane, object_t *self)
{
    class_of(self)->empty(lane, self, self->type);
}

/* Drops the reference at a place, if there is one, and leaves NULL. */
static inline void object_drop(lane_t *lane, object_t **place)
{
    object_t *held = *place;
    *place = NULL;
    if (held != NULL)
        object_decref(lane, held);
}

/* Whether two objects are the same, or numbers or strings of the same value. */
bool object_equal(const object_t *a, const object_t *b);

/* The same for equal integers and strings. Fails for other shapes. */
uint64_t object_hash(const object_t *self);

#endif
