/* SPDX-License-Identifier: MIT
 *
 * What not every C library has: an account of malloc, a walk up the stack.
 */
#ifndef TESTS_LIBC_H
#define TESTS_LIBC_H

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

#if defined(__GLIBC__)
#include <execinfo.h>
#include <malloc.h>
#endif

/* Has malloc return what it keeps of freed memory, where it can be told to. */
static inline void malloc_give_back(void)
{
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
}

/* Sets *bytes to what malloc has given out and not got back. Returns false if malloc does not tell. */
static inline bool malloc_live_bytes(size_t *bytes)
{
#if defined(__GLIBC__)
    *bytes = mallinfo2().uordblks;
    return true;
#else
    *bytes = 0;
    return false;
#endif
}

/* Stores return addresses of the calling function's stack, at most `max`; elsewhere than with glibc, other addresses of
 * code. Returns how many. */
static inline size_t stack_frames(void **frames, size_t max)
{
#if defined(__GLIBC__)
    return (size_t)backtrace(frames, (int)max);
#else
    size_t depth = 0;
    for (; depth < 3 && depth < max; depth++)
        frames[depth] = (char *)__builtin_return_address(0) + depth;
    return depth;
#endif
}

/* The attributes of a thread with a stack of so many bytes, or of as few more as the system allows. */
static inline void small_stack_init(pthread_attr_t *attributes, size_t bytes)
{
    long least = sysconf(_SC_THREAD_STACK_MIN);
    pthread_attr_init(attributes);
    if (least > 0 && bytes < (size_t)least)
        bytes = (size_t)least;
    if (pthread_attr_setstacksize(attributes, bytes) != 0)
        __builtin_abort();
}

#endif
