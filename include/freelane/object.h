/* SPDX-License-Identifier: MIT
 *
 * Objects of Freelane: a header of 16 bytes with a reference count, for hosts that have no object model of their own.
 *
 *     0        4        8                16
 *     +--------+--------+----------------+-----
 *     | local  | shared | type           |  what the host has in the object
 *     +--------+--------+----------------+-----
 *
 * The count is biased (J. Choi, T. Shull and J. Torrellas: Biased Reference Counting, PACT 2018; PEP 703). The thread
 * that creates an object owns it. The owner counts in `local`, without an atomic read-modify-write. All other threads
 * count in `shared`. An object that its owner has always had alone costs no more than a plain count would.
 *
 *     references = those in `local` + those in `shared`, which may be negative
 *
 * A thread that drops the last reference of an object that it does not own hands the object to the owner: at once if
 * the type is FINALIZE or LEGACY, else together with others, at its next fl_merge at the latest. The owner merges the
 * two counts at fl_merge, when it goes offline, or when it is detached. Then it finds out whether the object is dead.
 * While the owner is offline or gone, the thread that hands the object over does this for it. The next thread that
 * attaches may take the place of one that is gone: then it owns its objects.
 *
 * 65 535 handles of a heap can own objects at a time. Objects of further ones count in `shared` alone.
 *
 * Which operations may wait:
 *
 *     wait-free     fl_incref and fl_decref by the owner, apart from what the death of an object does
 *     lock-free     the same by other threads, fl_try_incref, fl_publish, fl_make_immortal, fl_merge
 *     may lock      the first object that a handle creates, and handing an object over, where there is no magazine
 *
 * Every reference belongs to the heap of the object: it is dropped through a handle of that heap. Compiles as C11 and
 * as C++17.
 */
#ifndef FREELANE_OBJECT_H
#define FREELANE_OBJECT_H

#include <freelane/freelane.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A word that threads share. The model check of the library replaces it. */
#if !defined(FL_SHARED_WORD)
#define FL_SHARED_WORD(T) T
#endif

/* The header: the first member of the host's structs. The host reads `type` and leaves the counts alone. */
struct fl_object {
    FL_SHARED_WORD(uint32_t) local;  /* the owner: 16 bits; its references: 16 bits */
    FL_SHARED_WORD(uint32_t) shared; /* the references of others: 28 bits, signed; flags: 4 bits */
    const struct fl_type *type;
};

/* The header for the option `header` of a heap with stale readers, and for the types that live on it. fl_try_incref
 * needs such a heap. The counts of a dead object say that it is dead, so the library clears nothing. */
extern FL_API const struct fl_header fl_object_header;

/* Makes a type of objects ready, as fl_type_ready. Unless the type has a `header` or words of its own, it gets
 * FL_TYPE_HAS_WORDS: a dead object that waits needs no counts. Returns what fl_type_ready does. Returns -EINVAL, too,
 * with a message that names the type, for a size below the 16 bytes of the header, and for words or a finalized byte
 * that overlap the header. Called once per type, by one thread. Wait-free. */
FL_API int fl_object_type_ready(struct fl_type *type, const struct fl_type *base, char *error, size_t error_size);

/* Allocates an object with one reference, which the caller has. Its contents behind the header are unspecified. In its
 * slow half it first merges what was handed to the thread, as fl_merge: then callbacks of dead objects run. Returns
 * NULL with errno ENOMEM, or EINVAL after misuse. Called by the handle's thread. Progress as fl_type_alloc. */
FL_INLINE struct fl_object *fl_object_alloc(struct fl_thread *thread, const struct fl_type *type);

/* Makes an object with one reference of a block that the host has allocated for the type, as by fl_type_alloc_sized.
 * Called by the handle's thread. Wait-free; the first call for a handle locks. */
FL_INLINE void fl_object_init(struct fl_thread *thread, struct fl_object *object, const struct fl_type *type);

/* Takes a reference. The caller has one, or borrows one from somebody who keeps it until this returns. When the owner's
 * 16 bits are full, half of them move to the shared count. When that is full, the object becomes immortal, which
 * fl_heap_object_stats counts. Called by the handle's thread. Wait-free for the owner, else lock-free. */
FL_INLINE void fl_incref(struct fl_thread *thread, struct fl_object *object);

/* Drops a reference that the caller has. The last one deallocates the object as fl_dealloc does: callbacks may run. For
 * the owner of a PLAIN object it is inline all the way to the freelist, with no atomic read-modify-write.
 *
 * Dropping more references than there are is misuse: every build reports it where it notices. Debug builds report the
 * same of immortal objects, whose own reference is never dropped. The call then does nothing.
 *
 * Called by the handle's thread. Keeps errno. Progress as fl_dealloc for the owner, else lock-free. If no magazine can
 * be had to hand the object over in, it becomes immortal, and fl_heap_object_stats counts it as refused. */
FL_INLINE void fl_decref(struct fl_thread *thread, struct fl_object *object);

/* Drops a reference, and deallocates nothing. Returns true if it was the last: then the caller does what is to be done.
 * Thread, misuse and progress as fl_decref. */
FL_API bool fl_drop(struct fl_thread *thread, struct fl_object *object);

/* Gives a dead object one reference again, for a `finalize` that shows it to other code. It ends in
 * `return !fl_drop(thread, object)`, which is whether the object was resurrected. Called by the handle's thread inside
 * `finalize`. Wait-free. */
FL_API void fl_revive(struct fl_thread *thread, struct fl_object *object);

/* Makes an object immortal: it is never deallocated, and release builds no longer count its references beyond the
 * owner's. One reference becomes the object's own. Called by any thread that has a reference. Lock-free. */
FL_API void fl_make_immortal(struct fl_object *object);

/* Whether the handle need not count references to the object: it is immortal. fl_incref and fl_decref find that out
 * themselves. A host most of whose references are to immortal objects asks first, which takes half the instructions
 * for these, and three more for others. Checked builds, and handles without a slot, always say no. Called
 * by the handle's thread. Wait-free. */
FL_INLINE bool fl_is_uncounted(const struct fl_thread *thread, struct fl_object *object);

/* An initializer for the header of an immortal object in static memory. */
#define FL_OBJECT_IMMORTAL(type)                                                                                     \
    {                                                                                                                \
        0, FL_SHARED_MERGED | FL_SHARED_IMMORTAL | FL_SHARED_ONE, (type)                                             \
    }

/* Says that readers without locks may find the object from now on. The caller has a reference, and calls this before it
 * stores a pointer to the object where they look. From then on the last decref is a compare-and-swap. Any thread.
 * Lock-free. */
FL_API void fl_publish(struct fl_object *object);

/* Takes a reference to an object that a reader without locks has found, and that may have died meanwhile. `place` is
 * where the reader found it: a pointer to the object, in memory that stays readable. Whoever replaces that pointer does
 * so with a release store, and only then drops the reference that the place had. Returns true if the caller has a
 * reference now, and the place still points to the object. Otherwise the reader looks at the place again.
 *
 * Fails for an object that is not published. The heap has stale readers, with fl_object_header. Called by the handle's
 * thread. Lock-free, beside the death of an object that has left its place. */
FL_INLINE bool fl_try_incref(struct fl_thread *thread, struct fl_object *object, const void *place);

/* Merges the counts of objects that other threads have handed to the handle, and deallocates those that are dead: their
 * callbacks run. Hands over what the handle has collected for other owners. The host calls it at safepoints. Called by
 * the handle's thread. Progress as fl_dealloc. */
FL_API void fl_merge(struct fl_thread *thread);

/* A byte that is not zero if fl_merge has something to do. A host includes it in its eval breaker. Read it as a relaxed
 * atomic. The pointer is valid while the handle is attached. Called by the handle's thread. May lock. */
FL_API const unsigned char *fl_thread_handed(struct fl_thread *thread);

/* What happened to the counts of a heap. */
struct fl_object_stats {
    uint64_t overflows; /* objects that are immortal because their shared count was full */
    uint64_t refused;   /* objects that are immortal because no magazine could be had to hand them over in */
};

/* Fills `stats`. Any thread. Wait-free. */
FL_API void fl_heap_object_stats(struct fl_heap *heap, struct fl_object_stats *stats);

#ifdef __cplusplus
}
#endif

#include <freelane/object_inline.h>

#endif
