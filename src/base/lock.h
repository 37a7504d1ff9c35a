/* SPDX-License-Identifier: MIT
 *
 * The locks of the library, and the thread that holds all of them because it forks.
 *
 * A fork holds every lock from its prepare handler to the handler after it. In between, on the same thread, handlers of
 * the host may call the library. In such a call every lock counts as held already, so to take one does nothing. Other
 * threads wait for the locks as usual.
 *
 *     holder == the calling thread    between the handlers of its fork: locks are held, the pool is set aside (pool.h)
 *     otherwise                       locks are taken and released
 *
 * In the child, handlers of the host may run before the library's. So the first request for a lock in the child runs
 * the library's handler.
 *
 * No thread holds a lock across a cancellation point. A function that may be one is called without a lock, or with
 * cancellation off.
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

/* The ranks of locks, in the order in which locks are taken. A thread that holds a lock waits only for locks of a later
 * rank, or uses fli_lock_next. It may try any lock. */
enum fli_rank {
    FLI_RANK_DEFAULT,   /* the default heap's creation */
    FLI_RANK_REGISTRY,  /* heaps, threads of each heap, their bindings to OS threads */
    FLI_RANK_CARETAKER, /* the heaps in the care of the library's own thread */
    FLI_RANK_SERVICE,   /* the thread that serves unattached and exited threads */
    FLI_RANK_TRIM,      /* one trim at a time */
    FLI_RANK_DEFERRED,  /* one step of the deferred blocks at a time */
    FLI_RANK_HOMES,     /* which thread has which home; the locks of homes come after it (home.h) */
    FLI_RANK_MEMORY,    /* slabs, magazines, large blocks; none is taken inside another */
    FLI_RANK_GRACE,     /* a kind of grace periods */
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
    /* Relaxed: a thread can read its own value only if it stored it. Other threads need only see that it is not
     * theirs. */
    uintptr_t holder = fli_load_relaxed(&fli_lock_holder);
    return __builtin_expect(holder != 0, 0) && holder == (uintptr_t)pthread_self();
}

/* Whether the calling thread's fork holds every lock. In the child, the first call runs the handler that
 * fli_lock_hold_all was given. */
bool fli_lock_is_held(void);

void fli_lock(struct fli_mutex *mutex);
void fli_unlock(struct fli_mutex *mutex);

/* Takes a lock while others of the same rank are held: those of several heaps, in the order of the registry. */
void fli_lock_next(struct fli_mutex *mutex);

/* Returns whether the lock was free and has been taken. */
bool fli_trylock(struct fli_mutex *mutex);

/* pthread_cond_wait and pthread_cond_timedwait, for a lock of the library. */
void fli_cond_wait(pthread_cond_t *condition, struct fli_mutex *mutex);
int fli_cond_wait_until(pthread_cond_t *condition, struct fli_mutex *mutex, const struct timespec *until);

/* Asserts that the calling thread holds the lock, or its fork does. */
static inline void fli_assert_held(const struct fli_mutex *mutex)
{
    /* Relaxed: a thread can read its own value only if it stored it. */
    FLI_ASSERT(fli_load_relaxed(&mutex->owner) == (uintptr_t)pthread_self() || fli_lock_is_forking());
    (void)mutex;
}

/* Says that the calling thread has taken every lock, for a fork. The first request for a lock in the child calls
 * `in_child`, with all locks held. Before any request of its own, `in_child` calls fli_lock_note_child. */
void fli_lock_hold_all(void (*in_child)(void));

/* Says that `in_child` has begun: locks that it requests are held. */
void fli_lock_note_child(void);

/* Says that locks are taken and released again. Afterwards the calling thread releases the locks that its fork held. */
void fli_lock_release_all(void);

/* Adds a lock to those that the fork under way holds, or releases it. The thread that forks calls this when it makes or
 * destroys a heap. No other thread knows the lock, so it is free, and its rank does not matter. */
void fli_lock_adopt(struct fli_mutex *mutex);
void fli_lock_give_up(struct fli_mutex *mutex);

#endif

#endif
