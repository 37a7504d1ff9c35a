/* SPDX-License-Identifier: MIT
 *
 * Threads of the library's own, and what they need in order to wait: they sleep until a time or until they are asked.
 */
#ifndef FLI_BACKGROUND_H
#define FLI_BACKGROUND_H

#include "base/base.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* Starts a detached thread. It blocks every signal, so that the host's handlers run on the host's threads only.
 * Returns 0 or a negative errno value. */
int fli_background_start(void *(*run)(void *), void *argument);

/* A time of the clock of fli_grace_now, in nanoseconds, as waits take it. */
static inline struct timespec fli_background_time(uint64_t nanoseconds)
{
    return (struct timespec){.tv_sec = (time_t)(nanoseconds / 1000000000u),
                             .tv_nsec = (long)(nanoseconds % 1000000000u)};
}

#endif
