/* SPDX-License-Identifier: MIT
 *
 * The lock of a container: one byte. No reference is dropped while it is held, because that may run other code.
 */
#ifndef VM_LOCK_H
#define VM_LOCK_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

struct lock {
    atomic_bool taken;
};

static inline void lock_take(struct lock *lock)
{
    while (atomic_exchange_explicit(&lock->taken, true, memory_order_acquire))
        sched_yield();
}

static inline void lock_release(struct lock *lock)
{
    atomic_store_explicit(&lock->taken, false, memory_order_release);
}

#endif
