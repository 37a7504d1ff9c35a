/* SPDX-License-Identifier: MIT */
#include "base/life.h"

#include <errno.h>

void fli_life_begin(struct fli_life *life)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&life->mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    pthread_mutex_lock(&life->mutex);
}

void fli_life_end(struct fli_life *life)
{
    pthread_mutex_unlock(&life->mutex);
    pthread_mutex_destroy(&life->mutex);
}

bool fli_life_is_over(struct fli_life *life)
{
    if (pthread_mutex_trylock(&life->mutex) != EOWNERDEAD)
        return false;
    pthread_mutex_consistent(&life->mutex);
    fli_life_end(life);
    return true;
}
