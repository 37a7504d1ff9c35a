/* SPDX-License-Identifier: MIT
 *
 * Atomics are relaxed: `uncached` and the pointers of a struct fl_py_current are words by themselves, which another
 * thread may read or write a little sooner or later.
 */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/threads.h"

#include "base/list.h"
#include "heap/registry.h"
#include "python/drawer.h"
#include "python/header.h"
#include "python/seat.h"

#include <stdlib.h>

/* Drawers for which a haul has room besides, because threads fill more until the world is stopped. */
enum { SPARE = 256 };

/* The stand-ins. */
static const struct fl_py_thread no_thread;
static const struct fl_thread no_heap;

#define STAND_INS                                                                                                    \
    {                                                                                                                \
        .heap = (struct fl_thread *)&no_heap, .thread = (struct fl_py_thread *)&no_thread,                           \
        .memory = (struct fl_thread *)&no_heap                                                                       \
    }

__thread struct fl_py_current fl_py_current = STAND_INS;
const struct fl_py_current fl_py_nowhere = STAND_INS;

/* Under the core's registry lock; `uncached` changes under it. */
static FLI_PLAIN(struct fli_py_thread *) threads;
static FLI_PLAIN(struct fli_py_thread *) ended_threads;
static uint64_t epoch;
static FLI_ATOMIC(bool) uncached;
static bool barred;        /* caching stays off */
static bool memory_barred; /* the fast paths find no memory: the OS threads may run other interpreters, too */

/* How many collections have ended since a thread used anything: of any kind, and full ones. What one has begun to free, the
 * next may have to bring to an end. */
enum { QUIET = 2 };
static unsigned quiet = QUIET, quiet_full = QUIET;

/* Whether everything has been taken back, and no thread has used anything since. */
static bool rested;

/* ---- One thread. */

/* Lets the fast paths find the thread's handles, as far as they may. */
static void point_to_heaps_locked(struct fli_py_thread *thread, bool may_use)
{
    bool has_memory = may_use && !memory_barred && thread->memory != NULL;
    struct fl_thread *stand_in = (struct fl_thread *)&no_heap;
    fli_registry_assert_held();
    __atomic_store_n(&thread->current->heap, may_use ? thread->heap : stand_in, __ATOMIC_RELAXED);
    __atomic_store_n(&thread->current->memory, has_memory ? thread->memory : stand_in, __ATOMIC_RELAXED);
}

static void point_to_thread_locked(struct fl_py_current *current, struct fl_py_thread *thread)
{
    fli_registry_assert_held();
    __atomic_store_n(&current->thread, thread, __ATOMIC_RELAXED);
}

/* Recalls a thread; from the heaps too if asked for. */
static void recall_locked(struct fli_py_thread *thread, bool heap_too)
{
    if (heap_too)
        point_to_heaps_locked(thread, false);
    point_to_thread_locked(thread->current, (struct fl_py_thread *)&no_thread);
}

void fli_py_threads_add(struct fli_py_thread *thread)
{
    fli_registry_lock();
    thread->current = fli_py_seat_take_locked();
    recall_locked(thread, true);
    FLI_LIST_ADD(&threads, thread, links);
    fli_registry_unlock();
}

static void note_use_locked(void)
{
    fli_registry_assert_held();
    quiet = quiet_full = 0;
    rested = false;
}

bool fli_py_threads_readmit(struct fli_py_thread *thread, bool uses)
{
    fli_registry_lock();
    if (uses)
        note_use_locked();
    bool expired = thread->epoch != epoch;
    thread->epoch = epoch;
    point_to_heaps_locked(thread, fli_py_threads_use_heap());
    point_to_thread_locked(thread->current, &thread->face);
    fli_registry_unlock();
    return expired;
}

void fli_py_threads_add_memory(struct fli_py_thread *thread, struct fl_thread *memory)
{
    fli_registry_lock();
    thread->memory = memory;
    point_to_heaps_locked(thread, fl_py_heap_at(thread->current) == thread->heap);
    fli_registry_unlock();
}

bool fli_py_threads_end(struct fli_py_thread *thread)
{
    fli_registry_lock();
    bool empty = fli_py_drawers_filled(thread) == 0;
    FLI_LIST_REMOVE(thread, links);
    recall_locked(thread, true);
    fli_py_seat_leave(thread->current);
    note_use_locked();
    if (!empty)
        FLI_LIST_ADD(&ended_threads, thread, links);
    fli_registry_unlock();
    return !empty;
}

/* ---- All of them. */

static void recall_all_locked(bool heap_too)
{
    for (struct fli_py_thread *thread = threads; thread != NULL; thread = thread->links.next)
        recall_locked(thread, heap_too);
}

void fli_py_threads_expire(void)
{
    fli_registry_lock();
    epoch++;
    recall_all_locked(false);
    fli_registry_unlock();
}

/* ---- Collections without anything to do. */

bool fli_py_threads_are_quiet(bool full)
{
    fli_registry_lock();
    bool are_quiet = (full ? quiet_full : quiet) >= QUIET;
    fli_registry_unlock();
    return are_quiet;
}

void fli_py_threads_rest(void)
{
    fli_registry_lock();
    recall_all_locked(true);
    rested = true;
    fli_registry_unlock();
}

bool fli_py_threads_have_rested(void)
{
    fli_registry_lock();
    bool have_rested = rested;
    fli_registry_unlock();
    return have_rested;
}

void fli_py_threads_settle(bool full)
{
    fli_registry_lock();
    recall_all_locked(true);
    quiet++;
    quiet_full += full;
    fli_registry_unlock();
}

void fli_py_threads_note_use(void)
{
    fli_registry_lock();
    note_use_locked();
    fli_registry_unlock();
}

/* ---- What all of them hold. */

/* Calls the function for each thread, also for those that have ended. */
static void visit_locked(void (*visit)(struct fli_py_thread *thread, void *argument), void *argument)
{
    fli_registry_assert_held();
    for (struct fli_py_thread *thread = threads; thread != NULL; thread = thread->links.next)
        visit(thread, argument);
    for (struct fli_py_thread *thread = ended_threads; thread != NULL; thread = thread->links.next)
        visit(thread, argument);
}

/* Of the drawers of some threads, those that hold something, and all that may. */
struct drawers {
    size_t filled, all;
};

static void count_drawers(struct fli_py_thread *thread, void *drawers)
{
    struct drawers *count = drawers;
    count->filled += fli_py_drawers_filled(thread);
    count->all += fli_py_drawers();
}

/* A haul that is full to the last place may have left something behind, so it has one more than it needs. */
void fli_py_threads_prepare_haul(struct fli_py_haul *haul)
{
    struct drawers count = {.all = fli_py_drawers()}; /* of a thread that comes meanwhile */
    fli_registry_lock();
    visit_locked(count_drawers, &count);
    fli_registry_unlock();
    size_t room = fli_min(count.filled + SPARE, count.all) + 1;
    *haul = (struct fli_py_haul){.contents = malloc(room * sizeof *haul->contents)};
    haul->room = haul->contents != NULL ? room : 0;
}

static void haul_from(struct fli_py_thread *thread, void *haul)
{
    fli_py_drawers_haul_locked(thread, haul);
}

void fli_py_threads_haul_stw(struct fli_py_haul *haul)
{
    fli_registry_lock();
    visit_locked(haul_from, haul);
    fli_registry_unlock();
}

bool fli_py_threads_caching(void)
{
    return !fli_load_relaxed(&uncached); /* relaxed: every thread is recalled when it changes */
}

bool fli_py_threads_use_heap(void)
{
    return fli_py_threads_caching() && fli_py_header_is_known();
}

bool fli_py_threads_set_caching(bool on)
{
    fli_registry_lock();
    bool was_on = fli_py_threads_caching();
    on = on && !barred;
    if (on != was_on) {
        fli_store_relaxed(&uncached, !on); /* relaxed: as above */
        epoch++;
        recall_all_locked(true);
    }
    fli_registry_unlock();
    (void)fli_py_thread_update();
    return was_on;
}

void fli_py_threads_bar_memory(void)
{
    fli_registry_lock();
    memory_barred = true;
    for (struct fli_py_thread *thread = threads; thread != NULL; thread = thread->links.next)
        point_to_heaps_locked(thread, fl_py_heap_at(thread->current) == thread->heap);
    fli_registry_unlock();
}

void fli_py_threads_bar(void)
{
    fli_registry_lock();
    barred = true;
    fli_registry_unlock();
    (void)fli_py_threads_set_caching(false);
}

static struct fli_py_thread *take_ended(void)
{
    fli_registry_lock();
    struct fli_py_thread *thread = ended_threads;
    if (thread != NULL)
        FLI_LIST_REMOVE(thread, links);
    fli_registry_unlock();
    return thread;
}

void fli_py_threads_empty_ended(void)
{
    struct fli_py_thread *thread;
    while ((thread = take_ended()) != NULL) {
        fli_py_nest_orphan(thread);
        fli_py_drawers_empty(thread);
        fli_py_thread_unreference(thread);
    }
}

void fli_py_threads_forked(void)
{
    const struct fli_py_thread *own = fli_py_thread_own();
    fli_registry_lock();
    note_use_locked();
    struct fli_py_thread *thread = threads, *next;
    for (; thread != NULL; thread = next) {
        next = thread->links.next;
        if (thread == own)
            continue;
        FLI_LIST_REMOVE(thread, links);
        FLI_LIST_ADD(&ended_threads, thread, links);
    }
    fli_registry_unlock();
    fli_py_threads_empty_ended();
}

/* Counts the cached objects of a type. */
struct kept {
    const struct fl_py_type *self;
    const PyTypeObject *type;
    size_t count;
};

static void count_kept(struct fli_py_thread *thread, void *argument)
{
    struct kept *kept = argument;
    kept->count += fli_py_drawer_kept_locked(thread, kept->self, kept->type);
}

size_t fli_py_threads_kept(const struct fl_py_type *self, const PyTypeObject *type)
{
    struct kept kept = {.self = self, .type = type};
    fli_registry_lock();
    visit_locked(count_kept, &kept);
    fli_registry_unlock();
    return kept.count;
}

static void count_thread(struct fli_py_thread *thread, void *stats)
{
    fli_py_drawers_count_locked(thread, stats);
}

void fli_py_threads_count(struct fl_py_stats *stats)
{
    fli_registry_lock();
    for (struct fli_py_thread *thread = threads; thread != NULL; thread = thread->links.next)
        stats->threads += thread->heap != NULL;
    visit_locked(count_thread, stats);
    fli_registry_unlock();
}

#endif
