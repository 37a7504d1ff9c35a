/* SPDX-License-Identifier: MIT
 *
 * References that are dropped later (fl_py_decref_later). Each thread has a queue of them for each interpreter, so that
 * queueing needs no lock and no read-modify-write.
 *
 *     who drops                     what
 *     fl_py_run_later               the calling thread's own, and what is left
 *     a collection                  the same
 *     end of a thread state         the same (of the main interpreter)
 *     main thread                   what is overdue, as a pending call of the interpreter, SLICE_MS at a time
 *     helper                        what is still there another OVERDUE_MS after that
 *     end of an interpreter         all that is queued for it, for LAST_MS at most
 *
 * What a thread queued when it ends is left; in the child of a fork, what all other threads queued.
 *
 * Every reference is dropped in the interpreter in which it was queued. The pending call and the helper serve the main
 * interpreter only.
 *
 * Py_AddPendingCall may detach the calling thread. So a thread that queues asks for nothing itself: it sees to it that the
 * helper is at work, which looks every OVERDUE_MS, and ends when nothing has been queued for IDLE looks.
 *
 *     a queue of the main interpreter is not empty  =>  the helper is at work, or about to look; or it must not begin
 */
#ifndef FLI_PYTHON_LATER_H
#define FLI_PYTHON_LATER_H

#include "python/interpreter.h"

struct fli_py_thread;

/* The main interpreter begins: what its predecessor has not dropped is leaked. */
void fli_py_later_open(void);

/* Drops what is queued for the calling thread's interpreter, which ends; also what destructors and other threads queue
 * meanwhile. Where these queue slow destructors faster than they are dropped, the rest is leaked. Runs Python code. */
void fli_py_later_close(void);

/* Leaves what the calling OS thread, which ends, has queued. */
void fli_py_later_leave(struct fli_py_thread *thread);

/* After a fork: in the child, leaves what other threads have queued; in both, sees to it that it is dropped. */
void fli_py_later_forked(bool in_child);

/* Adds what is queued and leaked to statistics. */
void fli_py_later_count(struct fl_py_stats *stats);

#endif
