/* SPDX-License-Identifier: MIT
 *
 * Atomics are relaxed: a thread finds only its own address, which it wrote itself, and the words of its own seat.
 */
#include <freelane/python.h>

#if !FL_PY_FALLBACK

#include "python/seat.h"

#include "heap/registry.h"

struct fl_py_seat fl_py_seats[FL_PY_SEAT_COUNT];

static bool is_seat(const struct fl_py_current *current)
{
    return (uintptr_t)current - (uintptr_t)fl_py_seats < sizeof fl_py_seats;
}

struct fl_py_current *fli_py_seat_take_locked(void)
{
    struct fl_py_seat *seat = fl_py_seat_of(fl_py_thread_id());
    fli_registry_assert_held();
    if (!FL_PY_SEATS || __atomic_load_n(&seat->owner, __ATOMIC_RELAXED) != 0)
        return &fl_py_current;
    __atomic_store_n(&seat->owner, fl_py_thread_id(), __ATOMIC_RELAXED);
    return &seat->current;
}

void fli_py_seat_leave(struct fl_py_current *current)
{
    if (!is_seat(current))
        return;
    struct fl_py_seat *seat = (struct fl_py_seat *)(void *)((char *)current - offsetof(struct fl_py_seat, current));
    __atomic_store_n(&seat->owner, 0, __ATOMIC_RELAXED);
}

#endif
