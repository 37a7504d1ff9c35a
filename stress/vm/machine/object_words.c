/* SPDX-License-Identifier: MIT
 *
 * Words that make containers and work on them.
 */
#include "machine/machine.h"
#include "objects/dict.h"
#include "objects/handle.h"
#include "objects/list.h"
#include "objects/number.h"
#include "objects/string.h"
#include "objects/tuple.h"

static void drop(struct machine *machine, size_t count)
{
    while (count-- > 0)
        object_decref(machine->lane, machine_pop(machine));
}

/* Replaces the objects on top by one; NULL becomes none. */
static void replace(struct machine *machine, size_t count, object_t *result)
{
    if (result == NULL)
        object_incref(machine->lane, result = &none);
    drop(machine, count);
    machine_push(machine, result);
}

/* ---- Tuples and lists */

/* items.. count -- tuple */
static void word_tuple(struct machine *machine)
{
    int64_t count = integer_require(machine->top[-1]);
    drop(machine, 1);
    if (count < 0 || count > machine->top - machine->variables)
        fail("a tuple of %lld", (long long)count);
    machine->top -= count;
    machine_push(machine, tuple_new(machine->lane, machine->top, (size_t)count));
}

/* first second -- tuple */
static void word_pair(struct machine *machine)
{
    machine->top -= 2;
    machine_push(machine, tuple_new(machine->lane, machine->top, 2));
}

/* -- list */
static void word_list(struct machine *machine)
{
    machine_push(machine, list_new(machine->lane));
}

/* list item -- */
static void word_append(struct machine *machine)
{
    object_t *item = machine_pop(machine);
    list_append(machine->lane, machine->top[-1], item);
    drop(machine, 1);
}

/* list -- item-or-none */
static void word_pop(struct machine *machine)
{
    replace(machine, 1, list_pop(machine->lane, machine->top[-1]));
}

/* sequence index -- item; none if a list has none there */
static void word_get(struct machine *machine)
{
    object_t *sequence = machine->top[-2];
    int64_t index = integer_require(machine->top[-1]);
    bool is_tuple = shape_of(sequence) == SHAPE_TUPLE;
    replace(machine, 2,
            is_tuple ? tuple_get(machine->lane, sequence, index) : list_get(machine->lane, sequence, index));
}

/* list index item -- */
static void word_set(struct machine *machine)
{
    object_t *item = machine_pop(machine);
    list_set(machine->lane, machine->top[-2], integer_require(machine->top[-1]), item);
    drop(machine, 2);
}

/* list-or-dict -- integer */
static void word_length(struct machine *machine)
{
    object_t *self = machine->top[-1];
    uint32_t length = shape_of(self) == SHAPE_DICT ? dict_length(self) : list_length(self);
    replace(machine, 1, integer_new(machine->lane, length));
}

/* ---- Dictionaries */

/* -- dict */
static void word_dict(struct machine *machine)
{
    machine_push(machine, dict_new(machine->lane));
}

/* dict key value -- */
static void word_put(struct machine *machine)
{
    object_t *value = machine_pop(machine), *key = machine_pop(machine);
    dict_put(machine->lane, machine->top[-1], key, value);
    drop(machine, 1);
}

/* dict key -- value-or-none */
static void word_find(struct machine *machine)
{
    replace(machine, 2, dict_find(machine->lane, machine->top[-2], machine->top[-1]));
}

/* dict key amount -- */
static void word_tally(struct machine *machine)
{
    dict_tally(machine->lane, machine->top[-3], machine->top[-2], integer_require(machine->top[-1]));
    drop(machine, 3);
}

/* ---- Strings */

/* string string -- string */
static void word_concat(struct machine *machine)
{
    replace(machine, 2, string_concat(machine->lane, machine->top[-2], machine->top[-1]));
}

/* list -- string */
static void word_join(struct machine *machine)
{
    replace(machine, 1, list_join(machine->lane, machine->top[-1]));
}

/* string -- integer, below 2 to the power of 32 */
static void word_hash(struct machine *machine)
{
    replace(machine, 1, integer_new(machine->lane, (int64_t)(object_hash(machine->top[-1]) & UINT32_MAX)));
}

/* ---- Handles */

/* value closure -- handle */
static void word_handle(struct machine *machine)
{
    object_t *finalizer = machine_pop(machine), *value = machine_pop(machine);
    machine_push(machine, handle_new(machine->lane, value, finalizer));
}

/* handle -- value */
static void word_inside(struct machine *machine)
{
    replace(machine, 1, handle_value(machine->lane, machine->top[-1]));
}

const struct word object_words[] = {
    {"tuple", word_tuple},   {"pair", word_pair}, {"list", word_list}, {"append", word_append},
    {"pop", word_pop},       {"get", word_get},   {"set", word_set},   {"length", word_length},
    {"dict", word_dict},     {"put", word_put},   {"find", word_find}, {"tally", word_tally},
    {"concat", word_concat}, {"join", word_join}, {"hash", word_hash}, {"handle", word_handle},
    {"inside", word_inside}, {NULL, NULL},
};
