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
FL_API void fl_incref_slow(struct fl_thread *thread, struct fl_object *object);
FL_API void fl_decref_slow(struct fl_thread *thread, struct fl_object *object);
FL_API void fl_decref_merge(struct fl_thread *thread, struct fl_object *object);
FL_API void fl_object_end_slow(struct fl_thread *thread, struct fl_object *object, const struct fl_type *type);
FL_API bool fl_try_incref_slow(struct fl_thread *thread, struct fl_object *object);

/* The owner's count; 0 or above FL_LOCAL_MOST if the thread is not the owner, or the object is dead. */
FL_INLINE uint32_t fl_local_count(const struct fl_thread *thread, struct fl_object *object)
{
    /* Relaxed: to the owner the word is its own; another thread only sees that it is not the owner. */
    return __atomic_load_n(&object->local, __ATOMIC_RELAXED) - thread->slot;
}

FL_INLINE void fl_local_set(const struct fl_thread *thread, struct fl_object *object, uint32_t count)
{
    /* Relaxed: the owner alone writes the word, and others read only whose it is. */
    __atomic_store_n(&object->local, thread->slot + count, __ATOMIC_RELAXED);
}

FL_INLINE void fl_object_init(struct fl_thread *thread, struct fl_object *object, const struct fl_type *type)
{
    if (FL_UNLIKELY(thread->slot == 0)) {
        fl_object_init_slow(thread, object, type);
        return;
    }
    fl_local_set(thread, object, 1);
    /* Relaxed: nobody else has the object. A stale reader finds it dead, or without a reference to raise. */
    __atomic_store_n(&object->shared, 0u, __ATOMIC_RELAXED);
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
    /* Relaxed: the flag is never cleared. Counting on without having seen it does no harm. */
    uint32_t shared = __atomic_load_n(&object->shared, __ATOMIC_RELAXED);
    return (shared & thread->uncounted) != 0;
}

FL_INLINE void fl_incref(struct fl_thread *thread, struct fl_object *object)
{
    uint32_t count = fl_local_count(thread, object);
    if (FL_UNLIKELY(count - 1 >= FL_LOCAL_MOST - 1)) {
        if (!fl_is_uncounted(thread, object))
            fl_incref_slow(thread, object);
        return;
    }
    fl_local_set(thread, object, count + 1);
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
    /* The word with a reference less, and what it leaves of the owner's count: FL_LOCAL_MOST or more if the thread is not
     * the owner, or had none. Relaxed: as in fl_local_count. */
    uint32_t less = __atomic_load_n(&object->local, __ATOMIC_RELAXED) - 1, left = less - thread->slot;
    if (left != 0) {
        if (FL_UNLIKELY(left >= FL_LOCAL_MOST)) {
            if (!fl_is_uncounted(thread, object))
                fl_decref_slow(thread, object);
            return;
        }
        /* Relaxed: as in fl_local_set. */
        __atomic_store_n(&object->local, less, __ATOMIC_RELAXED);
        return;
    }
    /* Relaxed: as in fl_local_set. */
    __atomic_store_n(&object->local, less, __ATOMIC_RELAXED);
    /* B1: acquire, pairs with B3 in fli_count_drop_inline. If the word is 0, no other thread has a reference, and none can
     * find the object. */
    if (FL_UNLIKELY(__atomic_load_n(&object->shared, __ATOMIC_ACQUIRE) != 0))
        fl_decref_merge(thread, object);
    else
        fl_object_end(thread, object, object->type);
}

FL_INLINE bool fl_try_incref(struct fl_thread *thread, struct fl_object *object, const void *place)
{
    FL_SHARED_WORD(struct fl_object *) *at = (FL_SHARED_WORD(struct fl_object *) *)place;
    uint32_t count = fl_local_count(thread, object);
    if (FL_UNLIKELY(count - 1 >= FL_LOCAL_MOST - 1)) {
        if (!fl_try_incref_slow(thread, object))
            return false;
    } else {
        fl_local_set(thread, object, count + 1);
    }
    /* B2: acquire, pairs with B6 in fli_count_publish, and with the host's store. */
    if (FL_UNLIKELY(__atomic_load_n(at, __ATOMIC_ACQUIRE) != object)) {
        fl_decref(thread, object);
        return false;
    }
    return true;
}

#ifdef __cplusplus
}
#endif

#endif
