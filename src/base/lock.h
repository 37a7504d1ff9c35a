/* SPDX-License-Identifier: MIT
 *
 * The locks of the library, and the thread that forks.
 *
 * A fork must find all locks free, so that nothing they guard is copied half changed. It takes the first ones, and
 * closes the ranks of the others: those of the heaps. It closes one rank after another, and waits until each lock of
 * the rank is free. A thread that takes a lock looks afterwards whether its rank is closed. If so, it releases the lock
 * and waits for the end of the fork. So a fork only reads the locks of a heap that is at rest. To write to them would
 * make the kernel copy their pages.
 *
 *     thread that takes a lock        thread that forks
 *       word = held   (K1)              gate = rank   (K3)
 *       gate?         (K2)              word?         (K4)
 *
 * All four are sequentially consistent: at least one of the two threads sees what the other has done.
 *
 * Between the handlers of a fork, handlers of the host may call the library on the same thread. In such a call every
 * lock counts as held, so to take one does nothing.
 *
 *     holder == the calling thread    between the handlers of its fork: locks are held, the pool is set aside (pool.h)
 *     otherwise                       locks are taken and released
 *
 * A thread that finds its rank closed has the lock for a moment, and the child may get its copy of that moment. So the word
 * of a lock that is held tells by which process it was taken: how many forks there were on the way to that process. Held by
 * another process is free. Nobody has to look for such locks in the child.
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
#include <time.h>

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
    FLI_RANK_HOMES,     /* which thread has which home */
    FLI_RANK_HOME,      /* a home (home.h) */
    FLI_RANK_MEMORY,    /* slabs, magazines, large blocks, the profile; none is taken inside another */
    FLI_RANK_GRACE,     /* a kind of grace periods */
    FLI_RANKS
};

#if defined(FREELANE_MODEL) && !defined(FREELANE_MODEL_LOCKS)

struct fli_mutex {
    pthread_mutex_t mutex;
};

static inline void fli_mutex_init(struct fli_mutex *mutex, enum fli_rank rank)
{
    (void)rank;
    pthread_mutex_init(&mutex->mutex, NULL);
}

static inline void fli_mutex_close(struct fli_mutex *mutex)
{
    pthread_mutex_destroy(&mutex->mutex);
}

static inline uint32_t fli_lock_mark(void)
{
    return 2;
}

static inline bool fli_lock_is_free(uint32_t word)
{
    return word == 0;
}

static inline bool fli_lock_is_closed(enum fli_rank rank)
{
    (void)rank;
    return false;
}

static inline bool fli_lock_wait_for_fork(enum fli_rank rank)
{
    (void)rank;
    return false;
}

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

static inline bool fli_trylock(struct fli_mutex *mutex)
{
    return pthread_mutex_try_lock(&mutex->mutex) == 0;
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

/* A lock that knows its rank, and in checked builds its owner. Threads wait for it in the kernel. */
struct fli_mutex {
    FLI_ATOMIC(uint32_t) word; /* 0: free; see lock.c */
    enum fli_rank rank;
    FLI_ATOMIC(uintptr_t) owner; /* checked builds: the thread that holds it; 0: none does */
};

/* What threads wait for under a lock: a change of the number. */
struct fli_condition {
    FLI_ATOMIC(uint32_t) changes;
};

#define FLI_MUTEX_INITIALIZER(of_rank)                                                                               \
    {                                                                                                                \
        .word = 0, .rank = (of_rank)                                                                                 \
    }

static inline void fli_mutex_init(struct fli_mutex *mutex, enum fli_rank rank)
{
    fli_store_own(&mutex->word, 0);
    mutex->rank = rank;
    fli_store_own(&mutex->owner, 0);
}

static inline void fli_mutex_close(struct fli_mutex *mutex)
{
    (void)mutex;
}

/* Twice the number of forks on the way to this process. The child of a fork changes it while it has one thread. */
extern FLI_ATOMIC(uint32_t) fli_lock_forks;

/* What the word of a lock is that this process holds: an even number, or that and 1. */
static inline uint32_t fli_lock_mark(void)
{
    return fli_load_relaxed(&fli_lock_forks) + 2; /* relaxed: constant while there are several threads */
}

/* Whether a lock with this word is free: nobody holds it, or it was held in the process from which this one has forked. */
static inline bool fli_lock_is_free(uint32_t word)
{
    return FLI_LIKELY(word == 0) || (word | 1) != (fli_lock_mark() | 1);
}

/* The latest rank that a fork has closed; 0: the gate is open. */
extern FLI_ATOMIC(unsigned) fli_lock_gate;

/* Whether a fork under way has closed the rank. Asked by a thread that has just taken a lock of that rank. */
static inline bool fli_lock_is_closed(enum fli_rank rank)
{
    /* K2: seq_cst, pairs with K3 and K5 in lock.c: see the head of this file. */
    unsigned gate = fli_load_order(&fli_lock_gate, memory_order_seq_cst);
    return __builtin_expect(gate != 0, 0) && rank >= FLI_RANK_SERVICE && rank <= gate;
}

/* If a fork of another thread has closed the rank, waits for its end. Returns whether it had. */
bool fli_lock_wait_for_fork(enum fli_rank rank);

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

/* Releases the lock until the condition is signalled, or earlier for no reason. The second one waits at most until a
 * time of the monotonic clock, and returns whether that has not passed. */
void fli_condition_wait(struct fli_condition *condition, struct fli_mutex *mutex);
bool fli_condition_wait_until(struct fli_condition *condition, struct fli_mutex *mutex, const struct timespec *until);

/* Wakes all threads that wait for the condition. Under the lock. */
void fli_condition_signal(struct fli_condition *condition);

/* Asserts that the calling thread holds the lock, or its fork does. */
static inline void fli_assert_held(const struct fli_mutex *mutex)
{
    /* Relaxed: a thread can read its own value only if it stored it. */
    FLI_ASSERT(fli_load_relaxed(&mutex->owner) == (uintptr_t)pthread_self() || fli_lock_is_forking());
    (void)mutex;
}

/* ---- The thread that forks.
 *
 *     fli_lock_begin_fork         no other thread forks meanwhile
 *     fli_lock_close              for one rank after another; then fli_lock_await for each of its locks
 *     fli_lock_hold_all           from now on, all locks count as held
 *     fli_lock_release_all        until now
 *     fli_lock_end_fork           the ranks are open again */

void fli_lock_begin_fork(void);
void fli_lock_close(enum fli_rank rank);

/* Waits until a lock, whose rank is closed, is free. */
void fli_lock_await(struct fli_mutex *mutex);

/* The first request for a lock in the child calls `in_child`, with all locks held. Before any request of its own,
 * `in_child` calls fli_lock_note_child. */
void fli_lock_hold_all(void (*in_child)(void));

/* Says that `in_child` has begun: locks that it requests are held. From now on, those that are held in the memory which
 * the child has got are free, but not the one that fli_lock_begin_fork has taken. */
void fli_lock_note_child(void);

/* Goes on to hold a lock in the child that the forking thread has taken before. */
void fli_lock_keep_stw(struct fli_mutex *mutex);

/* Frees a lock in the child. */
void fli_lock_free_stw(struct fli_mutex *mutex);

void fli_lock_release_all(void);
void fli_lock_end_fork(void);

#endif

#endif
