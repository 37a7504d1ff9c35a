/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/thread.h"

#include "heap/os_thread.h"
#include "heap/registry.h"
#include "python/drawer.h"
#include "python/heap.h"
#include "python/later.h"
#include "python/seat.h"
#include "python/threads.h"

#include <stdlib.h>

static const char *capsule_name = "freelane.thread";

static void reference(struct fli_py_thread *thread)
{
    fli_registry_lock();
    thread->references++;
    fli_registry_unlock();
}

void fli_py_thread_unreference(struct fli_py_thread *thread)
{
    fli_registry_lock();
    bool last = --thread->references == 0;
    fli_registry_unlock();
    if (last)
        free(thread);
}

/* ---- The end of a thread state. */

static void at_state_end(PyObject *capsule)
{
    struct fli_py_thread *thread = PyCapsule_GetPointer(capsule, capsule_name);
    if (thread == fli_py_thread_own()) {
        thread->open = false;
        fli_py_nest_resume();
        (void)fl_py_run_later();
        fli_py_drawers_empty(thread);
    }
    fli_store_relaxed(&thread->unwatched, true); /* relaxed: the owner may as well learn of it later */
    fli_py_thread_unreference(thread);
}

/* Puts a capsule for the thread into the dict of its thread state, under a key that each copy of Freelane has its own
 * of. */
static int put_capsule(struct fli_py_thread *thread, PyObject *dict)
{
    PyObject *key = PyUnicode_FromFormat("freelane.%p", (const void *)&capsule_name);
    PyObject *capsule = key != NULL ? PyCapsule_New(thread, capsule_name, at_state_end) : NULL;
    int failed = -1;
    if (capsule != NULL) {
        fli_store_relaxed(&thread->unwatched, false); /* relaxed: no other capsule exists */
        reference(thread);
        failed = PyDict_SetItem(dict, key, capsule);
    }
    Py_XDECREF(capsule);
    Py_XDECREF(key);
    return failed;
}

/* Watches the thread state, unless it has been watched before. */
static void watch_state(struct fli_py_thread *thread)
{
    PyThreadState *state = PyThreadState_GetUnchecked();
    if (state == NULL)
        return;
    uint64_t id = PyThreadState_GetID(state);
    if (thread->watcher == state && thread->watcher_id == id)
        return;
    PyObject *dict = PyThreadState_GetDict(), *exception = PyErr_GetRaisedException();
    if (dict != NULL && put_capsule(thread, dict) == 0) {
        thread->watcher = state;
        thread->watcher_id = id;
        thread->open = true;
    }
    PyErr_SetRaisedException(exception); /* discards what put_capsule raised */
}

bool fli_py_thread_open(struct fli_py_thread *thread)
{
    if (!thread->open || fli_load_relaxed(&thread->unwatched)) /* relaxed: see at_state_end */
        watch_state(thread);
    return thread->open;
}

void fli_py_thread_reopen(void)
{
    struct fli_py_thread *thread = fli_py_thread_update();
    if (thread != NULL)
        thread->watcher = NULL;
}

/* ---- The OS thread. */

/* The OS thread exits. It detaches its handle afterwards. */
static void end(void *guest)
{
    struct fli_py_thread *thread = guest;
    fli_py_nest_orphan(thread);
    fli_py_later_leave(thread);
    if (!fli_py_threads_end(thread))
        fli_py_thread_unreference(thread);
}

/* In a forked child, where the OS thread is not. */
static void forget(void *guest)
{
    const struct fli_py_thread *thread = guest;
    fli_py_seat_leave(thread->current);
}

/* Returns NULL if memory is refused. */
static struct fli_py_thread *create(void)
{
    struct fli_py_thread *thread = calloc(1, sizeof *thread);
    if (thread == NULL || fli_os_thread_watch() != 0) {
        free(thread);
        return NULL;
    }
    thread->references = 1;
    fli_os_thread_set_guest(thread, end, forget);
    fli_py_threads_add(thread);
    return thread;
}

/* Attaches the OS thread to the heap, which may have to be made. Returns false if memory is refused. */
static bool attach(struct fli_py_thread *thread)
{
    struct fl_heap *made = fli_py_heap_make();
    struct fl_thread *heap = made != NULL ? fl_thread_attach(made) : NULL;
    fli_registry_lock();
    thread->heap = heap;
    fli_registry_unlock();
    return heap != NULL;
}

/* Leaves the record as it is where the OS thread runs another interpreter than the main one. */
static struct fli_py_thread *update(struct fli_py_thread *thread, bool uses)
{
    if (thread->heap == NULL || !fli_py_is_main())
        return thread;
    bool use_heap = fli_py_threads_use_heap();
    const struct fl_py_current *at = thread->current;
    if (fl_py_thread_at(at) == &thread->face && (fl_py_heap_at(at) == thread->heap) == use_heap)
        return thread;
    if (fli_py_threads_readmit(thread, uses))
        fli_py_drawers_empty(thread);
    return thread;
}

struct fli_py_thread *fli_py_thread_own(void)
{
    return fli_os_thread_guest();
}

struct fli_py_thread *fli_py_thread_update(void)
{
    struct fli_py_thread *thread = fli_py_thread_own();
    return thread != NULL ? update(thread, true) : NULL;
}

void fli_py_thread_empty_expired(void)
{
    struct fli_py_thread *thread = fli_py_thread_own();
    if (thread != NULL)
        (void)update(thread, false);
}

struct fli_py_thread *fli_py_thread_make(void)
{
    struct fli_py_thread *thread = fli_py_thread_own();
    return thread != NULL || fli_os_thread_exits() ? thread : create();
}

struct fli_py_thread *fli_py_thread_enter(void)
{
    struct fli_py_thread *thread = fli_py_thread_make();
    bool attaches = thread != NULL && thread->heap == NULL && fli_py_heap_is_ready() && fli_py_is_main();
    if (thread == NULL || (attaches && !attach(thread) && fli_py_heap_get() != NULL))
        return NULL;
    return update(thread, true);
}

#endif
