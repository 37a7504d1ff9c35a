/* SPDX-License-Identifier: MIT
 *
 * The drawers of a thread: one per type, with a cache (types with gc) or a stock (types without).
 *
 *     room of a thread's caches = room_bytes  <= FL_PY_THREAD_BYTES    of which each has FL_PY_CACHE_BYTES at most
 *                               + grown_bytes <= FL_PY_GROWN_BYTES     or 1 / FL_PY_GROWN_PARTS of what the thread has
 *                                                                      had at once of a type
 *
 * A cache grows when it was empty, its thread has made objects then, and so many of them have died that it is full. It
 * grows to the number of objects that came from it and from the interpreter meanwhile, by FL_PY_GROWN_BYTES at most each
 * time; so what it has room for besides, the thread has emptied and filled again. If the thread's caches have grown as far as
 * they may, the others that have are emptied. A thread that only frees, or only allocates, has nothing grow. A cache that has
 * been emptied has as much room as at first.
 *
 * Where a thread has more objects than its caches may hold, each one beyond takes some 35 instructions more than with the
 * interpreter's own allocation, and each one cached some 130 fewer. So a quarter of them pays for the rest.
 *
 * A drawer belongs to its OS thread, which alone fills it. What it holds belongs to the interpreter, which takes
 * memory and references back from threads with an attached thread state only. The drawer of a thread that has ended
 * is emptied by whichever thread takes it over. While the world is stopped (stop.h), the thread that has stopped it
 * may take out what any drawer holds, and gives it back later.
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

/* Gives more room to the type's cache, which is full, and misses some. May run Python code. */
void fli_py_drawer_grow_cache(struct fli_py_thread *thread, const struct fl_py_type *self);

/* Gives the type's drawer a stock, if the thread may have one, and fills it if it is empty. Likewise. */
void fli_py_drawer_fill_stock(struct fli_py_thread *thread, const struct fl_py_type *self, PyTypeObject *type);

/* Empties all drawers, or those with a stock. May run Python code. */
void fli_py_drawers_empty(struct fli_py_thread *thread);
void fli_py_drawers_empty_stocks(struct fli_py_thread *thread);

/* How many drawers of a thread may hold something: those behind have no type yet. */
size_t fli_py_drawers(void);

/* How many are not empty. */
size_t fli_py_drawers_filled(const struct fli_py_thread *thread);

/* What has been taken out of the drawers of several threads. */
struct fli_py_haul {
    union fl_py_drawer *contents;
    size_t count, room;
};

/* Takes out what the drawers hold, as far as the haul has room. Calls nothing of the interpreter. Under the core's
 * registry lock; the owning thread, or any other while that is stopped or has ended. */
void fli_py_drawers_haul_locked(struct fli_py_thread *thread, struct fli_py_haul *haul);

/* Gives what the haul has back to the interpreter, and frees its contents. May run Python code. */
void fli_py_haul_give_back(struct fli_py_haul *haul);

/* How many objects of exactly this type the thread's cache holds. Under the core's registry lock. */
size_t fli_py_drawer_kept_locked(struct fli_py_thread *thread, const struct fl_py_type *self,
                                 const PyTypeObject *type);

/* Adds what the caches hold to statistics. Under the core's registry lock. */
void fli_py_drawers_count_locked(const struct fli_py_thread *thread, struct fl_py_stats *stats);

#endif
