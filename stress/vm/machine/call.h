/* SPDX-License-Identifier: MIT
 *
 * How a call begins and returns, for the dispatch loop and the machine.
 */
#ifndef VM_CALL_H
#define VM_CALL_H

#include "machine/machine.h"

/* Drops what the stack has from a place on. */
static inline void machine_drop(struct machine *machine, object_t **down_to)
{
    object_t **top = machine->top;
    machine->top = down_to;
    while (top > down_to)
        if (*--top != NULL)
            object_decref(machine->lane, *top);
}

/* Begins a call of a function whose parameters, and what it captures, are on the stack. */
static inline void machine_enter(struct machine *machine, const struct function *function)
{
    object_t **top = machine->top, **variables = top - function->parameters - function->captures;
    if (variables + function->most >= machine->stack + STACK || machine->frame == machine->frames + FRAMES)
        fail("%s: the stack is full", function->name);
    *machine->frame++ = (struct frame){machine->at, machine->variables};
    while (top < variables + function->variables)
        *top++ = NULL;
    machine->top = top;
    machine->variables = variables;
    machine->at = function->code;
    if (--machine->fuel == 0)
        machine_safepoint(machine);
}

/* Ends the call. What is on top of the stack takes the place of its variables. */
static inline void machine_return(struct machine *machine)
{
    object_t *result = machine_pop(machine);
    machine_drop(machine, machine->variables);
    machine_push(machine, result);
    --machine->frame;
    machine->at = machine->frame->at;
    machine->variables = machine->frame->variables;
}

#endif
