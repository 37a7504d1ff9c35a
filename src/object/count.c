/* SPDX-License-Identifier: MIT */
#include "object/count.h"

/* What a shared word becomes that has no room for more references: that of an immortal object. */
static uint32_t after_overflow(uint32_t shared)
{
    uint32_t flags = shared & (FL_SHARED_ONE - 1);
    return (uint32_t)FLI_SHARED_MOST * FL_SHARED_ONE | flags | FL_SHARED_IMMORTAL;
}

bool fli_count_add(struct fl_counts *counts, uint32_t references)
{
    if (fli_count_add_quickly(counts, references))
        return true;
    uint32_t shared = fli_load_public(&counts->shared);
    for (;;) {
        if (fli_shared_is_fixed(shared))
            return true;
        bool fits = fli_shared_count(shared) <= FLI_SHARED_MOST - (int32_t)references;
        uint32_t next = fits ? shared + references * FL_SHARED_ONE : after_overflow(shared);
        /* Relaxed: as in fli_count_add_quickly. */
        if (fli_cas_public(&counts->shared, &shared, next, memory_order_relaxed, memory_order_relaxed))
            return fits;
    }
}

enum fli_drop fli_count_drop(struct fl_counts *counts, bool may_hand)
{
    return fli_count_drop_inline(counts, may_hand);
}

enum fli_try fli_count_try(struct fl_counts *counts)
{
    uint32_t shared = fli_load_public(&counts->shared);
    for (;;) {
        if (fli_shared_is_fixed(shared))
            return FLI_TRY_TAKEN;
        if (!fli_shared_may_rise(shared))
            return FLI_TRY_FAILED;
        bool fits = fli_shared_count(shared) < FLI_SHARED_MOST;
        uint32_t next = fits ? shared + FL_SHARED_ONE : after_overflow(shared);
        /* B4: acquire, pairs with B6 in fli_count_publish. Failure: relaxed, the word is looked at anew. */
        if (fli_cas_public(&counts->shared, &shared, next, memory_order_acquire, memory_order_relaxed))
            return fits ? FLI_TRY_TAKEN : FLI_TRY_FULL;
    }
}

enum fli_drop fli_count_merge_last(struct fl_counts *counts)
{
    uint32_t next, shared = fli_load_public(&counts->shared);
    bool dead;
    fli_store_public(&counts->local, 0); /* before others may free it */
    do {
        dead = fli_shared_count(shared) == 0;
        next = shared | FL_SHARED_MERGED;
        if (dead && (shared & FL_SHARED_IMMORTAL) != 0)
            next += FL_SHARED_ONE; /* its own reference stays */
        /* B5: acq_rel, pairs with B3: as B3. Failure: relaxed, the word is looked at anew. */
    } while (!fli_cas_public(&counts->shared, &shared, next, memory_order_acq_rel, memory_order_relaxed));
    if (!dead)
        return FLI_DROP_LIVES;
    return (shared & FL_SHARED_IMMORTAL) == 0 ? FLI_DROP_LAST : FLI_CHECKED ? FLI_DROP_IMMORTAL : FLI_DROP_LIVES;
}

/* What merging makes of a shared word, to which the owner's count is added. If the reference of the queue is the last,
 * it is dropped, too. */
static uint32_t after_merge(uint32_t shared, uint32_t count, bool *dead)
{
    uint32_t merged = ((shared & ~(uint32_t)FL_SHARED_QUEUED) | FL_SHARED_MERGED) + count * FL_SHARED_ONE;
    *dead = fli_shared_count(merged) == 1 && (merged & FL_SHARED_IMMORTAL) == 0;
    return *dead ? merged - FL_SHARED_ONE : merged;
}

enum fli_drop fli_count_merge(struct fl_counts *counts)
{
    uint32_t shared = fli_load_public(&counts->shared);
    uint32_t count = fli_load_public(&counts->local) & FL_LOCAL_MOST;
    bool dead;
    uint32_t next;
    do {
        next = after_merge(shared, count, &dead);
        /* B7: acquire, pairs with B3, if the object is dead; else the drop that follows orders all. Failure: relaxed,
         * the word is looked at anew. */
    } while (!fli_cas_public(&counts->shared, &shared, next, memory_order_acquire, memory_order_relaxed));
    fli_store_public(&counts->local, 0);
    return dead ? FLI_DROP_LAST : fli_count_drop(counts, false);
}

void fli_count_publish(struct fl_counts *counts)
{
    /* B6: release, pairs with B2 and B4: what was written to where the object lay before. */
    fli_or_public(&counts->shared, FL_SHARED_PUBLISHED, memory_order_release);
}

void fli_count_fix(struct fl_counts *counts)
{
    fli_or_public(&counts->shared, FL_SHARED_IMMORTAL,
                  memory_order_relaxed); /* relaxed: a flag that orders nothing */
}
