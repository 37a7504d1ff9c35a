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

#if defined(FREELANE_MODEL)

static inline bool fli_lock_is_forking(void)
{
    return false;
}

static inline bool fli_lock_is_held(void)
{
    return false;
}

static inline void fli_lock(pthread_mutex_t *mutex)
{
    pthread_mutex_lock(mutex);
}

static inline void fli_unlock(pthread_mutex_t *mutex)
{
    pthread_mutex_unlock(mutex);
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

void fli_lock(pthread_mutex_t *mutex);
void fli_unlock(pthread_mutex_t *mutex);

/* Returns whether the lock was free and has been taken. */
bool fli_trylock(pthread_mutex_t *mutex);

/* The calling thread has taken every lock, for a fork. `in_child` is called in the child, with all of them held, by
 * the first lock that is asked for; it asks for none before it calls fli_lock_release_all. */
void fli_lock_hold_all(void (*in_child)(void));

/* `in_child` has begun: the locks that it asks for are held. */
void fli_lock_note_child(void);

/* Locks are taken and released again. The calling thread releases those it holds afterwards. */
void fli_lock_release_all(void);

/* Takes and releases a lock for the fork under way, whose thread makes or destroys a heap. No other thread knows the
 * lock, so that it is free when it is taken, in whatever order. */
void fli_lock_adopt(pthread_mutex_t *mutex);
void fli_lock_give_up(pthread_mutex_t *mutex);

#endif

#endif
