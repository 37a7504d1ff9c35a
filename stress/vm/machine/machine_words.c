/* SPDX-License-Identifier: MIT
 *
 * Words that call, start threads, and speak to the world.
 */
#include "machine/collect.h"
#include "machine/machine.h"
#include "machine/world.h"
#include "objects/number.h"
#include "objects/string.h"
#include "objects/thread.h"

#include <sched.h>

/* arguments.. closure -- result. The count of arguments is the closure's. */
static void word_call(struct machine *machine)
{
    machine_begin_call(machine, machine_parameters(machine->top[-1]));
}

/* argument closure -- thread */
static void word_spawn(struct machine *machine)
{
    object_t *closure = machine_pop(machine), *argument = machine_pop(machine);
    machine_push(machine, thread_start(machine, closure, argument));
}

/* thread -- result. The thread stays on the stack meanwhile, where the collector sees it. */
static void word_wait(struct machine *machine)
{
    object_t *thread = machine->top[-1];
    machine->top[-1] = thread_join(machine, thread);
    object_decref(machine->lane, thread);
}

/* -- ; lets other threads run */
static void word_yield(struct machine *machine)
{
    machine_safepoint(machine);
    sched_yield();
}

/* -- integer: the objects in cycles that were collected */
static void word_collect(struct machine *machine)
{
    if (!MEMORY_COLLECTS)
        fail("this memory cannot be walked, so nothing collects cycles");
    machine_safepoint(machine);
    machine_push(machine, integer_new(machine->lane, (int64_t)collect(machine)));
    machine_safepoint(machine);
}

/* string -- */
static void word_print(struct machine *machine)
{
    fprintf(machine->world->output, "%s\n", string_bytes(machine->top[-1]));
    object_decref(machine->lane, machine_pop(machine));
}

/* -- integer: of the command line */
static void word_threads(struct machine *machine)
{
    machine_push(machine, integer_new(machine->lane, machine->world->threads));
}

static void word_size(struct machine *machine)
{
    machine_push(machine, integer_new(machine->lane, machine->world->size));
}

const struct word machine_words[] = {
    {"call", {.operation = OP_RUN, .run = word_call}},   {"return", {.operation = OP_RETURN}},
    {"spawn", {.operation = OP_RUN, .run = word_spawn}}, {"wait", {.operation = OP_RUN, .run = word_wait}},
    {"yield", {.operation = OP_RUN, .run = word_yield}}, {"collect", {.operation = OP_RUN, .run = word_collect}},
    {"print", {.operation = OP_RUN, .run = word_print}}, {"threads", {.operation = OP_RUN, .run = word_threads}},
    {"size", {.operation = OP_RUN, .run = word_size}},   {.name = NULL},
};
