/* SPDX-License-Identifier: MIT
 *
 * What the files of the CPython side share: the heap, the threads, collections, and where builds of the interpreter
 * differ.
 *
 *     file          owns                                                  called by
 *     type.c        the checks of fl_py_type_ready                        the module's execution
 *     object.c      the slow halves of alloc, free and dealloc            the fast paths of python.h
 *     thread.c      what a thread keeps, from its first object to its end object.c, collect.c, the interpreter
 *     nest.c        deallocations inside each other, what waits for room  object.c, thread.c, collect.c
 *     stock.c       references to types, many at once                     thread.c, the fast paths
 *     collect.c     collections, the caching switch, fork                 the interpreter (gc.callbacks)
 *     heap.c        the heap of objects without gc, statistics            all of them
 *
 * The lock of the registry is never held while the interpreter is called, so that a stop of the world never waits for
 * a thread that waits for it.
 */
#ifndef FLI_PYTHON_INTERPRETER_H
#define FLI_PYTHON_INTERPRETER_H

#include <freelane/python.h>

#include "base/atomic.h"
#include "base/base.h"
#include "base/config.h"

#if defined(Py_GIL_DISABLED)
enum { FLI_PY_FREE_THREADED = 1 };
#else
enum { FLI_PY_FREE_THREADED = 0 };
#endif

/* An OS thread's own stack; none where the C library does not know it. */
struct fli_py_stack {
    uintptr_t low;
    size_t bytes;
};

/* A deallocation under way on another stack: where its frame is, and how many are inside each other down to it. */
struct fli_py_level {
    uintptr_t frame;
    unsigned number;
};

enum { FLI_PY_REGIONS = 16 };

/* What nest.c knows of an OS thread. Frames are addresses, and may be gone. */
struct fli_py_nest {
    struct fli_py_stack stack;
    struct fli_py_level levels[FLI_PY_REGIONS]; /* by region of addresses, the latest */
    uintptr_t resuming;                         /* the frame that destroys what waits */
    int64_t moved_ms;                           /* when it last took something to destroy */
};

/* A thread that has allocated. Lives until its OS thread has exited and the thread state that watches it is
 * cleared. */
struct fli_py_thread {
    struct fl_py_thread face;
    struct fl_thread *heap;
    FLI_ATOMIC(bool) unwatched; /* no thread state has a capsule for it */

    /* The OS thread's own. */
    uint64_t epoch;         /* of what the caches hold */
    size_t room_bytes;      /* of objects for which the caches have room */
    PyThreadState *watcher; /* the thread state that has the capsule, or had the last one */
    uint64_t watcher_id;
    bool open; /* caches may have room */
    struct fli_py_nest nest;

    /* Under the registry's lock. */
    struct fl_py_current *current; /* the OS thread's, for whoever wants its attention */
    unsigned references;           /* the OS thread; capsules in thread states */
    struct fli_py_thread *next, **link;
};

/* ---- heap.c */

/* The heap; constant once fli_py_heap_ready has returned 0. */
extern struct fl_heap *fli_py_heap;

/* Makes the heap, once. Returns 0 or -1 with an exception. */
int fli_py_heap_ready(void);

/* Whether the heap gave the block. Takes no lock. */
bool fli_py_heap_owns(const void *block);

/* A block of `size` bytes up to FL_BLOCK_MAX, and back; for threads that may have no struct fl_thread. */
void *fli_py_heap_alloc(size_t size);
void fli_py_heap_free(void *block);

/* Gives free blocks past `retain` bytes back, as far as a grace period allows, those in the calling thread's caches too
 * if `flush`. */
void fli_py_heap_trim(bool flush, size_t retain);

/* ---- thread.c */

/* Once per process. Returns 0 or -ENOMEM. */
int fli_py_threads_ready(void);

/* The calling OS thread's, brought up to date: after a collection its caches are emptied. NULL if memory is refused
 * or the OS thread is about to end. */
struct fli_py_thread *fli_py_thread_enter(void);

/* The same, but NULL where the OS thread has not entered before. */
struct fli_py_thread *fli_py_thread_update(void);

/* The same, as it is: what fli_py_threads_expire asked for is still to be done. */
struct fli_py_thread *fli_py_thread_own(void);

/* Makes room in the cache for objects of `type`, if there can be. */
void fli_py_thread_make_room(struct fli_py_thread *thread, const struct fl_py_type *self, PyTypeObject *type);

/* Gets the thread references for objects of `type` that it is about to create, if it can keep any. */
void fli_py_thread_fill_stock(struct fli_py_thread *thread, const struct fl_py_type *self, PyTypeObject *type);

/* Gives back the references to types that the calling thread has in stock. */
void fli_py_thread_give_types(void);

/* Has every thread empty its caches, as soon as it comes to a slow half. */
void fli_py_threads_expire(void);

/* Turns caching on or off in every thread and returns what it was. */
bool fli_py_threads_set_caching(bool on);
bool fli_py_threads_caching(void);

/* Empties the caches of OS threads that ended without a thread state. */
void fli_py_threads_empty_ended(void);

/* Leaves an object that waits to no thread, and takes one, or NULL if there is none. */
void fli_py_orphans_put(void *entry);
void *fli_py_orphans_take(void);

/* In the child of a fork: the other threads are gone. */
void fli_py_threads_forked(void);

/* Adds up what caches hold. */
void fli_py_threads_count(struct fl_py_stats *stats);

/* A new interpreter in the same process: what the last one closed is open again. */
void fli_py_threads_reopen(void);

/* ---- nest.c */

/* Looks for the calling OS thread's stack. */
void fli_py_nest_ready(struct fli_py_thread *thread);

/* Deallocates an object of kind CLEAR or FINALIZE, of the exact type, or has it wait. `thread` is the calling one, or
 * NULL if there is none. */
void fli_py_nest_dealloc(struct fli_py_thread *thread, const struct fl_py_type *self, PyObject *object);

/* Destroys what waits in the calling thread, and what other threads left, where there is room for that. */
void fli_py_nest_resume(void);

/* The same without the latter. */
void fli_py_nest_resume_own(void);

/* Leaves what waits in a thread to others. */
void fli_py_nest_orphan(struct fli_py_thread *thread);

/* ---- type.c */

/* The declared types of which threads keep something, in the order of struct fl_py_thread. */
extern const struct fl_py_type *fli_py_drawer_types[FL_PY_TYPES];

/* ---- stock.c */

/* Takes references to the stock's type, if there are none. */
void fli_py_stock_fill(struct fl_py_stock *stock);

/* Makes room in a full stock. */
void fli_py_stock_relieve(struct fl_py_stock *stock);

/* Gives back those of a stock that is no thread's any more. */
void fli_py_stock_give(const struct fl_py_stock *stock);

/* ---- collect.c */

/* Joins gc.callbacks and the hooks of os.fork, once per interpreter. Returns 0 or -1 with an exception. */
int fli_py_collect_ready(void);

/* How many have begun. */
extern FLI_ATOMIC(int64_t) fli_py_collections;

/* The grace periods of the heap. */
extern const struct fl_grace_host fli_py_collect_grace;

/* How many more calls of Python functions the thread state allows inside each other. */
static inline int fli_py_calls_left(void)
{
    return PyThreadState_GetUnchecked()->py_recursion_remaining;
}

/* ---- Dead objects that wait, in lists. An entry is the object itself, linked by the first word of its header, which a
 * dead object does not need: it is the owning thread (free-threaded), which no reader takes it for, or the reference
 * count (with the GIL). That has to stay 0 where weak references lead to the object, so that they go on saying that it
 * is dead: there, the entry is a struct fli_py_proxy, as the lowest bit tells. */

struct fli_py_proxy {
    uintptr_t link;
    PyObject *object;
};

static inline struct fli_py_proxy *fli_py_proxy_of(void *entry)
{
    return ((uintptr_t)entry & 1) != 0 ? (struct fli_py_proxy *)((uintptr_t)entry - 1) : NULL;
}

static inline PyObject *fli_py_waiting_object(void *entry)
{
    struct fli_py_proxy *proxy = fli_py_proxy_of(entry);
    return proxy != NULL ? proxy->object : (PyObject *)entry;
}

/* The first word of either. */
static inline uintptr_t *fli_py_link(void *entry)
{
    return (uintptr_t *)((uintptr_t)entry & ~(uintptr_t)1);
}

static inline void fli_py_push_waiting(void **list, void *entry)
{
    /* Relaxed: nothing follows it elsewhere. */
    __atomic_store_n(fli_py_link(entry), (uintptr_t)*list, __ATOMIC_RELAXED);
    *list = entry;
}

/* Returns NULL if there is none; leaves a dead object's header. */
static inline void *fli_py_pop_waiting(void **list)
{
    void *entry = *list;
    if (entry == NULL)
        return NULL;
    /* Relaxed: as above. */
    *list = (void *)__atomic_load_n(fli_py_link(entry), __ATOMIC_RELAXED);
    __atomic_store_n(fli_py_link(entry), 0, __ATOMIC_RELAXED);
    return entry;
}

/* Makes a type live for ever, before other threads know it. As the interpreter does it: out of the collector's sight,
 * which would take the count of what it finds unreachable for a true one. */
static inline void fli_py_immortalize(PyTypeObject *type)
{
    PyObject *object = (PyObject *)type;
    PyObject_GC_UnTrack(object);
#if defined(Py_GIL_DISABLED)
    /* Relaxed: nobody else looks. The order in which the interpreter does it. */
    __atomic_store_n(&object->ob_tid, _Py_UNOWNED_TID, __ATOMIC_RELAXED);
    __atomic_store_n(&object->ob_ref_local, _Py_IMMORTAL_REFCNT_LOCAL, __ATOMIC_RELAXED);
    __atomic_store_n(&object->ob_ref_shared, 0, __ATOMIC_RELAXED);
#elif PY_VERSION_HEX >= 0x030E0000
    Py_SET_REFCNT(object, _Py_IMMORTAL_INITIAL_REFCNT);
#else
    Py_SET_REFCNT(object, _Py_IMMORTAL_REFCNT);
#endif
}

/* ---- References to a type, many at once. In a free-threaded build each object has a count for the thread that owns
 * it and one for all others, in units above some flags; Py_INCREF and Py_DECREF in those others do for one reference
 * what is done here for several. */

static inline void fli_py_add_references(PyTypeObject *type, size_t count)
{
#if defined(Py_GIL_DISABLED)
    PyObject *object = (PyObject *)type;
    /* Relaxed: the caller has a reference. */
    if (!_Py_IsImmortal(object))
        (void)__atomic_fetch_add(&object->ob_ref_shared, (Py_ssize_t)count << _Py_REF_SHARED_SHIFT, __ATOMIC_RELAXED);
#else
    while (count-- > 0)
        Py_INCREF(type);
#endif
}

/* Subtracts as many, if the count for all has more, so that what is left needs no decision of the type's owner or the
 * type's end. Returns false if it has not. */
static inline bool fli_py_try_subtract_references(PyTypeObject *type, size_t count)
{
#if defined(Py_GIL_DISABLED)
    PyObject *object = (PyObject *)type;
    Py_ssize_t shared = __atomic_load_n(&object->ob_ref_shared,
                                        __ATOMIC_RELAXED); /* relaxed: the exchange compares */
    do {
        if (_Py_IsImmortal(object))
            return true;
        if ((shared >> _Py_REF_SHARED_SHIFT) <= (Py_ssize_t)count)
            return false;
        /* Relaxed, both: the reference that the caller has besides orders what was done before the type's end. */
    } while (!__atomic_compare_exchange_n(&object->ob_ref_shared, &shared,
                                          shared - ((Py_ssize_t)count << _Py_REF_SHARED_SHIFT), true,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return true;
#else
    (void)type;
    return count == 0;
#endif
}

#endif
