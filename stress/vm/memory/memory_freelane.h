/* SPDX-License-Identifier: MIT
 *
 * Memory by Freelane. Most functions are one call.
 *
 *     grace     qsbr: a thread passes quiescent states at its safepoints, and reads lists at no cost between them
 *     header    readers of lists look at the counts of objects that may just have died (fl_try_incref)
 *     huge      never: the machine takes the memory that its objects touch. Strings have a class for each size, so its
 *               heap has many slabs of which little is used; huge pages would make all of that resident
 *     later     an object whose end runs code of the program waits for a safepoint (fl_run_pending). Its type says so
 */
#ifndef VM_MEMORY_FREELANE_H
#define VM_MEMORY_FREELANE_H

#include "memory/fail.h"
#include "memory/lock.h"

#include <freelane/object.h>

#include <string.h>

typedef struct fl_heap memory_t;
typedef struct fl_thread lane_t;
typedef struct fl_object object_t;
typedef struct fl_type type_t;
typedef struct fl_constructed_type constructed_t;

#define OBJECT_IMMORTAL(type) FL_OBJECT_IMMORTAL(type)

#define MEMORY_PLAIN          FL_DEALLOC_PLAIN
#define MEMORY_CLEAR          FL_DEALLOC_CLEAR
#define MEMORY_FINALIZE       FL_DEALLOC_FINALIZE
#define MEMORY_LEGACY         FL_DEALLOC_LEGACY
#define MEMORY_VARIABLE       FL_TYPE_VARIABLE
#define MEMORY_LATER          (FL_TYPE_LATER | FL_TYPE_HAS_WORDS)
#define MEMORY_COLLECTS       true

/* ---- The whole */

static inline memory_t *memory_open(void)
{
    char error[256] = "";
    struct fl_options options = {.grace = FL_GRACE_QSBR, .header = &fl_object_header, .huge = FL_HUGE_NEVER};
    struct fl_heap *heap = fl_heap_create(&options, error, sizeof error);
    if (heap == NULL)
        fail("%s", error);
    return heap;
}

static inline void memory_close(memory_t *memory)
{
    char error[256] = "";
    struct fl_stats stats;
    if (fl_heap_barrier(memory) != 0)
        fail("what was freed later still waits");
    if (fl_heap_check(memory, error, sizeof error) != 0)
        fail("%s", error);
    fl_heap_stats(memory, &stats);
    if (stats.live_blocks != 0)
        fail("%zu objects are left", stats.live_blocks);
    if (fl_heap_destroy(memory) != 0)
        fail("the heap cannot be destroyed");
}

static inline void memory_type_ready(type_t *type)
{
    char error[256] = "";
    type->header = &fl_object_header;
    if (fl_object_type_ready(type, NULL, error, sizeof error) != 0)
        fail("%s", error);
}

static inline void memory_constructed_type_ready(constructed_t *type)
{
    char error[256] = "";
    type->type.header = &fl_object_header;
    if (fl_constructed_type_ready(type, NULL, error, sizeof error) != 0)
        fail("%s", error);
}

/* ---- Threads. One that leaves or ends takes apart what it has kept constructed. */

static inline lane_t *memory_attach(memory_t *memory, void *context)
{
    struct fl_thread *thread = fl_thread_attach(memory);
    if (thread == NULL)
        fail("no thread can be attached");
    fl_thread_set_context(thread, context);
    return thread;
}

static inline void memory_detach(lane_t *lane)
{
    fl_thread_detach(lane);
}

static inline void *memory_context(lane_t *lane)
{
    return fl_thread_context(lane);
}

static inline void memory_quiescent(lane_t *lane)
{
    fl_quiescent(lane);
    fl_merge(lane);
}

static inline bool memory_has_pending(lane_t *lane)
{
    return __atomic_load_n(fl_thread_pending(lane), __ATOMIC_RELAXED) !=
           0; /* a hint; the next safepoint looks again */
}

static inline bool memory_run_pending(lane_t *lane, size_t objects)
{
    return fl_run_pending(lane, fl_budget_objects(objects)) == 1;
}

/* Going offline merges what other threads have handed over, and some of that may be pending then. */
static inline void memory_leave(lane_t *lane)
{
    fl_thread_offline(lane);
    while (memory_has_pending(lane)) {
        fl_thread_online(lane);
        memory_run_pending(lane, SIZE_MAX);
        fl_thread_offline(lane);
    }
}

static inline void memory_enter(lane_t *lane)
{
    fl_thread_online(lane);
}

/* ---- Objects */

static inline object_t *object_new(lane_t *lane, const type_t *type)
{
    struct fl_object *made = fl_object_alloc(lane, type);
    if (FL_UNLIKELY(made == NULL))
        fail("out of memory for a %s", type->name);
    return made;
}

static inline object_t *object_new_sized(lane_t *lane, const type_t *type, size_t size)
{
    struct fl_object *made = (struct fl_object *)fl_type_alloc_sized(lane, type, size);
    if (made == NULL)
        fail("out of memory for a %s of %zu bytes", type->name, size);
    fl_object_init(lane, made, type);
    return made;
}

/* The type says that the objects are constructed: the call is the same. */
static inline object_t *object_construct(lane_t *lane, const constructed_t *type)
{
    return object_new(lane, &type->type);
}

static inline void object_free(lane_t *lane, object_t *object)
{
    fl_type_free(lane, object, object->type);
}

static inline void object_free_later(lane_t *lane, object_t *object)
{
    fl_type_free_deferred(lane, object, object->type);
}

/* ---- References. Most are to none, small integers and constants: asking about these first saves a branch. */

__attribute__((always_inline)) static inline void object_incref(lane_t *lane, object_t *object)
{
    if (!fl_is_uncounted(lane, object))
        fl_incref(lane, object);
}

__attribute__((always_inline)) static inline void object_decref(lane_t *lane, object_t *object)
{
    if (!fl_is_uncounted(lane, object))
        fl_decref(lane, object);
}

static inline void object_make_immortal(object_t *object)
{
    fl_make_immortal(object);
}

static inline void object_revive(lane_t *lane, object_t *object)
{
    fl_revive(lane, object);
}

/* ---- Readers without locks */

static inline void memory_read_begin(struct lock *lock)
{
    (void)lock; /* the thread is in a read-side section from one safepoint to the next */
}

static inline void memory_read_end(struct lock *lock)
{
    (void)lock;
}

static inline bool object_try_incref(lane_t *lane, object_t *object, const void *place)
{
    return fl_try_incref(lane, object, place);
}

static inline void object_publish(object_t *object)
{
    fl_publish(object);
}

/* ---- The collector. A walk does not tell of dead objects that are kept, but of their parts, which the collector
 * leaves alone: they go with their object. */

struct memory_teller {
    void (*tell)(void *context, object_t *object);
    void *context;
};

static inline bool memory_tell(void *context, const struct fl_block *block)
{
    const struct memory_teller *teller = (const struct memory_teller *)context;
    teller->tell(teller->context, (object_t *)block->start);
    return true;
}

static inline void memory_walk(memory_t *memory, void (*tell)(void *context, object_t *object), void *context)
{
    struct memory_teller teller = {tell, context};
    if (fl_heap_walk_begin(memory) != 0)
        fail("the heap cannot be walked");
    fl_heap_walk(memory, memory_tell, &teller);
    fl_heap_walk_end(memory);
}

#endif
