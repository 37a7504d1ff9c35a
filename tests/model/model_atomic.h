/* SPDX-License-Identifier: MIT
 *
 * The atomic operations of src/atomic.h for the model check: every shared word is a Relacy atomic, which keeps the
 * whole history of the word and lets a load return any value that the C11 memory model allows. src/atomic.h includes
 * this file in its own place when FREELANE_MODEL is defined.
 */
#ifndef FLI_MODEL_ATOMIC_H
#define FLI_MODEL_ATOMIC_H

/* What the library's headers include must come before Relacy, which takes the names of the C library's functions. */
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <relacy/relacy.hpp>

#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert
#undef errno
#define errno (*__errno_location())

#undef memory_order_relaxed
#undef memory_order_acquire
#undef memory_order_release
#undef memory_order_acq_rel
#define memory_order_relaxed       rl::mo_relaxed
#define memory_order_acquire       rl::mo_acquire
#define memory_order_release       rl::mo_release
#define memory_order_acq_rel       rl::mo_acq_rel

#define FLI_ATOMIC(T)              rl::atomic<T>

#define fli_load_relaxed(p)        (p)->load(rl::mo_relaxed, $)
#define fli_load_acquire(p)        (p)->load(rl::mo_acquire, $)
#define fli_load_order(p, order)   (p)->load((order), $)
#define fli_store_relaxed(p, v)    (p)->store((v), rl::mo_relaxed, $)
#define fli_store_release(p, v)    (p)->store((v), rl::mo_release, $)
#define fli_add_relaxed(p, v)      (p)->fetch_add((v), rl::mo_relaxed, $)
#define fli_sub_relaxed(p, v)      (p)->fetch_sub((v), rl::mo_relaxed, $)
#define fli_or_release(p, v)       (p)->fetch_or((v), rl::mo_release, $)
#define fli_or_relaxed(p, v)       (p)->fetch_or((v), rl::mo_relaxed, $)
#define fli_and_relaxed(p, v)      (p)->fetch_and((v), rl::mo_relaxed, $)
#define fli_exchange_acquire(p, v) (p)->exchange((v), rl::mo_acquire, $)
#define fli_cas_weak(p, expected, desired, success, failure)                                                         \
    fli_model_cas_weak((p), (expected), (desired), (success), (failure), $)

/* Relacy knows the rule of C++11 alone, by which failure may not acquire unless success does, and drops what breaks
 * it. Such a failure is a relaxed one here, after which the word is loaded again: that gives at least the same
 * outcomes. */
template <typename T>
bool fli_model_cas_weak(rl::atomic<T> *word, T *expected, T desired, rl::memory_order success,
                        rl::memory_order failure, rl::debug_info_param info)
{
    bool known = failure == rl::mo_relaxed || success == rl::mo_acquire || success == rl::mo_acq_rel;
    if (word->compare_exchange_weak(*expected, desired, success, info, known ? failure : rl::mo_relaxed, info))
        return true;
    if (!known)
        *expected = word->load(failure, info);
    return false;
}

/* Slots of a magazine, whose first words take more room here. */
enum { FLI_MAGAZINE_SLOTS = 239 };

/* A counter that one thread writes. Nothing in the pool depends on its value: left out, it costs no states. */
#define fli_count(p, v) ((void)(p), (void)(v))

#endif
