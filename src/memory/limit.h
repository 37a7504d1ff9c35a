/* SPDX-License-Identifier: MIT
 *
 * The limit of a heap on the bytes that its slabs and large blocks use:
 *
 *     used = bytes of slabs that are not cold (idle.h) + bytes charged for large blocks (large.h) <= most
 *
 * A thread takes bytes from the limit before it uses memory, and gives them back when it has returned the memory. Any
 * thread may do so. The atomics are relaxed: `used` is a count that orders nothing.
 */
#ifndef FLI_LIMIT_H
#define FLI_LIMIT_H

#include "base/atomic.h"
#include "base/base.h"

struct fli_limit {
    FLI_ATOMIC(size_t) used;
    size_t most;
};

/* Takes `bytes` from the limit. Returns false, and takes nothing, if less is left. */
static inline bool fli_limit_take(struct fli_limit *limit, size_t bytes)
{
    size_t used = fli_load_relaxed(&limit->used);
    do {
        if (bytes > limit->most || used > limit->most - bytes)
            return false;
    } while (!fli_cas_weak(&limit->used, &used, used + bytes, memory_order_relaxed, memory_order_relaxed));
    return true;
}

static inline void fli_limit_give(struct fli_limit *limit, size_t bytes)
{
    fli_sub_relaxed(&limit->used, bytes);
}

/* Bytes that are left, as a number of a moment ago. */
static inline size_t fli_limit_left(struct fli_limit *limit)
{
    return fli_minus(limit->most, fli_load_relaxed(&limit->used));
}

#endif
