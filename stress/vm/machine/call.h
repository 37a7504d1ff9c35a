/* SPDX-License-Identifier: MIT
 *
 * How a call begins and returns, for the dispatch loop and the machine.
 */
#ifndef VM_CALL_H
#define VM_CALL_H

#include "machine/machine.h"

/* Drops what the stack has from a place on. */
static inline void call_drop(lane_t *lane, object_t **top, object_t **down_to)
{
    while (top > down_to)
        if (*--top != NULL)
            object_decref(lane, *top);
}

/* Begins a call of a function whose parameters, and what it captures, are on top of the stack. The caller goes on `at`
 * when it returns. Gives the function its own variables, and returns the new top. */
static inline object_t **call_begin(struct machine *machine, const struct function *function, object_t **top,
                                    const struct instruction *at, object_t **variables)
{
    if (top + function->room >= machine->stack + STACK || machine->frame == machine->frames + FRAMES)
        fail("%s: the stack is full", function->name);
    *machine->frame++ = (struct frame){at, variables};
    for (unsigned i = function->arguments; i < function->variables; i++)
        *top++ = NULL;
    return top;
}

/* Ends it. What is on top takes the place of the variables. Returns the new top. */
static inline object_t **call_end(struct machine *machine, object_t **top, object_t **variables)
{
    object_t *result = *--top;
    call_drop(machine->lane, top, variables);
    *variables = result;
    --machine->frame;
    return variables + 1;
}

#endif
