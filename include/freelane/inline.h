/* SPDX-License-Identifier: MIT
 *
 * How the inline fast paths work; their contract stands in freelane.h, which includes this file. The layouts here are
 * the ABI that FL_ABI numbers.
 *
 * A cache as the fast paths see it, loaded with a magazine that holds pointers to three free blocks:
 *
 *       floor                top          a multiple of FL_MAGAZINE_BYTES
 *         v                   v                  v
 *     ----+------+------+-----+------+-----+-----+
 *      .. | free | free | free|      | ... |     |      the magazine's slots
 *     ----+------+------+-----+------+-----+-----+
 *
 *     blocks that alloc can take here = top - floor >= 0
 *
 * alloc takes *--top unless top == floor. free stores *top++ unless top is a multiple of FL_MAGAZINE_BYTES, where every
 * magazine ends. A call that fails this test goes to its slow half, which exchanges magazines and tries again. A cache
 * of zeros sends every call there. It has no magazine, or it is for class 0, of a stand-in, of a hardened heap, or of a
 * checked build.
 *
 * Only the owning thread touches the slots. Statistics read `top` and `floor` from other threads, so they are stored as
 * relaxed atomics: they are single numbers and order nothing.
 */
#ifndef FREELANE_INLINE_H
#define FREELANE_INLINE_H

#include <freelane/freelane.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FL_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Bytes of a magazine, and their alignment. */
#define FL_MAGAZINE_BYTES 2048

struct fl_cache {
    void **top;   /* one past the uppermost pointer */
    void **floor; /* where alloc stops: the first slot in use, or one above it */
};

struct fl_thread {
    /* By size class. A thread uses one half: the second if its heap has stale readers. The other stays zero, except
     * that the library may use it while it leaves the first one without capacity. */
    struct fl_cache cache[2 * FL_CLASS_COUNT];
    /* Likewise: one past the uppermost pointer of the magazine that collects deferred blocks of a class. */
    void **deferred[2 * FL_CLASS_COUNT];
    /* Who the thread is in the counts of objects, in the upper 16 bits (object.h). 0: nobody. */
    uint32_t slot;
    /* The flag of objects that the thread need not count (object.h); 0 if it counts all. */
    uint16_t uncounted;
    /* The dead objects that the thread keeps constructed, by number of their type (object.h), and how many types. */
    uint16_t kept_types;
    struct fl_kept *kept;
    /* The library's own state follows. */
};

/* Code for a shared library leaves the model of thread-local variables to the compiler, which calls a function for each
 * access: a library that is loaded late may find no static storage. All other code reads at a fixed distance from the
 * thread's pointer (initial-exec). FREELANE_TLS_DYNAMIC, given to all files of a library, says otherwise: 1 the former,
 * 0 the latter. */
#if !defined(FREELANE_TLS_DYNAMIC)
#if defined(__PIC__) && !defined(__PIE__)
#define FREELANE_TLS_DYNAMIC 1
#else
#define FREELANE_TLS_DYNAMIC 0
#endif
#endif
#if FREELANE_TLS_DYNAMIC
#define FL_TLS_MODEL
#else
#define FL_TLS_MODEL __attribute__((tls_model("initial-exec")))
#endif

/* The calling OS thread's handle in the default heap. Before the thread's first call and while it exits, this is a
 * stand-in: a constant thread whose caches have no capacity. */
extern FL_API FL_TLS_MODEL __thread struct fl_thread *fl_thread_current;

FL_API void *fl_alloc_slow(struct fl_thread *thread, size_t size);
FL_API void fl_free_sized_slow(struct fl_thread *thread, void *block, size_t size);
FL_API void *fl_type_alloc_slow(struct fl_thread *thread, const struct fl_type *type);
FL_API void fl_type_free_slow(struct fl_thread *thread, void *object, const struct fl_type *type);
FL_API void fl_dealloc_slow(struct fl_thread *thread, void *object, const struct fl_type *type);
FL_API void fl_dealloc_as_slow(struct fl_thread *thread, void *object, const struct fl_type *type,
                               enum fl_dealloc_kind kind);
FL_API void fl_dealloc_tagged_slow(struct fl_thread *thread, void *object, const struct fl_type *type, size_t tag);
FL_API void fl_free_deferred_slow(struct fl_thread *thread, void *block, size_t size);
FL_API void fl_dealloc_deferred_slow(struct fl_thread *thread, void *object, const struct fl_type *type);

FL_INLINE struct fl_thread *fl_thread_self(void)
{
    return fl_thread_current;
}

/* The class that serves a size. It is 0 for size 0 and above FL_BLOCK_MAX; every fast path sends class 0 to its slow
 * half. */
FL_INLINE size_t fl_size_class(size_t size)
{
    if (__builtin_expect(size <= 512, 1))
        return (size + 15) >> 4;
    if (FL_UNLIKELY(size > FL_BLOCK_MAX))
        return 0;
    unsigned log2 = 63u - (unsigned)__builtin_clzll(size - 1);
    return 8 * log2 - 47 + ((size - 1) >> (log2 - 3));
}

/* Takes the block below `top`, which the caller has compared with the floor. */
FL_INLINE void *fl_cache_take(struct fl_cache *cache, void **top)
{
    __atomic_store_n(&cache->top, top - 1, __ATOMIC_RELAXED);
    return top[-1];
}

/* Stores a block at `top`, where the caller has seen room. */
FL_INLINE void fl_cache_put(struct fl_cache *cache, void **top, void *block)
{
    *top = block;
    __atomic_store_n(&cache->top, top + 1, __ATOMIC_RELAXED);
}

FL_INLINE void **fl_cache_top(const struct fl_cache *cache)
{
    return __atomic_load_n(&cache->top, __ATOMIC_RELAXED);
}

/* Whether there is no room at `top`. */
FL_INLINE bool fl_cache_is_full(void **top)
{
    return ((uintptr_t)top & (FL_MAGAZINE_BYTES - 1)) == 0;
}

/* The cache of a type's class: `offset` is the type's alloc_cache, free_cache or dealloc_cache. */
FL_INLINE struct fl_cache *fl_cache_at(struct fl_thread *thread, uint32_t offset)
{
    return (struct fl_cache *)(void *)((char *)thread + offset);
}

/* The cache that serves `size` bytes. */
FL_INLINE struct fl_cache *fl_cache_for(struct fl_thread *thread, size_t size)
{
    /* Small sizes have a branch of their own, where two shifts become a shift and a mask. */
    if (__builtin_expect(size <= 512, 1))
        return (struct fl_cache *)(void *)((char *)thread + ((size + 15) / 16 * sizeof(struct fl_cache)));
    return &thread->cache[fl_size_class(size)];
}

FL_INLINE void *fl_alloc(struct fl_thread *thread, size_t size)
{
    struct fl_cache *cache = fl_cache_for(thread, size);
    void **top = fl_cache_top(cache);
    if (FL_UNLIKELY(top == cache->floor))
        return fl_alloc_slow(thread, size);
    return fl_cache_take(cache, top);
}

FL_INLINE void fl_free_sized(struct fl_thread *thread, void *block, size_t size)
{
    struct fl_cache *cache = fl_cache_for(thread, size);
    void **top = fl_cache_top(cache);
    if (FL_UNLIKELY(fl_cache_is_full(top))) {
        fl_free_sized_slow(thread, block, size);
        return;
    }
    fl_cache_put(cache, top, block);
}

/* `size` rounded up to a multiple of `alignment`, at least one. A size too large for that is returned as it is, and
 * then refused. */
FL_INLINE size_t fl_aligned_size(size_t alignment, size_t size)
{
    size_t rounded = (size + (size == 0) + alignment - 1) & ~(alignment - 1);
    return rounded >= size ? rounded : size;
}

FL_INLINE void fl_free_aligned(struct fl_thread *thread, void *block, size_t alignment, size_t size)
{
    fl_free_sized(thread, block, fl_aligned_size(alignment, size));
}

FL_INLINE void *fl_type_alloc(struct fl_thread *thread, const struct fl_type *type)
{
    struct fl_cache *cache = fl_cache_at(thread, type->alloc_cache);
    void **top = fl_cache_top(cache);
    if (FL_UNLIKELY(top == cache->floor))
        return fl_type_alloc_slow(thread, type);
    return fl_cache_take(cache, top);
}

FL_INLINE void fl_type_free(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct fl_cache *cache = fl_cache_at(thread, type->free_cache);
    void **top = fl_cache_top(cache);
    if (FL_UNLIKELY(fl_cache_is_full(top))) {
        fl_type_free_slow(thread, object, type);
        return;
    }
    fl_cache_put(cache, top, object);
}

/* The bounds test also tests the kind. For a kind other than PLAIN, dealloc_cache leads to the cache that never has
 * room. It does so, too, for a type whose header the library clears. */
FL_INLINE void fl_dealloc(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    struct fl_cache *cache = fl_cache_at(thread, type->dealloc_cache);
    void **top = fl_cache_top(cache);
    if (FL_UNLIKELY(fl_cache_is_full(top))) {
        fl_dealloc_slow(thread, object, type);
        return;
    }
    fl_cache_put(cache, top, object);
}

FL_INLINE void fl_dealloc_as(struct fl_thread *thread, void *object, const struct fl_type *type,
                             enum fl_dealloc_kind kind)
{
    struct fl_cache *cache = fl_cache_at(thread, type->dealloc_cache);
    void **top = fl_cache_top(cache);
    if (kind != FL_DEALLOC_PLAIN || FL_UNLIKELY(fl_cache_is_full(top))) {
        fl_dealloc_as_slow(thread, object, type, kind);
        return;
    }
    fl_cache_put(cache, top, object);
}

/* Stores a block at the `top` that lies at `place`, if there is room. Returns false, and changes nothing, if there is
 * none. */
FL_INLINE bool fl_top_put(void ***place, void *block)
{
    void **top = __atomic_load_n(place, __ATOMIC_RELAXED);
    if (FL_UNLIKELY(fl_cache_is_full(top)))
        return false;
    *top = block;
    __atomic_store_n(place, top + 1, __ATOMIC_RELAXED);
    return true;
}

/* Where in a thread a `top` lies: `offset` is a type's tag, or its deferred_cache. */
FL_INLINE void ***fl_top_at(struct fl_thread *thread, size_t offset)
{
    return (void ***)(void *)((char *)thread + offset);
}

/* A tag is the offset in a thread at which the `top` for a type's freed objects lies. For a type whose objects can be
 * pushed there at once, which is PLAIN, that is the `top` of its cache. Other types have one of the tags below. These
 * are the offsets of the words of the two caches of class 0, which are always zero: a `top` without room. */
enum {
    FL_TAG_LEGACY = 0,
    FL_TAG_PLAIN = sizeof(void **),
    FL_TAG_CLEAR = FL_CLASS_COUNT * sizeof(struct fl_cache),
    FL_TAG_FINALIZE = FL_TAG_CLEAR + sizeof(void **)
};

FL_INLINE unsigned fl_type_tag(const struct fl_type *type)
{
    switch (type->kind) {
    case FL_DEALLOC_LEGACY:
        return FL_TAG_LEGACY;
    case FL_DEALLOC_CLEAR:
        return FL_TAG_CLEAR;
    case FL_DEALLOC_FINALIZE:
        return FL_TAG_FINALIZE;
    default:
        return type->dealloc_cache != 0 ? type->dealloc_cache : (unsigned)FL_TAG_PLAIN;
    }
}

FL_INLINE enum fl_dealloc_kind fl_tag_kind(unsigned tag)
{
    if (tag == FL_TAG_CLEAR)
        return FL_DEALLOC_CLEAR;
    if (tag == FL_TAG_FINALIZE)
        return FL_DEALLOC_FINALIZE;
    return tag == FL_TAG_LEGACY ? FL_DEALLOC_LEGACY : FL_DEALLOC_PLAIN;
}

/* The bounds test also tests the kind, as in fl_dealloc. */
FL_INLINE void fl_dealloc_tagged(struct fl_thread *thread, void *object, const struct fl_type *type, size_t tag)
{
    if (!fl_top_put(fl_top_at(thread, tag), object))
        fl_dealloc_tagged_slow(thread, object, type, tag);
}

FL_INLINE void fl_free_deferred(struct fl_thread *thread, void *block, size_t size)
{
    if (!fl_top_put(&thread->deferred[fl_size_class(size)], block))
        fl_free_deferred_slow(thread, block, size);
}

FL_INLINE void fl_dealloc_deferred(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    if (!fl_top_put(fl_top_at(thread, type->deferred_cache), object))
        fl_dealloc_deferred_slow(thread, object, type);
}

FL_INLINE struct fl_budget fl_budget_objects(size_t objects)
{
    struct fl_budget budget = {objects, 0};
    return budget;
}

FL_INLINE struct fl_budget fl_budget_microseconds(uint64_t microseconds)
{
    struct fl_budget budget = {0, microseconds};
    return budget;
}

#ifdef __cplusplus
}
#endif

#endif
