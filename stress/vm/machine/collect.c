/* SPDX-License-Identifier: MIT */
#include "machine/collect.h"
#include "machine/world.h"
#include "objects/handle.h"
#include "objects/objects.h"

struct collection {
    uint8_t number;
    struct objects reached; /* marked, and still to be looked into */
    struct objects found;   /* by the sweep */
};

/* ---- Mark */

static bool is_marked(const struct collection *collection, const object_t *self)
{
    return ((const struct container *)self)->mark == collection->number;
}

/* Numbers and strings have no mark, because they lead nowhere. */
static void mark(void *context, object_t *self)
{
    struct collection *collection = (struct collection *)context;
    if (class_of(self)->visit == NULL || is_marked(collection, self))
        return;
    ((struct container *)self)->mark = collection->number;
    objects_add(&collection->reached, self);
}

static void mark_from(struct collection *collection, object_t *self)
{
    mark(collection, self);
    while (collection->reached.count > 0) {
        object_t *next = collection->reached.items[--collection->reached.count];
        class_of(next)->visit(next, mark, collection);
    }
}

static void mark_machine(struct collection *collection, const struct machine *machine)
{
    for (object_t *const *at = machine->stack; at < machine->top; at++)
        if (*at != NULL)
            mark_from(collection, *at);
    for (struct handle *handle = machine->finalizable; handle != NULL; handle = handle->next)
        mark_from(collection, &handle->container.head);
}

static void mark_world(struct collection *collection, struct world *world)
{
    mark_from(collection, world->globals);
    for (size_t i = 0; i < world->constants.count; i++)
        mark_from(collection, world->constants.items[i]);
    for (struct machine *machine = world->machines; machine != NULL; machine = machine->next)
        mark_machine(collection, machine);
}

/* ---- Sweep */

static void find(void *context, object_t *self)
{
    struct collection *collection = (struct collection *)context;
    if (class_of(self)->visit != NULL && !is_marked(collection, self))
        objects_add(&collection->found, self);
}

static void keep_fresh_handles(struct collection *collection, struct machine *machine)
{
    for (size_t i = 0; i < collection->found.count; i++) {
        object_t *self = collection->found.items[i];
        if (is_marked(collection, self) || !handle_is_fresh(self))
            continue;
        handle_set_finalized(self);
        object_incref(machine->lane, self);
        machine_finalize_soon(machine, (struct handle *)self);
        mark_from(collection, self);
    }
}

/* Leaves only what is not marked in `found`, and takes a reference to each. */
static void hold(struct collection *collection, lane_t *lane)
{
    size_t kept = 0;
    for (size_t i = 0; i < collection->found.count; i++) {
        object_t *self = collection->found.items[i];
        if (is_marked(collection, self))
            continue;
        object_incref(lane, self);
        collection->found.items[kept++] = self;
    }
    collection->found.count = kept;
}

static void break_cycles(struct collection *collection, lane_t *lane)
{
    for (size_t i = 0; i < collection->found.count; i++)
        object_empty(lane, collection->found.items[i]);
    for (size_t i = 0; i < collection->found.count; i++)
        object_decref(lane, collection->found.items[i]);
}

static uint8_t next_number(struct world *world)
{
    if (++world->collections == 0)
        world->collections = 1;
    return world->collections;
}

size_t collect(struct machine *machine)
{
    struct world *world = machine->world;
    if (!MEMORY_COLLECTS)
        return 0;
    world_stop(machine);
    machine_drain(machine);
    struct collection collection = {.number = next_number(world)};
    mark_world(&collection, world);
    memory_walk(world->memory, find, &collection);
    keep_fresh_handles(&collection, machine);
    hold(&collection, machine->lane);
    world_resume(machine);
    break_cycles(&collection, machine->lane);
    size_t count = collection.found.count;
    objects_free(&collection.found);
    objects_free(&collection.reached);
    return count;
}
