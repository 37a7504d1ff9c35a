/* SPDX-License-Identifier: MIT
 *
 * The registry: one process-wide lock guards which heaps there are, which threads each has, which OS threads there are,
 * and which each thread is bound to. It is taken when these change and by whoever walks them, never by an exchange of
 * magazines.
 */
#ifndef FLI_REGISTRY_H
#define FLI_REGISTRY_H

#include "heap/heap.h"

/* Enters a heap. Returns 0, or -ENOMEM if the process refuses what watching exits takes. */
int fli_registry_enter(struct fl_heap *heap);

/* The threads attached to a heap, and how many of them are inside a read-side section. */
size_t fli_registry_count(struct fl_heap *heap, unsigned *inside);

/* Takes out a heap that no thread is attached to. */
void fli_registry_remove(struct fl_heap *heap);

void fli_registry_lock(void);
void fli_registry_unlock(void);
void fli_registry_assert_held(void);

/* The first of all heaps. Under the registry lock. */
struct fl_heap *fli_registry_heaps(void);

#endif
