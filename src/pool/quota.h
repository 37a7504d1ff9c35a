/* SPDX-License-Identifier: MIT
 *
 * A quota: bytes that the threads of a heap may hold together. Nobody can take back what a thread holds: it may sleep. So
 * each of 200 threads is sure of a base, and takes what is more than that out of what is left of the rest.
 *
 *     base             = bytes for bases / 200, share = most / threads
 *     noted            = bytes that are counted for a thread: what it holds beyond the base, or more than that
 *     beyond           = sum over all threads of what is noted
 *     left to a thread = base - held + min(share - base, beyond_most - beyond)
 *
 * Threads that come first, and sleep, leave the base to those that come later, as far as these are not more than 200. Of
 * more threads, each may add the base, or its share if that is less.
 *
 * What is noted may be too much, so that a thread need not write the shared word each time.
 *
 * The words are relaxed: `beyond` is a counter, `share` a number of a moment ago. They order nothing.
 *
 * fork: the child counts anew what is noted. A thread that it does not have may have counted something and not noted it.
 */
#ifndef FLI_QUOTA_H
#define FLI_QUOTA_H

#include "base/atomic.h"
#include "base/base.h"

enum { FLI_QUOTA_SURE_THREADS = 200 };

struct fli_quota {
    size_t most;               /* bytes, all threads together; constant */
    size_t base;               /* bytes, of which each of 200 threads is sure; constant */
    size_t beyond_most;        /* bytes, all that is not for the base of these; constant */
    FLI_ATOMIC(size_t) share;  /* bytes, of each thread; written under the registry lock */
    FLI_ATOMIC(size_t) beyond; /* bytes noted of all threads */
};

/* A quota of `most` bytes, of which `for_bases` are for the base of 200 threads. */
static inline void fli_quota_init(struct fli_quota *quota, size_t most, size_t for_bases)
{
    quota->most = most;
    quota->base = for_bases / FLI_QUOTA_SURE_THREADS;
    quota->beyond_most = most - for_bases;
    fli_store_own(&quota->share, most);
    fli_store_own(&quota->beyond, (size_t)0);
}

/* Shares it out among so many threads. Under the registry lock. */
static inline void fli_quota_share(struct fli_quota *quota, size_t threads)
{
    fli_store_own(&quota->share, quota->most / fli_max(threads, 1));
}

/* What of the bytes that a thread holds lies beyond the base. */
static inline size_t fli_quota_beyond(const struct fli_quota *quota, size_t held)
{
    return fli_minus(held, quota->base);
}

/* What is left to a thread that holds so many bytes, and for which so many are noted. */
static inline size_t fli_quota_left(const struct fli_quota *quota, size_t held, size_t noted)
{
    size_t share = fli_load_hint(&quota->share), base = fli_min(quota->base, share);
    size_t freed = fli_minus(noted, fli_quota_beyond(quota, held));
    size_t rest = fli_minus(quota->beyond_most + freed, fli_load_hint(&quota->beyond));
    return fli_minus(base, held) + fli_min(fli_minus(share, fli_max(held, base)), rest);
}

/* In the child of a fork: says what is noted of the threads that it has. Writes only where that is something else. */
static inline void fli_quota_recount_stw(struct fli_quota *quota, size_t noted)
{
    if (fli_load_own(&quota->beyond) != noted)
        fli_store_own(&quota->beyond, noted);
}

#endif
