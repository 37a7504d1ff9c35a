/* SPDX-License-Identifier: MIT
 *
 * The twin's memory: malloc, free and atomic counts. It is what a host writes that has only these.
 *
 *   - An immortal object has a count that nobody reaches, and is not counted.
 *   - A thread that reads a list takes its lock: a block that it looks at may be freed at any time otherwise.
 *   - Dead objects that hold others are linked through their counts, so that a long list dies without recursion.
 *   - An object is made with its parts and taken apart with them: malloc is where parts wait for the next one.
 *   - malloc cannot be walked, so nothing collects cycles.
 */
#ifndef VM_MEMORY_MALLOC_H
#define VM_MEMORY_MALLOC_H

#include "memory/fail.h"
#include "memory/lock.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef struct memory {
    char none;
} memory_t;

typedef struct counted object_t;

typedef struct lane {
    void *context;
    object_t *dead; /* a list of objects that wait for their callbacks */
    bool is_draining;
} lane_t;

enum { MEMORY_LEGACY, MEMORY_PLAIN, MEMORY_CLEAR, MEMORY_FINALIZE };
enum { MEMORY_VARIABLE = 1, MEMORY_LATER = 2 };

#define MEMORY_COLLECTS false

typedef struct counted_type {
    const char *name;
    size_t size;
    int kind;
    void (*dealloc)(lane_t *lane, void *object, const struct counted_type *type);
    void (*clear)(lane_t *lane, void *object, const struct counted_type *type);
    bool (*clear_some)(lane_t *lane, void *object, const struct counted_type *type);
    bool (*finalize)(lane_t *lane, void *object, const struct counted_type *type);
    uint32_t finalized_offset;
    uint8_t finalized_mask;
    uint32_t flags, words_offset; /* not used: the machine calls closures itself, and a count is word enough */
} type_t;

typedef struct {
    type_t type;
    bool (*construct)(lane_t *lane, void *object, const type_t *type);
    /* What keeps parts is not used. */
    size_t (*reset)(lane_t *lane, void *object, const type_t *type);
    void (*renew)(lane_t *lane, void *object, const type_t *type);
} constructed_t;

struct counted {
    _Atomic(intptr_t) references; /* of a dead object that waits: the next one */
    const type_t *type;
};

#define COUNT_IMMORTAL ((intptr_t)1 << 62)
#define OBJECT_IMMORTAL(type)                                                                                        \
    {                                                                                                                \
        COUNT_IMMORTAL, (type)                                                                                       \
    }

/* ---- The whole, and threads */

static inline memory_t *memory_open(void)
{
    return (memory_t *)allocate(sizeof(memory_t));
}

static inline void memory_close(memory_t *memory)
{
    free(memory);
}

static inline void memory_type_ready(type_t *type)
{
    (void)type;
}

static inline void memory_constructed_type_ready(constructed_t *type)
{
    (void)type;
}

static inline lane_t *memory_attach(memory_t *memory, void *context)
{
    lane_t *made = (lane_t *)allocate(sizeof(lane_t));
    (void)memory;
    made->context = context;
    return made;
}

static inline void memory_detach(lane_t *lane)
{
    free(lane);
}

static inline void *memory_context(lane_t *lane)
{
    return lane->context;
}

static inline void memory_leave(lane_t *lane)
{
    (void)lane;
}

static inline void memory_enter(lane_t *lane)
{
    (void)lane;
}

static inline void memory_quiescent(lane_t *lane)
{
    (void)lane;
}

static inline bool memory_has_pending(lane_t *lane)
{
    (void)lane;
    return false;
}

static inline bool memory_run_pending(lane_t *lane, size_t objects)
{
    (void)lane;
    (void)objects;
    return false;
}

/* ---- Objects */

static inline object_t *object_new_sized(lane_t *lane, const type_t *type, size_t size)
{
    object_t *made = (object_t *)malloc(size);
    (void)lane;
    if (made == NULL)
        fail("out of memory for a %s of %zu bytes", type->name, size);
    atomic_store_explicit(&made->references, 1, memory_order_relaxed); /* nobody else has it */
    made->type = type;
    return made;
}

static inline object_t *object_new(lane_t *lane, const type_t *type)
{
    return object_new_sized(lane, type, type->size);
}

static inline object_t *object_construct(lane_t *lane, const constructed_t *type)
{
    object_t *made = object_new(lane, &type->type);
    if (!type->construct(lane, made, &type->type))
        fail("out of memory for the parts of a %s", type->type.name);
    return made;
}

static inline void object_free(lane_t *lane, object_t *object)
{
    (void)lane;
    free(object);
}

/* Readers have the lock that the caller holds. */
static inline void object_free_later(lane_t *lane, object_t *object)
{
    object_free(lane, object);
}

/* ---- The end of objects */

/* Whether `finalize` has made the object live again. Each object is finalized once. */
static inline bool object_is_saved(lane_t *lane, object_t *dead)
{
    const type_t *type = dead->type;
    if (type->finalize == NULL)
        return false;
    unsigned char *finalized = (unsigned char *)dead + type->finalized_offset;
    if ((*finalized & type->finalized_mask) != 0)
        return false;
    *finalized |= type->finalized_mask;
    return type->finalize(lane, dead, type);
}

static inline void object_end(lane_t *lane, object_t *dead)
{
    const type_t *type = dead->type;
    if (type->kind == MEMORY_LEGACY) {
        type->dealloc(lane, dead, type);
        return;
    }
    if (object_is_saved(lane, dead))
        return;
    if (type->clear != NULL)
        type->clear(lane, dead, type);
    else
        while (type->clear_some(lane, dead, type))
            continue;
    free(dead);
}

__attribute__((noinline, unused)) static void object_end_all(lane_t *lane, object_t *dead)
{
    /* Relaxed: a dead object is its thread's own. */
    atomic_store_explicit(&dead->references, (intptr_t)lane->dead, memory_order_relaxed);
    lane->dead = dead;
    if (lane->is_draining)
        return;
    lane->is_draining = true;
    while ((dead = lane->dead) != NULL) {
        lane->dead = (object_t *)atomic_load_explicit(&dead->references, memory_order_relaxed);
        object_end(lane, dead);
    }
    lane->is_draining = false;
}

/* ---- References */

/* Relaxed: an object is made immortal before other threads have it. */
static inline bool object_is_immortal(object_t *object)
{
    return atomic_load_explicit(&object->references, memory_order_relaxed) >= COUNT_IMMORTAL;
}

__attribute__((always_inline)) static inline void object_incref(lane_t *lane, object_t *object)
{
    (void)lane;
    if (!object_is_immortal(object))
        atomic_fetch_add_explicit(&object->references, 1, memory_order_relaxed); /* the caller has a reference */
}

__attribute__((always_inline)) static inline void object_decref(lane_t *lane, object_t *object)
{
    if (object_is_immortal(object) || atomic_fetch_sub_explicit(&object->references, 1, memory_order_acq_rel) != 1)
        return;
    if (object->type->kind == MEMORY_PLAIN)
        free(object);
    else
        object_end_all(lane, object);
}

static inline void object_make_immortal(object_t *object)
{
    atomic_store_explicit(&object->references, COUNT_IMMORTAL, memory_order_relaxed);
}

static inline void object_revive(lane_t *lane, object_t *object)
{
    (void)lane;
    atomic_store_explicit(&object->references, 1, memory_order_relaxed); /* nobody else has it */
}

/* ---- Readers: with the lock */

static inline void memory_read_begin(struct lock *lock)
{
    lock_take(lock);
}

static inline void memory_read_end(struct lock *lock)
{
    lock_release(lock);
}

static inline bool object_try_incref(lane_t *lane, object_t *object, const void *place)
{
    (void)place;
    object_incref(lane, object);
    return true;
}

static inline void object_publish(object_t *object)
{
    (void)object;
}

static inline void memory_walk(memory_t *memory, void (*tell)(void *context, object_t *object), void *context)
{
    (void)memory;
    (void)tell;
    (void)context;
}

#endif
