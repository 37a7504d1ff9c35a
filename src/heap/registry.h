/* SPDX-License-Identifier: MIT
 *
 * The registry of heaps, their threads, OS threads, and the bindings between these. One process-wide lock guards all
 * of it. A thread takes the lock when it changes or walks one of these, never when it exchanges magazines.
 *
 *     thread_count of a heap = number of threads on its list `threads`
 *     heaps[h->in_registry] = h, for each heap h
 */
#ifndef FLI_REGISTRY_H
#define FLI_REGISTRY_H

#include "heap/heap.h"

/* Enters a heap. Returns 0, or -ENOMEM if the OS refuses memory, or what it takes to watch the exits of threads. */
int fli_registry_enter(struct fl_heap *heap);

/* The number of heaps that there are. Any thread. Locks, as the next two do. */
size_t fli_registry_heap_count(void);

/* The number of threads attached to a heap, after those that are gone have been reaped (os_thread.h). Stores how many of
 * them are inside a read-side section. */
size_t fli_registry_count(struct fl_heap *heap, unsigned *inside);

/* Removes a heap to which no thread is attached. */
void fli_registry_remove(struct fl_heap *heap);

/* The lock of the registry, the second in the order of heap.h. */
void fli_registry_lock(void);
void fli_registry_unlock(void);
void fli_registry_assert_held(void);
void fli_registry_keep_stw(void); /* in the child of a fork, see lock.h */

/* All heaps, and how many they are. They stand in an array, so that the processor can wait for several of them at once
 * when a fork looks at all. Under the registry lock; changes when a heap is entered or removed. */
struct fl_heap *const *fli_registry_heaps(size_t *count);

#endif
