/* SPDX-License-Identifier: MIT */
#include "objects/thread.h"
#include "machine/machine.h"
#include "machine/world.h"

/* ---- The class */

static void visit_result(object_t *self, visitor visit, void *context)
{
    struct thread *thread = (struct thread *)self;
    if (thread->result != NULL)
        visit(context, thread->result);
}

static void drop_result(lane_t *lane, void *self, const type_t *type)
{
    (void)type;
    object_drop(lane, &((struct thread *)self)->result);
}

/* Everything that ends a thread object, the memory included. */
static void end_thread(lane_t *lane, void *self, const type_t *type)
{
    struct thread *thread = (struct thread *)self;
    if (!thread->is_joined)
        fail("a %s was dropped before it was joined", type->name);
    drop_result(lane, self, type);
    object_free(lane, (object_t *)self);
}

static struct class thread_class = {
    .type = {.name = "thread", .size = sizeof(struct thread), .kind = MEMORY_LEGACY, .dealloc = end_thread},
    .shape = SHAPE_THREAD,
    .visit = visit_result,
    .empty = drop_result};

void threads_open(void)
{
    memory_type_ready(&thread_class.type);
}

/* ---- What runs on the thread. Its machine's stack holds the thread object, the closure and the argument. */

static void *run(void *argument)
{
    struct machine *machine = (struct machine *)argument;
    world_enter(machine);
    struct thread *thread = (struct thread *)machine->stack[0];
    machine_call(machine, 1);
    thread->result = machine_pop(machine);
    machine_close(machine);
    return NULL;
}

/* ---- Operations */

object_t *thread_start(struct machine *machine, object_t *closure, object_t *argument)
{
    struct thread *made = (struct thread *)object_new(machine->lane, &thread_class.type);
    container_init(&made->container, 0);
    made->is_joined = false;
    made->result = NULL;
    object_incref(machine->lane, &made->container.head);
    struct machine *started = machine_new(machine->world);
    machine_push(started, &made->container.head);
    machine_push(started, argument);
    machine_push(started, closure);
    if (pthread_create(&made->id, NULL, run, started) != 0)
        fail("no thread can be created");
    return &made->container.head;
}

object_t *thread_join(struct machine *machine, object_t *self)
{
    object_require(self, SHAPE_THREAD);
    struct thread *thread = (struct thread *)self;
    if (thread->is_joined)
        fail("a thread is joined twice");
    thread->is_joined = true;
    world_leave(machine);
    pthread_join(thread->id, NULL);
    world_enter(machine);
    object_t *result = thread->result;
    thread->result = NULL;
    return result;
}
