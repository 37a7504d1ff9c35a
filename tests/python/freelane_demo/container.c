/* SPDX-License-Identifier: MIT
 *
 * Table: a container of 200 bytes that owns two buffers. It holds objects in the order given, with their hashes: the
 * first of them in itself, the others in a buffer, and all hashes in a second one.
 *
 *     table_clear      tp_clear: drops the objects; what is left is an empty Table that may be used
 *     table_release    what deallocation needs: the objects, and then the buffers
 *
 * The buffers of the types on Freelane are its memory, too (own_..), those of the twins are the interpreter's (table_..).
 */
#include "twins.h"

#include <structmember.h>

enum { TABLE_BYTES = 200, TABLE_FEW = (TABLE_BYTES - sizeof(PyObject) - 4 * sizeof(void *)) / sizeof(PyObject *) };

typedef struct {
    PyObject_HEAD Py_ssize_t used, room;
    PyObject **more;   /* room for `room` - TABLE_FEW, from the object number TABLE_FEW on */
    Py_hash_t *hashes; /* room for `room` */
    PyObject *few[TABLE_FEW];
} Table;

_Static_assert(sizeof(Table) == TABLE_BYTES, "a Table is as large as it says");

static PyObject **table_place(Table *self, Py_ssize_t i)
{
    return i < TABLE_FEW ? &self->few[i] : &self->more[i - TABLE_FEW];
}

static size_t bytes_of_hashes(Py_ssize_t room)
{
    return (size_t)room * sizeof(Py_hash_t);
}

static size_t bytes_of_more(Py_ssize_t room)
{
    return room > TABLE_FEW ? (size_t)(room - TABLE_FEW) * sizeof(PyObject *) : 0;
}

/* Makes room for so many, more than before. Returns 0, or -1 with MemoryError. */
static int table_grow(Table *self, Py_ssize_t room)
{
    Py_hash_t *hashes = PyMem_Realloc(self->hashes, bytes_of_hashes(room));
    if (hashes == NULL)
        return PyErr_NoMemory(), -1;
    self->hashes = hashes;
    PyObject **more = PyMem_Realloc(self->more, bytes_of_more(room));
    if (more == NULL)
        return PyErr_NoMemory(), -1;
    self->more = more;
    self->room = room;
    return 0;
}

static void own_free(const Table *self)
{
    fl_py_memory_free(self->hashes, bytes_of_hashes(self->room));
    fl_py_memory_free(self->more, bytes_of_more(self->room));
}

/* The same. Both buffers have the size that `room` says, whatever fails. */
static int own_grow(Table *self, Py_ssize_t room)
{
    Py_hash_t *hashes = fl_py_memory_alloc(bytes_of_hashes(room));
    PyObject **more = hashes != NULL ? fl_py_memory_alloc(bytes_of_more(room)) : NULL;
    if (more == NULL) {
        fl_py_memory_free(hashes, bytes_of_hashes(room));
        return -1;
    }
    if (self->room > 0) {
        memcpy(hashes, self->hashes, bytes_of_hashes(self->room));
        memcpy(more, self->more, bytes_of_more(self->room));
        own_free(self);
    }
    self->hashes = hashes;
    self->more = more;
    self->room = room;
    return 0;
}

/* What calls them. `fill` makes a table that is about to get its contents. */
#define TABLE(prefix)                                                                                                \
    static int prefix##_add(Table *self, PyObject *object)                                                           \
    {                                                                                                                \
        Py_hash_t hash = PyObject_Hash(object);                                                                      \
        if (hash == -1 && PyErr_Occurred())                                                                          \
            return -1;                                                                                               \
        if (self->used == self->room && prefix##_grow(self, self->room * 2 + TABLE_FEW + 8) < 0)                     \
            return -1;                                                                                               \
        self->hashes[self->used] = hash;                                                                             \
        *table_place(self, self->used++) = Py_NewRef(object);                                                        \
        return 0;                                                                                                    \
    }                                                                                                                \
    static PyObject *prefix##_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)                              \
    {                                                                                                                \
        (void)kwargs;                                                                                                \
        Table *self = (Table *)type->tp_alloc(type, 0);                                                              \
        for (Py_ssize_t i = 0; self != NULL && i < PyTuple_GET_SIZE(args); i++)                                      \
            if (prefix##_add(self, PyTuple_GET_ITEM(args, i)) < 0)                                                   \
                Py_CLEAR(self);                                                                                      \
        return (PyObject *)self;                                                                                     \
    }                                                                                                                \
    static inline void prefix##_fill(PyObject *object)                                                               \
    {                                                                                                                \
        if (prefix##_grow((Table *)object, TABLE_FEW + 8) < 0)                                                       \
            PyErr_Clear();                                                                                           \
    }                                                                                                                \
    CHURN(prefix, prefix##_fill)

TABLE(table)
TABLE(own)

static int table_clear(PyObject *object)
{
    Table *self = (Table *)object;
    while (self->used > 0) {
        PyObject **place = table_place(self, --self->used);
        Py_CLEAR(*place);
    }
    return 0;
}

static void table_forget(Table *self)
{
    self->hashes = NULL;
    self->more = NULL;
    self->room = 0;
}

static int table_release(PyObject *object)
{
    Table *self = (Table *)object;
    table_clear(object);
    PyMem_Free(self->hashes);
    PyMem_Free(self->more);
    table_forget(self);
    return 0;
}

static int own_release(PyObject *object)
{
    table_clear(object);
    own_free((Table *)object);
    table_forget((Table *)object);
    return 0;
}

static int table_traverse(PyObject *object, visitproc visit, void *arg)
{
    Table *self = (Table *)object;
    for (Py_ssize_t i = 0; i < self->used; i++)
        Py_VISIT(*table_place(self, i));
    return twin_visit_type(object, table_traverse, visit, arg);
}

static PyObject *table_objects(PyObject *object, void *unused)
{
    Table *self = (Table *)object;
    PyObject *objects = PyTuple_New(self->used);
    (void)unused;
    for (Py_ssize_t i = 0; objects != NULL && i < self->used; i++)
        PyTuple_SET_ITEM(objects, i, Py_NewRef(*table_place(self, i)));
    return objects;
}

static PyObject *table_hashes(PyObject *object, void *unused)
{
    Table *self = (Table *)object;
    PyObject *hashes = PyList_New(0);
    (void)unused;
    for (Py_ssize_t i = 0; hashes != NULL && i < self->used; i++) {
        PyObject *hash = PyLong_FromSsize_t(self->hashes[i]);
        if (hash == NULL || PyList_Append(hashes, hash) < 0)
            Py_CLEAR(hashes);
        Py_XDECREF(hash);
    }
    return hashes;
}

static PyMemberDef table_members[] = {{"used", Py_T_PYSSIZET, offsetof(Table, used), Py_READONLY, NULL}, {0}};

static PyGetSetDef table_attributes[] = {
    {"objects", table_objects, NULL, NULL, NULL}, {"hashes", table_hashes, NULL, NULL, NULL}, {0}};

#define TABLE_SLOTS(prefix)                                                                                          \
    {                                                                                                                \
        {Py_tp_new, prefix##_new}, {Py_tp_members, table_members}, {Py_tp_getset, table_attributes},                 \
            {Py_tp_traverse, table_traverse}, {Py_tp_clear, table_clear},                                            \
        {                                                                                                            \
            0, NULL                                                                                                  \
        }                                                                                                            \
    }

static const PyType_Slot table_slots[] = TABLE_SLOTS(table), own_slots[] = TABLE_SLOTS(own);

TWINS_OF(table, true, table_release)
FREELANE_OF(own, Table, .kind = FL_DEALLOC_CLEAR, .clear = own_release, .gc = true, .subclassed = true)

const struct kind demo_table_twins = {.name = "Table",
                                      .size = sizeof(Table),
                                      .flags = Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                                      .slots = table_slots,
                                      .memory = {TWIN_MEMORY(table)},
                                      .churn = table_churn};

const struct kind demo_table = {.name = "Table",
                                .size = sizeof(Table),
                                .flags = Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                                .slots = own_slots,
                                .memory = {OWN_MEMORY(own)},
                                .churn = own_churn};
