/* SPDX-License-Identifier: MIT
 *
 * Grace periods, as the core knows them: when has every reader that could have seen this let go of it?
 *
 *     writers    ask for a grace period (begin) and get a token; it has ended (elapsed), or they wait for it
 *     readers    are OS threads; what an implementation wants to hear of them is a struct fli_reader_calls
 *
 * There are liburcu's (rcu.h, two flavors) and the host's own (struct fl_grace_host), which hears of its readers by
 * itself.
 *
 * What was done before fli_grace_begin is visible to every reader that the grace period does not wait for; what those
 * did that it waits for happened before an fli_grace_elapsed that returns true.
 */
#ifndef FLI_GRACE_H
#define FLI_GRACE_H

#include "base/base.h"
#include "base/lock.h"

enum { FLI_GRACE_KINDS = FL_GRACE_HOST + 1 };

/* All are called by the OS thread that they concern. */
struct fli_reader_calls {
    /* Makes the calling OS thread a reader, online. Returns false if the host has done so, whose affair it stays. */
    bool (*join)(void);
    void (*leave)(void);
    void (*online)(void);
    void (*offline)(void);
    void (*quiescent)(void);
    void (*lock)(void);
    void (*unlock)(void);
    /* Whether it is in a section that only its own end ends, so that it must not wait for a grace period. */
    bool (*is_inside)(void);
    /* Takes it offline for a wait. Returns whether it was online. */
    bool (*pause)(void);
    /* The number of the grace period that began last, and when, in nanoseconds of fli_grace_now; any thread. */
    int64_t (*latest)(uint64_t *begun);
};

/* The grace periods of one heap. */
struct fli_grace {
    enum fl_grace kind;
    struct fl_grace_host calls;
    /* Waits for at most this long. NULL: calls.wait is what there is. */
    void (*wait_for)(void *context, int64_t token, unsigned milliseconds);
    const struct fli_reader_calls *readers; /* NULL: the host knows them */
};

/* Makes the grace periods of a kind; `host` is that of FL_GRACE_HOST. Returns 0, or -ENOTSUP if the library was built
 * without liburcu. */
int fli_grace_init(struct fli_grace *grace, enum fl_grace kind, const struct fl_grace_host *host);

/* A token, or a negative errno value. */
int64_t fli_grace_begin(const struct fli_grace *grace);

/* Asks the host, with cancellation off, because locks of the library may be held. */
bool fli_grace_elapsed_host(const struct fli_grace *grace, int64_t token);

static inline bool fli_grace_elapsed(const struct fli_grace *grace, int64_t token)
{
    if (grace->kind == FL_GRACE_HOST)
        return fli_grace_elapsed_host(grace, token);
    return grace->calls.elapsed(grace->calls.context, token);
}

/* Whether a grace period can be waited for. Not by a thread that forks: others may need the locks that it holds. */
static inline bool fli_grace_can_wait(const struct fli_grace *grace)
{
    return (grace->wait_for != NULL || grace->calls.wait != NULL) && !fli_lock_is_forking();
}

/* Waits until a grace period has ended, about `milliseconds`, or for an implementation of the host's as long as it
 * takes; the calling OS thread is offline meanwhile. Returns whether it has ended. No lock may be held. */
bool fli_grace_wait(const struct fli_grace *grace, int64_t token, unsigned milliseconds);

/* Whether the calling OS thread is in a section of the implementation's, the host's own sections included. */
bool fli_grace_is_inside(const struct fli_grace *grace);

/* Nanoseconds of a clock that only goes forward. */
uint64_t fli_grace_now(void);

/* The same some milliseconds ago, for a fraction of the time that it takes to ask. */
uint64_t fli_grace_now_about(void);

#endif
