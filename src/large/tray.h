/* SPDX-License-Identifier: MIT
 *
 * Trays: spare extents that threads put down and take up without a lock. A shard (large.h) has a tray for each of the
 * smaller sizes, and keeps other spare extents in lists under its lock (spare.h).
 *
 *     slots      | extent | extent | NULL | NULL | NULL |
 *                                    ^             ^
 *                                    count         room
 *
 * A thread that has an extent in hand puts it into an empty slot by a compare-and-swap, and so takes it out. `count`
 * is a hint where to begin. Slots from `room` on are not to be filled. Room is granted and revoked under the lock of
 * the shard, and counts against the bound on spare extents, filled or not:
 *
 *     granted = sum of room * bytes of each tray
 *     bytes in trays <= granted + an extent for each thread that put one down while room was revoked
 */
#ifndef FLI_TRAY_H
#define FLI_TRAY_H

#include "large/spare.h"

enum { FLI_TRAYS = 40, FLI_TRAY_SLOTS = FLI_RARE_PATHS ? 3 : 22 };

struct fli_tray {
    FLI_ATOMIC(unsigned) count, room;
    FLI_ATOMIC(size_t) bytes; /* of an extent of this size; 0: room was never granted */
    FLI_ATOMIC(struct fli_extent *) slots[FLI_TRAY_SLOTS];
};

/* The trays of a shard. The lock of the shard guards what is written here, but for the slots and their counts. */
struct fli_trays {
    FLI_ATOMIC(struct fli_tray *) of; /* for each bin below FLI_TRAYS; NULL until fli_tray_make */
    FLI_ATOMIC(uint64_t) used;        /* a bit for each tray that was ever granted room */
    FLI_ATOMIC(size_t) granted;
};

/* Makes the trays, if there are none. Where memory is refused there are none, and extents are spare without. No lock
 * may be held. */
void fli_tray_make(struct fli_trays *trays);

/* Unmaps what is in the trays, and the trays. No other thread uses them. */
void fli_tray_close(struct fli_trays *trays);

/* The tray of a bin, or NULL. */
static inline struct fli_tray *fli_tray_of(struct fli_trays *trays, unsigned bin)
{
    /* E7: acquire, pairs with E8: the trays can be read. */
    struct fli_tray *of = fli_load_acquire(&trays->of);
    return FLI_LIKELY(of != NULL && bin < FLI_TRAYS) ? &of[bin] : NULL;
}

static inline bool fli_tray_put_at(FLI_ATOMIC(struct fli_extent *) * slot, struct fli_extent *extent)
{
    struct fli_extent *empty = NULL;
    return fli_load_hint(slot) == NULL &&
           /* E1: release, pairs with E2: what the record says of the extent is visible to its next owner. */
           fli_cas_strong(slot, &empty, extent, memory_order_release, memory_order_relaxed);
}

/* Puts an extent in hand into the tray of its size. Returns false if that has no room. Lock-free. */
static inline bool fli_tray_put(struct fli_trays *trays, struct fli_extent *extent)
{
    struct fli_tray *tray = fli_tray_of(trays, extent->bin);
    if (FLI_UNLIKELY(tray == NULL))
        return false;
    unsigned room = fli_load_hint(&tray->room);
    for (unsigned i = fli_load_hint(&tray->count); i < room; i++)
        if (FLI_LIKELY(fli_tray_put_at(&tray->slots[i], extent))) {
            fli_store_hint(&tray->count, i + 1);
            return true;
        }
    return false;
}

static inline struct fli_extent *fli_tray_take_at(FLI_ATOMIC(struct fli_extent *) * slot)
{
    struct fli_extent *extent = fli_load_hint(slot);
    /* E2: acquire, pairs with E1. */
    if (extent == NULL || !fli_cas_strong(slot, &extent, NULL, memory_order_acquire, memory_order_relaxed))
        return NULL;
    return extent;
}

/* Takes an extent, in hand, out of the first `count` slots of a tray; NULL if there is none. */
static inline struct fli_extent *fli_tray_take_below(struct fli_tray *tray, unsigned count)
{
    struct fli_extent *extent = NULL;
    while (count > 0 && extent == NULL)
        extent = fli_tray_take_at(&tray->slots[--count]);
    fli_store_hint(&tray->count, count);
    return extent;
}

/* Takes an extent, in hand, out of the tray of a bin; NULL if there is none. Lock-free. */
static inline struct fli_extent *fli_tray_take(struct fli_trays *trays, unsigned bin)
{
    struct fli_tray *tray = fli_tray_of(trays, bin);
    return FLI_LIKELY(tray != NULL) ? fli_tray_take_below(tray, fli_load_hint(&tray->count)) : NULL;
}

/* Grants room for one more extent of the size of this one, at most until `most` bytes are granted. Returns whether it
 * did. Under the lock of the shard. */
bool fli_tray_grant(struct fli_trays *trays, const struct fli_extent *extent, size_t most);

/* Revokes all room, and moves what is in the trays to the spare extents. Under the lock of the shard. */
void fli_tray_revoke(struct fli_trays *trays, struct fli_spare *spare);

/* In the child of a fork, before which all room was revoked: forgets what other threads have put down since. */
void fli_tray_forget_stw(struct fli_trays *trays);

/* Bytes in the trays, as a number of a moment ago. */
size_t fli_tray_bytes(struct fli_trays *trays);

#endif
