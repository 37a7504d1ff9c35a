/* SPDX-License-Identifier: MIT
 *
 * Reference counts: the two words of an object's header, and how they are merged.
 *
 *     references = count of `local` + count of `shared`
 *
 *     state       local       shared                        who may see the object die
 *     owned       slot, n>0   count c                       the owner, when n has become 0: at once if the word is 0
 *     queued      slot, n     QUEUED, one of c + n is the   nobody: it has a reference
 *                             queue's
 *     merged      0           MERGED, count c >= 0          who lowers c to 0
 *     dead        slot, 0     0                             of an object that its owner had alone
 *                 0           MERGED, count 0
 *     linked      above any   MERGED, not IMMORTAL,         a dead object that waits while memory is refused, linked
 *                 slot        count < 0                     through the other bits of both words (heap/pile.h)
 *
 * The owner alone writes `local`; in its place a thread that has claimed its slot (slot.h). The owner's last decref
 * looks at `shared`. If that word is 0, no other thread has a reference, and none can find the object: it is dead. If
 * not, the owner writes local = 0 and then sets MERGED by a compare-and-swap. From that on others may free the object,
 * so the owner touches it no more unless it is dead. The object has no owner then: a thread with the old slot must not
 * count in `local` again.
 *
 * A thread that is not the owner lowers `shared`. If that is 0 already and not merged, the reference counts in
 * `local`, and perhaps it is the last. The thread sets QUEUED instead, and hands its reference to the owner's queue.
 * From a queue an object is merged in three steps: `shared` gets the owner's count and MERGED; local = 0; the queue's
 * reference is dropped. The object cannot die before the last step. If a fork leaves the first steps half done, there
 * are too many references and never too few. Where the queue's reference is the last, the first step drops it, too:
 * nobody else can find the object from then on.
 *
 * Readers without locks raise `shared` though they have no reference. They may do so if the object is PUBLISHED, and
 * not merged with a count of 0. The word of such an object is not 0, so its owner's last decref is the
 * compare-and-swap. Of that and the reader's one comes first: the reader finds MERGED with 0, or the owner finds a
 * reference. Without the flag, the owner might free the object on the ground of a 0 that a reader has just raised to
 * 1.
 *
 * A stale reader may hold a header that was freed and is an object anew. Its compare-and-swap then fails, or gives the
 * reader a reference to the new object, which is counted like any other. Hence it looks again at where it found the
 * pointer. It raises only what is published, so B4 and B6 let it see there that the old object has left. In `local` it
 * counts only if it owns the object: then it has itself made it, after the old one had left.
 *
 *     label  order    where                                          pairs with
 *     B1     acquire  the owner finds `shared` 0 (object_inline.h)   B3
 *     B2     acquire  a reader looks again (object_inline.h)         B6, the host's store
 *     B3     acq_rel  a drop                                         B1 B3 B5 B7
 *     B4     acquire  a reader takes a reference                     B6
 *     B5     acq_rel  the owner's last decref merges                 B3
 *     B6     release  an object is published                         B2 B4
 *     B7     acquire  a merge finds the queue's reference the last   B3
 *
 * A drop releases what its thread did to the object, and the drop that finds the last reference acquires it. Taking a
 * reference orders nothing: the caller had one. Nor does the first step of a merge from the queue if others follow,
 * because the last one is a drop. All changes of `shared` are read-modify-writes but the one that makes an object, so
 * each synchronises with all that are before it.
 */
#ifndef FLI_COUNT_H
#define FLI_COUNT_H

#include "base/atomic.h"
#include "base/base.h"

#include <freelane/object.h>

/* What both words have, beside 20 and 28 bits of a link, in a dead object that is linked through its counts. Slots have
 * lower numbers. The shared count is negative, and PUBLISHED stays as it was. */
#define FLI_LOCAL_LINKED  ((uint32_t)0xfff00000)
#define FLI_SHARED_LINKED ((uint32_t)0x80000000 | FL_SHARED_MERGED)

enum {
    FLI_LOCAL_BITS = 16,
    /* What an owner moves to the shared count when its own is full. */
    FLI_LOCAL_HALF = (FL_LOCAL_MOST + 1) / 2,
    /* The most references in `shared`. An owner's count can be added to as many. */
    FLI_SHARED_MOST = (1 << 27) - 1 - 2 * FL_LOCAL_MOST,
    /* Below it, a shared word has room for a reference of each thread and for half of an owner's: it is added to without
     * looking whether it is full. */
    FLI_SHARED_NEARLY_FULL = FLI_SHARED_MOST / 2 * FL_SHARED_ONE,
};

/* What came of dropping a reference. */
enum fli_drop {
    FLI_DROP_LIVES,    /* the object lives, or is not the caller's concern any more */
    FLI_DROP_LAST,     /* it is dead: the caller deallocates it */
    FLI_DROP_HAND,     /* the reference is for the owner's queue: with `may_hand` it is the queue's now */
    FLI_DROP_BELOW,    /* there was none; nothing was changed */
    FLI_DROP_IMMORTAL, /* it was an immortal object's own; nothing was changed. Checked builds */
};

/* What came of trying to take a reference. */
enum fli_try {
    FLI_TRY_FAILED, /* the object is dead, or not published */
    FLI_TRY_TAKEN,
    FLI_TRY_FULL, /* it was taken, and has made the object immortal: the count was full */
};

/* The references in a shared word. */
static inline int32_t fli_shared_count(uint32_t shared)
{
    return (int32_t)shared >> 4; /* arithmetic, as the supported compilers shift signed numbers */
}

/* Whether the references no longer count. Checked builds go on counting those of an immortal object, to notice who
 * drops too many, unless they were too many to be counted. */
static inline bool fli_shared_is_fixed(uint32_t shared)
{
    return (shared & FL_SHARED_IMMORTAL) != 0 && (!FLI_CHECKED || fli_shared_count(shared) >= FLI_SHARED_MOST);
}

/* Whether a reader without locks may raise a shared count. */
static inline bool fli_shared_may_rise(uint32_t shared)
{
#if defined(FREELANE_MODEL_NO_PUBLISH)
    bool published = true;
#else
    bool published = (shared & FL_SHARED_PUBLISHED) != 0;
#endif
    return published && ((shared & FL_SHARED_MERGED) == 0 || fli_shared_count(shared) > 0);
}

/* Adds references to the shared count, unless that is nearly full or the object is immortal. Returns whether it has. The
 * caller has a reference. Any thread. */
static inline bool fli_count_add_quickly(struct fl_counts *counts, uint32_t references)
{
    uint32_t shared = fli_load_public(&counts->shared);
    if (FLI_UNLIKELY((int32_t)shared >= FLI_SHARED_NEARLY_FULL || (shared & FL_SHARED_IMMORTAL) != 0))
        return false;
    /* Relaxed: the caller had a reference before, so nothing is found out by this one. */
    fli_add_public(&counts->shared, references * FL_SHARED_ONE, memory_order_relaxed);
    return true;
}

/* The same for every object. Returns false if it has become immortal by it. */
bool fli_count_add(struct fl_counts *counts, uint32_t references);

/* What dropping a reference makes of a shared word. Stores the next word in `next`. */
static inline enum fli_drop fli_count_after_drop(uint32_t shared, uint32_t *next)
{
    int32_t count = fli_shared_count(shared);
    *next = shared - FL_SHARED_ONE;
    if ((shared & FL_SHARED_MERGED) == 0) {
        if (FLI_LIKELY(count > 0) || (shared & FL_SHARED_QUEUED) != 0)
            return FLI_DROP_LIVES;
        *next = shared | FL_SHARED_QUEUED;
        return FLI_DROP_HAND;
    }
    if (count <= 0)
        return FLI_DROP_BELOW;
    if (count > 1)
        return FLI_DROP_LIVES;
    return (shared & FL_SHARED_IMMORTAL) != 0 ? FLI_DROP_IMMORTAL : FLI_DROP_LAST;
}

/* Drops a reference of a thread that is not the owner. Inlined, it spares a call, whose store the processor finishes
 * before it begins the compare-and-swap. */
static inline __attribute__((always_inline)) enum fli_drop fli_count_drop_inline(struct fl_counts *counts,
                                                                                 bool may_hand)
{
    uint32_t next, shared = fli_load_public(&counts->shared);
    for (;;) {
        if (fli_shared_is_fixed(shared))
            return FLI_DROP_LIVES;
        enum fli_drop drop = fli_count_after_drop(shared, &next);
        if (drop >= FLI_DROP_BELOW || (drop == FLI_DROP_HAND && !may_hand))
            return drop;
        /* B3: acq_rel, pairs with B1, B3, B5 and B7: what its thread did to the object is before the object's death.
         * Failure: relaxed, the word is looked at anew. */
        if (fli_cas_public(&counts->shared, &shared, next, memory_order_acq_rel, memory_order_relaxed))
            return drop;
    }
}

/* The same. */
enum fli_drop fli_count_drop(struct fl_counts *counts, bool may_hand);

/* Takes a reference for a reader that has none. Any thread. */
enum fli_try fli_count_try(struct fl_counts *counts);

/* Merges an object whose owner's count has just become 0. The owner. */
enum fli_drop fli_count_merge_last(struct fl_counts *counts);

/* Merges an object from the queue, and drops the queue's reference. The owner, or the thread that has claimed its slot. */
enum fli_drop fli_count_merge(struct fl_counts *counts);

/* Sets PUBLISHED. Any thread that has a reference. */
void fli_count_publish(struct fl_counts *counts);

/* Makes an object immortal. */
void fli_count_fix(struct fl_counts *counts);

#endif
