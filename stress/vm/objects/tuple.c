/* SPDX-License-Identifier: MIT */
#include "objects/tuple.h"

enum { SHORT_MOST = 8 };

static struct class classes[SHORT_MOST + 1]; /* by length */
static struct class long_class;

/* ---- The classes */

static void visit_items(object_t *self, visitor visit, void *context)
{
    struct tuple *tuple = (struct tuple *)self;
    uint32_t count = container_count(&tuple->container);
    for (uint32_t i = 0; i < count; i++)
        if (tuple->items[i] != NULL)
            visit(context, tuple->items[i]);
}

static void drop_items(lane_t *lane, void *self, const type_t *type)
{
    struct tuple *tuple = (struct tuple *)self;
    (void)type;
    uint32_t count = container_count(&tuple->container);
    for (uint32_t i = 0; i < count; i++)
        object_drop(lane, &tuple->items[i]);
}

static size_t size_of(size_t count)
{
    return sizeof(struct tuple) + count * sizeof(object_t *);
}

static void open_class(struct class *class, size_t count, uint32_t flags)
{
    *class = (struct class){.shape = SHAPE_TUPLE, .visit = visit_items, .empty = drop_items};
    class->type.name = "tuple";
    class->type.size = size_of(count);
    class->type.kind = MEMORY_CLEAR;
    class->type.clear = drop_items;
    class->type.flags = flags;
    memory_type_ready(&class->type);
}

void tuples_open(void)
{
    for (size_t count = 0; count <= SHORT_MOST; count++)
        open_class(&classes[count], count, 0);
    open_class(&long_class, SHORT_MOST + 1, MEMORY_VARIABLE);
}

/* ---- Tuples */

static struct tuple *allocate_tuple(lane_t *lane, size_t count)
{
    if (count <= SHORT_MOST)
        return (struct tuple *)object_new(lane, &classes[count].type);
    return (struct tuple *)object_new_sized(lane, &long_class.type, size_of(count));
}

object_t *tuple_new(lane_t *lane, object_t *const *items, size_t count)
{
    struct tuple *made = allocate_tuple(lane, count);
    container_init(&made->container, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        made->items[i] = items[i];
    return &made->container.head;
}

object_t *tuple_pair(lane_t *lane, object_t *first, object_t *second)
{
    struct tuple *made = (struct tuple *)object_new(lane, &classes[2].type);
    container_init(&made->container, 2);
    made->items[0] = first;
    made->items[1] = second;
    return &made->container.head;
}
