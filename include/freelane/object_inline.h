/* SPDX-License-Identifier: MIT
 *
 * How the fast paths of object.h work. The layouts here are part of the ABI that FL_ABI numbers.
 *
 *     local    31 .. owner's slot .. 16 | 15 .. count .. 0        written by the owner alone
 *     shared   31 .. signed count ..  4 | 3 .. flags .. 0
 *
 * `local - thread->slot` is the owner's count if the thread is the owner. Otherwise it is above 16 bits, or 0: an
 * object of slot 0 has no owner, and its `local` is 0. So one compare tells that the thread is the owner and has a
 * reference. A thread without a slot, a stand-in, and every thread of a checked build have slot 0 here, and take the
 * slow half.
 *
 *     label  order    where                                           pairs with
 *     B1     acquire  the owner's count is 0: is the shared one, too  B3: what other threads did to the object
 *     B2     acquire  a place is looked at again                      the host's release store of the pointer
 */
#ifndef FREELANE_OBJECT_INLINE_H
#define FREELANE_OBJECT_INLINE_H

#include <freelane/object.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    FL_LOCAL_MOST = 0xffff, /* the owner's count, at most */

    FL_SHARED_PUBLISHED = 1, /* readers without locks may find the object */
    FL_SHARED_QUEUED = 2,    /* the object was handed to its owner; that reference still counts */
    FL_SHARED_MERGED = 4,    /* the owner's count is 0 and stays so: all references count in `shared` */
    FL_SHARED_IMMORTAL = 8,
    FL_SHARED_ONE = 16 /* one reference */
};

FL_API struct fl_object *fl_object_alloc_slow(struct fl_thread *thread, const struct fl_type *type);
FL_API void fl_object_init_slow(struct fl_thread *thread, struct fl_object *object, const struct fl_type *type);
FL_API void fl_counts_init_slow(struct fl_thread *thread, struct fl_counts *counts);
FL_API void fl_counts_incref_slow(struct fl_thread *thread, struct fl_counts *counts);
FL_API bool fl_counts_drop_slow(struct fl_thread *thread, struct fl_counts *counts);
FL_API bool fl_counts_drop_merge(struct fl_counts *counts);
FL_API bool fl_counts_try_slow(struct fl_thread *thread, struct fl_counts *counts);
FL_API void fl_decref_slow(struct fl_thread *thread, struct fl_object *object);
FL_API void fl_decref_merge(struct fl_thread *thread, struct fl_object *object);
FL_API void fl_object_end_slow(struct fl_thread *thread, struct fl_object *object, const struct fl_type *type);

/* ---- The two words. */

/* The owner's count; 0 or above FL_LOCAL_MOST if the thread is not the owner, or the object is dead. */
FL_INLINE uint32_t fl_local_count(const struct fl_thread *thread, struct fl_counts *counts)
{
    /* Relaxed: to the owner the word is its own; another thread only sees that it is not the owner. */
    return __atomic_load_n(&counts->local, __ATOMIC_RELAXED) - thread->slot;
}

FL_INLINE void fl_local_set(const struct fl_thread *thread, struct fl_counts *counts, uint32_t count)
{
    /* Relaxed: the owner alone writes the word, and others read only whose it is. */
    __atomic_store_n(&counts->local, thread->slot + count, __ATOMIC_RELAXED);
}

/* Gives an object its owner's reference. */
FL_INLINE void fl_counts_begin(const struct fl_thread *thread, struct fl_counts *counts)
{
    fl_local_set(thread, counts, 1);
    /* Relaxed: nobody else has the object. A stale reader finds it dead, or without a reference to raise. */
    __atomic_store_n(&counts->shared, 0u, __ATOMIC_RELAXED);
}

FL_INLINE void fl_counts_init(struct fl_thread *thread, struct fl_counts *counts)
{
    if (FL_UNLIKELY(thread->slot == 0))
        fl_counts_init_slow(thread, counts);
    else
        fl_counts_begin(thread, counts);
}

FL_INLINE bool fl_counts_are_fixed(const struct fl_thread *thread, struct fl_counts *counts)
{
    /* Relaxed: the flag is never cleared. Counting on without having seen it does no harm. */
    uint32_t shared = __atomic_load_n(&counts->shared, __ATOMIC_RELAXED);
    return (shared & thread->uncounted) != 0;
}

FL_INLINE void fl_counts_incref(struct fl_thread *thread, struct fl_counts *counts)
{
    uint32_t count = fl_local_count(thread, counts);
    if (FL_UNLIKELY(count - 1 >= FL_LOCAL_MOST - 1)) {
        if (!fl_counts_are_fixed(thread, counts))
            fl_counts_incref_slow(thread, counts);
        return;
    }
    fl_local_set(thread, counts, count + 1);
}

/* What a thread's drop of a reference is to go on with. */
enum fl_dropped {
    FL_DROPPED_ONE,  /* nothing: there are others */
    FL_DROPPED_ALL,  /* the object is dead */
    FL_DROPPED_MINE, /* the owner's count is 0: the counts are to be merged */
    FL_DROPPED_NONE  /* the thread is not the owner, or had none: the slow half drops it */
};

FL_INLINE enum fl_dropped fl_counts_drop_own(struct fl_thread *thread, struct fl_counts *counts)
{
    /* The word with a reference less, and what it leaves of the owner's count: FL_LOCAL_MOST or more if the thread is not
     * the owner, or had none. Relaxed: as in fl_local_count. */
    uint32_t less = __atomic_load_n(&counts->local, __ATOMIC_RELAXED) - 1, left = less - thread->slot;
    if (left != 0) {
        if (FL_UNLIKELY(left >= FL_LOCAL_MOST))
            return fl_counts_are_fixed(thread, counts) ? FL_DROPPED_ONE : FL_DROPPED_NONE;
        /* Relaxed: as in fl_local_set. */
        __atomic_store_n(&counts->local, less, __ATOMIC_RELAXED);
        return FL_DROPPED_ONE;
    }
    /* Relaxed: as in fl_local_set. */
    __atomic_store_n(&counts->local, less, __ATOMIC_RELAXED);
    /* B1: acquire, pairs with B3 in fli_count_drop_inline. If the word is 0, no other thread has a reference, and none can
     * find the object. */
    return FL_UNLIKELY(__atomic_load_n(&counts->shared, __ATOMIC_ACQUIRE) != 0) ? FL_DROPPED_MINE : FL_DROPPED_ALL;
}

FL_INLINE bool fl_counts_drop(struct fl_thread *thread, struct fl_counts *counts)
{
    enum fl_dropped dropped = fl_counts_drop_own(thread, counts);
    if (FL_UNLIKELY(dropped == FL_DROPPED_NONE))
        return fl_counts_drop_slow(thread, counts);
    if (FL_UNLIKELY(dropped == FL_DROPPED_MINE))
        return fl_counts_drop_merge(counts);
    return dropped == FL_DROPPED_ALL;
}

/* Takes a reference to what a reader has found, whatever became of the place meanwhile. */
FL_INLINE bool fl_counts_try(struct fl_thread *thread, struct fl_counts *counts)
{
    uint32_t count = fl_local_count(thread, counts);
    if (FL_UNLIKELY(count - 1 >= FL_LOCAL_MOST - 1))
        return fl_counts_try_slow(thread, counts);
    fl_local_set(thread, counts, count + 1);
    return true;
}

/* Whether an object is still where a reader has found it. */
FL_INLINE bool fl_is_in_place(const void *object, const void *place)
{
    FL_SHARED_WORD(struct fl_object *) *at = (FL_SHARED_WORD(struct fl_object *) *)place;
    /* B2: acquire, pairs with B6 in fli_count_publish, and with the host's store. */
    return !FL_UNLIKELY(__atomic_load_n(at, __ATOMIC_ACQUIRE) != object);
}

FL_INLINE bool fl_counts_try_incref(struct fl_thread *thread, struct fl_counts *counts, const void *object,
                                    const void *place)
{
    if (!fl_counts_try(thread, counts))
        return false;
    if (fl_is_in_place(object, place))
        return true;
    fl_counts_decref(thread, counts);
    return false;
}

/* ---- Objects. */

FL_INLINE void fl_object_init(struct fl_thread *thread, struct fl_object *object, const struct fl_type *type)
{
    if (FL_UNLIKELY(thread->slot == 0)) {
        fl_object_init_slow(thread, object, type);
        return;
    }
    fl_counts_begin(thread, &object->counts);
    /* Relaxed: as in fl_counts_begin. */
    __atomic_store_n(&object->type, type, __ATOMIC_RELAXED);
}

FL_INLINE struct fl_object *fl_object_alloc(struct fl_thread *thread, const struct fl_type *type)
{
    struct fl_cache *cache = fl_cache_at(thread, type->alloc_cache);
    void **top = fl_cache_top(cache);
    if (FL_UNLIKELY(top == cache->floor))
        return fl_object_alloc_slow(thread, type);
    struct fl_object *object = (struct fl_object *)fl_cache_take(cache, top);
    fl_object_init(thread, object, type);
    return object;
}

FL_INLINE bool fl_is_uncounted(const struct fl_thread *thread, struct fl_object *object)
{
    return fl_counts_are_fixed(thread, &object->counts);
}

FL_INLINE void fl_incref(struct fl_thread *thread, struct fl_object *object)
{
    fl_counts_incref(thread, &object->counts);
}

/* fl_dealloc of an object that the thread owned alone. A constructed one may be kept. */
FL_INLINE void fl_object_end(struct fl_thread *thread, struct fl_object *object, const struct fl_type *type)
{
    struct fl_cache *cache = fl_cache_at(thread, type->dealloc_cache);
    void **top = fl_cache_top(cache);
    if (FL_UNLIKELY(fl_cache_is_full(top))) {
        fl_object_end_slow(thread, object, type);
        return;
    }
    fl_cache_put(cache, top, object);
}

FL_INLINE void fl_decref(struct fl_thread *thread, struct fl_object *object)
{
    switch (fl_counts_drop_own(thread, &object->counts)) {
    case FL_DROPPED_ONE:
        return;
    case FL_DROPPED_ALL:
        fl_object_end(thread, object, object->type);
        return;
    case FL_DROPPED_MINE:
        fl_decref_merge(thread, object);
        return;
    case FL_DROPPED_NONE:
        fl_decref_slow(thread, object);
    }
}

FL_INLINE bool fl_try_incref(struct fl_thread *thread, struct fl_object *object, const void *place)
{
    if (!fl_counts_try(thread, &object->counts))
        return false;
    if (fl_is_in_place(object, place))
        return true;
    fl_decref(thread, object);
    return false;
}

#ifdef __cplusplus
}
#endif

#endif
