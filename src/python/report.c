/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/report.h"

#include "python/heap.h"
#include "python/join.h"
#include "python/stop.h"
#include "python/threads.h"
#include "python/type.h"

#include <stdlib.h>

enum { VERSION = 1 };

/* ---- Counting. */

/* What is counted of a type, which is referred to meanwhile. */
struct row {
    PyTypeObject *type;
    const struct fl_py_type *self;
    size_t live, bytes, derived;
};

/* The rows are in the order of their types' addresses. */
struct counts {
    struct row *rows;
    size_t count;
    size_t others, other_bytes; /* blocks of other types */
    int failed;                 /* of the walk */
};

static int compare_rows(const void *left, const void *right)
{
    uintptr_t a = (uintptr_t)((const struct row *)left)->type, b = (uintptr_t)((const struct row *)right)->type;
    return (a > b) - (a < b);
}

/* The row of a type, or NULL. Only its address matters: a block that is being made may have a stale one. */
static struct row *find_row(const struct counts *counts, const PyTypeObject *type)
{
    size_t low = 0, high = counts->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if ((uintptr_t)counts->rows[middle].type < (uintptr_t)type)
            low = middle + 1;
        else
            high = middle;
    }
    return low < counts->count && counts->rows[low].type == type ? &counts->rows[low] : NULL;
}

static bool count_block(void *context, const struct fl_block *block)
{
    struct counts *counts = context;
    struct row *row = find_row(counts, Py_TYPE((PyObject *)block->start));
    if (row != NULL) {
        row->live++;
        row->bytes += block->size;
    } else {
        counts->others++;
        counts->other_bytes += block->size;
    }
    return true;
}

static void count_blocks_stw(void *argument)
{
    struct counts *counts = argument;
    struct fl_heap *heap = fli_py_heap_get();
    counts->failed = fl_heap_walk_begin(heap);
    if (counts->failed == 0) {
        (void)fl_heap_walk(heap, count_block, counts);
        (void)fl_heap_walk_end(heap);
    }
}

/* Bytes of an object behind what the collector puts before it. */
static size_t bytes_of(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    size_t items = type->tp_itemsize != 0 ? (size_t)Py_SIZE(object) * (size_t)type->tp_itemsize : 0;
    return (size_t)type->tp_basicsize + items;
}

/* While the world is stopped, or with the GIL: calls nothing of the interpreter. */
static int count_tracked(PyObject *object, void *argument)
{
    struct counts *counts = argument;
    PyTypeObject *type = Py_TYPE(object);
    struct row *row = find_row(counts, type);
    if (row != NULL) {
        row->live++;
        row->bytes += bytes_of(object);
        return 1;
    }
    while (row == NULL && (type = type->tp_base) != NULL)
        row = find_row(counts, type);
    if (row != NULL)
        row->derived++;
    return 1;
}

/* All blocks are those of the main interpreter's objects. A stop in another interpreter does not stop the threads that use
 * them. */
static int count_all_blocks(struct counts *counts)
{
    if (!fli_py_is_main())
        return 0;
    counts->failed = -1;
    (void)fli_py_stop_world(count_blocks_stw, counts);
    return counts->failed != 0 ? (PyErr_NoMemory(), -1) : 0;
}

static int count_all(struct counts *counts)
{
    if (count_all_blocks(counts) < 0)
        return -1;
    PyUnstable_GC_VisitObjects(count_tracked, counts);
    return 0;
}

/* ---- Entries of the dict of types. They name the declaration, as a type does not always tell it by its slots: one whose
 * objects lie in the interpreter's memory may have no slot of Freelane's. The key of an entry is the address of its weak
 * reference: a type has one without a callback, which the entry keeps. */

static PyObject *make_entry(const struct fl_py_type *self, PyTypeObject *type)
{
    return Py_BuildValue("(NN)", PyWeakref_NewRef((PyObject *)type, NULL), PyLong_FromVoidPtr((void *)self));
}

static PyObject *reference_of(PyObject *entry)
{
    return PyTuple_GET_ITEM(entry, 0);
}

static const struct fl_py_type *declaration_of(PyObject *entry)
{
    return PyLong_AsVoidPtr(PyTuple_GET_ITEM(entry, 1));
}

static PyObject *key_of(PyObject *entry)
{
    return PyLong_FromVoidPtr(reference_of(entry));
}

/* ---- Rows. */

static void free_rows(struct counts *counts)
{
    while (counts->count > 0)
        Py_DECREF(counts->rows[--counts->count].type);
    free(counts->rows);
}

static int add_row(struct counts *counts, PyObject *entry)
{
    PyObject *type;
    int alive = PyWeakref_GetRef(reference_of(entry), &type);
    if (alive > 0)
        counts->rows[counts->count++] = (struct row){(PyTypeObject *)type, declaration_of(entry), 0, 0, 0};
    return alive;
}

/* A row for each type of these entries that is alive. */
static int make_rows(struct counts *counts, PyObject *entries)
{
    Py_ssize_t count = PyList_GET_SIZE(entries);
    counts->rows = malloc((size_t)(count + 1) * sizeof *counts->rows);
    if (counts->rows == NULL)
        return PyErr_NoMemory(), -1;
    for (Py_ssize_t i = 0; i < count; i++)
        if (add_row(counts, PyList_GET_ITEM(entries, i)) < 0)
            return -1;
    qsort(counts->rows, counts->count, sizeof *counts->rows, compare_rows);
    return 0;
}

/* ---- As Python objects. */

/* Appends an object, which may be NULL. Takes the reference. */
static int append(PyObject *list, PyObject *made)
{
    int failed = made != NULL ? PyList_Append(list, made) : -1;
    Py_XDECREF(made);
    return failed;
}

/* The size of the blocks of a type's objects; 0 if they have none, or differ in size. */
static size_t block_bytes(const struct fl_py_type *self, const struct fl_stats *heap)
{
    bool blocks = !self->gc && !self->variable && self->size <= FL_BLOCK_MAX;
    return blocks ? heap->classes[fl_size_class(self->size)].block_bytes : 0;
}

static PyObject *make_row(const struct row *row, const struct fl_stats *heap)
{
    PyObject *kept = row->self->gc ? PyLong_FromSize_t(fli_py_threads_kept(row->self, row->type))
                                   : Py_NewRef(Py_None);
    return Py_BuildValue("{sOsssOsOsnsnsnsnsnsN}", "type", row->type, "kind", fli_py_kind_names[row->self->kind],
                         "gc", row->self->gc ? Py_True : Py_False, "lent",
                         row->type->tp_alloc == PyType_GenericAlloc ? Py_True : Py_False, "size",
                         (Py_ssize_t)row->self->size, "block", (Py_ssize_t)block_bytes(row->self, heap), "live",
                         (Py_ssize_t)row->live, "live_bytes", (Py_ssize_t)row->bytes, "derived",
                         (Py_ssize_t)row->derived, "kept", kept);
}

static PyObject *make_types(const struct counts *counts, const struct fl_stats *heap)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list != NULL && i < counts->count; i++)
        if (append(list, make_row(&counts->rows[i], heap)) < 0)
            Py_CLEAR(list);
    return list;
}

static PyObject *make_size(const struct fl_class_stats *class)
{
    size_t kept = class->carved - class->live;
    return Py_BuildValue("{snsnsnsn}", "block", (Py_ssize_t) class->block_bytes, "slabs", (Py_ssize_t) class->slabs,
                         "live", (Py_ssize_t) class->live, "kept", (Py_ssize_t)kept);
}

static PyObject *make_sizes(const struct fl_stats *heap)
{
    PyObject *list = PyList_New(0);
    for (unsigned c = 1; list != NULL && c < FL_CLASS_COUNT; c++)
        if (heap->classes[c].slabs > 0 && append(list, make_size(&heap->classes[c])) < 0)
            Py_CLEAR(list);
    return list;
}

static PyObject *make_stats(void)
{
    struct fl_py_stats stats;
    fl_py_get_stats(&stats);
    return Py_BuildValue("{snsnsnsnsnsnsnsKsKsKsK}", "threads", (Py_ssize_t)stats.threads, "cached_objects",
                         (Py_ssize_t)stats.cached_objects, "cached_bytes", (Py_ssize_t)stats.cached_bytes,
                         "live_bytes", (Py_ssize_t)stats.live_bytes, "free_bytes", (Py_ssize_t)stats.free_bytes,
                         "slab_bytes", (Py_ssize_t)stats.slab_bytes, "fallback_types",
                         (Py_ssize_t)stats.fallback_types, "collections", (unsigned long long)stats.collections,
                         "stops", (unsigned long long)stats.stops, "stopped_ns", (unsigned long long)stats.stopped_ns,
                         "longest_stop_ns", (unsigned long long)stats.longest_stop_ns);
}

static PyObject *make_report(const struct counts *counts)
{
    struct fl_stats heap;
    fl_heap_stats(fli_py_heap_get(), &heap);
    return Py_BuildValue("{sisNsNs{snsn}sOsN}", "version", VERSION, "types", make_types(counts, &heap), "sizes",
                         make_sizes(&heap), "others", "live", (Py_ssize_t)counts->others, "live_bytes",
                         (Py_ssize_t)counts->other_bytes, "caching", fli_py_threads_caching() ? Py_True : Py_False,
                         "stats", make_stats());
}

/* ---- The function of this copy. */

static PyObject *report(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct counts counts = {0};
    if (fli_py_heap_make() == NULL)
        return PyErr_NoMemory();
    PyObject *entries = PyDict_Values(self), *made = NULL;
    if (entries != NULL && make_rows(&counts, entries) == 0 && count_all(&counts) == 0)
        made = make_report(&counts);
    free_rows(&counts);
    Py_XDECREF(entries);
    return made;
}

static PyMethodDef report_method = {"freelane_report", report, METH_NOARGS, NULL};

/* Appends the function to sys._freelane, where the first copy makes the list. */
static int join_copies(PyObject *types)
{
    PyObject *sys = PyImport_ImportModule("sys"), *key = PyUnicode_FromString("_freelane"), *fresh = PyList_New(0);
    PyObject *copies = NULL;
    int failed = sys == NULL || key == NULL || fresh == NULL ? -1 : 0;
    if (failed == 0 && fli_py_join_set_default(PyModule_GetDict(sys), key, fresh, &copies) < 0)
        failed = -1;
    if (failed == 0)
        failed = append(copies, PyCFunction_New(&report_method, types));
    Py_XDECREF(copies);
    Py_XDECREF(fresh);
    Py_XDECREF(key);
    Py_XDECREF(sys);
    return failed;
}

static void forget_types(PyObject *dict, PyObject *key)
{
    PyObject *exception = PyErr_GetRaisedException();
    (void)PyDict_Pop(dict, key, NULL);
    PyErr_SetRaisedException(exception);
}

/* Makes the dict of this copy's types. Of two threads that do so, one finds the other's. The thread whose it is enters this
 * copy, last, when nothing more can fail: so it is entered once, however often this is tried. */
static PyObject *make_types_of_copy(PyObject *dict, PyObject *key)
{
    PyObject *fresh = PyDict_New(), *types = NULL;
    int known = fresh != NULL ? fli_py_join_set_default(dict, key, fresh, &types) : -1;
    Py_XDECREF(fresh);
    if (known == 0 && join_copies(types) < 0) {
        forget_types(dict, key);
        Py_CLEAR(types);
    }
    return types;
}

/* A new reference to the dict of this copy's types in the running interpreter. */
static PyObject *get_types(void)
{
    PyObject *dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
    if (dict == NULL)
        return PyErr_NoMemory();
    PyObject *key = PyUnicode_FromFormat("freelane.types.%p", (void *)&report_method), *types = NULL;
    if (key != NULL && PyDict_GetItemRef(dict, key, &types) == 0)
        types = make_types_of_copy(dict, key);
    Py_XDECREF(key);
    return types;
}

/* Takes the entry out if its type is no more. */
static int prune_entry(PyObject *types, PyObject *entry)
{
    PyObject *type;
    int alive = PyWeakref_GetRef(reference_of(entry), &type);
    Py_XDECREF(type);
    if (alive != 0)
        return alive;
    PyObject *key = key_of(entry);
    int taken = key != NULL ? PyDict_Pop(types, key, NULL) : -1;
    Py_XDECREF(key);
    return taken;
}

static int prune(PyObject *types)
{
    PyObject *entries = PyDict_Values(types);
    int done = entries != NULL ? 0 : -1;
    for (Py_ssize_t i = 0; done >= 0 && i < PyList_GET_SIZE(entries); i++)
        done = prune_entry(types, PyList_GET_ITEM(entries, i));
    Py_XDECREF(entries);
    return done;
}

/* Enters the type, which may be there. */
static int enter(PyObject *types, const struct fl_py_type *self, PyTypeObject *type)
{
    PyObject *entry = make_entry(self, type), *key = entry != NULL ? key_of(entry) : NULL;
    int failed = key != NULL ? PyDict_SetItem(types, key, entry) : -1;
    Py_XDECREF(key);
    Py_XDECREF(entry);
    return failed;
}

int fli_py_report_add(const struct fl_py_type *self, PyTypeObject *type)
{
    PyObject *types = get_types();
    int failed = types == NULL || prune(types) < 0 || enter(types, self, type) < 0 ? -1 : 0;
    Py_XDECREF(types);
    return failed;
}

#endif
