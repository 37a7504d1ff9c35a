/* SPDX-License-Identifier: MIT
 *
 * The caretaker: a thread, one per process, that takes the looks of decay (decay.h) for the heaps that ask for it with
 * options.decay_thread. So memory goes back to the OS even when every thread of the host is silent.
 *
 *     there is a caretaker  <=>  its list of heaps has one, but for a fork, and but for a refusal by the OS
 *
 * The thread ends when the last such heap is destroyed. The child of a fork has none until a slow half there finds a
 * look due; it starts one then. The lock of the caretaker guards its list, and is held during a look: a heap is
 * destroyed before or after it.
 */
#ifndef FLI_CARETAKER_H
#define FLI_CARETAKER_H

#include "heap/heap.h"

/* Takes a heap into care, if it asks for that. Returns 0, or a negative errno value if there can be no thread. */
int fli_caretaker_adopt(struct fl_heap *heap);

/* Takes a heap out of care, which is about to be destroyed. Waits for a look under way. */
void fli_caretaker_give_up(struct fl_heap *heap);

/* Starts the caretaker if the heap asks for one and a fork has left none. */
void fli_caretaker_return(struct fl_heap *heap);

/* What a fork does to it. The lock is taken before the fork and released after it. */
void fli_caretaker_lock(void);
void fli_caretaker_unlock(void);
void fli_caretaker_keep_stw(void); /* in the child of a fork, see lock.h */
void fli_caretaker_begin_anew_stw(void);

#endif
