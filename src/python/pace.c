/* SPDX-License-Identifier: MIT */
#include "python/pace.h"

#include "base/background.h"
#include "grace/grace.h"
#include "python/heap.h"
#include "python/reclaim.h"

#include <time.h>

enum {
    /* How long a request waits for the main thread. */
    OVERDUE_MS = 50,
};

/* The least bound. */
#define LEAST_BYTES (FLI_RARE_PATHS ? FLI_MIB : 16 * FLI_MIB)

/* A change of less is not looked at. */
#define STEP_BYTES (LEAST_BYTES / 4)

enum state { OFF, CALM, ASKED, SERVING };

static FLI_ATOMIC(unsigned) state;
static FLI_ATOMIC(uint64_t) spent;      /* of the bytes of slabs begun, those that stops have used up */
static FLI_ATOMIC(uint64_t) seen_begun; /* bytes of slabs begun, and of free ones, when a thread last looked */
static FLI_ATOMIC(uint64_t) seen_free;
static FLI_ATOMIC(int64_t) asked_ms; /* when the request was made */
static FLI_ATOMIC(bool) has_helper;

static int64_t now_ms(void)
{
    return (int64_t)(fli_grace_now_about() / 1000000);
}

/* Changes the state, if it is still `from`. Returns whether it was. */
static bool change(unsigned from, unsigned to)
{
    /* Relaxed: all that the state says is who goes on. What a stop does is ordered by the interpreter. */
    return fli_cas_strong(&state, &from, to, memory_order_relaxed, memory_order_relaxed);
}

/* ---- Serving. */

static size_t bound_of(const struct fli_py_holdings *holdings)
{
    return fli_max(LEAST_BYTES, holdings->live / 4);
}

static int serve(void *unused)
{
    (void)unused;
    if (!fli_py_is_main() || !change(ASKED, SERVING))
        return 0;
    struct fli_py_holdings holdings = fli_py_heap_holdings();
    size_t bound = bound_of(&holdings);
    fli_store_hint(&spent, fli_min(fli_load_hint(&spent) + bound, fli_py_heap_begun()));
    fli_py_reclaim(bound / 2, fli_max(fli_py_heap_options.retain_bytes, holdings.live));
    (void)change(SERVING, CALM);
    return 0;
}

static void *help(void *unused)
{
    PyGILState_STATE attached = PyGILState_Ensure();
    (void)serve(unused);
    PyGILState_Release(attached);
    /* Z1: release, pairs with Z2 in wait_for_helper: the helper calls the interpreter no more. */
    fli_store_release(&has_helper, false);
    return NULL;
}

/* ---- Asking. */

static bool is_near(uint64_t one, uint64_t other)
{
    return one - other + STEP_BYTES < 2 * STEP_BYTES;
}

/* Whether so little has changed since a thread looked that the answer is the same: most slow halves go no further. */
static bool is_as_before(uint64_t begun, size_t free)
{
    if (is_near(begun, fli_load_hint(&seen_begun)) && is_near(free, fli_load_hint(&seen_free)))
        return true;
    fli_store_hint(&seen_begun, begun);
    fli_store_hint(&seen_free, free);
    return false;
}

static bool is_due(void)
{
    uint64_t begun = fli_py_heap_begun();
    size_t unspent = (size_t)(begun - fli_load_hint(&spent));
    if (unspent < LEAST_BYTES || is_as_before(begun, fli_py_heap_free_slabs()))
        return false;
    struct fli_py_holdings holdings = fli_py_heap_holdings();
    size_t bound = bound_of(&holdings);
    return unspent >= bound && holdings.free >= bound;
}

/* Asks the main thread. If the interpreter has no room for the request, a helper serves it later. */
static void ask(void)
{
    fli_store_hint(&asked_ms, now_ms());
    if (change(CALM, ASKED))
        (void)Py_AddPendingCall(serve, NULL);
}

/* Starts a helper, unless there is one, or the interpreter ends: then the helper could not call it any more. */
static void get_help(void)
{
    /* Z3: seq_cst, pairs with Z2 in wait_for_helper: a thread that ends the interpreter sees it, or Z4 sees that. */
    if (fli_exchange(&has_helper, true, memory_order_seq_cst))
        return;
    /* Z4: seq_cst, pairs with Z5 in close_pace. */
    bool ends = fli_load_order(&state, memory_order_seq_cst) == OFF;
    if (ends || fli_background_start(help, NULL) != 0)
        fli_store_relaxed(&has_helper, false); /* relaxed: no helper has called anything */
}

void fli_py_pace_look(void)
{
    unsigned now = fli_load_hint(&state);
    if (now == CALM && is_due())
        ask();
    else if (now == ASKED && now_ms() - fli_load_hint(&asked_ms) > OVERDUE_MS)
        get_help();
}

/* ---- The interpreter's life. */

/* Until it has detached, however long that takes. While the interpreter ends, a thread that attaches is ended at that
 * place, and what it had locked for its stop of the world stays locked: the end would wait for ever. */
static void wait_for_helper(void)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    /* Z2: seq_cst, pairs with Z1 in help, and with Z3 in get_help. */
    while (fli_load_order(&has_helper, memory_order_seq_cst))
        (void)nanosleep(&moment, NULL);
}

static PyObject *close_pace(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    /* Z5: seq_cst, pairs with Z4 in get_help. */
    fli_store_order(&state, OFF, memory_order_seq_cst);
    Py_BEGIN_ALLOW_THREADS;
    wait_for_helper();
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyMethodDef close_method = {"freelane_at_exit", close_pace, METH_NOARGS, NULL};

/* By Python's atexit: PyUnstable_AtExit calls when the interpreter lets no thread attach any more. */
static int join_exit(void)
{
    PyObject *atexit = PyImport_ImportModule("atexit");
    PyObject *done = atexit != NULL
                         ? PyObject_CallMethod(atexit, "register", "N", PyCFunction_New(&close_method, NULL))
                         : NULL;
    int failed = done != NULL ? 0 : -1;
    Py_XDECREF(done);
    Py_XDECREF(atexit);
    return failed;
}

int fli_py_pace_open(void)
{
    if (!FLI_PY_FREE_THREADED || fli_py_heap_options.no_stops)
        return 0;
    if (join_exit() < 0)
        return -1;
    fli_store_relaxed(&state, CALM); /* relaxed: other threads may learn of it later */
    return 0;
}

void fli_py_pace_forked(void)
{
    fli_store_relaxed(&has_helper, false); /* relaxed, both: there is no other thread */
    if (fli_load_relaxed(&state) != OFF)
        fli_store_relaxed(&state, CALM);
}
