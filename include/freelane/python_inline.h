/* SPDX-License-Identifier: MIT
 *
 * How the slots of declared types work; their contract stands in python.h, which includes this at its end.
 *
 * What the fast paths see of a thread:
 *
 *     struct fl_py_current (one per OS thread; fl_py_here finds it)
 *     +--------+
 *     | heap   | ---> struct fl_thread: a cache of blocks per size class, for objects without gc (inline.h)
 *     | thread | ---> struct fl_py_thread: a drawer per type
 *     |        |        +----------------+----------------+-----
 *     |        |        | cache of Node  | stock of Point | ..
 *     |        |        +----------------+----------------+-----
 *     | memory | ---> struct fl_thread of another heap, for memory beside objects
 *     +--------+
 *
 * A type's drawer holds one of two things:
 *
 *     type with gc      a cache: freed objects, which are used again
 *     type without gc   a stock: references to the type, from which new objects take theirs
 *
 * The pointers lead to constants full of zeros until the thread has allocated. They do so again while the thread is
 * recalled: a collection recalls it from `thread`, a change of fl_py_set_caching from all. Zeros mean neither
 * objects nor references nor room, so every call goes to its slow half, which brings the thread up to date.
 *
 * A drawer is written by its own thread alone. Statistics read `top` from other threads, and other threads write the
 * pointers of a struct fl_py_current, so these words are accessed as relaxed atomics: each stands by itself.
 */
#ifndef FREELANE_PYTHON_INLINE_H
#define FREELANE_PYTHON_INLINE_H

#include <freelane/python.h>

#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FL_PY_SLOW __attribute__((visibility("hidden"), noinline))

/* Whether the fast paths write the headers of new objects. In builds that count or list all objects and references,
 * PyObject_Init does so. With the GIL nothing is gained. */
#if defined(Py_GIL_DISABLED) && !defined(Py_REF_DEBUG) && !defined(Py_TRACE_REFS)
enum { FL_PY_HEADERS = 1 };
#else
enum { FL_PY_HEADERS = 0 };
#endif

/* What FL_PY_TYPE_OF_SIZE defines. */
#define FL_PY_DEFINE(prefix, basic_size, ...)                                                                        \
    static PyObject *prefix##_alloc(PyTypeObject *type, Py_ssize_t items);                                           \
    static void prefix##_free(void *object);                                                                         \
    static void prefix##_freelane_dealloc(PyObject *object);                                                         \
    static struct fl_py_state prefix##_freelane_state;                                                               \
    static const struct fl_py_type prefix##_freelane = {__VA_ARGS__,                                                 \
                                                        .size = basic_size,                                          \
                                                        .alloc = prefix##_alloc,                                     \
                                                        .free = prefix##_free,                                       \
                                                        .dealloc = prefix##_freelane_dealloc,                        \
                                                        .state = &prefix##_freelane_state};                          \
    static PyObject *prefix##_alloc(PyTypeObject *type, Py_ssize_t items)                                            \
    {                                                                                                                \
        return fl_py_alloc(&prefix##_freelane, type, items);                                                         \
    }                                                                                                                \
    static void prefix##_free(void *object)                                                                          \
    {                                                                                                                \
        fl_py_free(&prefix##_freelane, (PyObject *)object);                                                          \
    }                                                                                                                \
    static void prefix##_freelane_dealloc(PyObject *object)                                                          \
    {                                                                                                                \
        fl_py_dealloc(&prefix##_freelane, object);                                                                   \
    }

/* ---- Types and threads. */

/* What fl_py_type_ready finds out about a declared type. */
struct fl_py_state {
    uint32_t drawer;    /* where in a struct fl_py_thread the type's drawer lies, in bytes; 0: it has none */
    bool ready;         /* whether fl_py_type_ready has accepted the type */
    bool heap_type;     /* whether it is a heap type, whose objects own references to it */
    bool cython;        /* Cython has generated the tp_dealloc */
    uint8_t blocks;     /* the size class of an object without gc */
    size_t body;        /* bytes of an object after its header */
    destructor dealloc; /* of LEGACY: the type's own; NULL: that stayed in its slot */
    const struct fl_py_type *next; /* the types of this copy of Freelane */
};

/* A cache of freed objects of one type with gc. An object of a heap type still owns its reference to the type. So its
 * next use does not touch the type's count. */
struct fl_py_cache {
    PyTypeObject *type; /* owned, while there is room */
    PyObject **top;     /* one past the uppermost object */
    PyObject **floor, **ceiling;
    /* How many more objects it would need room for, to keep all that the thread has had at once. Below 0: how many more the
     * thread may still have. */
    ptrdiff_t missing;
    /* To the type, in stock. A LEGACY tp_dealloc gives up the object's reference, so a cached object takes another. */
    size_t references;
};

/* A stock of references to one type without gc. New objects take theirs from it, and dead objects leave theirs in it.
 * So the thread writes the type's count, which all threads share, once for many objects. */
struct fl_py_stock {
    PyTypeObject *type; /* owned, while there is room; not one of `references` */
    size_t references;
    size_t limit; /* the most that `references` becomes */
};

/* A thread's drawer for one type. */
union fl_py_drawer {
    struct fl_py_cache cache;
    struct fl_py_stock stock;
};

/* What the fast paths see of a thread. */
struct fl_py_thread {
    union fl_py_drawer none; /* always empty: that of types without one */
    void *waiting;           /* dead objects that wait for room on a stack */
    uintptr_t stack;         /* the lowest address of the OS thread's stack where deallocations look no further */
    size_t stack_bytes;      /* the bytes from there to the stack's upper end */
    union fl_py_drawer drawers[FL_PY_TYPES];
};

/* Where the fast paths of an OS thread find their caches and drawers. */
struct fl_py_current {
    struct fl_thread *heap;
    struct fl_py_thread *thread;
    struct fl_thread *memory;
};

/* By the model that FREELANE_TLS_DYNAMIC chooses (inline.h). Threads that have a seat do not use it. */
extern FL_PY_API FL_TLS_MODEL __thread struct fl_py_current fl_py_current;

/* Where a thread-local variable costs a call, threads have seats in a table instead. A thread takes the seat to which the
 * address of its thread control block leads, if that is free, and leaves it at its end. Others find another's seat, and
 * their fast paths nothing: the slow halves serve them, and take the variable for it. */
#if FREELANE_TLS_DYNAMIC && defined(Py_GIL_DISABLED)
#define FL_PY_THREAD_ID() _Py_ThreadId()
#elif FREELANE_TLS_DYNAMIC && defined(__has_builtin)
#if __has_builtin(__builtin_thread_pointer)
#define FL_PY_THREAD_ID() ((uintptr_t)__builtin_thread_pointer())
#endif
#endif
#if defined(__has_builtin)
#if __has_builtin(__builtin_expect_with_probability)
/* A branch: the compiler makes no conditional move, for which the processor would wait. */
#define FL_PY_NEARLY_ALWAYS(x) __builtin_expect_with_probability((x), 1, 0.999)
#endif
#endif
#if !defined(FL_PY_NEARLY_ALWAYS)
#define FL_PY_NEARLY_ALWAYS(x) __builtin_expect((x), 1)
#endif

#if defined(FL_PY_THREAD_ID)
enum { FL_PY_SEATS = 1 };
#else
#define FL_PY_THREAD_ID() ((uintptr_t)0)
enum { FL_PY_SEATS = 0 };
#endif

#define FL_PY_SEAT_BITS  7
#define FL_PY_SEAT_COUNT (FL_PY_SEATS ? 1u << FL_PY_SEAT_BITS : 1u)

/* A cache line: a thread's seat is read by it alone. `owner` is that address, or 0. */
struct fl_py_seat {
    uintptr_t owner;
    struct fl_py_current current;
} __attribute__((aligned(64)));

extern FL_PY_API struct fl_py_seat fl_py_seats[FL_PY_SEAT_COUNT];

/* What fast paths without a seat find: it leads to the stand-ins. */
extern FL_PY_API const struct fl_py_current fl_py_nowhere;

/* The address range of the heap's slabs: empty at first, and constant once a thread has attached to the heap. Only fast
 * paths that have found room in such a thread's cache look at it: the stand-ins' caches are full. */
struct fl_py_slabs {
    uintptr_t base;
    size_t bytes;
};

extern FL_PY_API struct fl_py_slabs fl_py_slabs;

/* The same for the heap of memory beside objects. */
extern FL_PY_API struct fl_py_slabs fl_py_memory_slabs;

/* The slow halves. Those of the slots have the slots' arguments first, which are in their registers already.
 * fl_py_alloc_again makes an object with gc, neither tracked nor zeroed, where the interpreter had no memory for it at first.
 * fl_py_dealloc_waiting destroys objects that wait, and the last three are those of fl_py_end, fl_py_cache_put and
 * fl_py_keep_type. */
FL_PY_SLOW PyObject *fl_py_alloc_slow(PyTypeObject *type, Py_ssize_t items, const struct fl_py_type *self);
FL_PY_SLOW PyObject *fl_py_alloc_again(const struct fl_py_type *self);
FL_PY_SLOW void fl_py_free_slow(PyObject *object, const struct fl_py_type *self);
FL_PY_SLOW void fl_py_dealloc_slow(PyObject *object, const struct fl_py_type *self);
FL_PY_SLOW void fl_py_dealloc_waiting(struct fl_py_thread *thread);
FL_PY_SLOW void fl_py_end_slow(PyObject *object, const struct fl_py_type *self);
FL_PY_SLOW struct fl_py_cache *fl_py_cache_put_slow(const struct fl_py_type *self, PyObject *object);
FL_PY_SLOW struct fl_py_cache *fl_py_cache_put_growing(const struct fl_py_type *self, PyObject *object);
FL_PY_SLOW void fl_py_stock_cache(struct fl_py_cache *cache); /* with references to the type, where it has none */
FL_PY_SLOW void *fl_py_memory_alloc_slow(size_t size);
FL_PY_SLOW void fl_py_memory_free_slow(void *memory, size_t size);

/* The address of the calling OS thread's control block: no two live threads have the same. */
FL_INLINE uintptr_t fl_py_thread_id(void)
{
    return FL_PY_THREAD_ID();
}

/* The seat to which an address leads: multiplicative hashing of its page (Knuth, volume 3, 6.4). The factor is negative, as
 * such a constant fits into one instruction. */
FL_INLINE struct fl_py_seat *fl_py_seat_of(uintptr_t id)
{
    uint64_t product = (uint64_t)id * (uint64_t)INT64_C(-0x61C8864F);
    return &fl_py_seats[(product >> (12 + 32 - FL_PY_SEAT_BITS)) % FL_PY_SEAT_COUNT];
}

/* What the fast paths of the calling OS thread use. Relaxed: the thread itself wrote its address, if it is there. */
FL_INLINE const struct fl_py_current *fl_py_here(void)
{
    if (!FL_PY_SEATS)
        return &fl_py_current;
    uintptr_t id = fl_py_thread_id();
    const struct fl_py_seat *seat = fl_py_seat_of(id);
    return FL_PY_NEARLY_ALWAYS(__atomic_load_n(&seat->owner, __ATOMIC_RELAXED) == id) ? &seat->current
                                                                                      : &fl_py_nowhere;
}

/* The same for a thread that may have no seat: what its slow halves use. */
FL_INLINE const struct fl_py_current *fl_py_here_slowly(void)
{
    const struct fl_py_current *at = fl_py_here();
    return at != &fl_py_nowhere ? at : &fl_py_current;
}

/* Relaxed, these three: a thread that is recalled may notice it late. */
FL_INLINE struct fl_thread *fl_py_heap_at(const struct fl_py_current *at)
{
    return __atomic_load_n(&at->heap, __ATOMIC_RELAXED);
}

FL_INLINE struct fl_py_thread *fl_py_thread_at(const struct fl_py_current *at)
{
    return __atomic_load_n(&at->thread, __ATOMIC_RELAXED); /* relaxed: as above */
}

FL_INLINE struct fl_thread *fl_py_memory_at(const struct fl_py_current *at)
{
    return __atomic_load_n(&at->memory, __ATOMIC_RELAXED); /* relaxed: as above */
}

/* The type's drawer in a thread. */
FL_INLINE union fl_py_drawer *fl_py_drawer_of(const struct fl_py_type *self, struct fl_py_thread *thread)
{
    return (union fl_py_drawer *)(void *)((char *)thread + self->state->drawer);
}

/* The one that is found there. */
FL_INLINE union fl_py_drawer *fl_py_drawer_at(const struct fl_py_type *self, const struct fl_py_current *at)
{
    return fl_py_drawer_of(self, fl_py_thread_at(at));
}

/* Whether objects of `type` are laid out and freed as `self` says: it is the type itself, or a C subtype that adds
 * nothing. */
FL_INLINE bool fl_py_is_exact(const struct fl_py_type *self, PyTypeObject *type)
{
    return !self->subclassed || (type->tp_free == self->free && type->tp_basicsize == (Py_ssize_t)self->size);
}

/* Whether objects of the declared type and of its C subtypes own a reference that their deallocation here gives up.
 * Where the declared type is static, the subtype's own tp_dealloc gives that up. */
FL_INLINE bool fl_py_owns_type(const struct fl_py_type *self)
{
    return !(self->immortal && !self->subclassed) && self->state->heap_type;
}

/* Whether `type` is as immortal as the declared type; a C subtype may be mortal. */
FL_INLINE bool fl_py_is_immortal(const struct fl_py_type *self, PyTypeObject *type)
{
    return !self->subclassed || _Py_IsImmortal(type);
}

/* ---- The memory of objects without gc. */

/* Whether the compiler knows the declaration here: that of an FL_PY_TYPE. */
#define FL_PY_IS_KNOWN(self) __builtin_constant_p((self)->size)

/* The size class of an object without gc. */
FL_INLINE size_t fl_py_class_of(const struct fl_py_type *self)
{
    return FL_PY_IS_KNOWN(self) ? fl_size_class(self->size) : self->state->blocks;
}

/* The cache of blocks for objects of `self`. The heaps of free-threaded builds have stale readers, which the second
 * half of a thread's caches serves. */
FL_INLINE struct fl_cache *fl_py_blocks_of(const struct fl_py_type *self, const struct fl_py_current *at)
{
#if defined(Py_GIL_DISABLED)
    size_t half = FL_CLASS_COUNT;
#else
    size_t half = 0;
#endif
    return &fl_py_heap_at(at)->cache[half + fl_py_class_of(self)];
}

/* Bodies up to FL_PY_CLEAR_INLINE bytes are zeroed inline, in pieces of constant size. For a larger constant size
 * than one piece gcc makes `rep stos`, which takes longer than the C library's memset. For larger bodies than three
 * pieces a call of memset takes less time than the inline stores. */
#define FL_PY_CLEAR_PIECE  ((size_t)64)
#define FL_PY_CLEAR_INLINE (3 * FL_PY_CLEAR_PIECE)

/* Zeros the piece at `from` of a body of so many bytes, if the body reaches there. */
FL_INLINE void fl_py_clear_piece(char *body, size_t from, size_t bytes)
{
    if (from < bytes)
        memset(body + from, 0, bytes - from < FL_PY_CLEAR_PIECE ? bytes - from : FL_PY_CLEAR_PIECE);
}

/* Zeros what follows the header. */
FL_INLINE void fl_py_clear_body(const struct fl_py_type *self, PyObject *object)
{
    char *body = (char *)object + sizeof(PyObject);
    size_t bytes = self->size - sizeof(PyObject);
    if (!FL_PY_IS_KNOWN(self) || bytes > FL_PY_CLEAR_INLINE) {
        memset(body, 0, self->state->body); /* the compiler knows no constant here, so it makes a call */
        return;
    }
    fl_py_clear_piece(body, 0, bytes);
    fl_py_clear_piece(body, FL_PY_CLEAR_PIECE, bytes);
    fl_py_clear_piece(body, 2 * FL_PY_CLEAR_PIECE, bytes);
}

/* Makes a dead object one that no thread owns. Another thread may have loaded its address from a container a moment
 * ago. That thread tries to raise the shared count, which the interpreter has left at 0 or merged (3), and fails. */
FL_INLINE void fl_py_disown(PyObject *object)
{
#if defined(Py_GIL_DISABLED)
    __atomic_store_n(&object->ob_tid, 0, __ATOMIC_RELAXED); /* relaxed: the word orders nothing */
#else
    (void)object;
#endif
}

/* Whether a block lies in one of these slabs. */
FL_INLINE bool fl_py_is_in(const struct fl_py_slabs *slabs, const void *block)
{
    return (uintptr_t)block - slabs->base < slabs->bytes;
}

/* Whether an object without gc lies in the heap. PyObject_New, PyObject_Init of other memory, and the tp_alloc of a C
 * subtype make objects that lie elsewhere. */
FL_INLINE bool fl_py_is_in_slabs(PyObject *object)
{
    return fl_py_is_in(&fl_py_slabs, object);
}

/* Whether the thread's cache of blocks can take an object without gc: it has room at `top`, and the heap gave the
 * object. */
FL_INLINE bool fl_py_can_put(const struct fl_py_type *self, void **top, PyObject *object)
{
    return !self->variable && !fl_cache_is_full(top) && __builtin_expect(fl_py_is_in_slabs(object), 1);
}

/* Puts the memory of an object without gc, of the exact type, into the thread's cache. Returns false, and has done
 * nothing, where that cannot take it. */
FL_INLINE bool fl_py_try_release(const struct fl_py_type *self, PyObject *object, const struct fl_py_current *at)
{
    struct fl_cache *cache = fl_py_blocks_of(self, at);
    void **top = fl_cache_top(cache);
    if (FL_UNLIKELY(!fl_py_can_put(self, top, object)))
        return false;
    fl_py_disown(object);
    fl_cache_put(cache, top, object);
    return true;
}

/* Gives the memory of such an object back to where it came from. */
FL_INLINE void fl_py_release(const struct fl_py_type *self, PyObject *object)
{
    if (!fl_py_try_release(self, object, fl_py_here()))
        fl_py_free_slow(object, self);
}

/* ---- Stocks: references to types without gc. */

/* Takes a new object's reference to its type from the thread's stock. Returns false, and has done nothing, where the
 * stock is empty or objects of `type` differ from those of `self`. */
FL_INLINE bool fl_py_take_type(const struct fl_py_type *self, PyTypeObject *type, const struct fl_py_current *at)
{
    if (!FL_PY_HEADERS)
        return fl_py_is_exact(self, type);
    if (self->immortal)
        return fl_py_is_exact(self, type) && fl_py_is_immortal(self, type);
    struct fl_py_stock *stock = &fl_py_drawer_at(self, at)->stock;
    if (FL_UNLIKELY(stock->type != type || stock->references == 0))
        return false;
    stock->references--;
    return true;
}

/* Puts a dead object's reference to its type into the thread's stock, or does nothing if the object owns none.
 * Returns false, and has done nothing, where the reference has to be given up in another way. */
FL_INLINE bool fl_py_give_type(const struct fl_py_type *self, PyTypeObject *type, const struct fl_py_current *at)
{
    if (self->immortal)
        return fl_py_is_immortal(self, type);
    struct fl_py_stock *stock = &fl_py_drawer_at(self, at)->stock;
    if (FL_UNLIKELY(stock->type != type || stock->references == stock->limit))
        return false;
    stock->references++;
    return true;
}

/* Writes the header of a new object as PyObject_Init does, except that the object has its reference to the type
 * already. Reference tracers are not told: fl_py_set_caching. */
FL_INLINE PyObject *fl_py_init(PyObject *object, PyTypeObject *type)
{
#if defined(Py_GIL_DISABLED)
    if (FL_PY_HEADERS) {
        memset((char *)object + sizeof object->ob_tid, 0, offsetof(PyObject, ob_ref_local) - sizeof object->ob_tid);
        /* Relaxed, these three: a reader of the dead object finds words of that one or of this one. None of them lets
         * the reader raise the count, unless the reader is the calling thread. */
        __atomic_store_n(&object->ob_tid, _Py_ThreadId(), __ATOMIC_RELAXED);
        __atomic_store_n(&object->ob_ref_local, 1, __ATOMIC_RELAXED);
        __atomic_store_n(&object->ob_ref_shared, 0, __ATOMIC_RELAXED);
        object->ob_type = type;
        return object;
    }
#endif
    return PyObject_Init(object, type);
}

/* ---- Caches: freed objects of types with gc. */

/* Relaxed, these two: the owning thread alone writes `top`, and statistics read it. */
FL_INLINE PyObject **fl_py_top(const struct fl_py_cache *cache)
{
    return __atomic_load_n(&cache->top, __ATOMIC_RELAXED);
}

FL_INLINE void fl_py_set_top(struct fl_py_cache *cache, PyObject **top)
{
    __atomic_store_n(&cache->top, top, __ATOMIC_RELAXED); /* relaxed: as above */
}

/* Whether a cache is for objects of `type`. Relaxed: an OS thread that runs another interpreter asks for a type of that,
 * while the main interpreter's drawers may be emptied. */
FL_INLINE bool fl_py_is_cache_of(const struct fl_py_cache *cache, PyTypeObject *type)
{
    return __atomic_load_n(&cache->type, __ATOMIC_RELAXED) == type;
}

/* Gives a cached object a reference to its type: the caller is about to give up the one that the object had. */
FL_INLINE void fl_py_keep_type(struct fl_py_cache *cache, PyTypeObject *type)
{
    if (!FL_PY_HEADERS) {
        Py_INCREF(type);
        return;
    }
    if (FL_UNLIKELY(cache->references == 0))
        fl_py_stock_cache(cache);
    cache->references--;
}

/* Whether the fast paths write the headers of new objects with gc, and the bit that says whether the collector tracks one. In a
 * free-threaded build nothing else says so. fl_py_type_ready sets it if that is what the interpreter does. */
extern FL_PY_API bool fl_py_writes_tracked;

#define FL_PY_TRACKED 1 /* of ob_gc_bits */

FL_INLINE void fl_py_write_tracked(PyObject *object, PyTypeObject *type)
{
    (void)fl_py_init(object, type);
#if defined(Py_GIL_DISABLED)
    object->ob_gc_bits = FL_PY_TRACKED;
#endif
}

/* The same bit of an object that dies. Relaxed: the collector looks while the world is stopped. */
FL_INLINE void fl_py_write_untracked(PyObject *object)
{
#if defined(Py_GIL_DISABLED)
    uint8_t bits = __atomic_load_n(&object->ob_gc_bits, __ATOMIC_RELAXED);
    __atomic_store_n(&object->ob_gc_bits, (uint8_t)(bits & ~FL_PY_TRACKED), __ATOMIC_RELAXED);
#else
    (void)object;
#endif
}

FL_INLINE void fl_py_untrack(PyObject *object)
{
    if (FL_PY_HEADERS && __builtin_expect(fl_py_writes_tracked, 1))
        fl_py_write_untracked(object);
    else
        PyObject_GC_UnTrack(object);
}

/* Makes a cached object of the type a new one, of zeros and tracked. Reference tracers are not told, as in fl_py_init. */
FL_INLINE PyObject *fl_py_renew(const struct fl_py_type *self, PyTypeObject *type, PyObject *object)
{
    fl_py_clear_body(self, object);
    if (FL_PY_HEADERS && __builtin_expect(fl_py_writes_tracked, 1)) {
        fl_py_write_tracked(object, type);
        return object;
    }
    _Py_NewReference(object);
    PyObject_GC_Track(object);
    return object;
}

/* A new object of the interpreter, which is neither tracked nor zeroed: where the size is a constant, the caller does that in
 * fewer instructions than PyType_GenericAlloc. */
FL_INLINE PyObject *fl_py_alloc_empty(const struct fl_py_type *self, PyTypeObject *type, struct fl_py_cache *cache)
{
    cache->missing++;
    PyObject *object = PyObject_GC_New(PyObject, type);
    return FL_UNLIKELY(object == NULL) ? fl_py_alloc_again(self) : object;
}

/* A new object from a cache for its type; of the interpreter, where that is empty. */
FL_INLINE PyObject *fl_py_alloc_cached(const struct fl_py_type *self, PyTypeObject *type, struct fl_py_cache *cache)
{
    PyObject **top = fl_py_top(cache);
    if (FL_UNLIKELY(top == cache->floor)) {
        PyObject *object = fl_py_alloc_empty(self, type, cache);
        if (FL_UNLIKELY(object == NULL))
            return NULL;
        fl_py_clear_body(self, object);
        PyObject_GC_Track(object);
        return object;
    }
    fl_py_set_top(cache, top - 1);
    return fl_py_renew(self, type, top[-1]);
}

FL_INLINE PyObject *fl_py_alloc_gc(const struct fl_py_type *self, PyTypeObject *type, Py_ssize_t items)
{
    struct fl_py_cache *cache = &fl_py_drawer_at(self, fl_py_here())->cache;
    if (FL_UNLIKELY(cache->type != type))
        return fl_py_alloc_slow(type, items, self);
    return fl_py_alloc_cached(self, type, cache);
}

/* Whether an object can be used again as if it were new. With the GIL, the collector marks finalized objects in front
 * of their header, and the mark stays. */
FL_INLINE bool fl_py_is_reusable(PyObject *object, PyTypeObject *type)
{
#if defined(Py_GIL_DISABLED)
    (void)object, (void)type;
    return true;
#else
    return type->tp_finalize == NULL || !PyObject_GC_IsFinalized(object);
#endif
}

/* Puts an untracked object of the exact type, together with its reference to the type, into a cache, and returns the cache.
 * Returns NULL where that has no room: then the memory has gone back to the interpreter, and the reference is the caller's.
 * `may_differ`: it may be a subtype's, or no type's. A full cache takes nothing, whatever its type, and one without a type is
 * full and misses none. So only one with room is asked for its type. */
FL_INLINE struct fl_py_cache *fl_py_put_cached(const struct fl_py_type *self, PyObject *object, PyTypeObject *type,
                                               struct fl_py_cache *cache, bool may_differ)
{
    PyObject **top = fl_py_top(cache);
    if (FL_UNLIKELY(top == cache->ceiling)) {
        if (FL_UNLIKELY(cache->missing > 0))
            return fl_py_cache_put_growing(self, object);
        PyObject_GC_Del(object);
        return NULL;
    }
    if (may_differ && FL_UNLIKELY(!fl_py_is_cache_of(cache, type)))
        return fl_py_cache_put_slow(self, object);
    if (FL_UNLIKELY(!fl_py_is_reusable(object, type))) {
        PyObject_GC_Del(object);
        return NULL;
    }
    *top = object;
    fl_py_set_top(cache, top + 1);
    return cache;
}

/* The same for the thread's cache, if there is one. */
FL_INLINE struct fl_py_cache *fl_py_cache_put(const struct fl_py_type *self, PyObject *object, PyTypeObject *type,
                                              struct fl_py_thread *thread)
{
    struct fl_py_cache *cache = &fl_py_drawer_of(self, thread)->cache;
    if (FL_UNLIKELY(!fl_py_is_cache_of(cache, type)))
        return fl_py_cache_put_slow(self, object);
    return fl_py_put_cached(self, object, type, cache, false);
}

/* ---- The slots. */

/* Whether objects of `type` are as `self` says. A drawer is for such a type alone. So one that is for `type` says so without
 * a look at the type. (A LEGACY tp_dealloc writes the count, which lies in one cache line with the size.) */
FL_INLINE bool fl_py_is_exact_in(const struct fl_py_type *self, PyTypeObject *type, struct fl_py_thread *thread)
{
    bool has_drawer = self->subclassed && (self->gc || (FL_PY_HEADERS && !self->immortal));
    return (has_drawer && fl_py_is_cache_of(&fl_py_drawer_of(self, thread)->cache, type)) ||
           fl_py_is_exact(self, type);
}

/* A new object without gc, from the thread's cache and stock. Returns NULL, and has done nothing, where these cannot
 * serve. */
FL_INLINE PyObject *fl_py_try_alloc(const struct fl_py_type *self, PyTypeObject *type, const struct fl_py_current *at)
{
    struct fl_cache *cache = fl_py_blocks_of(self, at);
    void **top = fl_cache_top(cache);
    if (FL_UNLIKELY(self->variable || top == cache->floor || !fl_py_take_type(self, type, at)))
        return NULL;
    PyObject *object = (PyObject *)fl_cache_take(cache, top);
    fl_py_clear_body(self, object);
    return fl_py_init(object, type);
}

/* The slot tp_alloc: an object of zeros behind a header, tracked if the type has gc. */
FL_INLINE PyObject *fl_py_alloc(const struct fl_py_type *self, PyTypeObject *type, Py_ssize_t items)
{
    if (self->gc)
        return fl_py_alloc_gc(self, type, items);
    PyObject *object = fl_py_try_alloc(self, type, fl_py_here());
    return FL_UNLIKELY(object == NULL) ? fl_py_alloc_slow(type, items, self) : object;
}

/* The slot tp_free. */
FL_INLINE void fl_py_free(const struct fl_py_type *self, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    const struct fl_py_current *at = fl_py_here();
    if (self->gc) {
        struct fl_py_cache *cache = fl_py_cache_put(self, object, type, fl_py_thread_at(at));
        if (cache != NULL && fl_py_owns_type(self))
            fl_py_keep_type(cache, type);
    } else if (FL_UNLIKELY(!fl_py_is_exact_in(self, type, fl_py_thread_at(at)) ||
                           !fl_py_try_release(self, object, at))) {
        fl_py_free_slow(object, self);
    }
}

/* Puts a dead object without gc, of the exact type, into the thread's cache, and its reference to the type into the
 * thread's stock. Returns false, and has done nothing, where these cannot take them. */
FL_INLINE bool fl_py_try_end(const struct fl_py_type *self, PyObject *object, PyTypeObject *type,
                             const struct fl_py_current *at)
{
    struct fl_cache *cache = fl_py_blocks_of(self, at);
    void **top = fl_cache_top(cache);
    if (FL_UNLIKELY(!fl_py_can_put(self, top, object) || !fl_py_give_type(self, type, at)))
        return false;
    fl_py_disown(object);
    fl_cache_put(cache, top, object);
    return true;
}

/* Gives up the memory of a dead object with gc, of the exact type, and its reference to the type. `looked`: the caller knows
 * from fl_py_is_exact_in that a type which may have subtypes is the main interpreter's, and the thread has a seat. */
FL_INLINE void fl_py_end_gc(const struct fl_py_type *self, PyObject *object, PyTypeObject *type,
                            struct fl_py_thread *thread, bool looked)
{
    struct fl_py_cache *cache = &fl_py_drawer_of(self, thread)->cache;
    if (looked && self->subclassed)
        cache = fl_py_put_cached(self, object, type, cache, true);
    else
        cache = fl_py_cache_put(self, object, type, thread);
    if (cache == NULL && fl_py_owns_type(self))
        Py_DECREF(type);
}

/* The same with gc or without. */
FL_INLINE void fl_py_end(const struct fl_py_type *self, PyObject *object, PyTypeObject *type,
                         const struct fl_py_current *at)
{
    if (self->gc) {
        fl_py_end_gc(self, object, type, fl_py_thread_at(at), false);
        return;
    }
    if (!FL_PY_HEADERS) {
        fl_py_release(self, object);
        if (fl_py_owns_type(self))
            Py_DECREF(type);
        return;
    }
    if (!fl_py_try_end(self, object, type, at))
        fl_py_end_slow(object, self);
}

/* Whether weak references lead to an object that nothing else refers to, so that no new ones can be made. */
FL_INLINE bool fl_py_has_weakrefs(PyObject *object, PyTypeObject *type)
{
    if (type->tp_weaklistoffset == 0)
        return false;
    /* Relaxed: a thread that takes the last one out does not touch the object afterwards. */
    PyObject **list = (PyObject **)(void *)((char *)object + type->tp_weaklistoffset);
    return __atomic_load_n(list, __ATOMIC_RELAXED) != NULL;
}

/* Whether Cython has generated the type's tp_dealloc: only fl_py_type_adopt is told so. */
FL_INLINE bool fl_py_is_cython(const struct fl_py_type *self)
{
    return !FL_PY_IS_KNOWN(self) && self->state->cython;
}

/* Deallocates an object of a LEGACY type or a subtype. Cython's tp_dealloc calls tp_finalize only where it finds itself in
 * the slot of the object's type. */
FL_INLINE void fl_py_destroy_legacy(const struct fl_py_type *self, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (FL_UNLIKELY(fl_py_is_cython(self)) && type->tp_finalize != NULL && type->tp_dealloc == self->dealloc &&
        PyObject_CallFinalizerFromDealloc(object) < 0)
        return;
    self->state->dealloc(object);
}

/* Deallocates an object of the exact type of a kind other than PLAIN. The OS thread stays the same meanwhile, and finds its
 * caches in the same place. If it is recalled meanwhile, its cache takes the object all the same, and is emptied later.
 * `looked` is that of fl_py_end_gc. */
FL_INLINE void fl_py_destroy(const struct fl_py_type *self, PyObject *object, const struct fl_py_current *at,
                             struct fl_py_thread *thread, bool looked)
{
    PyTypeObject *type = Py_TYPE(object);
    if (self->kind == FL_DEALLOC_LEGACY) {
        fl_py_destroy_legacy(self, object);
        return;
    }
    /* The object is still tracked here, because the finalizer may resurrect it. */
    if (self->kind == FL_DEALLOC_FINALIZE && PyObject_CallFinalizerFromDealloc(object) < 0)
        return;
    if (self->gc)
        fl_py_untrack(object);
    if (FL_UNLIKELY(fl_py_has_weakrefs(object, type)))
        PyObject_ClearWeakRefs(object);
    (void)self->clear(object);
    if (self->gc)
        fl_py_end_gc(self, object, type, thread, looked);
    else
        fl_py_end(self, object, type, at);
}

/* An address on the calling function's stack. */
FL_INLINE uintptr_t fl_py_frame(void)
{
    return (uintptr_t)__builtin_frame_address(0);
}

/* The same, found by the address of a variable, for which a function needs no frame pointer. AddressSanitizer may have
 * variables lie elsewhere. */
#if defined(__SANITIZE_ADDRESS__)
#define FL_PY_FRAME_OF(variable) ((void)(variable), fl_py_frame())
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FL_PY_FRAME_OF(variable) ((void)(variable), fl_py_frame())
#endif
#endif
#if !defined(FL_PY_FRAME_OF)
#define FL_PY_FRAME_OF(variable) ((uintptr_t) & (variable))
#endif

/* The slot tp_dealloc. */
FL_INLINE void fl_py_dealloc(const struct fl_py_type *self, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (self->kind == FL_DEALLOC_PLAIN) {
        if (FL_UNLIKELY(!fl_py_is_exact(self, type)))
            fl_py_dealloc_slow(object, self);
        else
            fl_py_end(self, object, type, fl_py_here());
        return;
    }
    /* A LEGACY tp_dealloc ends objects of subtypes as well. */
    const struct fl_py_current *at = fl_py_here();
    struct fl_py_thread *thread = fl_py_thread_at(at);
    bool is_ours = self->kind == FL_DEALLOC_LEGACY || fl_py_is_exact_in(self, type, thread);
    char here;
    if (FL_UNLIKELY(!is_ours || FL_PY_FRAME_OF(here) - thread->stack >= thread->stack_bytes)) {
        fl_py_dealloc_slow(object, self);
        return;
    }
    fl_py_destroy(self, object, at, thread, true);
    if (FL_UNLIKELY(thread->waiting != NULL))
        fl_py_dealloc_waiting(thread);
}

/* ---- Memory beside objects. */

FL_INLINE void *fl_py_memory_alloc(size_t size)
{
    struct fl_cache *cache = fl_cache_for(fl_py_memory_at(fl_py_here()), size);
    void **top = fl_cache_top(cache);
    if (FL_UNLIKELY(top == cache->floor))
        return fl_py_memory_alloc_slow(size);
    return fl_cache_take(cache, top);
}

/* The interpreter's memory is found where a cache has room, and none is found by a stand-in, whose caches are full. */
FL_INLINE void fl_py_memory_free(void *memory, size_t size)
{
    struct fl_cache *cache = fl_cache_for(fl_py_memory_at(fl_py_here()), size);
    void **top = fl_cache_top(cache);
    if (FL_UNLIKELY(fl_cache_is_full(top) || !fl_py_is_in(&fl_py_memory_slabs, memory))) {
        fl_py_memory_free_slow(memory, size);
        return;
    }
    fl_cache_put(cache, top, memory);
}

#ifdef __cplusplus
}
#endif

#endif
