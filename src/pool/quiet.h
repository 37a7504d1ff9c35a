/* SPDX-License-Identifier: MIT
 *
 * Quiet classes: those of which a thread exchanges no magazine while its home begins slabs.
 *
 * The blocks of a magazine hold slabs that are free otherwise. When a program has dropped its objects in an order of its
 * own, each may lie in another slab: 254 of them then hold 16 MiB, which no other class can use. So when a home has to
 * take more memory, its thread first sends home what it has in magazines of quiet classes. A program that works in
 * phases, each with sizes of its own, thus finds the memory of one phase again in the next.
 *
 *     busy         classes of which the thread has exchanged a magazine since classes were judged last
 *     quiet        classes that were not busy when they were judged: after each FLI_QUIET_SLABS slabs begun
 *     sent home    before the home begins a slab in idle memory: magazines of classes that are quiet and not busy
 *
 * A class that is used within its two magazines alone may be sent home, too. That costs it a refill in 256 KiB of slabs
 * begun.
 *
 * This is for threads whose home can give a slab another class (fli_begin_slab). Where memory is scarce, allowance.h sees
 * to it that caches are small. Real-time threads leave upkeep to others.
 */
#ifndef FLI_QUIET_H
#define FLI_QUIET_H

#include "pool/owner.h"

/* After how many slabs that a home has begun classes are judged. */
enum { FLI_QUIET_SLABS = FLI_RARE_PATHS ? 1 : 4 };

/* Notes that the owner exchanges a magazine of the class. The owning thread only, here and below. */
static inline void fli_quiet_note_owner(struct fli_owner *owner, unsigned class_index)
{
    fli_class_set_add(&owner->home->busy, class_index);
}

/* Judges the classes, if that is due. Returns whether magazines of quiet classes are to be sent home before the home begins
 * a slab. The home is locked. */
bool fli_quiet_judge_owner(struct fli_backing *backing, struct fli_owner *owner);

/* The same. It is off in the model, as allowance.h is. */
static inline bool fli_quiet_is_due_owner(struct fli_backing *backing, struct fli_owner *owner)
{
    return !FLI_MODEL && fli_quiet_judge_owner(backing, owner);
}

/* Sends home what the owner has in magazines of quiet classes. `caches` are all of its caches, by class. The home is locked,
 * is unlocked meanwhile, and is locked again, or another one of the owner is; unless memory is refused, which returns
 * false. */
FLI_COLD bool fli_quiet_send_home_owner(struct fl_cache *caches, struct fli_backing *backing,
                                        struct fli_owner *owner);

#endif
