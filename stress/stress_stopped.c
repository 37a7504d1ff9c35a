/* SPDX-License-Identifier: MIT
 *
 * A thread that is stopped anywhere in an allocation or a free, also while it has locked a home, delays nobody.
 *
 * Threads put blocks into mailboxes and free what lay there, so that each of them frees the blocks of all. One of them
 * is the victim. A signal stops it, mostly where a home is locked: the handler blocks, and only after each of the
 * others has completed a quota of steps does it go on. They find the home locked all the time, both when they free the
 * victim's blocks and, where the victim was at the home of another thread, when that one allocates and frees.
 *
 * The heap retains all that it has, so that after a while nothing takes a mutex any more. Where the victim is stopped
 * with one in its hands after all, others may wait for it: then it goes on at once, and the stop does not count.
 *
 * Every block is filled with a pattern that is verified before it is freed. (stress_lockfree.c does the same for the
 * stacks of the pool, and stops at chosen instructions.)
 *
 * Smoke: about 4 seconds. Pre-merge: 30 seconds (--seconds 30). Soak: one hour (--seconds 3600 --threads 16).
 */
#include "stress.h"

#include "heap/thread.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    STOPS = STRESS_SANITIZED ? 20 : 50,  /* at the least */
    AT_HOMES = 1,                        /* of these at the least at the victim's home, and at another's */
    QUOTA = STRESS_SANITIZED ? 30 : 100, /* steps by each of the others meanwhile */
    PATIENCE = 60,                       /* seconds for them */
    MAILBOXES = 1024,
    BUNDLE = 64,
    HOMES_MOST = 256,
    THREADS_MOST = 64,
    TRIES = 200, /* at a mutex, a tenth of a millisecond apart, before it counts as the victim's */
};

/* Small blocks go home; large ones go to the pool. */
static const size_t sizes[] = {64, 64, 256, 1024, 4096};

/* Which blocks there are: the content of a mailbox is its own block, whose first word is its size. */
struct parcel {
    size_t size;
};

struct actor {
    pthread_t id;
    unsigned index;
    struct stress_rng rng;
    struct fl_thread *thread;
    _Alignas(FLI_CACHE_LINE) atomic_ulong done; /* steps; read by the director */
};

static struct stress_args args;
static struct fl_heap *heap;
static struct actor *actors; /* the first is the victim */
static _Atomic(struct parcel *) mailboxes[MAILBOXES];
static atomic_bool stop;

/* ---- Steps. */

static struct parcel *make(struct actor *actor, size_t size)
{
    struct parcel *parcel = fl_alloc(actor->thread, size);
    STRESS_REQUIRE(parcel);
    parcel->size = size;
    stress_fill(parcel + 1, size - sizeof *parcel, size);
    return parcel;
}

static void drop(struct actor *actor, struct parcel *parcel)
{
    if (!parcel)
        return;
    stress_verify(parcel + 1, parcel->size - sizeof *parcel, parcel->size);
    fl_free_sized(actor->thread, parcel, parcel->size);
}

static void step(struct actor *actor)
{
    size_t size = sizes[stress_below(&actor->rng, sizeof sizes / sizeof *sizes)];
    for (unsigned i = 0; i < BUNDLE; i++) {
        struct parcel *parcel = make(actor, size);
        _Atomic(struct parcel *) *mailbox = &mailboxes[stress_below(&actor->rng, MAILBOXES)];
        drop(actor, atomic_exchange_explicit(mailbox, parcel, memory_order_acq_rel));
    }
}

static void *act(void *argument)
{
    struct actor *actor = argument;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        step(actor);
        unsigned long done = atomic_load_explicit(&actor->done, memory_order_relaxed);
        atomic_store_explicit(&actor->done, done + 1, memory_order_relaxed);
    }
    return NULL;
}

/* ---- Stopping the victim. */

enum wanted { NOTHING, ANYWHERE, AT_ITS_HOME, AT_ANOTHERS_HOME };

static int stopped_pipe[2], resume_pipe[2];
static atomic_int wanted; /* set by the director; NOTHING again when the victim stops */

static bool is_locked(struct fli_home *home)
{
    return fli_load_relaxed(&home->lock) != 0;
}

static struct fli_home *victims_home(void)
{
    return fli_thread_of(actors[0].thread)->owner.home;
}

/* Whether another home than the victim's is locked, by whomever, and the victim's is not. */
static bool is_anothers_home_locked(void)
{
    struct fli_home *home = fli_homes_first(&heap->backing.homes);
    while (home != NULL && !is_locked(home))
        home = home->next;
    return home != NULL && !is_locked(victims_home());
}

/* Whether the victim is where the director wants it, as far as it can tell. */
static bool is_there(int want)
{
    switch (want) {
    case ANYWHERE:
        return true;
    case AT_ITS_HOME:
        return is_locked(victims_home());
    case AT_ANOTHERS_HOME:
        return is_anothers_home_locked();
    default:
        return false;
    }
}

/* Runs on the victim: stops it if it is where the director wants it. */
static void on_signal(int signal)
{
    (void)signal;
    int saved = errno, want = atomic_load_explicit(&wanted, memory_order_relaxed);
    char go;
    if (is_there(want)) {
        atomic_store_explicit(&wanted, NOTHING, memory_order_relaxed);
        if (write(stopped_pipe[1], "", 1) != 1 || read(resume_pipe[0], &go, 1) != 1)
            _exit(3);
    }
    errno = saved;
}

static void install_handler(void)
{
    STRESS_REQUIRE(pipe(stopped_pipe) == 0 && pipe(resume_pipe) == 0);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    STRESS_REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
}

static void nap(long nanoseconds)
{
    nanosleep(&(struct timespec){.tv_nsec = nanoseconds}, NULL);
}

/* Sends signals at random intervals until one has stopped the victim. */
static void stop_victim(struct stress_rng *rng, enum wanted want)
{
    struct pollfd stopped = {.fd = stopped_pipe[0], .events = POLLIN};
    double deadline = stress_now() + PATIENCE;
    char told;
    atomic_store_explicit(&wanted, (int)want, memory_order_relaxed);
    do {
        if (stress_now() > deadline)
            stress_fail("no signal found the victim where it is to be stopped");
        STRESS_REQUIRE(pthread_kill(actors[0].id, SIGUSR1) == 0);
    } while (ppoll(&stopped, 1, &(struct timespec){.tv_nsec = (long)stress_below(rng, 200000)}, NULL) != 1);
    STRESS_REQUIRE(read(stopped_pipe[0], &told, 1) == 1);
}

static void resume_victim(void)
{
    STRESS_REQUIRE(write(resume_pipe[1], "", 1) == 1);
}

/* ---- What the victim holds. */

/* The others hold a mutex only for moments. */
static bool is_victims(struct fli_mutex *lock)
{
    for (unsigned i = 0; i < TRIES; i++) {
        if (fli_load_hint(&lock->word) == 0)
            return false;
        nap(100000);
    }
    return true;
}

static bool victim_holds_a_mutex(void)
{
    struct fli_backing *backing = &heap->backing;
    return is_victims(&backing->slabs.lock) || is_victims(&backing->magazines.lock) ||
           is_victims(&backing->homes.lock) || is_victims(&heap->trim_lock);
}

/* Homes that were locked at each look, the victim's and others. */
struct locked {
    bool all[HOMES_MOST];
    unsigned its_own, of_others;
};

static void look_at_homes(struct locked *locked)
{
    locked->its_own = locked->of_others = 0;
    unsigned i = 0;
    struct fli_home *home = fli_homes_first(&heap->backing.homes);
    for (; home != NULL && i < HOMES_MOST; home = home->next, i++) {
        locked->all[i] = locked->all[i] && is_locked(home);
        *(home == victims_home() ? &locked->its_own : &locked->of_others) += locked->all[i];
    }
}

/* ---- The director. */

static unsigned long done_by(unsigned i)
{
    return atomic_load_explicit(&actors[i].done, memory_order_relaxed);
}

/* The first of the others that has not yet done its quota since it had done so much; or 0. */
static unsigned find_laggard(const unsigned long *start)
{
    for (unsigned i = 1; i < args.threads; i++)
        if (done_by(i) - start[i] < QUOTA)
            return i;
    return 0;
}

/* Waits until each of the others has completed its quota, the victim being stopped. Returns the homes that were locked
 * all the time. */
static struct locked await_quota(void)
{
    struct locked locked;
    unsigned long start[THREADS_MOST];
    for (unsigned i = 0; i < HOMES_MOST; i++)
        locked.all[i] = true;
    for (unsigned i = 0; i < args.threads; i++)
        start[i] = done_by(i);
    look_at_homes(&locked);
    double deadline = stress_now() + PATIENCE;
    for (unsigned laggard; (laggard = find_laggard(start)) != 0; look_at_homes(&locked)) {
        if (stress_now() > deadline)
            stress_fail("thread %u completed only %lu steps while the victim was stopped, with %u homes locked",
                        laggard, done_by(laggard) - start[laggard], locked.its_own + locked.of_others);
        nap(100000);
    }
    STRESS_REQUIRE(done_by(0) == start[0]);
    return locked;
}

struct tally {
    unsigned stops, at_its_home, at_anothers, left_out;
};

static void stop_once(struct tally *tally, struct stress_rng *rng)
{
    /* ThreadSanitizer delivers signals at points of its own. */
    static const enum wanted wishes[] = {ANYWHERE, AT_ITS_HOME, AT_ANOTHERS_HOME, AT_ANOTHERS_HOME};
    stop_victim(rng, STRESS_THREAD_SANITIZED ? ANYWHERE : wishes[stress_below(rng, 4)]);
    if (victim_holds_a_mutex()) {
        tally->left_out++;
    } else {
        struct locked locked = await_quota();
        tally->at_its_home += locked.its_own > 0;
        tally->at_anothers += locked.of_others > 0;
        tally->stops++;
    }
    resume_victim();
}

static bool has_enough(const struct tally *tally)
{
    return tally->stops >= STOPS &&
           (STRESS_THREAD_SANITIZED || (tally->at_its_home >= AT_HOMES && tally->at_anothers >= AT_HOMES));
}

static void direct(struct tally *tally)
{
    struct stress_rng rng = stress_rng_make(args.seed, args.threads);
    double end = args.smoke ? 0 : stress_now() + args.seconds;
    while (!has_enough(tally) || stress_now() < end)
        stop_once(tally, &rng);
    STRESS_REQUIRE(tally->left_out < tally->stops);
}

static void start_actors(void)
{
    actors = aligned_alloc(FLI_CACHE_LINE, args.threads * sizeof *actors);
    STRESS_REQUIRE(actors);
    for (unsigned i = 0; i < args.threads; i++) {
        actors[i] = (struct actor){.index = i, .rng = stress_rng_make(args.seed, i), .thread = stress_attach(heap)};
        for (unsigned j = 0; j < 100; j++) /* so that nobody needs more memory later */
            step(&actors[i]);
    }
    for (unsigned i = 0; i < args.threads; i++)
        stress_thread_start(&actors[i].id, act, &actors[i]);
}

static void finish_actors(void)
{
    atomic_store_explicit(&stop, true, memory_order_relaxed);
    for (unsigned i = 0; i < args.threads; i++)
        stress_thread_join(actors[i].id);
    for (unsigned i = 0; i < MAILBOXES; i++)
        drop(&actors[0], atomic_exchange_explicit(&mailboxes[i], NULL, memory_order_acquire));
    for (unsigned i = 0; i < args.threads; i++)
        stress_detach(actors[i].thread);
    free(actors);
}

int main(int argc, char **argv)
{
    args = stress_parse(argc, argv, "stress_stopped");
    args.threads = args.threads < 2 ? 2 : args.threads > THREADS_MOST ? THREADS_MOST : args.threads;
    struct fl_options options = {.retain_bytes = SIZE_MAX, .magazine_blocks = 64, .reserve_bytes = (size_t)256 << 20};
    heap = stress_heap_create(&options);
    install_handler();
    start_actors();
    struct tally tally = {0, 0, 0, 0};
    direct(&tally);
    finish_actors();
    printf("%u stops, %u of them at its home and %u at another's; %u with a mutex left out\n", tally.stops,
           tally.at_its_home, tally.at_anothers, tally.left_out);
    stress_heap_finish(heap);
    return 0;
}
