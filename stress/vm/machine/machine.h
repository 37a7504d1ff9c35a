/* SPDX-License-Identifier: MIT
 *
 * A machine runs code on one thread.
 *
 *     stack   | ... | parameters, captured, own variables | operands ...        |
 *                   ^ variables                                     top ^
 *
 * All references that a thread has lie on its stack, or in the list of handles to be finalized, whenever it is at a
 * safepoint. So the collector finds its roots there. A safepoint is at each jump back, at each call, and around what
 * blocks; of the first two only each FUEL-th.
 */
#ifndef VM_MACHINE_H
#define VM_MACHINE_H

#include "machine/code.h"
#include "objects/object.h"

#include <stdbool.h>

enum { FUEL = 256, STACK = 1 << 16, FRAMES = 1 << 12 };

/* Where a call returns to. */
struct frame {
    const struct instruction *at;
    object_t **variables;
};

struct world;
struct handle;

struct machine {
    lane_t *lane;                 /* NULL before the thread has entered the world */
    const struct instruction *at; /* the next instruction */
    object_t **variables;         /* of the function that runs */
    object_t **top;               /* the first free place of the stack */
    struct frame *frame;          /* the first free one */
    unsigned fuel;                /* jumps and calls until the next safepoint */
    bool is_finalizing;
    struct handle *finalizable; /* handles whose closures are to be called */
    struct world *world;
    struct machine *next, **link; /* in the world's list */
    object_t *stack[STACK];
    struct frame frames[FRAMES];
};

/* ---- Life */

/* A machine with an empty stack, for a thread that comes. The world's collector knows it. */
struct machine *machine_new(struct world *world);

/* Drops what is on the stack, and calls the closures of all handles that die by it. */
void machine_finish(struct machine *machine);

/* The same, and ends the machine. */
void machine_close(struct machine *machine);

/* ---- Running */

/* Calls the closure on top of the stack with the arguments below it. What it returns replaces all of them. */
void machine_call(struct machine *machine, size_t arguments);

/* Runs until a frame is the first free one, as it was before a call (loop.c). */
void machine_run(struct machine *machine, const struct frame *bottom);

/* Lets others go on: the collector, and objects that wait to die. */
void machine_safepoint(struct machine *machine);

/* Ends all dead objects that wait. Handles get into the list of those to be finalized. */
void machine_drain(struct machine *machine);

/* Takes over a reference to a handle, whose closure is called at the next safepoint. */
void machine_finalize_soon(struct machine *machine, struct handle *handle);

/* ---- For instructions */

static inline intptr_t machine_operand(const struct machine *machine)
{
    return machine->at[-1].operand;
}

/* Takes over the reference. */
static inline void machine_push(struct machine *machine, object_t *object)
{
    *machine->top++ = object;
}

static inline object_t *machine_pop(struct machine *machine)
{
    return *--machine->top;
}

/* How many parameters a closure has. */
size_t machine_parameters(const object_t *closure);

/* Begins a call of a closure that the stack has on top, with the arguments below it. */
void machine_begin_call(struct machine *machine, size_t arguments);

#endif
