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

/* Fills in the statistics of a size class. Under the registry lock; exact while the heap's threads are quiet. */
void fli_stats_count_class_locked(struct fl_heap *heap, unsigned class_index, struct fl_class_stats *stats);

#endif
