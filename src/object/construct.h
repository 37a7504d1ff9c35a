/* SPDX-License-Identifier: MIT
 *
 * Constructed objects: when their callbacks run (object.h), and when they are kept (keep.h).
 *
 *     fl_object_alloc     one is kept          renew
 *                         none is              a block, construct
 *     the last decref     there is room        reset, and the object is kept
 *                         there is none        reset, clear, and the block is freed
 *     an eviction                              clear, and the block is freed
 *
 * To the core the type is a FINALIZE type. Its `finalize` is fli_construct_end: it resets and keeps the object, which
 * counts as resurrected then. So such objects wait like others while callbacks run, and chains of them do not recurse.
 * Nothing finds a kept object but its keep: its counts say that it is dead.
 *
 * The type names a cache that has neither blocks nor room (`alloc_cache`), which is no other type's. So its calls come
 * to the slow halves, and these know it by that. What its owner's fl_decref ends where no drain runs takes a quick way
 * there, which is a drain of its own (`dealloc_cache` says whether the type may take it).
 */
#ifndef FLI_CONSTRUCT_H
#define FLI_CONSTRUCT_H

#include "heap/thread.h"

#include <freelane/object.h>

/* The `finalize` of a constructed type. Returns whether the object is kept. */
bool fli_construct_end(struct fl_thread *thread, void *object, const struct fl_type *type);

/* Whether a ready type inherits from a constructed one, or is one. */
static inline bool fli_construct_inherits(const struct fl_type *type)
{
    return type->finalize == fli_construct_end;
}

/* Cache 0 of the second half of a struct fl_thread. */
enum { FLI_CONSTRUCT_CACHE = FL_CLASS_COUNT * sizeof(struct fl_cache) };

/* Whether a ready type is a constructed one. */
static inline bool fli_construct_is(const struct fl_type *type)
{
    return type->alloc_cache == FLI_CONSTRUCT_CACHE;
}

/* The whole of a constructed type. */
static inline const struct fl_constructed_type *fli_construct_of(const struct fl_type *type)
{
    return (const struct fl_constructed_type *)(const void *)type;
}

/* What the object layer does for the guest's functions of these names (heap/guest.h). */
bool fli_construct_evict(struct fli_thread *thread);
bool fli_construct_keeps(const struct fli_thread *thread);
void fli_construct_hand_over_locked(struct fli_thread *thread);

/* Evicts all that a handle keeps, and has it keep nothing more. What callbacks have it keep meanwhile goes to
 * fl_run_pending. The owning thread; no lock may be held. */
void fli_construct_close(struct fli_thread *thread);

#endif
