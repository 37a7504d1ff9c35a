/* SPDX-License-Identifier: MIT
 *
 * Words that calculate and compare.
 */
#include "machine/arithmetic.h"
#include "machine/code.h"
#include "objects/string.h"

#include <math.h>

/* ---- What the loop calls */

object_t *add_reals(lane_t *lane, const object_t *a, const object_t *b)
{
    return real_new(lane, real_require(a) + real_require(b));
}

object_t *subtract_reals(lane_t *lane, const object_t *a, const object_t *b)
{
    return real_new(lane, real_require(a) - real_require(b));
}

object_t *multiply_reals(lane_t *lane, const object_t *a, const object_t *b)
{
    return real_new(lane, real_require(a) * real_require(b));
}

object_t *less(lane_t *lane, const object_t *a, const object_t *b)
{
    return integer_new(lane, is_less(a, b));
}

object_t *equal(lane_t *lane, const object_t *a, const object_t *b)
{
    return integer_new(lane, is_equal(a, b));
}

/* ---- Operations that are not in the loop */

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

static object_t *more(lane_t *lane, const object_t *a, const object_t *b)
{
    return integer_new(lane, number_compare(a, b) > 0);
}

/* ---- Words */

static object_t **word_divide(lane_t *lane, object_t **top)
{
    return binary(lane, top, divide);
}

static object_t **word_quotient(lane_t *lane, object_t **top)
{
    return binary(lane, top, quotient);
}

static object_t **word_remainder(lane_t *lane, object_t **top)
{
    return binary(lane, top, remainder_of);
}

static object_t **word_more(lane_t *lane, object_t **top)
{
    return binary(lane, top, more);
}

/* Replaces the object on top. */
static object_t **replace(lane_t *lane, object_t **top, object_t *result)
{
    object_t *before = top[-1];
    top[-1] = result;
    object_decref(lane, before);
    return top;
}

static object_t **word_not(lane_t *lane, object_t **top)
{
    return replace(lane, top, integer_new(lane, !object_is_true(top[-1])));
}

static object_t **word_sqrt(lane_t *lane, object_t **top)
{
    return replace(lane, top, real_new(lane, sqrt(real_require(top[-1]))));
}

static object_t *integer_text(lane_t *lane, int64_t value)
{
    char text[24], *const end = text + sizeof text, *start = end;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        *--start = (char)('0' + rest % 10);
    while ((rest /= 10) != 0);
    if (value < 0)
        *--start = '-';
    return string_new(lane, start, (size_t)(end - start));
}

static object_t *real_text(lane_t *lane, double value)
{
    char text[400];
    int length = snprintf(text, sizeof text, "%.9f", value);
    return string_new(lane, text, (size_t)length);
}

/* A number as a string; reals with nine places. */
static object_t **word_text(lane_t *lane, object_t **top)
{
    const object_t *number = top[-1];
    return replace(lane, top,
                   is_integer(number) ? integer_text(lane, integer_value(number))
                                      : real_text(lane, real_require(number)));
}

const struct word number_words[] = {
    {"+", {.operation = OP_ADD}},
    {"-", {.operation = OP_SUBTRACT}},
    {"<", {.operation = OP_LESS}},
    {"=", {.operation = OP_EQUAL}},
    {"*", {.operation = OP_MULTIPLY}},
    {"/", {.operation = OP_WORD, .word = word_divide}},
    {"//", {.operation = OP_WORD, .word = word_quotient}},
    {"%", {.operation = OP_WORD, .word = word_remainder}},
    {">", {.operation = OP_WORD, .word = word_more}},
    {"not", {.operation = OP_WORD, .word = word_not}},
    {"sqrt", {.operation = OP_WORD, .word = word_sqrt}},
    {"text", {.operation = OP_WORD, .word = word_text}},
    {.name = NULL},
};
