/* SPDX-License-Identifier: MIT
 *
 * freelane_demo: types of every kind on Freelane, and twins of them that differ in nothing but where memory comes
 * from.
 *
 *     kind        holds                                        deallocation   Py_TPFLAGS_HAVE_GC
 *     Point       two doubles                                  PLAIN
 *     Pair        two objects                                  CLEAR
 *     GCPair      two objects                                  CLEAR          yes
 *     WeakPair    two objects, managed weak references          CLEAR          yes
 *     Handle      a file descriptor, an object                 FINALIZE
 *     GCHandle    the same                                     FINALIZE       yes
 *     Label       an object                                    LEGACY
 *     GCLabel     an object                                    LEGACY         yes
 *     Node        two objects, a __dict__, weak references     CLEAR          yes
 *     Vector      any number of doubles                        PLAIN
 *     Table       any number of objects, in two buffers        CLEAR          yes
 *
 *     variant     prefix            type     memory
 *     freelane    (none)            heap     Freelane
 *                 Static            static
 *                 Immortal          heap, immortal
 *     default     Default           heap     the interpreter's
 *                 DefaultStatic     static
 *     freelist    Freelist          heap     the interpreter's, with one freed object kept for each thread
 *                 FreelistStatic    static
 */
#ifndef FREELANE_DEMO_H
#define FREELANE_DEMO_H

#include <freelane/python.h>

enum variant { HEAP, STATIC, IMMORTAL, DEFAULT, DEFAULT_STATIC, FREELIST, FREELIST_STATIC, VARIANTS };

/* What makes a variant of a kind another: the three slots. */
struct memory {
    const struct fl_py_type *freelane; /* NULL for the twins */
    allocfunc alloc;
    freefunc free;
    destructor dealloc; /* NULL: there is no such variant */
};

struct kind {
    const char *name;
    Py_ssize_t size, item_size;
    unsigned long flags;
    const PyType_Slot *slots; /* all but those in struct memory */
    struct memory memory[VARIANTS];
    /* Fills `objects` with `alive` new objects and destroys them, until `count` have been. Returns 0, or -1 with an
     * exception. */
    int (*churn)(PyTypeObject *type, PyObject **objects, Py_ssize_t alive, Py_ssize_t count);
};

/* container.c */
extern const struct kind demo_table, demo_table_twins;

extern const struct kind *const kinds[];

/* Adds every variant of every kind to the module. Returns 0 or -1 with an exception. */
int demo_add_types(PyObject *module);

/* subtypes.c, once the types are there. */
int demo_add_subtypes(PyObject *module);

/* maps.c */
int demo_add_maps(PyObject *module);
PyObject *demo_buffer_beyond(PyObject *module, PyObject *unused);

/* memory.c */
PyObject *demo_memory_alloc(PyObject *module, PyObject *size);
PyObject *demo_memory_realloc(PyObject *module, PyObject *args);
PyObject *demo_memory_free(PyObject *module, PyObject *args);
PyObject *demo_memory_read(PyObject *module, PyObject *args);
PyObject *demo_memory_owns(PyObject *module, PyObject *address);
PyObject *demo_memory_rounds(PyObject *module, PyObject *args);

/* nesting.c, once the types are there. */
int demo_add_nesting(PyObject *module);
PyObject *demo_drop_in_fiber(PyObject *module, PyObject *args);
PyObject *demo_resume_fibers(PyObject *module, PyObject *unused);
PyObject *demo_drop_and_jump(PyObject *module, PyObject *list);
PyObject *demo_call_far_down(PyObject *module, PyObject *args);
PyObject *demo_counted(PyObject *module, PyObject *unused);

/* refusals.c */
PyObject *demo_refuse(PyObject *module, PyObject *name);
PyObject *demo_refusals(PyObject *module, PyObject *unused);

/* threads.c */
PyObject *demo_foreign_rounds(PyObject *module, PyObject *args);
PyObject *demo_clear_elsewhere(PyObject *module, PyObject *args);
PyObject *demo_run_late(PyObject *module, PyObject *args);
PyObject *demo_delay_others(PyObject *module, PyObject *seconds);
PyObject *demo_delayed(PyObject *module, PyObject *unused);

/* later.c */
PyObject *demo_decref_later(PyObject *module, PyObject *args);
PyObject *demo_later_reserve(PyObject *module, PyObject *count);
PyObject *demo_run_later(PyObject *module, PyObject *unused);
PyObject *demo_replace_items(PyObject *module, PyObject *args);
PyObject *demo_later_in_subinterpreter(PyObject *module, PyObject *seconds);
PyObject *demo_wait_in_c(PyObject *module, PyObject *seconds);

/* Whether `type` is one of them, and which kind. */
const struct kind *demo_kind_of(PyTypeObject *type);

/* Functions of the module. */
extern PyMethodDef demo_functions[];

#endif
