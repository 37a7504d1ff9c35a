/* SPDX-License-Identifier: MIT
 *
 * Freelane: a lock-free per-thread freelist runtime for interpreters without a global lock.
 *
 *     heap ── one independent runtime: pool, slabs, attached threads
 *      └─ thread ── an attachment to the heap; owns a cache per size class
 *          └─ cache ── a loaded and a previous magazine of pointers to free blocks
 *
 * Allocation and deallocation work on the calling thread's cache. Whole magazines move between the
 * caches and the heap's lock-free pool; blocks are carved from slabs of one size class each.
 *
 * Which operations may wait:
 *
 *     wait-free, no shared access   fl_alloc, fl_free, fl_free_sized, fl_type_alloc, fl_type_free, and
 *                                   fl_dealloc of a PLAIN object, while the cache holds a block (or room)
 *     lock-free                     the same when they exchange a magazine with the pool; fl_owns and
 *                                   fl_usable_size of a block up to FL_BLOCK_MAX
 *     may lock                      the same when they carve a slab or a magazine, find or leave blocks parked in their
 *                                   slab, trim a slice of the pool, touch a block above FL_BLOCK_MAX, or run on
 *                                   an unattached or exited thread; create, destroy, attach, detach, trim,
 *                                   statistics, fork
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

#define FL_VERSION_MAJOR 0
#define FL_VERSION_MINOR 1
#define FL_VERSION_PATCH 0

/* The layout that the inline fast paths assume. The library refuses callers compiled for another one. */
#define FL_ABI 2

#if defined(FREELANE_STATIC)
#define FL_API
#else
#define FL_API __attribute__((visibility("default")))
#endif

/* The largest size in bytes that is served from slabs; a larger block comes from the C library. */
#define FL_BLOCK_MAX 32768

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

typedef void (*fl_misuse_handler)(const struct fl_misuse *misuse);

/* Sets the process's misuse handler and returns the one before it; NULL restores the default, which prints
 * the message to stderr and aborts. If a handler returns, the call it was told of does nothing (and returns
 * NULL, 0 or -EINVAL where it returns something). The handler runs on the thread that made the call; it may
 * call the library. Any thread, any time. */
FL_API fl_misuse_handler fl_set_misuse_handler(fl_misuse_handler handler);

/* ---- Heaps -------------------------------------------------------------------------------------------- */

/* Called on the allocating thread each time its cache was refilled, with the bytes of blocks the refill
 * brought: a host paces its collector by it. May allocate and free. */
typedef void (*fl_refill_callback)(struct fl_thread *thread, size_t bytes);

/* Called when an allocation of `bytes`, which the heap's limit would have room for, finds that it is used up, with no
 * lock held, on the allocating thread. The host frees what it can and returns true to have the allocation tried once
 * more, or false to let it fail. May allocate and free; an allocation that fails meanwhile does not call again. */
typedef bool (*fl_pressure_callback)(struct fl_heap *heap, size_t bytes, void *context);

/* Options of a heap. Zero in every field is the default. */
struct fl_options {
    size_t reserve_bytes;             /* address space for slabs, 4 MiB to 1 TiB; default 64 GiB. The default is
                                         halved until the system grants it, down to 64 MiB; a size given here is
                                         taken as it is or refused */
    size_t retain_bytes;              /* pooled free bytes past which slabs go back to the system by themselves;
                                         default 64 MiB, 1 keeps as little as possible, SIZE_MAX all */
    size_t limit_bytes;               /* most bytes of slabs and large blocks in use; default none */
    unsigned magazine_blocks;         /* the largest magazine, in blocks, 2 to 254; default 254 */
    fl_refill_callback on_refill;     /* default none */
    fl_pressure_callback on_pressure; /* default none */
    void *context;                    /* passed to on_pressure */
};

/* Reads options from text such as "retain=64M,limit=2G,reserve=16G,magazine=64" into `options`: keys as in
 * struct fl_options without the unit, numbers with an optional K, M, G or T (powers of 1024). Fields not
 * named keep their values. Returns 0, or -EINVAL and a message in `error` (`error_size` bytes, may be NULL
 * and 0) that names the culprit; `options` is unchanged then. */
FL_API int fl_options_parse(const char *text, struct fl_options *options, char *error, size_t error_size);

FL_API struct fl_heap *fl_heap_create_abi(unsigned abi, const struct fl_options *options, char *error,
                                          size_t error_size);

/* Creates a heap. `options` may be NULL. Returns NULL with errno EINVAL (options that make no sense), ENOMEM
 * (memory or address space refused) or ENOTSUP (another FL_ABI, or a system whose pages are not of 4 KiB), and a
 * message in `error` (`error_size` bytes, may be NULL and 0) that names the culprit. */
static inline struct fl_heap *fl_heap_create(const struct fl_options *options, char *error, size_t error_size)
{
    return fl_heap_create_abi(FL_ABI, options, error, error_size);
}

/* Destroys the heap with all blocks still live in it. Returns -EBUSY, reported as misuse, and does nothing
 * while threads are attached (offline ones included), -EPERM for the default heap. The caller guarantees that
 * no other thread uses the heap. */
FL_API int fl_heap_destroy(struct fl_heap *heap);

/* The process's default heap, created at first use with the options in the environment variable
 * FREELANE_OPTIONS (see fl_options_parse). Returns NULL with errno ENOMEM if memory is refused (the next call
 * tries again), ENOTSUP as fl_heap_create; with errno EINVAL if the variable is malformed, which is reported as misuse at each call. */
FL_API struct fl_heap *fl_heap_default(void);

/* Gives fully free slabs, and pages of empty magazines, back to the system until at most `retain_bytes` of
 * pooled free bytes are left. What lies in threads' caches is not touched: fl_thread_flush them before.
 * Returns the bytes given back. Waits for a trim that is under way. */
FL_API size_t fl_heap_trim(struct fl_heap *heap, size_t retain_bytes);

/* Whether `block` is a live or free block of this heap: any address inside a slab, or the start of a live
 * large block. */
FL_API bool fl_owns(struct fl_heap *heap, const void *block);

/* The bytes usable at `block`, at least the size it was allocated with; 0 if the heap does not own it. */
FL_API size_t fl_usable_size(struct fl_heap *heap, const void *block);

/* Frees a block on behalf of a thread that is not attached to the heap. NULL is ignored. Slower than fl_free:
 * it locks a cache that such calls share. */
FL_API void fl_heap_free(struct fl_heap *heap, void *block);

/* To be called right before fork() by a host that has stopped every other thread of the heap outside of the
 * library: in the child their caches are then emptied into the pool instead of being counted as lost. Holds
 * for one fork. */
FL_API void fl_heap_fork_stopped(struct fl_heap *heap);

/* ---- Statistics and checks ------------------------------------------------------------------------------ */

/* Counts in blocks. carved = live + cached + pooled + parked + lost. */
struct fl_class_stats {
    size_t block_bytes;     /* bytes per block */
    size_t magazine_blocks; /* blocks a magazine of this class holds */
    size_t slabs;           /* slabs of this class */
    size_t carved;          /* blocks cut from those slabs so far */
    size_t live;            /* in the host's hands */
    size_t cached;          /* in threads' caches */
    size_t pooled;          /* in the pool */
    size_t parked;          /* freed while no magazine could be had; the next trim or refill picks them up */
    size_t lost;            /* in caches of threads that did not survive a fork */
};

struct fl_stats {
    struct fl_class_stats classes[FL_CLASS_COUNT]; /* [0] is unused */
    size_t threads;                                /* attached threads */
    size_t live_blocks;                            /* sums over the classes and the large blocks */
    size_t live_bytes;
    size_t cached_bytes; /* sums over the classes */
    size_t pooled_bytes;
    size_t parked_bytes;
    size_t lost_bytes;
    size_t large_blocks; /* live blocks above FL_BLOCK_MAX, counted in live_* too */
    size_t large_bytes;
    size_t slabs;            /* slabs in use */
    size_t slab_bytes;       /* their bytes */
    size_t reserved_bytes;   /* address space reserved for slabs */
    size_t mapped_bytes;     /* address space made usable, for slabs, magazines and bookkeeping */
    size_t magazines;        /* magazines in existence */
    size_t empty_magazines;  /* of these, in the pool's stack of empty ones */
    uint64_t exchanges;      /* magazines taken from or given to the pool's stacks of filled ones */
    uint64_t shared_updates; /* successful atomic read-modify-writes on the pool */
    uint64_t cas_failures;   /* failed ones */
    uint64_t trims;          /* trims that ran */
    uint64_t trimmed_bytes;  /* bytes of slabs they gave back */
};

/* Fills `stats`. Exact while the heap's threads are quiet; otherwise each number is one that was true a
 * moment ago. Any thread. */
FL_API void fl_heap_stats(struct fl_heap *heap, struct fl_stats *stats);

enum fl_stats_format { FL_STATS_TEXT, FL_STATS_JSON };

/* Prints the statistics. Returns 0, or -EIO if the stream failed. Any thread. */
FL_API int fl_heap_print_stats(struct fl_heap *heap, FILE *stream, enum fl_stats_format format);

/* Walks the whole heap and verifies that every free block is counted once, lies in a slab of its class, and
 * that the equations of struct fl_class_stats hold. Returns 0, or -EUCLEAN and a message naming the first
 * thing wrong, or -ENOMEM. No thread may be using the heap meanwhile. */
FL_API int fl_heap_check(struct fl_heap *heap, char *error, size_t error_size);

/* ---- Threads ------------------------------------------------------------------------------------------ */

FL_API struct fl_thread *fl_thread_attach_abi(unsigned abi, struct fl_heap *heap);

/* Attaches to a heap: a new handle at each call, bound to the calling OS thread. If it still is bound to it when that
 * thread exits, it is detached in the second round of the thread's destructors, so that those of the host, which
 * run in the first round, may use it and detach it themselves. (What is first attached in the last rounds stays.)
 * Returns NULL with errno ENOMEM, or ENOTSUP (another FL_ABI). */
static inline struct fl_thread *fl_thread_attach(struct fl_heap *heap)
{
    return fl_thread_attach_abi(FL_ABI, heap);
}

/* Ends an attachment: its blocks go to the pool and the handle is gone. Returns 0; -EINVAL, reported as misuse,
 * for the handles that fl_thread_self returns to unattached and exited threads. Called by the OS thread that
 * uses the handle, or by any when none does. */
FL_API int fl_thread_detach(struct fl_thread *thread);

/* Gives every block in the thread's caches to the pool. */
FL_API void fl_thread_flush(struct fl_thread *thread);

/* Unbinds a handle from its OS thread, before it moves to another one or blocks for long: the exit of that
 * OS thread leaves it attached. It may not be used until fl_thread_online. */
FL_API void fl_thread_offline(struct fl_thread *thread);

/* Binds the handle to the calling OS thread. */
FL_API void fl_thread_online(struct fl_thread *thread);

/* The heap a handle is attached to; for the handles of unattached and exited threads the default heap. */
FL_API struct fl_heap *fl_thread_heap(const struct fl_thread *thread);

/* A word of the host's own in the handle, NULL at first. */
FL_API void fl_thread_set_context(struct fl_thread *thread, void *context);
FL_API void *fl_thread_context(const struct fl_thread *thread);

/* ---- Blocks ------------------------------------------------------------------------------------------- */

/* Blocks are aligned to 16 bytes, and to their size where the size class is a power of two. Inline:
 *
 *     void *fl_alloc(struct fl_thread *thread, size_t size);
 *     void fl_free_sized(struct fl_thread *thread, void *block, size_t size);
 */

/* Like fl_alloc, with the first `size` bytes zero. */
FL_API void *fl_alloc_zeroed(struct fl_thread *thread, size_t size);

/* Allocates `count` blocks of `size` bytes into `blocks`. All or nothing: returns 0, or -ENOMEM and has
 * allocated none (the contents of `blocks` are then unspecified). */
FL_API int fl_alloc_many(struct fl_thread *thread, size_t size, size_t count, void **blocks);

/* Frees a block of the thread's heap whose size is not known. NULL is ignored. */
FL_API void fl_free(struct fl_thread *thread, void *block);

/* Frees `count` blocks that were allocated with `size`, in order; none may be NULL. */
FL_API void fl_free_many(struct fl_thread *thread, size_t size, size_t count, void *const *blocks);

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
    const char *name;
    size_t size;               /* bytes of an instance; 0 takes the base's */
    enum fl_dealloc_kind kind; /* fl_type_ready resolves it */

    void (*dealloc)(struct fl_thread *thread, void *object, const struct fl_type *type);
    void (*clear)(struct fl_thread *thread, void *object, const struct fl_type *type);
    /* Returns true if the object was resurrected: it stays allocated. */
    bool (*finalize)(struct fl_thread *thread, void *object, const struct fl_type *type);

    /* Where an object records that it was finalized, so that a resurrected one is finalized once only
     * (PEP 442): the byte at this offset has the bits of `finalized_mask` set before `finalize` runs. With a
     * mask of 0 every deallocation finalizes. */
    uint32_t finalized_offset;
    uint8_t finalized_mask;

    /* Filled in by fl_type_ready. */
    const struct fl_type *base;
    uint32_t alloc_cache;   /* where in a struct fl_thread the cache of this size class lies, in bytes */
    uint32_t dealloc_cache; /* the same for PLAIN; for the other kinds the cache that never has room */
    bool ready;
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
 * Returns 0; or -EINVAL, leaving the type as it was, with a message in `error` (`error_size` bytes, may be NULL
 * and 0) that names the types: no name, a size of 0 or below the base's, PLAIN with any callback, CLEAR with a
 * `finalize`, a `dealloc` beside another kind, a kind without the callback it needs, a finalized byte outside the
 * object, a base that is not ready. Once per type, by one thread. */
FL_API int fl_type_ready(struct fl_type *type, const struct fl_type *base, char *error, size_t error_size);

/* Inline:
 *
 *     void *fl_type_alloc(struct fl_thread *thread, const struct fl_type *type);
 *     void fl_type_free(struct fl_thread *thread, void *object, const struct fl_type *type);
 *     void fl_dealloc(struct fl_thread *thread, void *object, const struct fl_type *type);
 *     void fl_dealloc_as(struct fl_thread *thread, void *object, const struct fl_type *type,
 *                        enum fl_dealloc_kind kind);
 *     struct fl_thread *fl_thread_self(void);
 */

#ifdef __cplusplus
}
#endif

#include <freelane/inline.h>

#endif
