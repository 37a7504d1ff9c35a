/* SPDX-License-Identifier: MIT
 *
 * Freelane: a lock-free per-thread freelist runtime for interpreters without a global lock.
 *
 *     heap ── one independent runtime: pool, slabs, attached threads
 *      └─ thread ── an attachment to the heap; owns a cache per size class
 *          └─ cache ── a loaded and a previous magazine of pointers to free blocks
 *
 * Allocation and deallocation work on the calling thread's cache. Blocks lie in slabs of one size class each. A slab has
 * a home, which belongs to a thread: there its free blocks are marked, and refills take them, lowest address first.
 * Blocks above 2 KiB move in whole magazines instead, by way of the heap's lock-free pool where a thread has no room for
 * more.
 *
 * Which operations may wait:
 *
 *     wait-free, no shared access   fl_alloc, fl_free, fl_free_sized, fl_type_alloc, fl_type_free, and
 *                                   fl_dealloc of a PLAIN object, while the cache holds a block (or room)
 *     lock-free                     the same when they exchange a magazine with the thread's home, with others' homes
 *                                   or with the pool (a home is tried for a moment, and if it is busy the pool serves);
 *                                   fl_owns and fl_usable_size; fl_free_deferred,
 *                                   fl_quiescent, fl_read_lock
 *     may lock                      the same when they begin a slab or a magazine, free a block for which no magazine
 *                                   can be had, trim a slice of what is free, begin a grace period, name a reader that
 *                                   has stalled, touch a block above FL_BLOCK_MAX, or run on an unattached or exited
 *                                   thread; create, destroy, attach, detach, flush, offline, online, trim,
 *                                   statistics, fork
 *     may wait for a grace period   fl_heap_barrier, fl_heap_trim, fl_heap_destroy; a fork, where there is a bp heap;
 *                                   fl_quiescent for at most a millisecond; nothing else
 *
 * Cancellation (pthread_cancel, deferred): fl_heap_barrier, and fl_heap_destroy and fl_heap_trim where they wait for a
 * grace period, are cancellation points while they wait, some 0.2 s apart. A call that is cancelled has done what it
 * had done, leaves no lock behind and can be made again; fl_heap_destroy leaves the heap as it was. Nothing else is a
 * cancellation point, except for what the host's callbacks do and fl_heap_print_stats writes. Asynchronous
 * cancellation must be off inside the library.
 *
 * A struct fl_thread belongs to one OS thread at a time; everything that takes a struct fl_heap may be
 * called from any thread at any time unless it says otherwise. Functions that return int return 0 or a
 * negative errno value. Allocation failure returns NULL with errno ENOMEM and changes nothing. Freeing
 * never fails, never allocates and keeps errno. Misuse goes to one handler, see fl_set_misuse_handler.
 *
 * Compiles as C11 and as C++17, for 64-bit POSIX systems.
 */
#ifndef FREELANE_FREELANE_H
#define FREELANE_FREELANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FL_VERSION_MAJOR 0 /* a change that breaks hosts raises it, once it is 1 */
#define FL_VERSION_MINOR 1 /* a change that hosts may use raises it; while the major one is 0, any */
#define FL_VERSION_PATCH 0 /* a mend raises it */

/* The layout that the inline fast paths assume. The library refuses callers compiled for another one. */
#define FL_ABI 5

/* A function that the library exports. */
#if defined(FREELANE_STATIC)
#define FL_API
#else
#define FL_API __attribute__((visibility("default")))
#endif

/* A function whose definition stands in inline.h. */
#define FL_INLINE static inline __attribute__((always_inline))

/* The largest size in bytes that is served from slabs; a larger block has memory of its own from the system. */
#define FL_BLOCK_MAX 32768

/* The largest alignment in bytes that can be asked for: a page. */
#define FL_ALIGNMENT_MAX 4096

/* Size classes are numbered from 1 to FL_CLASS_COUNT - 1; class 0 stands for "none of them". */
#define FL_CLASS_COUNT 81

struct fl_heap;
struct fl_thread;
struct fl_type;

/* ---- Misuse ------------------------------------------------------------------------------------------- */

/* A call that the contract forbids and the library noticed. */
struct fl_misuse {
    const char *call;    /* the public function, "fl_free" */
    const void *pointer; /* the block, heap or thread it was given; may be NULL */
    const char *type;    /* the name of the type involved, or NULL */
    const char *message; /* the whole sentence, naming all of these */
};

/* What is told of misuse. */
typedef void (*fl_misuse_handler)(const struct fl_misuse *misuse);

/* Sets the process's misuse handler and returns the one before it; NULL restores the default, which prints
 * the message to stderr and aborts. If a handler returns, the call it was told of does nothing (and returns
 * NULL, 0 or -EINVAL where it returns something). The handler runs on the thread that made the call; it may
 * call the library. Any thread, any time.
 *
 * In other builds than debug ones, an inline free that is given a size or a type looks at nothing. A pointer that is no
 * block of that size in the heap, or a block that is free already, is noticed when it is sent home to its slab, unless it
 * has been allocated again before. The free, flush, detach or trim that is at work then reports it, and it is left
 * alone. */
FL_API fl_misuse_handler fl_set_misuse_handler(fl_misuse_handler handler);

/* ---- Callbacks and signal handlers -------------------------------------------------------------------------
 *
 * A callback of the host (on_refill, on_pressure, on_deferred, on_stall, the functions of a type, the misuse handler)
 * runs on the OS thread that made the call, with no lock of the library held, and may call the library.
 *
 * A callback returns on the OS thread that it was called on: a fiber that parks inside of one goes on there. Debug
 * builds report a callback that returns on another one as misuse, and do nothing more for the call. In other builds the
 * rest of the call would work on a handle that another OS thread is using.
 *
 * A callback may also be left by longjmp, by a C++ exception or by pthread_exit. Then what it was called for has not
 * happened, nothing stays locked, all handles go on working, and callbacks are called the next time as before:
 *
 *     on_refill, on_pressure      Nothing has been allocated. Blocks that fl_alloc_many had allocated stay live.
 *     on_deferred, on_stall       What was given to a deferred free is deferred. A flush, fl_thread_offline,
 *                                 fl_thread_detach, fl_quiescent, fl_heap_barrier, fl_heap_trim or fl_heap_destroy
 *                                 has not been completed, and can be called again.
 *     finalize, clear, dealloc    The object stays allocated, in the state that the callback left it in. It can be
 *                                 deallocated again (it counts as finalized), or only freed.
 *     the misuse handler          As if it had returned.
 *
 * Two things may not be left this way: the functions of struct fl_grace_host, and any callback while its OS thread
 * exits. A thread may be cancelled where its cancellation is deferred, not where it is asynchronous.
 *
 * on_refill, on_pressure and on_deferred are not called from inside themselves on one stack. Whether one that did not
 * return has been left is read from the stack, which takes the unwind tables that compilers for C and C++ make by
 * default. Where a function on the stack has none, the callback counts as left when it is needed again with a stack
 * that is as short as it was.
 *
 * A signal handler may call fl_thread_self (not with FREELANE_TLS_DYNAMIC), fl_thread_heap and fl_thread_context of an
 * attached handle, and may read the byte of fl_heap_pressure. Nothing else: it may have interrupted a call that works on
 * the same handle or holds a lock. For the same reason it may be left by longjmp only where it has not interrupted a
 * call of the library. */

/* ---- Heaps --------------------------------------------------------------------------------------------
 *
 * A shared object that the static library is linked into cannot be unloaded once it has made a heap: dlclose leaves it
 * mapped, and its threads may go on and exit. */

/* Called on the allocating thread each time its cache was refilled, with the bytes of blocks the refill
 * brought: a host paces its collector by it. May allocate and free, and may not detach the handle. Refills of the same
 * handle that it causes itself do not call it again. */
typedef void (*fl_refill_callback)(struct fl_thread *thread, size_t bytes);

/* Called when an allocation of `bytes`, which the heap's limit would have room for, finds that it is used up, with no
 * lock held, on the allocating thread. The host frees what it can and returns true to have the allocation tried once
 * more, or false to let it fail. May allocate and free; an allocation that fails meanwhile does not call again. */
typedef bool (*fl_pressure_callback)(struct fl_heap *heap, size_t bytes, void *context);

/* How a heap finds out that every reader which could have seen a block is done with it. */
enum fl_grace {
    FL_GRACE_NONE = 0, /* it does not: nothing can be deferred */
    FL_GRACE_QSBR, /* liburcu's qsbr: threads pass quiescent states (fl_quiescent) or are offline; reading costs nothing */
    FL_GRACE_BP,  /* liburcu's bp: readers are inside fl_read_lock and fl_read_unlock; threads need no safepoints */
    FL_GRACE_HOST /* the host's own, struct fl_grace_host */
};

/* A host's own grace periods. Tokens are positive and grow. All are called from any thread; `begin` and `elapsed`
 * with locks of the library held and cancellation off, so they neither wait nor call the library. `wait` is called with
 * no lock held, and is a cancellation point if the host makes it one. */
struct fl_grace_host {
    /* Returns the token of a grace period that begins now or later, or a negative errno value if none can be had
     * now. */
    int64_t (*begin)(void *context);
    /* Whether the grace period has ended: whoever read before its `begin` is done. */
    bool (*elapsed)(void *context, int64_t token);
    /* Waits for its end. NULL: nothing ever waits; fl_heap_barrier returns -EAGAIN, and memory goes back when a later
     * trim, flush or quiescent state finds that the grace period has ended. */
    void (*wait)(void *context, int64_t token);
    void *context; /* what the three are given */
};

/* A word in the header of an object: 1, 2, 4 or 8 bytes, at a multiple of its size. */
struct fl_header_word {
    uint16_t offset; /* in the object, in bytes */
    uint16_t size;   /* in bytes */
};

#define FL_HEADER_WORDS_MAX 8 /* the most words of a header that the library clears */

/* The header of the objects of a heap with stale readers: lock-free readers that may look at an object after it was
 * freed, as the try-incref of free-threaded CPython does. Constant while a heap or type uses it. */
struct fl_header {
    uint32_t bytes; /* the header is the first `bytes` bytes of each object */
    uint32_t words; /* how many words the library clears when an object is freed; 0 if the host clears what has to be,
                       before it frees: then PLAIN objects keep the inline fast path */
    struct fl_header_word clear[FL_HEADER_WORDS_MAX]; /* which words these are */
};

/* A reader that a grace period has been waiting for. */
struct fl_stall {
    struct fl_thread *thread; /* its handle, NULL if it is not a reader of the library */
    long os_thread;           /* the kernel's number of the thread, 0 if that is not known */
    char name[32];            /* the thread's name, or what is known of it */
    double seconds;           /* how long the grace period has lasted */
};

/* Told once per grace period that a reader has stalled for options.stall_seconds. Called with no lock held, by a
 * thread that defers, passes a quiescent state or waits. */
typedef void (*fl_stall_callback)(struct fl_heap *heap, const struct fl_stall *stall, void *context);

/* Told when deferred bytes have outgrown options.defer_bytes: the host should bring its readers to quiescent states.
 * Called on the thread that deferred, with no lock held. May allocate and free. */
typedef void (*fl_deferred_callback)(struct fl_heap *heap, size_t deferred_bytes, void *context);

/* Options of a heap. Zero in every field is the default. */
struct fl_options {
    size_t reserve_bytes;                   /* address space for slabs, 4 MiB to 1 TiB; default 64 GiB. The default is
                                         halved until the system grants it, down to 64 MiB; a size given here is
                                         taken as it is or refused */
    size_t retain_bytes;                    /* bytes of pooled blocks and of slabs that are all free past which slabs
                                         go back to the system by themselves; default 256 MiB, 1 keeps as little as
                                         possible, SIZE_MAX all. Unless it is all, the heap starts with 128 KiB and
                                         grows toward this value as the program reuses what it freed. Up to half as
                                         much again may stay in slabs without a class, and half as much, or an eighth of
                                         the limit if that is less, in freed blocks above FL_BLOCK_MAX; and as much,
                                         in equal shares of at most 32 MiB, threads keep in magazines */
    size_t limit_bytes;                     /* most bytes of slabs and large blocks in use; default none */
    unsigned magazine_blocks;               /* the largest magazine, in blocks, 2 to 254; default 254 */
    fl_refill_callback on_refill;           /* default none */
    fl_pressure_callback on_pressure;       /* default none */
    void *context;                          /* passed to on_pressure, on_deferred and on_stall */
    enum fl_grace grace;                    /* default FL_GRACE_NONE */
    const struct fl_grace_host *grace_host; /* with FL_GRACE_HOST; copied */
    const struct fl_header *header;         /* the heap has stale readers of this header, see below; default none */
    size_t defer_bytes;                     /* deferred bytes past which pressure is raised; default 64 MiB */
    unsigned stall_seconds; /* how long a grace period may take before those it waits for are named; default 10 */
    fl_deferred_callback on_deferred; /* default none */
    fl_stall_callback on_stall;       /* default: a line to stderr */
};

/* Reads options from text such as "retain=64M,limit=2G,reserve=16G,magazine=64,grace=bp,defer=16M,stall=5" into
 * `options`: keys as in struct fl_options without the unit, numbers with an optional K, M, G or T (powers of 1024),
 * grace none, qsbr or bp. Fields not named keep their values. Returns 0, or -EINVAL and a message in `error`
 * (`error_size` bytes, may be NULL and 0) that names the culprit; `options` is unchanged then. */
FL_API int fl_options_parse(const char *text, struct fl_options *options, char *error, size_t error_size);

/* fl_heap_create for a caller that was compiled for FL_ABI `abi`. */
FL_API struct fl_heap *fl_heap_create_abi(unsigned abi, const struct fl_options *options, char *error,
                                          size_t error_size);

/* Creates a heap. `options` may be NULL. Returns NULL with errno EINVAL (options that make no sense), ENOMEM (memory
 * or address space refused) or ENOTSUP (another FL_ABI, a system whose pages are not of 4 KiB, or a liburcu flavor in
 * a library built without it), and a message in `error` (`error_size` bytes, may be NULL and 0) that names the
 * culprit. */
static inline struct fl_heap *fl_heap_create(const struct fl_options *options, char *error, size_t error_size)
{
    return fl_heap_create_abi(FL_ABI, options, error, error_size);
}

/* Destroys the heap with all blocks still live in it. Returns -EBUSY, reported as misuse, and does nothing while
 * threads are attached (offline ones included), -EPERM for the default heap. The caller guarantees that no other
 * thread uses the heap. What is deferred waits for its grace period first, as does all memory of a heap with stale
 * readers: then -EINVAL, reported as misuse, inside a read-side section; or what fl_heap_barrier returns where no
 * grace period can be had, and the heap is still there. A host whose grace periods cannot be waited for sees to it
 * that no reader looks at the heap any more. */
FL_API int fl_heap_destroy(struct fl_heap *heap);

/* The process's default heap, created at first use with the options in the environment variable FREELANE_OPTIONS (see
 * fl_options_parse). Returns NULL with errno ENOMEM if memory is refused (the next call tries again), ENOTSUP as
 * fl_heap_create: the first time with a line on stderr that says why; with errno EINVAL if the variable is malformed,
 * which is reported as misuse at each call. */
FL_API struct fl_heap *fl_heap_default(void);

/* Gives fully free slabs, pages of empty magazines, and what is kept of freed blocks above FL_BLOCK_MAX back to the
 * system until at most `retain_bytes` of free and idle bytes are left. It takes what exited and flushed threads have left, empties handles that are offline and, if that
 * is not enough, takes what other threads keep beyond their caches. The caches themselves, two magazines per size class,
 * are not touched: fl_thread_flush them before. Returns the bytes given back. Waits for a trim that is under way; on a heap with stale readers also for a grace period, hence is a
 * quiescent state of the caller and, reported as misuse, does nothing inside a read-side section. Memory
 * that is locked (mlock, mlockall) stays: it is counted in idle_bytes, is used again first, and a later call tries
 * again. */
FL_API size_t fl_heap_trim(struct fl_heap *heap, size_t retain_bytes);

/* Whether `block` is a live or free block of this heap: any address inside a slab, or the start of a live
 * large block. */
FL_API bool fl_owns(struct fl_heap *heap, const void *block);

/* The bytes usable at `block`, at least the size it was allocated with; 0 if the heap does not own it. */
FL_API size_t fl_usable_size(struct fl_heap *heap, const void *block);

/* Frees a block on behalf of a thread that is not attached to the heap. NULL is ignored. Slower than fl_free:
 * it locks a cache that such calls share. */
FL_API void fl_heap_free(struct fl_heap *heap, void *block);

/* ---- fork ------------------------------------------------------------------------------------------------
 *
 * A child goes on with every heap and with the handles of the forking thread; offline handles are nobody's and go on
 * too. The handles of other threads are gone: blocks in their caches count as lost, unless those threads were stopped.
 *
 * Handlers of pthread_atfork may call the library, on the forking thread, whenever they were registered. Those that
 * were registered before the first heap run while the fork holds the library's locks: nothing is waited for there.
 * fl_heap_barrier and an fl_heap_destroy that would have to wait for readers return -EAGAIN, fl_heap_trim leaves what
 * waits for a grace period; and cancellation is off. */

/* Tells that every other thread of the heap is stopped outside of the library, until it is withdrawn or one fork later:
 * in the child their caches are then emptied instead of being counted as lost. To be called by the host
 * that has stopped them, before it forks. Any thread. */
FL_API void fl_heap_fork_stopped(struct fl_heap *heap);

/* Withdraws fl_heap_fork_stopped. To be called before the threads go on where no fork() has come of it, for example
 * because the process was started another way. Harmless otherwise. Any thread. */
FL_API void fl_heap_fork_resumed(struct fl_heap *heap);

/* ---- Statistics and checks ------------------------------------------------------------------------------ */

/* Counts in blocks. carved = live + cached + pooled + parked + deferred + lost. */
struct fl_class_stats {
    size_t block_bytes;     /* bytes per block */
    size_t magazine_blocks; /* blocks a magazine of this class holds */
    size_t slabs;           /* slabs of this class */
    size_t carved;          /* blocks of those slabs */
    size_t live;            /* in the host's hands */
    size_t cached;          /* in threads' caches, and in the magazines that they keep beyond these */
    size_t pooled;          /* in the pool */
    size_t parked;          /* free in their slab, those never handed out included; refills find them */
    size_t deferred;        /* waiting for a grace period */
    size_t lost;            /* in caches of threads that did not survive a fork */
};

/* Statistics of a heap; see fl_heap_stats for what they promise. */
struct fl_stats {
    struct fl_class_stats classes[FL_CLASS_COUNT]; /* [0] is unused */
    size_t threads;                                /* attached threads */
    size_t live_blocks;                            /* sums over the classes and the large blocks */
    size_t live_bytes;                             /* their bytes */
    size_t cached_bytes;                           /* sums over the classes, as the next two are */
    size_t pooled_bytes;                           /* see struct fl_class_stats */
    size_t parked_bytes;                           /* likewise */
    size_t deferred_bytes;                         /* large blocks included, which are not in live_* then */
    size_t lost_bytes;                             /* sums over the classes */
    size_t large_blocks;                           /* live blocks above FL_BLOCK_MAX, counted in live_* too */
    size_t large_bytes;                            /* their bytes */
    size_t slabs;                                  /* slabs in use */
    size_t slab_bytes;                             /* their bytes */
    size_t idle_bytes;       /* bytes of slabs that serve no class and have kept their memory for the next that do */
    size_t retired_bytes;    /* bytes of slabs that wait for a grace period before they go back */
    size_t reserved_bytes;   /* address space reserved for slabs */
    size_t mapped_bytes;     /* address space made usable, for slabs, magazines and bookkeeping */
    size_t magazines;        /* magazines in existence */
    size_t empty_magazines;  /* of these, in the pool's stack of empty ones */
    uint64_t exchanges;      /* magazines taken from or given to the pool's stacks of filled ones */
    uint64_t shared_updates; /* successful atomic read-modify-writes on the pool */
    uint64_t cas_failures;   /* failed ones */
    uint64_t home_visits;    /* times a thread locked a home, its own or another's, to take or bring blocks */
    uint64_t trims;          /* trims that ran */
    uint64_t trimmed_bytes;  /* bytes of slabs, empty magazines and spare_bytes they gave back */
    uint64_t grace_periods;  /* that deferred blocks or retired slabs have waited for */
    uint64_t grace_refusals; /* that could not be had: deferred blocks went on waiting, slabs were kept */
    uint64_t pressures;      /* times that deferred bytes outgrew options.defer_bytes */
    uint64_t over_bytes;     /* bytes deferred while they did */
    size_t spare_bytes;      /* memory of freed blocks above FL_BLOCK_MAX, kept for the next such block */
};

/* Fills `stats`. Exact while the heap's threads are quiet. Otherwise each number is one that was true a moment ago, but
 * that blocks on their way from one thread to another, or to the pool or out of it, may be counted as live. All numbers
 * of slabs are of one moment, and the equations of struct fl_class_stats hold at any time. Any thread. */
FL_API void fl_heap_stats(struct fl_heap *heap, struct fl_stats *stats);

/* How statistics are printed: a table for people, or one JSON object. */
enum fl_stats_format { FL_STATS_TEXT, FL_STATS_JSON };

/* Prints the statistics. Returns 0, or -EIO if the stream failed. Any thread. */
FL_API int fl_heap_print_stats(struct fl_heap *heap, FILE *stream, enum fl_stats_format format);

/* Walks the whole heap and verifies that every free block is counted once, lies in a slab of its class, and
 * that the equations of struct fl_class_stats hold. Returns 0, or -EUCLEAN and a message naming the first
 * thing wrong, or -ENOMEM. No thread may be using the heap meanwhile. */
FL_API int fl_heap_check(struct fl_heap *heap, char *error, size_t error_size);

/* ---- Threads ------------------------------------------------------------------------------------------ */

/* The calling OS thread's handle for the default heap. Never NULL. The OS thread is attached at the first call that
 * uses the handle, so ask again rather than keep what the first call returned: it costs one load. Any thread, any time.
 * Wait-free. */
FL_INLINE struct fl_thread *fl_thread_self(void);

/* fl_thread_attach for a caller that was compiled for FL_ABI `abi`. */
FL_API struct fl_thread *fl_thread_attach_abi(unsigned abi, struct fl_heap *heap);

/* Attaches to a heap: a new handle at each call, bound to the calling OS thread. If it still is bound to it when that
 * thread exits, it is detached in the second round of the thread's destructors, so that those of the host, which
 * run in the first round, may use it and detach it themselves. (What is first attached in the last rounds stays.)
 * Returns NULL with errno ENOMEM, or ENOTSUP (another FL_ABI). */
static inline struct fl_thread *fl_thread_attach(struct fl_heap *heap)
{
    return fl_thread_attach_abi(FL_ABI, heap);
}

/* Ends an attachment: its free blocks go home and the handle is gone. Returns 0; or -EINVAL, reported as misuse,
 * for the handles that fl_thread_self returns to unattached, exited and other threads (unless they are offline), and
 * inside a read-side section, or while the handle is being detached already.
 * Called by the OS thread that uses the handle, or by any when none does. The OS thread that it is bound to may
 * meanwhile wait for grace periods, and detach its other handles. Its exit detaches what is bound to it: from then on
 * such a handle is gone. */
FL_API int fl_thread_detach(struct fl_thread *thread);

/* Sends home every block in the thread's caches and in the magazines that it keeps beyond these, so that a trim can
 * return their slabs to the OS and other threads may adopt these; and lets what it deferred wait for its grace period. */
FL_API void fl_thread_flush(struct fl_thread *thread);

/* Unbinds a handle from its OS thread, before it moves to another one or blocks for long: the exit of that OS thread
 * leaves it attached, grace periods do not wait for it, other threads may adopt its slabs, and trims may empty it. It
 * may not be used until fl_thread_online. Inside a
 * read-side section it is misuse and does nothing. */
FL_API void fl_thread_offline(struct fl_thread *thread);

/* Binds the handle to the calling OS thread. */
FL_API void fl_thread_online(struct fl_thread *thread);

/* The heap a handle is attached to; for the handles of unattached and exited threads the default heap. */
FL_API struct fl_heap *fl_thread_heap(const struct fl_thread *thread);

/* A word of the host's own in the handle, NULL at first. */
FL_API void fl_thread_set_context(struct fl_thread *thread, void *context);
/* That word. */
FL_API void *fl_thread_context(const struct fl_thread *thread);

/* ---- Blocks ------------------------------------------------------------------------------------------- */

/* Allocates a block of `size` bytes for the thread that the handle belongs to; its contents are unspecified. Size 0 gives
 * a unique block. Blocks are aligned to 16 bytes, and to FL_ALIGNMENT_MAX or any smaller power of two that divides their
 * size. Returns NULL with errno ENOMEM, or EINVAL after misuse: a heap with stale readers takes only objects of types. Progress as above. */
FL_INLINE void *fl_alloc(struct fl_thread *thread, size_t size);

/* Frees a block of the thread's heap, given the size in bytes that it was allocated with. The block may come from any
 * thread; it is not NULL. Never fails, keeps errno. Progress as above. */
FL_INLINE void fl_free_sized(struct fl_thread *thread, void *block, size_t size);

/* The size class that serves `size` bytes: 16-byte steps up to 512, then eight steps to each doubling. 0 for size 0 and
 * for sizes above FL_BLOCK_MAX. Any thread. Wait-free. */
FL_INLINE size_t fl_size_class(size_t size);

/* Like fl_alloc, with the first `size` bytes zero. */
FL_API void *fl_alloc_zeroed(struct fl_thread *thread, size_t size);

/* Allocates `count` blocks of `size` bytes into `blocks`. All or nothing: returns 0; or -ENOMEM, or -EINVAL where
 * fl_alloc is misuse, and has allocated none (the contents of `blocks` are then unspecified). */
FL_API int fl_alloc_many(struct fl_thread *thread, size_t size, size_t count, void **blocks);

/* The size in bytes of a block that has room for `size` bytes and the alignment, a power of two up to FL_ALIGNMENT_MAX:
 * `size`, or 1 if that is 0, rounded up to a multiple of it. Any thread. Wait-free. */
FL_INLINE size_t fl_aligned_size(size_t alignment, size_t size);

/* Allocates a block of fl_aligned_size(alignment, size) bytes, which starts at a multiple of `alignment`, a power of two
 * up to FL_ALIGNMENT_MAX. Its contents are unspecified. Returns NULL with errno EINVAL for any other alignment, else as
 * fl_alloc. It is a block as any other: it is freed by fl_free_aligned, or by fl_free, or by any call that is given its
 * fl_aligned_size; and fl_realloc from one such size to another keeps the alignment. The thread that the handle belongs
 * to. Progress as fl_alloc. */
FL_API void *fl_alloc_aligned(struct fl_thread *thread, size_t alignment, size_t size);

/* Frees a block of the thread's heap, given the alignment and the size in bytes that it was allocated with. Not NULL. Never
 * fails, keeps errno. Progress as fl_free_sized. */
FL_INLINE void fl_free_aligned(struct fl_thread *thread, void *block, size_t alignment, size_t size);

/* Gives a block of the thread's heap another size. `old_size` is the size in bytes that it was allocated with or given
 * last, `new_size` the one that it has from now on, for fl_free_sized too. The first bytes keep their contents, as many
 * as both sizes have; the rest is unspecified. Returns the block, which may have moved: then the old address is freed,
 * at once, as by fl_free_sized. It stays where the size class does; above FL_BLOCK_MAX its memory moves without being
 * copied, if it moves at all.
 *
 *     NULL with old_size 0    allocates, as fl_alloc
 *     new_size 0              gives a block of size 0, as fl_alloc does, and does not free
 *
 * Returns NULL and leaves the block as it was: with errno ENOMEM; or EINVAL after misuse, which is told of NULL with
 * another old_size, of a block that is not the heap's, is free already, or was not allocated with a size of that class
 * (above FL_BLOCK_MAX that very size), and on a heap with stale readers. In other builds than debug ones a free block up
 * to FL_BLOCK_MAX is not noticed. Called by the thread that the handle belongs to; no other touches the block meanwhile.
 * Progress as fl_alloc and fl_free_sized; wait-free where the size class stays. */
FL_API void *fl_realloc(struct fl_thread *thread, void *block, size_t old_size, size_t new_size);

/* Frees a block of the thread's heap whose size is not known. NULL is ignored. */
FL_API void fl_free(struct fl_thread *thread, void *block);

/* Frees `count` blocks that were allocated with `size`, in order; none may be NULL. */
FL_API void fl_free_many(struct fl_thread *thread, size_t size, size_t count, void *const *blocks);

/* ---- Grace periods --------------------------------------------------------------------------------------- */

/* A heap with options.grace can free memory that readers without locks may still be looking at:
 *
 *     writer                                     reader
 *       unlink the object                          fl_read_lock(thread)        (qsbr: between quiescent states)
 *       fl_dealloc_deferred(thread, object, type)  follow pointers
 *                                                  fl_read_unlock(thread)
 *
 * Deferred blocks are collected in magazines; a magazine waits for one grace period as a whole and then is one of the
 * pool. A grace period ends when every reader that was inside a read-side section at its begin has left it, with qsbr
 * every online thread has passed a quiescent state.
 *
 * With qsbr and bp a handle's OS thread is registered with liburcu while handles are bound to it, once for all heaps;
 * where the host has registered it before and it is online, that serves, and going online and offline is the host's
 * affair. (A handle that another OS thread detaches leaves its own online until that exits.) One helper thread per
 * flavor waits for grace periods, started by the first that is asked for.
 *
 * fork: in the child of a bp heap all goes on, if the fork was outside of a read-side section. The child of a qsbr
 * heap gets no more grace periods: what is deferred stays so, fl_heap_barrier returns -ENOTSUP. With FL_GRACE_HOST it
 * is the host's affair. Freelane calls urcu_bp_before_fork and its siblings once there has been a bp heap; a host
 * that uses bp itself leaves that to it. Such a fork waits for the grace period of bp that is under way. */

/* Frees a block of the thread's heap after a grace period, given the size in bytes that it was allocated with; not NULL.
 * Never fails and never waits. The handle must be online; the heap must have grace periods. */
FL_INLINE void fl_free_deferred(struct fl_thread *thread, void *block, size_t size);

/* Tells that the calling thread holds no pointer that it read without a lock. Between two of these an online thread
 * of a qsbr heap is one read-side section. Also submits what the thread has deferred (part-full magazines only while
 * no others wait, for they would wait behind those, and can as well go on filling), takes back what has waited long
 * enough, and helps (for at most a millisecond) where deferred bytes have outgrown their bound. Misuse inside
 * fl_read_lock. */
FL_API void fl_quiescent(struct fl_thread *thread);

/* Begins a read-side section; sections nest. The handle must be online. Lock-free. */
FL_API void fl_read_lock(struct fl_thread *thread);
/* Ends the read-side section that was begun last. The handle must be online. Lock-free. */
FL_API void fl_read_unlock(struct fl_thread *thread);

/* Waits until all that the calling OS thread has deferred, and all that other threads of the heap have submitted (at
 * quiescent states, offline, flush, exit, and by full magazines), is free. Returns 0; -EINVAL, reported as misuse,
 * inside a read-side section or on a heap without grace periods; -EAGAIN with a host whose grace periods cannot be
 * waited for and where something still waits; -ENOTSUP in a forked child of a qsbr heap; -ENOMEM or -EAGAIN if the
 * system refuses the helper thread. The wait is a quiescent state of the caller. */
FL_API int fl_heap_barrier(struct fl_heap *heap);

/* A byte that is not zero while deferred bytes have outgrown options.defer_bytes, for a host's eval breaker: the next
 * fl_quiescent of any thread helps. To be read as a relaxed atomic. Valid as long as the heap. */
FL_API const unsigned char *fl_heap_pressure(struct fl_heap *heap);

/* ---- Stale readers
 *
 * A heap with options.header has readers that look at the header of objects which may just have been freed. On such a
 * heap
 *
 *   - only objects of types with the same `header` (the same pointer) can be allocated and deferred; fl_alloc,
 *     fl_free_deferred and their siblings are refused (a type with another header where the call comes to a slow
 *     half, in debug builds always);
 *   - a freed block keeps its class, and its header stays readable, until a grace period has passed: its words are
 *     those of the dead object, with the words of fl_header.clear zero, or those of a new object of the same class;
 *   - so slabs go back to the system, and blocks above FL_BLOCK_MAX are gone, only after a grace period.
 *
 * Blocks freed without deferral are reused at once: a reader validates what it has found, as it would with any
 * type-stable memory. Hosts write header words with atomic stores. */

/* ---- Types -------------------------------------------------------------------------------------------- */

/* What a type's deallocation needs: the two bits. */
enum fl_dealloc_kind {
    FL_DEALLOC_LEGACY = 0,  /* calls `dealloc`, which does everything, the free (fl_type_free) included */
    FL_DEALLOC_PLAIN = 1,   /* frees the block, calls nothing */
    FL_DEALLOC_CLEAR = 2,   /* calls `clear`, which drops what the object holds, then frees the block */
    FL_DEALLOC_FINALIZE = 3 /* calls `finalize` (which may resurrect), then `clear` if there is one, then frees */
};

/* A type descriptor. Objects have no prescribed header: the type is passed at each call. The host fills in the
 * first part and calls fl_type_ready; from then on the descriptor is constant and may be shared by all threads
 * and heaps. */
struct fl_type {
    const char *name; /* for error texts; not NULL */
    size_t size;      /* bytes of an instance; 0 takes the base's */
    size_t alignment; /* of instances, in bytes: a power of two up to FL_ALIGNMENT_MAX; 0 takes the base's, or 16 */
    enum fl_dealloc_kind kind; /* fl_type_ready resolves it */

    /* LEGACY: does all that ends an object, fl_type_free included. */
    void (*dealloc)(struct fl_thread *thread, void *object, const struct fl_type *type);
    /* Drops what the object holds. */
    void (*clear)(struct fl_thread *thread, void *object, const struct fl_type *type);
    /* Returns true if the object was resurrected: it stays allocated. */
    bool (*finalize)(struct fl_thread *thread, void *object, const struct fl_type *type);

    /* Where an object records that it was finalized, so that a resurrected one is finalized once only
     * (PEP 442): the byte at this offset has the bits of `finalized_mask` set before `finalize` runs. With a
     * mask of 0 every deallocation finalizes. */
    uint32_t finalized_offset;
    uint8_t finalized_mask; /* the bits; 0: none */

    /* The header of the heap with stale readers where instances live; NULL takes the base's. */
    const struct fl_header *header;

    /* Filled in by fl_type_ready. */
    const struct fl_type *base;
    uint32_t alloc_cache;    /* where in a struct fl_thread the cache of this size class lies, in bytes */
    uint32_t free_cache;     /* the same; or the cache that never has room, where the library clears the header */
    uint32_t dealloc_cache;  /* for PLAIN as free_cache; for the other kinds the cache that never has room */
    uint32_t deferred_cache; /* where the deferred blocks of this size class lie; likewise */
    bool ready;              /* whether it has */
};

/* Makes a type ready: inherits from `base` (ready, or NULL) what the type leaves out, resolves its kind, and
 * finds its size class.
 *
 *   - A type that gives a `dealloc` is LEGACY. One with kind 0 and no `dealloc` takes the kind that its own
 *     callbacks ask for (`finalize`: FINALIZE, `clear`: CLEAR), else its base's.
 *   - A subtype is never weaker than its base: PLAIN under CLEAR becomes CLEAR, CLEAR under FINALIZE becomes
 *     FINALIZE. Under a LEGACY base it is LEGACY unless its kind says otherwise.
 *   - Callbacks override; a subtype's `clear`, `finalize` or `dealloc` calls its base's itself.
 *
 * Returns 0; or -EINVAL, leaving the type as it was, with a message in `error` (`error_size` bytes, may be NULL and
 * 0) that names the types: no name, a size of 0 or below the base's or its header's, an alignment that is no
 * power of two, above FL_ALIGNMENT_MAX or below the base's, a header other than the base's,
 * PLAIN with any callback, CLEAR with a `finalize`, a `dealloc` beside another kind, a kind without the callback it
 * needs, a finalized byte outside the object, a base that is not ready. Once per type, by one thread. */
FL_API int fl_type_ready(struct fl_type *type, const struct fl_type *base, char *error, size_t error_size);

/* Bits of what fl_type_tag returns. */
#define FL_TAG_BITS 12

/* Allocates an instance of a ready type; its contents are unspecified. Returns NULL with errno ENOMEM, or EINVAL after
 * misuse: the type's header is not the heap's. Progress as fl_alloc. */
FL_INLINE void *fl_type_alloc(struct fl_thread *thread, const struct fl_type *type);

/* Frees the memory of an instance and nothing else: the end of a LEGACY `dealloc`, or an object whose construction
 * failed. Never fails, keeps errno. Progress as fl_free_sized. */
FL_INLINE void fl_type_free(struct fl_thread *thread, void *object, const struct fl_type *type);

/* Deallocates an object whose last reference is gone, as its type's kind says. The callbacks of other kinds than PLAIN
 * run on the caller, before this returns. Progress as fl_free_sized, beside what the callbacks do. */
FL_INLINE void fl_dealloc(struct fl_thread *thread, void *object, const struct fl_type *type);

/* The same for a host that keeps the two bits in a flags word of its own: `kind` is what it found there. Another kind
 * than fl_type_ready resolved is misuse, told where the type is read. */
FL_INLINE void fl_dealloc_as(struct fl_thread *thread, void *object, const struct fl_type *type,
                             enum fl_dealloc_kind kind);

/* The kind and the size class of a ready type as one number below 1 << FL_TAG_BITS, which never changes: for a host that
 * keeps it in a flags word of its own. Any thread. Wait-free. */
FL_INLINE unsigned fl_type_tag(const struct fl_type *type);
/* The kind in such a number. Any thread. Wait-free. */
FL_INLINE enum fl_dealloc_kind fl_tag_kind(unsigned tag);

/* fl_dealloc by the type's tag: reads the type only where more is to do than to push a PLAIN object back. Another tag than
 * the type's is misuse, told where the type is read. */
FL_INLINE void fl_dealloc_tagged(struct fl_thread *thread, void *object, const struct fl_type *type, size_t tag);

/* Deallocates an object whose last reference is gone but which readers may still be looking at: callbacks run at once, on
 * the caller, and the memory is freed after a grace period. A LEGACY type's `dealloc` frees by itself: it is refused as
 * misuse, and its `dealloc` may end in fl_type_free_deferred. The handle must be online. Progress as fl_free_deferred. */
FL_INLINE void fl_dealloc_deferred(struct fl_thread *thread, void *object, const struct fl_type *type);

/* Frees the memory of an instance after a grace period and nothing else: the end of a LEGACY `dealloc`. */
FL_API void fl_type_free_deferred(struct fl_thread *thread, void *object, const struct fl_type *type);

#ifdef __cplusplus
}
#endif

#include <freelane/inline.h>

#endif
