/* SPDX-License-Identifier: MIT
 *
 * Memory beside objects (fl_py_memory_alloc): tables, texts and the like, which an object owns. It lies in blocks of a heap
 * of its own, because a late reader of a dead object's header may find any block of the other heap (heap.h), and would take
 * an author's bytes for a reference count. So this heap has no stale readers. It needs no stops, returns memory to the
 * OS when nobody has used it for a while, and all of it after a full collection.
 *
 *     memory = that in the range of the heap (its own) + that elsewhere (the interpreter's)
 *
 * The interpreter's allocator serves what is above FL_BLOCK_MAX or finds no room, other interpreters than the main one, and
 * all calls while caching is off. The address tells a free whose memory it is.
 *
 *     an OS thread's handle is attached    by its first allocation or free here, once it has one in the heap of objects
 *     the fast paths find it               whenever they find that one (threads.h), unless the extension was executed in
 *                                          another interpreter, too: then a slow half has to look which one the thread runs
 *
 * The slow halves run no Python code, so they do not readmit a thread that was recalled. The next slot of an object does.
 */
#ifndef FLI_PYTHON_MEMORY_H
#define FLI_PYTHON_MEMORY_H

#include "python/interpreter.h"

/* Empties the caches of all threads. While the world is stopped; calls nothing of the interpreter. */
void fli_py_memory_flush_stw(void);

/* Returns free memory beyond `retain` bytes to the OS. */
void fli_py_memory_trim(size_t retain);

/* The next fork happens while the world is stopped. */
void fli_py_memory_fork_stopped(void);

/* Adds what the heap holds to statistics. */
void fli_py_memory_count(struct fl_py_stats *stats);

#endif
