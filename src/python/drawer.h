/* SPDX-License-Identifier: MIT
 *
 * The drawers of a thread: one per type, with a cache (types with gc) or a stock (types without).
 *
 *     room of a thread's caches = room_bytes <= FL_PY_THREAD_BYTES
 *     room of one cache                      <= FL_PY_CACHE_BYTES
 *
 * A drawer belongs to its OS thread, which alone fills it. What it holds belongs to the interpreter, which takes
 * memory and references back from threads with an attached thread state only. The drawer of a thread that has ended
 * is emptied by whichever thread takes it over.
 *
 * Statistics look into the caches of other threads. So a cache gets and loses its slots under the core's registry
 * lock.
 */
#ifndef FLI_PYTHON_DRAWER_H
#define FLI_PYTHON_DRAWER_H

#include "python/thread.h"

/* Gives the type's drawer a cache, if the thread may have one. `type` is the exact type of the objects to come. May
 * run Python code. */
void fli_py_drawer_add_cache(struct fli_py_thread *thread, const struct fl_py_type *self, PyTypeObject *type);

/* Gives the type's drawer a stock, if the thread may have one, and fills it if it is empty. Likewise. */
void fli_py_drawer_fill_stock(struct fli_py_thread *thread, const struct fl_py_type *self, PyTypeObject *type);

/* Empties all drawers, or those with a stock. May run Python code. */
void fli_py_drawers_empty(struct fli_py_thread *thread);
void fli_py_drawers_empty_stocks(struct fli_py_thread *thread);

/* Whether all are empty. */
bool fli_py_drawers_are_empty(const struct fli_py_thread *thread);

/* Adds what the caches hold to statistics. Under the core's registry lock. */
void fli_py_drawers_count_locked(const struct fli_py_thread *thread, struct fl_py_stats *stats);

#endif
