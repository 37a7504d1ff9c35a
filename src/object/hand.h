/* SPDX-License-Identifier: MIT
 *
 * Handing an object over to its owner's queue: what a thread does that drops the last reference that is not the
 * owner's.
 *
 * The thread collects such objects in magazines of its own, one per owner ("outs"). It puts a magazine into the owner's
 * queue when it is full, when another owner needs its place, and at fl_merge. So an object costs a fraction of what the
 * queue's shared words do. Objects whose end the host may wait for are not collected: their magazine is put at once. Where
 * the owner is not there, the thread claims its slot and merges the object itself.
 *
 * The thread gets a magazine with room before it drops the reference. So it has its reference still if no magazine can
 * be had. Then the object becomes immortal: nobody could find it any more.
 */
#ifndef FLI_HAND_H
#define FLI_HAND_H

#include "object/slot.h"

struct fli_thread;

struct fli_handing {
    struct fli_thread *server; /* gets magazines */
    struct fli_slot *slots;    /* slot 0; the others follow */
    struct fli_slot *mine;     /* whose outs are used; NULL: none are, and what is handed over is put at once */
    struct fli_merging merging;
    bool refused; /* no magazine could be had */
};

/* Drops a reference for which fli_count_drop has returned FLI_DROP_HAND. Returns what came of it: FLI_DROP_HAND only if
 * the object has no owner, and no reference. Merges what is in a queue if the owner is not there. Any thread.
 * Lock-free; may lock to carve a magazine. */
enum fli_drop fli_hand_over(struct fli_handing *handing, struct fl_counts *counts, bool at_once);

/* The same if `mine` has an out with room for the object, and its owner is there. Returns false, and does nothing, if
 * not. Wait-free. */
bool fli_hand_quickly(struct fli_slot *mine, struct fl_counts *counts, enum fli_drop *drop);

/* Puts what is in the outs into the queues of their owners, and merges where those are not there. The thread of the outs,
 * or any other when that is gone. Lock-free. */
void fli_hand_outs(struct fli_handing *handing);

/* Forgets what is in the outs of a slot. Those objects live for good. In the child of a fork. */
void fli_hand_forget(struct fli_slot *slot);

/* An empty magazine; NULL if memory is refused. Keeps errno. */
struct fli_magazine *fli_hand_obtain_empty(struct fli_thread *server);

#endif
