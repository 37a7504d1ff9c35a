/* SPDX-License-Identifier: MIT
 *
 * Atomic operations named after their memory order, and the 64-bit index+tag word.
 *
 * Threads access what they share without a lock only through these names. A model checker can supply its own
 * (FREELANE_MODEL). Each order has a label beside it, and tests/README.md says which program fails when it is
 * weaker. There are no standalone fences, because ThreadSanitizer does not see them. FLI_PLAIN declares an ordinary
 * word that a lock of the library guards; the model checker reports an access without that lock.
 */
#ifndef FLI_ATOMIC_H
#define FLI_ATOMIC_H

#if defined(FREELANE_MODEL)
#include "model_atomic.h"
#else

#include "base/config.h"

#include <stdatomic.h>

#define FLI_ATOMIC(T)                _Atomic(T)
#define FLI_PLAIN(T)                 T

#define fli_load_relaxed(p)          atomic_load_explicit((p), memory_order_relaxed)
#define fli_load_acquire(p)          atomic_load_explicit((p), memory_order_acquire)
#define fli_load_order(p, order)     atomic_load_explicit((p), (order))
#define fli_store_relaxed(p, v)      atomic_store_explicit((p), (v), memory_order_relaxed)
#define fli_store_release(p, v)      atomic_store_explicit((p), (v), memory_order_release)
#define fli_store_order(p, v, order) atomic_store_explicit((p), (v), (order))
#define fli_add_relaxed(p, v)        atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define fli_sub_relaxed(p, v)        atomic_fetch_sub_explicit((p), (v), memory_order_relaxed)
#define fli_or_relaxed(p, v)         atomic_fetch_or_explicit((p), (v), memory_order_relaxed)
#define fli_and_relaxed(p, v)        atomic_fetch_and_explicit((p), (v), memory_order_relaxed)
#define fli_exchange(p, v, order)    atomic_exchange_explicit((p), (v), (order))
#define fli_cas_strong(p, expected, desired, success, failure)                                                       \
    atomic_compare_exchange_strong_explicit((p), (expected), (desired), (success), (failure))
#define fli_cas_weak(p, expected, desired, success, failure)                                                         \
    atomic_compare_exchange_weak_explicit((p), (expected), (desired), (success), (failure))

/* The same for words of structs in public headers, which are no _Atomic. */
#define fli_cas_public(p, old, new, yes, no) __atomic_compare_exchange_n((p), (old), (new), true, (yes), (no))
#define fli_add_public(p, v, order)          __atomic_fetch_add((p), (v), (order))
#define fli_or_public(p, v, order)           __atomic_fetch_or((p), (v), (order))
#define fli_or(p, v, order)                  atomic_fetch_or_explicit((p), (v), (order))
#define fli_and(p, v, order)                 atomic_fetch_and_explicit((p), (v), (order))

/* A plain use, see below. The model check has its own definition. */
#define fli_count(p, v)                      fli_store_relaxed((p), fli_load_relaxed(p) + (v))

#endif

/* Plain uses are relaxed accesses. These words order nothing, and each name says why that is right. A relaxed access
 * without such a name says why in a comment.
 *
 *     own      no other thread writes the word now: the caller owns it or holds its lock, or no other thread knows it
 *     hint     other threads read or write the word meanwhile: any of its values serves, old or new
 *     count    a number to which threads add; fli_count is for a number that one thread at a time changes, so that it
 *              needs no read-modify-write
 *     public   own or hint, for words of the host or of structs in public headers, which C++ reads, too */
#define fli_load_own(p)        fli_load_relaxed(p)
#define fli_store_own(p, v)    fli_store_relaxed((p), (v))
#define fli_load_hint(p)       fli_load_relaxed(p)
#define fli_store_hint(p, v)   fli_store_relaxed((p), (v))
#define fli_add_count(p, v)    fli_add_relaxed((p), (v))
#define fli_sub_count(p, v)    fli_sub_relaxed((p), (v))
#define fli_load_public(p)     __atomic_load_n((p), __ATOMIC_RELAXED)
#define fli_store_public(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)

#include <stdint.h>

/* An index and a tag in one word:
 *
 *     63 .. tag .. 27 | 26 .. index .. 0
 *
 * The tag counts the changes of the word. A word that names the same index again thus differs from its earlier self,
 * unless exactly 2^37 changes lie between. At a hundred million changes a second, these take 22 minutes. A thread would
 * have to stop for just that time, to the change, between its load and its compare-and-swap. */
enum { FLI_INDEX_BITS = 27, FLI_TAG_BITS = 64 - FLI_INDEX_BITS };

#define FLI_INDEX_MAX (((uint32_t)1 << FLI_INDEX_BITS) - 1)

typedef uint64_t fli_tagged;

static inline uint32_t fli_tagged_index(fli_tagged word)
{
    return (uint32_t)word & FLI_INDEX_MAX;
}

/* The word that follows `word` and names `index`. */
static inline fli_tagged fli_tagged_next(fli_tagged word, uint32_t index)
{
#if defined(FREELANE_MODEL_NO_TAG)
    return (word & ~(fli_tagged)FLI_INDEX_MAX) | index;
#else
    return (((word >> FLI_INDEX_BITS) + 1) << FLI_INDEX_BITS) | index;
#endif
}

/* A word that names no index; `tag` is where its count of changes starts. */
static inline fli_tagged fli_tagged_empty(uint64_t tag)
{
    return (fli_tagged)(tag << FLI_INDEX_BITS);
}

#endif
