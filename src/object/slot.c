/* SPDX-License-Identifier: MIT */
#include "object/slot.h"

#include <sched.h>

bool fli_slot_hand(struct fli_slot *slot, const struct fli_magazines *magazines, struct fli_magazine *magazine,
                   struct fli_pool_counters *counters)
{
    fli_stack_push_mpmc(&slot->queue, magazines, magazine, counters);
    /* S1: release, pairs with S2 and S3: the magazine is on the queue. */
    uint32_t before = fli_or(&slot->state, FLI_SLOT_PENDING, memory_order_release);
    /* S7: release, pairs with S8: PENDING is set. */
    fli_store_release(&slot->handed, 1);
    return (before & (FLI_SLOT_ONLINE | FLI_SLOT_CLAIMED)) == 0;
}

/* Claims the slot if its state is `expected`. */
static bool claim(struct fli_slot *slot, uint32_t expected)
{
    uint32_t claimed = (expected & ~(uint32_t)FLI_SLOT_PENDING) | FLI_SLOT_CLAIMED;
    /* S2: acquire, pairs with S1, S3, S5 and S6: the queue, and `local` of the slot's objects. Failure: relaxed,
     * nothing is done then. */
    return fli_cas_strong(&slot->state, &expected, claimed, memory_order_acquire, memory_order_relaxed);
}

bool fli_slot_claim(struct fli_slot *slot)
{
    return claim(slot, FLI_SLOT_PENDING);
}

bool fli_slot_claim_idle(struct fli_slot *slot)
{
    return fli_load_hint(&slot->state) == 0 && claim(slot, 0);
}

bool fli_slot_claim_owner(struct fli_slot *slot)
{
    /* S8: acquire, pairs with S7: if this clears the byte, what it told of is seen below. */
    if (fli_load_hint(&slot->handed) != 0)
        fli_exchange(&slot->handed, 0, memory_order_acquire);
    if ((fli_load_hint(&slot->state) & FLI_SLOT_PENDING) == 0)
        return false;
    return claim(slot, FLI_SLOT_ONLINE | FLI_SLOT_PENDING);
}

/* Merges an object. Returns whether it is dead. */
static bool merge_object(struct fl_counts *counts, struct fli_merging *merging)
{
    enum fli_drop drop = fli_count_merge(counts);
    if (drop >= FLI_DROP_BELOW) {
        merging->wrong = counts;
        merging->why = drop;
    }
    return drop == FLI_DROP_LAST;
}

/* Merges the objects of a magazine, and puts it onto the stack where it belongs. */
static void merge_magazine(struct fli_magazine *magazine, struct fli_merging *merging)
{
    uint32_t count = fli_magazine_count(magazine), dead = 0;
    for (uint32_t i = 0; i < count; i++)
        if (merge_object((struct fl_counts *)magazine->slots[i], merging))
            magazine->slots[dead++] = magazine->slots[i];
    fli_store_own(&magazine->count, (uint16_t)dead);
    fli_stack_push_mpmc(dead > 0 ? merging->dead : merging->empty, merging->magazines, magazine, merging->counters);
}

static void merge_queue(struct fli_slot *slot, struct fli_merging *merging)
{
    struct fli_chain chain;
    struct fli_magazine *magazine;
    fli_chain_begin(&chain, fli_stack_take_all_mpmc(&slot->queue, merging->counters));
    while ((magazine = fli_chain_take(&chain, merging->magazines)) != NULL)
        merge_magazine(magazine, merging);
}

/* Ends a claim, unless something has come meanwhile. Returns whether it has ended. */
static bool release(struct fli_slot *slot)
{
    uint32_t next, state = fli_load_hint(&slot->state);
    do {
        bool more = (state & FLI_SLOT_PENDING) != 0;
        next = state & ~(uint32_t)(more ? FLI_SLOT_PENDING : FLI_SLOT_CLAIMED);
        /* S3: acq_rel, pairs with S1, S2 and S4: the queue, if there is more; else `local` of the slot's objects.
         * Failure: relaxed, the word is looked at anew. */
    } while (!fli_cas_weak(&slot->state, &state, next, memory_order_acq_rel, memory_order_relaxed));
    return (next & FLI_SLOT_CLAIMED) == 0;
}

void fli_slot_merge(struct fli_slot *slot, struct fli_merging *merging)
{
    merge_queue(slot, merging);
    fli_slot_release(slot, merging);
}

void fli_slot_release(struct fli_slot *slot, struct fli_merging *merging)
{
    while (!release(slot))
        merge_queue(slot, merging);
}

void fli_slot_enter(struct fli_slot *slot)
{
    uint32_t state = fli_load_hint(&slot->state);
    for (;;) {
        if ((state & FLI_SLOT_CLAIMED) != 0) {
            sched_yield();
            state = fli_load_hint(&slot->state);
            continue;
        }
        /* S4: acquire, pairs with S3, S5 and S6: `local` of the slot's objects. Failure: relaxed, the word is looked at
         * anew. */
        if (fli_cas_weak(&slot->state, &state, state | FLI_SLOT_ONLINE, memory_order_acquire, memory_order_relaxed))
            return;
    }
}

bool fli_slot_leave(struct fli_slot *slot)
{
    uint32_t expected = FLI_SLOT_ONLINE;
    /* S5: release, pairs with S2 and S4: `local` of the slot's objects. Failure: relaxed, nothing is done then. */
    return fli_cas_strong(&slot->state, &expected, 0u, memory_order_release, memory_order_relaxed);
}

bool fli_slot_remove(struct fli_slot *slot)
{
    /* S6: release, pairs with S2 and S4: as S5. */
    return (fli_and(&slot->state, ~(uint32_t)FLI_SLOT_ONLINE, memory_order_release) & FLI_SLOT_CLAIMED) == 0;
}
