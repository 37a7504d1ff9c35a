/* SPDX-License-Identifier: MIT */
#include "objects/closure.h"

static void visit_captured(object_t *self, visitor visit, void *context)
{
    struct closure *closure = (struct closure *)self;
    uint32_t count = container_count(&closure->container);
    for (uint32_t i = 0; i < count; i++)
        if (closure->captured[i] != NULL)
            visit(context, closure->captured[i]);
}

static void drop_captured(lane_t *lane, void *self, const type_t *type)
{
    struct closure *closure = (struct closure *)self;
    (void)type;
    uint32_t count = container_count(&closure->container);
    for (uint32_t i = 0; i < count; i++)
        object_drop(lane, &closure->captured[i]);
}

static struct class closure_class = {.type = {.name = "closure",
                                              .size = sizeof(struct closure),
                                              .kind = MEMORY_CLEAR,
                                              .clear = drop_captured,
                                              .flags = MEMORY_VARIABLE},
                                     .shape = SHAPE_CLOSURE,
                                     .visit = visit_captured,
                                     .empty = drop_captured};

void closures_open(void)
{
    memory_type_ready(&closure_class.type);
}

object_t *closure_new(lane_t *lane, const struct function *function, object_t *const *captured, size_t count)
{
    size_t bytes = sizeof(struct closure) + count * sizeof(object_t *);
    struct closure *made = (struct closure *)object_new_sized(lane, &closure_class.type, bytes);
    container_init(&made->container, (uint32_t)count);
    made->function = function;
    for (size_t i = 0; i < count; i++)
        made->captured[i] = captured[i];
    return &made->container.head;
}
