/* SPDX-License-Identifier: MIT
 *
 * Freelane: a lock-free per-thread freelist runtime for interpreters without a global lock.
 *
 *     heap ── one independent runtime: pool, slabs, attached threads
 *      └─ thread ── an attachment to the heap; owns a cache per size class
 *          └─ cache ── a loaded and a previous magazine of pointers to free blocks
 *
 * Allocation and deallocation work on the calling thread's cache. A slab holds blocks of one size class and has a
 * home, which belongs to a thread. Freed blocks return to the home of their slab, and refills take them from there,
 * lowest address first. Blocks above 2 KiB stay in their magazines instead. Magazines for which a thread has no room
 * go to the heap's lock-free pool.
 *
 * Which operations may wait:
 *
 *     wait-free, no shared access   fl_alloc, fl_free, fl_free_sized, fl_type_alloc, fl_type_free, and
 *                                   fl_dealloc of a PLAIN object, while the cache holds a block (or room)
 *     wait-free                     fl_owns, fl_usable_size, fl_block_at, fl_heap_walk; fl_realloc within a size class
 *     lock-free                     the first group when they exchange a magazine with the thread's home, with other
 *                                   homes or with the pool (they try the lock of a home for a moment, and use the
 *                                   pool if it is busy); fl_free_deferred, fl_quiescent, fl_read_lock, fl_read_unlock
 *     may lock                      the same when they begin a slab or a magazine, free a block for which no magazine
 *                                   can be had, trim a slice of what is free, begin a grace period, name a reader that
 *                                   has stalled, touch a block above FL_BLOCK_MAX, or run on an unattached or exited
 *                                   thread; create, destroy, attach, detach, flush, offline, online, reserve, trim,
 *                                   statistics, begin and end of a walk, a trace or a profile, a sample of a profile, fork
 *                                   A free of a real-time thread (fl_thread_set_realtime) does not.
 *     may wait for a grace period   fl_heap_barrier, fl_heap_trim, fl_heap_destroy; a fork, where there is a bp heap;
 *                                   fl_quiescent for at most a millisecond; an allocation that would fail at the
 *                                   limit of a bp heap, for at most 40 milliseconds; nothing else
 *     may wait for threads          fl_trace_start, fl_profile_start
 *
 * Cancellation (pthread_cancel, deferred): fl_heap_barrier is a cancellation point while it waits, about every 0.2
 * seconds. So are fl_heap_destroy and fl_heap_trim while they wait for a grace period. A cancelled call keeps what it has
 * done so far, holds no lock, and can be repeated. A cancelled fl_heap_destroy leaves the heap as it was. No other
 * function is a cancellation point, except through the host's callbacks and the output of fl_heap_print_stats,
 * fl_census_print and fl_profile_print. A thread must not enable asynchronous cancellation while it is inside the library.
 *
 * A struct fl_thread, the handle, belongs to one OS thread at a time: "the handle's thread" below. Only that thread
 * may pass the handle to a function, unless the function says otherwise. Any thread may call a function that takes a
 * struct fl_heap, at any time, unless the function says otherwise.
 *
 * Functions that return int return 0 or a negative errno value. Allocation failure returns NULL with errno ENOMEM
 * and changes nothing. Freeing never fails, never allocates and keeps errno. The library reports misuse to one
 * handler, see fl_set_misuse_handler.
 *
 * Compiles as C11 and as C++17, for 64-bit POSIX systems.
 */
#ifndef FREELANE_FREELANE_H
#define FREELANE_FREELANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#if UINTPTR_MAX != UINT64_MAX
#error "Freelane is for 64-bit systems: it packs what it exchanges between threads into 64-bit words"
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define FL_VERSION_MAJOR 0 /* raised by a change that breaks hosts, once it is 1 */
#define FL_VERSION_MINOR 1 /* raised by an addition; while the major version is 0, by any change */
#define FL_VERSION_PATCH 0 /* raised by a correction */

/* The layout that the inline fast paths assume. The library refuses callers compiled for another one. */
#define FL_ABI 11

/* A function that the library exports. */
#if defined(FREELANE_STATIC)
#define FL_API
#else
#define FL_API __attribute__((visibility("default")))
#endif

/* A function whose definition stands in inline.h. */
#define FL_INLINE static inline __attribute__((always_inline))

/* The largest size in bytes that slabs serve. A larger block has memory of its own from the OS. */
#define FL_BLOCK_MAX 32768

/* The largest alignment in bytes that a call or a type may ask for: the smallest page that systems have. */
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

/* The function that the library tells of misuse. */
typedef void (*fl_misuse_handler)(const struct fl_misuse *misuse);

/* Sets the process's misuse handler and returns the previous one. NULL restores the default, which prints the
 * message to stderr and aborts. If a handler returns, the misused call does nothing, and returns NULL, 0 or -EINVAL
 * where it returns something. The handler runs on the thread that made the call, with no lock held, and may call the
 * library. Any thread, any time.
 *
 * Except in debug builds and hardened heaps, an inline free that is given a size or a type does not inspect the block.
 * Neither does fl_dealloc inside a callback, beyond NULL and odd addresses. The library notices a wrong pointer later,
 * when the block goes home to its slab. It notices a pointer that is no block of that size in the heap. It notices a
 * block that is free already, unless that has been allocated again before. The free, flush, detach or trim that finds
 * the pointer reports it and leaves it alone. */
FL_API fl_misuse_handler fl_set_misuse_handler(fl_misuse_handler handler);

/* ---- Callbacks and signal handlers -------------------------------------------------------------------------
 *
 * Callbacks of the host are on_refill, on_pressure, on_deferred, on_stall, the functions of a type, and the misuse
 * handler. A callback runs on the OS thread that made the call, with no lock of the library held, and may call the
 * library.
 *
 * A callback must return on the OS thread on which it was called. A fiber that is suspended inside a callback must
 * therefore resume on the same OS thread. Debug builds report a callback that returns on another OS thread as misuse,
 * and do nothing more for the call. In other builds the rest of the call would work on a handle that another OS thread
 * may be using.
 *
 * The host may also leave a callback by longjmp, by a C++ exception or by pthread_exit. Then no lock stays held, all
 * handles stay usable, and later calls call the host as before. What has happened depends on the callback:
 *
 *     on_refill, on_pressure      Nothing has been allocated. Blocks that fl_alloc_many had allocated stay live.
 *     on_deferred, on_stall       A block that was passed to a deferred free is deferred. A call of fl_thread_flush,
 *                                 fl_thread_offline, fl_thread_detach, fl_thread_reserve, fl_quiescent, fl_heap_barrier,
 *                                 fl_heap_trim or fl_heap_destroy is incomplete and can be repeated.
 *     finalize, clear,            The object stays allocated, in the state that the callback left it in. It can be
 *     clear_some, dealloc         deallocated again (it counts as finalized), or only freed. After a longjmp the host
 *                                 calls fl_thread_unwound first, see "Destruction". What fl_run_pending has not come
 *                                 to stays pending.
 *     the misuse handler          As if it had returned.
 *
 * The host must not leave the functions of struct fl_grace_host this way, nor any callback while its OS thread exits.
 *
 * A thread that is cancelled inside a callback leaves it as by pthread_exit: its cancellation must be deferred, not
 * asynchronous.
 *
 * The library does not call on_refill, on_pressure or on_deferred from inside itself on one stack. To see whether the
 * host has left an earlier call, it reads the stack. That takes the unwind tables that C and C++ compilers emit by
 * default. If a function on the stack has none, the library goes by the stack's depth. It then takes the earlier call
 * as left once the callback is due again with a stack that is no deeper.
 *
 * A signal handler may call fl_thread_self (in a shared library only with FREELANE_TLS_DYNAMIC=0), and fl_thread_heap
 * and fl_thread_context on an attached handle. It may read the byte of fl_heap_pressure. It may call nothing else: it
 * may have interrupted a call that works on the same handle or holds a lock. For the same reason it may be left by
 * longjmp only if it has not interrupted a call of the library. */

/* ---- Heaps --------------------------------------------------------------------------------------------
 *
 * A shared object that carries the static library stays loaded once it has created a heap. dlclose leaves it mapped, so
 * that threads that use it may go on and exit. */

/* Called on the allocating thread after each refill of its cache, with the bytes of blocks that the refill brought.
 * A host can pace its collector by it. It may allocate and free, and may not detach the handle. Refills of the same
 * handle that it causes do not call it again. */
typedef void (*fl_refill_callback)(struct fl_thread *thread, size_t bytes);

/* Called on the allocating thread, with no lock held, when the heap's limit leaves no room for an allocation of
 * `bytes` bytes. The limit itself is at least `bytes`. The host frees what it can. It returns true to have the
 * allocation tried once more, false to let it fail. It may allocate and free; an allocation that fails meanwhile
 * does not call it again. */
typedef bool (*fl_pressure_callback)(struct fl_heap *heap, size_t bytes, void *context);

/* How a heap finds out that every reader that could have seen a block is done with it. */
enum fl_grace {
    FL_GRACE_NONE = 0, /* it does not: the host cannot defer frees */
    FL_GRACE_QSBR, /* liburcu's qsbr: threads pass quiescent states (fl_quiescent) or are offline; reads are free */
    FL_GRACE_BP,   /* liburcu's bp: readers are inside fl_read_lock and fl_read_unlock; threads need no safepoints */
    FL_GRACE_HOST  /* the host's own, struct fl_grace_host */
};

/* A host's own grace periods. Tokens are positive and grow. The library calls all three functions from any thread.
 * It calls `begin` and `elapsed` with locks of its own held and cancellation off, so they must neither wait nor call
 * the library. It calls `wait` with no lock held; `wait` is a cancellation point if the host makes it one. */
struct fl_grace_host {
    /* Returns the token of a grace period that begins now or later, or a negative errno value if none can be had
     * now. */
    int64_t (*begin)(void *context);
    /* Whether the grace period has ended: each reader that was reading before its `begin` is done. */
    bool (*elapsed)(void *context, int64_t token);
    /* Waits for its end. If it is NULL, the library never waits: fl_heap_barrier returns -EAGAIN. A later trim,
     * flush or quiescent state then releases memory once the grace period has ended. */
    void (*wait)(void *context, int64_t token);
    void *context; /* passed to all three */
};

/* A word in the header of an object: 1, 2, 4 or 8 bytes, at a multiple of its size. */
struct fl_header_word {
    uint16_t offset; /* in the object, in bytes */
    uint16_t size;   /* in bytes */
};

#define FL_HEADER_WORDS_MAX 8 /* the most words of a header that the library clears */

/* Says how a word of the header links a dead object while memory is refused (FL_TYPE_HAS_WORDS), though stale readers
 * look at that word. It has 8 bytes, and each store of the library writes all of them. The 8 bytes behind it are the
 * address of the type, in every object. Readers must take an object for dead in two cases: where the bits of the word
 * that are neither in `bits` nor in `stays` are those of `others`, and where all but `stays` is `after`. */
struct fl_header_link {
    uint64_t bits;   /* hold the link: at least 48 bits. 0: objects are not linked by their header */
    uint64_t others; /* the other bits of the word while an object is linked; none of `bits` */
    uint64_t after;  /* what the word becomes when the object's callbacks are due */
    uint64_t stays;  /* bits that stay as they were when the object died; none of the others */
    uint32_t offset; /* where the word lies in an object, a multiple of 8. `words_offset` of a type names it */
};

/* The header of the objects of a heap with stale readers. Stale readers are lock-free readers that may look at an
 * object after it was freed, as the try-incref of free-threaded CPython does. The host must not change it while a
 * heap or type uses it. */
struct fl_header {
    uint32_t bytes; /* the header is the first `bytes` bytes of each object */
    /* How many words the library clears when an object is freed. 0 if the host clears them before it frees: then PLAIN
     * objects keep the inline fast path. */
    uint32_t words;
    struct fl_header_word clear[FL_HEADER_WORDS_MAX]; /* which words these are */
    struct fl_header_link link;                       /* whether and how the header links dead objects */
};

/* A reader that a grace period has been waiting for. */
struct fl_stall {
    struct fl_thread *thread; /* its handle, NULL if it is not a reader of the library */
    long os_thread;           /* the kernel's number of the thread, 0 if that is not known */
    char name[32];            /* the thread's name, or what is known of it */
    double seconds;           /* how long the grace period has lasted */
};

/* Called for each reader that has held a grace period up for options.stall_seconds, once per grace period. It runs
 * with no lock held, on a thread that defers, passes a quiescent state or waits. It may allocate and free. */
typedef void (*fl_stall_callback)(struct fl_heap *heap, const struct fl_stall *stall, void *context);

/* Called when deferred bytes have outgrown options.defer_bytes: the host should bring its readers to quiescent
 * states. `deferred_bytes` are those that are left: other threads may have freed some since. It runs on the thread that
 * deferred, with no lock held, and may allocate and free. */
typedef void (*fl_deferred_callback)(struct fl_heap *heap, size_t deferred_bytes, void *context);

/* For fl_options.decay_ms: what the heap holds stays until something else takes it. In text it is decay=0. */
#define FL_DECAY_NEVER 0xffffffffu

/* Whether a heap asks the OS for huge pages for its slabs. By default it does not for those that are each the first of a
 * size class for a thread: under such slabs a huge page could be nearly empty. Nor does it for the first 512 KiB of other
 * slabs, nor while at least half of all slabs are of the first kind. Once the heap uses more than 16 MiB and has fewer
 * such slabs, it asks for huge pages everywhere. */
enum fl_huge {
    FL_HUGE_DEFAULT = 0, /* where it uses much memory densely */
    FL_HUGE_ALWAYS,      /* from the start */
    FL_HUGE_NEVER        /* not at all: it asks for small pages, whatever the OS gives by default */
};

/* Which objects end later, see "Code that runs later". */
enum fl_later {
    FL_LATER_NONE = 0, /* those of types with FL_TYPE_LATER */
    FL_LATER_CODE,     /* also FINALIZE and LEGACY objects, whose end may run any code of the host */
    FL_LATER_ALL       /* also CLEAR objects */
};

/* Options of a heap. Zero in every field is the default. */
struct fl_options {
    /* Bytes of address space for slabs, from 4 MiB to 1 TiB. A size given here is reserved at once and is a bound:
     * creation fails if the OS refuses it, and the heap never has more.
     *
     * By default a heap reserves 128 MiB at first. It reserves less where the OS refuses that, down to 4 MiB. It takes at
     * most a 32nd of what the process may have (RLIMIT_AS). Where the process has 16 heaps already, it reserves 128 KiB, so
     * that neighbours share what the kernel keeps of them. Then it reserves up to 2 MiB in two steps, and 128 MiB when
     * these are used up. When its slabs are used up, it reserves as much again as it has, but at most an eighth of that
     * limit, until it has 64 GiB. Untyped frees (fl_free) of blocks outside the largest range take a little longer. */
    size_t reserve_bytes;
    /* The heap returns slabs to the OS when its pool and its slabs that are all free hold more than this many bytes.
     * The default is 256 MiB; 1 retains as little as possible, SIZE_MAX everything.
     *
     * Unless the value is SIZE_MAX, the heap starts by retaining 128 KiB and grows toward this value as the program
     * reuses what it freed. While no thread flushes or exits, it retains 32 MiB from the start, if the value is not less.
     * Beyond it, up to half as much may stay in empty slabs without a class. Freed blocks above FL_BLOCK_MAX may keep up
     * to half as much, or an eighth of the limit if that is less. All threads together may keep as much as this value in
     * magazines (256 MiB if it is SIZE_MAX), or an eighth of the limit if that is less. Each thread has an equal share, of
     * at most 32 MiB. When threads attach, what others have beyond theirs is given to all. The two magazines of each size
     * class that a thread uses come on top. Those of all threads together have room for at most 256 MiB, or for about a
     * 40th of the limit. In a heap with grace periods they have 192 MiB or a 50th, and what threads have deferred and not
     * submitted 64 MiB or a 100th. All this is for up to 200 threads: of more, each may add a little. */
    size_t retain_bytes;
    /* The most bytes of slabs and large blocks in use. Default: no limit. */
    size_t limit_bytes;
    /* Milliseconds after which memory that the heap holds, and that was not used, returns to the OS. It does so as long
     * as some thread comes to the slow half of an allocation or a free now and then. A thread that frees each block before
     * it allocates the next one of the same size class does not come there: for a program that does nothing else there is
     * decay_thread. Default 1000; with FL_DECAY_NEVER, and with retain_bytes SIZE_MAX, never. */
    unsigned decay_ms;
    /* A thread of the library, one per process, sees to it that this happens even when no thread of the host allocates
     * or frees. Creation fails if the OS refuses the thread. It blocks all signals. The child of a fork starts one of
     * its own at the first look that is due. Not with FL_GRACE_HOST. Default false; in text decay_thread=1. */
    bool decay_thread;
    /* The largest magazine, in blocks, from 2 to 254. Default 254. */
    unsigned magazine_blocks;
    /* Called after a refill. Default none. */
    fl_refill_callback on_refill;
    /* Called when the limit leaves no room. Default none. */
    fl_pressure_callback on_pressure;
    /* Passed to on_pressure, on_deferred and on_stall. */
    void *context;
    /* The kind of grace periods. Default FL_GRACE_NONE. */
    enum fl_grace grace;
    /* The host's grace periods, with FL_GRACE_HOST. The heap copies the struct. */
    const struct fl_grace_host *grace_host;
    /* The heap has stale readers of this header, see "Stale readers". Default none. */
    const struct fl_header *header;
    /* The deferred bytes beyond which the heap raises pressure. Default 64 MiB. */
    size_t defer_bytes;
    /* How many seconds a grace period may take before the heap names the readers that hold it up. Default 10. */
    unsigned stall_seconds;
    /* Called when pressure is raised. Default none. */
    fl_deferred_callback on_deferred;
    /* Called for a reader that holds a grace period up. Default: a line to stderr. */
    fl_stall_callback on_stall;
    /* Huge pages for slabs. Default FL_HUGE_DEFAULT; in text huge=always or huge=never. Where the OS gives them, what a
     * trim has returned stays returned nevertheless: a part of a huge page goes back, and the rest has small pages until
     * all of it is in use again. */
    enum fl_huge huge;
    /* Which objects wait for fl_run_pending, unless their type says otherwise. Default FL_LATER_NONE. */
    enum fl_later later;
    /* The heap withstands errors of the host and attacks that build on them, see "Hardened heaps". Every call takes its
     * slow half. Creation fails if the OS has no random numbers. Default false; in text hardened=1. */
    bool hardened;
};

/* ---- Hardened heaps
 *
 * A heap with options.hardened finds errors of the host, and makes it hard to build an attack on one, in every build:
 *
 *   - The call that frees a block a second time reports it, whichever thread frees it, and wherever the block is
 *     meanwhile. If the block has been allocated again, that allocation cannot be told from the first one: the second
 *     free frees it, and the next free is reported.
 *   - The call that frees anything but the start of a block of the heap reports it. So does one that says another size
 *     than the block was allocated with, or another type whose instances have another size. Of two types of one size the
 *     heap does not know which a block has.
 *   - A block that was written while it was free is reported by the call that allocates it next; then that call goes on.
 *     The heap compares a keyed checksum of 30 bits: of all bytes up to 1024, of a larger block of its first and last
 *     512. It does not see a header of stale readers, nor a block whose memory has gone back to the OS.
 *   - A block above FL_BLOCK_MAX has a page before its memory and one behind it that nobody can touch. What was written
 *     behind it in its last page is reported by the call that frees or resizes it.
 *   - Which block comes next cannot be told from those before. It is a random one of at least half a magazine, unless
 *     memory is refused. That is one of 127 blocks up to 64 bytes, and one of 8 from 1 KiB on; of fewer where the limit or
 *     options.magazine_blocks makes magazines smaller. The random numbers come from the OS, through a generator for each
 *     thread (ChaCha with 8 rounds).
 *
 * In any heap, blocks lie apart from all that the library knows of them: no header, no link. An overflow runs into other
 * blocks, and behind the last slab into a page that nobody can touch. A free block is never written.
 *
 * A report is misuse: by default the process aborts (fl_set_misuse_handler). A hardened heap keeps four bytes per block
 * apart from it, 6% of a block of 64 bytes, and 2 KiB more for each handle. An allocation and its free take some 150 to
 * 250 ns together (bench/README.md). Progress is that of slow halves: no call is wait-free. The table of attacks stands in
 * tests/README.md. */

/* Reads options from text such as "retain=64M,limit=2G,reserve=16G,magazine=64,grace=bp,defer=16M,stall=5" into
 * `options`. The keys are the fields of struct fl_options without the unit. Numbers may end in K, M, G or T (powers
 * of 1024). `grace` is none, qsbr or bp. `huge` is default, always or never. `later` is none, code or all. Fields that
 * the text does not name keep their values. Returns 0; or -EINVAL with a message in `error` that names the culprit, and
 * then leaves `options` unchanged. `error` has `error_size` bytes; it may be NULL if that is 0. Any thread.
 * Wait-free. */
FL_API int fl_options_parse(const char *text, struct fl_options *options, char *error, size_t error_size);

/* fl_heap_create for a caller that was compiled for FL_ABI `abi`. */
FL_API struct fl_heap *fl_heap_create_abi(unsigned abi, const struct fl_options *options, char *error,
                                          size_t error_size);

/* Creates a heap. `options` may be NULL: all defaults. On failure returns NULL, with a message in `error` that names
 * the culprit and with errno
 *
 *     EINVAL     the options make no sense
 *     ENOMEM     the OS refuses memory or address space, or random numbers for a hardened heap
 *     ENOTSUP    FL_ABI is another one, the system's pages exceed 64 KiB, or the library lacks the liburcu flavor
 *
 * `error` has `error_size` bytes; it may be NULL if that is 0. Any thread. May lock. */
static inline struct fl_heap *fl_heap_create(const struct fl_options *options, char *error, size_t error_size)
{
    return fl_heap_create_abi(FL_ABI, options, error, error_size);
}

/* Destroys the heap with all blocks still live in it. The caller guarantees that no other thread uses the heap.
 * Deferred blocks wait for their grace period first, and so does all memory of a heap with stale readers. If a
 * host's grace periods cannot be waited for, the host guarantees that no reader looks at the heap any more. Returns
 * 0; otherwise the heap stays as it was:
 *
 *     -EBUSY     threads are attached, offline handles included; reported as misuse. Or dead objects wait that threads
 *                have left: fl_dealloc destroys them ("Destruction"), or fl_run_pending ("Code that runs later")
 *     -EBUSY     it is being walked; reported as misuse
 *     -EPERM     it is the default heap; reported as misuse
 *     -EINVAL    it would wait for a grace period inside a read-side section; reported as misuse
 *     other      no grace period can be had; the value is what fl_heap_barrier returns then
 *
 * May lock and wait for a grace period. A cancellation point while it waits. */
FL_API int fl_heap_destroy(struct fl_heap *heap);

/* The process's default heap. The first call creates it, with the options in the environment variable
 * FREELANE_OPTIONS (see fl_options_parse). On failure returns NULL with errno
 *
 *     ENOMEM     the OS refuses memory; the next call tries again
 *     ENOTSUP    as in fl_heap_create
 *     EINVAL     the variable is malformed; each call reports this as misuse
 *
 * The first ENOMEM or ENOTSUP prints a line to stderr that says why. Any thread, any time. The first call may lock,
 * later ones are wait-free. */
FL_API struct fl_heap *fl_heap_default(void);

/* Returns memory to the OS until at most `retain_bytes` bytes of free and idle memory are left. It returns slabs
 * that are all free, pages of empty magazines, and memory kept of freed blocks above FL_BLOCK_MAX. The result is the
 * bytes that went to the OS.
 *
 * It takes what exited and flushed threads have left, and empties handles that are offline. If that is not enough,
 * it takes what other threads keep beyond their caches. It does not touch the caches of online handles, two
 * magazines per size class: call fl_thread_flush on these before, or fl_heap_flush_stopped.
 *
 * Memory that is locked (mlock, mlockall) stays. It counts in idle_bytes, the heap uses it first, and a later call
 * tries again.
 *
 * Waits for a trim that is under way. On a heap with stale readers it also waits for a grace period. It is then a
 * quiescent state of the caller and a cancellation point, and a call inside a read-side section is misuse and does
 * nothing. Any thread. May lock. */
FL_API size_t fl_heap_trim(struct fl_heap *heap, size_t retain_bytes);

/* Empties the caches of all threads of the heap, with all that they keep, for a host that has stopped the world. The
 * caller guarantees that every other thread of the heap is stopped outside of the library. An OS thread that exits
 * need not be: its exit empties the caches of its handles itself. What these threads have deferred is submitted. After
 * it fl_heap_trim can return all memory that no live block lies in. Any thread, with or without a handle. Locks; waits
 * for no grace period and calls no callback. A host is told of deferred bytes past their bound at the next deferred
 * free. */
FL_API void fl_heap_flush_stopped(struct fl_heap *heap);

/* Whether `block` is a live or free block of this heap: any address inside a slab, or the start of a live large
 * block. Any thread. Wait-free. */
FL_API bool fl_owns(struct fl_heap *heap, const void *block);

/* The bytes usable at `block`, at least the size it was allocated with; 0 if the heap does not own it. Any thread.
 * Wait-free. */
FL_API size_t fl_usable_size(struct fl_heap *heap, const void *block);

/* Frees a block of the heap on behalf of a thread that is not attached to it. NULL is ignored. Never fails, keeps
 * errno. Any thread. May lock: all such calls share one cache and are slower than fl_free. */
FL_API void fl_heap_free(struct fl_heap *heap, void *block);

/* ---- fork ------------------------------------------------------------------------------------------------
 *
 * A child can use every heap, the handles of the forking thread, and offline handles. The handles of other threads are
 * gone. The blocks in their caches count as lost, unless the host said that those threads were stopped.
 *
 * Handlers of pthread_atfork may call the library on the forking thread, whenever they were registered. Handlers that
 * were registered before the first heap was created run while the fork holds the library's locks. No call waits for a
 * grace period there: fl_heap_barrier returns -EAGAIN, and so does an fl_heap_destroy that would have to wait.
 * fl_heap_trim leaves what waits for a grace period. Cancellation is off. */

/* Says that every other thread of the heap is stopped outside the library. The child of the next fork then empties
 * their caches instead of counting the blocks in them as lost. The statement holds for one fork, or until it is
 * withdrawn. The host that has stopped the threads calls this before it forks. Any thread. May lock. */
FL_API void fl_heap_fork_stopped(struct fl_heap *heap);

/* Withdraws fl_heap_fork_stopped. A host that has not called fork() after all calls it before the threads go on: it
 * may have started the process another way. Harmless otherwise. Any thread. May lock. */
FL_API void fl_heap_fork_resumed(struct fl_heap *heap);

/* ---- Statistics and checks ------------------------------------------------------------------------------ */

/* Counts in blocks. carved = live + cached + pooled + parked + deferred + lost. */
struct fl_class_stats {
    size_t block_bytes;     /* bytes per block */
    size_t magazine_blocks; /* blocks a magazine of this class holds */
    size_t slabs;           /* slabs of this class */
    size_t carved;          /* blocks of those slabs */
    size_t live;            /* in the host's hands */
    size_t cached;          /* in threads' caches, and in the magazines that threads keep beyond these */
    size_t pooled;          /* in the pool */
    size_t parked;          /* free in their slab, those never handed out included; refills take them */
    size_t deferred;        /* waiting for a grace period */
    size_t lost;            /* in caches of threads that did not survive a fork */
};

/* Statistics of a heap; see fl_heap_stats for what they promise. */
struct fl_stats {
    struct fl_class_stats classes[FL_CLASS_COUNT]; /* [0] is unused */
    size_t threads;                                /* attached threads */
    size_t live_blocks;                            /* sums over the classes and the large blocks */
    size_t live_bytes;                             /* bytes of the live blocks */
    size_t cached_bytes;                           /* sums over the classes, as the next two are */
    size_t pooled_bytes;                           /* see struct fl_class_stats */
    size_t parked_bytes;                           /* see struct fl_class_stats */
    size_t deferred_bytes;                         /* large blocks included, which are not in live_* then */
    size_t lost_bytes;                             /* sums over the classes */
    size_t large_blocks;                           /* live blocks above FL_BLOCK_MAX, counted in live_* too */
    size_t large_bytes;                            /* their bytes */
    size_t slabs;                                  /* slabs in use */
    size_t slab_bytes;                             /* their bytes */
    size_t idle_bytes;                             /* bytes of slabs without a class that keep their memory */
    size_t retired_bytes;    /* bytes of slabs that wait for a grace period before their memory returns to the OS */
    size_t reserved_bytes;   /* address space reserved for slabs */
    size_t mapped_bytes;     /* address space made usable, for slabs, magazines and bookkeeping */
    size_t magazines;        /* magazines in existence */
    size_t empty_magazines;  /* of these, in the pool's stack of empty ones */
    uint64_t exchanges;      /* magazines taken from or given to the pool's stacks of filled ones */
    uint64_t shared_updates; /* successful atomic read-modify-writes on the pool */
    uint64_t cas_failures;   /* failed ones */
    uint64_t home_visits;    /* times a thread locked a home, its own or another's, to take or bring blocks */
    uint64_t trims;          /* trims that ran */
    uint64_t trimmed_bytes;  /* bytes of slabs, empty magazines and spare_bytes that trims returned to the OS */
    uint64_t grace_periods;  /* grace periods that deferred blocks or retired slabs have waited for */
    uint64_t grace_refusals; /* grace periods that could not be had: the deferred blocks or slabs stayed */
    uint64_t pressures;      /* times that deferred bytes outgrew options.defer_bytes */
    uint64_t over_bytes;     /* bytes that were deferred while deferred bytes exceeded options.defer_bytes */
    size_t spare_bytes;      /* memory of freed blocks above FL_BLOCK_MAX, kept for the next such block */
};

/* Fills `stats`. The numbers are exact while the heap's threads are quiet. Otherwise each number was true a moment
 * ago, except that blocks on their way between threads and the pool may count as live. All numbers of slabs are of
 * one moment, and the equations of struct fl_class_stats hold at any time. Any thread. May lock. */
FL_API void fl_heap_stats(struct fl_heap *heap, struct fl_stats *stats);

/* How statistics are printed: a table for people, or one JSON object. */
enum fl_stats_format { FL_STATS_TEXT, FL_STATS_JSON };

/* Prints the statistics to the stream. Returns 0, or -EIO if the stream failed. A cancellation point if writing to
 * the stream is one. Any thread. May lock. */
FL_API int fl_heap_print_stats(struct fl_heap *heap, FILE *stream, enum fl_stats_format format);

/* Walks the whole heap. Verifies that every free block is counted once and lies in a slab of its class, and that the
 * equations of struct fl_class_stats hold. Returns 0; -EUCLEAN with a message in `error` that names the first thing
 * wrong; or -ENOMEM. `error` has `error_size` bytes; it may be NULL if that is 0. No other thread may use the heap
 * meanwhile. May lock. */
FL_API int fl_heap_check(struct fl_heap *heap, char *error, size_t error_size);

/* ---- Heap walk
 *
 * A collector or a debugger finds out which blocks of a heap are live:
 *
 *     stop the world
 *     fl_heap_walk_begin(heap)
 *       fl_heap_walk(heap, callback, context)     tells of each live block
 *       fl_block_at(heap, address, &block)        tells of the block around an address
 *     fl_heap_walk_end(heap)
 *     let the world go on
 *
 * From begin to end, every other thread that uses the heap is stopped outside of the library, which the host sees to.
 * No thread allocates or frees on the heap, the one that walks included: a collector notes which blocks it will free.
 * Debug builds report such calls as misuse. A decay_thread leaves the heap alone meanwhile. Other threads of the host,
 * the workers of a collector, may call fl_heap_walk and fl_block_at.
 *
 * Live is what the host has: what it allocated and did not free. A dead object that waits for its callbacks (see
 * "Destruction") is live. A block that is deferred is free. In the child of a fork, blocks that count as lost are taken
 * to be live: the library does not know which they are.
 *
 * fork: the child goes on with a walk that the forking thread has begun, and ends it. A walk of another thread is over
 * in the child. */

/* Whether a block is in the host's hands. */
enum fl_block_state {
    FL_BLOCK_UNKNOWN = 0, /* the heap is not being walked */
    FL_BLOCK_FREE,        /* it is free, or deferred */
    FL_BLOCK_LIVE         /* it is allocated */
};

/* A block, as a walk tells of it. */
struct fl_block {
    void *start; /* its address */
    size_t size; /* usable bytes; above FL_BLOCK_MAX, the size that it was allocated with */
    enum fl_block_state state;
};

/* Called for each live block, with no lock held. Returns whether the walk goes on. It must neither allocate nor free on
 * the heap, and may be left by longjmp or an exception. */
typedef bool (*fl_walk_callback)(void *context, const struct fl_block *block);

/* Begins a walk: finds out which blocks are free, in memory of the library's own (a 128th of the heap's slabs). Returns
 * 0, or
 *
 *     -ENOMEM    the OS refuses memory; nothing has changed
 *     -EBUSY     the heap is being walked already
 *     -EINVAL    a thread is inside the library; debug builds see this, and report it as misuse
 *
 * Any thread, with or without a handle, also inside a callback of the host. May lock; takes time in proportion to the
 * blocks that are free in magazines, and to the slabs and blocks above FL_BLOCK_MAX in use. */
FL_API int fl_heap_walk_begin(struct fl_heap *heap);

/* Ends a walk. Returns 0. Returns -EINVAL, reported as misuse, if the heap is not being walked, or by another thread.
 * Called by the thread that has begun it. May lock. */
FL_API int fl_heap_walk_end(struct fl_heap *heap);

/* Calls the callback for each live block, once. Blocks up to FL_BLOCK_MAX come first, by address within a slab.
 * Returns 0; -ECANCELED if the callback ended it; or -EINVAL, reported as misuse, if the heap is not being walked. Any
 * thread of a walk. Wait-free beside the callback. */
FL_API int fl_heap_walk(struct fl_heap *heap, fl_walk_callback callback, void *context);

/* Tells which block an address lies in: any address, of the first byte of the block or of another one. Returns false,
 * and leaves `block` as it was, if it lies in none: it is not the heap's, or it lies behind the last block of a slab,
 * or in a block above FL_BLOCK_MAX that was freed. Takes constant time.
 *
 * During a walk `state` says whether the block is live: any thread of the walk. At other times the state is unknown,
 * and of a block above FL_BLOCK_MAX only the start is found. Then any thread may ask at any time, but the answer was
 * true a moment ago unless the host has the block. Wait-free. */
FL_API bool fl_block_at(struct fl_heap *heap, const void *address, struct fl_block *block);

/* ---- Census: how many live blocks of each type there are. */

/* Names the type of a live block. The string must not change or go away as long as the census. NULL: the host does not
 * know the type. Called as an fl_walk_callback, but it must return: otherwise the memory of the census is not freed. */
typedef const char *(*fl_census_callback)(void *context, const struct fl_block *block);

/* What a census says of one type. */
struct fl_census_row {
    const char *type; /* its name; NULL for all blocks whose type the host does not know */
    size_t count;     /* of its live blocks */
    size_t bytes;     /* of these, usable ones */
};

struct fl_census;

/* Takes a census during a walk: asks the host for the type of each live block. Types are the same if their names read
 * the same. Returns 0, with the census in `*census`, which is valid until fl_census_free. The census can be printed
 * once the world goes on: streams may need locks that stopped threads hold. Returns -ENOMEM if the OS refuses memory,
 * or -EINVAL, reported as misuse, if the heap is not being walked. Any thread of the walk. Wait-free beside the
 * callback. */
FL_API int fl_census_take(struct fl_heap *heap, fl_census_callback type_of, void *context, struct fl_census **census);

/* The rows of a census, those with the most bytes first. Returns how many there are. Any thread. Wait-free. */
FL_API size_t fl_census_rows(const struct fl_census *census, const struct fl_census_row **rows);

/* Prints a census to the stream, as a table or as one JSON object. JSON takes names to be UTF-8. Returns 0, or -EIO if
 * the stream failed. A cancellation point if writing to the stream is one. Any thread. */
FL_API int fl_census_print(const struct fl_census *census, FILE *stream, enum fl_stats_format format);

/* Frees a census; NULL is ignored. Any thread, while no other uses the census. */
FL_API void fl_census_free(struct fl_census *census);

/* ---- Traces: every allocation and deallocation, as it happens. */

/* What an event tells of. */
enum fl_trace_kind {
    FL_TRACE_ALLOC = 1, /* a block has been allocated */
    FL_TRACE_FREE       /* a block is about to be freed, or deferred */
};

/* What happened. */
struct fl_trace_event {
    enum fl_trace_kind kind;
    void *block;      /* its address */
    size_t size;      /* in bytes, as the call says; usable ones where a free says none, as with FL_TYPE_VARIABLE */
    const char *type; /* the name of the type, or NULL */
};

/* Is told of what happens, on the thread that makes the call and with no lock held: of an allocation before the call
 * returns, of a deallocation before the block can be allocated again. Events of different threads come at the same
 * time. What the callback itself allocates and frees is not told. It may be left by longjmp: then the block that was
 * allocated stays live, and the one to be freed is not freed. */
typedef void (*fl_trace_callback)(struct fl_heap *heap, const struct fl_trace_event *event, void *context);

/* A trace, as fl_trace_start takes it. */
struct fl_trace {
    fl_trace_callback callback; /* is told of every event; not NULL */
    void *context;              /* passed to the callback */
};

/* Starts a trace. From its return on, each allocation and deallocation on the heap is told, by whatever call; earlier
 * ones may be. A dealloc of an object is told when its block is freed. An fl_realloc that moves a block is told as an
 * allocation and a deallocation, and above FL_BLOCK_MAX also one that does not; within a size class it is not told.
 *
 * Each handle has to acknowledge, because its inline calls go on without a look. It does so when a call of its thread
 * takes its slow half, or is fl_quiescent or fl_run_pending, which the byte of fl_thread_pending then asks for; that
 * call locks. A handle that is offline, or bound to the calling OS thread, need not. No handle need during a heap walk or
 * after fl_heap_fork_stopped, as the world is stopped. While no trace is on, inline calls are as fast as ever. While one
 * is on, they all take their slow halves. Where a callback starts the trace, the call that it is called from may go
 * untold.
 *
 * fork: the trace goes on in the child, also if its start is under way in another thread.
 *
 * Returns 0. Returns -ETIMEDOUT, and the trace is off again, if a handle has not acknowledged within `timeout_ms`
 * milliseconds; -EBUSY if a trace or a profile is on; -EINVAL, reported as misuse, if there is no callback. The struct
 * must not change or go away before the heap does, since a call of another thread may be about to use it. Any thread.
 * May lock; waits. */
FL_API int fl_trace_start(struct fl_heap *heap, const struct fl_trace *trace, unsigned timeout_ms);

/* Ends a trace; does nothing if none is on, and leaves a profile on. Calls under way in other threads may still be told.
 * Any thread. May lock. */
FL_API void fl_trace_stop(struct fl_heap *heap);

/* ---- Profile: which code allocates, and what of it is still live. Of all bytes that are allocated, one in
 * options.mean_bytes is taken as a sample, each with the same probability (a Poisson process). The block that the byte lies
 * in is counted under the call stack of its allocation and the name of its type. It is watched until it is freed. What
 * counts are bytes as the calls say them; a block of size 0 counts as one of a byte. */

/* The most frames of a call stack. */
#define FL_PROFILE_FRAMES_MAX 128

/* The usual number of bytes between two samples: 512 KiB. */
#define FL_PROFILE_MEAN_BYTES ((size_t)512 << 10)

/* Gives the call stack of an allocation: stores at most `max` frames, the innermost first, and returns how many. A frame
 * is a return address, as backtrace() gives it, so that pprof can name the function (the first ones are the library's);
 * or any word that means something to the host, such as the address of a code object. Called for each sample, on the
 * thread that allocates, before the allocation returns, with no lock held. It may allocate and free: what it allocates is
 * not sampled. It may be left by longjmp: then the block stays live, and is no sample. */
typedef size_t (*fl_profile_stack)(void *context, void **frames, size_t max);

struct fl_profile_options {
    /* The mean of the bytes between two samples, from 1 (each block is a sample) to 2^40. Not 0. */
    size_t mean_bytes;
    /* Gives the call stacks. NULL: stacks are empty, and only types tell samples apart. */
    fl_profile_stack stack;
    /* Passed to `stack`. */
    void *context;
    /* Milliseconds that the start waits for the handles of other threads. 0: 1000. */
    unsigned timeout_ms;
    /* What the random numbers begin with, so that a test can repeat them: threads draw in the order of their first
     * allocation. 0: another number at each start. */
    uint64_t seed;
};

/* Starts a profile and forgets an earlier one of the heap. `options` may be NULL: the usual mean, no call stacks. From
 * its return on, each allocation on the heap counts, by whatever call. Those by types have the names of these. A block
 * that fl_realloc moves counts anew, and above FL_BLOCK_MAX also one that it does not move.
 *
 * The profile is a trace, for which handles are waited for as fl_trace_start says; a heap has one of either at a time.
 * While no profile is on, inline calls are as fast as ever. While one is on, they all take their slow halves, count the
 * bytes, and look whether a freed block is a sample. A sample and its free lock. The OS gives the memory for samples and
 * call stacks, which the heap's limit does not count; what is refused is told as dropped.
 *
 * fork: the profile goes on in the child, with what it knows. If its start or stop is under way in another thread, it is
 * off there.
 *
 * Returns 0. Returns -ETIMEDOUT, and the profile is off, if a handle has not acknowledged in time; -EBUSY if a trace or
 * a profile is on; -ENOMEM; -EINVAL, reported as misuse, if mean_bytes is out of range. The earlier profile stays where
 * the start fails. Method: Poisson sampling, as gperftools' heap profiler. Any thread. May lock; waits. */
FL_API int fl_profile_start(struct fl_heap *heap, const struct fl_profile_options *options);

/* Ends a profile. What it knows stays until the next start: a later fl_profile_print says what was live at the stop. Calls
 * under way in other threads may still ask for a call stack. Returns 0; or -EINVAL, reported as misuse, if no profile is
 * on. Any thread. May lock. */
FL_API int fl_profile_stop(struct fl_heap *heap);

/* How a profile is printed. */
enum fl_profile_format {
    /* The text of gperftools ("heap profile: .. @ heap_v2/..") for pprof, which makes estimates of samples by the mean.
     * It has no names of types. Mappings of the process follow (/proc/self/maps), where the system has them. */
    FL_PROFILE_PPROF,
    /* One JSON object, with "stacks" (by call stack and type) and "types". Of each the samples, and what they let one
     * expect of all blocks: live_count and live_bytes of live ones, count and bytes of all since the start. These are
     * unbiased estimates; their relative standard error is about one by the square root of the samples. Those with the
     * most live bytes come first. Names are taken to be UTF-8. */
    FL_PROFILE_JSON
};

/* Prints the profile that is on, or the last one, to the stream. It may be printed while threads go on: then it is that
 * of one moment. Returns 0; -EIO if the stream failed; -ENOMEM; or -EINVAL, reported as misuse, if the heap was never
 * profiled. A cancellation point if writing to the stream is one. Any thread. May lock. */
FL_API int fl_profile_print(struct fl_heap *heap, FILE *stream, enum fl_profile_format format);

/* ---- Threads ------------------------------------------------------------------------------------------ */

/* The calling OS thread's handle for the default heap. Never NULL. The first call that uses the handle attaches the
 * OS thread, and changes what this returns. So call it again, at the cost of one load, rather than keep what it
 * returned at first. Any thread, any time. Wait-free. */
FL_INLINE struct fl_thread *fl_thread_self(void);

/* fl_thread_attach for a caller that was compiled for FL_ABI `abi`. */
FL_API struct fl_thread *fl_thread_attach_abi(unsigned abi, struct fl_heap *heap);

/* Attaches to a heap: each call returns a new handle, bound to the calling OS thread. If the handle is still bound
 * to that thread when the thread exits, the exit detaches it in the second round of the thread's destructors. Those of
 * C++ thread_local objects, and those of the first round, may use the handle and detach it.
 *
 * In later rounds destructors may still allocate and free through the handle, and detach it, which does nothing then.
 * Such calls lock: the heap serves them as fl_heap_free. They may defer, but not read. A handle attached in a later
 * round is of this kind from the beginning, or is detached once the thread is gone. With FL_GRACE_QSBR, a thread must
 * not attach for the first time in its last two rounds. Once a heap is destroyed, no destructor may use its handles.
 *
 * Returns NULL with errno ENOMEM, or ENOTSUP (another FL_ABI). Any thread. May lock. */
static inline struct fl_thread *fl_thread_attach(struct fl_heap *heap)
{
    return fl_thread_attach_abi(FL_ABI, heap);
}

/* Ends an attachment: the free blocks of the handle go home, and the handle is gone. Returns 0. Returns -EINVAL,
 * reported as misuse, and does nothing
 *
 *   - for the handle that fl_thread_self returns to an unattached, exited or other thread, unless it is offline;
 *   - inside a read-side section;
 *   - while the handle is being detached already.
 *
 * Called by the handle's thread, or by any other while that thread does not use the handle. Meanwhile the bound OS
 * thread may wait for grace periods, and may detach its other handles. The exit of the bound OS thread detaches the
 * handle: only destructors of that thread may use it from then on. May lock. */
FL_API int fl_thread_detach(struct fl_thread *thread);

/* First evicts the dead objects that the thread keeps constructed (object.h): their callbacks run. Then sends home
 * every block in the thread's caches and in the magazines that it keeps beyond these. Then a trim can
 * return their slabs to the OS, and other threads may adopt the slabs. Blocks that the thread has deferred begin to
 * wait for their grace period. Called by the handle's thread. May lock. */
FL_API void fl_thread_flush(struct fl_thread *thread);

/* Sets free blocks aside: at least `count` allocations of the thread from the type's size class then succeed, those since
 * the call less those freed. They do so whatever the OS, the limit or other threads do, and take no lock. Blocks of other
 * sizes in the class come out of the same. They lie in the thread's own magazines, which no trim takes, also while the
 * handle is offline. What the thread frees in the class stays with it, too, so the reservation grows rather than shrinks.
 * In a hardened heap what is freed may go home instead, and does not count. The reservation ends with fl_thread_flush,
 * fl_thread_detach and fl_heap_flush_stopped.
 *
 * The call first submits what the thread has deferred. Returns 0. Otherwise it has set nothing more aside, and returns
 * -ENOMEM; -ENOTSUP for a type above FL_BLOCK_MAX or one that is not ready; or -EINVAL after misuse: an exited thread, or a
 * header that is not the heap's. Called by the handle's thread. May lock; takes memory and time in proportion to `count`. */
FL_API int fl_thread_reserve(struct fl_thread *thread, const struct fl_type *type, size_t count);

/* Makes the handle's thread a real-time thread, or an ordinary one again. No free or allocation of a real-time thread
 * trims, returns memory to the OS, or takes steps with deferred blocks. None ends dead objects that others have left, or
 * sends more than 32 blocks home. A free of it calls the OS, or waits for a lock, only if two things come together: no
 * empty magazine can be had at once, and every home of the last 32 blocks is busy at that moment. A free of a block above
 * FL_BLOCK_MAX does so only if all eight lists of such memory are busy. A free executes less than 20 000 instructions. So
 * does an allocation of what fl_thread_reserve has set aside, which cannot fail either. Any other allocation may begin a
 * slab or ask the OS for memory. Where ordinary ones would look for free blocks elsewhere, it calls on_pressure or fails at
 * once.
 *
 * Other threads take up what such a thread leaves undone, in their allocations, frees, flushes and quiescent states. So do
 * options.decay_thread, and fl_heap_trim, fl_heap_barrier and fl_thread_flush of any thread. Where there are none of these,
 * what it has freed stays in the heap, for it to allocate again. What it has deferred stays deferred.
 *
 * The bounds are those of a free on its own: callbacks of the host, and the dead objects that they drop, come on top
 * (options.later puts them off). They do not hold for misuse, in checked builds, under a tool that watches memory, or while
 * the heap is traced or profiled. Deferred frees and dead objects that wait may carve a magazine, which locks.
 *
 * Returns 0. Returns -ENOMEM if the OS thread cannot be attached, or -EINVAL after misuse: an exited thread. Called by the
 * handle's thread. Wait-free on an attached handle: one store. */
FL_API int fl_thread_set_realtime(struct fl_thread *thread, bool realtime);

/* Unbinds a handle from its OS thread, before the handle moves to another one or its thread blocks for long. The
 * exit of that OS thread leaves the handle attached. Grace periods do not wait for it, other threads may adopt its
 * slabs, and trims may empty it. No thread may use it until fl_thread_online. Inside a read-side section it is misuse
 * and does nothing. Called by the handle's thread. May lock. */
FL_API void fl_thread_offline(struct fl_thread *thread);

/* Binds a handle to the calling OS thread; does nothing if it is bound to it already. If the OS refuses the memory to
 * watch the thread's exit, the handle can be used but stays unbound. Then it cannot defer, and no exit detaches it.
 * Called by the OS thread that will use the handle, while no other uses it. May lock. */
FL_API void fl_thread_online(struct fl_thread *thread);

/* The heap that a handle is attached to. For the handles of unattached and exited threads, the default heap, or NULL
 * as fl_heap_default. Any thread, while the handle is attached. Wait-free for an attached handle. */
FL_API struct fl_heap *fl_thread_heap(const struct fl_thread *thread);

/* Sets a word of the host's own in the handle, NULL at first. Ignored for the handles of unattached and exited
 * threads. Called by the handle's thread. Wait-free. */
FL_API void fl_thread_set_context(struct fl_thread *thread, void *context);
/* The word that fl_thread_set_context has set. Called by the handle's thread. Wait-free. */
FL_API void *fl_thread_context(const struct fl_thread *thread);

/* ---- Blocks ------------------------------------------------------------------------------------------- */

/* Allocates a block of `size` bytes. Its contents are unspecified. Size 0 gives a unique block. Blocks are aligned
 * to 16 bytes, and to any larger power of two up to FL_ALIGNMENT_MAX that divides their size; those above FL_BLOCK_MAX
 * are aligned to 256 bytes, because blocks that all begin at pages compete for the same lines of a cache. Returns NULL
 * with errno ENOMEM, or EINVAL after misuse: a heap with stale readers allocates only by type. Called by the handle's
 * thread. Progress: see the head of this file. */
FL_INLINE void *fl_alloc(struct fl_thread *thread, size_t size);

/* Frees a block of the thread's heap, given the size in bytes that it was allocated with. Any thread may have
 * allocated the block; it is not NULL. Never fails, keeps errno. Called by the handle's thread. Progress as
 * fl_alloc. */
FL_INLINE void fl_free_sized(struct fl_thread *thread, void *block, size_t size);

/* The size class that serves `size` bytes. Classes go in steps of 16 bytes up to 512, then in eight steps to each
 * doubling. Returns 0 for size 0 and for sizes above FL_BLOCK_MAX. Any thread. Wait-free. */
FL_INLINE size_t fl_size_class(size_t size);

/* Like fl_alloc, and sets the first `size` bytes to zero. Returns, thread and progress as fl_alloc. */
FL_API void *fl_alloc_zeroed(struct fl_thread *thread, size_t size);

/* Allocates `count` blocks of `size` bytes each into `blocks`, all or none. Returns 0. Returns -ENOMEM, or -EINVAL
 * where fl_alloc is misuse, and has then allocated none; the contents of `blocks` are unspecified. Called by the
 * handle's thread. Progress as fl_alloc, per block. */
FL_API int fl_alloc_many(struct fl_thread *thread, size_t size, size_t count, void **blocks);

/* The size in bytes of a block that has room for `size` bytes at the given alignment. It is `size`, or 1 if that is
 * 0, rounded up to a multiple of `alignment`, a power of two up to FL_ALIGNMENT_MAX. Any thread. Wait-free. */
FL_INLINE size_t fl_aligned_size(size_t alignment, size_t size);

/* Allocates a block of fl_aligned_size(alignment, size) bytes that starts at a multiple of `alignment`. Its contents
 * are unspecified. Returns NULL with errno EINVAL if `alignment` is no power of two up to FL_ALIGNMENT_MAX, else as
 * fl_alloc.
 *
 * The result is an ordinary block. Any call that takes its fl_aligned_size frees it, and so do fl_free_aligned and
 * fl_free. fl_realloc from one such size to another keeps the alignment. Called by the handle's thread. Progress as
 * fl_alloc. */
FL_API void *fl_alloc_aligned(struct fl_thread *thread, size_t alignment, size_t size);

/* Frees a block of the thread's heap, given the alignment and the size in bytes that it was allocated with. The
 * block is not NULL. Never fails, keeps errno. Called by the handle's thread. Progress as fl_free_sized. */
FL_INLINE void fl_free_aligned(struct fl_thread *thread, void *block, size_t alignment, size_t size);

/* Changes the size of a block of the thread's heap from `old_size` to `new_size` bytes. `old_size` is the size that it was
 * allocated with or given last; from now on `new_size` takes its place, for fl_free_sized too. The bytes that both sizes
 * have keep their contents; the rest is unspecified. Returns the block. If that has moved, the old address is freed at
 * once, as by fl_free_sized. A block does not move within a size class. Where both sizes are above 1 MiB, its memory is
 * moved without a copy, unless the heap keeps memory of the new size.
 *
 *     NULL with old_size 0    allocates, as fl_alloc
 *     new_size 0              gives a block of size 0, as fl_alloc does, and does not free
 *
 * On failure returns NULL and leaves the block as it was, with errno ENOMEM, or EINVAL after misuse. Misuse is:
 *
 *   - NULL with another old_size;
 *   - a block that is not the heap's, or is free already (only debug builds and hardened heaps notice this up
 *     to FL_BLOCK_MAX);
 *   - an old_size of another class than the block; above FL_BLOCK_MAX, and in a hardened heap, another size;
 *   - a heap with stale readers.
 *
 * Called by the handle's thread; no other thread touches the block meanwhile. Wait-free within a size class, else
 * progress as fl_alloc and fl_free_sized. */
FL_API void *fl_realloc(struct fl_thread *thread, void *block, size_t old_size, size_t new_size);

/* Frees a block of the thread's heap whose size the caller does not know. NULL is ignored. Never fails, keeps errno.
 * Called by the handle's thread. Progress as fl_free_sized. */
FL_API void fl_free(struct fl_thread *thread, void *block);

/* Frees `count` blocks that were allocated with `size` bytes each, in order; none may be NULL. Never fails, keeps
 * errno. Called by the handle's thread. Progress as fl_free_sized, per block. */
FL_API void fl_free_many(struct fl_thread *thread, size_t size, size_t count, void *const *blocks);

/* ---- Grace periods --------------------------------------------------------------------------------------- */

/* A heap with options.grace can free memory that readers without locks may still be looking at:
 *
 *     writer                                     reader
 *       unlink the object                          fl_read_lock(thread)        (qsbr: between quiescent states)
 *       fl_dealloc_deferred(thread, object, type)  follow pointers
 *                                                  fl_read_unlock(thread)
 *
 * A thread collects deferred blocks in magazines. A magazine waits for one grace period as a whole, and then goes to
 * the pool. A grace period ends when every reader that was inside a read-side section at its begin has left it. With
 * qsbr it ends when every online thread has passed a quiescent state.
 *
 * With qsbr and bp, an OS thread is registered with liburcu while handles are bound to it, once for all heaps. If the
 * host has registered it before and it is online, that registration serves: the host then takes it online and
 * offline. If another OS thread detaches a handle, the bound OS thread stays online until it exits. One helper thread
 * per flavor waits for grace periods; the first grace period that is asked for starts it.
 *
 * fork: a bp heap works in the child as before, if the fork was outside a read-side section. A qsbr heap gets no more
 * grace periods in the child: deferred blocks stay deferred, and fl_heap_barrier returns -ENOTSUP. With FL_GRACE_HOST
 * this is up to the host. Once a bp heap has existed, Freelane calls urcu_bp_before_fork and its siblings; a host that
 * uses bp must not call them too. Such a fork waits for the grace period of bp that is under way, for at most a second.
 * If a reader holds that up for longer, the child's bp heaps get no more grace periods, as after a fork inside a
 * section. Other threads use their heaps meanwhile. A host's own synchronize_rcu of bp delays a fork without a bound. */

/* Frees a block of the thread's heap after a grace period, given the size in bytes that it was allocated with. The
 * block is not NULL. Never fails, never waits, keeps errno. Misuse if the handle is offline or the heap has no grace
 * periods. Called by the handle's thread. Progress as fl_free_sized. */
FL_INLINE void fl_free_deferred(struct fl_thread *thread, void *block, size_t size);

/* Says that the calling thread holds no pointer that it read without a lock. Between two such calls, an online
 * thread of a qsbr heap is inside one read-side section. The call also submits what the thread has deferred and
 * releases what has waited long enough. While deferred bytes exceed their bound, it helps for at most a millisecond.
 * It submits part-full magazines only while no others wait: they would wait behind those, and can go on filling.
 * Misuse inside fl_read_lock, on an offline handle, on that of an unattached or exited thread, and on a heap without
 * grace periods. Called by the handle's thread. Lock-free; may lock where it begins a grace period or names a stalled
 * reader. */
FL_API void fl_quiescent(struct fl_thread *thread);

/* Begins a read-side section; sections nest. Misuse on an offline handle, on that of an unattached or exited thread, and
 * on a heap without grace periods. Called by the handle's thread. Lock-free. */
FL_API void fl_read_lock(struct fl_thread *thread);
/* Ends the read-side section that was begun last. Misuse where there is none, and where fl_read_lock is. Called by
 * the handle's thread. Lock-free. */
FL_API void fl_read_unlock(struct fl_thread *thread);

/* Waits until the blocks are free that the calling OS thread has deferred and that other threads of the heap have
 * submitted. A thread submits at quiescent states, offline, flush and exit, and each time a magazine is full.
 * Returns 0, or
 *
 *     -EINVAL              inside a read-side section, or on a heap without grace periods; reported as misuse
 *     -EAGAIN              something still waits, and the host's grace periods cannot be waited for
 *     -ENOTSUP             in a forked child of a qsbr heap
 *     -ENOMEM, -EAGAIN     the OS refuses the helper thread
 *
 * The wait is a quiescent state of the caller. Any thread. May lock and wait for a grace period. A cancellation point
 * while it waits. */
FL_API int fl_heap_barrier(struct fl_heap *heap);

/* A byte that is not zero while deferred bytes exceed options.defer_bytes. A host includes it in its eval breaker:
 * the next fl_quiescent of any thread helps. Read it as a relaxed atomic. The pointer is valid as long as the heap.
 * Any thread. Wait-free. */
FL_API const unsigned char *fl_heap_pressure(struct fl_heap *heap);

/* ---- Stale readers
 *
 * A heap with options.header has readers that look at the header of an object that may just have been freed. On such a
 * heap
 *
 *   - only objects of types with the same `header` (the same pointer) can be allocated and deferred. fl_alloc,
 *     fl_free_deferred and their siblings are misuse. A type with another header is misuse too: debug builds always
 *     report it, others where the call takes its slow half;
 *   - a freed block keeps its class, and its header stays readable, until a grace period has passed. Its words are
 *     those of the dead object, with the words of fl_header.clear zero, or those of a new object of the same class;
 *   - memory of slabs and of blocks above FL_BLOCK_MAX therefore returns to the OS only after a grace period.
 *
 * The heap reuses blocks that are freed without deferral at once. A reader must validate what it has found, as with any
 * type-stable memory. A host writes header words with atomic stores. */

/* ---- Types -------------------------------------------------------------------------------------------- */

/* What the deallocation of a type does, in two bits. */
enum fl_dealloc_kind {
    FL_DEALLOC_LEGACY = 0,  /* calls `dealloc`, which does everything, the free (fl_type_free) included */
    FL_DEALLOC_PLAIN = 1,   /* frees the block, calls nothing */
    FL_DEALLOC_CLEAR = 2,   /* calls `clear`, which drops what the object holds, then frees the block */
    FL_DEALLOC_FINALIZE = 3 /* calls `finalize` (which may resurrect), then `clear` if there is one, then frees */
};

/* What a type may ask for, in `flags`. A subtype takes what its base has, but may replace FL_TYPE_LATER by
 * FL_TYPE_NOT_LATER, and the other way round. */
enum fl_type_flags {
    /* Objects are destroyed where they are dropped, see "Destruction". */
    FL_TYPE_AT_ONCE = 1,
    /* A dead object has two words that the library may use while the object waits: `words_offset`. */
    FL_TYPE_HAS_WORDS = 2,
    /* Objects end later on every heap, see "Code that runs later". The type has words. */
    FL_TYPE_LATER = 4,
    /* Objects do not end later, whatever the heap asks for. */
    FL_TYPE_NOT_LATER = 8,
    /* Objects have different sizes (fl_type_alloc_sized): `size` is the least. What frees one finds its size class by
     * its address. So no call that frees one, a PLAIN one included, takes the inline path. */
    FL_TYPE_VARIABLE = 16,
    /* Objects change their kind in life: fl_dealloc_as says it. The type may have any callbacks. */
    FL_TYPE_ANY_KIND = 32,
    /* fl_dealloc_deferred of an object is misuse, because what its callbacks leave is used again at once. */
    FL_TYPE_NOT_DEFERRED = 64
};

/* A type descriptor. Freelane prescribes no object header: each call is passed the type. The host fills in the first
 * part and calls fl_type_ready. From then on the descriptor is constant, and all threads and heaps may share it. */
struct fl_type {
    const char *name; /* for error texts; not NULL */
    size_t size;      /* of an instance, in bytes; 0 takes the base's */
    size_t alignment; /* of instances, in bytes: a power of two up to FL_ALIGNMENT_MAX; 0 takes the base's, or 16 */
    enum fl_dealloc_kind kind; /* fl_type_ready resolves it */

    /* LEGACY: does everything that ends an object, fl_type_free included. */
    void (*dealloc)(struct fl_thread *thread, void *object, const struct fl_type *type);
    /* Drops what the object holds. */
    void (*clear)(struct fl_thread *thread, void *object, const struct fl_type *type);
    /* Does the same piece by piece, for objects that may hold much: drops some, and returns true while more is left.
     * Takes the place of `clear`. Between two pieces other dead objects are destroyed, or fl_run_pending returns. */
    bool (*clear_some)(struct fl_thread *thread, void *object, const struct fl_type *type);
    /* Returns true if the object was resurrected: it stays allocated. */
    bool (*finalize)(struct fl_thread *thread, void *object, const struct fl_type *type);

    /* Where an object records that it was finalized, so that a resurrected object is finalized only once (PEP 442).
     * The bits of `finalized_mask` are set in the byte at this offset before `finalize` runs. With a mask of 0 every
     * deallocation finalizes. */
    uint32_t finalized_offset;
    uint8_t finalized_mask; /* the bits; 0: none */

    uint32_t flags; /* of enum fl_type_flags */
    /* With FL_TYPE_HAS_WORDS: where two words of 8 bytes lie in an object, at a multiple of 8. In a dead object that waits
     * while memory is refused, the first is a link, and the second the address of this descriptor. The callbacks find
     * 0 in the first, and the address in the second. An object whose reference count is followed by its type can name
     * these: a dead object needs no count. Where stale readers look at the count, the header has to say how it may hold a
     * link (fl_header.link). Words of a base serve its subtypes. */
    uint32_t words_offset;

    /* The header of the heap with stale readers where instances live; NULL takes the base's. */
    const struct fl_header *header;

    /* Filled in by fl_type_ready. */
    const struct fl_type *base;
    uint32_t alloc_cache;    /* where in a struct fl_thread the cache of this size class lies, in bytes */
    uint32_t free_cache;     /* the same; or the cache that never has room, if the library clears the header */
    uint32_t dealloc_cache;  /* for PLAIN as free_cache; for the other kinds the cache that never has room */
    uint32_t deferred_cache; /* where in a struct fl_thread the deferred blocks of this size class lie, in bytes */
    uint32_t class_index;    /* the size class, 0 above FL_BLOCK_MAX */
    uint32_t waits;          /* bits that say how objects wait inside callbacks; 0: not in the quick way */
    uint32_t later_class;    /* the size class, if they may end later and have words; else no class */
    uint8_t later;           /* a bit for each value of enum fl_later: whether they end later on such a heap */
    bool ready;              /* whether fl_type_ready has succeeded */
};

/* Makes a type ready: inherits from `base` (ready, or NULL) what the type leaves out, resolves its kind, and
 * finds its size class.
 *
 *   - A type that gives a `dealloc` is LEGACY. One with kind 0 and no `dealloc` takes the kind that its own
 *     callbacks ask for (`finalize`: FINALIZE, `clear` or `clear_some`: CLEAR), else its base's.
 *   - A subtype is never weaker than its base: PLAIN under CLEAR becomes CLEAR, CLEAR under FINALIZE becomes
 *     FINALIZE. Under a LEGACY base it is LEGACY unless its kind says otherwise.
 *   - A subtype's callback replaces its base's. It calls that of the base itself, if that is to run too. `clear` and
 *     `clear_some` replace each other.
 *
 * Returns 0. Returns -EINVAL, leaves the type as it was, and writes a message to `error` that names the types, for:
 *
 *   - a type without a name or that is ready already, a base that is not ready;
 *   - a size of 0, or below the base's or its header's; a header other than the base's;
 *   - an alignment that is no power of two, above FL_ALIGNMENT_MAX, or below the base's;
 *   - PLAIN with any callback, CLEAR with a `finalize`, a `dealloc` with another kind than LEGACY, unless the type has
 *     FL_TYPE_ANY_KIND;
 *   - a kind without the callback that it needs, both `clear` and `clear_some`, a finalized byte outside the object;
 *   - FL_TYPE_LATER with PLAIN, without words, or with FL_TYPE_AT_ONCE or FL_TYPE_NOT_LATER;
 *   - unknown flags; words outside the object, at no multiple of 8, or with the finalized byte among them; words in the
 *     header that stale readers look at, unless its `link` names them.
 *
 * `error` has `error_size` bytes; it may be NULL if that is 0. Called once per type, by one thread. Wait-free. */
FL_API int fl_type_ready(struct fl_type *type, const struct fl_type *base, char *error, size_t error_size);

/* How many bits of what fl_type_tag returns may be set. */
#define FL_TAG_BITS 12

/* Allocates an instance of a ready type. Its contents are unspecified. Returns NULL with errno ENOMEM, or EINVAL
 * after misuse: the type's header is not the heap's. Called by the handle's thread. Progress as fl_alloc. */
FL_INLINE void *fl_type_alloc(struct fl_thread *thread, const struct fl_type *type);

/* Allocates an instance of `size` bytes of a ready type with FL_TYPE_VARIABLE. Its contents are unspecified. Returns
 * NULL with errno ENOMEM, or EINVAL after misuse: the type lacks the flag, the size is below the type's, or the type's
 * header is not the heap's. Called by the handle's thread. Progress as fl_alloc. */
FL_API void *fl_type_alloc_sized(struct fl_thread *thread, const struct fl_type *type, size_t size);

/* Frees the memory of an instance and does nothing else: for the end of a LEGACY `dealloc`, or for an object whose
 * construction failed. The object is not NULL. Never fails, keeps errno. Called by the handle's thread. Progress as
 * fl_free_sized. */
FL_INLINE void fl_type_free(struct fl_thread *thread, void *object, const struct fl_type *type);

/* Deallocates an object, not NULL, whose last reference is gone, as its type's kind says. The callbacks of kinds other
 * than PLAIN run on the calling thread: before this returns, unless it is called inside a callback (see "Destruction"
 * below). Called by the handle's thread. Progress as fl_free_sized, beside what the callbacks do. */
FL_INLINE void fl_dealloc(struct fl_thread *thread, void *object, const struct fl_type *type);

/* fl_dealloc for a host that keeps the two bits in a flags word of its own, and passes them as `kind`. A kind other
 * than the one that fl_type_ready resolved is misuse, reported where the call reads the type. With FL_TYPE_ANY_KIND it
 * is misuse only if the type lacks the callback that the kind needs; what a kind does not need is not called. Then
 * FL_LATER_CODE queues CLEAR objects of the type, too. Thread and progress as fl_dealloc. */
FL_INLINE void fl_dealloc_as(struct fl_thread *thread, void *object, const struct fl_type *type,
                             enum fl_dealloc_kind kind);

/* The kind and the size class of a ready type as one number below 1 << FL_TAG_BITS. A host may keep it in a flags
 * word of its own: it never changes. Any thread. Wait-free. */
FL_INLINE unsigned fl_type_tag(const struct fl_type *type);
/* The kind that such a number holds. Any thread. Wait-free. */
FL_INLINE enum fl_dealloc_kind fl_tag_kind(unsigned tag);

/* fl_dealloc by the type's tag. It reads the type only if there is more to do than to push a PLAIN object's block. A
 * tag other than the type's is misuse, reported where the call reads the type. Thread and progress as fl_dealloc. */
FL_INLINE void fl_dealloc_tagged(struct fl_thread *thread, void *object, const struct fl_type *type, size_t tag);

/* Deallocates an object whose last reference is gone while readers may still look at it. The callbacks run as those of
 * fl_dealloc; the memory is freed after a grace period. A LEGACY type is misuse, because its `dealloc` frees the object:
 * let that end in fl_type_free_deferred instead. Misuse with FL_TYPE_NOT_DEFERRED, and if the handle is offline or the
 * heap has no grace periods. Called by the handle's thread. Progress as fl_free_deferred, beside what the callbacks do.
 */
FL_INLINE void fl_dealloc_deferred(struct fl_thread *thread, void *object, const struct fl_type *type);

/* Frees the memory of an instance after a grace period and does nothing else: for the end of a LEGACY `dealloc`.
 * Misuse, thread and progress as fl_free_deferred. */
FL_API void fl_type_free_deferred(struct fl_thread *thread, void *object, const struct fl_type *type);

/* ---- Destruction
 *
 * The death of one object may drop many others. fl_dealloc does not recurse through them:
 *
 *     fl_dealloc(root)              no call destroys on this handle and stack: this one does, it is the drain
 *       finalize(root), clear(root)
 *         fl_dealloc(child)         inside a callback: the child waits
 *       the block of the root is freed
 *       finalize(child), clear(child), ... until nothing waits
 *
 *   - A CLEAR or FINALIZE object that a callback drops waits, and is destroyed after that callback has returned and the
 *     block of its object is freed. So `clear` must follow no borrowed pointer to a parent. Until then the object is as
 *     its last owner left it, and counts as live.
 *   - Objects are prefetched when they are dropped. While more than 16 wait, the last 16 are not taken: the one dropped
 *     just before them is destroyed next. Else the last one is. So a cold graph is read at the speed of memory, not at
 *     its latency. A host must not rely on more of the order.
 *   - Waiting objects lie in magazines. When memory is refused, an object of a type with FL_TYPE_HAS_WORDS is linked
 *     through its words, and the order is another one. An object without such words is then destroyed where it is
 *     dropped, inside the callback. So chains, trees and arrays of any length die on a small stack, and with
 *     FL_TYPE_HAS_WORDS whether memory can be had or not. An OS thread that can have no handle, because memory for one is
 *     refused, links its objects likewise; what is still linked when the thread ends, or on other threads at a fork, is
 *     never destroyed.
 *   - An object with `clear_some` waits again after each piece, like one that is dropped. So of a list of ten million
 *     objects, only some wait at a time. Where the list finds no place, its next piece follows at once.
 *   - A type with FL_TYPE_AT_ONCE has its objects destroyed where they are dropped, children before their parent's
 *     block. Its chains recurse.
 *   - LEGACY objects end where they are dropped, as their `dealloc` is called at once. A LEGACY object that drops CLEAR
 *     objects, and these LEGACY ones, does not recurse. Chains of LEGACY objects alone do.
 *   - PLAIN objects are freed where they are dropped. fl_dealloc of one runs nothing else.
 *   - A resurrected object is not cleared. Its children stay with it.
 *   - A callback may allocate, free and deallocate, through this handle and others. Each handle has a drain of its own.
 *     It may flush the handle. It must not detach it: that is misuse, and nothing happens.
 *   - If the host leaves a callback by a C++ exception or pthread_exit, its object stays allocated, and the drain ends.
 *     What waits is destroyed by the next fl_dealloc of the handle that runs callbacks, or by fl_thread_unwound.
 *   - If the host leaves it by longjmp, the library does not notice. What is dropped may wait from then on, until
 *     fl_thread_unwound.
 *   - What still waits when a handle is detached, when its thread exits, or in the child of a fork when it is gone, is
 *     left to the heap. A call of fl_dealloc of any other handle that runs callbacks destroys it. fl_heap_destroy
 *     returns -EBUSY while there is some. */

/* Names the stack that the handle's thread is on from now on: any word that no other stack of the handle has; NULL at
 * first. A host that switches stacks (fibers, coroutines, greenlets that copy slices of a stack) calls this at each
 * switch, because addresses do not tell stacks apart. Drains, and the objects that wait, belong to a handle and a stack:
 * what dies on one stack never waits for a drain that is parked on another. For such a drain a handle needs one magazine
 * more for each stack; where that is refused, destruction on the other stack recurses.
 *
 * Before a stack ends whose drain is parked, the host names that stack and calls fl_thread_unwound. Ignored for the
 * handles of unattached and exited threads. Called by the handle's thread. Wait-free. */
FL_API void fl_thread_set_stack(struct fl_thread *thread, const void *stack);

/* Says that the host has left callbacks of the handle on its present stack by longjmp. Then destroys what waits there,
 * before it returns. If the stack shows that such a callback still runs, it does nothing. Called by the handle's thread.
 * Progress as fl_dealloc. */
FL_API void fl_thread_unwound(struct fl_thread *thread);

/* ---- Code that runs later
 *
 * A host that cannot have any code run inside the drop of a reference has dead objects end later. options.later says of
 * which kinds, and a type may override it by FL_TYPE_LATER, FL_TYPE_NOT_LATER or FL_TYPE_AT_ONCE. PLAIN objects never
 * wait.
 *
 *     fl_dealloc(object)                   puts the object into the queue of its thread: no callback runs
 *     *fl_thread_pending(thread) != 0      the host's eval breaker sees it
 *     fl_run_pending(thread, budget)       finalize(object), clear(object), ... as long as the budget lasts
 *
 *   - Until its turn an object is as its last owner left it, and counts as live. The order is not promised.
 *   - fl_dealloc of such an object calls nothing of the host, and its work does not depend on what the object holds.
 *     When memory is refused, the object is linked through its words. So a type with FL_TYPE_LATER has words.
 *   - A type without FL_TYPE_HAS_WORDS that options.later names is misuse on that heap, unless it has FL_TYPE_NOT_LATER
 *     or FL_TYPE_AT_ONCE. fl_dealloc reports it and does nothing. fl_type_alloc reports it in its slow half.
 *   - fl_dealloc_deferred likewise: the callbacks run later, and then the memory waits for its grace period.
 *   - All that a callback of fl_run_pending drops goes to the queue, CLEAR objects included that would otherwise end in
 *     fl_dealloc. If memory is refused for one without words, it ends where it is dropped.
 *   - What is pending when a handle is detached, when its thread exits, or in the child of a fork when it is gone, is
 *     left to the heap. So is what OS threads drop that can have no handle. The next fl_run_pending of any handle of
 *     the heap adopts it. The bytes of all handles tell of it.
 *   - fl_heap_destroy returns -EBUSY while anything is left. */

/* How much one call of fl_run_pending may begin. At least one field is not 0. */
struct fl_budget {
    size_t objects;        /* the most objects; of one with `clear_some` each piece counts. 0: any number */
    uint64_t microseconds; /* the time by the monotonic clock, from the call on, after which nothing begins. 0: any */
};

/* A budget of at most so many objects. Any thread. Wait-free. */
FL_INLINE struct fl_budget fl_budget_objects(size_t objects);
/* A budget of so much time. Any thread. Wait-free. */
FL_INLINE struct fl_budget fl_budget_microseconds(uint64_t microseconds);

/* Destroys pending objects, until none is left or the budget is used up. The time of one callback is the host's: it may
 * outlast the budget. The clock is looked at before each `finalize`, `dealloc` and `clear_some`, and before every
 * eighth object that only has a `clear`. Returns 1 if some are left, 0 if none are. Returns -EINVAL, reported as
 * misuse, for a budget of zero. May be called inside a callback. On an OS thread that can have no handle it does
 * nothing and returns 0. Called by the handle's thread. Progress as fl_dealloc; locks to adopt what was left to the
 * heap. */
FL_API int fl_run_pending(struct fl_thread *thread, struct fl_budget budget);

/* A byte that is not zero if fl_run_pending of the handle has something to do. A host includes it in its eval breaker.
 * Read it as a relaxed atomic. Where several threads are told of what was left to the heap, the first adopts it; the
 * others find nothing. The pointer is valid while the handle is attached. Called by any thread. Wait-free. */
FL_API const unsigned char *fl_thread_pending(struct fl_thread *thread);

#ifdef __cplusplus
}
#endif

#include <freelane/inline.h>

#endif
