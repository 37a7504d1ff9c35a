/* SPDX-License-Identifier: MIT
 *
 * For the preset tsan, which includes this file at the start of each C file: the atomic operations that the library
 * uses, with orders that weaken.h may weaken. clang compiles an order that is known at run time as a choice between
 * the operations that ThreadSanitizer knows.
 */
#ifndef WEAKEN_ATOMIC_H
#define WEAKEN_ATOMIC_H

#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1 /* this file comes before those that ask for it */
#endif

#include "weaken.h"

#include <stdatomic.h>

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit

#define atomic_load_explicit(p, order)         __c11_atomic_load((p), WEAKEN(order, 0))
#define atomic_store_explicit(p, v, order)     __c11_atomic_store((p), (v), WEAKEN(order, 0))
#define atomic_exchange_explicit(p, v, order)  __c11_atomic_exchange((p), (v), WEAKEN(order, 0))
#define atomic_fetch_add_explicit(p, v, order) __c11_atomic_fetch_add((p), (v), WEAKEN(order, 0))
#define atomic_fetch_sub_explicit(p, v, order) __c11_atomic_fetch_sub((p), (v), WEAKEN(order, 0))
#define atomic_fetch_or_explicit(p, v, order)  __c11_atomic_fetch_or((p), (v), WEAKEN(order, 0))
#define atomic_fetch_and_explicit(p, v, order) __c11_atomic_fetch_and((p), (v), WEAKEN(order, 0))
#define atomic_compare_exchange_strong_explicit(p, old, new, yes, no)                                                \
    __c11_atomic_compare_exchange_strong((p), (old), (new), WEAKEN(yes, 0), WEAKEN(no, 1))
#define atomic_compare_exchange_weak_explicit(p, old, new, yes, no)                                                  \
    __c11_atomic_compare_exchange_weak((p), (old), (new), WEAKEN(yes, 0), WEAKEN(no, 1))

/* The names of the compiler's own, which a macro may use in its body. */
#define __atomic_load_n(p, order)       __atomic_load_n((p), WEAKEN(order, 0))
#define __atomic_store_n(p, v, order)   __atomic_store_n((p), (v), WEAKEN(order, 0))
#define __atomic_fetch_add(p, v, order) __atomic_fetch_add((p), (v), WEAKEN(order, 0))
#define __atomic_fetch_or(p, v, order)  __atomic_fetch_or((p), (v), WEAKEN(order, 0))
#define __atomic_compare_exchange_n(p, old, new, weak, yes, no)                                                      \
    __atomic_compare_exchange_n((p), (old), (new), (weak), WEAKEN(yes, 0), WEAKEN(no, 1))

#endif
