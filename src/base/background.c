/* SPDX-License-Identifier: MIT */
#include "base/background.h"

#include <signal.h>

int fli_background_start(void *(*run)(void *), void *argument)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    int failed = pthread_create(&thread, NULL, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0)
        return -failed;
    pthread_detach(thread);
    return 0;
}
