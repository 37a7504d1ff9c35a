/* SPDX-License-Identifier: MIT
 *
 * Memory beside objects, by its address.
 */
#include "demo.h"

#include <string.h>

static PyObject *as_number(void *memory)
{
    return memory != NULL ? PyLong_FromVoidPtr(memory) : NULL;
}

PyObject *demo_memory_alloc(PyObject *module, PyObject *size)
{
    size_t bytes = PyLong_AsSize_t(size);
    (void)module;
    return bytes == (size_t)-1 && PyErr_Occurred() ? NULL : as_number(fl_py_memory_alloc(bytes));
}

PyObject *demo_memory_realloc(PyObject *module, PyObject *args)
{
    unsigned long long memory;
    Py_ssize_t old_size, size;
    (void)module;
    if (!PyArg_ParseTuple(args, "Knn", &memory, &old_size, &size))
        return NULL;
    return as_number(fl_py_memory_realloc((void *)(uintptr_t)memory, (size_t)old_size, (size_t)size));
}

PyObject *demo_memory_free(PyObject *module, PyObject *args)
{
    unsigned long long memory;
    Py_ssize_t size;
    (void)module;
    if (!PyArg_ParseTuple(args, "Kn", &memory, &size))
        return NULL;
    fl_py_memory_free((void *)(uintptr_t)memory, (size_t)size);
    Py_RETURN_NONE;
}

PyObject *demo_memory_read(PyObject *module, PyObject *args)
{
    unsigned long long memory;
    Py_ssize_t size;
    (void)module;
    if (!PyArg_ParseTuple(args, "Kn", &memory, &size))
        return NULL;
    return PyBytes_FromStringAndSize((const char *)(uintptr_t)memory, size);
}

PyObject *demo_memory_owns(PyObject *module, PyObject *address)
{
    void *memory = PyLong_AsVoidPtr(address);
    (void)module;
    return PyBool_FromLong(fl_py_memory_heap() != NULL && fl_owns(fl_py_memory_heap(), memory));
}

/* ---- Stress. */

enum { PLACES = 64 };

struct place {
    unsigned char *memory;
    size_t size;
};

static unsigned next_random(unsigned *state)
{
    return *state = *state * 1664525u + 1013904223u;
}

/* Whether the first bytes are those that the place was filled with. */
static bool is_whole(const struct place *place, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (place->memory[i] != (unsigned char)place->size)
            return false;
    return true;
}

/* Gives the place memory of another size, or none. Returns false, with an exception, if memory is refused or was not as it
 * had been left. */
static bool change(struct place *place, unsigned random, size_t size)
{
    bool whole = is_whole(place, place->size);
    size_t kept = place->size < size ? place->size : size;
    if (random % 4 == 0) {
        fl_py_memory_free(place->memory, place->size);
        *place = (struct place){NULL, 0};
    } else {
        unsigned char *moved = place->memory == NULL ? fl_py_memory_alloc(size)
                                                     : fl_py_memory_realloc(place->memory, place->size, size);
        if (moved == NULL)
            return false;
        place->memory = moved;
        whole = whole && is_whole(place, kept);
        place->size = size;
        memset(moved, (unsigned char)size, size);
    }
    if (!whole)
        PyErr_SetString(PyExc_AssertionError, "memory has changed");
    return whole;
}

PyObject *demo_memory_rounds(PyObject *module, PyObject *args)
{
    struct place places[PLACES] = {{NULL, 0}};
    unsigned seed;
    Py_ssize_t rounds, most;
    bool whole = true;
    (void)module;
    if (!PyArg_ParseTuple(args, "Inn", &seed, &rounds, &most))
        return NULL;
    while (whole && rounds-- > 0) {
        unsigned random = next_random(&seed) >> 8;
        size_t size = next_random(&seed) % (size_t)most;
        whole = change(&places[random % PLACES], random / PLACES, size);
    }
    for (size_t i = 0; i < PLACES; i++)
        fl_py_memory_free(places[i].memory, places[i].size);
    return whole ? Py_NewRef(Py_None) : NULL;
}
