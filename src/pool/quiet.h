/* SPDX-License-Identifier: MIT
 *
 * Quiet classes: those of which a thread exchanges no magazine while its home begins slabs.
 *
 * The blocks of a magazine hold slabs that are free otherwise. When a program has dropped its objects in an order of its
 * own, each may lie in another slab: 254 of them then hold 16 MiB, which no other class can use. So when a home has to
 * take more memory, its thread first sends home what it has in magazines of quiet classes. A program that works in
 * phases, each with sizes of its own, thus finds the memory of one phase again in the next.
 *
 *     busy         classes of which the thread has exchanged a magazine since the count of slabs begun was 0
 *     judged       when the next slab needs idle memory and FLI_QUIET_SLABS slabs are begun; the count is 0 then
 *     quiet        classes that are not busy then: what lies in magazines of these is sent home
 *
 * Where there was no need for twice as many slabs, the count begins anew, too.
 *
 * The largest classes count as one. A class that is used within its two magazines alone may be sent home, too. That costs
 * it a refill in a quarter of a mebibyte of slabs begun.
 *
 * This is for threads whose home can give a slab another class (fli_homes_begin). Where memory is scarce, allowance.h sees
 * to it that caches are small. Real-time threads leave upkeep to others.
 */
#ifndef FLI_QUIET_H
#define FLI_QUIET_H

#include "pool/owner.h"

/* For how many slabs that its home begins a thread does not use a quiet class at least. */
enum { FLI_QUIET_SLABS = FLI_RARE_PATHS ? 1 : 4 };

/* The bit of a class. */
static inline uint64_t fli_quiet_bit(unsigned class_index)
{
    return (uint64_t)1 << fli_min(class_index, 63);
}

/* Notes that the owner exchanges a magazine of the class. The owning thread only, here and below. */
static inline void fli_quiet_note_owner(struct fli_owner *owner, unsigned class_index)
{
    owner->busy |= fli_quiet_bit(class_index);
}

/* Whether classes are to be judged before the home begins a slab. The home is locked. */
bool fli_quiet_must_judge_owner(struct fli_backing *backing, struct fli_owner *owner);

/* The same. It is off in the model, as allowance.h is. */
static inline bool fli_quiet_is_due_owner(struct fli_backing *backing, struct fli_owner *owner)
{
    return !FLI_MODEL && fli_quiet_must_judge_owner(backing, owner);
}

/* Judges the classes, and sends home what the owner has in magazines of quiet ones. `caches` are all of its caches, by
 * class. The home is locked, is unlocked meanwhile, and is locked again, or another one of the owner is; unless memory is
 * refused, which returns false. */
FLI_COLD bool fli_quiet_send_home_owner(struct fl_cache *caches, struct fli_backing *backing,
                                        struct fli_owner *owner);

#endif
