/* SPDX-License-Identifier: MIT
 *
 * Drops 200 000 arrays and objects, each of which holds the next one alone, on a small stack. jansson as it was recurses
 * for each.
 */
#include <freelane/freelane.h>

#include <jansson.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { LEVELS = 200000, STACK_BYTES = 256 * 1024 };

static json_t *wrap(json_t *inner, int level)
{
    json_t *outer = level % 2 == 0 ? json_array() : json_object();
    int failed = level % 2 == 0 ? json_array_append_new(outer, inner) : json_object_set_new(outer, "in", inner);
    if (failed != 0)
        abort();
    return outer;
}

static void *nest_and_drop(void *argument)
{
    json_t *json = json_string("innermost");
    for (int level = 0; level < LEVELS; level++)
        json = wrap(json, level);
    json_decref(json);
    return argument;
}

int main(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    struct fl_stats stats;
    char error[256] = "";
    if (pthread_attr_init(&attributes) != 0 || pthread_attr_setstacksize(&attributes, STACK_BYTES) != 0 ||
        pthread_create(&thread, &attributes, nest_and_drop, NULL) != 0 || pthread_join(thread, NULL) != 0)
        return 1;
    fl_heap_stats(fl_heap_default(), &stats);
    if (stats.live_blocks != 0)
        fprintf(stderr, "%zu blocks are left\n", stats.live_blocks);
    if (fl_heap_check(fl_heap_default(), error, sizeof error) != 0)
        fprintf(stderr, "%s\n", error);
    return stats.live_blocks == 0 && error[0] == '\0' ? 0 : 1;
}
