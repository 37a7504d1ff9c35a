/* SPDX-License-Identifier: MIT
 *
 * Weakens one memory order of the library when a program starts, so that a test can show that the order is needed:
 *
 *     FREELANE_WEAKEN="src/pool/pool.c 62 62 0 0"   file, first and last line of the access, which of its orders
 *                                                   (1: a failure's), what it becomes (the value of __ATOMIC_...)
 *
 * The model check and the preset tsan compile everything so that each order is looked up here at run time. One build
 * thus serves all places. orders.py knows where the orders stand.
 */
#ifndef WEAKEN_H
#define WEAKEN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Written before main starts. In each object file, so that nothing has to be linked. */
static struct {
    char file[128];
    int first, last, which, order;
} weakened;

__attribute__((constructor)) static void weaken_read(void)
{
    const char *place = getenv("FREELANE_WEAKEN");
    if (place != NULL && sscanf(place, "%127s %d %d %d %d", weakened.file, &weakened.first, &weakened.last,
                                &weakened.which, &weakened.order) != 5)
        abort();
}

__attribute__((unused, noinline)) static int weaken_is_file(const char *file)
{
    size_t length = strlen(file), named = strlen(weakened.file);
    return length >= named && strcmp(file + length - named, weakened.file) == 0;
}

/* The order of an access: `order`, unless this is the place to weaken. */
__attribute__((unused)) static inline int weaken(int order, int which, const char *file, int line)
{
    if (order == __ATOMIC_RELAXED || line < weakened.first || line > weakened.last || which != weakened.which ||
        !weaken_is_file(file))
        return order;
    return weakened.order;
}

#define WEAKEN(order, which) weaken((int)(order), (which), __FILE__, __LINE__)

#endif
