/* SPDX-License-Identifier: MIT
 *
 * Stops of the world that nobody else makes. Where the collector is disabled, or never due, free slabs would serve only
 * their own class for ever. So a stop is asked for when
 *
 *     unspent >= bound   and   free memory bound to a class >= bound
 *
 *     bound   = max(16 MiB, a quarter of what is in use)
 *     unspent = bytes of slabs that have been given a class - bounds of all stops so far
 *
 * So there is at most one stop for each bound of new slabs. It leaves half a bound of free memory.
 *
 * A stop is asked for, too, when retired buffers exceed their bound (buffer.h).
 *
 * Slow halves look whether that is so. They only ask: a stop in a tp_alloc or a tp_dealloc would run other code there.
 *
 *     calm ──ask──> asked ──serve──> serving ──> calm
 *
 *     who serves       when
 *     main thread      as soon as it runs Python code: the request is a pending call of the interpreter
 *     helper           after OVERDUE_MS, for the main thread may wait; for one stop (helper.h)
 *
 * At the end of the interpreter nothing is asked for any more. A forked child asks anew.
 *
 * With the GIL there are no stale readers, and the heap trims itself.
 */
#ifndef FLI_PYTHON_PACE_H
#define FLI_PYTHON_PACE_H

#include "python/interpreter.h"

/* Lets stops be asked for, where the options say so, and not any more. */
void fli_py_pace_open(void);
void fli_py_pace_close(void);

/* Asks for a stop if it is time for one, or has a helper serve a request that has waited too long. Any thread; runs no
 * Python code. */
void fli_py_pace_look(void);

/* Asks for a stop. Runs no code of the host and does not detach, as Py_AddPendingCall may: a helper makes the request.
 * Any thread. */
void fli_py_pace_ask(void);

/* In the child of a fork. */
void fli_py_pace_forked(void);

#endif
