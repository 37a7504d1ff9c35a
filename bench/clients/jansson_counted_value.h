/* SPDX-License-Identifier: MIT
 *
 * The types of jansson_counted.h, and how a value is made and ends. Included at the end of jansson's value.c.
 *
 * Arrays and objects are constructed: the table of an array and the buckets of an object stay, as large as they have
 * become. While the program has allocation functions of its own, nothing is kept: what these have allocated, the same
 * functions free.
 */
#include <stdio.h>
#include <stdlib.h>

/* What a thread keeps of arrays, and of objects: those of a document of some megabytes, so that the next one of that size
 * needs no new ones. */
enum { KEPT_BYTES = 8 << 20, FIRST_PLACES = 8 };

/* How many values of an array are dropped at a time. */
enum { PIECE = 16 };

/* What `reset` returns for parts of so many bytes. */
static size_t kept_parts(size_t bytes)
{
    return blocks_are_mixed ? SIZE_MAX : bytes; /* which exceeds every bound */
}

static void renew(struct fl_thread *thread, void *value, const struct fl_type *type)
{
    (void)thread;
    (void)value;
    (void)type;
}

/* ---- Objects. */

static bool construct_object(struct fl_thread *thread, void *value, const struct fl_type *type)
{
    json_object_t *object = value;
    (void)thread;
    (void)type;
    return hashtable_init(&object->hashtable) == 0;
}

static size_t bytes_of_buckets(const hashtable_t *table)
{
    return sizeof(struct hashtable_bucket) << table->order;
}

static struct hashtable_bucket *bucket_of(const hashtable_t *table, const struct hashtable_pair *pair)
{
    return &table->buckets[pair->hash & (((size_t)1 << table->order) - 1)];
}

/* Only buckets with pairs are written: a large table may have few. */
static size_t reset_object(struct fl_thread *thread, void *value, const struct fl_type *type)
{
    hashtable_t *table = &((json_object_t *)value)->hashtable;
    struct hashtable_list *end = &table->list, *list, *next;
    (void)type;
    for (list = end->next; list != end; list = next) {
        struct hashtable_pair *pair = container_of(list, struct hashtable_pair, list);
        struct hashtable_bucket *bucket = bucket_of(table, pair);
        next = list->next;
        bucket->first = bucket->last = end;
        fl_decref(thread, pair->value);
        block_free_by(thread, pair, offsetof(struct hashtable_pair, key) + pair->key_len + 1);
    }
    end->next = end->prev = end;
    table->ordered_list.next = table->ordered_list.prev = &table->ordered_list;
    table->size = 0;
    return kept_parts(bytes_of_buckets(table));
}

static void clear_object(struct fl_thread *thread, void *value, const struct fl_type *type)
{
    hashtable_t *table = &((json_object_t *)value)->hashtable;
    (void)type;
    block_free_by(thread, table->buckets, bytes_of_buckets(table));
}

/* ---- Arrays. */

static bool construct_array(struct fl_thread *thread, void *value, const struct fl_type *type)
{
    json_array_t *array = value;
    (void)thread;
    (void)type;
    array->entries = 0;
    array->size = FIRST_PLACES;
    array->table = block_alloc(array->size * sizeof(json_t *));
    return array->table != NULL;
}

/* Drops values from the end until so many are left. */
static void shorten_array(struct fl_thread *thread, json_array_t *array, size_t entries)
{
    while (array->entries > entries)
        fl_decref(thread, array->table[--array->entries]);
}

/* A long array is not kept, but cleared piece by piece, so that few of its values wait at once. */
static size_t reset_array(struct fl_thread *thread, void *value, const struct fl_type *type)
{
    json_array_t *array = value;
    (void)type;
    if (array->entries > PIECE)
        return SIZE_MAX;
    shorten_array(thread, array, 0);
    return kept_parts(array->size * sizeof(json_t *));
}

static bool clear_some_of_array(struct fl_thread *thread, void *value, const struct fl_type *type)
{
    json_array_t *array = value;
    bool is_long = array->entries > PIECE;
    (void)type;
    shorten_array(thread, array, is_long ? array->entries - PIECE : 0);
    if (!is_long)
        block_free_by(thread, array->table, array->size * sizeof(json_t *));
    return is_long;
}

/* ---- Strings. */

static void clear_string(struct fl_thread *thread, void *value, const struct fl_type *type)
{
    json_string_t *string = value;
    (void)type;
    block_free_by(thread, string->value, string->length + 1);
}

/* ---- The types. */

#define CONSTRUCTED(what, clears)                                                                                    \
    {                                                                                                                \
        .type = {.name = #what, .size = sizeof(json_##what##_t), clears}, .construct = construct_##what,             \
        .reset = reset_##what, .renew = renew, .keep_bytes = KEPT_BYTES,                                             \
    }

#define PLAIN(what, bytes)                                                                                           \
    {                                                                                                                \
        .type = {.name = what, .size = bytes, .kind = FL_DEALLOC_PLAIN }                                             \
    }

struct json_kind json_kinds[] = {
    [JSON_OBJECT] = {CONSTRUCTED(object, .clear = clear_object), JSON_OBJECT},
    [JSON_ARRAY] = {CONSTRUCTED(array, .clear_some = clear_some_of_array), JSON_ARRAY},
    [JSON_STRING] = {{.type = {.name = "string",
                               .size = sizeof(json_string_t),
                               .kind = FL_DEALLOC_CLEAR,
                               .flags = FL_TYPE_AT_ONCE, /* it holds no other value */
                               .clear = clear_string}},
                     JSON_STRING},
    [JSON_INTEGER] = {PLAIN("integer", sizeof(json_integer_t)), JSON_INTEGER},
    [JSON_REAL] = {PLAIN("real", sizeof(json_real_t)), JSON_REAL},
    [JSON_TRUE] = {PLAIN("true", sizeof(json_t)), JSON_TRUE},
    [JSON_FALSE] = {PLAIN("false", sizeof(json_t)), JSON_FALSE},
    [JSON_NULL] = {PLAIN("null", sizeof(json_t)), JSON_NULL},
};

__attribute__((constructor)) static void kinds_ready(void)
{
    char error[128];
    json_type type;
    for (type = JSON_OBJECT; type <= JSON_NULL; type++) {
        struct fl_constructed_type *kind = &json_kinds[type].constructed;
        int failed = type <= JSON_ARRAY ? fl_constructed_type_ready(kind, NULL, error, sizeof error)
                                        : fl_object_type_ready(&kind->type, NULL, error, sizeof error);
        if (failed == 0)
            continue;
        fprintf(stderr, "jansson: %s\n", error);
        abort();
    }
}
