/* SPDX-License-Identifier: MIT */
#include "grace/helper.h"
#include "base/background.h"
#include "grace/grace.h"

#include <errno.h>

/* The least time from the beginning of a grace period to the next one's. Each one costs readers and writers some
 * microseconds. These should be few beside their other work. */
enum { PACE_NANOSECONDS = 100000 };

/* ---- The thread. */

static int64_t completed(struct fli_helper *helper)
{
    /* G2: acquire, pairs with G1 in help: what readers did before the grace period ended is visible. */
    return fli_load_acquire(&helper->completed);
}

static void wait_until_asked_locked(struct fli_helper *helper, int64_t number)
{
    fli_assert_held(&helper->lock);
    helper->is_idle = true;
    while (helper->asked < number || helper->forks > 0)
        fli_condition_wait(&helper->asked_for, &helper->lock);
    helper->is_idle = false;
}

/* Leaves some time between the beginnings of two grace periods, unless a thread waits for one. */
static void rest_locked(struct fli_helper *helper, int64_t number)
{
    fli_assert_held(&helper->lock);
    struct timespec until = fli_background_time(fli_load_own(&helper->begun_at) + PACE_NANOSECONDS);
    while (helper->hurry < number && fli_condition_wait_until(&helper->asked_for, &helper->lock, &until))
        ;
}

static void *help(void *arg)
{
    struct fli_helper *helper = arg;
    fli_lock(&helper->lock);
    for (;;) {
        int64_t number = fli_load_own(&helper->begun);
        do {
            wait_until_asked_locked(helper, number + 1);
            rest_locked(helper, number + 1);
        } while (helper->forks > 0);
        fli_store_own(&helper->begun_at, fli_grace_now());
        /* G3: release, pairs with G4 in fli_helper_latest: with this number no earlier begun_at is read. */
        fli_store_release(&helper->begun, number + 1);
        fli_unlock(&helper->lock);
        helper->wait_for_readers();
        fli_lock(&helper->lock);
        /* G1: release, pairs with G2 in completed: what readers did before is visible. */
        fli_store_release(&helper->completed, number + 1);
        fli_condition_signal(&helper->ended);
    }
    return NULL;
}

/* Starts the helper if there is none. Returns 0 or a negative errno value. */
static int start_locked(struct fli_helper *helper)
{
    fli_assert_held(&helper->lock);
    if (fli_load_own(&helper->exists))
        return 0;
    int failed = fli_background_start(help, helper);
    fli_store_own(&helper->exists, failed == 0);
    return failed;
}

/* ---- Asking for grace periods. */

int64_t fli_helper_begin(void *of)
{
    struct fli_helper *helper = of;
    fli_lock(&helper->lock);
    int64_t token = helper->lost ? -ENOTSUP : start_locked(helper);
    if (token == 0) {
        token = fli_load_own(&helper->begun) + 1;
        if (helper->asked < token) {
            helper->asked = token;
            if (helper->is_idle)
                fli_condition_signal(&helper->asked_for);
        }
    }
    fli_unlock(&helper->lock);
    return token;
}

bool fli_helper_elapsed(void *of, int64_t token)
{
    struct fli_helper *helper = of;
    if (completed(helper) >= token)
        return true;
    /* Only in a forked child is there a token but no helper. If the value read is stale, a later call reads the new
     * one. */
    if (FLI_UNLIKELY(!fli_load_hint(&helper->exists))) {
        fli_lock(&helper->lock);
        if (!helper->lost)
            start_locked(helper);
        fli_unlock(&helper->lock);
    }
    return false;
}

void fli_helper_wait_for(void *of, int64_t token, unsigned milliseconds)
{
    struct fli_helper *helper = of;
    if (fli_helper_elapsed(helper, token))
        return;
    struct timespec until = fli_background_time(fli_grace_now() + (uint64_t)milliseconds * 1000000u);
    int state = fli_cancel_off();
    fli_lock(&helper->lock);
    if (helper->hurry < token) {
        helper->hurry = token;
        fli_condition_signal(&helper->asked_for);
    }
    while (completed(helper) < token && fli_condition_wait_until(&helper->ended, &helper->lock, &until))
        ;
    fli_unlock(&helper->lock);
    fli_cancel_restore(state);
}

int64_t fli_helper_latest(struct fli_helper *helper, uint64_t *begun_at)
{
    /* G4: acquire, pairs with G3 in help: begun_at is that of this grace period, or of a later one. */
    int64_t begun = fli_load_acquire(&helper->begun);
    *begun_at = fli_load_hint(&helper->begun_at);
    return begun;
}

/* ---- fork */

bool fli_helper_pause(struct fli_helper *helper, unsigned milliseconds)
{
    struct timespec until = fli_background_time(fli_grace_now() + (uint64_t)milliseconds * 1000000u);
    fli_lock(&helper->lock);
    helper->forks++;
    while (completed(helper) < fli_load_own(&helper->begun) &&
           fli_condition_wait_until(&helper->ended, &helper->lock, &until))
        ;
    bool rests = completed(helper) == fli_load_own(&helper->begun);
    fli_unlock(&helper->lock);
    return rests;
}

void fli_helper_resume(struct fli_helper *helper)
{
    fli_lock(&helper->lock);
    helper->forks--;
    fli_condition_signal(&helper->asked_for);
    fli_unlock(&helper->lock);
}

void fli_helper_begin_anew_stw(struct fli_helper *helper, bool lost)
{
    helper->lost = helper->lost || lost;
    fli_store_own(&helper->begun, fli_load_own(&helper->completed));
    fli_store_own(&helper->exists, false);
    helper->is_idle = false;
    helper->forks = 0;
    fli_unlock(&helper->lock);
}
