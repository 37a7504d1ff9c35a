/* SPDX-License-Identifier: MIT
 *
 * Counting the blocks of a heap, and the accounting equation behind it:
 *
 *     carved = live + cached + pooled + parked + deferred + lost
 *
 * Carved blocks are counted when slabs begin. Each term but `live` is counted in the places where the library holds
 * blocks. `live` is the rest, because no fast path counts. fl_heap_check (heap_check.c) walks the heap and proves
 * that the counted blocks exist.
 */
#ifndef FLI_STATS_H
#define FLI_STATS_H

#include "heap/thread.h"

#include <stdio.h>

/* A 64-bit number of a struct of statistics, and its name in print. */
struct fli_stats_field {
    const char *name;
    size_t offset;
};

/* Prints numbers of such a struct, a line each. */
void fli_stats_print_text(const void *stats, const struct fli_stats_field *fields, size_t count, FILE *stream);

/* Prints them as the first members of an object of JSON, which the caller ends. */
void fli_stats_print_json(const void *stats, const struct fli_stats_field *fields, size_t count, FILE *stream);

/* What printing returns: 0, or -EIO if the stream has failed. */
int fli_stats_printed(FILE *stream);

/* Fills in the statistics of a size class. Under the registry lock; exact while the heap's threads are quiet. */
void fli_stats_count_class_locked(struct fl_heap *heap, unsigned class_index, struct fl_class_stats *stats);

#endif
