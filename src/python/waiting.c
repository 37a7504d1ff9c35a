/* SPDX-License-Identifier: MIT */
#include "python/waiting.h"

#include "heap/registry.h"

#include <stdlib.h>

struct fli_py_proxy {
    uintptr_t link;
    PyObject *object;
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
    if (FLI_PY_FREE_THREADED || !fl_py_has_weakrefs(object, Py_TYPE(object)))
        return object;
    struct fli_py_proxy *proxy = malloc(sizeof *proxy);
    if (proxy == NULL) {
        PyObject_ClearWeakRefs(object);
        return object;
    }
    proxy->object = object;
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

void *fli_py_waiting_pop(void **list)
{
    void *entry = *list;
    if (entry == NULL)
        return NULL;
    /* Relaxed: as above. The object has a dead object's header again. */
    *list = (void *)__atomic_load_n(link_of(entry), __ATOMIC_RELAXED);
    __atomic_store_n(link_of(entry), 0, __ATOMIC_RELAXED);
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
    void *entry = fli_py_waiting_pop(&orphans);
    fli_registry_unlock();
    return entry;
}
