/* SPDX-License-Identifier: MIT
 *
 * All threads that have allocated: two lists of their records, under the core's registry lock.
 *
 *     threads          the OS thread may allocate
 *     ended threads    the OS thread has ended, with something in its drawers
 *
 * A collection cannot wait for other threads and may not touch their drawers. It recalls them: it makes their struct
 * fl_py_current point at stand-ins, constants full of zeros. So each comes to a slow half, sees that the epoch of
 * what its drawers hold has passed, and empties them itself. The drawers of ended threads are emptied by the
 * collection.
 *
 * A thread that stops the world may touch them. It takes out what all drawers hold, so that idle threads, which come
 * to no slow half, keep nothing.
 *
 *     recalled from    by                           until
 *     thread           the start of a collection    the thread's next slow half
 *     both pointers    a collection, when all is    likewise; what the drawers hold is not out of date by that
 *                      taken back, and its end
 *     both pointers    a change of the switch       likewise; while caching is off, `heap` stays at its stand-in
 *     both pointers    the thread's end             for ever
 *
 * From then on, a thread that does anything here comes to a slow half first, and is readmitted. Where none has been since,
 * the rest of a collection, and later ones, find nothing to do: a process may have many copies that it seldom uses.
 *
 * `heap` stays at its stand-in too where the fast paths may not write headers (header.h). `memory` goes with it.
 */
#ifndef FLI_PYTHON_THREADS_H
#define FLI_PYTHON_THREADS_H

#include "python/thread.h"

struct fli_py_haul;

/* Adds the calling OS thread's new record. It is recalled until it is readmitted. */
void fli_py_threads_add(struct fli_py_thread *thread);

/* Ends a recall of the calling thread, which is about to use the heap or its drawers, or only to empty these. Returns
 * whether what its drawers hold is to be given up. */
bool fli_py_threads_readmit(struct fli_py_thread *thread, bool uses);

/* Whether no thread has used anything since the last collections ended: the last few, of this kind or fuller. */
bool fli_py_threads_are_quiet(bool full);

/* Gives the calling thread's record its handle in the heap of memory, where the fast paths then find it. */
void fli_py_threads_add_memory(struct fli_py_thread *thread, struct fl_thread *memory);

/* In the midst of a collection: everything has been taken back. */
void fli_py_threads_rest(void);

/* Whether no thread has used anything since. */
bool fli_py_threads_have_rested(void);

/* At the end of a collection that was not quiet. */
void fli_py_threads_settle(bool full);

/* A block has been freed on an OS thread without a record. */
void fli_py_threads_note_use(void);

/* Takes out the record of the calling OS thread, which ends. Returns whether it is now one of the ended threads,
 * which own its reference. */
bool fli_py_threads_end(struct fli_py_thread *thread);

/* Makes what all drawers hold out of date: each thread empties its own as soon as it comes to a slow half. */
void fli_py_threads_expire(void);

/* Empties the drawers of ended threads. May run Python code. */
void fli_py_threads_empty_ended(void);

/* Prepares a haul that has room for what the drawers of all threads hold now, or for nothing if memory is refused. */
void fli_py_threads_prepare_haul(struct fli_py_haul *haul);

/* Takes out what the drawers of all threads hold, as far as the haul has room. While the world is stopped. */
void fli_py_threads_haul_stw(struct fli_py_haul *haul);

/* Turns caching on or off in every thread. Returns whether it was on. May run Python code. */
bool fli_py_threads_set_caching(bool on);

/* Turns caching off for good: it is not turned on any more. May run Python code. */
void fli_py_threads_bar(void);

/* The extension is executed in another interpreter than the main one: the fast paths of an OS thread do not know which one
 * it runs, so they find no memory beside objects any more (memory.h). */
void fli_py_threads_bar_memory(void);

/* Whether caching is on. */
bool fli_py_threads_caching(void);

/* Whether the fast paths find blocks of the heap: caching is on, and they may write headers. */
bool fli_py_threads_use_heap(void);

/* In the child of a fork: the other threads have ended. May run Python code. */
void fli_py_threads_forked(void);

/* How many freed objects of exactly this type all threads have cached. */
size_t fli_py_threads_kept(const struct fl_py_type *self, const PyTypeObject *type);

/* Adds what the threads hold to statistics. */
void fli_py_threads_count(struct fl_py_stats *stats);

#endif
