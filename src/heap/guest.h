/* SPDX-License-Identifier: MIT
 *
 * Guests: what a layer above keeps of a heap and of its handles, and when that layer is called. The heap knows nothing
 * else of it. A heap has at most one guest, which stays as long as the heap.
 *
 *     label  order    where                        pairs with
 *     H3     release  a heap gets its guest        H3 H4: the guest is whole
 *     H4     acquire  the guest is read            H3
 */
#ifndef FLI_GUEST_H
#define FLI_GUEST_H

#include "heap/thread.h"

struct fli_guest {
    /* A handle with a guest goes offline, or is `detached`: then its guest must be gone when this returns. The thread
     * that uses it; no lock is held. */
    void (*leave)(struct fli_thread *thread, bool detached);
    /* Such a handle is online again. Its thread; no lock is held. */
    void (*come_back)(struct fli_thread *thread);
    /* A handle is removed that still has a guest: callbacks have given it one, or it is gone in the child of a fork.
     * Under the registry lock. */
    void (*remove_locked)(struct fli_thread *thread);
    /* In the child of a fork, once the handles of other threads are removed. */
    void (*begin_anew_stw)(struct fl_heap *heap);
    /* How many of the heap's magazines it has. Under the registry lock; no other thread uses the heap. */
    size_t (*magazines_locked)(struct fl_heap *heap);
    /* The heap is destroyed. */
    void (*close)(struct fli_guest *guest);
};

/* The guest of a heap, or NULL. Any thread. */
static inline struct fli_guest *fli_guest_of(struct fl_heap *heap)
{
    /* H4: acquire, pairs with H3 in fli_guest_enter. */
    return fli_load_acquire(&heap->guest);
}

/* Gives a heap its guest, unless it has one. Returns the one that it has then. Any thread. */
struct fli_guest *fli_guest_enter(struct fl_heap *heap, struct fli_guest *guest);

/* Each calls the function of the guest that has its name, if there is a guest. */
void fli_guest_leave(struct fli_thread *thread, bool detached);
void fli_guest_return(struct fli_thread *thread);
void fli_guest_remove_locked(struct fli_thread *thread);
void fli_guest_begin_anew_stw(struct fl_heap *heap);
size_t fli_guest_magazines_locked(struct fl_heap *heap);
void fli_guest_close(struct fl_heap *heap);

#endif
