/* SPDX-License-Identifier: MIT
 *
 * Destructors that do not come back, or not at once, and stacks that are nearly used up, for the tests.
 *
 *     Away         its tp_dealloc leaves the fiber that it runs in, until that is resumed
 *     Jump         its tp_dealloc leaves by longjmp
 *     CountedPair  a Pair that adds nothing but a tp_dealloc, which counts and calls Pair's
 */
#include "demo.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

/* ---- Fibers: stacks of their own, in one piece of memory, each below the one before. */

enum { FIBERS = 256 };

static struct fiber {
    ucontext_t context;
    PyObject *dropped;
    bool is_away;
} fibers[FIBERS];

static ucontext_t home;
static int started, running = -1;
static char *stacks; /* FIBERS of them */
static size_t stack_bytes;

static void run_fiber(void)
{
    struct fiber *fiber = &fibers[running];
    Py_CLEAR(fiber->dropped);
    fiber->is_away = false;
    swapcontext(&fiber->context, &home);
}

static bool enter(int i)
{
    running = i;
    swapcontext(&home, &fibers[i].context);
    running = -1;
    return !fibers[i].is_away;
}

static int make_stacks(size_t bytes)
{
    void *memory = mmap(NULL, FIBERS * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return PyErr_NoMemory(), -1;
    if (stacks != NULL)
        (void)munmap(stacks, FIBERS * stack_bytes);
    stacks = memory;
    stack_bytes = bytes;
    return 0;
}

/* Takes the item out of a list of one, so that the caller's is the only reference. */
static PyObject *take_item(PyObject *list)
{
    PyObject *item = Py_NewRef(PyList_GET_ITEM(list, 0));
    if (PyList_SetSlice(list, 0, 1, NULL) < 0)
        Py_CLEAR(item);
    return item;
}

PyObject *demo_drop_in_fiber(PyObject *module, PyObject *args)
{
    PyObject *list;
    Py_ssize_t bytes;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!n", &PyList_Type, &list, &bytes))
        return NULL;
    if (started == FIBERS)
        return PyErr_Format(PyExc_ValueError, "more than %d fibers", FIBERS);
    if (started == 0 && (size_t)bytes != stack_bytes && make_stacks((size_t)bytes) < 0)
        return NULL;
    struct fiber *fiber = &fibers[started];
    fiber->dropped = take_item(list);
    if (fiber->dropped == NULL)
        return NULL;
    fiber->is_away = true;
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = stacks + (size_t)(FIBERS - 1 - started) * stack_bytes;
    fiber->context.uc_stack.ss_size = stack_bytes;
    makecontext(&fiber->context, run_fiber, 0);
    return PyBool_FromLong(enter(started++));
}

PyObject *demo_resume_fibers(PyObject *module, PyObject *unused)
{
    int away = 0;
    (void)module, (void)unused;
    for (int i = 0; i < started; i++)
        if (fibers[i].is_away && !enter(i))
            away++;
    if (away == 0)
        started = 0;
    return PyLong_FromLong(away);
}

static void away_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
    if (running >= 0)
        swapcontext(&fibers[running].context, &home);
}

/* ---- Jumps. */

static jmp_buf *landing;

static void jump_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
    if (landing != NULL)
        longjmp(*landing, 1);
}

PyObject *demo_drop_and_jump(PyObject *module, PyObject *list)
{
    jmp_buf here;
    (void)module;
    PyObject *item = take_item(list);
    if (item == NULL)
        return NULL;
    landing = &here;
    bool jumped = setjmp(here) != 0;
    if (!jumped)
        Py_DECREF(item);
    landing = NULL;
    return PyBool_FromLong(jumped);
}

/* ---- The end of a stack. */

static uintptr_t stack_low(void)
{
    pthread_attr_t attributes;
    void *low = NULL;
    size_t size = 0, guard = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return 0;
    (void)pthread_attr_getstack(&attributes, &low, &size);
    (void)pthread_attr_getguardsize(&attributes, &guard);
    (void)pthread_attr_destroy(&attributes);
    return (uintptr_t)low + guard;
}

/* Large frames, because ThreadSanitizer bounds their number. */
static __attribute__((noinline)) PyObject *call_below(PyObject *function, uintptr_t address)
{
    char used[8192];
    char *volatile kept = used; /* all of it */
    *kept = 0;
    PyObject *result = fl_py_frame() > address ? call_below(function, address) : PyObject_CallNoArgs(function);
    *kept = 1;
    return result;
}

PyObject *demo_call_far_down(PyObject *module, PyObject *args)
{
    PyObject *function;
    Py_ssize_t left;
    (void)module;
    if (!PyArg_ParseTuple(args, "On", &function, &left))
        return NULL;
    return call_below(function, stack_low() + (size_t)left);
}

/* ---- CountedPair. */

static long counted;

static void counted_dealloc(PyObject *self)
{
    counted++;
    Py_TYPE(self)->tp_base->tp_dealloc(self);
}

PyObject *demo_counted(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    return PyLong_FromLong(counted);
}

/* ---- Types. */

static PyType_Slot away_slots[] = {{Py_tp_dealloc, (void *)away_dealloc}, {0, NULL}};
static PyType_Slot jump_slots[] = {{Py_tp_dealloc, (void *)jump_dealloc}, {0, NULL}};
static PyType_Slot counted_slots[] = {{Py_tp_dealloc, (void *)counted_dealloc}, {0, NULL}};
static PyType_Spec away_spec = {"freelane_demo.Away", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT, away_slots};
static PyType_Spec jump_spec = {"freelane_demo.Jump", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT, jump_slots};
static PyType_Spec counted_spec = {"freelane_demo.CountedPair", 0, 0, Py_TPFLAGS_DEFAULT, counted_slots};

static int add_type(PyObject *module, PyType_Spec *spec, PyObject *base)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, base);
    int failed = type != NULL ? PyModule_AddType(module, (PyTypeObject *)type) : -1;
    Py_XDECREF(type);
    return failed;
}

int demo_add_nesting(PyObject *module)
{
    PyObject *pair = PyObject_GetAttrString(module, "Pair");
    int failed = pair == NULL || add_type(module, &away_spec, NULL) < 0 || add_type(module, &jump_spec, NULL) < 0 ||
                         add_type(module, &counted_spec, pair) < 0
                     ? -1
                     : 0;
    Py_XDECREF(pair);
    return failed;
}
