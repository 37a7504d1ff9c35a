/* SPDX-License-Identifier: MIT */
#include "objects/handle.h"
#include "machine/machine.h"

static void visit_parts(object_t *self, visitor visit, void *context)
{
    struct handle *handle = (struct handle *)self;
    if (handle->value != NULL)
        visit(context, handle->value);
    if (handle->finalizer != NULL)
        visit(context, handle->finalizer);
}

static void drop_parts(lane_t *lane, void *self, const type_t *type)
{
    struct handle *handle = (struct handle *)self;
    (void)type;
    object_drop(lane, &handle->value);
    object_drop(lane, &handle->finalizer);
}

/* The reference that the handle gets here is the machine's. */
static bool finalize(lane_t *lane, void *self, const type_t *type)
{
    (void)type;
    object_revive(lane, (object_t *)self);
    machine_finalize_soon(memory_context(lane), (struct handle *)self);
    return true;
}

static struct class handle_class = {.type = {.name = "handle",
                                             .size = sizeof(struct handle),
                                             .kind = MEMORY_FINALIZE,
                                             .finalize = finalize,
                                             .clear = drop_parts,
                                             .finalized_offset = offsetof(struct container, finalized),
                                             .finalized_mask = 1,
                                             .flags = MEMORY_LATER,
                                             .words_offset = offsetof(struct handle, words)},
                                    .shape = SHAPE_HANDLE,
                                    .visit = visit_parts,
                                    .empty = drop_parts};

void handles_open(void)
{
    memory_type_ready(&handle_class.type);
}

object_t *handle_new(lane_t *lane, object_t *value, object_t *finalizer)
{
    object_require(finalizer, SHAPE_CLOSURE);
    struct handle *made = (struct handle *)object_new(lane, &handle_class.type);
    container_init(&made->container, 0);
    made->value = value;
    made->finalizer = finalizer;
    return &made->container.head;
}

object_t *handle_value(lane_t *lane, object_t *self)
{
    object_require(self, SHAPE_HANDLE);
    object_t *value = ((struct handle *)self)->value;
    object_incref(lane, value);
    return value;
}

bool handle_is_fresh(const object_t *self)
{
    return shape_of(self) == SHAPE_HANDLE && ((const struct container *)self)->finalized == 0;
}

void handle_set_finalized(object_t *self)
{
    ((struct container *)self)->finalized = 1;
}
