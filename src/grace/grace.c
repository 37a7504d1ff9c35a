/* SPDX-License-Identifier: MIT */
#include "grace/grace.h"
#include "base/watch.h"
#include "grace/rcu.h"

#include <time.h>

int fli_grace_init(struct fli_grace *grace, enum fl_grace kind, const struct fl_grace_host *host)
{
    *grace = (struct fli_grace){.kind = kind};
    if (kind == FL_GRACE_HOST)
        grace->calls = *host;
    return kind == FL_GRACE_QSBR || kind == FL_GRACE_BP ? fli_rcu_init(grace) : 0;
}

/* Cancellation is off, as in fli_grace_elapsed_host. */
int64_t fli_grace_begin(const struct fli_grace *grace)
{
    int state = fli_cancel_off();
    fli_watch_pass(NULL, 0);
    int64_t token = grace->calls.begin(grace->calls.context);
    fli_cancel_restore(state);
    return token;
}

bool fli_grace_elapsed_host(const struct fli_grace *grace, int64_t token)
{
    int state = fli_cancel_off();
    fli_watch_pass(NULL, 0);
    bool elapsed = grace->calls.elapsed(grace->calls.context, token);
    fli_cancel_restore(state);
    return elapsed;
}

bool fli_grace_wait(const struct fli_grace *grace, int64_t token, unsigned milliseconds)
{
    if (!fli_grace_can_wait(grace))
        return fli_grace_elapsed(grace, token);
    const struct fli_reader_calls *readers = grace->readers;
    bool was_online = readers != NULL && readers->pause();
    fli_watch_pass(NULL, 0);
    if (grace->wait_for != NULL)
        grace->wait_for(grace->calls.context, token, milliseconds);
    else
        grace->calls.wait(grace->calls.context, token);
    if (was_online)
        readers->online();
    return fli_grace_elapsed(grace, token);
}

bool fli_grace_is_inside(const struct fli_grace *grace)
{
    return grace->readers != NULL && grace->readers->is_inside();
}

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t fli_grace_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t fli_grace_now_about(void)
{
    return read_clock(FLI_CLOCK_ABOUT);
}
