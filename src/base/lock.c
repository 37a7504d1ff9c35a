/* SPDX-License-Identifier: MIT */
#include "base/lock.h"

#include <unistd.h>

FLI_ATOMIC(uintptr_t) fli_lock_holder;

/* The holder's. */
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

void fli_lock(pthread_mutex_t *mutex)
{
    if (!fli_lock_is_held())
        pthread_mutex_lock(mutex);
}

bool fli_trylock(pthread_mutex_t *mutex)
{
    return fli_lock_is_held() || pthread_mutex_trylock(mutex) == 0;
}

void fli_unlock(pthread_mutex_t *mutex)
{
    if (!fli_lock_is_forking())
        pthread_mutex_unlock(mutex);
}

void fli_lock_hold_all(void (*in_child)(void))
{
    holder_pid = getpid();
    run_in_child = in_child;
    fli_store_relaxed(&fli_lock_holder, (uintptr_t)pthread_self()); /* relaxed: see fli_lock_is_forking */
}

void fli_lock_note_child(void)
{
    holder_pid = getpid();
}

void fli_lock_release_all(void)
{
    fli_store_relaxed(&fli_lock_holder, 0); /* relaxed: see fli_lock_is_forking */
}

void fli_lock_adopt(pthread_mutex_t *mutex)
{
    pthread_mutex_trylock(mutex);
}

void fli_lock_give_up(pthread_mutex_t *mutex)
{
    pthread_mutex_unlock(mutex);
}
