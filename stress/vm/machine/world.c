/* SPDX-License-Identifier: MIT */
#include "machine/world.h"
#include "objects/list.h"

void world_open(struct world *world)
{
    *world = (struct world){.output = stdout};
    pthread_mutex_init(&world->mutex, NULL);
    pthread_cond_init(&world->changed, NULL);
    world->memory = memory_open();
}

void world_close(struct world *world)
{
    memory_close(world->memory);
    pthread_cond_destroy(&world->changed);
    pthread_mutex_destroy(&world->mutex);
}

/* ---- Machines come and go */

static void wait_until_resumed(struct world *world)
{
    while (world_is_stopping(world))
        pthread_cond_wait(&world->changed, &world->mutex);
}

void world_add(struct world *world, struct machine *machine)
{
    pthread_mutex_lock(&world->mutex);
    machine->next = world->machines;
    machine->link = &world->machines;
    if (machine->next != NULL)
        machine->next->link = &machine->next;
    world->machines = machine;
    pthread_mutex_unlock(&world->mutex);
}

static void leave_locked(struct world *world)
{
    world->running--;
    pthread_cond_broadcast(&world->changed);
}

void world_leave(struct machine *machine)
{
    machine_drain(machine);
    memory_leave(machine->lane);
    pthread_mutex_lock(&machine->world->mutex);
    leave_locked(machine->world);
    pthread_mutex_unlock(&machine->world->mutex);
}

/* Memory is called only by machines that take part: it is at rest while the world is stopped. */
void world_enter(struct machine *machine)
{
    struct world *world = machine->world;
    pthread_mutex_lock(&world->mutex);
    wait_until_resumed(world);
    world->running++;
    pthread_mutex_unlock(&world->mutex);
    if (machine->lane == NULL)
        machine->lane = memory_attach(world->memory, machine);
    else
        memory_enter(machine->lane);
}

/* A collector goes through the list of machines, which does not get shorter meanwhile. */
void world_exit(struct machine *machine)
{
    struct world *world = machine->world;
    memory_detach(machine->lane);
    pthread_mutex_lock(&world->mutex);
    leave_locked(world);
    wait_until_resumed(world);
    *machine->link = machine->next;
    if (machine->next != NULL)
        machine->next->link = machine->link;
    pthread_mutex_unlock(&world->mutex);
}

void world_pause(struct machine *machine)
{
    world_leave(machine);
    world_enter(machine);
}

/* ---- Stopping */

static bool try_stop(struct world *world)
{
    pthread_mutex_lock(&world->mutex);
    bool is_first = !world_is_stopping(world);
    atomic_store_explicit(&world->is_stopping, true, memory_order_relaxed); /* under the mutex; others only look */
    while (is_first && world->running > 1)
        pthread_cond_wait(&world->changed, &world->mutex);
    pthread_mutex_unlock(&world->mutex);
    return is_first;
}

void world_stop(struct machine *machine)
{
    while (!try_stop(machine->world))
        world_pause(machine);
}

void world_resume(struct machine *machine)
{
    struct world *world = machine->world;
    pthread_mutex_lock(&world->mutex);
    atomic_store_explicit(&world->is_stopping, false, memory_order_relaxed);
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->mutex);
}
