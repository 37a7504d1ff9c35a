/* SPDX-License-Identifier: MIT
 *
 * Words that calculate and compare. An operation of two integers gives an integer, apart from `/`; else a real.
 */
#include "machine/machine.h"
#include "objects/number.h"
#include "objects/string.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

typedef object_t *(*operation)(lane_t *lane, const object_t *a, const object_t *b);

/* Replaces the two objects on top by one. */
static inline void binary(struct machine *machine, operation operate)
{
    object_t *b = machine->top[-1], *a = machine->top[-2];
    object_t *result = operate(machine->lane, a, b);
    machine->top[-2] = result;
    machine->top--;
    object_decref(machine->lane, a);
    object_decref(machine->lane, b);
}

/* ---- Arithmetic. Integers wrap. */

static object_t *add(lane_t *lane, const object_t *a, const object_t *b)
{
    if (is_integer(a) && is_integer(b))
        return integer_new(lane, (int64_t)((uint64_t)integer_value(a) + (uint64_t)integer_value(b)));
    return real_new(lane, real_require(a) + real_require(b));
}

static object_t *subtract(lane_t *lane, const object_t *a, const object_t *b)
{
    if (is_integer(a) && is_integer(b))
        return integer_new(lane, (int64_t)((uint64_t)integer_value(a) - (uint64_t)integer_value(b)));
    return real_new(lane, real_require(a) - real_require(b));
}

static object_t *multiply(lane_t *lane, const object_t *a, const object_t *b)
{
    if (is_integer(a) && is_integer(b))
        return integer_new(lane, (int64_t)((uint64_t)integer_value(a) * (uint64_t)integer_value(b)));
    return real_new(lane, real_require(a) * real_require(b));
}

static object_t *divide(lane_t *lane, const object_t *a, const object_t *b)
{
    return real_new(lane, real_require(a) / real_require(b));
}

static int64_t divisor(const object_t *b)
{
    int64_t value = integer_require(b);
    if (value <= 0)
        fail("a divisor of integers is %lld", (long long)value);
    return value;
}

static object_t *quotient(lane_t *lane, const object_t *a, const object_t *b)
{
    return integer_new(lane, integer_require(a) / divisor(b));
}

static object_t *remainder_of(lane_t *lane, const object_t *a, const object_t *b)
{
    return integer_new(lane, integer_require(a) % divisor(b));
}

/* ---- Comparisons */

static object_t *less(lane_t *lane, const object_t *a, const object_t *b)
{
    return integer_new(lane, number_compare(a, b) < 0);
}

static object_t *more(lane_t *lane, const object_t *a, const object_t *b)
{
    return integer_new(lane, number_compare(a, b) > 0);
}

static object_t *equal(lane_t *lane, const object_t *a, const object_t *b)
{
    return integer_new(lane, object_equal(a, b));
}

/* ---- Words */

static void word_add(struct machine *machine)
{
    binary(machine, add);
}

static void word_subtract(struct machine *machine)
{
    binary(machine, subtract);
}

static void word_multiply(struct machine *machine)
{
    binary(machine, multiply);
}

static void word_divide(struct machine *machine)
{
    binary(machine, divide);
}

static void word_quotient(struct machine *machine)
{
    binary(machine, quotient);
}

static void word_remainder(struct machine *machine)
{
    binary(machine, remainder_of);
}

static void word_less(struct machine *machine)
{
    binary(machine, less);
}

static void word_more(struct machine *machine)
{
    binary(machine, more);
}

static void word_equal(struct machine *machine)
{
    binary(machine, equal);
}

/* Replaces the object on top. */
static void replace(struct machine *machine, object_t *result)
{
    object_t *before = machine->top[-1];
    machine->top[-1] = result;
    object_decref(machine->lane, before);
}

static void word_not(struct machine *machine)
{
    replace(machine, integer_new(machine->lane, !object_is_true(machine->top[-1])));
}

static void word_sqrt(struct machine *machine)
{
    replace(machine, real_new(machine->lane, sqrt(real_require(machine->top[-1]))));
}

/* A number as a string; reals with nine places. */
static void word_text(struct machine *machine)
{
    char text[64];
    const object_t *number = machine->top[-1];
    if (is_integer(number))
        snprintf(text, sizeof text, "%" PRId64, integer_value(number));
    else
        snprintf(text, sizeof text, "%.9f", real_require(number));
    replace(machine, string_new(machine->lane, text, strlen(text)));
}

const struct word number_words[] = {
    {"+", word_add},       {"-", word_subtract}, {"*", word_multiply}, {"/", word_divide}, {"//", word_quotient},
    {"%", word_remainder}, {"<", word_less},     {">", word_more},     {"=", word_equal},  {"not", word_not},
    {"sqrt", word_sqrt},   {"text", word_text},  {NULL, NULL},
};
