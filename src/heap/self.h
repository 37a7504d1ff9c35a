/* SPDX-License-Identifier: MIT
 *
 * What each OS thread has of its own. No other thread reads it. The model check, whose threads are none of the OS,
 * supplies its own (FREELANE_MODEL).
 */
#ifndef FLI_SELF_H
#define FLI_SELF_H

#include <stdbool.h>

struct fli_os_thread;

struct fli_self {
    /* NULL while no handle has been bound to the thread. The record is not part of the thread's own storage, because a
     * handle that outlives the thread links to it. */
    struct fli_os_thread *record;
    unsigned exit_round; /* how many rounds of destructors have called the library's */
    bool exits;          /* whether the last of them was the round that detaches */
};

extern __thread struct fli_self fli_self_own;

#if defined(FREELANE_MODEL)

struct fli_self *fli_self_here(void);

#else

/* The calling OS thread. The address tells it from all others that are alive. */
static inline struct fli_self *fli_self_here(void)
{
    return &fli_self_own;
}

#endif

#endif
