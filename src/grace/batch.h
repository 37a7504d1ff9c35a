/* SPDX-License-Identifier: MIT
 *
 * Batches: what waits for grace periods together. There are deferred blocks, and slabs that were retired while readers
 * could look at them.
 *
 *     collecting ──close──> waiting ──release──> free
 *
 * Things collect until no batch waits. Then all of them become the batch, and a grace period begins for it. When that has
 * ended, the batch is released. So a thing is free when the batch that waits now and the next one have been released.
 *
 * A batch whose grace period cannot be had is given up or waits on, as its owner decides; if it waits on, a grace period
 * is asked for at each step.
 *
 * No thread waits for another here: a step is taken by whichever thread finds the owner's lock free.
 *
 * fork: a child's batch waits for another grace period, unless the one that it has been waiting for is the host's.
 */
#ifndef FLI_BATCH_H
#define FLI_BATCH_H

#include "base/atomic.h"
#include "grace/grace.h"

/* What an owner does with its batches. All are called under its lock. */
struct fli_batch_calls {
    /* All that has been collected becomes the batch. Returns whether that is anything. */
    bool (*close)(void *owner);
    /* The grace period has ended. Adds the bytes that it releases to `*bytes`. Returns whether they are all; if not, the
     * next step calls it again. */
    bool (*release)(void *owner, size_t *bytes);
    /* No grace period can be had. Returns whether the owner has given the batch up. */
    bool (*refuse)(void *owner);
};

struct fli_batch {
    /* Constant once made. */
    const struct fli_batch_calls *calls;
    void *owner;
    const struct fli_grace *grace;
    struct fli_mutex *lock; /* the owner's; guards what follows */

    bool is_waiting;
    uint64_t number;           /* how many batches there have been */
    FLI_ATOMIC(int64_t) token; /* of the grace period; 0: it could not be had yet. Written under the lock */
    int refusal;               /* why not, a negative errno value */
    FLI_ATOMIC(uint64_t) grace_periods;
    FLI_ATOMIC(uint64_t) grace_refusals;
};

void fli_batch_init(struct fli_batch *batch, const struct fli_batch_calls *calls, void *owner,
                    const struct fli_grace *grace, struct fli_mutex *lock);

/* Whether the batch, which waits, can be released, or its grace period asked for, as far as can be seen without the lock.
 * Other threads may do so, or make it impossible, meanwhile. */
bool fli_batch_may_advance(const struct fli_batch *batch);

/* Takes what steps can be taken. Returns the bytes released. Keeps errno. Under the owner's lock. */
size_t fli_batch_advance_locked(struct fli_batch *batch);

/* The owner has taken back all that waits. Under its lock. */
void fli_batch_forget_locked(struct fli_batch *batch);

/* Waits for at most `milliseconds` for the end of the grace period that has begun, where a wait can have an end. Returns
 * whether it has ended. The calling OS thread is in no section and holds no lock. */
bool fli_batch_wait(const struct fli_batch *batch, unsigned milliseconds);

/* Waits until all that has been collected is free, or given up. `wait` waits a while for a grace period. Adds the bytes
 * released to `*bytes`. Returns 0, or why it is not free: -EAGAIN, -ENOMEM, -ENOTSUP. Keeps errno. The calling OS thread
 * is in no section and holds no lock. */
int fli_batch_drain(struct fli_batch *batch, void (*wait)(void *context, int64_t token), void *context,
                    size_t *bytes);

/* In the child of a fork, where no other thread runs. */
void fli_batch_wait_anew_stw(struct fli_batch *batch);

#endif
