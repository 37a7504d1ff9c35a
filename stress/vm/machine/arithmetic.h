/* SPDX-License-Identifier: MIT
 *
 * Words of two operands, and those of them that the dispatch loop runs itself. An operation of two integers gives an
 * integer; else a real. Integers wrap.
 */
#ifndef VM_ARITHMETIC_H
#define VM_ARITHMETIC_H

#include "machine/code.h"
#include "objects/number.h"

typedef object_t *operation_function(lane_t *lane, const object_t *a, const object_t *b);

typedef bool comparison_function(const object_t *a, const object_t *b);

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

/* The same of the object on top and a constant, of which no reference is taken. */
__attribute__((always_inline)) static inline object_t **
binary_constant(lane_t *lane, object_t **top, operation_function *operate, const struct instruction *now)
{
    object_t *a = top[-1];
    top[-1] = operate(lane, a, (const object_t *)now->operand);
    object_decref(lane, a);
    return top;
}

/* Takes the two objects on top, or the one and a constant. Returns how far to jump. */
__attribute__((always_inline)) static inline int32_t
unless(lane_t *lane, object_t **top, comparison_function *compare, const struct instruction *now)
{
    object_t *b = top[-1], *a = top[-2];
    bool is_so = compare(a, b);
    object_decref(lane, a);
    object_decref(lane, b);
    return is_so ? 0 : now->distance;
}

__attribute__((always_inline)) static inline int32_t
unless_constant(lane_t *lane, object_t **top, comparison_function *compare, const struct instruction *now)
{
    object_t *a = top[-1];
    bool is_so = compare(a, (const object_t *)now->operand);
    object_decref(lane, a);
    return is_so ? 0 : now->distance;
}

/* What does the same with two reals, or an integer and a real (number_words.c). */
operation_function add_reals, subtract_reals, multiply_reals;

static inline object_t *add(lane_t *lane, const object_t *a, const object_t *b)
{
    if (is_integer(a) && is_integer(b))
        return integer_new(lane, (int64_t)((uint64_t)integer_value(a) + (uint64_t)integer_value(b)));
    return add_reals(lane, a, b);
}

static inline object_t *subtract(lane_t *lane, const object_t *a, const object_t *b)
{
    if (is_integer(a) && is_integer(b))
        return integer_new(lane, (int64_t)((uint64_t)integer_value(a) - (uint64_t)integer_value(b)));
    return subtract_reals(lane, a, b);
}

static inline object_t *multiply(lane_t *lane, const object_t *a, const object_t *b)
{
    if (is_integer(a) && is_integer(b))
        return integer_new(lane, (int64_t)((uint64_t)integer_value(a) * (uint64_t)integer_value(b)));
    return multiply_reals(lane, a, b);
}

static inline bool is_less(const object_t *a, const object_t *b)
{
    if (is_integer(a) && is_integer(b))
        return integer_value(a) < integer_value(b);
    return number_compare(a, b) < 0;
}

static inline bool is_equal(const object_t *a, const object_t *b)
{
    if (is_integer(a) && is_integer(b))
        return integer_value(a) == integer_value(b);
    return a == b || (b != &none && object_equal(a, b));
}

/* As integers (number_words.c). */
operation_function less, equal;

#endif
