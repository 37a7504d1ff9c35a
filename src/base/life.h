/* SPDX-License-Identifier: MIT
 *
 * Tells whether an OS thread is gone. No destructor of a thread is its last one for sure, and the kernel uses the
 * numbers of threads again. But the kernel releases a robust mutex that a thread holds when the thread is gone.
 */
#ifndef FLI_LIFE_H
#define FLI_LIFE_H

#include "base/base.h"

#include <pthread.h>
#include <stdbool.h>

struct fli_life {
    pthread_mutex_t mutex;
};

/* Begins to watch the calling OS thread. In the child of a fork, its only thread does so again. */
void fli_life_begin(struct fli_life *life);

/* Ends the watch by the OS thread itself. */
void fli_life_end(struct fli_life *life);

/* Whether the OS thread, which is not the calling one, is gone. Once it has returned true, it is not called again. */
bool fli_life_is_over(struct fli_life *life);

#endif
