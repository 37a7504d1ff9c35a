/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/later.h"

#include "grace/grace.h"
#include "heap/registry.h"
#include "python/heap.h"
#include "python/helper.h"
#include "python/join.h"
#include "python/queue.h"
#include "python/thread.h"

enum {
    /* How long a reference waits until others drop it: between one and two times as long. */
    OVERDUE_MS = 50,
    /* How long the main thread drops references at a time. Those that die take as long as their destructors do. */
    SLICE_MS = 10,
    /* How long the end of an interpreter does. */
    LAST_MS = 2000,
    /* Looks without finding anything after which the helper ends. */
    IDLE = FLI_RARE_PATHS ? 1 : 20,
    /* Room that a queue keeps while it is empty, whatever is reserved. */
    KEPT_ROOM = FLI_RARE_PATHS ? 8 : 4096,
};

/* All queues. Under the registry lock. */
static FLI_PLAIN(struct fli_py_queue *) queues;

static FLI_ATOMIC(size_t) left; /* how many have no owner; written under the lock */
static FLI_ATOMIC(uint64_t) leaked;

/* ---- Queues. */

static int64_t current_interpreter(void)
{
    return PyInterpreterState_GetID(PyThreadState_GetUnchecked()->interp);
}

static int64_t main_interpreter(void)
{
    return PyInterpreterState_GetID(PyInterpreterState_Main());
}

static struct fli_py_queue *find(const struct fli_py_thread *thread, int64_t interpreter)
{
    struct fli_py_queue *queue = thread != NULL ? thread->queues : NULL;
    while (queue != NULL && queue->interpreter != interpreter)
        queue = queue->of_thread;
    return queue;
}

static void enter(struct fli_py_queue *queue, struct fli_py_thread *owner)
{
    fli_registry_lock();
    queue->owner = owner;
    FLI_LIST_ADD(&queues, queue, links);
    if (owner == NULL)
        fli_count(&left, 1);
    fli_registry_unlock();
}

static struct fli_py_queue *create(struct fli_py_thread *thread, int64_t interpreter)
{
    struct fli_py_queue *queue = fli_py_queue_create(interpreter);
    if (queue == NULL)
        return NULL;
    queue->of_thread = thread->queues;
    thread->queues = queue;
    enter(queue, thread);
    return queue;
}

/* The calling thread's queue; NULL if memory is refused, or the OS thread is about to end. */
static struct fli_py_queue *own_queue(int64_t interpreter)
{
    struct fli_py_thread *thread = fli_py_thread_make();
    struct fli_py_queue *queue = find(thread, interpreter);
    return queue != NULL || thread == NULL ? queue : create(thread, interpreter);
}

static void remove_locked(struct fli_py_queue *queue)
{
    FLI_LIST_REMOVE(queue, links);
    fli_count(&left, (size_t)-1);
    fli_py_queue_destroy(queue);
}

/* From now on nobody puts anything into it. */
static void leave_locked(struct fli_py_queue *queue)
{
    queue->owner = NULL;
    fli_count(&left, 1);
    if (fli_py_queue_length_locked(queue) == 0)
        remove_locked(queue);
}

/* ---- Dropping what is in them. */

enum which { LEFT, SEEN };

static bool is_wanted_locked(const struct fli_py_queue *queue, enum which which)
{
    return which == LEFT ? queue->owner == NULL : fli_py_queue_has_before_locked(queue, queue->seen);
}

/* Takes a reference out of one of the queues; NULL if there is none. Destroys what is left and empty. */
static PyObject *take(int64_t interpreter, enum which which)
{
    PyObject *object = NULL;
    fli_registry_lock();
    for (struct fli_py_queue *queue = queues, *next; queue != NULL && object == NULL; queue = next) {
        next = queue->links.next;
        if (queue->interpreter != interpreter || !is_wanted_locked(queue, which))
            continue;
        object = fli_py_queue_take(queue);
        if (queue->owner == NULL && fli_py_queue_length_locked(queue) == 0)
            remove_locked(queue);
    }
    fli_registry_unlock();
    return object;
}

/* For ever, as the end of a time. */
#define NO_END UINT64_MAX

/* The time in so many milliseconds (fli_grace_now). */
static uint64_t time_in(unsigned milliseconds)
{
    return fli_grace_now() + (uint64_t)milliseconds * 1000000;
}

/* Drops them, at least one, until then. */
static size_t drop_until(int64_t interpreter, enum which which, uint64_t until)
{
    size_t count = 0;
    for (PyObject *object; (object = take(interpreter, which)) != NULL;) {
        Py_DECREF(object);
        count++;
        if (until != NO_END && fli_grace_now() >= until)
            break;
    }
    return count;
}

static size_t drop_own(struct fli_py_queue *queue)
{
    size_t count = 0;
    for (PyObject *object; (object = fli_py_queue_take(queue)) != NULL; count++)
        Py_DECREF(object);
    fli_py_queue_shrink_owner(queue, KEPT_ROOM);
    return count;
}

size_t fl_py_run_later(void)
{
    int64_t interpreter = current_interpreter();
    struct fli_py_queue *queue = find(fli_py_thread_own(), interpreter);
    PyObject *exception = PyErr_GetRaisedException();
    size_t count = queue != NULL ? drop_own(queue) : 0;
    if (fli_load_hint(&left) > 0)
        count += drop_until(interpreter, LEFT, NO_END);
    PyErr_SetRaisedException(exception);
    return count;
}

/* ---- Where nobody drops them. */

struct look {
    bool waiting, overdue; /* there are some; some were there at the last look */
};

/* Looks at the queues of an interpreter. */
static struct look look(int64_t interpreter)
{
    struct look look = {0};
    fli_registry_lock();
    for (struct fli_py_queue *queue = queues; queue != NULL; queue = queue->links.next) {
        if (queue->interpreter != interpreter)
            continue;
        look.overdue |= fli_py_queue_has_before_locked(queue, queue->seen);
        look.waiting |= fli_py_queue_length_locked(queue) > 0;
        queue->seen = fli_load_hint(&queue->put);
    }
    fli_registry_unlock();
    return look;
}

/* The main thread stands between two bytecodes, and has a program to run: the helper drops what it does not come to. */
static int serve_in_main(void *unused)
{
    (void)unused;
    (void)drop_until(main_interpreter(), SEEN, time_in(SLICE_MS));
    return 0;
}

/* In the helper, which the end of the interpreter waits for. */
static int serve(void *unused)
{
    (void)unused;
    while (fli_py_helper_goes_on() && drop_until(main_interpreter(), SEEN, time_in(SLICE_MS)) > 0)
        ;
    return 0;
}

static void watch(void);
static bool is_needed(void);

static struct fli_py_helper helper = {.run = watch, .is_needed = is_needed};

static void watch(void)
{
    bool asked = false;
    for (unsigned idle = 0; idle < IDLE && fli_py_helper_wait(OVERDUE_MS);) {
        struct look found = look(main_interpreter());
        idle = found.waiting ? 0 : idle + 1;
        if (asked && found.overdue)
            fli_py_helper_serve(&helper, serve);
        asked = !asked && found.overdue;
        if (asked)
            (void)Py_AddPendingCall(serve_in_main, NULL);
    }
}

static bool is_needed(void)
{
    return look(main_interpreter()).waiting;
}

/* ---- Queueing. */

/* Where the calling thread has no queue: into one that is left already. Returns false if memory is refused. */
static bool put_left(int64_t interpreter, PyObject *object)
{
    struct fli_py_queue *queue = fli_py_queue_create(interpreter);
    bool done = queue != NULL && fli_py_queue_put_owner(queue, object);
    if (done)
        enter(queue, NULL);
    else if (queue != NULL)
        fli_py_queue_destroy(queue);
    return done;
}

static bool put(int64_t interpreter, PyObject *object)
{
    struct fli_py_queue *queue = own_queue(interpreter);
    return queue != NULL ? fli_py_queue_put_owner(queue, object) : put_left(interpreter, object);
}

void fl_py_decref_later(PyObject *object)
{
    int64_t interpreter = current_interpreter();
    if (object == NULL)
        return;
    if (!fli_py_heap_is_ready() || !put(interpreter, object)) {
        fli_add_count(&leaked, 1);
        return;
    }
    /* U5: seq_cst, pairs with X1 in helper.c: a helper that ends is seen here, or it sees the reference. */
    if (!fli_load_order(&helper.at_work, memory_order_seq_cst) && interpreter == main_interpreter())
        fli_py_helper_get(&helper);
}

static PyObject *at_exit(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    fli_py_later_close();
    Py_RETURN_NONE;
}

static PyMethodDef exit_method = {"freelane_later_at_exit", at_exit, METH_NOARGS, NULL};

/* The main interpreter is joined in collect.c. */
static int join_subinterpreter(void)
{
    return fli_py_join_exit(&exit_method, NULL);
}

int fl_py_later_reserve(size_t count)
{
    int64_t interpreter = current_interpreter();
    if (!fli_py_heap_is_ready()) {
        PyErr_SetString(PyExc_RuntimeError, "freelane: fl_py_later_reserve comes before the first fl_py_type_ready");
        return -1;
    }
    bool is_new = find(fli_py_thread_own(), interpreter) == NULL;
    if (is_new && interpreter != main_interpreter() && fli_py_join_once(&exit_method, join_subinterpreter) < 0)
        return -1;
    struct fli_py_queue *queue = own_queue(interpreter);
    if (queue == NULL || !fli_py_queue_reserve_owner(queue, count))
        return PyErr_NoMemory(), -1;
    /* So that the end of the thread state drops what it has queued. */
    if (interpreter == main_interpreter())
        (void)fli_py_thread_open(fli_py_thread_own());
    return 0;
}

/* ---- The lives of interpreters and threads. */

static void leak_locked(struct fli_py_queue *queue)
{
    fli_registry_assert_held();
    while (fli_py_queue_take(queue) != NULL)
        fli_add_count(&leaked, 1);
}

void fli_py_later_open(void)
{
    fli_registry_lock();
    for (struct fli_py_queue *queue = queues; queue != NULL; queue = queue->links.next)
        leak_locked(queue);
    fli_registry_unlock();
}

/* What is still there: else the last collections of the interpreter would drop it, however long that takes. */
static void leak_all(int64_t interpreter)
{
    fli_registry_lock();
    for (struct fli_py_queue *queue = queues; queue != NULL; queue = queue->links.next)
        if (queue->interpreter == interpreter)
            leak_locked(queue);
    fli_registry_unlock();
}

void fli_py_later_close(void)
{
    int64_t interpreter = current_interpreter();
    uint64_t until = time_in(LAST_MS);
    while (look(interpreter).waiting && fli_grace_now() < until)
        (void)drop_until(interpreter, SEEN, until);
    leak_all(interpreter);
}

void fli_py_later_leave(struct fli_py_thread *thread)
{
    fli_registry_lock();
    for (struct fli_py_queue *queue = thread->queues, *next; queue != NULL; queue = next) {
        next = queue->of_thread;
        leave_locked(queue);
    }
    thread->queues = NULL;
    fli_registry_unlock();
}

static void leave_others(void)
{
    const struct fli_py_thread *own = fli_py_thread_own();
    fli_registry_lock();
    for (struct fli_py_queue *queue = queues, *next; queue != NULL; queue = next) {
        next = queue->links.next;
        if (queue->owner != NULL && queue->owner != own)
            leave_locked(queue);
    }
    fli_registry_unlock();
}

void fli_py_later_forked(bool in_child)
{
    if (in_child)
        leave_others();
    if (is_needed())
        fli_py_helper_get(&helper);
}

void fli_py_later_count(struct fl_py_stats *stats)
{
    fli_registry_lock();
    for (struct fli_py_queue *queue = queues; queue != NULL; queue = queue->links.next)
        stats->later_references += fli_py_queue_length_locked(queue);
    fli_registry_unlock();
    stats->leaked_references = fli_load_hint(&leaked);
}

#endif
