/* SPDX-License-Identifier: MIT
 *
 * For authors of CPython extensions: types whose objects come from and go to a per-thread freelist.
 *
 *     typedef struct { PyObject_HEAD double x, y; } Point;
 *
 *     FL_PY_TYPE(point, Point, .kind = FL_DEALLOC_PLAIN)
 *
 *     static PyType_Slot point_slots[] = {
 *         {Py_tp_new, point_new}, {Py_tp_members, point_members}, FL_PY_SLOTS(point), {0, NULL}};
 *
 * and, when the module has made the type from its PyType_Spec,
 *
 *     if (fl_py_type_ready(&point_freelane, type) < 0)
 *         return -1;
 *
 * Where the memory lies:
 *
 *     type without Py_TPFLAGS_HAVE_GC   in slabs of a heap of Freelane's, one for each copy of it. A slab goes back
 *                                       to the system only across a collection, which stops every thread that could
 *                                       still look at an object in it: gc.collect() returns all that is free.
 *     type with it                      in the interpreter's own heaps, where the collector finds it. Threads keep
 *                                       freed objects of the exact type, untracked, FL_PY_CACHE_BYTES of them at most
 *                                       per type; each collection empties those caches.
 *
 * Objects of subclasses made in Python, and of C subclasses with an allocation of their own, are the interpreter's.
 * So are objects that PyObject_New made (without Py_TPFLAGS_HAVE_GC) or PyObject_GC_New (with it): these two, too, may
 * be used beside tp_alloc. Deallocation looks where the memory lies, and returns it there. The interpreter forbids
 * PyObject_New for a type with Py_TPFLAGS_HAVE_GC, and so does Freelane: nothing can tell such an object.
 *
 * Works with CPython 3.13 and later, free-threaded or not, in the main interpreter; fl_py_type_ready refuses others.
 * An extension compiles src/python/ and the core into itself (src/python/sources.txt lists the files), hidden, so
 * that any number of copies live in one process. Functions are called with a thread state attached, as those of
 * Python.h are.
 */
#ifndef FREELANE_PYTHON_H
#define FREELANE_PYTHON_H

#include <Python.h>

#include <freelane/freelane.h>

#include <stddef.h>
#include <string.h>

#if PY_VERSION_HEX < 0x030D0000
#error "freelane/python.h needs CPython 3.13 or later"
#endif
#if defined(Py_LIMITED_API)
#error "freelane/python.h reads the layouts of objects and types, which Py_LIMITED_API hides"
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define FL_PY_API  __attribute__((visibility("hidden")))
#define FL_PY_SLOW __attribute__((visibility("hidden"), noinline))

/* The most bytes of freed objects of one type with Py_TPFLAGS_HAVE_GC that a thread keeps, and of all such types
 * together. */
#define FL_PY_CACHE_BYTES  131072
#define FL_PY_THREAD_BYTES (16 * FL_PY_CACHE_BYTES)

/* The most references to one heap type without Py_TPFLAGS_HAVE_GC that a thread has in hand. */
#define FL_PY_REFERENCES 4096

/* ---- Declaring types ---------------------------------------------------------------------------------- */

struct fl_py_state;

/* Says to C++ what C takes for granted of fields that a declaration leaves out. */
#if defined(__cplusplus) && __cplusplus >= 201402L
#define FL_PY_UNSET = {}
#else
#define FL_PY_UNSET
#endif

/* What FL_PY_TYPE declares. The fields up to `variable` are the author's. */
struct fl_py_type {
    /* What deallocation needs:
     *
     *     PLAIN     nothing: the object holds no reference, and no weak reference can be made to it
     *     CLEAR     `clear` gives up all that the object holds; weak references are cleared before
     *     FINALIZE  tp_finalize, which may resurrect, then as CLEAR
     *     LEGACY    the type's own tp_dealloc, which ends with Py_TYPE(self)->tp_free(self) as always
     */
    enum fl_dealloc_kind kind;
    /* What tp_dealloc would do but for tp_free: drops references, frees buffers, closes files. It is called once, when
     * the object dies, maybe after tp_clear. It can be the type's tp_clear only if the object holds references alone,
     * because the collector calls that for objects that are used afterwards. */
    inquiry clear FL_PY_UNSET;
    bool gc FL_PY_UNSET;         /* the type has Py_TPFLAGS_HAVE_GC */
    bool subclassed FL_PY_UNSET; /* it has Py_TPFLAGS_BASETYPE */
    /* Its objects own no reference to it: it is static, or a heap type which lives until the process ends. */
    bool immortal FL_PY_UNSET;
    bool variable FL_PY_UNSET; /* it has a tp_itemsize */

    size_t size;
    allocfunc alloc;
    freefunc free;
    destructor dealloc;
    struct fl_py_state *state;
};

/* What fl_py_type_ready finds out about a declared type. */
struct fl_py_state {
    uint32_t drawer;               /* where in a struct fl_py_thread the type's union fl_py_drawer lies, in bytes */
    bool ready, heap_type;         /* made ready; a heap type, whose objects own references to it */
    size_t body;                   /* bytes of an object after its header */
    const struct fl_py_type *next; /* the types of this copy of Freelane */
};

/* Declares a type, and defines its slots: FL_PY_TYPE(point, Point, .kind = FL_DEALLOC_PLAIN) makes
 *
 *     point_freelane           the struct fl_py_type, for fl_py_type_ready
 *     point_alloc, point_free  for tp_alloc and tp_free
 *     point_freelane_dealloc   for tp_dealloc, unless the kind is LEGACY: then that is the author's point_dealloc, or
 *                              whatever its name is
 *
 * tp_alloc returns zeros behind a header, tracked already if the type has gc. The dots are designated initializers for
 * struct fl_py_type, in the order of its fields. */
#define FL_PY_TYPE(prefix, object_struct, ...) FL_PY_TYPE_OF_SIZE(prefix, sizeof(object_struct), __VA_ARGS__)

/* The same with the tp_basicsize instead of a struct, for a struct that ends with an array of one of its items:
 *
 *     typedef struct { PyObject_VAR_HEAD double values[1]; } Vector;
 *
 *     FL_PY_TYPE_OF_SIZE(vector, offsetof(Vector, values), .kind = FL_DEALLOC_PLAIN, .variable = true) */
#define FL_PY_TYPE_OF_SIZE(prefix, basic_size, ...)                                                                  \
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

/* The slots of a declared type, for a PyType_Spec: all three; or tp_alloc and tp_free, beside the Py_tp_dealloc of a
 * LEGACY type. */
#define FL_PY_SLOTS(prefix)                                                                                          \
    FL_PY_LEGACY_SLOTS(prefix),                                                                                      \
    {                                                                                                                \
        Py_tp_dealloc, (void *)prefix##_freelane_dealloc                                                             \
    }
#define FL_PY_LEGACY_SLOTS(prefix)                                                                                   \
    {Py_tp_alloc, (void *)prefix##_alloc},                                                                           \
    {                                                                                                                \
        Py_tp_free, (void *)prefix##_free                                                                            \
    }

/* Checks a declared type against the type object that was made of it (PyType_FromModuleAndSpec, or PyType_Ready for a
 * static one) and makes it ready. Once for each type object, before any object of it exists: where the module is
 * executed. Returns 0; or -1 with TypeError and a sentence that names the types: slots that are not those of the
 * declaration, a size, flag or finalizer that contradicts it, a kind weaker than a base's, a __dict__ that the
 * interpreter manages; with ImportError in a subinterpreter; with MemoryError. */
FL_PY_API int fl_py_type_ready(const struct fl_py_type *self, PyTypeObject *type);

/* ---- Looking inside ----------------------------------------------------------------------------------- */

/* Turns caching on or off in all threads and returns what it was. Off, every object with Py_TPFLAGS_HAVE_GC comes
 * from the interpreter and goes back to it, the memory of every other one is reported to tracemalloc, and reference
 * tracers are told of all. It starts off where a reference tracer (tracemalloc is one) is installed, and turns off at
 * the first collection that finds one. Turn it on again when tracemalloc has been stopped: it keeps the traces of
 * objects that die in between. */
FL_PY_API bool fl_py_set_caching(bool on);

struct fl_py_stats {
    size_t threads;        /* threads that have allocated */
    size_t cached_objects; /* freed objects with Py_TPFLAGS_HAVE_GC that threads keep: sys.getallocatedblocks() and
                              tracemalloc count them as in use */
    size_t cached_bytes;
    size_t live_bytes;    /* objects in the heap's slabs, which sys.getallocatedblocks() does not count */
    size_t free_bytes;    /* free blocks in the heap's slabs */
    size_t slab_bytes;    /* the heap's slabs */
    uint64_t collections; /* collections that have begun */
};

FL_PY_API void fl_py_get_stats(struct fl_py_stats *stats);

/* The heap of the objects without Py_TPFLAGS_HAVE_GC, for fl_heap_stats and fl_heap_check. NULL before the first
 * fl_py_type_ready. */
FL_PY_API struct fl_heap *fl_py_heap(void);

/* ---- The fast paths ----------------------------------------------------------------------------------- */

/* Whether python.h writes the headers of new objects itself. Builds that count or list all objects and references do
 * so in PyObject_Init; with the GIL nothing is gained. */
#if defined(Py_GIL_DISABLED) && !defined(Py_REF_DEBUG) && !defined(Py_TRACE_REFS)
enum { FL_PY_HEADERS = 1 };
#else
enum { FL_PY_HEADERS = 0 };
#endif

/* Whether PyObject_Init counts the references of new objects to their types in the thread. Py_DECREF does not. */
#if defined(Py_GIL_DISABLED) && PY_VERSION_HEX >= 0x030E0000
enum { FL_PY_COUNTS_TYPES = 1 };
#else
enum { FL_PY_COUNTS_TYPES = 0 };
#endif

/* Freed objects of one type with gc that a thread keeps. Each goes on owning its reference to the type if that is a
 * heap type, so that objects which come and go in one thread do not touch its count (fl_py_renews_type: the
 * exception). A cache of zeros has neither objects nor room. */
struct fl_py_cache {
    PyTypeObject *type; /* a reference, while there is room */
    PyObject **top, **floor, **ceiling;
};

/* References to one type without gc that a thread has in hand: new objects get theirs from here, and dead ones leave
 * it here, so that the thread writes the type's count, which all threads share, once for many objects. A stock of
 * zeros has neither references nor room. */
struct fl_py_stock {
    PyTypeObject *type; /* a reference, while there is room */
    size_t references;  /* those besides */
    size_t limit;
};

union fl_py_drawer {
    struct fl_py_cache cache;
    struct fl_py_stock stock;
};

/* The types of which a thread can keep something. */
#define FL_PY_TYPES 256

/* What the fast paths see of a thread. */
struct fl_py_thread {
    union fl_py_drawer none; /* always empty: that of types without one */
    void *waiting;           /* dead objects that wait for room on a stack */
    uintptr_t stack;         /* the lowest address of the OS thread's stack where deallocations look no further */
    size_t stack_bytes;      /* and how much lies above it */
    union fl_py_drawer drawers[FL_PY_TYPES];
};

/* Where the fast paths of the calling OS thread find their caches. Each pointer leads to a constant without objects
 * and room, and so to the slow halves, until the thread has allocated, and again when something wants the thread's
 * attention: a collection (`thread`), a change of fl_py_set_caching (both). So other threads write them. */
struct fl_py_current {
    struct fl_thread *heap;
    struct fl_py_thread *thread;
    struct fl_py_thread *own; /* the slow halves' */
};

/* Lies in the thread-local storage that the C library keeps free for libraries loaded late, for one load each time.
 * FREELANE_PYTHON_TLS_DYNAMIC or FREELANE_TLS_DYNAMIC, given to all files of the extension, does without, at a call
 * each time. */
#if defined(FREELANE_TLS_DYNAMIC)
extern FL_PY_API __thread struct fl_py_current fl_py_current;
#else
extern FL_PY_API __thread struct fl_py_current fl_py_current __attribute__((tls_model("initial-exec")));
#endif

/* The address range of the heap's slabs. Constant once a type is ready; empty before. */
struct fl_py_slabs {
    uintptr_t base;
    size_t bytes;
};

extern FL_PY_API struct fl_py_slabs fl_py_slabs;

FL_PY_SLOW PyObject *fl_py_alloc_slow(const struct fl_py_type *self, PyTypeObject *type, Py_ssize_t items);
FL_PY_SLOW void fl_py_free_slow(const struct fl_py_type *self, PyObject *object);
FL_PY_SLOW void fl_py_dealloc_slow(const struct fl_py_type *self, PyObject *object);
FL_PY_SLOW void fl_py_dealloc_waiting(struct fl_py_thread *thread);
FL_PY_SLOW void fl_py_end_slow(const struct fl_py_type *self, PyObject *object, PyTypeObject *type);

/* Relaxed, these two: whoever has changed them can wait. */
FL_INLINE struct fl_thread *fl_py_current_heap(void)
{
    return __atomic_load_n(&fl_py_current.heap, __ATOMIC_RELAXED);
}

FL_INLINE struct fl_py_thread *fl_py_current_thread(void)
{
    return __atomic_load_n(&fl_py_current.thread, __ATOMIC_RELAXED); /* relaxed: as above */
}

/* Whether objects of `type` are laid out and freed as `self` says: the type itself, or a C subtype that adds
 * nothing. */
FL_INLINE bool fl_py_is_exact(const struct fl_py_type *self, PyTypeObject *type)
{
    return !self->subclassed || (type->tp_free == self->free && type->tp_basicsize == (Py_ssize_t)self->size);
}

/* Whether objects of the declared type and of its C subtypes own a reference that their deallocation gives up here:
 * where the declared type is static, whoever made the subtype does so. */
FL_INLINE bool fl_py_owns_type(const struct fl_py_type *self)
{
    return !(self->immortal && !self->subclassed) && self->state->heap_type;
}

/* Whether objects of a heap type get a new reference to it when they are used again: those whose own tp_dealloc
 * (LEGACY) has given the old one up, where a new one does not write the count that all threads share. */
FL_INLINE bool fl_py_renews_type(const struct fl_py_type *self)
{
    return FL_PY_COUNTS_TYPES && self->kind == FL_DEALLOC_LEGACY;
}

/* Whether `type` is as immortal as the declared type; a C subtype need not be. */
FL_INLINE bool fl_py_is_immortal(const struct fl_py_type *self, PyTypeObject *type)
{
    return !self->subclassed || _Py_IsImmortal(type);
}

/* The cache of blocks for objects of `self`. A thread's second half serves heaps with stale readers, as those of
 * free-threaded builds are. */
FL_INLINE struct fl_cache *fl_py_blocks_of(const struct fl_py_type *self)
{
#if defined(Py_GIL_DISABLED)
    size_t half = FL_CLASS_COUNT;
#else
    size_t half = 0;
#endif
    return &fl_py_current_heap()->cache[half + fl_size_class(self->size)];
}

/* Bytes that are zeroed by one memset of a constant size, and up to which so many are zeroed inline. gcc makes
 * `rep stos` of a constant size above the first, which takes longer than a call of the C library's memset; above the
 * second the call takes less than the inline stores. */
#define FL_PY_CLEAR_PIECE  ((size_t)64)
#define FL_PY_CLEAR_INLINE (3 * FL_PY_CLEAR_PIECE)

/* Zeros the piece at `from` of a body of so many bytes, if it reaches there. */
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
    if (bytes > FL_PY_CLEAR_INLINE) {
        memset(body, 0, self->state->body); /* no constant to the compiler, so a call */
        return;
    }
    fl_py_clear_piece(body, 0, bytes);
    fl_py_clear_piece(body, FL_PY_CLEAR_PIECE, bytes);
    fl_py_clear_piece(body, 2 * FL_PY_CLEAR_PIECE, bytes);
}

/* What another thread sees that finds the object's address where it was a moment ago: nobody owns the object, so it
 * tries to raise the shared count, which the interpreter has left at 0 or merged (3) and which cannot be raised
 * then. */
FL_INLINE void fl_py_disown(PyObject *object)
{
#if defined(Py_GIL_DISABLED)
    __atomic_store_n(&object->ob_tid, 0, __ATOMIC_RELAXED); /* relaxed: one word, nothing is ordered by it */
#else
    (void)object;
#endif
}

FL_INLINE union fl_py_drawer *fl_py_drawer_of(const struct fl_py_type *self, struct fl_py_thread *thread)
{
    return (union fl_py_drawer *)(void *)((char *)thread + self->state->drawer);
}

/* ---- References to types without gc. */

/* Gets a new object of `self` its reference to the type from the thread's stock. Returns false, and has done nothing,
 * where objects of `type` are not those of `self` or the stock is empty. */
FL_INLINE bool fl_py_take_type(const struct fl_py_type *self, PyTypeObject *type)
{
    if (!FL_PY_HEADERS)
        return fl_py_is_exact(self, type);
    if (self->immortal)
        return fl_py_is_exact(self, type) && fl_py_is_immortal(self, type);
    struct fl_py_stock *stock = &fl_py_drawer_of(self, fl_py_current_thread())->stock;
    if (FL_UNLIKELY(stock->type != type || stock->references == 0))
        return false;
    stock->references--;
    return true;
}

/* Leaves the reference of a dead object to the thread's stock, or does nothing where none is owed. Returns false, and
 * has done nothing, where it is to be given up otherwise. */
FL_INLINE bool fl_py_give_type(const struct fl_py_type *self, PyTypeObject *type)
{
    if (self->immortal)
        return fl_py_is_immortal(self, type);
    struct fl_py_stock *stock = &fl_py_drawer_of(self, fl_py_current_thread())->stock;
    if (FL_UNLIKELY(stock->type != type || stock->references == stock->limit))
        return false;
    stock->references++;
    return true;
}

/* The header of a new object, as PyObject_Init leaves it, but for the reference to the type, which the object has
 * already. Reference tracers are not told: fl_py_set_caching. */
FL_INLINE PyObject *fl_py_init(PyObject *object, PyTypeObject *type)
{
#if defined(Py_GIL_DISABLED)
    if (FL_PY_HEADERS) {
        memset((char *)object + sizeof object->ob_tid, 0, offsetof(PyObject, ob_ref_local) - sizeof object->ob_tid);
        /* Relaxed, these three: a reader of the dead object finds the words of that one or of this one, and none of
         * them lets it raise the count, unless the calling thread is the reader. */
        __atomic_store_n(&object->ob_tid, _Py_ThreadId(), __ATOMIC_RELAXED);
        __atomic_store_n(&object->ob_ref_local, 1, __ATOMIC_RELAXED);
        __atomic_store_n(&object->ob_ref_shared, 0, __ATOMIC_RELAXED);
        object->ob_type = type;
        return object;
    }
#endif
    return PyObject_Init(object, type);
}

/* Caches are the owning thread's; `top` is relaxed because statistics read it. */
FL_INLINE PyObject **fl_py_top(const struct fl_py_cache *cache)
{
    return __atomic_load_n(&cache->top, __ATOMIC_RELAXED);
}

FL_INLINE void fl_py_set_top(struct fl_py_cache *cache, PyObject **top)
{
    __atomic_store_n(&cache->top, top, __ATOMIC_RELAXED); /* relaxed: as above */
}

FL_INLINE PyObject *fl_py_alloc_gc(const struct fl_py_type *self, PyTypeObject *type, Py_ssize_t items)
{
    struct fl_py_cache *cache = &fl_py_drawer_of(self, fl_py_current_thread())->cache;
    if (FL_UNLIKELY(cache->type != type))
        return fl_py_alloc_slow(self, type, items);
    PyObject **top = fl_py_top(cache);
    PyObject *object;
    if (FL_UNLIKELY(top == cache->floor)) {
        object = PyObject_GC_New(PyObject, type);
        if (object == NULL)
            return NULL;
    } else {
        object = top[-1];
        fl_py_set_top(cache, top - 1);
        if (fl_py_renews_type(self))
            (void)PyObject_Init(object, type);
        else
            _Py_NewReference(object);
    }
    fl_py_clear_body(self, object);
    PyObject_GC_Track(object);
    return object;
}

/* The slot tp_alloc: memory of zeros with an object's header, tracked if the type has gc. */
FL_INLINE PyObject *fl_py_alloc(const struct fl_py_type *self, PyTypeObject *type, Py_ssize_t items)
{
    if (self->gc)
        return fl_py_alloc_gc(self, type, items);
    struct fl_cache *cache = fl_py_blocks_of(self);
    void **top = fl_cache_top(cache);
    if (FL_UNLIKELY(self->variable || top == cache->floor || !fl_py_take_type(self, type)))
        return fl_py_alloc_slow(self, type, items);
    PyObject *object = (PyObject *)fl_cache_take(cache, top);
    fl_py_clear_body(self, object);
    return fl_py_init(object, type);
}

/* Whether the object can be as new when it is used again. The collector of a build with the GIL marks finalized
 * objects in front of their header. */
FL_INLINE bool fl_py_is_reusable(PyObject *object, PyTypeObject *type)
{
#if defined(Py_GIL_DISABLED)
    (void)object, (void)type;
    return true;
#else
    return type->tp_finalize == NULL || !PyObject_GC_IsFinalized(object);
#endif
}

/* Keeps an untracked object of the exact type for its next use, with its reference to the type, or gives its memory
 * back to the interpreter and returns false. */
FL_INLINE bool fl_py_cache_put(const struct fl_py_type *self, PyObject *object, PyTypeObject *type)
{
    struct fl_py_cache *cache = &fl_py_drawer_of(self, fl_py_current_thread())->cache;
    if (FL_UNLIKELY(cache->type != type)) {
        fl_py_free_slow(self, object);
        return false;
    }
    PyObject **top = fl_py_top(cache);
    if (FL_UNLIKELY(top == cache->ceiling || !fl_py_is_reusable(object, type))) {
        PyObject_GC_Del(object);
        return false;
    }
    *top = object;
    fl_py_set_top(cache, top + 1);
    return true;
}

/* Whether an object without gc lies in the heap. Its tp_alloc may have been passed by: PyObject_New, PyObject_Init of
 * other memory, and the tp_alloc of a C subtype make objects that tp_free must not keep. */
FL_INLINE bool fl_py_is_in_slabs(PyObject *object)
{
    return (uintptr_t)object - fl_py_slabs.base < fl_py_slabs.bytes;
}

/* Whether the thread's cache can take an object without gc: it has room at `top`, and the object is the heap's. */
FL_INLINE bool fl_py_can_put(const struct fl_py_type *self, void **top, PyObject *object)
{
    return !self->variable && !fl_cache_is_full(top) && __builtin_expect(fl_py_is_in_slabs(object), 1);
}

/* Gives the memory of an object without gc, of the exact type, back to where it came from. */
FL_INLINE void fl_py_release(const struct fl_py_type *self, PyObject *object)
{
    struct fl_cache *cache = fl_py_blocks_of(self);
    void **top = fl_cache_top(cache);
    if (FL_UNLIKELY(!fl_py_can_put(self, top, object))) {
        fl_py_free_slow(self, object);
        return;
    }
    fl_py_disown(object);
    fl_cache_put(cache, top, object);
}

/* The slot tp_free. */
FL_INLINE void fl_py_free(const struct fl_py_type *self, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (FL_UNLIKELY(!fl_py_is_exact(self, type)))
        fl_py_free_slow(self, object);
    else if (!self->gc)
        fl_py_release(self, object);
    else if (fl_py_cache_put(self, object, type) && !fl_py_renews_type(self) && fl_py_owns_type(self))
        Py_INCREF(type); /* the caller gives up the object's */
}

/* Gives the memory and the reference to the type back. */
FL_INLINE void fl_py_end(const struct fl_py_type *self, PyObject *object, PyTypeObject *type)
{
    if (self->gc) {
        if (!fl_py_cache_put(self, object, type) && fl_py_owns_type(self))
            Py_DECREF(type);
        return;
    }
    if (!FL_PY_HEADERS) {
        fl_py_release(self, object);
        if (fl_py_owns_type(self))
            Py_DECREF(type);
        return;
    }
    struct fl_cache *cache = fl_py_blocks_of(self);
    void **top = fl_cache_top(cache);
    if (FL_UNLIKELY(!fl_py_can_put(self, top, object) || !fl_py_give_type(self, type))) {
        fl_py_end_slow(self, object, type);
        return;
    }
    fl_py_disown(object);
    fl_cache_put(cache, top, object);
}

/* Whether there are weak references to an object that nothing else refers to, so that no new ones come. */
FL_INLINE bool fl_py_has_weakrefs(PyObject *object, PyTypeObject *type)
{
    if (type->tp_weaklistoffset == 0)
        return false;
    /* Relaxed: who takes the last one out is done with the object then. */
    PyObject **list = (PyObject **)(void *)((char *)object + type->tp_weaklistoffset);
    return __atomic_load_n(list, __ATOMIC_RELAXED) != NULL;
}

/* Deallocates an object of the exact type of kind CLEAR or FINALIZE. */
FL_INLINE void fl_py_destroy(const struct fl_py_type *self, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    /* Still tracked, because the finalizer may resurrect it; untracked before anything else runs. */
    if (self->kind == FL_DEALLOC_FINALIZE && PyObject_CallFinalizerFromDealloc(object) < 0)
        return;
    if (self->gc)
        PyObject_GC_UnTrack(object);
    if (FL_UNLIKELY(fl_py_has_weakrefs(object, type)))
        PyObject_ClearWeakRefs(object);
    (void)self->clear(object);
    fl_py_end(self, object, type);
}

/* An address on the calling function's stack. */
FL_INLINE uintptr_t fl_py_frame(void)
{
    return (uintptr_t)__builtin_frame_address(0);
}

/* The slot tp_dealloc of the kinds other than LEGACY. */
FL_INLINE void fl_py_dealloc(const struct fl_py_type *self, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (FL_UNLIKELY(self->kind == FL_DEALLOC_LEGACY || !fl_py_is_exact(self, type))) {
        fl_py_dealloc_slow(self, object);
        return;
    }
    if (self->kind == FL_DEALLOC_PLAIN) {
        fl_py_end(self, object, type);
        return;
    }
    struct fl_py_thread *thread = fl_py_current_thread();
    if (FL_UNLIKELY(fl_py_frame() - thread->stack >= thread->stack_bytes)) {
        fl_py_dealloc_slow(self, object);
        return;
    }
    fl_py_destroy(self, object);
    if (FL_UNLIKELY(thread->waiting != NULL))
        fl_py_dealloc_waiting(thread);
}

#ifdef __cplusplus
}
#endif

#endif
