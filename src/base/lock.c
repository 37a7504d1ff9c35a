/* SPDX-License-Identifier: MIT */
#include "base/lock.h"

#include <unistd.h>

FLI_ATOMIC(uintptr_t) fli_lock_holder;

/* What fli_lock_hold_all was given, and its process. Only the thread that forks reads them. */
static pid_t holder_pid;
static void (*run_in_child)(void);

bool fli_lock_is_held(void)
{
    if (!fli_lock_is_forking())
        return false;
    if (getpid() != holder_pid)
        run_in_child();
    return fli_lock_is_forking();
}

/* ---- Checked builds: owners and ranks. */

/* How many locks of each rank the calling thread holds. */
static __thread unsigned held[FLI_CHECKED ? FLI_RANKS : 1];

static void note_taken(struct fli_mutex *mutex)
{
    if (!FLI_CHECKED)
        return;
    fli_store_own(&mutex->owner, (uintptr_t)pthread_self());
    held[mutex->rank]++;
}

static void note_released(struct fli_mutex *mutex)
{
    if (!FLI_CHECKED)
        return;
    fli_assert_held(mutex);
    fli_store_own(&mutex->owner, 0);
    held[mutex->rank]--;
}

/* Asserts that the calling thread holds no lock of rank `rank` or later. */
static void assert_order(unsigned rank)
{
    for (; FLI_CHECKED && rank < FLI_RANKS; rank++)
        FLI_ASSERT(held[rank] == 0);
}

/* ---- Locks. */

static void lock_in_order(struct fli_mutex *mutex, unsigned rank)
{
    if (fli_lock_is_held())
        return;
    assert_order(rank);
    pthread_mutex_lock(&mutex->mutex);
    note_taken(mutex);
}

void fli_lock(struct fli_mutex *mutex)
{
    lock_in_order(mutex, mutex->rank);
}

void fli_lock_next(struct fli_mutex *mutex)
{
    lock_in_order(mutex, mutex->rank + 1);
}

bool fli_trylock(struct fli_mutex *mutex)
{
    if (fli_lock_is_held())
        return true;
    if (pthread_mutex_trylock(&mutex->mutex) != 0)
        return false;
    note_taken(mutex);
    return true;
}

void fli_unlock(struct fli_mutex *mutex)
{
    if (fli_lock_is_forking())
        return;
    note_released(mutex);
    pthread_mutex_unlock(&mutex->mutex);
}

void fli_cond_wait(pthread_cond_t *condition, struct fli_mutex *mutex)
{
    note_released(mutex);
    pthread_cond_wait(condition, &mutex->mutex);
    note_taken(mutex);
}

int fli_cond_wait_until(pthread_cond_t *condition, struct fli_mutex *mutex, const struct timespec *until)
{
    note_released(mutex);
    int result = pthread_cond_timedwait(condition, &mutex->mutex, until);
    note_taken(mutex);
    return result;
}

/* ---- The thread that forks. */

void fli_lock_hold_all(void (*in_child)(void))
{
    holder_pid = getpid();
    run_in_child = in_child;
    fli_store_own(&fli_lock_holder, (uintptr_t)pthread_self());
}

void fli_lock_note_child(void)
{
    holder_pid = getpid();
}

void fli_lock_release_all(void)
{
    fli_store_own(&fli_lock_holder, 0);
}

void fli_lock_adopt(struct fli_mutex *mutex)
{
    if (pthread_mutex_trylock(&mutex->mutex) == 0)
        note_taken(mutex);
}

void fli_lock_give_up(struct fli_mutex *mutex)
{
    note_released(mutex);
    pthread_mutex_unlock(&mutex->mutex);
}
