/* SPDX-License-Identifier: MIT
 *
 * A thread that has allocated: its record, from its first object to its end.
 *
 * The record hangs on the core's record of the OS thread (heap/os_thread.h). Its drawers may hold something from the
 * first allocation until the thread state is cleared. The destructor of a capsule in the thread state's dict, the
 * watch, learns of that:
 *
 *     cleared by the OS thread itself    The drawers are emptied at once, and stay closed to that thread state: objects
 *                                        that still die with its exceptions and contexts pass them by.
 *     cleared by another OS thread       That thread may not touch the drawers. The owner goes on, and its next thread
 *                                        state is watched.
 *
 * An OS thread may run several interpreters in turn. What its drawers and its handle hold belongs to the main one. While
 * it runs another, it changes nothing of either: a stop of the main interpreter's world does not wait for it.
 *
 * An OS thread that ends with something in its drawers leaves its record to the next collection (threads.h). A record
 * is freed when neither the OS thread, nor the list of ended threads, nor a capsule refers to it.
 *
 * Atomics are relaxed: `unwatched` and the pointers of a struct fl_py_current are words by themselves, which another
 * thread may read or write a little sooner or later.
 */
#ifndef FLI_PYTHON_THREAD_H
#define FLI_PYTHON_THREAD_H

#include "base/list.h"
#include "python/interpreter.h"
#include "python/nest.h"

struct fli_py_queue;

struct fli_py_thread {
    struct fl_py_thread face;
    struct fl_thread *heap;   /* the handle that is attached to the heap; NULL until the main interpreter needs it */
    struct fl_thread *memory; /* the one that is attached to the heap of memory; likewise */
    FLI_ATOMIC(bool) unwatched; /* no thread state has a capsule for it */

    /* The OS thread's own. */
    uint64_t epoch;         /* of what the drawers hold */
    size_t room_bytes;      /* of objects for which the caches have had room from the start */
    size_t grown_bytes;     /* of those for which they have room besides */
    PyThreadState *watcher; /* the thread state that has the capsule, or had the last one */
    uint64_t watcher_id;
    bool open;                         /* the drawers may hold something */
    uint8_t passed_by[FL_CLASS_COUNT]; /* how often more it passes the heap by, which had no room for a block */
    uint8_t passed_by_memory[FL_CLASS_COUNT]; /* the same for the heap of memory */
    struct fli_py_nest nest;
    struct fli_py_queue *queues; /* of references to drop later; one for each interpreter (later.h) */

    /* Where the OS thread finds its caches, and through which it is recalled: in a seat (seat.h), or thread-local. */
    struct fl_py_current *current;

    /* Under the core's registry lock. */
    unsigned references; /* of the OS thread or the list of ended threads, and of capsules */
    FLI_LINKS(struct fli_py_thread) links;
};

/* How often a thread passes a heap by that had no block of a class for it. */
enum { FLI_PY_PASS_BY = FLI_RARE_PATHS ? 2 : 63 };

/* Whether the thread passes a heap by this time. */
static inline bool fli_py_passes_by(uint8_t *passed_by)
{
    bool passes = *passed_by > 0;
    *passed_by -= passes;
    return passes;
}

/* Notes whether the heap had a block, and returns that. */
static inline void *fli_py_passed(uint8_t *passed_by, void *block)
{
    *passed_by = block == NULL ? FLI_PY_PASS_BY : 0;
    return block;
}

static inline struct fli_py_thread *fli_py_thread_of(struct fl_py_thread *face)
{
    return (struct fli_py_thread *)(void *)face;
}

/* The calling OS thread's record, brought up to date: if the thread was recalled, its drawers are emptied. Makes the
 * record if there is none. Returns NULL if memory is refused, or if the OS thread is about to end. While the OS thread
 * runs another interpreter than the main one, the record stays as it is; where there is no heap, it has no handle. May
 * run Python code. */
struct fli_py_thread *fli_py_thread_enter(void);

/* The same, but returns NULL if there is no record. */
struct fli_py_thread *fli_py_thread_update(void);

/* At the end of a collection: empties the calling thread's drawers, if it was recalled. May run Python code. */
void fli_py_thread_empty_expired(void);

/* The record as it is, maybe out of date; NULL if there is none. */
struct fli_py_thread *fli_py_thread_own(void);

/* The same, but makes the record if there is none. Returns NULL if memory is refused or the OS thread
 * is about to end. Runs no Python code and does not detach. */
struct fli_py_thread *fli_py_thread_make(void);

/* Whether the drawers of the calling thread may hold something. Opens them if the end of the thread state can be
 * watched. May run Python code. */
bool fli_py_thread_open(struct fli_py_thread *thread);

/* A new interpreter has begun in the same process: drawers that the last one's end has closed can be opened again. */
void fli_py_thread_reopen(void);

/* Gives up a reference to a record, and frees it if that was the last. */
void fli_py_thread_unreference(struct fli_py_thread *thread);

#endif
