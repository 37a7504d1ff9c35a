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

/* How many a cache of objects of `size` bytes has room for at first. */
static size_t first_room(size_t size)
{
    return FL_PY_CACHE_BYTES / size;
}

/* An empty cache with room for so many. Its floor is NULL if memory is refused. */
static struct fl_py_cache make_cache(PyTypeObject *type, size_t room)
{
    PyObject **slots = malloc(room * sizeof *slots);
    if (slots == NULL)
        return (struct fl_py_cache){0};
    return (struct fl_py_cache){type, slots, slots, slots + room, .missing = 1 - (ptrdiff_t)room};
}

/* Fills a drawer that holds nothing. Statistics see the one or the other. */
static void fill(union fl_py_drawer *drawer, union fl_py_drawer with)
{
    fli_registry_lock();
    *drawer = with;
    fli_registry_unlock();
}

void fli_py_drawer_add_cache(struct fli_py_thread *thread, const struct fl_py_type *self, PyTypeObject *type)
{
    union fl_py_drawer *drawer = fl_py_drawer_of(self, &thread->face);
    size_t room = first_room(self->size);
    if (room < 2 || !may_fill(thread, self, type) || drawer->cache.type != NULL ||
        thread->room_bytes + room * self->size > FL_PY_THREAD_BYTES)
        return;
    struct fl_py_cache made = make_cache(type, room);
    if (made.floor == NULL)
        return;
    Py_INCREF(type);
    thread->room_bytes += room * self->size;
    fill(drawer, (union fl_py_drawer){.cache = made});
}

/* Gives back what a cache has held. */
static void close_cache(const struct fl_py_cache *emptied)
{
    bool own_type = PyType_HasFeature(emptied->type, Py_TPFLAGS_HEAPTYPE);
    for (PyObject **top = emptied->top; top > emptied->floor;) {
        PyObject_GC_Del(*--top);
        if (own_type)
            Py_DECREF(emptied->type);
    }
    fli_py_stock_give_up(emptied->type, emptied->references);
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
        fli_py_stock_fill(&drawer->stock, self->kind == FL_DEALLOC_LEGACY);
}

/* ---- Emptying. */

static void give_room_back(struct fli_py_thread *thread, size_t size, size_t room)
{
    thread->room_bytes -= first_room(size) * size;
    thread->grown_bytes -= (room - first_room(size)) * size;
}

/* Takes out what a drawer holds. */
static union fl_py_drawer take_locked(struct fli_py_thread *thread, size_t i)
{
    union fl_py_drawer *drawer = &thread->face.drawers[i];
    union fl_py_drawer taken = *drawer;
    fli_registry_assert_held();
    if (has_cache(drawer))
        give_room_back(thread, fli_py_type_of_drawer[i]->size, room_of(&drawer->cache));
    /* Relaxed: the owner may run another interpreter, and looks whether the drawer is for a type of that. */
    __atomic_store_n(&drawer->cache.type, NULL, __ATOMIC_RELAXED);
    drawer->cache.top = drawer->cache.floor = drawer->cache.ceiling = NULL;
    drawer->cache.missing = 0;
    drawer->cache.references = 0;
    return taken;
}

static union fl_py_drawer take(struct fli_py_thread *thread, size_t i)
{
    fli_registry_lock();
    union fl_py_drawer taken = take_locked(thread, i);
    fli_registry_unlock();
    return taken;
}

static void give_back(const union fl_py_drawer *taken)
{
    if (has_cache(taken))
        close_cache(&taken->cache);
    else if (has_stock(taken))
        fli_py_stock_close(&taken->stock);
}

static bool is_filled(const struct fli_py_thread *thread, size_t i)
{
    return thread->face.drawers[i].cache.type != NULL;
}

static void empty(struct fli_py_thread *thread, size_t i)
{
    union fl_py_drawer taken = take(thread, i);
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

/* ---- Growing. */

/* By how many objects of `size` bytes a cache of the thread may grow this time, if the thread has had so many at once. */
static size_t room_to_grow(const struct fli_py_thread *thread, size_t size, size_t had)
{
    size_t most = fli_max(FL_PY_GROWN_BYTES, had / FL_PY_GROWN_PARTS * size);
    return most > thread->grown_bytes ? fli_min(most - thread->grown_bytes, FL_PY_GROWN_BYTES) / size : 0;
}

/* Empties the caches that have grown, apart from one: what they have room for besides, the thread may not need any more. */
static void shrink_others(struct fli_py_thread *thread, const union fl_py_drawer *one)
{
    for (size_t i = 0; i < fli_py_drawers() && thread->grown_bytes > 0; i++) {
        const union fl_py_drawer *drawer = &thread->face.drawers[i];
        if (drawer != one && has_cache(drawer) &&
            room_of(&drawer->cache) > first_room(fli_py_type_of_drawer[i]->size))
            empty(thread, i);
    }
}

/* Makes it a cache with more room, which holds the same. Returns false if memory is refused. */
static bool replace_cache(union fl_py_drawer *drawer, size_t room)
{
    const struct fl_py_cache old = drawer->cache;
    struct fl_py_cache made = make_cache(old.type, room);
    if (made.floor == NULL)
        return false;
    made.references = old.references;
    made.missing = -(ptrdiff_t)(room - room_of(&old));
    memcpy(made.floor, old.floor, objects_in(&old) * sizeof *old.floor);
    made.top += objects_in(&old);
    fill(drawer, (union fl_py_drawer){.cache = made});
    free(old.floor);
    return true;
}

void fli_py_drawer_grow_cache(struct fli_py_thread *thread, const struct fl_py_type *self)
{
    union fl_py_drawer *drawer = fl_py_drawer_of(self, &thread->face);
    struct fl_py_cache before = drawer->cache;
    size_t missing = (size_t)before.missing, had = room_of(&before) + missing;
    if (room_to_grow(thread, self->size, had) < missing)
        shrink_others(thread, drawer);
    if (drawer->cache.floor != before.floor) /* Python code has run */
        return;
    size_t more = fli_min(missing, room_to_grow(thread, self->size, had));
    drawer->cache.missing = 0;
    if (more > 0 && replace_cache(drawer, room_of(&drawer->cache) + more))
        thread->grown_bytes += more * self->size;
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
