/* SPDX-License-Identifier: MIT
 *
 * An extension with errors of its author: each of five, in objects of each kind, without gc and with gc. plant() prints who
 * finds it, as planted.c does.
 */
#include <Python.h>

#include "child.h"

#include <freelane/python.h>

#include <string.h>

enum { LOST = 3 };

struct part {
    PyObject_HEAD PyObject *held;
    long word;
};

static int part_clear(PyObject *object)
{
    Py_CLEAR(((struct part *)object)->held);
    return 0;
}

static int part_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(((struct part *)object)->held);
    return 0;
}

FL_PY_TYPE(plain, struct part, .kind = FL_DEALLOC_PLAIN)
FL_PY_TYPE(clear, struct part, .kind = FL_DEALLOC_CLEAR, .clear = part_clear)
FL_PY_TYPE(gc_clear, struct part, .kind = FL_DEALLOC_CLEAR, .clear = part_clear, .gc = true)

static PyType_Slot plain_slots[] = {FL_PY_SLOTS(plain), {0, NULL}};
static PyType_Slot clear_slots[] = {FL_PY_SLOTS(clear), {0, NULL}};
static PyType_Slot gc_clear_slots[] = {
    {Py_tp_traverse, part_traverse}, {Py_tp_clear, part_clear}, FL_PY_SLOTS(gc_clear), {0, NULL}};

static struct {
    const char *name;
    const struct fl_py_type *declared;
    PyType_Slot *slots;
    PyTypeObject *type;
} kinds[] = {{"PLAIN", &plain_freelane, plain_slots, NULL},
             {"CLEAR", &clear_freelane, clear_slots, NULL},
             {"CLEAR", &gc_clear_freelane, gc_clear_slots, NULL}};

static PyTypeObject *type;
static PyObject *volatile kept;
static volatile long sink;

static struct part *make(void)
{
    struct part *object = (struct part *)type->tp_alloc(type, 0);
    require(object != NULL, "there is memory");
    return object;
}

static void read_after_free(void)
{
    struct part *object = make();
    object->word = 1;
    Py_DECREF(object);
    if (object->word == 1)
        sink = 1;
}

/* The words of a new object are zero, so that nobody has anything to find. */
static void undefined(void)
{
    struct part *object = make();
    object->word = 1;
    Py_DECREF(object);
    object = make();
    require(object->word == 0 && object->held == NULL, "the words are zero");
    Py_DECREF(object);
}

static void overflow(void)
{
    char *object = (char *)make();
    object[sizeof(struct part)] = 1;
}

static __attribute__((noinline)) void lose(void)
{
    make()->word = 1;
}

static void leak(void)
{
    kept = (PyObject *)make(); /* pointers to the first block of a slab are to the slab, too */
    for (unsigned i = 0; i < LOST; i++)
        lose();
    wipe();
}

static void double_free(void)
{
    PyObject *object = (PyObject *)make();
    Py_DECREF(object);
    type->tp_free(object);
}

static const struct {
    const char *name, *name_with_gc;
    void (*run)(void);
} errors[] = {{"read after free", "read after free with gc", read_after_free},
              {"undefined", "undefined with gc", undefined},
              {"overflow", "overflow with gc", overflow},
              {"leak", "leak with gc", leak},
              {"double free", "double free with gc", double_free}};

static PyObject *plant_all(PyObject *module, PyObject *none)
{
    (void)module, (void)none;
    fl_set_misuse_handler(misused);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        type = kinds[i].type;
        for (size_t j = 0; j < sizeof errors / sizeof *errors; j++)
            plant(kinds[i].declared->gc ? errors[j].name_with_gc : errors[j].name, kinds[i].name, errors[j].run);
    }
    Py_RETURN_NONE;
}

static int execute(PyObject *module)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        PyType_Spec spec = {.name = "planted_python.Part",
                            .basicsize = sizeof(struct part),
                            .flags = Py_TPFLAGS_DEFAULT | (kinds[i].declared->gc ? Py_TPFLAGS_HAVE_GC : 0),
                            .slots = kinds[i].slots};
        kinds[i].type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
        if (kinds[i].type == NULL || fl_py_type_ready(kinds[i].declared, kinds[i].type) < 0)
            return -1;
    }
    return 0;
}

static PyMethodDef methods[] = {{"plant", plant_all, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {Py_mod_gil, Py_MOD_GIL_NOT_USED}, {0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "planted_python", .m_methods = methods,
                                        .m_slots = slots};

PyMODINIT_FUNC PyInit_planted_python(void)
{
    return PyModuleDef_Init(&definition);
}
