/* SPDX-License-Identifier: MIT
 *
 * Words that make containers and work on them.
 */
#include "machine/code.h"
#include "objects/dict.h"
#include "objects/handle.h"
#include "objects/list.h"
#include "objects/number.h"
#include "objects/string.h"
#include "objects/tuple.h"

static inline object_t **drop(lane_t *lane, object_t **top, size_t count)
{
    while (count-- > 0)
        object_decref(lane, *--top);
    return top;
}

static inline object_t **push(object_t **top, object_t *value)
{
    *top = value;
    return top + 1;
}

/* Replaces the objects on top by one; NULL becomes none. */
static inline object_t **replace(lane_t *lane, object_t **top, size_t count, object_t *result)
{
    if (result == NULL)
        object_incref(lane, result = &none);
    return push(drop(lane, top, count), result);
}

/* object -- object object */
static object_t **word_dup(lane_t *lane, object_t **top)
{
    object_incref(lane, top[-1]);
    return push(top, top[-1]);
}

/* object -- */
static object_t **word_drop(lane_t *lane, object_t **top)
{
    return drop(lane, top, 1);
}

/* ---- Tuples and lists */

/* items.. count -- tuple */
static object_t **word_tuple(lane_t *lane, object_t **top)
{
    int64_t count = integer_require(top[-1]);
    if (count < 0 || count > 255)
        fail("a tuple of %lld", (long long)count);
    top = drop(lane, top, 1) - count;
    return push(top, tuple_new(lane, top, (size_t)count));
}

/* first second -- tuple */
static object_t **word_pair(lane_t *lane, object_t **top)
{
    return push(top - 2, tuple_pair(lane, top[-2], top[-1]));
}

/* -- list */
static object_t **word_list(lane_t *lane, object_t **top)
{
    return push(top, list_new(lane));
}

/* list item -- */
static object_t **word_append(lane_t *lane, object_t **top)
{
    list_append(lane, top[-2], top[-1]);
    return drop(lane, top - 1, 1);
}

/* list -- item-or-none */
static object_t **word_pop(lane_t *lane, object_t **top)
{
    return replace(lane, top, 1, list_pop(lane, top[-1]));
}

/* list index item -- */
static object_t **word_set(lane_t *lane, object_t **top)
{
    list_set(lane, top[-3], integer_require(top[-2]), top[-1]);
    return drop(lane, top - 1, 2);
}

/* list-or-dict -- integer */
static object_t **word_length(lane_t *lane, object_t **top)
{
    object_t *self = top[-1];
    uint32_t length = shape_of(self) == SHAPE_DICT ? dict_length(self) : list_length(self);
    return replace(lane, top, 1, integer_new(lane, length));
}

/* ---- Dictionaries */

/* -- dict */
static object_t **word_dict(lane_t *lane, object_t **top)
{
    return push(top, dict_new(lane));
}

/* dict key value -- */
static object_t **word_put(lane_t *lane, object_t **top)
{
    dict_put(lane, top[-3], top[-2], top[-1]);
    return drop(lane, top - 2, 1);
}

/* dict key -- value-or-none */
static object_t **word_find(lane_t *lane, object_t **top)
{
    return replace(lane, top, 2, dict_find(lane, top[-2], top[-1]));
}

/* dict key amount -- */
static object_t **word_tally(lane_t *lane, object_t **top)
{
    dict_tally(lane, top[-3], top[-2], integer_require(top[-1]));
    return drop(lane, top, 3);
}

/* ---- Strings */

/* string string -- string */
static object_t **word_concat(lane_t *lane, object_t **top)
{
    return replace(lane, top, 2, string_concat(lane, top[-2], top[-1]));
}

/* list -- string */
static object_t **word_join(lane_t *lane, object_t **top)
{
    return replace(lane, top, 1, list_join(lane, top[-1]));
}

/* string -- integer, below 2 to the power of 32 */
static object_t **word_hash(lane_t *lane, object_t **top)
{
    return replace(lane, top, 1, integer_new(lane, (int64_t)(object_hash(top[-1]) & UINT32_MAX)));
}

/* ---- Handles */

/* value closure -- handle */
static object_t **word_handle(lane_t *lane, object_t **top)
{
    return push(top - 2, handle_new(lane, top[-2], top[-1]));
}

/* handle -- value */
static object_t **word_inside(lane_t *lane, object_t **top)
{
    return replace(lane, top, 1, handle_value(lane, top[-1]));
}

const struct word object_words[] = {
    {"dup", {.operation = OP_WORD, .word = word_dup}},
    {"drop", {.operation = OP_WORD, .word = word_drop}},
    {"none", {.operation = OP_CONSTANT, .operand = (intptr_t)&none}},
    {"tuple", {.operation = OP_WORD, .word = word_tuple}},
    {"pair", {.operation = OP_WORD, .word = word_pair}},
    {"list", {.operation = OP_WORD, .word = word_list}},
    {"append", {.operation = OP_WORD, .word = word_append}},
    {"pop", {.operation = OP_WORD, .word = word_pop}},
    {"get", {.operation = OP_GET}},
    {"set", {.operation = OP_WORD, .word = word_set}},
    {"length", {.operation = OP_WORD, .word = word_length}},
    {"dict", {.operation = OP_WORD, .word = word_dict}},
    {"put", {.operation = OP_WORD, .word = word_put}},
    {"find", {.operation = OP_WORD, .word = word_find}},
    {"tally", {.operation = OP_WORD, .word = word_tally}},
    {"concat", {.operation = OP_WORD, .word = word_concat}},
    {"join", {.operation = OP_WORD, .word = word_join}},
    {"hash", {.operation = OP_WORD, .word = word_hash}},
    {"handle", {.operation = OP_WORD, .word = word_handle}},
    {"inside", {.operation = OP_WORD, .word = word_inside}},
    {.name = NULL},
};
