/* SPDX-License-Identifier: MIT
 *
 * Stacks that a program switches by itself, where the C library can: musl cannot.
 */
#ifndef TESTS_FIBER_H
#define TESTS_FIBER_H

#include <stdbool.h>
#include <stddef.h>
#include <ucontext.h>

extern __typeof__(getcontext) getcontext __attribute__((weak));
extern __typeof__(makecontext) makecontext __attribute__((weak));
extern __typeof__(swapcontext) swapcontext __attribute__((weak));

static inline bool stacks_can_be_switched(void)
{
    return getcontext != NULL && makecontext != NULL && swapcontext != NULL;
}

#endif
