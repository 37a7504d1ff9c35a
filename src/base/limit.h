/* SPDX-License-Identifier: MIT
 *
 * The heap's limit: bytes of slabs and large blocks in use, never more than a bound. A number is counted, nothing is
 * ordered by it: its atomics are relaxed.
 */
#ifndef FLI_LIMIT_H
#define FLI_LIMIT_H

#include "base/atomic.h"
#include "base/base.h"

struct fli_limit {
    FLI_ATOMIC(size_t) used;
    size_t most;
};

/* Takes `bytes` of what is left. Returns false, and has taken nothing, if that is too little. */
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

#endif
