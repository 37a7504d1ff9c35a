/* SPDX-License-Identifier: MIT */
#include "objects/list.h"
#include "objects/string.h"

enum { CAPACITY_FIRST = 4, CAPACITY_KEPT = 128, PIECE = 256 };

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

static size_t bytes_of(uint32_t capacity)
{
    return sizeof(struct array) + capacity * sizeof(object_t *);
}

/* ---- The class: a dead list keeps its array for the next list, unless that is large */

static void visit_items(object_t *self, visitor visit, void *context)
{
    struct list *list = (struct list *)self;
    uint32_t count = container_count(&list->container);
    for (uint32_t i = 0; i < count; i++)
        visit(context, load(&array_of(list)->items[i]));
}

/* Drops the last items of a list until so many are left. Nobody else has the list. */
static void drop_to(lane_t *lane, struct list *list, uint32_t left)
{
    for (uint32_t count = container_count(&list->container); count > left;) {
        _Atomic(object_t *) *place = &array_of(list)->items[--count];
        object_t *item = load(place);
        store(place, NULL);
        set_count(list, count);
        object_decref(lane, item);
    }
}

/* Drops a piece of what the list holds, and at last the array. Returns whether more is left. Nobody else has the list. */
static bool drop_some(lane_t *lane, void *self, const type_t *type)
{
    struct list *list = (struct list *)self;
    uint32_t count = container_count(&list->container);
    (void)type;
    drop_to(lane, list, count > PIECE ? count - PIECE : 0);
    if (count > PIECE)
        return true;
    struct array *array = array_of(list);
    atomic_store_explicit(&list->array, NULL, memory_order_relaxed); /* nobody reads it any more */
    if (array != NULL)
        object_free(lane, &array->head);
    return false;
}

static void drop_items(lane_t *lane, void *self, const type_t *type)
{
    while (drop_some(lane, self, type))
        continue;
}

static bool construct(lane_t *lane, void *self, const type_t *type)
{
    struct list *list = (struct list *)self;
    (void)lane;
    (void)type;
    container_init(&list->container, 0);
    atomic_init(&list->array, NULL); /* the first append makes it */
    return true;
}

/* A large array is more than memory keeps, so drop_some ends such a list. */
static size_t reset(lane_t *lane, void *self, const type_t *type)
{
    struct list *list = (struct list *)self;
    struct array *array = array_of(list);
    (void)type;
    if (array == NULL)
        return 0;
    if (array->capacity > CAPACITY_KEPT)
        return SIZE_MAX;
    drop_to(lane, list, 0);
    return bytes_of(array->capacity);
}

static void renew(lane_t *lane, void *self, const type_t *type)
{
    (void)lane;
    (void)type;
    container_init(&((struct list *)self)->container, 0);
}

static struct class list_class = {.constructed = {.type = {.name = "list",
                                                           .size = sizeof(struct list),
                                                           .kind = MEMORY_CLEAR,
                                                           .clear_some = drop_some},
                                                  .construct = construct,
                                                  .reset = reset,
                                                  .renew = renew},
                                  .shape = SHAPE_LIST,
                                  .visit = visit_items,
                                  .empty = drop_items};

void lists_open(void)
{
    memory_type_ready(&array_class.type);
    memory_constructed_type_ready(&list_class.constructed);
}

object_t *list_new(lane_t *lane)
{
    return object_construct(lane, &list_class.constructed);
}

/* ---- Writers, with the lock */

static struct array *new_array(lane_t *lane, uint32_t capacity)
{
    struct array *made = (struct array *)object_new_sized(lane, &array_class.type, bytes_of(capacity));
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
    size_t length = 0;
    for (uint32_t i = 0; i < count; i++)
        length += string_length(load(&array_of(list)->items[i]));
    struct string *joined = string_begin(lane, length);
    char *end = joined->bytes;
    for (uint32_t i = 0; i < count; i++)
        end = string_copy(load(&array_of(list)->items[i]), end);
    return string_end(joined, end);
}
