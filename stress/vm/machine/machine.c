/* SPDX-License-Identifier: MIT */
#include "machine/call.h"
#include "machine/machine.h"
#include "machine/world.h"
#include "objects/closure.h"
#include "objects/handle.h"
#include "objects/list.h"

/* ---- Life */

struct machine *machine_new(struct world *world)
{
    struct machine *made = (struct machine *)allocate(sizeof *made);
    made->world = world;
    made->top = made->stack;
    made->frame = made->frames;
    made->fuel = FUEL;
    world_add(world, made);
    return made;
}

void machine_finish(struct machine *machine)
{
    object_t **top = machine->top;
    machine->top = machine->stack;
    call_drop(machine->lane, top, machine->stack);
    do {
        machine_safepoint(machine);
        machine_drain(machine);
    } while (machine->finalizable != NULL);
}

void machine_close(struct machine *machine)
{
    machine_finish(machine);
    world_exit(machine);
    free(machine);
}

/* ---- Calls */

size_t machine_parameters(const object_t *closure)
{
    object_require(closure, SHAPE_CLOSURE);
    return ((const struct closure *)closure)->function->parameters;
}

void machine_begin_call(struct machine *machine, size_t arguments)
{
    object_t *callee = machine_pop(machine);
    object_require(callee, SHAPE_CLOSURE);
    const struct closure *closure = (const struct closure *)callee;
    const struct function *function = closure->function;
    if (arguments != function->parameters)
        fail("%s has %u parameters", function->name, function->parameters);
    for (unsigned i = 0; i < function->captures; i++) {
        object_incref(machine->lane, closure->captured[i]);
        machine_push(machine, closure->captured[i]);
    }
    object_decref(machine->lane, callee);
    object_t **variables = machine->top - function->arguments;
    machine->top = call_begin(machine, function, machine->top, machine->at, machine->variables);
    machine->variables = variables;
    machine->at = function->code;
    if (--machine->fuel == 0)
        machine_safepoint(machine);
}

void machine_call(struct machine *machine, size_t arguments)
{
    struct frame *bottom = machine->frame;
    machine_begin_call(machine, arguments);
    machine_run(machine, bottom);
}

/* ---- Safepoints */

void machine_finalize_soon(struct machine *machine, struct handle *handle)
{
    handle->next = machine->finalizable;
    machine->finalizable = handle;
}

void machine_drain(struct machine *machine)
{
    while (memory_has_pending(machine->lane) && memory_run_pending(machine->lane, FUEL))
        continue;
}

/* Calls the closures of handles. What is called may itself reach safepoints, which call no closures then. */
static void finalize_all(struct machine *machine)
{
    struct handle *handle;
    machine->is_finalizing = true;
    while ((handle = machine->finalizable) != NULL) {
        machine->finalizable = handle->next;
        object_incref(machine->lane, handle->finalizer);
        machine_push(machine, &handle->container.head);
        machine_push(machine, handle->finalizer);
        machine_call(machine, 1);
        object_decref(machine->lane, machine_pop(machine));
    }
    machine->is_finalizing = false;
}

void machine_safepoint(struct machine *machine)
{
    machine->fuel = FUEL;
    memory_quiescent(machine->lane);
    if (memory_has_pending(machine->lane))
        memory_run_pending(machine->lane, FUEL);
    if (machine->finalizable != NULL && !machine->is_finalizing)
        finalize_all(machine);
    if (world_is_stopping(machine->world))
        world_pause(machine);
}

/* ---- Instructions */

void run_global(struct machine *machine)
{
    machine_push(machine, list_get(machine->lane, machine->world->globals, machine_operand(machine)));
}

void run_set_global(struct machine *machine)
{
    list_set(machine->lane, machine->world->globals, machine_operand(machine), machine_pop(machine));
}

void run_make_closure(struct machine *machine)
{
    const struct function *function = (const struct function *)machine_operand(machine);
    machine->top -= function->captures;
    machine_push(machine, closure_new(machine->lane, function, machine->top, function->captures));
}
