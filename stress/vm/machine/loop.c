/* SPDX-License-Identifier: MIT
 *
 * The dispatch loop. It keeps the next instruction, the top of the stack and the variables in variables of its own, and
 * saves them for instructions that get the machine.
 */
#include "machine/arithmetic.h"
#include "machine/call.h"
#include "machine/machine.h"
#include "objects/list.h"
#include "objects/tuple.h"

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

/* An item of a tuple or a list; none if a list has none there. */
static inline object_t *get(lane_t *lane, const object_t *sequence, const object_t *index)
{
    int64_t at = integer_require(index);
    if (shape_of(sequence) == SHAPE_TUPLE)
        return tuple_get(lane, sequence, at);
    object_t *item = list_get(lane, (object_t *)sequence, at);
    if (item == NULL)
        object_incref(lane, item = &none);
    return item;
}

/* Goes to the next instruction. It stands at the end of each, so the processor predicts it by what came before. */
#define NEXT   goto *labels[(now = at++)->operation]
#define SAVE() (machine->at = at, machine->top = top)
#define LOAD() (at = machine->at, top = machine->top, variables = machine->variables)

void machine_run(struct machine *machine, const struct frame *bottom)
{
    static void *const labels[] = {&&constant, &&variable, &&set_variable, &&jump, &&jump_back, &&jump_if_false,
                                   &&call,     &&return_,  &&get,          &&add,  &&subtract,  &&multiply,
                                   &&less,     &&equal,    &&word,         &&run};
    lane_t *const lane = machine->lane;
    const struct instruction *at, *now;
    object_t **top, **variables;
    LOAD();
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
jump_back:
    at += now->operand;
    if (--machine->fuel == 0) {
        SAVE();
        machine_safepoint(machine); /* and all is again as it was */
    }
    NEXT;
jump_if_false:
    at += jump_if_false(lane, *--top, now->operand);
    NEXT;
call:
    SAVE();
    machine_enter(machine, (const struct function *)now->operand);
    LOAD();
    NEXT;
return_:
    machine->top = top;
    machine_return(machine);
    if (machine->frame == bottom)
        return;
    LOAD();
    NEXT;
get:
    top = binary(lane, top, get);
    NEXT;
add:
    top = binary(lane, top, add);
    NEXT;
subtract:
    top = binary(lane, top, subtract);
    NEXT;
multiply:
    top = binary(lane, top, multiply);
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
    SAVE();
    now->run(machine);
    LOAD();
    NEXT;
}
