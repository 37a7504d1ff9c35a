/* SPDX-License-Identifier: MIT
 *
 * The contract for authors of CPython extensions: types whose objects come from a per-thread freelist and go back to
 * it.
 *
 *     typedef struct { PyObject_HEAD double x, y; } Point;
 *
 *     FL_PY_TYPE(point, Point, .kind = FL_DEALLOC_PLAIN)
 *
 *     static PyType_Slot point_slots[] = {
 *         {Py_tp_new, point_new}, {Py_tp_members, point_members}, FL_PY_SLOTS(point), {0, NULL}};
 *
 * When the module has made the type from its PyType_Spec, it makes the type ready:
 *
 *     if (fl_py_type_ready(&point_freelane, type) < 0)
 *         return -1;
 *
 * The memory of an object depends on its type:
 *
 *     type without Py_TPFLAGS_HAVE_GC   Its objects lie in slabs of a Freelane heap, one for each copy of Freelane. A
 *                                       slab returns to the OS only when every thread that could still look at an
 *                                       object in it has been stopped, as by a collection. gc.collect() returns all
 *                                       slabs that are free, also of what idle threads keep.
 *     type with Py_TPFLAGS_HAVE_GC      Its objects lie in the interpreter's own heaps, where the collector finds them.
 *                                       Each thread caches freed objects of the exact type, untracked, up to
 *                                       FL_PY_CACHE_BYTES per type at first. Each collection empties these caches.
 *
 * The interpreter's memory serves objects of Python subclasses, and of C subclasses with a tp_alloc of their own. It
 * also serves objects that PyObject_New made of a type without gc, or PyObject_GC_New of a type with gc; both may be
 * used beside tp_alloc. Deallocation finds out where the memory lies and returns it there. The interpreter forbids
 * PyObject_New for a type with gc, and so does Freelane, which cannot recognize such an object.
 *
 * Freelane works with CPython 3.13 to 3.15 on 64-bit Linux, free-threaded or not. In other interpreters than the main
 * one, heap types work in the interpreter's memory: there fl_py_type_ready gives them its tp_alloc and tp_free. So a
 * constructor calls type->tp_alloc, and no function of a declaration by its name.
 *
 * An extension compiles the files that src/python/sources.txt lists into itself with hidden visibility, so that any
 * number of copies can live in one process.
 *
 * Elsewhere the same declarations compile to the interpreter's own allocation (python_fallback.h): on other systems,
 * with Py_LIMITED_API, PyPy, GraalPy, other versions of CPython, and if FREELANE_PYTHON_FALLBACK is defined. There
 * fl_py_type_ready checks nothing, and statistics are zeros.
 *
 * Every function here is called with a thread state attached, as those of Python.h are; in a build with the GIL this
 * means that the caller holds it. Any such thread may call them at any time, unless the function says otherwise.
 *
 * Compiles as C99 and as C++11. The layouts and the fast paths stand in python_inline.h, which this header includes.
 */
#ifndef FREELANE_PYTHON_H
#define FREELANE_PYTHON_H

#include <Python.h>

/* Whether types fall back to the interpreter's own allocation: if the author asks for it by FREELANE_PYTHON_FALLBACK, and
 * where Freelane cannot work. The files of sources.txt are for 64-bit Linux. Where Freelane falls back, those of the
 * CPython side compile to nothing. */
#if defined(FREELANE_PYTHON_FALLBACK) || !defined(__linux__) || !defined(__GNUC__) || !defined(__LP64__) ||          \
    defined(Py_LIMITED_API) || defined(PYPY_VERSION) || defined(GRAALVM_PYTHON) || PY_VERSION_HEX < 0x030D0000 ||    \
    PY_VERSION_HEX >= 0x03100000
#define FL_PY_FALLBACK 1
#else
#define FL_PY_FALLBACK 0
#endif

#if defined(__linux__) && defined(__GNUC__) && defined(__LP64__)
#include <freelane/freelane.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
struct fl_heap;
#define FL_BLOCK_MAX 32768
enum fl_dealloc_kind { FL_DEALLOC_LEGACY, FL_DEALLOC_PLAIN, FL_DEALLOC_CLEAR, FL_DEALLOC_FINALIZE };
#endif

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A function that the extension's copy of Freelane defines, and one that python_inline.h does. */
#if FL_PY_FALLBACK
#define FL_PY_API    static inline
#define FL_PY_INLINE static inline
#else
#define FL_PY_INLINE FL_INLINE
#define FL_PY_API    __attribute__((visibility("hidden")))
#endif

/* The most bytes of freed objects with gc that a thread caches at first: of one type, and of all together. */
#define FL_PY_CACHE_BYTES  131072
#define FL_PY_THREAD_BYTES (16 * FL_PY_CACHE_BYTES)

/* The most bytes by which its caches grow at a time, where more of the objects that it has made die in it than they have room
 * for; and all together, unless one of so many parts of what it has had at once of a type is more. A collection ends that. */
#define FL_PY_GROWN_BYTES (8 * FL_PY_CACHE_BYTES)
#define FL_PY_GROWN_PARTS 4

/* The most references to one heap type without gc that a thread has in stock. */
#define FL_PY_REFERENCES 4096

/* The types of one extension of which threads have a cache or a stock: the first that are made ready. Objects of
 * later types work in the same way, only slower. */
#define FL_PY_TYPES 256

/* ---- Declaring types ---------------------------------------------------------------------------------- */

struct fl_py_state;

/* Gives C++ the zeros that C takes for fields which a declaration leaves out. */
#if defined(__cplusplus) && (__cplusplus >= 201402L || defined(_MSC_VER))
#define FL_PY_UNSET = {}
#else
#define FL_PY_UNSET
#endif

/* A declared type: what FL_PY_TYPE defines. The author gives the fields up to `unwrapped`, in this order; the macro
 * fills in the others. It is constant, and all threads may share it. */
struct fl_py_type {
    /* What deallocation needs:
     *
     *     PLAIN     Nothing: the object holds no reference, and no weak reference can be made to it.
     *     CLEAR     Weak references are cleared, then `clear` gives up all that the object holds.
     *     FINALIZE  tp_finalize runs first and may resurrect the object; then as CLEAR.
     *     LEGACY    The type's own tp_dealloc does everything and ends with Py_TYPE(self)->tp_free(self).
     *               If the type's base is `object`, fl_py_type_ready puts another in its slot, which calls it where
     *               the stack has room.
     */
    enum fl_dealloc_kind kind;
    /* Drops references, frees buffers and closes files: all that tp_dealloc would do except tp_free. It is called
     * once, when the object dies, possibly after tp_clear; its result is ignored. The collector calls tp_clear on
     * objects that are used afterwards, so one function can be both only where the object holds nothing but
     * references. */
    inquiry clear FL_PY_UNSET;
    bool gc FL_PY_UNSET;         /* the type has Py_TPFLAGS_HAVE_GC */
    bool subclassed FL_PY_UNSET; /* the type has Py_TPFLAGS_BASETYPE */
    bool immortal FL_PY_UNSET; /* its objects own no reference to it: it is static, or lives until the process ends */
    bool variable FL_PY_UNSET; /* the type has a tp_itemsize */
    /* The tp_dealloc of a LEGACY type stays in its slot, whatever the base is. Deep structures need a deep stack then, or a
     * trashcan. For a tp_dealloc that looks for itself in the slots of types. (Py_TRASHCAN_BEGIN may.) */
    bool unwrapped FL_PY_UNSET;

    size_t size;               /* the tp_basicsize, in bytes */
    allocfunc alloc;           /* the tp_alloc */
    freefunc free;             /* the tp_free */
    destructor dealloc;        /* the tp_dealloc; of a LEGACY type, the one that calls the type's own */
    struct fl_py_state *state; /* what fl_py_type_ready finds out */
};

/* Declares a type at file scope and defines its slots. FL_PY_TYPE(point, Point, .kind = FL_DEALLOC_PLAIN) makes
 *
 *     point_freelane           the struct fl_py_type, for fl_py_type_ready
 *     point_alloc, point_free  for tp_alloc and tp_free
 *     point_freelane_dealloc   for tp_dealloc, unless the kind is LEGACY: then the author gives his own function, and
 *                              fl_py_type_ready sets this one
 *
 * The arguments after the struct are designated initializers for struct fl_py_type, in the order of its fields.
 *
 * The slots keep to the interpreter's rules. tp_alloc returns an object whose bytes behind the header are zero, or
 * NULL with MemoryError. The collector already tracks it if the type has gc. tp_free and tp_dealloc do not fail.
 * Within the thread's cache all three are wait-free, apart from what `clear` and tp_finalize do. Otherwise they may
 * lock. Before tp_alloc fails for want of memory, it stops the world, takes back what all threads keep, and tries once
 * more. This may run Python code. */
#define FL_PY_TYPE(prefix, object_struct, ...) FL_PY_TYPE_OF_SIZE(prefix, sizeof(object_struct), __VA_ARGS__)

/* The same with the tp_basicsize in bytes instead of a struct, for a struct that ends with an array of one of its
 * items:
 *
 *     typedef struct { PyObject_VAR_HEAD double values[1]; } Vector;
 *
 *     FL_PY_TYPE_OF_SIZE(vector, offsetof(Vector, values), .kind = FL_DEALLOC_PLAIN, .variable = true) */
#define FL_PY_TYPE_OF_SIZE(prefix, basic_size, ...) FL_PY_DEFINE(prefix, basic_size, __VA_ARGS__)

/* All three slots of a declared type, as elements of a PyType_Slot array. */
#define FL_PY_SLOTS(prefix)                                                                                          \
    FL_PY_LEGACY_SLOTS(prefix),                                                                                      \
    {                                                                                                                \
        Py_tp_dealloc, (void *)prefix##_freelane_dealloc                                                             \
    }

/* The slots tp_alloc and tp_free of a LEGACY type, beside its own Py_tp_dealloc. */
#define FL_PY_LEGACY_SLOTS(prefix)                                                                                   \
    {Py_tp_alloc, (void *)prefix##_alloc},                                                                           \
    {                                                                                                                \
        Py_tp_free, (void *)prefix##_free                                                                            \
    }

/* The same for arrays of PySlot, which are new in Python 3.15 (PEP 820). */
#if defined(PySlot_PTR)
#define FL_PY_PEP820_SLOTS(prefix)                                                                                   \
    FL_PY_PEP820_LEGACY_SLOTS(prefix), PySlot_PTR(Py_tp_dealloc, prefix##_freelane_dealloc)
#define FL_PY_PEP820_LEGACY_SLOTS(prefix)                                                                            \
    PySlot_PTR(Py_tp_alloc, prefix##_alloc), PySlot_PTR(Py_tp_free, prefix##_free)
#endif

/* Checks a declared type against its type object, and makes it ready. The type object comes from
 * PyType_FromModuleAndSpec or PyType_FromSlots, or from PyType_Ready if it is static. Called once for each type object,
 * where the module is executed, before any object or subtype of the type exists. In another interpreter than the main
 * one, and where a tool looks at each object (`ignore_tools` below), it then gives the type the interpreter's tp_alloc and
 * tp_free. May lock, and may run Python code. Afterwards tp_dealloc is that of the declaration, for most LEGACY types, too.
 *
 * Returns 0, or -1 with one of these exceptions, whose text names the types:
 *
 *     TypeError    a slot, size, flag or finalizer contradicts the declaration; the kind is weaker than a base's; or
 *                  the interpreter manages the __dict__
 *     ImportError  the type is static, and the calling thread runs another interpreter than the main one
 *     ValueError   FREELANE_PYTHON_OPTIONS makes no sense
 *     MemoryError  no memory can be had */
FL_PY_API int fl_py_type_ready(const struct fl_py_type *self, PyTypeObject *type);

/* ---- Types known at run time ---------------------------------------------------------------------------
 *
 * For code generators, other languages, and classes whose struct is not at hand: a declaration that is made where the
 * module is executed. Its slots are a few instructions slower than those of FL_PY_TYPE, which know the size and the kind. */

/* The declarations of one extension that are made at run time and have slots of their own: the first ones. The types of
 * later ones have the interpreter's tp_alloc and tp_free; what their deallocation does stays as declared (`fallback_types`
 * of struct fl_py_stats). */
#define FL_PY_NEW_TYPES 128

/* The fields of struct fl_py_type that have these names, as bits. */
#define FL_PY_GC         1u
#define FL_PY_SUBCLASSED 2u
#define FL_PY_IMMORTAL   4u
#define FL_PY_VARIABLE   8u
#define FL_PY_UNWRAPPED  16u

/* For a LEGACY tp_dealloc that Cython has generated, which calls tp_finalize only where it finds itself in the slot of the
 * object's type. */
#define FL_PY_CYTHON 32u

/* Makes a declaration: `size` is the tp_basicsize in bytes. Before fl_py_type_ready the caller sets `clear`, if the kind
 * needs it, and gives the type the slots `alloc`, `free` and, unless it is LEGACY, `dealloc`. The declaration lasts until
 * the process ends, and serves the types of all interpreters that are alike: a module that may be executed again keeps it.
 * May lock. Returns NULL with one of these exceptions:
 *
 *     ValueError   the size is less than an object's, or a kind or flag is none
 *     MemoryError  no memory can be had */
FL_PY_API struct fl_py_type *fl_py_type_new(size_t size, enum fl_dealloc_kind kind, unsigned flags);

/* Puts a finished type on Freelane that allocates with tp_alloc and keeps its own tp_dealloc: as a LEGACY type. Replaces
 * tp_alloc and tp_free, and makes the type ready. Called where the module is executed, before any object or subtype of
 * the type exists. The flags are FL_PY_IMMORTAL, FL_PY_UNWRAPPED and FL_PY_CYTHON; the others are found in the type. Types
 * of the same name, size, flags and tp_dealloc share a declaration, as those of a module that is executed again. May
 * lock, and may run Python code.
 *
 * Returns 0, or -1 with the type as it was and one of the exceptions of the functions above. */
FL_PY_API int fl_py_type_adopt(PyTypeObject *type, unsigned flags);

/* ---- Options ------------------------------------------------------------------------------------------- */

/* Options of the heap for objects without gc. Zero in every field is the default. The environment variable
 * FREELANE_PYTHON_OPTIONS has the last word, for all extensions of the process. It holds text such as
 * "reserve=1G,limit=512M,retain=16M,stops=0". Numbers may end in K, M, G or T (powers of 1024). */
struct fl_py_options {
    /* Bytes of address space for objects, from 4 MiB to 1 TiB. Objects that do not fit there get the interpreter's
     * memory. The default is 256 MiB, but at most a 64th of what the process may have (RLIMIT_AS). The heap reserves
     * less where the OS refuses that. */
    size_t reserve_bytes;
    /* The most bytes of memory that the heap uses for objects, free ones included. Others get the interpreter's
     * memory. Default: no limit. */
    size_t limit_bytes;
    /* Free bytes that keep their memory between collections, for objects of any size. The heap may keep as much as is
     * in use, if that is more. Threads keep as much, all together, for objects of the same size. The default is 64 MiB,
     * with the GIL 32 MiB. gc.collect() returns that, too. */
    size_t retain_bytes;
    /* Freelane does not stop the world by itself in order to return free memory. In text it is stops=0. Full
     * collections and an allocation that would fail still do. */
    bool no_stops;
    /* Types stay on Freelane where a tool looks at each object of the interpreter, which then does not see theirs as it
     * sees others. In text it is tools=0. Without it, fl_py_type_ready gives the types the interpreter's tp_alloc and
     * tp_free where it finds one: the allocator of objects is not the interpreter's own (PYTHONMALLOC=debug or malloc,
     * -X dev, PyMem_SetAllocator), or Freelane was compiled with AddressSanitizer and not as a checked build. Where
     * AddressSanitizer is in the process and Freelane was compiled without it, the heap informs it of each block.
     * tracemalloc is no such tool (fl_py_set_caching). */
    bool ignore_tools;
};

/* Sets the options of this copy of Freelane. Called before the first fl_py_type_ready, where the module is executed.
 * Returns 0, or -1 with one of these exceptions:
 *
 *     ValueError    an option is out of its range
 *     RuntimeError  a type is ready already */
FL_PY_API int fl_py_configure(const struct fl_py_options *options);

/* ---- Memory beside objects -----------------------------------------------------------------------------
 *
 * What an object owns besides itself, such as a table or a text: from per-thread caches too, of a heap of its own, which
 * has the options of the other. Where fl_py_memory_alloc and PyMem_Malloc differ:
 *
 *     * A free is given the size, as the allocation was.
 *     * Memory above FL_BLOCK_MAX (32 KiB) is the interpreter's. So is all that is allocated in a subinterpreter, while
 *       caching is off (so that tracemalloc sees it), where fl_py_type_ready has found a tool that looks at each object, by a
 *       thread that has made no object of a declared type yet, and where the heap has no room.
 *     * It is freed in the interpreter in which it was allocated, by any of its threads.
 *     * No thread reads it after it was freed: buffers that are read without a lock are those below.
 *
 *     self->slots = fl_py_memory_alloc(room * sizeof *self->slots);
 *     ...
 *     fl_py_memory_free(self->slots, room * sizeof *self->slots);
 *
 * All collections of the oldest objects, such as gc.collect(), return what is free to the OS. Where an extension is executed
 * in a subinterpreter, fast paths serve no memory from then on; slow halves go on in the main interpreter. */

/* Allocates `size` bytes, aligned as by malloc, which hold anything. Runs no Python code and does not detach. Wait-free
 * while the thread's cache has such a block; otherwise it may lock. Returns NULL with MemoryError. */
FL_PY_INLINE void *fl_py_memory_alloc(size_t size);

/* Frees memory of fl_py_memory_alloc or fl_py_memory_realloc, that had been given `size` bytes; NULL is none. Never fails.
 * Progress likewise, while the cache has room. A wrong size is misuse: checked builds report it at once, others may when the
 * block goes back to its slab (fl_set_misuse_handler). */
FL_PY_INLINE void fl_py_memory_free(void *memory, size_t size);

/* Gives memory of `old_size` bytes another size. It may move, with as many bytes as both sizes have. NULL is allocated. The
 * interpreter's stays the interpreter's. Returns NULL with MemoryError, and then the memory is as it was. May lock. Runs
 * no Python code and does not detach. */
FL_PY_API void *fl_py_memory_realloc(void *memory, size_t old_size, size_t size);

/* ---- Dropping references later ------------------------------------------------------------------------- */

/* Py_DECREF may run any code: destructors, and with them other threads, on which a critical section of the caller is
 * suspended. Where that must not happen, inside a critical section or while the caller walks a container, the reference
 * is queued and dropped afterwards:
 *
 *     if (fl_py_later_reserve(1) < 0)
 *         return -1;
 *     Py_BEGIN_CRITICAL_SECTION(self);
 *     fl_py_decref_later(self->item);
 *     self->item = Py_NewRef(item);
 *     Py_END_CRITICAL_SECTION();
 *     fl_py_run_later();
 *
 * Where nobody calls fl_py_run_later, references are dropped all the same: at the latest by the thread's next
 * collection, by the end of its thread state, or after about a tenth of a second by the main thread between two
 * bytecodes, and if that has not come to it in another 50 ms, by a thread of Freelane's own. In a subinterpreter only
 * fl_py_run_later and the interpreter's end do so. That end drops what is queued for two seconds at most, and the last one's
 * destructor; the rest is leaked. Where another thread drops the last reference to an object that a
 * living thread has made, a free-threaded interpreter destroys it in that thread, when it next runs Python code. */

/* Makes room in the calling thread for the next `count` references that it queues in this interpreter (8 bytes each). The
 * room lasts until it has queued as many, whatever runs in between: collections and fl_py_run_later leave it. Of several
 * calls the one that asks for most counts, not their sum. Called after the first fl_py_type_ready, where any code may
 * run. Returns 0, or -1 with one of these exceptions:
 *
 *     MemoryError   no memory can be had
 *     RuntimeError  no type is ready yet */
FL_PY_API int fl_py_later_reserve(size_t count);

/* Queues a reference that the caller owns; NULL is none. The caller gives it up, and uses the object no more: it may
 * die at any moment, in another thread. Runs no code of the host and does not detach the thread state. Never fails, but
 * where there is no room and memory is refused, the reference is leaked and counted (fl_py_stats). Wait-free within the
 * room, apart from the first call after a pause, which starts a thread. */
FL_PY_API void fl_py_decref_later(PyObject *object);

/* Drops the references that the calling thread has queued in this interpreter, also those that destructors queue
 * meanwhile, and those that threads have left at their end. Returns how many. An exception that is set stays set. Runs
 * any code: called outside of critical sections. */
FL_PY_API size_t fl_py_run_later(void);

/* ---- Retired buffers -----------------------------------------------------------------------------------
 *
 * A buffer that threads read without a lock: they load its address with acquire order, read it, and forget it before
 * they detach their thread state or run Python code. Until then it stays: the buffer that took its place has been stored
 * with release order, and the old one is freed at the next stop of the world, which waits for each such reader. So
 * reading takes no lock, no critical section and no store. (Compare P. E. McKenney and J. D. Slingwine, Read-Copy Update,
 * 1998.)
 *
 *     struct numbers *now = fl_py_buffer_alloc(bytes);        in a critical section, by the only writer
 *     ...
 *     __atomic_store_n(&self->numbers, now, __ATOMIC_RELEASE);
 *     fl_py_buffer_free_deferred(before);
 *
 * Stops are collections, and those that Freelane makes: it asks for one when more than 16 MiB wait, as for free slabs
 * (with the option stops=0 there are collections only). In a build with the GIL the thread that retires a buffer holds the
 * GIL, so that no reader is left, and the buffer is freed at once. */

/* Allocates a buffer of `size` bytes of zeros, aligned as by malloc. tracemalloc does not see it. Does not detach. May
 * lock, as malloc does. Returns NULL with one of these exceptions:
 *
 *     MemoryError   no memory can be had
 *     RuntimeError  no type is ready yet, or the calling thread runs a subinterpreter */
FL_PY_API void *fl_py_buffer_alloc(size_t size);

/* Frees a buffer that no other thread can read, such as one of an object that dies; NULL is none. Never fails, runs no code
 * of the host and does not detach. May lock, as free does. */
FL_PY_API void fl_py_buffer_free(void *buffer);

/* Frees a buffer at the next stop of the world; NULL is none. No reader finds it any more: another one, or NULL, has taken
 * its place. Allocates nothing, never fails, runs no code of the host and does not detach, so a critical section may
 * contain it. Lock-free; one that goes beyond the bound may start a thread. */
FL_PY_API void fl_py_buffer_free_deferred(void *buffer);

/* ---- Looking inside ----------------------------------------------------------------------------------- */

/* Turns caching on or off in all threads. Returns whether it was on. May lock; never fails.
 *
 * While caching is off, each object with gc comes from the interpreter and returns to it. The memory of all other
 * objects is reported to tracemalloc, and reference tracers are told of every object.
 *
 * Caching starts off where a reference tracer is installed (tracemalloc is one). It turns off at the first collection
 * that finds one, or at the first allocation that does, of those that a thread's cache does not serve. It turns on again
 * at the first collection without one, if a tracer has turned it off. After tracemalloc has been stopped, a call with
 * true turns it on at once: tracemalloc keeps the traces of objects that die before. Where fl_py_type_ready has found a
 * tool that looks at each object, caching is off and stays so. */
FL_PY_API bool fl_py_set_caching(bool on);

/* What Freelane holds for this extension. Numbers are of moments that lie close together. */
struct fl_py_stats {
    size_t threads;        /* threads that have allocated and have not ended */
    size_t cached_objects; /* freed objects with gc in threads' caches: sys.getallocatedblocks() and tracemalloc count
                              them as in use */
    size_t cached_bytes;   /* their size, in bytes */
    size_t live_bytes;     /* objects in the heap's slabs, in bytes; sys.getallocatedblocks() does not count them */
    size_t free_bytes;     /* free blocks in the heap's slabs, in bytes */
    size_t slab_bytes;     /* the heap's slabs, in bytes */
    uint64_t collections;  /* collections of the interpreter that have begun */
    uint64_t stops;        /* stops of the world that this copy has made; at collections, one makes those of all */
    uint64_t stopped_ns;   /* how long these have taken, in nanoseconds, without what came before and after it */
    uint64_t longest_stop_ns;   /* the longest of them */
    size_t later_references;    /* queued by fl_py_decref_later and not dropped yet */
    uint64_t leaked_references; /* of those, the ones that never will be: memory was refused */
    size_t retired_bytes;       /* buffers that wait for a stop of the world, in bytes */
    size_t memory_live_bytes;   /* memory beside objects that is in use, without the interpreter's, in bytes */
    size_t memory_slab_bytes;   /* the slabs of its heap, in bytes */
    size_t fallback_types; /* declarations beyond FL_PY_NEW_TYPES: the interpreter allocates their types' objects */
};

/* Fills in the statistics: zeros before the first fl_py_type_ready. May lock; never fails. Needs no thread state. */
FL_PY_API void fl_py_get_stats(struct fl_py_stats *stats);

/* The heap of the objects without gc, for fl_heap_stats and fl_heap_check; NULL before the first fl_py_type_ready, and
 * where the OS refuses memory for it. Makes the heap if no object has been allocated yet, which may lock; wait-free
 * afterwards. The heap is never destroyed. */
FL_PY_API struct fl_heap *fl_py_heap(void);

/* The heap of memory beside objects, likewise; NULL until a thread has used it. Wait-free. */
FL_PY_API struct fl_heap *fl_py_memory_heap(void);

#ifdef __cplusplus
}
#endif

#if FL_PY_FALLBACK
#include <freelane/python_fallback.h>
#else
#include <freelane/python_inline.h>
#endif

#endif
