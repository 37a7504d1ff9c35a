/* SPDX-License-Identifier: MIT
 *
 * A helper: a thread, one per process and kind of grace periods, that waits for readers. rcu.c has one for each flavor
 * of liburcu. While threads ask for grace periods, the helper begins and ends one after another. Grace periods are
 * numbered, and their numbers are the tokens:
 *
 *     completed <= begun <= completed + 1        begun <= asked <= begun + 1
 *
 * A thread that asks gets the number of the next one to begin, because the one under way may have begun too early for
 * it. So all threads that ask while one is under way share the next one. (liburcu's own call_rcu aborts if its helper
 * cannot be started; here fli_helper_begin returns an error.)
 *
 *     label  operation                        order      partner
 *     G1     store of completed               release    G2
 *     G2     load of completed                acquire    G1
 *     G3     store of begun                   release    G4
 *     G4     load of begun                    acquire    G3
 *
 * fork: the helper does not exist in the child, and the tokens of its grace periods mean nothing there. When the child
 * asks for a grace period, it starts a helper of its own.
 */
#ifndef FLI_HELPER_H
#define FLI_HELPER_H

#include "base/atomic.h"
#include "base/lock.h"

#include <pthread.h>

struct fli_helper {
    void (*wait_for_readers)(void); /* one grace period, from its beginning to its end */
    struct fli_mutex lock;          /* guards what follows */
    struct fli_condition asked_for, ended;
    bool is_idle;   /* the helper waits until it is asked */
    unsigned forks; /* forks under way, for which it begins no grace period */
    int64_t hurry;  /* grace periods up to this one begin at once */
    bool lost;      /* in a child that gets no more grace periods; set before there is a second thread */
    int64_t asked;
    FLI_ATOMIC(bool) exists;
    FLI_ATOMIC(int64_t) begun;
    FLI_ATOMIC(uint64_t) begun_at;
    FLI_ATOMIC(int64_t) completed;
};

#define FLI_HELPER_INITIALIZER(waits_for_readers)                                                                    \
    {                                                                                                                \
        .wait_for_readers = (waits_for_readers), .lock = FLI_MUTEX_INITIALIZER(FLI_RANK_GRACE),                      \
    }

/* The calls that struct fl_grace_host (begin, elapsed) and struct fli_grace (wait_for) describe. */
int64_t fli_helper_begin(void *helper);
bool fli_helper_elapsed(void *helper, int64_t token);
void fli_helper_wait_for(void *helper, int64_t token, unsigned milliseconds);

/* Returns the number of the grace period that began last, and in `*begun_at` when it began. */
int64_t fli_helper_latest(struct fli_helper *helper, uint64_t *begun_at);

/* For a fork: keeps the helper from beginning grace periods, and waits for the one under way to end, for at most
 * `milliseconds`. Returns whether none is under way. fli_helper_resume ends this in the parent in any case. */
bool fli_helper_pause(struct fli_helper *helper, unsigned milliseconds);
void fli_helper_resume(struct fli_helper *helper);

/* Starts anew in the child of a fork, where no other thread runs and the lock is held. There is no helper; if it is
 * `lost`, there will be none. Releases the lock. */
void fli_helper_begin_anew_stw(struct fli_helper *helper, bool lost);

#endif
