/* SPDX-License-Identifier: MIT */
#include "objects/dict.h"
#include "objects/number.h"

enum { CAPACITY_FIRST = 8, CAPACITY_KEPT = 64 };

static struct class table_class = {.type = {.name = "table",
                                            .size = sizeof(struct table) + CAPACITY_FIRST * sizeof(struct entry),
                                            .kind = MEMORY_PLAIN,
                                            .flags = MEMORY_VARIABLE},
                                   .shape = SHAPE_PART};

static struct dict *as_dict(object_t *self)
{
    object_require(self, SHAPE_DICT);
    return (struct dict *)self;
}

static size_t bytes_of(uint32_t capacity)
{
    return sizeof(struct table) + capacity * sizeof(struct entry);
}

/* ---- The class: a dead dictionary keeps its table for the next one, unless that is large */

static void visit_entries(object_t *self, visitor visit, void *context)
{
    struct table *table = ((struct dict *)self)->table;
    for (uint32_t i = 0; table != NULL && i < table->capacity; i++) {
        if (table->entries[i].key == NULL)
            continue;
        visit(context, table->entries[i].key);
        visit(context, table->entries[i].value);
    }
}

/* Drops the entries of a dictionary that nobody else has. */
static void drop_entries(lane_t *lane, struct table *table)
{
    for (uint32_t i = 0; i < table->capacity; i++) {
        if (table->entries[i].key == NULL)
            continue;
        object_drop(lane, &table->entries[i].key);
        object_drop(lane, &table->entries[i].value);
    }
}

static void drop_table(lane_t *lane, void *self, const type_t *type)
{
    struct dict *dict = (struct dict *)self;
    struct table *table = dict->table;
    (void)type;
    dict->table = NULL;
    if (table == NULL)
        return;
    drop_entries(lane, table);
    object_free(lane, &table->head);
}

static bool construct(lane_t *lane, void *self, const type_t *type)
{
    struct dict *dict = (struct dict *)self;
    (void)lane;
    (void)type;
    container_init(&dict->container, 0);
    dict->table = NULL; /* the first key makes it */
    return true;
}

/* A large table is more than memory keeps, so drop_table ends such a dictionary. */
static size_t reset(lane_t *lane, void *self, const type_t *type)
{
    struct table *table = ((struct dict *)self)->table;
    (void)type;
    if (table == NULL)
        return 0;
    if (table->capacity > CAPACITY_KEPT)
        return SIZE_MAX;
    drop_entries(lane, table);
    return bytes_of(table->capacity);
}

static void renew(lane_t *lane, void *self, const type_t *type)
{
    (void)lane;
    (void)type;
    container_init(&((struct dict *)self)->container, 0);
}

static struct class dict_class = {
    .constructed = {.type = {.name = "dict", .size = sizeof(struct dict), .kind = MEMORY_CLEAR, .clear = drop_table},
                    .construct = construct,
                    .reset = reset,
                    .renew = renew},
    .shape = SHAPE_DICT,
    .visit = visit_entries,
    .empty = drop_table};

void dicts_open(void)
{
    memory_type_ready(&table_class.type);
    memory_constructed_type_ready(&dict_class.constructed);
}

object_t *dict_new(lane_t *lane)
{
    return object_construct(lane, &dict_class.constructed);
}

/* ---- The table, with the lock */

static struct table *new_table(lane_t *lane, uint32_t capacity)
{
    struct table *made = (struct table *)object_new_sized(lane, &table_class.type, bytes_of(capacity));
    made->capacity = capacity;
    for (uint32_t i = 0; i < capacity; i++)
        made->entries[i] = (struct entry){NULL, NULL};
    return made;
}

/* The entry of a key, or the empty one where it goes. */
static struct entry *find(struct table *table, const object_t *key, uint64_t hash)
{
    uint32_t mask = table->capacity - 1, at = (uint32_t)hash & mask;
    while (table->entries[at].key != NULL && !object_equal(table->entries[at].key, key))
        at = (at + 1) & mask;
    return &table->entries[at];
}

static void grow(lane_t *lane, struct dict *dict)
{
    struct table *old = dict->table;
    dict->table = new_table(lane, old == NULL ? CAPACITY_FIRST : 2 * old->capacity);
    if (old == NULL)
        return;
    for (uint32_t i = 0; i < old->capacity; i++) {
        const object_t *key = old->entries[i].key;
        if (key != NULL)
            *find(dict->table, key, object_hash(key)) = old->entries[i];
    }
    object_free(lane, &old->head);
}

/* The entry of a key, for a writer. There is room for a new key. */
static struct entry *reach(lane_t *lane, struct dict *dict, const object_t *key, uint64_t hash)
{
    uint32_t count = container_count(&dict->container);
    if (dict->table == NULL || 3 * (count + 1) > 2 * dict->table->capacity)
        grow(lane, dict);
    return find(dict->table, key, hash);
}

static void count_one_more(struct dict *dict)
{
    uint32_t count = container_count(&dict->container);
    atomic_store_explicit(&dict->container.count, count + 1, memory_order_relaxed); /* the lock orders it */
}

/* ---- Operations. The hash of a string is worked out before others wait for the lock. */

object_t *dict_find(lane_t *lane, object_t *self, object_t *key)
{
    struct dict *dict = as_dict(self);
    uint64_t hash = object_hash(key);
    object_t *value = NULL;
    lock_take(&dict->container.lock);
    if (dict->table != NULL)
        value = find(dict->table, key, hash)->value;
    if (value != NULL)
        object_incref(lane, value);
    lock_release(&dict->container.lock);
    return value;
}

void dict_put(lane_t *lane, object_t *self, object_t *key, object_t *value)
{
    struct dict *dict = as_dict(self);
    uint64_t hash = object_hash(key);
    lock_take(&dict->container.lock);
    struct entry *entry = reach(lane, dict, key, hash), before = *entry;
    *entry = (struct entry){key, value};
    if (before.key == NULL)
        count_one_more(dict);
    lock_release(&dict->container.lock);
    object_drop(lane, &before.key);
    object_drop(lane, &before.value);
}

void dict_tally(lane_t *lane, object_t *self, object_t *key, int64_t amount)
{
    struct dict *dict = as_dict(self);
    uint64_t hash = object_hash(key);
    lock_take(&dict->container.lock);
    struct entry *entry = reach(lane, dict, key, hash);
    object_t *before = entry->value;
    if (before == NULL) {
        object_incref(lane, key);
        entry->key = key;
        count_one_more(dict);
    } else {
        amount += integer_require(before);
    }
    entry->value = integer_new(lane, amount);
    lock_release(&dict->container.lock);
    if (before != NULL)
        object_decref(lane, before);
}

uint32_t dict_length(object_t *self)
{
    return container_count(&as_dict(self)->container);
}
