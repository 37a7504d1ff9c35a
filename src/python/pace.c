/* SPDX-License-Identifier: MIT */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/pace.h"

#include "grace/grace.h"
#include "python/buffer.h"
#include "python/heap.h"
#include "python/helper.h"
#include "python/reclaim.h"

enum {
    /* How long a request waits for the main thread. */
    OVERDUE_MS = 50,
    /* How often a helper looks meanwhile. */
    STEP_MS = 5,
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

/* Whether there is enough to gain in slabs. */
static bool slabs_are_due(void)
{
    struct fli_py_holdings holdings = fli_py_heap_holdings();
    size_t bound = bound_of(&holdings);
    return fli_py_heap_begun() - fli_load_hint(&spent) >= bound && holdings.free >= bound;
}

static void reclaim(void)
{
    struct fli_py_holdings holdings = fli_py_heap_holdings();
    size_t bound = bound_of(&holdings);
    fli_store_hint(&spent, fli_min(fli_load_hint(&spent) + bound, fli_py_heap_begun()));
    fli_py_reclaim(bound / 2, fli_max(fli_py_heap_options.retain_bytes, holdings.live));
}

static int serve(void *unused)
{
    (void)unused;
    if (!fli_py_is_main() || !change(ASKED, SERVING))
        return 0;
    if (fli_py_buffers_are_due() && !slabs_are_due())
        fli_py_buffers_reclaim();
    else
        reclaim();
    (void)change(SERVING, CALM);
    return 0;
}

static bool is_asked(void)
{
    return fli_load_hint(&state) == ASKED;
}

static bool is_overdue(void)
{
    return now_ms() - fli_load_hint(&asked_ms) > OVERDUE_MS;
}

static struct fli_py_helper helper;

/* Asks the main thread, and serves when that does not. */
static void help(void)
{
    if (!is_overdue())
        (void)Py_AddPendingCall(serve, NULL);
    while (is_asked() && !is_overdue())
        if (!fli_py_helper_wait(STEP_MS))
            return;
    if (is_asked())
        fli_py_helper_serve(&helper, serve);
}

static struct fli_py_helper helper = {.run = help, .is_needed = is_asked};

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
    return slabs_are_due();
}

/* Asks the main thread. If the interpreter has no room for the request, a helper serves it later. */
static void ask(void)
{
    fli_store_hint(&asked_ms, now_ms());
    if (change(CALM, ASKED))
        (void)Py_AddPendingCall(serve, NULL);
}

void fli_py_pace_look(void)
{
    unsigned now = fli_load_hint(&state);
    if (now == CALM && is_due())
        ask();
    else if (now == ASKED && is_overdue())
        fli_py_helper_get(&helper);
}

void fli_py_pace_ask(void)
{
    if (fli_load_hint(&state) == CALM) {
        fli_store_hint(&asked_ms, now_ms());
        (void)change(CALM, ASKED);
    }
    if (is_asked() && !fli_load_hint(&helper.at_work))
        fli_py_helper_get(&helper);
}

/* ---- The interpreter's life. */

void fli_py_pace_open(void)
{
    if (FLI_PY_FREE_THREADED && !fli_py_heap_options.no_stops)
        (void)change(OFF, CALM);
}

void fli_py_pace_close(void)
{
    fli_store_hint(&state, OFF);
}

void fli_py_pace_forked(void)
{
    if (fli_load_own(&state) != OFF) /* there is no other thread */
        fli_store_own(&state, CALM);
}

#endif
