/* SPDX-License-Identifier: MIT
 *
 * The dispatch loop. It keeps the next instruction and the top of the stack in variables of its own, and writes them
 * back for instructions that get the machine.
 */
#include "machine/arithmetic.h"
#include "machine/machine.h"

static inline object_t **push(lane_t *lane, object_t **top, object_t *value)
{
    object_incref(lane, value);
    *top = value;
    return top + 1;
}

static inline object_t **push_variable(lane_t *lane, object_t **top, object_t *value)
{
    if (value == NULL)
        fail("a variable is read before it is set");
    return push(lane, top, value);
}

static inline object_t **set_variable(lane_t *lane, object_t **top, object_t **variable)
{
    object_t *before = *variable;
    *variable = top[-1];
    if (before != NULL)
        object_decref(lane, before);
    return top - 1;
}

/* How far to jump if what is on top is false. */
static inline intptr_t jump_if_false(lane_t *lane, object_t *condition, intptr_t distance)
{
    bool is_true = object_is_true(condition);
    object_decref(lane, condition);
    return is_true ? 0 : distance;
}

/* Goes to the next instruction. It stands at the end of each, so the processor predicts it by what came before. */
#define NEXT goto *labels[(now = at++)->operation]

void machine_run(struct machine *machine, const struct frame *bottom)
{
    static void *const labels[] = {&&constant, &&variable, &&set_variable, &&jump, &&jump_if_false, &&add, &&subtract,
                                   &&less,     &&equal,    &&word,         &&run};
    lane_t *const lane = machine->lane;
    const struct instruction *at = machine->at, *now;
    object_t **top = machine->top, **variables = machine->variables;
    NEXT;
constant:
    top = push(lane, top, (object_t *)now->operand);
    NEXT;
variable:
    top = push_variable(lane, top, variables[now->operand]);
    NEXT;
set_variable:
    top = set_variable(lane, top, &variables[now->operand]);
    NEXT;
jump:
    at += now->operand;
    NEXT;
jump_if_false:
    at += jump_if_false(lane, *--top, now->operand);
    NEXT;
add:
    top = binary(lane, top, add);
    NEXT;
subtract:
    top = binary(lane, top, subtract);
    NEXT;
less:
    top = binary(lane, top, less);
    NEXT;
equal:
    top = binary(lane, top, equal);
    NEXT;
word:
    top = now->word(lane, top);
    NEXT;
run:
    machine->at = at;
    machine->top = top;
    now->run(machine);
    if (machine->frame == bottom)
        return;
    at = machine->at;
    top = machine->top;
    variables = machine->variables;
    NEXT;
}
