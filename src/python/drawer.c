/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

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

size_t fli_py_drawers(void)
{
    return fli_load_hint(&fli_py_types_with_drawers);
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

/* How many it has room for. */
static size_t room_of(const struct fl_py_cache *cache)
{
    return (size_t)(cache->ceiling - cache->floor);
}

/* Fills an empty drawer. Statistics see it empty or filled. */
static void fill(union fl_py_drawer *drawer, union fl_py_drawer with)
{
    fli_registry_lock();
    *drawer = with;
    fli_registry_unlock();
}

void fli_py_drawer_add_cache(struct fli_py_thread *thread, const struct fl_py_type *self, PyTypeObject *type)
{
    union fl_py_drawer *drawer = fl_py_drawer_of(self, &thread->face);
    size_t count = FL_PY_CACHE_BYTES / self->size;
    if (count < 2 || !may_fill(thread, self, type) || drawer->cache.type != NULL ||
        thread->room_bytes + count * self->size > FL_PY_THREAD_BYTES)
        return;
    PyObject **slots = malloc(count * sizeof *slots);
    if (slots == NULL)
        return;
    thread->room_bytes += count * self->size;
    struct fl_py_cache made = {(PyTypeObject *)Py_NewRef(type), slots, slots, slots + count};
    fill(drawer, (union fl_py_drawer){.cache = made});
}

/* Gives back what a cache has held. */
static void close_cache(const struct fl_py_type *self, const struct fl_py_cache *emptied)
{
    bool own_type = PyType_HasFeature(emptied->type, Py_TPFLAGS_HEAPTYPE) && !fl_py_renews_type(self);
    for (PyObject **top = emptied->top; top > emptied->floor;) {
        PyObject_GC_Del(*--top);
        if (own_type)
            Py_DECREF(emptied->type);
    }
    free(emptied->floor);
    Py_DECREF(emptied->type);
}

/* ---- Stocks. */

void fli_py_drawer_fill_stock(struct fli_py_thread *thread, const struct fl_py_type *self, PyTypeObject *type)
{
    union fl_py_drawer *drawer = fl_py_drawer_of(self, &thread->face);
    if (!may_fill(thread, self, type))
        return;
    if (drawer->stock.type == NULL)
        fill(drawer, (union fl_py_drawer){.stock.type = (PyTypeObject *)Py_NewRef(type)});
    if (drawer->stock.type == type)
        fli_py_stock_fill(&drawer->stock);
}

/* ---- Emptying. */

/* Takes out what a drawer holds. */
static struct fli_py_content take_locked(struct fli_py_thread *thread, size_t i)
{
    union fl_py_drawer *drawer = &thread->face.drawers[i];
    struct fli_py_content taken = {.self = fli_py_type_of_drawer[i], .held = *drawer};
    fli_registry_assert_held();
    if (has_cache(drawer))
        thread->room_bytes -= room_of(&drawer->cache) * taken.self->size;
    /* Relaxed: the owner may run another interpreter, and looks whether the drawer is for a type of that. */
    __atomic_store_n(&drawer->cache.type, NULL, __ATOMIC_RELAXED);
    drawer->cache.top = drawer->cache.floor = drawer->cache.ceiling = NULL;
    return taken;
}

static struct fli_py_content take(struct fli_py_thread *thread, size_t i)
{
    fli_registry_lock();
    struct fli_py_content taken = take_locked(thread, i);
    fli_registry_unlock();
    return taken;
}

static void give_back(const struct fli_py_content *content)
{
    if (has_cache(&content->held))
        close_cache(content->self, &content->held.cache);
    else if (has_stock(&content->held))
        fli_py_stock_close(&content->held.stock);
}

static bool is_filled(const struct fli_py_thread *thread, size_t i)
{
    return thread->face.drawers[i].cache.type != NULL;
}

static void empty(struct fli_py_thread *thread, size_t i)
{
    struct fli_py_content taken = take(thread, i);
    give_back(&taken);
}

void fli_py_drawers_empty_stocks(struct fli_py_thread *thread)
{
    for (size_t i = 0; i < fli_py_drawers(); i++)
        if (has_stock(&thread->face.drawers[i]))
            empty(thread, i);
}

void fli_py_drawers_empty(struct fli_py_thread *thread)
{
    for (size_t i = 0; i < fli_py_drawers(); i++)
        if (is_filled(thread, i))
            empty(thread, i);
}

size_t fli_py_drawers_filled(const struct fli_py_thread *thread)
{
    size_t filled = 0;
    for (size_t i = 0; i < fli_py_drawers(); i++)
        filled += is_filled(thread, i);
    return filled;
}

/* ---- Hauls. */

void fli_py_drawers_haul_locked(struct fli_py_thread *thread, struct fli_py_haul *haul)
{
    for (size_t i = 0; i < fli_py_drawers() && haul->count < haul->room; i++)
        if (is_filled(thread, i))
            haul->contents[haul->count++] = take_locked(thread, i);
}

void fli_py_haul_give_back(struct fli_py_haul *haul)
{
    for (size_t i = 0; i < haul->count; i++)
        give_back(&haul->contents[i]);
    free(haul->contents);
    *haul = (struct fli_py_haul){0};
}

/* ---- Statistics. */

size_t fli_py_drawer_kept_locked(struct fli_py_thread *thread, const struct fl_py_type *self,
                                 const PyTypeObject *type)
{
    const union fl_py_drawer *drawer = fl_py_drawer_of(self, &thread->face);
    fli_registry_assert_held();
    return has_cache(drawer) && drawer->cache.type == type ? objects_in(&drawer->cache) : 0;
}

void fli_py_drawers_count_locked(const struct fli_py_thread *thread, struct fl_py_stats *stats)
{
    fli_registry_assert_held();
    for (size_t i = 0; i < fli_py_drawers(); i++) {
        const struct fl_py_cache *cache = &thread->face.drawers[i].cache;
        if (!has_cache(&thread->face.drawers[i]))
            continue;
        stats->cached_objects += objects_in(cache);
        stats->cached_bytes += objects_in(cache) * (size_t)cache->type->tp_basicsize;
    }
}

#endif
