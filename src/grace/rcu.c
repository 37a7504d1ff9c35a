/* SPDX-License-Identifier: MIT
 *
 * One helper thread per flavor and process calls synchronize_rcu, over and over while grace periods are asked for.
 * They are numbered, and their numbers are the tokens:
 *
 *     completed <= begun <= completed + 1        begun <= asked <= begun + 1
 *
 * Whoever asks gets the number of the next one to begin: the one under way may have begun too early for him. So all
 * who ask while one is under way share the next. (liburcu's own call_rcu aborts where its helper cannot be started;
 * here that is an error of begin.)
 *
 *     label  operation                        order      partner
 *     G1     store of completed               release    G2
 *     G2     load of completed                acquire    G1
 *     G3     store of begun                   release    G4
 *     G4     load of begun                    acquire    G3
 *
 * Distribution builds of liburcu are not instrumented for ThreadSanitizer, which therefore does not see that a grace
 * period orders anything. This file tells it: what a reader did before it left a section, passed a quiescent state or
 * went offline (release) happened before what follows a synchronize_rcu (acquire).
 *
 * fork: the helper does not exist in the child, and the tokens of its grace periods mean nothing there. A child goes
 * on with bp, whose locks were held across the fork if there ever was a heap of bp, and starts a helper of its own;
 * with qsbr it gets no more grace periods if there ever was a reader, because synchronize_rcu would wait for readers
 * that do not exist.
 */
#include "grace/rcu.h"
#include "base/atomic.h"
#include "base/lock.h"
#include "base/sanitizer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <urcu/flavor.h>

/* The headers declare one flavor of a program at most. */
extern const struct rcu_flavor_struct urcu_qsbr_flavor, urcu_bp_flavor;
void urcu_bp_before_fork(void);
void urcu_bp_after_fork_parent(void);
void urcu_bp_after_fork_child(void);

struct flavor {
    const struct rcu_flavor_struct *urcu;
    struct fli_mutex lock; /* guards what follows */
    pthread_cond_t asked_for;
    pthread_cond_t ended;
    bool has_clock; /* the two measure fli_grace_now */
    bool is_idle;   /* the helper waits until it is asked */
    int64_t hurry;  /* grace periods up to this one begin at once */
    bool lost;      /* in a child that gets no more grace periods; set before there is a second thread */
    int64_t asked;
    FLI_ATOMIC(bool) has_helper;
    FLI_ATOMIC(bool) is_used; /* there may have been a reader */
    FLI_ATOMIC(int64_t) begun;
    FLI_ATOMIC(uint64_t) begun_at;
    FLI_ATOMIC(int64_t) completed;
};

#define FLAVOR(flavor)                                                                                               \
    {                                                                                                                \
        .urcu = &(flavor), .lock = FLI_MUTEX_INITIALIZER(FLI_RANK_GRACE), .asked_for = PTHREAD_COND_INITIALIZER      \
    }

/* From the beginning of a grace period to the next one's. To begin one and to end it takes each reader and writer
 * some microseconds, which are to be few beside what they do meanwhile. */
enum { PACE_NANOSECONDS = 100000 };

static struct flavor qsbr = FLAVOR(urcu_qsbr_flavor), bp = FLAVOR(urcu_bp_flavor);

/* ---- What ThreadSanitizer is told. */

/* The calling reader holds no pointers. */
static void tell_done(struct flavor *flavor)
{
    if (!FLI_MUTANT_UNTOLD)
        fli_tsan_release(flavor);
}

/* A grace period has ended. */
static void tell_ended(struct flavor *flavor)
{
    if (!FLI_MUTANT_UNTOLD)
        fli_tsan_acquire(flavor);
}

/* ---- The helper. */

static int64_t completed(struct flavor *flavor)
{
    /* G2: acquire, pairs with G1 in help: what readers did before the grace period ended. */
    return fli_load_acquire(&flavor->completed);
}

static struct timespec time_at(uint64_t nanoseconds)
{
    return (struct timespec){.tv_sec = (time_t)(nanoseconds / 1000000000u),
                             .tv_nsec = (long)(nanoseconds % 1000000000u)};
}

static void wait_until_asked_locked(struct flavor *flavor, int64_t number)
{
    fli_assert_held(&flavor->lock);
    flavor->is_idle = true;
    while (flavor->asked < number)
        fli_cond_wait(&flavor->asked_for, &flavor->lock);
    flavor->is_idle = false;
}

/* Leaves some time between the beginnings of two grace periods, unless somebody waits. */
static void rest_locked(struct flavor *flavor, int64_t number)
{
    fli_assert_held(&flavor->lock);
    struct timespec until = time_at(fli_load_relaxed(&flavor->begun_at) + PACE_NANOSECONDS); /* relaxed: our own */
    while (flavor->hurry < number && fli_cond_wait_until(&flavor->asked_for, &flavor->lock, &until) == 0)
        ;
}

/* Relaxed in this function but for G1 and G3: the lock orders; others read single numbers. */
static void *help(void *arg)
{
    struct flavor *flavor = arg;
    fli_lock(&flavor->lock);
    for (;;) {
        int64_t number = fli_load_relaxed(&flavor->begun);
        wait_until_asked_locked(flavor, number + 1);
        rest_locked(flavor, number + 1);
        fli_store_relaxed(&flavor->begun_at, fli_grace_now());
        /* G3: release, pairs with G4 in latest: begun_at is not that of an earlier one. */
        fli_store_release(&flavor->begun, number + 1);
        fli_unlock(&flavor->lock);
        if (!FLI_MUTANT_NO_WAIT)
            flavor->urcu->update_synchronize_rcu();
        tell_ended(flavor);
        fli_lock(&flavor->lock);
        /* G1: release, pairs with G2 in completed: what readers did before. */
        fli_store_release(&flavor->completed, number + 1);
        pthread_cond_broadcast(&flavor->ended);
    }
    return NULL;
}

static void use_clock_locked(struct flavor *flavor)
{
    fli_assert_held(&flavor->lock);
    pthread_condattr_t attributes;
    if (flavor->has_clock || pthread_condattr_init(&attributes) != 0)
        return;
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    flavor->has_clock = pthread_cond_init(&flavor->ended, &attributes) == 0 &&
                        pthread_cond_init(&flavor->asked_for, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
}

/* Starts the helper, with every signal blocked: the host's handlers run on threads that it knows. Returns 0 or a
 * negative errno value. */
static int start_helper_locked(struct flavor *flavor)
{
    fli_assert_held(&flavor->lock);
    if (fli_load_relaxed(&flavor->has_helper)) /* relaxed: written under the lock */
        return 0;
    use_clock_locked(flavor);
    if (!flavor->has_clock)
        return -ENOMEM;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t helper;
    int failed = pthread_create(&helper, NULL, help, flavor);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0)
        return -failed;
    pthread_detach(helper);
    fli_store_relaxed(&flavor->has_helper, true); /* relaxed: under the lock */
    return 0;
}

/* ---- The writers' side. */

static int64_t begin(void *context)
{
    struct flavor *flavor = context;
    fli_lock(&flavor->lock);
    int64_t token = flavor->lost ? -ENOTSUP : start_helper_locked(flavor);
    if (token == 0) {
        token = fli_load_relaxed(&flavor->begun) + 1; /* relaxed: under the lock */
        if (flavor->asked < token) {
            flavor->asked = token;
            if (flavor->is_idle)
                pthread_cond_signal(&flavor->asked_for);
        }
    }
    fli_unlock(&flavor->lock);
    return token;
}

static bool elapsed(void *context, int64_t token)
{
    struct flavor *flavor = context;
    if (completed(flavor) >= token)
        return true;
    /* Only a forked child has asked and has no helper. Relaxed: a stale value is corrected by a later call. */
    if (FLI_UNLIKELY(!fli_load_relaxed(&flavor->has_helper))) {
        fli_lock(&flavor->lock);
        if (!flavor->lost)
            start_helper_locked(flavor);
        fli_unlock(&flavor->lock);
    }
    return false;
}

static void wait_for(void *context, int64_t token, unsigned milliseconds)
{
    struct flavor *flavor = context;
    if (elapsed(flavor, token))
        return;
    struct timespec until = time_at(fli_grace_now() + (uint64_t)milliseconds * 1000000u);
    int state = fli_cancel_off();
    fli_lock(&flavor->lock);
    if (flavor->hurry < token) {
        flavor->hurry = token;
        pthread_cond_signal(&flavor->asked_for);
    }
    /* Without a clock there never was a helper, hence no token. */
    while (flavor->has_clock && completed(flavor) < token &&
           fli_cond_wait_until(&flavor->ended, &flavor->lock, &until) == 0)
        ;
    fli_unlock(&flavor->lock);
    fli_cancel_restore(state);
}

/* ---- The readers' side. */

static int64_t latest(struct flavor *flavor, uint64_t *begun_at)
{
    /* G4: acquire, pairs with G3 in help: begun_at is that of this grace period, or of a later one. */
    int64_t begun = fli_load_acquire(&flavor->begun);
    *begun_at = fli_load_relaxed(&flavor->begun_at); /* relaxed: for telling who has stalled */
    return begun;
}

static bool qsbr_join(void)
{
    fli_store_relaxed(&qsbr.is_used, true); /* relaxed: read in the child of a fork */
    if (qsbr.urcu->read_ongoing())
        return false; /* the host has registered the thread and taken it online */
    /* In a child without grace periods liburcu's list of readers leads to threads that do not exist. */
    if (!qsbr.lost)
        qsbr.urcu->register_thread();
    return true;
}

static void qsbr_leave(void)
{
    tell_done(&qsbr);
    if (!qsbr.lost)
        qsbr.urcu->unregister_thread();
}

static void qsbr_online(void)
{
    qsbr.urcu->thread_online();
}

static void qsbr_offline(void)
{
    tell_done(&qsbr);
    qsbr.urcu->thread_offline();
}

static void qsbr_quiescent(void)
{
    tell_done(&qsbr);
    qsbr.urcu->read_quiescent_state();
}

static bool qsbr_pause(void)
{
    bool online = qsbr.urcu->read_ongoing() != 0;
    if (online)
        qsbr_offline();
    return online;
}

static int64_t qsbr_latest(uint64_t *begun_at)
{
    return latest(&qsbr, begun_at);
}

static void bp_lock(void)
{
    bp.urcu->read_lock();
}

static void bp_unlock(void)
{
    tell_done(&bp);
    bp.urcu->read_unlock();
}

static bool bp_is_inside(void)
{
    return bp.urcu->read_ongoing() != 0;
}

static int64_t bp_latest(uint64_t *begun_at)
{
    return latest(&bp, begun_at);
}

/* What a flavor has no use for. */
static bool yes(void)
{
    return true;
}

static bool no(void)
{
    return false;
}

static void nothing(void)
{
}

static const struct fli_reader_calls qsbr_readers = {
    .join = qsbr_join,
    .leave = qsbr_leave,
    .online = qsbr_online,
    .offline = qsbr_offline,
    .quiescent = qsbr_quiescent,
    .lock = nothing,
    .unlock = nothing,
    .is_inside = no,
    .pause = qsbr_pause,
    .latest = qsbr_latest,
};

static const struct fli_reader_calls bp_readers = {
    .join = yes, /* bp registers a thread at its first section, and unregisters it at its exit */
    .leave = nothing,
    .online = nothing,
    .offline = nothing,
    .quiescent = nothing,
    .lock = bp_lock,
    .unlock = bp_unlock,
    .is_inside = bp_is_inside,
    .pause = no,
    .latest = bp_latest,
};

int fli_rcu_init(struct fli_grace *grace)
{
    bool is_bp = grace->kind == FL_GRACE_BP;
    if (is_bp)
        fli_store_relaxed(&bp.is_used,
                          true); /* relaxed: of the two values that a fork at once may read, both will do */
    grace->calls = (struct fl_grace_host){.begin = begin, .elapsed = elapsed, .context = is_bp ? &bp : &qsbr};
    grace->wait_for = wait_for;
    grace->readers = is_bp ? &bp_readers : &qsbr_readers;
    return 0;
}

/* ---- fork */

/* Whether the fork under way on this thread holds bp's locks: others may fork at the same time. */
static __thread bool bp_is_held;

void fli_rcu_before_fork(void)
{
    /* Only where threads or our helper may hold them. Inside a section the wait for a grace period under way would
     * not end. Relaxed: see fli_rcu_init. */
    bp_is_held = fli_load_relaxed(&bp.is_used) && !bp_is_inside();
    if (!bp_is_held)
        return;
    /* Registers this thread, which a first section between the handlers would find locked. */
    bp_lock();
    bp_unlock();
    urcu_bp_before_fork();
}

void fli_rcu_lock(void)
{
    fli_lock(&qsbr.lock);
    fli_lock_next(&bp.lock);
}

void fli_rcu_after_fork_parent(void)
{
    fli_unlock(&bp.lock);
    fli_unlock(&qsbr.lock);
    if (bp_is_held)
        urcu_bp_after_fork_parent();
}

/* Relaxed: no other thread runs. */
static void begin_anew(struct flavor *flavor)
{
    fli_store_relaxed(&flavor->begun, fli_load_relaxed(&flavor->completed));
    fli_store_relaxed(&flavor->has_helper, false);
    flavor->has_clock = false;
    flavor->is_idle = false;
    fli_unlock(&flavor->lock);
}

void fli_rcu_after_fork_child(void)
{
    /* Relaxed: as above. */
    qsbr.lost = qsbr.lost || fli_load_relaxed(&qsbr.is_used);
    bp.lost = bp.lost || (fli_load_relaxed(&bp.is_used) && !bp_is_held);
    begin_anew(&bp);
    begin_anew(&qsbr);
    if (bp_is_held)
        urcu_bp_after_fork_child();
}
