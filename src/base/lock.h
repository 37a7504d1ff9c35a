/* SPDX-License-Identifier: MIT
 *
 * The locks of the library, and the thread that holds all of them because it forks.
 *
 * Between its prepare handler and the handler after it, a fork holds every lock. Handlers of the host that run in
 * between, on the same thread, may call the library: there a lock that is asked for is held already. Nothing else
 * distinguishes such a call, and other threads wait as for any lock.
 *
 *     holder == the calling thread    between the handlers of its fork: locks are held, the pool is set aside (pool.h)
 *     otherwise                       locks are taken and released
 *
 * The host's child handlers may run before the library's. The first lock that is asked for in the child runs it.
 *
 * No lock is held across a cancellation point: what may be one is called without a lock, or with cancellation off.
 */
#ifndef FLI_LOCK_H
#define FLI_LOCK_H

#include "base/atomic.h"
#include "base/check.h"

#include <pthread.h>
#include <stdbool.h>

/* Turns cancellation of the calling thread off. Returns what fli_cancel_restore takes. */
static inline int fli_cancel_off(void)
{
    int state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    return state;
}

static inline void fli_cancel_restore(int state)
{
    pthread_setcancelstate(state, NULL);
}

/* In the order in which locks are taken: a thread that holds one takes only such of a later rank, or tries. */
enum fli_rank {
    FLI_RANK_DEFAULT,  /* the default heap's creation */
    FLI_RANK_REGISTRY, /* heaps, threads of each heap, their bindings to OS threads */
    FLI_RANK_SERVICE,  /* the thread that serves unattached and exited threads */
    FLI_RANK_TRIM,     /* one trim at a time */
    FLI_RANK_DEFERRED, /* one step of the deferred blocks at a time */
    FLI_RANK_HOMES,    /* who lives where; the locks of homes come after it (home.h) */
    FLI_RANK_MEMORY,   /* slabs, magazines, large blocks: none inside another */
    FLI_RANK_GRACE,    /* a kind of grace periods */
    FLI_RANKS
};

/* A lock that knows its rank, and in checked builds its owner. */
struct fli_mutex {
    pthread_mutex_t mutex;
    enum fli_rank rank;
    FLI_ATOMIC(uintptr_t) owner; /* checked builds: the thread that holds it; 0: none does */
};

#define FLI_MUTEX_INITIALIZER(of_rank)                                                                               \
    {                                                                                                                \
        .mutex = PTHREAD_MUTEX_INITIALIZER, .rank = (of_rank)                                                        \
    }

static inline void fli_mutex_init(struct fli_mutex *mutex, enum fli_rank rank)
{
    pthread_mutex_init(&mutex->mutex, NULL);
    mutex->rank = rank;
    fli_store_own(&mutex->owner, 0);
}

static inline void fli_mutex_close(struct fli_mutex *mutex)
{
    pthread_mutex_destroy(&mutex->mutex);
}

#if defined(FREELANE_MODEL)

static inline bool fli_lock_is_forking(void)
{
    return false;
}

static inline bool fli_lock_is_held(void)
{
    return false;
}

static inline void fli_lock(struct fli_mutex *mutex)
{
    pthread_mutex_lock(&mutex->mutex);
}

static inline void fli_unlock(struct fli_mutex *mutex)
{
    pthread_mutex_unlock(&mutex->mutex);
}

static inline void fli_assert_held(const struct fli_mutex *mutex)
{
    (void)mutex;
}

#else

/* The thread that holds all locks, as an integer; 0: none does. */
extern FLI_ATOMIC(uintptr_t) fli_lock_holder;

/* Whether the calling thread is between the handlers of a fork. */
static inline bool fli_lock_is_forking(void)
{
    /* Relaxed: a thread finds itself only if it has stored the word, and others need only find that it is not them. */
    uintptr_t holder = fli_load_relaxed(&fli_lock_holder);
    return __builtin_expect(holder != 0, 0) && holder == (uintptr_t)pthread_self();
}

/* Whether a lock that is asked for is held by the calling thread's fork. */
bool fli_lock_is_held(void);

void fli_lock(struct fli_mutex *mutex);
void fli_unlock(struct fli_mutex *mutex);

/* One of several locks of a rank, those of several heaps, in the order of the registry. */
void fli_lock_next(struct fli_mutex *mutex);

/* Returns whether the lock was free and has been taken. */
bool fli_trylock(struct fli_mutex *mutex);

/* pthread_cond_wait and pthread_cond_timedwait. */
void fli_cond_wait(pthread_cond_t *condition, struct fli_mutex *mutex);
int fli_cond_wait_until(pthread_cond_t *condition, struct fli_mutex *mutex, const struct timespec *until);

/* The calling thread holds the lock, or its fork does. */
static inline void fli_assert_held(const struct fli_mutex *mutex)
{
    /* Relaxed: a thread finds itself only if it has stored the word. */
    FLI_ASSERT(fli_load_relaxed(&mutex->owner) == (uintptr_t)pthread_self() || fli_lock_is_forking());
    (void)mutex;
}

/* The calling thread has taken every lock, for a fork. `in_child` is called in the child, with all of them held, by
 * the first lock that is asked for; it asks for none before it calls fli_lock_release_all. */
void fli_lock_hold_all(void (*in_child)(void));

/* `in_child` has begun: the locks that it asks for are held. */
void fli_lock_note_child(void);

/* Locks are taken and released again. The calling thread releases those it holds afterwards. */
void fli_lock_release_all(void);

/* Takes and releases a lock for the fork under way, whose thread makes or destroys a heap. No other thread knows the
 * lock, so that it is free when it is taken, in whatever order. */
void fli_lock_adopt(struct fli_mutex *mutex);
void fli_lock_give_up(struct fli_mutex *mutex);

#endif

#endif
