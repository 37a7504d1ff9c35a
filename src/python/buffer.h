/* SPDX-License-Identifier: MIT
 *
 * Retired buffers (fl_py_buffer_free_deferred): memory that threads may still read, until the world has been stopped.
 *
 *     retired ──the world is stopped──> freed                 by a stop that Freelane makes (reclaim.h)
 *     retired ──collection starts──> closing ──it stops──> freed
 *
 * A collection stops the world between its two callbacks, in which Freelane does not run. So it frees what had been
 * retired when it started.
 *
 *     bytes waiting = bytes retired + bytes closing
 *
 * Retiring pushes onto one list of all threads, which is taken as a whole: so no push can mistake one buffer for
 * another. The link and the size lie in front of the buffer. Where more than BOUND bytes wait, a stop is asked for
 * (pace.h).
 *
 *     label  operation                              order      partner
 *     V1     a buffer is pushed                     release    V2: its link
 *     V2     the list is taken                      acquire    V1
 *
 * That no reader is left is ordered by the interpreter's stop. In a build with the GIL no reader is there when a buffer is
 * retired, and it is freed at once.
 */
#ifndef FLI_PYTHON_BUFFER_H
#define FLI_PYTHON_BUFFER_H

#include "python/interpreter.h"

struct fli_py_buffer;

/* Takes what has been retired. While the world is stopped. */
struct fli_py_buffer *fli_py_buffers_take_stw(void);

/* Frees what was taken. */
void fli_py_buffers_free(struct fli_py_buffer *buffers);

/* At the start of a collection and at its end. One collection at a time. */
void fli_py_buffers_start(void);
void fli_py_buffers_stop(void);

/* Whether any have been retired that nobody has taken. */
bool fli_py_buffers_wait(void);

/* Whether so much waits that a stop should be made. */
bool fli_py_buffers_are_due(void);

/* Stops the world and frees what had been retired. May let other threads run. */
void fli_py_buffers_reclaim(void);

/* In the child of a fork: there is no other reader. */
void fli_py_buffers_forked(void);

/* Adds what waits to statistics. */
void fli_py_buffers_count(struct fl_py_stats *stats);

#endif
