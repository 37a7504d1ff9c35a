/* SPDX-License-Identifier: MIT
 *
 * jansson: documents made, parsed, walked, replaced, printed and dropped; a set of its own per thread.
 *
 *     parse    a document of some 2000 values is parsed, walked and dropped
 *     large    the same with one of some 200 000
 *     store    4000 documents of some 60 values; a random one is replaced by a new one at a time, and others are walked
 *     build    documents are made by calls, copied, compared, printed, changed and dropped
 */
#include "harness.h"

#include SHIM

#include <jansson.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { TEXTS = 32, STORED = 4000 };

struct state;

struct program {
    const char *name;
    void (*open)(struct state *state);
    uint64_t (*round)(struct state *state);
};

struct state {
    const struct program *program;
    uint64_t random;
    char *texts[TEXTS];
    size_t lengths[TEXTS];
    unsigned text_count;
    json_t **stored;
};

static json_t *must(json_t *json)
{
    if (json == NULL)
        fail("jansson: no value");
    return json;
}

/* ---- Documents: an order with lines, and who gave it. */

static json_t *invent_word(struct state *state, unsigned syllables)
{
    static const char *const parts[] = {"an", "be", "cor", "du", "fel", "gim",
                                        "ho", "ix", "jun", "ka", "lor", "\xc3\xa9"};
    char word[64] = "";
    for (unsigned i = 0; i < syllables; i++)
        strcat(word, parts[random_below(&state->random, sizeof parts / sizeof parts[0])]);
    return must(json_string(word));
}

static json_t *invent_line(struct state *state)
{
    json_t *line = must(json_object()), *tags = must(json_array());
    json_object_set_new(line, "article", invent_word(state, 1 + random_below(&state->random, 12)));
    json_object_set_new(line, "count", json_integer(random_below(&state->random, 100)));
    json_object_set_new(line, "price", json_real(random_below(&state->random, 100000) / 4.0));
    json_object_set_new(line, "in stock", json_boolean(random_below(&state->random, 2)));
    for (unsigned i = random_below(&state->random, 4); i > 0; i--)
        json_array_append_new(tags, invent_word(state, 2));
    json_object_set_new(line, "tags", tags);
    return line;
}

static json_t *invent_order(struct state *state, unsigned lines)
{
    json_t *order = must(json_object()), *list = must(json_array()), *customer = must(json_object());
    json_object_set_new(customer, "name", invent_word(state, 4));
    json_object_set_new(customer, "address", invent_word(state, 9));
    json_object_set_new(customer, "since", json_integer(1990 + random_below(&state->random, 40)));
    json_object_set_new(order, "customer", customer);
    json_object_set_new(order, "remark", json_null());
    for (unsigned i = 0; i < lines; i++)
        json_array_append_new(list, invent_line(state));
    json_object_set_new(order, "lines", list);
    return order;
}

static uint64_t walk(const json_t *json)
{
    uint64_t sum = json_typeof(json);
    const char *key;
    json_t *value;
    size_t index;
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        json_object_foreach((json_t *)json, key, value) sum += (unsigned char)key[0] + walk(value);
        return sum;
    case JSON_ARRAY:
        json_array_foreach(json, index, value) sum += walk(value);
        return sum;
    case JSON_STRING:
        return sum + json_string_length(json) + (unsigned char)json_string_value(json)[0];
    case JSON_INTEGER:
        return sum + (uint64_t)json_integer_value(json);
    case JSON_REAL:
        return sum + (uint64_t)(json_real_value(json) * 4);
    default:
        return sum;
    }
}

/* ---- Texts, which are made with malloc before the rounds. */

static int append(const char *buffer, size_t size, void *context)
{
    struct state *state = context;
    unsigned i = state->text_count;
    state->texts[i] = realloc(state->texts[i], state->lengths[i] + size);
    if (state->texts[i] == NULL)
        return -1;
    memcpy(state->texts[i] + state->lengths[i], buffer, size);
    state->lengths[i] += size;
    return 0;
}

static void add_text(struct state *state, unsigned lines)
{
    json_t *order = invent_order(state, lines);
    if (json_dump_callback(order, append, state, JSON_COMPACT) != 0)
        fail("jansson: no text");
    json_decref(order);
    state->text_count++;
}

static json_t *parse(struct state *state)
{
    unsigned i = random_below(&state->random, state->text_count);
    json_error_t error;
    json_t *json = json_loadb(state->texts[i], state->lengths[i], 0, &error);
    if (json == NULL)
        fail("jansson: %s", error.text);
    return json;
}

static uint64_t parse_walk_drop(struct state *state)
{
    json_t *json = parse(state);
    uint64_t sum = walk(json);
    json_decref(json);
    return sum;
}

/* ---- The programs. */

static void open_parse(struct state *state)
{
    for (unsigned i = 0; i < TEXTS; i++)
        add_text(state, 200 + random_below(&state->random, 150));
}

static uint64_t round_parse(struct state *state)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < 10; i++)
        sum += parse_walk_drop(state);
    return sum;
}

static void open_large(struct state *state)
{
    add_text(state, 25000);
}

static void open_store(struct state *state)
{
    for (unsigned i = 0; i < TEXTS; i++)
        add_text(state, 3 + random_below(&state->random, 10));
    state->stored = calloc(STORED, sizeof *state->stored);
    for (unsigned i = 0; state->stored != NULL && i < STORED; i++)
        state->stored[i] = parse(state);
}

static uint64_t round_store(struct state *state)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < 500; i++) {
        unsigned place = random_below(&state->random, STORED);
        json_t *fresh = parse(state);
        json_decref(state->stored[place]);
        state->stored[place] = fresh;
        for (unsigned j = 0; j < 4; j++)
            sum += walk(state->stored[random_below(&state->random, STORED)]);
    }
    return sum;
}

static void open_build(struct state *state)
{
    (void)state;
}

/* A line in ten goes, another comes twice, one is told apart. */
static void alter(struct state *state, json_t *order)
{
    json_t *lines = json_object_get(order, "lines");
    for (size_t i = json_array_size(lines); i-- > 0;)
        if (random_below(&state->random, 10) == 0)
            json_array_remove(lines, i);
    json_array_append(lines, json_array_get(lines, 0));
    json_object_set_new(order, "remark", invent_word(state, 6));
    json_object_del(json_array_get(lines, 0), "tags");
}

static uint64_t round_build(struct state *state)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < 20; i++) {
        json_t *order = invent_order(state, 100), *copy = must(json_deep_copy(order));
        alter(state, copy);
        size_t length = json_dumpb(copy, NULL, 0, JSON_SORT_KEYS);
        sum += walk(copy) + length + (json_equal(order, copy) ? 1 : 0);
        json_decref(order);
        json_decref(copy);
    }
    return sum;
}

static const struct program programs[] = {
    {"parse", open_parse, round_parse},
    {"large", open_large, parse_walk_drop},
    {"store", open_store, round_store},
    {"build", open_build, round_build},
};

void *client_open(const char *program, const char *path, unsigned thread)
{
    (void)path;
    struct state *state = calloc(1, sizeof *state);
    for (size_t i = 0; state != NULL && i < sizeof programs / sizeof programs[0]; i++)
        if (strcmp(programs[i].name, program) == 0)
            state->program = &programs[i];
    if (state == NULL || state->program == NULL)
        fail("jansson: there is no program %s", program);
    state->random = thread + 482;
    state->program->open(state);
    return state;
}

uint64_t client_round(void *opaque)
{
    struct state *state = opaque;
    return state->program->round(state);
}

void client_close(void *opaque)
{
    struct state *state = opaque;
    for (unsigned i = 0; i < state->text_count; i++)
        free(state->texts[i]);
    for (unsigned i = 0; state->stored != NULL && i < STORED; i++)
        json_decref(state->stored[i]);
    free(state->stored);
    free(state);
}
