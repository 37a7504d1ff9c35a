/* SPDX-License-Identifier: MIT */
#include "python/drawer.h"

#include "heap/registry.h"
#include "python/stock.h"
#include "python/threads.h"
#include "python/type.h"

#include <stdlib.h>

/* Whether a thread may have something in a drawer for objects of `type`. Each of these has to own a reference to its
 * type exactly if one of the declared type does. */
static bool may_fill(struct fli_py_thread *thread, const struct fl_py_type *self, PyTypeObject *type)
{
    return self->state->drawer != 0 && fli_py_threads_caching() &&
           PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE) == self->state->heap_type &&
           (!self->immortal || _Py_IsImmortal(type)) && fli_py_thread_open(thread);
}

/* An empty drawer has neither. */
static bool has_cache(const union fl_py_drawer *drawer)
{
    return drawer->cache.type != NULL && PyType_HasFeature(drawer->cache.type, Py_TPFLAGS_HAVE_GC);
}

static bool has_stock(const union fl_py_drawer *drawer)
{
    return drawer->stock.type != NULL && !PyType_HasFeature(drawer->stock.type, Py_TPFLAGS_HAVE_GC);
}

/* ---- Caches. */

static size_t objects_in(const struct fl_py_cache *cache)
{
    return (size_t)(fl_py_top(cache) - cache->floor);
}

/* Replaces a cache. Statistics see the old one or the new one. */
static void exchange_cache(struct fl_py_cache *cache, struct fl_py_cache *with)
{
    struct fl_py_cache old = *cache;
    fli_registry_lock();
    cache->floor = with->floor;
    cache->ceiling = with->ceiling;
    cache->type = with->type;
    fl_py_set_top(cache, with->top);
    fli_registry_unlock();
    *with = old;
}

void fli_py_drawer_add_cache(struct fli_py_thread *thread, const struct fl_py_type *self, PyTypeObject *type)
{
    struct fl_py_cache *cache = &fl_py_drawer_of(self, &thread->face)->cache;
    size_t count = FL_PY_CACHE_BYTES / self->size;
    if (count < 2 || !may_fill(thread, self, type) || cache->type != NULL ||
        thread->room_bytes + count * self->size > FL_PY_THREAD_BYTES)
        return;
    PyObject **slots = malloc(count * sizeof *slots);
    if (slots == NULL)
        return;
    thread->room_bytes += count * self->size;
    struct fl_py_cache made = {(PyTypeObject *)Py_NewRef(type), slots, slots, slots + count};
    exchange_cache(cache, &made);
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

/* ---- Stocks. */

/* Replaces a stock. Statistics tell it from a cache by its type, and skip it. */
static void exchange_stock(struct fl_py_stock *stock, struct fl_py_stock *with)
{
    struct fl_py_stock old = *stock;
    fli_registry_lock();
    *stock = *with;
    fli_registry_unlock();
    *with = old;
}

void fli_py_drawer_fill_stock(struct fli_py_thread *thread, const struct fl_py_type *self, PyTypeObject *type)
{
    struct fl_py_stock *stock = &fl_py_drawer_of(self, &thread->face)->stock;
    if (!may_fill(thread, self, type))
        return;
    if (stock->type == NULL) {
        struct fl_py_stock made = {.type = (PyTypeObject *)Py_NewRef(type)};
        exchange_stock(stock, &made);
    }
    if (stock->type == type)
        fli_py_stock_fill(stock);
}

void fli_py_drawers_empty_stocks(struct fli_py_thread *thread)
{
    for (size_t i = 0; i < FL_PY_TYPES; i++) {
        struct fl_py_stock emptied = {0};
        if (!has_stock(&thread->face.drawers[i]))
            continue;
        exchange_stock(&thread->face.drawers[i].stock, &emptied);
        fli_py_stock_close(&emptied);
    }
}

/* ---- All of a thread. */

void fli_py_drawers_empty(struct fli_py_thread *thread)
{
    thread->room_bytes = 0;
    fli_py_drawers_empty_stocks(thread);
    for (size_t i = 0; i < FL_PY_TYPES; i++)
        if (has_cache(&thread->face.drawers[i]))
            empty_cache(fli_py_type_of_drawer[i], &thread->face.drawers[i].cache);
}

bool fli_py_drawers_are_empty(const struct fli_py_thread *thread)
{
    for (size_t i = 0; i < FL_PY_TYPES; i++)
        if (thread->face.drawers[i].cache.type != NULL)
            return false;
    return true;
}

void fli_py_drawers_count_locked(const struct fli_py_thread *thread, struct fl_py_stats *stats)
{
    fli_registry_assert_held();
    for (size_t i = 0; i < FL_PY_TYPES; i++) {
        const struct fl_py_cache *cache = &thread->face.drawers[i].cache;
        if (!has_cache(&thread->face.drawers[i]))
            continue;
        stats->cached_objects += objects_in(cache);
        stats->cached_bytes += objects_in(cache) * (size_t)cache->type->tp_basicsize;
    }
}
