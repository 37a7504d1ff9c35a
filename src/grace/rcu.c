/* SPDX-License-Identifier: MIT
 *
 * Grace periods of liburcu's two flavors, each with a helper (helper.h) that calls synchronize_rcu.
 *
 * Distribution builds of liburcu are not instrumented for ThreadSanitizer, which therefore does not see that a grace
 * period orders anything. This file tells it. What a reader did before it left a section, passed a quiescent state or
 * went offline (release) happened before what follows a synchronize_rcu (acquire).
 *
 * fork: with bp, a child goes on, because the locks of bp were held across the fork. It gets no more grace periods if
 * the fork was inside a section, or if the grace period under way did not end in time for the locks to be had. With
 * qsbr, a child gets none if there ever was a reader: synchronize_rcu would wait for readers that do not exist.
 */
#include "grace/rcu.h"
#include "base/atomic.h"
#include "base/lock.h"
#include "base/sanitizer.h"
#include "grace/helper.h"

#include <urcu/flavor.h>

/* The headers of liburcu declare this for only one flavor in a program. */
extern const struct rcu_flavor_struct urcu_qsbr_flavor, urcu_bp_flavor;
void urcu_bp_before_fork(void);
void urcu_bp_after_fork_parent(void);
void urcu_bp_after_fork_child(void);

struct flavor {
    const struct rcu_flavor_struct *urcu;
    struct fli_helper helper;
    FLI_ATOMIC(bool) is_used; /* there may have been a reader */
};

static void wait_for_qsbr(void);
static void wait_for_bp(void);

static struct flavor qsbr = {.urcu = &urcu_qsbr_flavor, .helper = FLI_HELPER_INITIALIZER(wait_for_qsbr)};
static struct flavor bp = {.urcu = &urcu_bp_flavor, .helper = FLI_HELPER_INITIALIZER(wait_for_bp)};

/* ---- What ThreadSanitizer is told. */

/* Tells that the calling reader holds no pointers. */
static void tell_done(struct flavor *flavor)
{
    if (!FLI_MUTANT_UNTOLD)
        fli_tsan_release(flavor);
}

/* ---- The helpers. */

/* Waits for a whole grace period, and tells ThreadSanitizer that it has ended. */
static void wait_for_readers(struct flavor *flavor)
{
    if (!FLI_MUTANT_NO_WAIT)
        flavor->urcu->update_synchronize_rcu();
    if (!FLI_MUTANT_UNTOLD)
        fli_tsan_acquire(flavor);
}

static void wait_for_qsbr(void)
{
    wait_for_readers(&qsbr);
}

static void wait_for_bp(void)
{
    wait_for_readers(&bp);
}

/* ---- The readers' side. */

static bool qsbr_join(void)
{
    fli_store_relaxed(&qsbr.is_used, true); /* relaxed: read in the child of a fork */
    if (qsbr.urcu->read_ongoing())
        return false; /* the host has registered the thread and taken it online */
    /* In a child without grace periods, liburcu's list of readers contains threads that do not exist. */
    if (!qsbr.helper.lost)
        qsbr.urcu->register_thread();
    return true;
}

static void qsbr_leave(void)
{
    tell_done(&qsbr);
    if (!qsbr.helper.lost)
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
    return fli_helper_latest(&qsbr.helper, begun_at);
}

/* In a child without grace periods, liburcu's lock for new readers may be held for ever. */
static void bp_lock(void)
{
    if (!bp.helper.lost)
        bp.urcu->read_lock();
}

static void bp_unlock(void)
{
    tell_done(&bp);
    if (!bp.helper.lost || bp.urcu->read_ongoing() != 0)
        bp.urcu->read_unlock();
}

static bool bp_is_inside(void)
{
    return bp.urcu->read_ongoing() != 0;
}

static int64_t bp_latest(uint64_t *begun_at)
{
    return fli_helper_latest(&bp.helper, begun_at);
}

/* Calls that a flavor has no use for. */
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
        fli_store_relaxed(&bp.is_used, true); /* relaxed: a fork meanwhile may read either value */
    grace->calls = (struct fl_grace_host){
        .begin = fli_helper_begin, .elapsed = fli_helper_elapsed, .context = is_bp ? &bp.helper : &qsbr.helper};
    grace->wait_for = fli_helper_wait_for;
    grace->readers = is_bp ? &bp_readers : &qsbr_readers;
    return 0;
}

/* ---- fork */

/* How long a fork waits for the grace period under way. */
enum { FORK_WAITS_MILLISECONDS = 1000 };

/* Whether the fork under way on this thread has paused the helper of bp, and holds bp's locks. Other threads may fork
 * at the same time. */
static __thread bool bp_is_paused, bp_is_held;

void fli_rcu_before_fork(void)
{
    /* bp's locks are taken only if threads or the helper may hold them. A thread inside a section does not take them,
     * because its wait for a grace period under way would not end. Relaxed: see fli_rcu_init. */
    bp_is_paused = fli_load_relaxed(&bp.is_used) && !bp_is_inside();
    bp_is_held = bp_is_paused && fli_helper_pause(&bp.helper, FORK_WAITS_MILLISECONDS);
    if (!bp_is_held)
        return;
    /* Registers this thread now: between the handlers, its first section would need a lock that is held. */
    bp_lock();
    bp_unlock();
    urcu_bp_before_fork();
}

void fli_rcu_lock(void)
{
    fli_lock(&qsbr.helper.lock);
    fli_lock_next(&bp.helper.lock);
}

void fli_rcu_after_fork_parent(void)
{
    fli_unlock(&bp.helper.lock);
    fli_unlock(&qsbr.helper.lock);
    if (bp_is_held)
        urcu_bp_after_fork_parent();
    if (bp_is_paused)
        fli_helper_resume(&bp.helper);
}

void fli_rcu_after_fork_child(void)
{
    fli_helper_begin_anew_stw(&bp.helper, fli_load_own(&bp.is_used) && !bp_is_held);
    fli_helper_begin_anew_stw(&qsbr.helper, fli_load_own(&qsbr.is_used));
    if (bp_is_held)
        urcu_bp_after_fork_child();
}
