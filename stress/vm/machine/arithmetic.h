/* SPDX-License-Identifier: MIT
 *
 * Words of two operands, and those of them that the dispatch loop runs itself. An operation of two integers gives an
 * integer; else a real. Integers wrap.
 */
#ifndef VM_ARITHMETIC_H
#define VM_ARITHMETIC_H

#include "objects/number.h"

typedef object_t *operation_function(lane_t *lane, const object_t *a, const object_t *b);

/* Replaces the two objects on top by one. */
__attribute__((always_inline)) static inline object_t **binary(lane_t *lane, object_t **top,
                                                               operation_function *operate)
{
    object_t *b = top[-1], *a = top[-2];
    top[-2] = operate(lane, a, b);
    object_decref(lane, a);
    object_decref(lane, b);
    return top - 1;
}

static inline object_t *add(lane_t *lane, const object_t *a, const object_t *b)
{
    if (is_integer(a) && is_integer(b))
        return integer_new(lane, (int64_t)((uint64_t)integer_value(a) + (uint64_t)integer_value(b)));
    return real_new(lane, real_require(a) + real_require(b));
}

static inline object_t *subtract(lane_t *lane, const object_t *a, const object_t *b)
{
    if (is_integer(a) && is_integer(b))
        return integer_new(lane, (int64_t)((uint64_t)integer_value(a) - (uint64_t)integer_value(b)));
    return real_new(lane, real_require(a) - real_require(b));
}

static inline object_t *multiply(lane_t *lane, const object_t *a, const object_t *b)
{
    if (is_integer(a) && is_integer(b))
        return integer_new(lane, (int64_t)((uint64_t)integer_value(a) * (uint64_t)integer_value(b)));
    return real_new(lane, real_require(a) * real_require(b));
}

static inline object_t *less(lane_t *lane, const object_t *a, const object_t *b)
{
    if (is_integer(a) && is_integer(b))
        return integer_new(lane, integer_value(a) < integer_value(b));
    return integer_new(lane, number_compare(a, b) < 0);
}

static inline object_t *equal(lane_t *lane, const object_t *a, const object_t *b)
{
    if (is_integer(a) && is_integer(b))
        return integer_new(lane, integer_value(a) == integer_value(b));
    return integer_new(lane, a == b || object_equal(a, b));
}

#endif
