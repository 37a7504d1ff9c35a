/* SPDX-License-Identifier: MIT
 *
 * The lock of a container: one byte. No reference is dropped while it is held, because that may run other code.
 */
#ifndef VM_LOCK_H
#define VM_LOCK_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { LOCK_LOOKS = 100 };

struct lock {
    atomic_bool taken;
};

/* Returns when the lock has been free. It is held for some hundred instructions, so this looks for a while before it
 * lets other threads run. Relaxed: lock_take orders. */
__attribute__((noinline, unused)) static void lock_wait(struct lock *lock)
{
    for (unsigned looks = 0; atomic_load_explicit(&lock->taken, memory_order_relaxed); looks++)
        if (looks >= LOCK_LOOKS)
            sched_yield();
}

static inline void lock_take(struct lock *lock)
{
    while (atomic_exchange_explicit(&lock->taken, true, memory_order_acquire))
        lock_wait(lock);
}

static inline void lock_release(struct lock *lock)
{
    atomic_store_explicit(&lock->taken, false, memory_order_release);
}

#endif
