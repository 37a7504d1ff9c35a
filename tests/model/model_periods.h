/* SPDX-License-Identifier: MIT
 *
 * Grace periods for a model check: what grace.h promises, in place of liburcu or a host. A period ends when each thread
 * has passed a quiescent state after it began. For the one file of a program that has scenarios.
 */
#ifndef MODEL_PERIODS_H
#define MODEL_PERIODS_H

#include "grace/grace.h"
#include "model_check.h"

/* Of one execution. */
struct periods {
    rl::atomic<int64_t> begun;
    rl::atomic<int64_t> passed[3]; /* the thread has passed a quiescent state in those up to this one */

    void before(unsigned threads);

    void pass(unsigned self)
    {
        passed[self].store(begun.load(rl::mo_acquire, $), rl::mo_release, $);
    }

    /* No period waits for the thread any more. */
    void leave(unsigned self)
    {
        passed[self].store(INT64_MAX, rl::mo_release, $);
    }
};

static periods *periods_now;

inline void periods::before(unsigned threads)
{
    periods_now = this;
    begun.store(0, rl::mo_relaxed, $);
    for (rl::atomic<int64_t> &one : passed)
        one.store(&one < passed + threads ? 0 : INT64_MAX, rl::mo_relaxed, $);
}

static bool has_elapsed(void *, int64_t token)
{
    for (rl::atomic<int64_t> &one : periods_now->passed)
        if (one.load(rl::mo_acquire, $) < token)
            return false;
    return true;
}

/* ---- In place of grace.c. */

int64_t fli_grace_begin(const fli_grace *)
{
    return periods_now->begun.fetch_add(1, rl::mo_acq_rel, $) + 1;
}

bool fli_grace_elapsed_host(const fli_grace *, int64_t)
{
    RL_ASSERT(!"the host implements grace periods");
    return false;
}

bool fli_grace_wait(const fli_grace *, int64_t token, unsigned)
{
    return has_elapsed(nullptr, token);
}

#endif
