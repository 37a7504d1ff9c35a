/* SPDX-License-Identifier: MIT
 *
 * Batches: things that wait together for a grace period. Their owners are the deferred blocks (pool/deferred.h) and the
 * slabs that were retired while readers could look at them (heap/retired.h).
 *
 *     collecting ──close──> waiting ──release──> free
 *
 * Things collect while a batch waits. When none waits, all that have collected become the batch, and a grace period
 * begins for it. When that has ended, the batch is released. So a thing is free when the batch that waits now and the
 * next one have been released.
 *
 * If no grace period can begin, the owner decides: the batch is given up, or it waits on. If it waits on, each step
 * asks for a grace period again.
 *
 * A step does not wait for another thread: any thread that finds the owner's lock free takes the next step.
 *
 * fork: in the child, the batch that waits asks for a new grace period, unless the host implements them.
 */
#ifndef FLI_BATCH_H
#define FLI_BATCH_H

#include "base/atomic.h"
#include "grace/grace.h"

/* What an owner does with its batches. All are called under its lock. */
struct fli_batch_calls {
    /* All that has collected becomes the batch. Returns whether the batch has anything. */
    bool (*close)(void *owner);
    /* Releases the batch, whose grace period has ended, and adds the bytes released to `*bytes`. Returns whether the
     * whole batch is released. If not, the next step calls this again. */
    bool (*release)(void *owner, size_t *bytes);
    /* No grace period can begin. Returns whether the owner has given the batch up. */
    bool (*refuse)(void *owner);
};

struct fli_batch {
    /* Constant once made. */
    const struct fli_batch_calls *calls;
    void *owner;
    const struct fli_grace *grace;
    struct fli_mutex *lock; /* the owner's; guards what follows */

    FLI_PLAIN(bool) is_waiting;
    FLI_PLAIN(uint64_t) number; /* how many batches there have been */
    FLI_ATOMIC(int64_t) token;  /* of the grace period; 0: it has not begun. Written under the lock */
    FLI_PLAIN(int) refusal;     /* why not, a negative errno value */
    FLI_ATOMIC(uint64_t) grace_periods;
    FLI_ATOMIC(uint64_t) grace_refusals;
};

void fli_batch_init(struct fli_batch *batch, const struct fli_batch_calls *calls, void *owner,
                    const struct fli_grace *grace, struct fli_mutex *lock);

/* Whether the batch that waits can probably take a step: release, or ask for its grace period. The lock is not held, so
 * other threads may take the step meanwhile. */
bool fli_batch_may_advance(const struct fli_batch *batch);

/* Takes the steps that can be taken. Returns the bytes released. Keeps errno. Under the owner's lock. */
size_t fli_batch_advance_locked(struct fli_batch *batch);

/* Says that the owner has taken back all that waits. Under its lock. */
void fli_batch_forget_locked(struct fli_batch *batch);

/* Waits at most `milliseconds` until the grace period that has begun ends. It does not wait if the host implements
 * grace periods, because its wait has no time limit. Returns whether the grace period has ended. The calling OS thread
 * is in no section and holds no lock. */
bool fli_batch_wait(const struct fli_batch *batch, unsigned milliseconds);

/* Waits until all that has collected is free or given up. `wait` waits a while for a grace period. Adds the bytes
 * released to `*bytes`. Returns 0, or why not all is free: -EAGAIN, -ENOMEM, -ENOTSUP. Keeps errno. The calling OS
 * thread is in no section and holds no lock. */
int fli_batch_drain(struct fli_batch *batch, void (*wait)(void *context, int64_t token), void *context,
                    size_t *bytes);

/* Makes the batch that waits ask for a new grace period. Called in the child of a fork, where no other thread runs. */
void fli_batch_wait_anew_stw(struct fli_batch *batch);

#endif
