/* SPDX-License-Identifier: MIT
 *
 * All that the machine asks of memory. VM_MEMORY names the header that answers:
 *
 *     memory/memory_freelane.h    objects of Freelane, with biased counts, grace periods and a heap walk
 *     memory/memory_malloc.h      the twin: malloc and free, atomic counts, locks for readers
 *
 * The rest of the machine is the same source for both. The two headers define
 *
 *     memory_t       all objects of a program
 *     lane_t         what one thread allocates and counts with; it has a word for the machine
 *     object_t       the header of every object: a reference count and `type`
 *     type_t         the descriptor: name, size, kind, callbacks
 *     constructed_t  the descriptor of a type whose dead objects may keep their parts: `type`, and the callbacks
 *                    construct, reset and renew
 *
 * and the kinds MEMORY_PLAIN, MEMORY_CLEAR, MEMORY_FINALIZE and MEMORY_LEGACY, the flags MEMORY_VARIABLE and
 * MEMORY_LATER, the constant MEMORY_COLLECTS, and OBJECT_IMMORTAL(type), the header of an immortal object in static
 * memory. What follows says what their functions do.
 */
#ifndef VM_MEMORY_H
#define VM_MEMORY_H

#include VM_MEMORY

/* ---- The whole */

static inline memory_t *memory_open(void);

/* Ends it. Fails unless every object is gone, and all is well. No lane is left. */
static inline void memory_close(memory_t *memory);

/* Makes a type ready, once, before other threads use it. */
static inline void memory_type_ready(type_t *type);
static inline void memory_constructed_type_ready(constructed_t *type);

/* ---- Threads */

static inline lane_t *memory_attach(memory_t *memory, void *context);
static inline void memory_detach(lane_t *lane);
static inline void *memory_context(lane_t *lane);

/* Around what blocks: other threads do not wait for this one meanwhile. On return from memory_leave, no dead object of
 * the lane waits for its callbacks. */
static inline void memory_leave(lane_t *lane);
static inline void memory_enter(lane_t *lane);

/* ---- Safepoints */

/* The thread has no pointer that it read without a lock. Objects that others have handed over die here. */
static inline void memory_quiescent(lane_t *lane);

/* Whether memory_run_pending has something to do. */
static inline bool memory_has_pending(lane_t *lane);

/* Ends at most so many objects whose end may run code of the program. Returns whether some are left. */
static inline bool memory_run_pending(lane_t *lane, size_t objects);

/* ---- Objects. They have one reference at first. Running out of memory fails. */

static inline object_t *object_new(lane_t *lane, const type_t *type);
static inline object_t *object_new_sized(lane_t *lane, const type_t *type, size_t size);

/* A new object with all its parts, or one that has kept them from an earlier life. Its death ends in `reset`, which
 * leaves the parts, or in the type's `clear`, which takes everything apart, or in both. */
static inline object_t *object_construct(lane_t *lane, const constructed_t *type);

/* Frees the memory of an object, whatever its count says. */
static inline void object_free(lane_t *lane, object_t *object);

/* The same, once no reader without a lock can look at it any more. */
static inline void object_free_later(lane_t *lane, object_t *object);

/* ---- References */

static inline void object_incref(lane_t *lane, object_t *object);
static inline void object_decref(lane_t *lane, object_t *object);
static inline void object_make_immortal(object_t *object);

/* Inside `finalize`: gives the object one reference again. */
static inline void object_revive(lane_t *lane, object_t *object);

/* ---- Readers without locks, of a container that has a lock for writers */

/* Around looking at a place of the container. Takes the lock where memory has no better way. */
static inline void memory_read_begin(struct lock *lock);
static inline void memory_read_end(struct lock *lock);

/* Takes a reference to what was found at `place`. Returns false if the object has left it, or is not published. */
static inline bool object_try_incref(lane_t *lane, object_t *object, const void *place);

/* From now on object_try_incref may succeed for other threads than the object's. The caller has a reference. */
static inline void object_publish(object_t *object);

/* ---- The collector. Only with MEMORY_COLLECTS */

/* Tells of each object, while all other threads are stopped. Nothing is allocated or freed meanwhile. */
static inline void memory_walk(memory_t *memory, void (*tell)(void *context, object_t *object), void *context);

#endif
