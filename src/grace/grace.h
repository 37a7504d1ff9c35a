/* SPDX-License-Identifier: MIT
 *
 * Grace periods, as the core knows them. A grace period that begins when readers can no longer find a thing ends only
 * after all readers have let go of it.
 *
 *     writers    ask for a grace period (begin) and get a token; they ask whether it has ended (elapsed) or wait
 *     readers    are OS threads; struct fli_reader_calls is what an implementation wants to be told of them
 *
 * The implementations are liburcu's two flavors (rcu.h) and the host's own (struct fl_grace_host). The latter learns of
 * readers from the host, not from the library.
 *
 * Readers for which a grace period does not wait see what was done before its fli_grace_begin. What the other readers
 * did before it ended happened before an fli_grace_elapsed that returns true.
 */
#ifndef FLI_GRACE_H
#define FLI_GRACE_H

#include "base/base.h"
#include "base/lock.h"

enum { FLI_GRACE_KINDS = FL_GRACE_HOST + 1 };

/* The OS thread that a function concerns calls it. */
struct fli_reader_calls {
    /* Makes the calling OS thread a reader, online. Returns false if the host has done so already: the host manages it
     * then. */
    bool (*join)(void);
    void (*leave)(void);
    void (*online)(void);
    void (*offline)(void);
    void (*quiescent)(void);
    void (*lock)(void);
    void (*unlock)(void);
    /* Whether the thread is in a section that only an unlock ends, so that it must not wait for a grace period. */
    bool (*is_inside)(void);
    /* Takes the thread offline for a wait. Returns whether it was online. */
    bool (*pause)(void);
    /* The number of the grace period that began last, and in `*begun` when, in nanoseconds of fli_grace_now. Any
     * thread. */
    int64_t (*latest)(uint64_t *begun);
};

/* The grace periods of one heap. */
struct fli_grace {
    enum fl_grace kind;
    struct fl_grace_host calls;
    /* Waits for at most `milliseconds`. NULL: only calls.wait can wait. */
    void (*wait_for)(void *context, int64_t token, unsigned milliseconds);
    const struct fli_reader_calls *readers; /* NULL: the host manages them */
};

/* Sets up the grace periods of a kind; `host` is for FL_GRACE_HOST only. Returns 0, or -ENOTSUP if the library was
 * built without liburcu. */
int fli_grace_init(struct fli_grace *grace, enum fl_grace kind, const struct fl_grace_host *host);

/* Asks for a grace period. Returns its token, or a negative errno value. */
int64_t fli_grace_begin(const struct fli_grace *grace);

/* Asks the host, with cancellation off, because locks of the library may be held. */
bool fli_grace_elapsed_host(const struct fli_grace *grace, int64_t token);

static inline bool fli_grace_elapsed(const struct fli_grace *grace, int64_t token)
{
    if (grace->kind == FL_GRACE_HOST)
        return fli_grace_elapsed_host(grace, token);
    return grace->calls.elapsed(grace->calls.context, token);
}

/* Whether the calling thread can wait for a grace period. A thread that forks cannot: other threads may need the locks
 * that it holds. */
static inline bool fli_grace_can_wait(const struct fli_grace *grace)
{
    return (grace->wait_for != NULL || grace->calls.wait != NULL) && !fli_lock_is_forking();
}

/* Waits until a grace period has ended, or for about `milliseconds`. If the host implements them, the wait has no
 * time limit. The calling OS thread is offline meanwhile. Returns whether the grace period has ended. No lock may be
 * held. */
bool fli_grace_wait(const struct fli_grace *grace, int64_t token, unsigned milliseconds);

/* Whether the calling OS thread is in a section of the implementation. Sections that the host began itself count,
 * too. */
bool fli_grace_is_inside(const struct fli_grace *grace);

/* Nanoseconds of the monotonic clock. */
uint64_t fli_grace_now(void);

/* The same clock as of some milliseconds ago, for a fraction of the cost. */
uint64_t fli_grace_now_about(void);

#endif
