/* SPDX-License-Identifier: MIT
 *
 * Counting what a heap holds, and the accounting equation behind it:
 *
 *     carved = live + cached + pooled + parked + lost
 *
 * Carved blocks are counted when slabs are cut, the terms but `live` where the library holds blocks; `live` is what
 * remains, for no fast path counts. fl_heap_check (heap_check.c) walks the heap and proves that the counted blocks
 * exist.
 */
#ifndef FLI_STATS_H
#define FLI_STATS_H

#include "heap/thread.h"

/* The size class's part of the statistics, but for `live`. Under the registry lock. */
void fli_stats_count_class_locked(struct fl_heap *heap, unsigned class_index, struct fl_class_stats *stats);

#endif
