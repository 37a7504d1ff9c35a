/* SPDX-License-Identifier: MIT
 *
 * Stops of the world: moments at which no other thread of the interpreter runs. They are the heap's grace periods: a
 * reader that loaded a pointer before has taken its reference, or has given the pointer up, when the world is stopped.
 *
 *     build            who stops the world                how
 *     free-threaded    a collection, between its          the interpreter's own stop
 *                      callbacks `start` and `stop`
 *     free-threaded    fli_py_stop_world                  PyUnstable_GC_VisitObjects, left at the first object
 *     with the GIL     every thread that holds the GIL
 *
 *     a grace period begins with    token stops + 1, and only while a stop is sure to come: it is announced
 *     it has ended                  once stops >= that token
 *
 * At other times no grace period begins, because no thread knows when the next stop comes. Slabs that are retired then
 * stay in use.
 *
 * Stopped threads stand where they call the interpreter. So they hold none of the library's locks, and nothing of
 * theirs is half changed. A thread whose OS thread exits has no thread state, and is not stopped. It takes the
 * registry lock before it touches what others may.
 *
 * A stop concerns the main interpreter only. Threads of others run on. They have no object of the heap, because
 * fl_py_type_ready gives their types the interpreter's slots (type.c), and they change nothing of what the main one keeps
 * (thread.h).
 */
#ifndef FLI_PYTHON_STOP_H
#define FLI_PYTHON_STOP_H

#include "python/interpreter.h"

/* The grace periods of the heap. */
extern const struct fl_grace_host fli_py_stop_grace;

/* Stops the world and calls `work` meanwhile. `work` must not call the interpreter, whose locks are held: nothing of
 * its memory may be allocated or freed. Returns whether `work` was called. It is not at the interpreter's end, nor where
 * all objects are frozen (gc.freeze) and the interpreter refuses memory for one more. Holds no lock of the library; may
 * let other threads run. */
bool fli_py_stop_world(void (*work)(void *argument), void *argument);

/* Adds the number of such stops and how long they took to statistics. */
void fli_py_stop_count(struct fl_py_stats *stats);

/* Announces that the world will be stopped, or that what has been retired since then is all. One thread at a time. */
void fli_py_stop_announce(bool comes);

/* Says that the world has been stopped since the announcement. Likewise. */
void fli_py_stop_passed(void);

#endif
