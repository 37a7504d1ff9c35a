/* SPDX-License-Identifier: MIT
 *
 * Deferred blocks: blocks that the host has freed while readers may still look at them.
 *
 *     a thread's magazines ──submit──> collecting ──close──> waiting ──release──> pool
 *     (one per class)                  a stack               one batch            and caches
 *
 * A magazine of deferred blocks moves as a whole, as in Linux's kfree_rcu sheaves. Submitted magazines collect and
 * wait in batches (grace/batch.h). When the grace period of a batch has ended, magazines that are more than half full go
 * to the pool. The blocks of the others are put together first. A block for which no magazine can be had is marked
 * in its slab (memory/mark.h), and a large block in its table. These marks belong to the same batches.
 *
 *     deferred blocks = in threads' magazines + submitted
 *     submitted = collecting + waiting, magazines and marks
 *
 * While a grace period lasts, threads may submit many magazines that are small: at most half full (merge.h). When as many
 * have come as others are on the stack, the next look gathers: it puts their blocks together there, under the lock. So
 * what collects takes about as much memory for magazines as if each was a quarter full, at most.
 *
 * Each submission of about a magazine, quiescent state, flush, trim and barrier looks whether a batch can take its next step
 * (fli_deferred_advance). It takes the lock only if that is so, because many threads pass quiescent states. If no
 * grace period can be had, the batch goes on waiting. Submissions and quiescent states of real-time threads do not
 * look: a step may release any number of blocks.
 *
 * A thread's magazines belong to it (unsubmitted.h). Any thread may call the functions here but `_stw`.
 *
 * fork: the rules of the pool (pool.h, fork.h) hold for `collecting`.
 */
#ifndef FLI_DEFERRED_H
#define FLI_DEFERRED_H

#include "base/lock.h"
#include "grace/batch.h"
#include "memory/chain.h"
#include "pool/exchange.h"

struct fli_deferred {
    /* Constant once made. */
    struct fli_backing *backing;
    size_t bound; /* submitted bytes past which there is pressure */

    struct fli_quota rooms; /* what magazines that are not submitted may have room for (unsubmitted.h) */

    struct fli_stack collecting;
    FLI_ON_OWN_LINE FLI_ATOMIC(size_t) bytes;  /* submitted */
    FLI_ATOMIC(size_t) blocks[FL_CLASS_COUNT]; /* submitted */
    FLI_ATOMIC(uint64_t) over_bytes;
    FLI_ATOMIC(uint64_t) pressures;
    FLI_ATOMIC(size_t) small;     /* magazines submitted since blocks were gathered that are small */
    FLI_ATOMIC(size_t) gather_at; /* from how many of these on that is worth while; written under the lock */
    FLI_ATOMIC(bool) has_marks;   /* since the batch was closed, blocks have been marked in slabs or the table */
    unsigned char pressure;       /* not 0: there is pressure; the host reads it, see fl_heap_pressure */

    FLI_ON_OWN_LINE struct fli_mutex lock; /* guards what follows */
    struct fli_batch batch;
    FLI_PLAIN(bool) has_waiting_marks;
    struct fli_chain waiting; /* the batch's magazines */
    struct fli_pool_counters counters;
};

void fli_deferred_init(struct fli_deferred *deferred, struct fli_backing *backing, const struct fli_grace *grace,
                       size_t bound);
void fli_deferred_close(struct fli_deferred *deferred);

/* Submits a magazine of deferred blocks of a class. Returns whether this has raised pressure. */
bool fli_deferred_submit(struct fli_deferred *deferred, struct fli_magazine *magazine, unsigned class_index,
                         struct fli_pool_counters *counters);

/* Submits a block of a class by a mark in its slab. Returns whether this has raised pressure. */
bool fli_deferred_mark(struct fli_deferred *deferred, unsigned class_index, const void *block);

/* Counts a large block of `size` bytes that has been marked in the table. Returns whether this has raised
 * pressure. The owning thread only. */
bool fli_deferred_count_large(struct fli_deferred *deferred, size_t size, const struct fli_owner *owner);

/* Whether blocks are to be gathered. A hint. */
static inline bool fli_deferred_may_gather(const struct fli_deferred *deferred)
{
    return fli_load_hint(&deferred->small) >= fli_load_hint(&deferred->gather_at);
}

/* Takes the next step if that is possible now, and gathers if that is due, if the lock is free. Returns the bytes of the
 * blocks that have been released. */
size_t fli_deferred_advance(struct fli_deferred *deferred);

/* Waits until all submitted blocks are free. `wait` waits a while for a grace period. Returns 0, or -EAGAIN, -ENOMEM
 * or -ENOTSUP if no grace period can be had. The calling OS thread is in no section and holds no lock. */
int fli_deferred_drain(struct fli_deferred *deferred, void (*wait)(void *context, int64_t token), void *context);

/* Waits for at most `milliseconds` for the waiting batch, and takes the next step. Returns the bytes of the blocks that have
 * been released. */
size_t fli_deferred_help(struct fli_deferred *deferred, unsigned milliseconds);

/* Whether any submitted block waits, in a batch or on the stack `collecting`. A hint. */
static inline bool fli_deferred_is_waiting(struct fli_deferred *deferred)
{
    return fli_load_hint(&deferred->bytes) > 0;
}

static inline bool fli_deferred_has_pressure(const struct fli_deferred *deferred)
{
    return fli_load_public(&deferred->pressure) != 0;
}

/* Counts submitted blocks anew, from the lists, and lets the batch wait anew. In the child of a fork, where no other
 * thread runs. */
void fli_deferred_recount_stw(struct fli_deferred *deferred);

#endif
