/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/waiting.h"

#include "heap/registry.h"

#include <stdlib.h>

struct fli_py_proxy {
    uintptr_t link;
    PyObject *object;
    int64_t interpreter;
};

static void *orphans;

/* The proxy that an entry is; NULL if it is the object itself. */
static struct fli_py_proxy *proxy_of(void *entry)
{
    return ((uintptr_t)entry & 1) != 0 ? (struct fli_py_proxy *)((uintptr_t)entry - 1) : NULL;
}

/* The first word of either. */
static uintptr_t *link_of(void *entry)
{
    return (uintptr_t *)((uintptr_t)entry & ~(uintptr_t)1);
}

void *fli_py_waiting_wrap(PyObject *object)
{
    int64_t interpreter = fli_py_interpreter();
    if (interpreter == 0 && (FLI_PY_FREE_THREADED || !fl_py_has_weakrefs(object, Py_TYPE(object))))
        return object;
    struct fli_py_proxy *proxy = malloc(sizeof *proxy);
    if (proxy == NULL && interpreter != 0)
        return NULL;
    if (proxy == NULL) {
        PyObject_ClearWeakRefs(object);
        return object;
    }
    proxy->object = object;
    proxy->interpreter = interpreter;
    return (void *)((uintptr_t)proxy + 1);
}

PyObject *fli_py_waiting_object(void *entry)
{
    struct fli_py_proxy *proxy = proxy_of(entry);
    return proxy != NULL ? proxy->object : (PyObject *)entry;
}

PyObject *fli_py_waiting_unwrap(void *entry)
{
    PyObject *object = fli_py_waiting_object(entry);
    free(proxy_of(entry));
    return object;
}

void fli_py_waiting_push(void **list, void *entry)
{
    /* Relaxed: a reader that looks at the dead object's header makes nothing of the link. */
    __atomic_store_n(link_of(entry), (uintptr_t)*list, __ATOMIC_RELAXED);
    *list = entry;
}

static void *next_of(void *entry)
{
    return (void *)__atomic_load_n(link_of(entry), __ATOMIC_RELAXED); /* relaxed: as above */
}

void *fli_py_waiting_pop(void **list)
{
    void *entry = *list;
    if (entry == NULL)
        return NULL;
    *list = next_of(entry);
    /* Relaxed: as above. The object has a dead object's header again. */
    __atomic_store_n(link_of(entry), 0, __ATOMIC_RELAXED);
    return entry;
}

static int64_t interpreter_of(void *entry)
{
    struct fli_py_proxy *proxy = proxy_of(entry);
    return proxy != NULL ? proxy->interpreter : 0;
}

void *fli_py_waiting_take(void **list)
{
    int64_t interpreter = fli_py_interpreter();
    void *before = NULL, *entry = *list;
    for (; entry != NULL && interpreter_of(entry) != interpreter; entry = next_of(entry))
        before = entry;
    if (before == NULL || entry == NULL)
        return entry != NULL ? fli_py_waiting_pop(list) : NULL;
    void *rest = entry;
    (void)fli_py_waiting_pop(&rest);
    __atomic_store_n(link_of(before), (uintptr_t)rest, __ATOMIC_RELAXED); /* relaxed: as above */
    return entry;
}

void fli_py_waiting_put_orphan(void *entry)
{
    fli_registry_lock();
    fli_py_waiting_push(&orphans, entry);
    fli_registry_unlock();
}

void *fli_py_waiting_take_orphan(void)
{
    fli_registry_lock();
    void *entry = fli_py_waiting_take(&orphans);
    fli_registry_unlock();
    return entry;
}

#endif
