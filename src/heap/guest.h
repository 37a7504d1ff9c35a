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

/* Is told of a block. */
typedef void (*fli_guest_visitor)(void *context, const void *block);

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
    /* Ends the dead objects that a handle keeps: callbacks of the host run. Returns whether it had some. Its thread; no
     * lock is held. */
    bool (*evict)(struct fli_thread *thread);
    /* Whether a handle keeps any. The thread that uses it. */
    bool (*keeps)(const struct fli_thread *thread);
    /* Hands them to fl_run_pending of the handle, and calls no callback. Its thread, or any other while that is
     * stopped. Under the registry lock. */
    void (*hand_over_locked)(struct fli_thread *thread);
    /* Tells of each block in which a handle keeps a dead object. Under the registry lock; no other thread uses the
     * heap. */
    void (*visit_kept_locked)(struct fl_heap *heap, fli_guest_visitor visitor, void *context);
    /* Verifies what it keeps, and adds the magazines that it has to `*magazines`. Returns 0, or -EUCLEAN with a
     * message. Likewise. */
    int (*check_locked)(struct fl_heap *heap, size_t *magazines, char *error, size_t error_size);
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

/* Each calls the function of the guest that has its name, if there is a guest. Lock and thread are as there. */
void fli_guest_leave(struct fli_thread *thread, bool detached);
void fli_guest_come_back(struct fli_thread *thread);
void fli_guest_remove_locked(struct fli_thread *thread);
void fli_guest_begin_anew_stw(struct fl_heap *heap);
bool fli_guest_evict(struct fli_thread *thread);
void fli_guest_hand_over_locked(struct fli_thread *thread);
void fli_guest_visit_kept_locked(struct fl_heap *heap, fli_guest_visitor visitor, void *context);
int fli_guest_check_locked(struct fl_heap *heap, size_t *magazines, char *error, size_t error_size);
void fli_guest_close(struct fl_heap *heap);

/* fli_guest_evict for each handle of the heap that is bound to the calling OS thread. No lock may be held. */
void fli_guest_evict_ours(struct fl_heap *heap);

#endif
