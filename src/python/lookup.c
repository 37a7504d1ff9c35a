/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/lookup.h"

#include <stdlib.h>

enum { BUCKETS = FLI_RARE_PATHS ? 2 : 256 };

struct entry {
    const PyTypeObject *type;
    FLI_ATOMIC(const struct fl_py_type *) self;
    struct entry *next;
};

static FLI_ATOMIC(struct entry *) buckets[BUCKETS];

static FLI_ATOMIC(struct entry *) * bucket_of(const PyTypeObject *type)
{
    return &buckets[(uintptr_t)type / sizeof(PyTypeObject) % BUCKETS];
}

static struct entry *find(const PyTypeObject *type)
{
    /* A2: acquire, pairs with A1 in fli_py_lookup_add. */
    struct entry *entry = fli_load_acquire(bucket_of(type));
    while (entry != NULL && entry->type != type)
        entry = entry->next;
    return entry;
}

const struct fl_py_type *fli_py_lookup_find(const PyTypeObject *type)
{
    struct entry *entry = find(type);
    return entry != NULL ? fli_load_hint(&entry->self) : NULL; /* who has such a type has it with its declaration */
}

int fli_py_lookup_add(const struct fl_py_type *self, PyTypeObject *type)
{
    struct entry *entry = find(type);
    if (entry != NULL) {
        fli_store_own(&entry->self, self);
        return 0;
    }
    entry = malloc(sizeof *entry);
    if (entry == NULL)
        return PyErr_NoMemory(), -1;
    entry->type = type;
    fli_store_own(&entry->self, self);
    entry->next = fli_load_own(bucket_of(type));
    /* A1: release, pairs with A2 in find. */
    fli_store_release(bucket_of(type), entry);
    return 0;
}

const struct fl_py_type *fli_py_lookup(PyTypeObject *type, destructor shared)
{
    const struct fl_py_type *self = NULL;
    while (type != NULL && type->tp_dealloc != shared)
        type = type->tp_base;
    while (type != NULL && (self = fli_py_lookup_find(type)) == NULL)
        type = type->tp_base;
    return self;
}

#endif
