/* SPDX-License-Identifier: MIT
 *
 * A thread's caches of freed objects with gc, from its first allocation to its end.
 *
 * The caches belong to an OS thread; what they hold, to the interpreter, which takes it back from an attached thread
 * only. They are open from the first allocation until the thread state is cleared, as the destructor of a capsule in
 * its dict tells:
 *
 *     cleared by the OS thread itself    the caches are emptied there and then, and stay closed to that thread state:
 *                                        what still dies in its exceptions and contexts goes straight through
 *     cleared by another OS thread       it may not touch them: the owner goes on, watched by its next thread state
 *
 * An OS thread that ends with something in its caches leaves them on a list that the next collection empties.
 *
 * A collection cannot wait for other threads and may not touch their caches. It makes their struct fl_py_current
 * point at the stand-in, so that they come to a slow half, see the new epoch and empty their caches themselves.
 *
 * Atomics are relaxed: `unwatched`, `uncached`, `top` and `fl_py_current` are words by themselves, which another
 * thread reads or writes a little sooner or later.
 */
#include "python/interpreter.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

/* The stand-ins: every cache is without objects and room, and so is the stack. */
static const struct fl_py_thread no_thread;
static const struct fl_thread no_heap;

/* What `own` is when the OS thread is about to end. */
static struct fl_py_thread *const ended = (struct fl_py_thread *)&no_thread;

__thread struct fl_py_current fl_py_current = {.heap = (struct fl_thread *)&no_heap,
                                               .thread = (struct fl_py_thread *)&no_thread};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct fli_py_thread *threads;
static struct fli_py_thread *ended_threads;
static void *orphans;  /* dead objects that wait, of threads that ended */
static uint64_t epoch; /* counts what every thread is to empty its caches for */
static FLI_ATOMIC(bool) uncached;
static pthread_key_t exit_key;

static struct fli_py_thread *whole(struct fl_py_thread *face)
{
    return (struct fli_py_thread *)(void *)face;
}

static void link_locked(struct fli_py_thread *thread, struct fli_py_thread **list)
{
    thread->next = *list;
    thread->link = list;
    if (thread->next != NULL)
        thread->next->link = &thread->next;
    *list = thread;
}

static void unlink_locked(struct fli_py_thread *thread)
{
    *thread->link = thread->next;
    if (thread->next != NULL)
        thread->next->link = thread->link;
}

static void reference(struct fli_py_thread *thread)
{
    pthread_mutex_lock(&registry_lock);
    thread->references++;
    pthread_mutex_unlock(&registry_lock);
}

static void unreference(struct fli_py_thread *thread)
{
    pthread_mutex_lock(&registry_lock);
    bool last = --thread->references == 0;
    pthread_mutex_unlock(&registry_lock);
    if (last)
        free(thread);
}

/* Points the fast paths of a thread somewhere else. A NULL stays. */
static void point_locked(struct fl_py_current *current, struct fl_thread *heap, struct fl_py_thread *thread)
{
    if (heap != NULL)
        __atomic_store_n(&current->heap, heap, __ATOMIC_RELAXED);
    __atomic_store_n(&current->thread, thread, __ATOMIC_RELAXED);
}

/* ---- The caches. */

static size_t objects_in(const struct fl_py_cache *cache)
{
    return (size_t)(fl_py_top(cache) - cache->floor);
}

/* Replaces a cache; statistics see the old one or the new one. */
static void exchange_cache(struct fl_py_cache *cache, struct fl_py_cache *with)
{
    struct fl_py_cache old = *cache;
    pthread_mutex_lock(&registry_lock);
    cache->floor = with->floor;
    cache->ceiling = with->ceiling;
    cache->type = with->type;
    fl_py_set_top(cache, with->top);
    pthread_mutex_unlock(&registry_lock);
    *with = old;
}

static void empty_cache(const struct fl_py_type *self, struct fl_py_cache *cache)
{
    struct fl_py_cache emptied = {0};
    exchange_cache(cache, &emptied);
    bool own_type = PyType_HasFeature(emptied.type, Py_TPFLAGS_HEAPTYPE) && !fl_py_renews_type(self);
    while (emptied.top > emptied.floor) {
        PyObject_GC_Del(*--emptied.top);
        if (own_type)
            Py_DECREF(emptied.type);
    }
    free(emptied.floor);
    Py_DECREF(emptied.type);
}

/* What is kept of a type with gc is a cache, and of one without a stock; of no type, neither. */
static bool is_cache(const union fl_py_drawer *drawer)
{
    return drawer->cache.type != NULL && PyType_HasFeature(drawer->cache.type, Py_TPFLAGS_HAVE_GC);
}

static bool is_stock(const union fl_py_drawer *drawer)
{
    return drawer->stock.type != NULL && !PyType_HasFeature(drawer->stock.type, Py_TPFLAGS_HAVE_GC);
}

/* Replaces a stock. Statistics, which have no use for stocks, tell them from caches by their type. */
static void exchange_stock(struct fl_py_stock *stock, struct fl_py_stock *with)
{
    struct fl_py_stock old = *stock;
    pthread_mutex_lock(&registry_lock);
    *stock = *with;
    pthread_mutex_unlock(&registry_lock);
    *with = old;
}

static void empty_stocks(struct fli_py_thread *thread)
{
    for (size_t i = 0; i < FL_PY_TYPES; i++) {
        struct fl_py_stock emptied = {0};
        if (!is_stock(&thread->face.drawers[i]))
            continue;
        exchange_stock(&thread->face.drawers[i].stock, &emptied);
        fli_py_stock_give(&emptied);
    }
}

static void empty(struct fli_py_thread *thread)
{
    thread->room_bytes = 0;
    empty_stocks(thread);
    for (size_t i = 0; i < FL_PY_TYPES; i++)
        if (is_cache(&thread->face.drawers[i]))
            empty_cache(fli_py_drawer_types[i], &thread->face.drawers[i].cache);
}

static bool is_empty(const struct fli_py_thread *thread)
{
    for (size_t i = 0; i < FL_PY_TYPES; i++)
        if (thread->face.drawers[i].cache.type != NULL)
            return false;
    return true;
}

/* ---- The end of a thread state. */

static const char *capsule_name = "freelane.thread";

static void at_state_end(PyObject *capsule)
{
    struct fli_py_thread *thread = PyCapsule_GetPointer(capsule, capsule_name);
    if (fl_py_current.own == &thread->face) {
        thread->open = false;
        fli_py_nest_resume();
        empty(thread);
    }
    fli_store_relaxed(&thread->unwatched, true); /* relaxed: the owner may as well learn of it later */
    unreference(thread);
}

/* Puts a capsule for the thread into the dict of its thread state. */
static int put_capsule(struct fli_py_thread *thread, PyObject *dict)
{
    PyObject *key = PyUnicode_FromFormat("freelane.%p", (void *)&threads); /* each copy of the library its own */
    PyObject *capsule = key != NULL ? PyCapsule_New(thread, capsule_name, at_state_end) : NULL;
    int failed = -1;
    if (capsule != NULL) {
        fli_store_relaxed(&thread->unwatched, false); /* relaxed: no other capsule exists */
        reference(thread);
        failed = PyDict_SetItem(dict, key, capsule);
    }
    Py_XDECREF(capsule);
    Py_XDECREF(key);
    return failed;
}

/* Opens the caches if the end of the thread state can be watched. */
static void open_caches(struct fli_py_thread *thread)
{
    PyThreadState *state = PyThreadState_GetUnchecked();
    if (state == NULL)
        return;
    uint64_t id = PyThreadState_GetID(state);
    if (thread->watcher == state && thread->watcher_id == id)
        return;
    PyObject *dict = PyThreadState_GetDict(), *exception = PyErr_GetRaisedException();
    if (dict != NULL && put_capsule(thread, dict) == 0) {
        thread->watcher = state;
        thread->watcher_id = id;
        thread->open = true;
    }
    PyErr_SetRaisedException(exception); /* discards what put_capsule raised */
}

/* Whether something can be kept of a type, whose objects own a reference to it exactly as those of the declared type
 * do. */
static bool may_fill(const struct fl_py_type *self, PyTypeObject *type)
{
    return self->state->drawer != 0 && fli_py_threads_caching() &&
           PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE) == self->state->heap_type &&
           (!self->immortal || _Py_IsImmortal(type));
}

/* May have the interpreter run anything. */
static bool try_open(struct fli_py_thread *thread)
{
    if (!thread->open || fli_load_relaxed(&thread->unwatched)) /* relaxed: see at_state_end */
        open_caches(thread);
    return thread->open;
}

void fli_py_thread_make_room(struct fli_py_thread *thread, const struct fl_py_type *self, PyTypeObject *type)
{
    struct fl_py_cache *cache = &fl_py_drawer_of(self, &thread->face)->cache;
    size_t count = FL_PY_CACHE_BYTES / self->size;
    if (!may_fill(self, type) || count < 2 || !try_open(thread) || cache->type != NULL ||
        thread->room_bytes + count * self->size > FL_PY_THREAD_BYTES)
        return;
    PyObject **slots = malloc(count * sizeof *slots);
    if (slots == NULL)
        return;
    thread->room_bytes += count * self->size;
    struct fl_py_cache made = {(PyTypeObject *)Py_NewRef(type), slots, slots, slots + count};
    exchange_cache(cache, &made);
}

void fli_py_thread_fill_stock(struct fli_py_thread *thread, const struct fl_py_type *self, PyTypeObject *type)
{
    struct fl_py_stock *stock = &fl_py_drawer_of(self, &thread->face)->stock;
    if (!may_fill(self, type) || !try_open(thread))
        return;
    if (stock->type == NULL) {
        struct fl_py_stock made = {.type = (PyTypeObject *)Py_NewRef(type)};
        exchange_stock(stock, &made);
    }
    if (stock->type == type)
        fli_py_stock_fill(stock);
}

void fli_py_thread_give_types(void)
{
    struct fli_py_thread *thread = fli_py_thread_own();
    if (thread != NULL)
        empty_stocks(thread);
}

/* ---- The OS thread. */

static void at_exit(void *arg)
{
    struct fli_py_thread *thread = arg;
    fli_py_nest_orphan(thread);
    fl_thread_detach(thread->heap);
    pthread_mutex_lock(&registry_lock);
    unlink_locked(thread);
    point_locked(&fl_py_current, (struct fl_thread *)&no_heap, (struct fl_py_thread *)&no_thread);
    fl_py_current.own = ended;
    bool empty = is_empty(thread);
    if (!empty)
        link_locked(thread, &ended_threads);
    pthread_mutex_unlock(&registry_lock);
    if (empty)
        unreference(thread);
}

static struct fli_py_thread *create(void)
{
    struct fli_py_thread *thread = calloc(1, sizeof *thread);
    struct fl_thread *heap = thread != NULL ? fl_thread_attach(fli_py_heap) : NULL;
    if (heap == NULL || pthread_setspecific(exit_key, thread) != 0) {
        if (heap != NULL)
            fl_thread_detach(heap);
        free(thread);
        return NULL;
    }
    thread->heap = heap;
    thread->current = &fl_py_current;
    thread->references = 1;
    fli_py_nest_ready(thread);
    return thread;
}

/* Brings the calling thread up to date with what it was pointed away for. */
static struct fli_py_thread *update(struct fli_py_thread *thread)
{
    bool heap_is_open = fli_py_threads_caching();
    if (fl_py_current_thread() == &thread->face && (fl_py_current_heap() == thread->heap) == heap_is_open)
        return thread;
    pthread_mutex_lock(&registry_lock);
    bool old = thread->epoch != epoch;
    thread->epoch = epoch;
    heap_is_open = fli_py_threads_caching();
    point_locked(&fl_py_current, heap_is_open ? thread->heap : (struct fl_thread *)&no_heap, &thread->face);
    pthread_mutex_unlock(&registry_lock);
    if (old)
        empty(thread);
    return thread;
}

struct fli_py_thread *fli_py_thread_own(void)
{
    struct fl_py_thread *own = fl_py_current.own;
    return own != NULL && own != ended ? whole(own) : NULL;
}

struct fli_py_thread *fli_py_thread_update(void)
{
    struct fli_py_thread *thread = fli_py_thread_own();
    return thread != NULL ? update(thread) : NULL;
}

struct fli_py_thread *fli_py_thread_enter(void)
{
    if (fl_py_current.own == NULL) {
        struct fli_py_thread *thread = create();
        if (thread == NULL)
            return NULL;
        fl_py_current.own = &thread->face;
        pthread_mutex_lock(&registry_lock);
        link_locked(thread, &threads);
        pthread_mutex_unlock(&registry_lock);
    }
    return fli_py_thread_update();
}

/* ---- All threads. */

/* Has every thread come to a slow half; those of the heap only if `heap_too`. */
static void call_all_locked(bool heap_too)
{
    for (struct fli_py_thread *thread = threads; thread != NULL; thread = thread->next)
        point_locked(thread->current, heap_too ? (struct fl_thread *)&no_heap : NULL,
                     (struct fl_py_thread *)&no_thread);
}

void fli_py_threads_expire(void)
{
    pthread_mutex_lock(&registry_lock);
    epoch++;
    call_all_locked(false);
    pthread_mutex_unlock(&registry_lock);
}

bool fli_py_threads_caching(void)
{
    return !fli_load_relaxed(&uncached); /* relaxed: written under the lock, with a call to every thread */
}

bool fli_py_threads_set_caching(bool on)
{
    pthread_mutex_lock(&registry_lock);
    bool was_on = fli_py_threads_caching();
    if (on != was_on) {
        fli_store_relaxed(&uncached, !on); /* relaxed: as above */
        epoch++;
        call_all_locked(true);
    }
    pthread_mutex_unlock(&registry_lock);
    (void)fli_py_thread_update();
    return was_on;
}

void fli_py_threads_empty_ended(void)
{
    for (;;) {
        pthread_mutex_lock(&registry_lock);
        struct fli_py_thread *thread = ended_threads;
        if (thread != NULL)
            unlink_locked(thread);
        pthread_mutex_unlock(&registry_lock);
        if (thread == NULL)
            return;
        fli_py_nest_orphan(thread);
        empty(thread);
        unreference(thread);
    }
}

void fli_py_orphans_put(void *entry)
{
    pthread_mutex_lock(&registry_lock);
    fli_py_push_waiting(&orphans, entry);
    pthread_mutex_unlock(&registry_lock);
}

void *fli_py_orphans_take(void)
{
    pthread_mutex_lock(&registry_lock);
    void *entry = fli_py_pop_waiting(&orphans);
    pthread_mutex_unlock(&registry_lock);
    return entry;
}

void fli_py_threads_forked(void)
{
    pthread_mutex_lock(&registry_lock);
    struct fli_py_thread *thread = threads, *next;
    for (; thread != NULL; thread = next) {
        next = thread->next;
        if (&thread->face != fl_py_current.own) {
            unlink_locked(thread);
            link_locked(thread, &ended_threads);
        }
    }
    pthread_mutex_unlock(&registry_lock);
    fli_py_threads_empty_ended();
}

void fli_py_threads_reopen(void)
{
    struct fli_py_thread *thread = fli_py_thread_update();
    if (thread != NULL)
        thread->watcher = NULL;
}

static void count(const struct fli_py_thread *thread, struct fl_py_stats *stats)
{
    for (size_t i = 0; i < FL_PY_TYPES; i++) {
        const struct fl_py_cache *cache = &thread->face.drawers[i].cache;
        if (!is_cache(&thread->face.drawers[i]))
            continue;
        stats->cached_objects += objects_in(cache);
        stats->cached_bytes += objects_in(cache) * (size_t)cache->type->tp_basicsize;
    }
}

void fli_py_threads_count(struct fl_py_stats *stats)
{
    pthread_mutex_lock(&registry_lock);
    for (struct fli_py_thread *thread = threads; thread != NULL; thread = thread->next) {
        stats->threads++;
        count(thread, stats);
    }
    for (struct fli_py_thread *thread = ended_threads; thread != NULL; thread = thread->next)
        count(thread, stats);
    pthread_mutex_unlock(&registry_lock);
}

static void lock_registry(void)
{
    pthread_mutex_lock(&registry_lock);
}

static void unlock_registry(void)
{
    pthread_mutex_unlock(&registry_lock);
}

int fli_py_threads_ready(void)
{
    if (pthread_key_create(&exit_key, at_exit) != 0)
        return -ENOMEM;
    if (pthread_atfork(lock_registry, unlock_registry, unlock_registry) != 0) {
        pthread_key_delete(exit_key);
        return -ENOMEM;
    }
    return 0;
}
