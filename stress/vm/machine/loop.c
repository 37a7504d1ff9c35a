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

/* How far to jump if what was on top is false. */
static inline int32_t jump_if_false(lane_t *lane, object_t *condition, const struct instruction *now)
{
    bool is_true = object_is_true(condition);
    object_decref(lane, condition);
    return is_true ? 0 : now->distance;
}

/* An item of a list; none if it has none there. */
__attribute__((noinline)) static object_t *get_of_list(lane_t *lane, const object_t *list, int64_t index)
{
    object_t *item = list_get(lane, (object_t *)list, index);
    if (item == NULL)
        object_incref(lane, item = &none);
    return item;
}

static inline object_t *get(lane_t *lane, const object_t *sequence, const object_t *index)
{
    int64_t at = integer_require(index);
    return shape_of(sequence) == SHAPE_TUPLE ? tuple_get(lane, sequence, at) : get_of_list(lane, sequence, at);
}

/* Goes to the next instruction, which is at[-1] then. It stands at the end of each, so the processor predicts it by
 * what came before. */
#define NEXT   goto *labels[at++->operation]
#define SAVE() (machine->at = at, machine->top = top, machine->variables = variables)
#define LOAD() (at = machine->at, top = machine->top, variables = machine->variables)

/* Spends fuel. At a safepoint others see the machine, and all is again as it was after it. */
#define SPEND()                                                                                                      \
    do {                                                                                                             \
        if (--machine->fuel == 0) {                                                                                  \
            SAVE();                                                                                                  \
            machine_safepoint(machine);                                                                              \
        }                                                                                                            \
    } while (0)

void machine_run(struct machine *machine, const struct frame *bottom)
{
    static void *const labels[] = {
        &&constant, &&variable, &&set_variable, &&jump, &&jump_back, &&jump_if_false, &&call, &&return_,
        /* Two operands */
        &&get, &&add, &&subtract, &&multiply, &&less, &&equal,
        /* One, and a constant */
        &&get_constant, &&add_constant, &&subtract_constant, &&multiply_constant, &&less_constant, &&equal_constant,
        /* Jumps */
        &&unless_less, &&unless_equal, &&unless_less_constant, &&unless_equal_constant, &&word, &&run};
    lane_t *const lane = machine->lane;
    const struct instruction *at;
    const struct function *function;
    object_t **top, **variables;
    LOAD();
    NEXT;
constant:
    top = push(lane, top, (object_t *)at[-1].operand);
    NEXT;
variable:
    top = push_variable(lane, top, variables[at[-1].operand]);
    NEXT;
set_variable:
    top = set_variable(lane, top, &variables[at[-1].operand]);
    NEXT;
jump:
    at += at[-1].distance;
    NEXT;
jump_back:
    at += at[-1].distance;
    SPEND();
    NEXT;
jump_if_false:
    at += jump_if_false(lane, *--top, &at[-1]);
    NEXT;
call:
    function = (const struct function *)at[-1].operand;
    object_t **const arguments = top - function->arguments;
    top = call_begin(machine, function, top, at, variables);
    variables = arguments;
    at = function->code;
    SPEND();
    NEXT;
return_:
    top = call_end(machine, top, variables);
    at = machine->frame->at;
    variables = machine->frame->variables;
    if (machine->frame == bottom) {
        SAVE();
        return;
    }
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
get_constant:
    top = binary_constant(lane, top, get, &at[-1]);
    NEXT;
add_constant:
    top = binary_constant(lane, top, add, &at[-1]);
    NEXT;
subtract_constant:
    top = binary_constant(lane, top, subtract, &at[-1]);
    NEXT;
multiply_constant:
    top = binary_constant(lane, top, multiply, &at[-1]);
    NEXT;
less_constant:
    top = binary_constant(lane, top, less, &at[-1]);
    NEXT;
equal_constant:
    top = binary_constant(lane, top, equal, &at[-1]);
    NEXT;
unless_less:
    at += unless(lane, top, is_less, &at[-1]);
    top -= 2;
    NEXT;
unless_equal:
    at += unless(lane, top, is_equal, &at[-1]);
    top -= 2;
    NEXT;
unless_less_constant:
    at += unless_constant(lane, top, is_less, &at[-1]);
    top -= 1;
    NEXT;
unless_equal_constant:
    at += unless_constant(lane, top, is_equal, &at[-1]);
    top -= 1;
    NEXT;
word:
    top = at[-1].word(lane, top);
    NEXT;
run:
    SAVE();
    at[-1].run(machine);
    LOAD();
    NEXT;
}
