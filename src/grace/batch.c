/* SPDX-License-Identifier: MIT */
#include "grace/batch.h"
#include "base/lock.h"

#include <errno.h>

/* The error if no more is known than that the grace period has not ended. */
enum { TOO_EARLY = -EAGAIN };

void fli_batch_init(struct fli_batch *batch, const struct fli_batch_calls *calls, void *owner,
                    const struct fli_grace *grace, struct fli_mutex *lock)
{
    batch->calls = calls;
    batch->owner = owner;
    batch->grace = grace;
    batch->lock = lock;
}

bool fli_batch_may_advance(const struct fli_batch *batch)
{
    int64_t token = fli_load_hint(&batch->token);
    return token == 0 || fli_grace_elapsed(batch->grace, token);
}

/* ---- Steps. */

/* Begins the batch's grace period unless it has begun. Returns whether it has. */
static bool begin_locked(struct fli_batch *batch)
{
    fli_assert_held(batch->lock);
    if (fli_load_own(&batch->token) != 0)
        return true;
    int64_t token = fli_grace_begin(batch->grace);
    if (token > 0) {
        fli_store_own(&batch->token, token);
        fli_count(&batch->grace_periods, 1);
        return true;
    }
    batch->refusal = token < 0 ? (int)token : TOO_EARLY;
    fli_count(&batch->grace_refusals, 1);
    batch->is_waiting = !batch->calls->refuse(batch->owner);
    return false;
}

static void release_locked(struct fli_batch *batch, size_t *bytes)
{
    if (begin_locked(batch) && fli_grace_elapsed(batch->grace, fli_load_own(&batch->token)))
        batch->is_waiting = !batch->calls->release(batch->owner, bytes);
}

static void close_locked(struct fli_batch *batch)
{
    fli_store_own(&batch->token, 0);
    batch->is_waiting = batch->calls->close(batch->owner);
    batch->number += batch->is_waiting;
    if (batch->is_waiting)
        begin_locked(batch);
}

size_t fli_batch_advance_locked(struct fli_batch *batch)
{
    fli_assert_held(batch->lock);
    int saved = errno;
    size_t bytes = 0;
    if (batch->is_waiting)
        release_locked(batch, &bytes);
    if (!batch->is_waiting)
        close_locked(batch);
    errno = saved;
    return bytes;
}

void fli_batch_forget_locked(struct fli_batch *batch)
{
    fli_assert_held(batch->lock);
    batch->is_waiting = false;
}

/* ---- Waiting. */

bool fli_batch_wait(const struct fli_batch *batch, unsigned milliseconds)
{
    int64_t token = fli_load_hint(&batch->token);
    /* The host's own wait (struct fl_grace_host) has no time limit, so it does not serve here. */
    return token != 0 && batch->grace->wait_for != NULL && fli_grace_wait(batch->grace, token, milliseconds);
}

/* Takes the steps that can be taken. `*token` is that of the batch that waits then, 0 if none does, and `*number` is
 * its number. Returns 0, or the error for which that batch cannot be waited for. */
static int step(struct fli_batch *batch, int64_t *token, uint64_t *number, size_t *bytes)
{
    fli_lock(batch->lock);
    *bytes += fli_batch_advance_locked(batch);
    *token = batch->is_waiting ? fli_load_own(&batch->token) : 0;
    *number = batch->number;
    int result = batch->is_waiting && *token == 0 ? batch->refusal : 0;
    fli_unlock(batch->lock);
    return result;
}

int fli_batch_drain(struct fli_batch *batch, void (*wait)(void *context, int64_t token), void *context, size_t *bytes)
{
    int saved = errno;
    int64_t token;
    uint64_t number, first = 0;
    int result;
    /* What was collected before is in the batch that waits now or in the next one. */
    while ((result = step(batch, &token, &number, bytes)) == 0 && token != 0) {
        if (first == 0)
            first = number;
        if (number > first + 1)
            break;
        if (!fli_grace_can_wait(batch->grace)) {
            result = TOO_EARLY;
            break;
        }
        wait(context, token);
    }
    errno = saved;
    return result;
}

/* ---- fork */

void fli_batch_wait_anew_stw(struct fli_batch *batch)
{
    if (batch->grace->readers != NULL)
        fli_store_own(&batch->token, 0);
}
