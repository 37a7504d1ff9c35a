/* SPDX-License-Identifier: MIT */
#include "objects/list.h"
#include "objects/string.h"

enum { CAPACITY_FIRST = 4, PIECE = 256 };

static struct class array_class = {.type = {.name = "array",
                                            .size = sizeof(struct array) + CAPACITY_FIRST * sizeof(object_t *),
                                            .kind = MEMORY_PLAIN,
                                            .flags = MEMORY_VARIABLE},
                                   .shape = SHAPE_PART};

/* ---- Places. An item is stored with release, and loaded with acquire: a reader sees what the object is. */

static struct array *array_of(const struct list *list)
{
    return atomic_load_explicit(&list->array, memory_order_acquire);
}

static object_t *load(_Atomic(object_t *) *place)
{
    return atomic_load_explicit(place, memory_order_acquire);
}

static void store(_Atomic(object_t *) *place, object_t *item)
{
    atomic_store_explicit(place, item, memory_order_release);
}

static void set_count(struct list *list, uint32_t count)
{
    atomic_store_explicit(&list->container.count, count, memory_order_release);
}

static struct list *as_list(object_t *self)
{
    object_require(self, SHAPE_LIST);
    return (struct list *)self;
}

/* ---- The class */

static void visit_items(object_t *self, visitor visit, void *context)
{
    struct list *list = (struct list *)self;
    uint32_t count = container_count(&list->container);
    for (uint32_t i = 0; i < count; i++)
        visit(context, load(&array_of(list)->items[i]));
}

/* Drops a piece of what the list holds, from the end. Returns whether more is left. Nobody else has the list. */
static bool drop_some(lane_t *lane, void *self, const type_t *type)
{
    (void)type;
    for (unsigned i = 0; i < PIECE; i++) {
        object_t *item = list_pop(lane, (object_t *)self);
        if (item == NULL)
            break;
        object_decref(lane, item);
    }
    struct list *list = (struct list *)self;
    if (container_count(&list->container) > 0)
        return true;
    struct array *array = array_of(list);
    atomic_store_explicit(&list->array, NULL, memory_order_relaxed); /* nobody reads it any more */
    if (array != NULL)
        object_free(lane, &array->head);
    return false;
}

static void drop_items(lane_t *lane, object_t *self)
{
    while (drop_some(lane, self, NULL))
        continue;
}

static struct class list_class = {
    .type = {.name = "list", .size = sizeof(struct list), .kind = MEMORY_CLEAR, .clear_some = drop_some},
    .shape = SHAPE_LIST,
    .visit = visit_items,
    .empty = drop_items};

void lists_open(void)
{
    memory_type_ready(&array_class.type);
    memory_type_ready(&list_class.type);
}

object_t *list_new(lane_t *lane)
{
    struct list *made = (struct list *)object_new(lane, &list_class.type);
    container_init(&made->container, 0);
    atomic_init(&made->array, NULL);
    return &made->container.head;
}

/* ---- Writers, with the lock */

static struct array *new_array(lane_t *lane, uint32_t capacity)
{
    size_t bytes = sizeof(struct array) + capacity * sizeof(object_t *);
    struct array *made = (struct array *)object_new_sized(lane, &array_class.type, bytes);
    made->capacity = capacity;
    for (uint32_t i = 0; i < capacity; i++)
        atomic_init(&made->items[i], NULL);
    return made;
}

/* Moves the items to an array of twice the size. Returns the old one, which readers may still look at, or NULL. */
static struct array *grow(lane_t *lane, struct list *list)
{
    struct array *old = array_of(list);
    uint32_t count = old == NULL ? 0 : old->capacity;
    struct array *array = new_array(lane, count == 0 ? CAPACITY_FIRST : 2 * count);
    for (uint32_t i = 0; i < count; i++)
        store(&array->items[i], load(&old->items[i]));
    atomic_store_explicit(&list->array, array, memory_order_release);
    for (uint32_t i = 0; i < count; i++)
        store(&old->items[i], NULL);
    return old;
}

void list_append(lane_t *lane, object_t *self, object_t *item)
{
    struct list *list = as_list(self);
    struct array *old = NULL;
    lock_take(&list->container.lock);
    uint32_t count = container_count(&list->container);
    if (array_of(list) == NULL || count == array_of(list)->capacity)
        old = grow(lane, list);
    store(&array_of(list)->items[count], item);
    set_count(list, count + 1);
    if (old != NULL)
        object_free_later(lane, &old->head);
    lock_release(&list->container.lock);
}

object_t *list_pop(lane_t *lane, object_t *self)
{
    struct list *list = as_list(self);
    object_t *item = NULL;
    (void)lane;
    lock_take(&list->container.lock);
    uint32_t count = container_count(&list->container);
    if (count > 0) {
        _Atomic(object_t *) *place = &array_of(list)->items[count - 1];
        item = load(place);
        store(place, NULL);
        set_count(list, count - 1);
    }
    lock_release(&list->container.lock);
    return item;
}

void list_set(lane_t *lane, object_t *self, int64_t index, object_t *item)
{
    struct list *list = as_list(self);
    lock_take(&list->container.lock);
    if (index < 0 || index >= container_count(&list->container))
        fail("a list of %u has no item %lld", container_count(&list->container), (long long)index);
    _Atomic(object_t *) *place = &array_of(list)->items[index];
    object_t *before = load(place);
    store(place, item);
    lock_release(&list->container.lock);
    object_decref(lane, before);
}

/* ---- Readers, without it */

/* The place of an item, or NULL. */
static _Atomic(object_t *) *find(const struct list *list, int64_t index)
{
    struct array *array = array_of(list);
    /* An array may be older than the count, and shorter. */
    if (array == NULL || index < 0 || index >= container_count(&list->container) || index >= array->capacity)
        return NULL;
    return &array->items[index];
}

/* What a reader does whose try failed. */
__attribute__((noinline)) static object_t *get_with_lock(lane_t *lane, struct list *list, int64_t index)
{
    lock_take(&list->container.lock);
    _Atomic(object_t *) *place = find(list, index);
    object_t *item = place != NULL ? load(place) : NULL;
    if (item != NULL) {
        object_incref(lane, item);
        object_publish(item);
    }
    lock_release(&list->container.lock);
    return item;
}

object_t *list_get(lane_t *lane, object_t *self, int64_t index)
{
    struct list *list = as_list(self);
    memory_read_begin(&list->container.lock);
    _Atomic(object_t *) *place = find(list, index);
    object_t *item = place != NULL ? load(place) : NULL;
    bool has = item != NULL && object_try_incref(lane, item, place);
    memory_read_end(&list->container.lock);
    return has ? item : get_with_lock(lane, list, index);
}

uint32_t list_length(object_t *self)
{
    return container_count(&as_list(self)->container);
}

object_t *list_join(lane_t *lane, object_t *self)
{
    struct list *list = as_list(self);
    uint32_t count = container_count(&list->container);
    object_t **parts = (object_t **)allocate((count + 1) * sizeof *parts);
    for (uint32_t i = 0; i < count; i++)
        parts[i] = load(&array_of(list)->items[i]);
    object_t *joined = string_join(lane, parts, count);
    free(parts);
    return joined;
}
