/* SPDX-License-Identifier: MIT
 *
 * Two tables of numbers by number, which differ in how threads read them:
 *
 *     Map         without a lock: the cells lie in a buffer that is retired when another takes its place
 *     LockedMap   in a critical section
 *
 * Cells are in open addressing. A reader may look at them at any moment, so in a Map
 *
 *     a cell's key changes once, from FREE; its value was there before
 *     a cell's value changes at any time; ABSENT: the key has been removed
 *     cells are moved into new ones when three quarters have keys
 *
 * Writers take turns in a critical section of the map.
 *
 *     what the writer stores            order      a reader loads it with acquire order, and then finds
 *     the cells                         release    what lies in them
 *     a key                             release    the value beside it
 */
#include "demo.h"

#include <stdatomic.h>

#define FREE   INT64_MIN /* as a key */
#define ABSENT INT64_MIN /* as a value */

enum { LEAST_ROOM = 8 };

struct cell {
    _Atomic(int64_t) key, value;
};

struct cells {
    size_t room, used; /* `used` is the writer's */
    struct cell at[];
};

typedef struct {
    PyObject_HEAD _Atomic(struct cells *) cells;
} Map;

/* ---- Cells. */

static struct cells *cells_new(size_t room)
{
    struct cells *cells = fl_py_buffer_alloc(sizeof *cells + room * sizeof(struct cell));
    if (cells == NULL)
        return NULL;
    cells->room = room;
    for (size_t i = 0; i < room; i++)
        atomic_init(&cells->at[i].key, FREE);
    return cells;
}

/* The key's cell, or the free one where it belongs: there always is one. */
static struct cell *cells_find(struct cells *cells, int64_t key)
{
    size_t i = (size_t)((uint64_t)key * 0x9E3779B97F4A7C15u >> 20);
    for (;; i++) {
        struct cell *cell = &cells->at[i & (cells->room - 1)];
        int64_t found = atomic_load_explicit(&cell->key, memory_order_acquire);
        if (found == key || found == FREE)
            return cell;
    }
}

static int64_t cells_get(struct cells *cells, int64_t key)
{
    struct cell *cell = cells_find(cells, key);
    if (atomic_load_explicit(&cell->key, memory_order_acquire) != key)
        return ABSENT;
    return atomic_load_explicit(&cell->value, memory_order_relaxed); /* one number, which orders nothing */
}

static void cells_set(struct cells *cells, int64_t key, int64_t value)
{
    struct cell *cell = cells_find(cells, key);
    atomic_store_explicit(&cell->value, value, memory_order_relaxed); /* as above */
    if (atomic_load_explicit(&cell->key, memory_order_relaxed) == key)
        return;
    cells->used++;
    atomic_store_explicit(&cell->key, key, memory_order_release);
}

/* As many as there are, but without the removed ones, in cells of which at most half are used. */
static struct cells *cells_copy(struct cells *from)
{
    size_t live = 0, room = LEAST_ROOM;
    for (size_t i = 0; i < from->room; i++)
        live += from->at[i].key != FREE && from->at[i].value != ABSENT;
    while (room < 2 * (live + 1))
        room *= 2;
    struct cells *cells = cells_new(room);
    for (size_t i = 0; cells != NULL && i < from->room; i++)
        if (from->at[i].key != FREE && from->at[i].value != ABSENT)
            cells_set(cells, from->at[i].key, from->at[i].value);
    return cells;
}

/* ---- Writers, in a critical section. */

static bool is_locked(Map *self);

static int map_make_room(Map *self)
{
    struct cells *before = atomic_load_explicit(&self->cells, memory_order_relaxed); /* the writer's own */
    if (before->used + 1 <= before->room / 4 * 3)
        return 0;
    struct cells *now = cells_copy(before);
    if (now == NULL)
        return -1;
    atomic_store_explicit(&self->cells, now, memory_order_release);
    if (is_locked(self))
        fl_py_buffer_free(before);
    else
        fl_py_buffer_free_deferred(before);
    return 0;
}

static int map_store(PyObject *object, int64_t key, int64_t value)
{
    Map *self = (Map *)object;
    int failed;
    Py_BEGIN_CRITICAL_SECTION(object);
    failed = map_make_room(self);
    if (failed == 0)
        cells_set(self->cells, key, value);
    Py_END_CRITICAL_SECTION();
    return failed;
}

/* ---- Readers. */

static int64_t map_load(PyObject *object, int64_t key)
{
    Map *self = (Map *)object;
    int64_t value;
    if (!is_locked(self))
        return cells_get(atomic_load_explicit(&self->cells, memory_order_acquire), key);
    Py_BEGIN_CRITICAL_SECTION(object);
    value = cells_get(self->cells, key);
    Py_END_CRITICAL_SECTION();
    return value;
}

/* ---- Python. */

static PyObject *map_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args, (void)kwargs;
    Map *self = (Map *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    atomic_init(&self->cells, cells_new(LEAST_ROOM));
    if (self->cells == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* Whoever reads has a reference to the map: now there is no reader. */
static int map_end(PyObject *self)
{
    fl_py_buffer_free(((Map *)self)->cells);
    return 0;
}

FL_PY_TYPE(map, Map, .kind = FL_DEALLOC_CLEAR, .clear = map_end)
FL_PY_TYPE(locked_map, Map, .kind = FL_DEALLOC_CLEAR, .clear = map_end)

static bool is_locked(Map *self)
{
    return Py_TYPE(self)->tp_alloc == locked_map_alloc;
}

static int number_of(PyObject *object, int64_t *number)
{
    *number = PyLong_AsLongLong(object);
    if (*number != INT64_MIN)
        return 0;
    PyErr_SetString(PyExc_OverflowError, "a number that a map has no room for");
    return -1;
}

static PyObject *map_item(PyObject *self, PyObject *object)
{
    int64_t key;
    if (number_of(object, &key) < 0 || PyErr_Occurred())
        return NULL;
    int64_t value = map_load(self, key);
    if (value == ABSENT)
        return PyErr_Format(PyExc_KeyError, "%R", object);
    return PyLong_FromLongLong(value);
}

static int map_set_item(PyObject *self, PyObject *object, PyObject *to)
{
    int64_t key, value = ABSENT;
    if (number_of(object, &key) < 0 || (to != NULL && number_of(to, &value) < 0) || PyErr_Occurred())
        return -1;
    if (to == NULL && map_load(self, key) == ABSENT) {
        PyErr_SetObject(PyExc_KeyError, object);
        return -1;
    }
    return map_store(self, key, value);
}

/* sum(first, end): of the values of these keys, read in a loop in C. */
static PyObject *map_sum(PyObject *self, PyObject *args)
{
    long long first, end, sum = 0;
    if (!PyArg_ParseTuple(args, "LL", &first, &end))
        return NULL;
    for (long long key = first; key < end; key++) {
        int64_t value = map_load(self, key);
        sum += value != ABSENT ? value : 0;
    }
    return PyLong_FromLongLong(sum);
}

static PyMethodDef map_methods[] = {{"sum", map_sum, METH_VARARGS, "of the values of keys from `first` to `end`"},
                                    {0}};

static PyType_Slot map_slots[] = {
    {Py_tp_new, (void *)map_new},
    {Py_tp_methods, map_methods},
    {Py_mp_subscript, (void *)map_item},
    {Py_mp_ass_subscript, (void *)map_set_item},
    FL_PY_SLOTS(map),
    {0, NULL},
};
static PyType_Slot locked_map_slots[] = {
    {Py_tp_new, (void *)map_new},
    {Py_tp_methods, map_methods},
    {Py_mp_subscript, (void *)map_item},
    {Py_mp_ass_subscript, (void *)map_set_item},
    FL_PY_SLOTS(locked_map),
    {0, NULL},
};
static PyType_Spec map_spec = {"freelane_demo.Map", sizeof(Map), 0, Py_TPFLAGS_DEFAULT, map_slots};
static PyType_Spec locked_map_spec = {"freelane_demo.LockedMap", sizeof(Map), 0, Py_TPFLAGS_DEFAULT,
                                      locked_map_slots};

static int add_type(PyObject *module, PyType_Spec *spec, const struct fl_py_type *freelane)
{
    PyTypeObject *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    int failed = type == NULL || fl_py_type_ready(freelane, type) < 0 || PyModule_AddType(module, type) < 0 ? -1 : 0;
    Py_XDECREF(type);
    return failed;
}

int demo_add_maps(PyObject *module)
{
    if (add_type(module, &map_spec, &map_freelane) < 0)
        return -1;
    return add_type(module, &locked_map_spec, &locked_map_freelane);
}

PyObject *demo_buffer_beyond(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    void *buffer = fl_py_buffer_alloc(SIZE_MAX / 2);
    fl_py_buffer_free(buffer);
    if (buffer == NULL && PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyErr_Clear();
        buffer = fl_py_buffer_alloc(SIZE_MAX - 4);
    }
    return buffer == NULL ? NULL : Py_NewRef(Py_None);
}
