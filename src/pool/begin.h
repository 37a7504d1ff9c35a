/* SPDX-License-Identifier: MIT
 *
 * The slabs that a home begins: where their memory comes from.
 *
 *     1. slabs of another class that are all free at the home
 *     2. rows of slabs that are all free at another home: half of them go over to this one
 *     3. idle slabs, or new ones (memory/idle.h)
 *
 * The first two have memory, and the processors' caches may still have parts of it. What a trim has returned costs a page
 * fault for every 4 KiB, and so does new memory. Without the second, each thread of a program that works in phases would
 * need memory for the largest of its own phases, though others have more than they use.
 *
 * A row comes whole, so that homes that grow side by side do not get every second slab.
 */
#ifndef FLI_BEGIN_H
#define FLI_BEGIN_H

#include "pool/homes.h"

/* Whether a slab that is all free at a home may get another class there: not with stale readers. Not in a hardened heap
 * either: there what was written to its free blocks would go unnoticed. */
static inline bool fli_begin_converts(const struct fli_homes *homes)
{
    return homes->slabs->stale_bytes == 0 && !homes->slabs->hardened;
}

/* ---- Under the lock of `home`. */

/* Whether a slab that is all free lies there, of any class. */
bool fli_begin_has_free(const struct fli_homes *homes, const struct fli_home *home);

/* Begins a slab of the class at the home, next to the slab of which refills took blocks last, if it can. Returns false if
 * the limit or the OS refuses. */
bool fli_begin_slab(struct fli_homes *homes, struct fli_home *home, unsigned class_index);

/* Adopts a slab of the class that has free blocks, or begins one; for a real-time thread the other way round. If it is
 * `pressed` and none can be begun, adopts any (fli_homes_adopt). */
bool fli_begin_or_adopt(struct fli_homes *homes, struct fli_home *home, unsigned class_index, bool realtime,
                        bool pressed);

#endif
