/* SPDX-License-Identifier: MIT
 *
 * What every file of the library may use: attributes, the cache line, small arithmetic.
 */
#ifndef FLI_BASE_H
#define FLI_BASE_H

#include "base/config.h"

#include <freelane/freelane.h>

#define FLI_COLD                __attribute__((cold, noinline))
#define FLI_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define FLI_LIKELY(x)           __builtin_expect(!!(x), 1)
#define FLI_UNLIKELY(x)         FL_UNLIKELY(x)

/* Two lines, because processors fetch adjacent ones in pairs. */
#define FLI_CACHE_LINE  128
#define FLI_ON_OWN_LINE __attribute__((aligned(FLI_CACHE_LINE)))

#define FLI_KIB         ((size_t)1 << 10)
#define FLI_MIB         ((size_t)1 << 20)
#define FLI_GIB         ((size_t)1 << 30)

static inline size_t fli_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t fli_max(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* `a` less `b`; 0 if `b` is more. */
static inline size_t fli_minus(size_t a, size_t b)
{
    return a - fli_min(a, b);
}

/* `n` rounded up to a multiple of `grain`, a power of two. */
static inline size_t fli_round_up(size_t n, size_t grain)
{
    return (n + grain - 1) & ~(grain - 1);
}

#endif
