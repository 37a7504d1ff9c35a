/* SPDX-License-Identifier: MIT
 *
 * Handing an object over to its owner's queue: what a thread does that drops the last reference that is not the
 * owner's.
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
    struct fli_slot *slot;     /* the owner's */
    struct fli_merging merging;
    bool refused; /* no magazine could be had */
};

/* Drops a reference for which fli_count_drop has returned FLI_DROP_HAND. Returns what came of it: FLI_DROP_HAND only if
 * the object has no owner, and no reference. Merges what is in the queue if the owner is not there. Any thread.
 * Lock-free; may lock to carve a magazine. */
enum fli_drop fli_hand_over(struct fli_handing *handing, struct fl_object *object);

/* An empty magazine; NULL if memory is refused. Keeps errno. */
struct fli_magazine *fli_hand_obtain_empty(struct fli_thread *server);

#endif
