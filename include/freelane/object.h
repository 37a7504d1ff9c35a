/* SPDX-License-Identifier: MIT
 *
 * Objects of Freelane: a header of 16 bytes with a reference count, for hosts that have no object model of their own.
 * Others put the counts into the header that they have ("Headers of the host's own").
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
 * The child of a fork lacks threads that objects were handed to. If the host has said that they were stopped
 * (fl_heap_fork_stopped), these objects are merged, and the next fl_merge deallocates the dead ones. Otherwise they stay
 * allocated.
 *
 * 65 519 handles of a heap can own objects at a time. Objects of further ones count in `shared` alone.
 *
 * Which operations may wait:
 *
 *     wait-free     fl_incref and fl_decref by the owner, apart from what the death of an object does
 *     lock-free     the same by other threads, fl_try_incref, fl_publish, fl_make_immortal, fl_merge
 *     may lock      the first object that a handle creates, and handing an object over, where there is no magazine;
 *                   the same for keeping one constructed, and evicting it
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

/* The counts, which the host leaves alone. */
struct fl_counts {
    FL_SHARED_WORD(uint32_t) local;  /* the owner: 16 bits; its references: 16 bits */
    FL_SHARED_WORD(uint32_t) shared; /* the references of others: 28 bits, signed; flags: 4 bits */
};

/* The header: the first member of the host's structs. The host reads `type`. */
struct fl_object {
    struct fl_counts counts;
    const struct fl_type *type;
};

/* The header for the option `header` of a heap with stale readers, and for the types that live on it. fl_try_incref
 * needs such a heap. The counts of a dead object say that it is dead, so the library clears nothing. They also say so
 * while the object is linked through them (fl_header.link). A host with a layout of its own has a header of its own, which
 * the counts lie in. If the type follows the counts, that may be a copy of this one with other `bytes` and another
 * `link.offset`, that of the counts: then these serve as a link there, too. */
extern FL_API const struct fl_header fl_object_header;

/* Makes a type of objects ready, as fl_type_ready. Unless the type or its base has words, or another `header` than
 * fl_object_header, it gets FL_TYPE_HAS_WORDS: a dead object that waits needs no counts. Returns what fl_type_ready does.
 * Returns -EINVAL, too, with a message that names the type, for a size below the 16 bytes of the header. It does so, too,
 * for words (its base's, too) or a finalized byte that overlap the header. Called once per type, by one thread.
 * Wait-free. */
FL_API int fl_object_type_ready(struct fl_type *type, const struct fl_type *base, char *error, size_t error_size);

/* ---- Constructed objects
 *
 * A free block is never written, so a dead object can stay constructed (J. Bonwick: The Slab Allocator: An
 * Object-Caching Kernel Memory Allocator, USENIX 1994). What an object consists of, a buffer or a table, is then made
 * once for many lives:
 *
 *     fl_object_alloc      the thread keeps one      renew(object)
 *                          it keeps none             construct(object), in a block with unspecified contents
 *     the last fl_decref   there is room             reset(object); the thread keeps it
 *                          there is none             reset(object), clear(object), and the block is freed
 *     later                it is evicted             clear(object), and the block is freed
 *
 *   - The thread that deallocates an object keeps it: the owner, or one that drops the last reference in its place.
 *     An object is used again by the thread that keeps it, the last one first, and never goes through the pool.
 *   - A thread keeps objects of a type up to the type's `keep_bytes`: their sizes, and their parts as `reset` tells
 *     them. An object for which there is no room, or no memory to note it, is cleared and freed at once.
 *   - fl_thread_flush, fl_thread_offline, fl_thread_detach and the exit of a thread evict all that the thread keeps.
 *     fl_heap_trim does so for the handles of the heap that are bound to the OS thread that calls it. An allocation
 *     that would fail, at the heap's limit or otherwise, does so for its handle before on_pressure is called.
 *   - `clear` runs on the thread that makes such a call, with no lock held. What other threads keep stays.
 *   - fl_heap_flush_stopped runs no callback. It hands what each thread keeps to fl_run_pending of that thread.
 *   - Where objects of the type end later ("Code that runs later"), `reset` runs in fl_run_pending, and an evicted
 *     object waits for it.
 *   - In the child of a fork, the forking thread keeps what it kept. What other threads kept is left to the heap, as
 *     what they had pending: the next fl_run_pending of any handle clears it.
 *   - A kept object is dead. A heap walk and a census do not see it, and fl_block_at says FL_BLOCK_FREE. A trace is
 *     told of it when its block is freed. Samples that a profile has taken of the block and of the parts stay live until
 *     these are freed. The parts are blocks of their own, which are live: a collector that would free what it does not
 *     reach evicts first. fl_heap_stats counts the object's block as live; fl_heap_object_stats tells how many
 *     are kept.
 *
 * The callbacks are called as those of fl_dealloc, and may be left as these. An object whose callback was left stays
 * allocated, but an exception that leaves `construct` frees its block. The parts may come from this heap or from
 * elsewhere. A type may go away only once no thread keeps objects of it. */

/* The bytes of a type that a thread keeps, unless the type says otherwise. */
#define FL_KEEP_BYTES 65536

/* The descriptor of a constructed type. The host fills in the first part, and passes &type.type where a type is asked
 * for. */
struct fl_constructed_type {
    /* Its `clear` (or `clear_some`) takes apart what `construct` has made, and finds what `reset` has left. The kind is
     * CLEAR, or 0, which stands for it here. */
    struct fl_type type;
    /* Makes the object: its parts, and all that is behind the header. Returns false if memory is refused, and has then
     * taken apart what it had made: fl_object_alloc returns NULL with errno ENOMEM. */
    bool (*construct)(struct fl_thread *thread, void *object, const struct fl_type *type);
    /* At death: drops the references that the object holds, and keeps its parts. Returns their bytes. */
    size_t (*reset)(struct fl_thread *thread, void *object, const struct fl_type *type);
    /* Makes what `reset` has left as new: as `construct` leaves it. It cannot fail. */
    void (*renew)(struct fl_thread *thread, void *object, const struct fl_type *type);
    /* The most bytes of such objects that a thread keeps; 0 takes the base's, or FL_KEEP_BYTES. */
    size_t keep_bytes;

    /* Filled in by fl_constructed_type_ready. */
    uint32_t number; /* of the type, in the process */
};

/* Makes a constructed type ready, as fl_object_type_ready. A subtype of a constructed type is one, too. It takes from
 * its base what it leaves out: `construct`, `reset` with `renew`, `keep_bytes`. Returns -EINVAL, too, with a message
 * that names the type, for
 *
 *   - `renew` without `reset`, `reset` without `renew`, neither of them, no `construct`, no `clear`;
 *   - a `finalize` or a `dealloc`, another kind than CLEAR, a base that is FINALIZE or LEGACY and not constructed;
 *   - FL_TYPE_VARIABLE, FL_TYPE_ANY_KIND, a size above FL_BLOCK_MAX, or one that exceeds `keep_bytes`.
 *
 * The type gets FL_TYPE_NOT_DEFERRED. fl_object_type_ready refuses it as a base. Called once per type, by one thread.
 * Wait-free. */
FL_API int fl_constructed_type_ready(struct fl_constructed_type *type, const struct fl_type *base, char *error,
                                     size_t error_size);

/* ---- Objects ------------------------------------------------------------------------------------------- */

/* Allocates an object with one reference, which the caller has. Its contents behind the header are unspecified, unless
 * the type is a constructed one. In its slow half, and where no constructed object is kept, it first merges what was
 * handed to the thread, as fl_merge: then callbacks of dead objects run. Returns NULL with errno ENOMEM, or EINVAL
 * after misuse. To call it on a heap whose objects have another layout is misuse, which only the slow half reports. Called
 * by the handle's thread. Progress as fl_type_alloc, beside what `construct` and `renew` do. */
FL_INLINE struct fl_object *fl_object_alloc(struct fl_thread *thread, const struct fl_type *type);

/* Makes an object with one reference of a block that the host has allocated for the type, as by fl_type_alloc_sized.
 * Called by the handle's thread. Wait-free; the first call for a handle locks. */
FL_INLINE void fl_object_init(struct fl_thread *thread, struct fl_object *object, const struct fl_type *type);

/* Takes a reference. The caller has one, or borrows one from somebody who keeps it until this returns. When the owner's
 * 16 bits are full, half of them move to the shared count. When that is full, the object becomes immortal, which
 * fl_heap_object_stats counts. To take one of a dead object is misuse. A call that notices this reports it, and does
 * nothing else: in checked builds every call, in others only the owner's, and not if the object's counts were merged.
 * Called by the handle's thread. Wait-free for the owner, else lock-free. */
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
 * `return !fl_drop(thread, object)`, which is whether the object was resurrected. One that was published is so anew.
 * Called by the handle's thread inside `finalize`. Wait-free. */
FL_API void fl_revive(struct fl_thread *thread, struct fl_object *object);

/* Makes an object immortal: it is never deallocated, and release builds no longer count its references beyond the
 * owner's. One reference becomes the object's own. Called by any thread that has a reference. Lock-free. */
FL_API void fl_make_immortal(struct fl_object *object);

/* Whether the handle need not count references to the object: it is immortal. fl_incref and fl_decref find that out
 * themselves. A host most of whose references are to immortal objects asks first. That takes half the instructions and a
 * third of the branches for these, and one branch more for others. Checked builds, and handles without a slot, always say
 * no. Called by the handle's thread. Wait-free. */
FL_INLINE bool fl_is_uncounted(const struct fl_thread *thread, struct fl_object *object);

/* An initializer for the header of an immortal object in static memory, and one for its counts alone. */
#define FL_OBJECT_IMMORTAL(type)                                                                                     \
    {                                                                                                                \
        FL_COUNTS_IMMORTAL, (type)                                                                                   \
    }
#define FL_COUNTS_IMMORTAL                                                                                           \
    {                                                                                                                \
        0, FL_SHARED_MERGED | FL_SHARED_IMMORTAL | FL_SHARED_ONE                                                     \
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
 * Fails for an object that is not published. A full count makes the object immortal, as in fl_incref. The heap has stale
 * readers, with fl_object_header. Called by the handle's thread. Lock-free, beside the death of an object that has left
 * its place. */
FL_INLINE bool fl_try_incref(struct fl_thread *thread, struct fl_object *object, const void *place);

/* Merges the counts of objects that other threads have handed to the handle, and deallocates those that are dead: their
 * callbacks run. If the host leaves one, the others end in the next fl_merge of any handle but a real-time thread's. Hands
 * over what the handle has collected for other owners. The host calls it at safepoints. Called by the handle's thread.
 * Progress as fl_dealloc. */
FL_API void fl_merge(struct fl_thread *thread);

/* A byte that is not zero if fl_merge has something to do. A host includes it in its eval breaker. Read it as a relaxed
 * atomic. The pointer is valid while the handle is attached. Called by the handle's thread. May lock. */
FL_API const unsigned char *fl_thread_handed(struct fl_thread *thread);

/* ---- Headers of the host's own
 *
 * A host whose objects have a header already puts the counts into it, wherever there is room:
 *
 *     struct value {
 *         const struct kind *kind;   begins with a struct fl_type
 *         uint32_t hash;
 *         struct fl_counts counts;
 *     };
 *     static const struct fl_object_layout layout = {
 *         .bytes = sizeof(struct value), .counts = offsetof(struct value, counts), .type = offsetof(struct value, kind)};
 *
 * It tells the heap (fl_heap_set_object_layout), makes its types ready with fl_object_layout_type_ready, and allocates
 * with fl_type_alloc. Its decref is
 *
 *     if (fl_counts_drop(thread, &value->counts))
 *         fl_dealloc(thread, value, &value->kind->type);
 *
 * which for the owner of a PLAIN object is inline to the freelist, as fl_decref is. Constructed objects have the header
 * of 16 bytes. All counted objects of a heap have one layout. */
struct fl_object_layout {
    uint32_t bytes;  /* of the header, which the two lie in */
    uint32_t counts; /* where the struct fl_counts lies in an object: a multiple of 4 */
    uint32_t type;   /* where the pointer to the object's struct fl_type lies: a multiple of 8 */
};

/* Has the heap find counts and types of its objects there. Without it they lie as in a struct fl_object. The layout is
 * copied. Returns 0. Returns -EINVAL, with a message, for words that overlap, are not aligned, or lie beyond the header;
 * -EBUSY if a handle has created objects, or has asked for fl_thread_handed; -ENOMEM. Called by one thread, before
 * others use the heap. May lock. */
FL_API int fl_heap_set_object_layout(struct fl_heap *heap, const struct fl_object_layout *layout, char *error,
                                     size_t error_size);

/* fl_object_type_ready for types whose objects have the layout. Returns -EINVAL, too, for a layout that
 * fl_heap_set_object_layout refuses. Where the type follows the counts, and these lie at a
 * multiple of 8, both serve as the words of a dead object (FL_TYPE_HAS_WORDS). If the type has a `header`, they do only if
 * its `link` is that of fl_object_header, at the offset of the counts. Otherwise the words may overlap neither. */
FL_API int fl_object_layout_type_ready(struct fl_type *type, const struct fl_type *base,
                                       const struct fl_object_layout *layout, char *error, size_t error_size);

/* Gives an object that was just allocated one reference, which the caller has. The host stores the type. Thread and
 * progress as fl_object_init. */
FL_INLINE void fl_counts_init(struct fl_thread *thread, struct fl_counts *counts);

/* As fl_incref, fl_drop, fl_revive, fl_make_immortal, fl_is_uncounted and fl_publish. */
FL_INLINE void fl_counts_incref(struct fl_thread *thread, struct fl_counts *counts);
FL_INLINE bool fl_counts_drop(struct fl_thread *thread, struct fl_counts *counts);
FL_API void fl_counts_revive(struct fl_thread *thread, struct fl_counts *counts);
FL_API void fl_counts_make_immortal(struct fl_counts *counts);
FL_INLINE bool fl_counts_are_fixed(const struct fl_thread *thread, struct fl_counts *counts);
FL_API void fl_counts_publish(struct fl_counts *counts);

/* As fl_decref: finds the type where the heap's layout says. Out of line. */
FL_API void fl_counts_decref(struct fl_thread *thread, struct fl_counts *counts);

/* As fl_try_incref of the object, whose counts these are. They lie in the header that stale readers look at. */
FL_INLINE bool fl_counts_try_incref(struct fl_thread *thread, struct fl_counts *counts, const void *object,
                                    const void *place);

/* ---- Statistics ----------------------------------------------------------------------------------------- */

/* What happened to the counts of a heap, and its constructed objects. */
struct fl_object_stats {
    uint64_t overflows; /* objects that are immortal because their shared count was full */
    uint64_t refused;   /* objects that are immortal because no magazine could be had to hand them over in */
    size_t kept;        /* dead objects that threads keep */
    size_t kept_bytes;  /* their sizes, and their parts as `reset` has told them */
    uint64_t renewed;   /* how often such an object was used again */
    uint64_t evicted;   /* how often one was cleared instead */
};

/* Fills `stats`. While threads are at work, each number was true a moment ago. Any thread. May lock. */
FL_API void fl_heap_object_stats(struct fl_heap *heap, struct fl_object_stats *stats);

/* Prints them to the stream. Returns 0, or -EIO if the stream failed. A cancellation point if writing to the stream is
 * one. Any thread. May lock. */
FL_API int fl_heap_print_object_stats(struct fl_heap *heap, FILE *stream, enum fl_stats_format format);

#ifdef __cplusplus
}
#endif

#include <freelane/object_inline.h>

#endif
