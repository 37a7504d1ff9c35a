/* SPDX-License-Identifier: MIT
 *
 * As passed.c, for files of src/python/ that are compiled with an interpreter's headers. Of the interpreter there is
 * nothing else: what they call of it before the threads begin stands here.
 *
 * usage: passed_extension copies|heap|lookup
 */
#include <freelane/python.h>

#include "grace/grace.h"
#include "heap/heap.h"
#include "passed.h"
#include "python/copies.h"
#include "python/heap.h"
#include "python/join.h"
#include "python/lookup.h"
#include "python/options.h"
#include "python/stop.h"

/* ---- The list of the copies. */

static PyObject any = {
    .ob_ref_local = UINT32_MAX}; /* whatever object the interpreter would have made: an immortal one */
static void *list;
static const PyMethodDef *at_exit;
static struct fli_py_copy copy;
static bool is_told;

PyInterpreterState *PyInterpreterState_Get(void)
{
    return (PyInterpreterState *)(void *)&any;
}

PyObject *PyInterpreterState_GetDict(PyInterpreterState *interpreter)
{
    (void)interpreter;
    return &any;
}

PyObject *PyUnicode_FromString(const char *text)
{
    (void)text;
    return &any;
}

int PyDict_GetItemRef(PyObject *dict, PyObject *key, PyObject **found)
{
    (void)dict, (void)key;
    *found = list != NULL ? &any : NULL;
    return list != NULL;
}

int fli_py_join_set_default(PyObject *dict, PyObject *key, PyObject *value, PyObject **found)
{
    (void)dict, (void)key;
    *found = value;
    return 0;
}

PyObject *PyCapsule_New(void *pointer, const char *name, PyCapsule_Destructor destroy)
{
    (void)name, (void)destroy;
    list = pointer;
    return &any;
}

void *PyCapsule_GetPointer(PyObject *capsule, const char *name)
{
    (void)capsule, (void)name;
    return list;
}

PyObject *PyImport_ImportModule(const char *name)
{
    (void)name;
    return &any;
}

PyObject *PyObject_GetAttrString(PyObject *object, const char *name)
{
    (void)object, (void)name;
    return &any;
}

PyObject *PyCMethod_New(PyMethodDef *method, PyObject *self, PyObject *module, PyTypeObject *type)
{
    (void)method, (void)self, (void)module, (void)type;
    return &any;
}

int PyList_Append(PyObject *object, PyObject *item)
{
    (void)object, (void)item;
    return 0;
}

PyObject *PyTuple_New(Py_ssize_t size)
{
    (void)size;
    return &any;
}

PyObject *Py_BuildValue(const char *format, ...)
{
    (void)format;
    return &any;
}

PyObject *PyObject_Call(PyObject *call, PyObject *arguments, PyObject *names)
{
    (void)call, (void)arguments, (void)names;
    return &any;
}

int fli_py_join_exit(PyMethodDef *method, PyObject *self)
{
    (void)self;
    at_exit = method;
    return 0;
}

static void tell(void)
{
    is_told = true;
}

static void do_nothing(void)
{
}

static void begin_copies(void)
{
    static struct fli_py_copy first = {.exit = do_nothing};
    MUST(fli_py_copies_enter(&first) == 0);
}

static void make_copies(void)
{
    copy.exit = tell;
    MUST(fli_py_copies_enter(&copy) == 0);
    reach(1);
}

static void use_copies(void)
{
    await(1);
    (void)at_exit->ml_meth(&any, NULL);
    MUST(is_told);
}

/* ---- The heap, which the first thread makes that needs it. */

static int64_t begin_period(void *context)
{
    (void)context;
    return 1;
}

static bool has_elapsed(void *context, int64_t token)
{
    (void)context;
    return token == 1;
}

const struct fl_grace_host fli_py_stop_grace = {.begin = begin_period, .elapsed = has_elapsed};

int fli_py_options_get(struct fl_py_options *options)
{
    options->retain_bytes = options->limit_bytes = SIZE_MAX;
    options->reserve_bytes = 4 << 20;
    return 0;
}

static void begin_heap(void)
{
    MUST(fli_py_heap_ready() == 0);
}

static void make_heap(void)
{
    MUST(fli_py_heap_make() != NULL);
    reach(1);
}

static void use_heap(void)
{
    await(1);
    struct fl_heap *heap = fli_py_heap_get();
    MUST(heap != NULL && heap->backing.slabs.ranges.at[0].span > 0);
}

/* ---- Declarations that are looked up. */

static struct fl_py_type declaration;
static PyTypeObject declared;

static void make_lookup(void)
{
    MUST(fli_py_lookup_add(&declaration, &declared) == 0);
    reach(1);
}

static void use_lookup(void)
{
    await(1);
    MUST(fli_py_lookup_find(&declared) == &declaration);
}

/* ---- The scenarios. */

static const struct scenario scenarios[] = {
    {"copies", begin_copies, make_copies, use_copies},
    {"heap", begin_heap, make_heap, use_heap},
    {"lookup", nothing, make_lookup, use_lookup},
};

int main(int argc, char **argv)
{
    return run_scenario(scenarios, sizeof scenarios / sizeof scenarios[0], argc, argv);
}
