/* SPDX-License-Identifier: MIT
 *
 * The types of jansson_typed.h, and how a value ends. Included at the end of jansson's value.c: the callbacks call the
 * functions there which let go of what a value holds.
 */
#include <stdio.h>
#include <stdlib.h>

static void typed_clear_object(struct fl_thread *thread, void *value, const struct fl_type *type)
{
    (void)thread;
    (void)type;
    json_delete_object(value);
}

/* How many values of an array are dropped at a time, so that few of them wait at once. */
enum { TYPED_PIECE = 16 };

static bool typed_clear_some_of_array(struct fl_thread *thread, void *value, const struct fl_type *type)
{
    json_array_t *array = value;
    size_t i;
    (void)thread;
    (void)type;
    if (array->entries <= TYPED_PIECE) {
        json_delete_array(array);
        return false;
    }
    for (i = 0; i < TYPED_PIECE; i++)
        json_decref(array->table[--array->entries]);
    return true;
}

static void typed_clear_string(struct fl_thread *thread, void *value, const struct fl_type *type)
{
    (void)thread;
    (void)type;
    json_delete_string(value);
}

struct fl_type typed_types[] = {
    [JSON_OBJECT] = {.name = "object",
                     .size = sizeof(json_object_t),
                     .kind = FL_DEALLOC_CLEAR,
                     .clear = typed_clear_object},
    [JSON_ARRAY] = {.name = "array",
                    .size = sizeof(json_array_t),
                    .kind = FL_DEALLOC_CLEAR,
                    .clear_some = typed_clear_some_of_array},
    [JSON_STRING] = {.name = "string",
                     .size = sizeof(json_string_t),
                     .kind = FL_DEALLOC_CLEAR,
                     .flags = FL_TYPE_AT_ONCE, /* it holds no other value */
                     .clear = typed_clear_string},
    [JSON_INTEGER] = {.name = "integer", .size = sizeof(json_integer_t), .kind = FL_DEALLOC_PLAIN},
    [JSON_REAL] = {.name = "real", .size = sizeof(json_real_t), .kind = FL_DEALLOC_PLAIN},
};

__attribute__((constructor)) static void typed_ready(void)
{
    char error[128];
    for (json_type type = JSON_OBJECT; type <= JSON_REAL; type++) {
        if (fl_type_ready(&typed_types[type], NULL, error, sizeof error) == 0)
            continue;
        fprintf(stderr, "jansson: %s\n", error);
        abort();
    }
}

/* True, false and null are never deleted. */
void json_delete(json_t *json)
{
    if (json != NULL && json->type <= JSON_REAL)
        fl_dealloc(fl_thread_self(), json, &typed_types[json->type]);
}
