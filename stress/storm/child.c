/* SPDX-License-Identifier: MIT
 *
 * Forks. The child finds every heap consistent, and the payloads unharmed that are its own; it goes on working, checks
 * again, and exits. Three kinds of forks:
 *
 *     beside     by a life, while others are anywhere
 *     stopped    by the director, who has stopped the world and says so: nothing is lost, and every live block is whole
 *     quiet      the same without a word: what others have in their caches is lost
 *
 * AddressSanitizer's allocator does not know fork: the lock that another thread has there stays taken. Its forks are
 * those of the director, where nobody is in it. gcc's ThreadSanitizer dies of threads that a child starts, as the
 * library's own are: there children only check.
 */
#include "storm.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { CHILD_STEPS = STRESS_SANITIZED ? 60 : 300 };

#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
enum { CHILD_WORKS = false };
#else
enum { CHILD_WORKS = true };
#endif

bool storm_is_child;

/* ---- The child. */

static void check(struct site *site, void *context)
{
    (void)context;
    stress_heap_check(site->heap);
}

static void go_on(struct seat *seat, struct stress_rng *rng)
{
    for (unsigned i = 0; i < CHILD_STEPS; i++) {
        if (seat->site->counted)
            storm_object_work(seat, rng);
        else
            storm_work(seat, rng);
    }
    storm_seat_verify(seat);
}

/* A seat of a child that has none of its own there. */
static void go_on_anew(struct site *site, void *context)
{
    struct seat seat;
    storm_seat_begin(&seat, site, site->is_default ? NULL : stress_attach(site->heap));
    go_on(&seat, context);
    storm_seat_empty(&seat, context);
    storm_settle(site, storm_seat_thread(&seat));
    if (!site->is_default)
        stress_detach(seat.thread);
}

static void child_beside(struct seat *seats, unsigned count, struct stress_rng *rng)
{
    storm_visited_unlock();
    storm_sites_each(check, NULL);
    for (unsigned i = 0; i < count; i++) {
        if (!seats[i].site)
            continue;
        storm_seat_verify(&seats[i]);
        if (!CHILD_WORKS)
            continue;
        go_on(&seats[i], rng);
        storm_seat_empty(&seats[i], rng);
        if (!seats[i].site->is_default && stress_one_in(rng, 2))
            stress_detach(seats[i].thread);
    }
    storm_sites_each(check, NULL);
}

static void child_quiet(struct stress_rng *rng)
{
    storm_sites_each(check, NULL);
    if (CHILD_WORKS)
        storm_sites_each(go_on_anew, rng);
    storm_sites_each(check, NULL);
}

static void require_whole(struct site *site, void *context)
{
    struct fl_stats stats;
    (void)context;
    fl_heap_stats(site->heap, &stats);
    if (stats.lost_bytes)
        stress_fail("site %s: the child of a stopped world has lost %zu bytes", site->name, stats.lost_bytes);
    storm_site_walk(site, false);
}

/* ---- The parent. */

static pid_t fork_or_fail(void)
{
    pid_t pid = fork();
    if (pid < 0)
        stress_fail("fork: %s", strerror(errno));
    storm_is_child = pid == 0;
    tally(TALLY_FORKS, 1);
    return pid;
}

/* Waits as for anything that blocks: offline. */
void storm_fork_beside(struct seat *seats, unsigned count)
{
    struct seat *qsbr = &seats[SITE_LATER];
    struct stress_rng rng = stress_rng_make(storm_args.seed, atomic_load(&storm_tally[TALLY_FORKS]));
    storm_visited_lock();
    pid_t pid = fork_or_fail();
    if (pid == 0) {
        child_beside(seats, count, &rng);
        _exit(0);
    }
    storm_visited_unlock();
    if (qsbr->site)
        fl_thread_offline(qsbr->thread);
    stress_child_await(pid);
    if (qsbr->site)
        fl_thread_online(qsbr->thread);
}

void storm_fork_quiet(void)
{
    struct stress_rng rng = stress_rng_make(storm_args.seed, atomic_load(&storm_tally[TALLY_FORKS]));
    pid_t pid = fork_or_fail();
    if (pid == 0) {
        child_quiet(&rng);
        _exit(0);
    }
    stress_child_await(pid);
}

static void say_stopped(struct site *site, void *context)
{
    (void)context;
    fl_heap_fork_stopped(site->heap);
}

void storm_fork_stopped(void)
{
    struct stress_rng rng = stress_rng_make(storm_args.seed, atomic_load(&storm_tally[TALLY_FORKS]));
    storm_sites_each(say_stopped, NULL);
    pid_t pid = fork_or_fail();
    if (pid == 0) {
        storm_sites_each(require_whole, NULL);
        child_quiet(&rng);
        storm_sites_each(require_whole, NULL);
        _exit(0);
    }
    stress_child_await(pid);
}
