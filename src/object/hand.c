/* SPDX-License-Identifier: MIT */
#include "object/hand.h"

/* ---- Into a queue. */

static void recycle(struct fli_handing *handing, struct fli_magazine *magazine)
{
    struct fli_merging *with = &handing->merging;
    fli_stack_push_mpmc(with->empty, with->magazines, magazine, with->counters);
}

/* Puts a magazine into an owner's queue. Merges what is there if the owner is not. */
static void queue(struct fli_handing *handing, struct fli_slot *owner, struct fli_magazine *magazine)
{
    struct fli_merging *with = &handing->merging;
    bool is_alone = fli_slot_hand(owner, with->magazines, magazine, with->counters);
    if (is_alone && fli_slot_claim(owner))
        fli_slot_merge(owner, with);
}

/* Moves the objects of a magazine into another that has room for them. Returns false if it has not. */
static bool move(struct fli_magazine *from, struct fli_magazine *to)
{
    unsigned count = fli_magazine_count(from), before = fli_magazine_count(to);
    if (before + count > FLI_SLOT_OBJECTS)
        return false;
    for (unsigned i = 0; i < count; i++)
        to->slots[before + i] = from->slots[i];
    fli_store_own(&to->count, (uint16_t)(before + count));
    fli_store_own(&from->count, 0);
    return true;
}

/* Puts objects into a queue, in the magazine that is there if that has room: so the queue of an owner that is long away
 * has no more magazines than its objects need. */
static void put(struct fli_handing *handing, struct fli_slot *owner, struct fli_magazine *magazine)
{
    struct fli_merging *with = &handing->merging;
    bool is_full = fli_magazine_count(magazine) == FLI_SLOT_OBJECTS;
    struct fli_magazine *there = is_full ? NULL : fli_stack_pop_mpmc(&owner->queue, with->magazines, with->counters);
    if (there != NULL && move(magazine, there))
        recycle(handing, magazine);
    else
        queue(handing, owner, magazine);
    if (there != NULL)
        queue(handing, owner, there);
}

/* ---- Collected before. */

/* Empties an out, and gives its magazine away. */
static void close_out(struct fli_handing *handing, struct fli_out *out)
{
    struct fli_magazine *magazine = out->magazine;
    if (magazine == NULL)
        return;
    out->magazine = NULL;
    if (handing->mine != NULL)
        handing->mine->open--;
    if (fli_magazine_count(magazine) > 0)
        put(handing, out->owner, magazine);
    else
        recycle(handing, magazine);
}

/* An out of the slot has a magazine now, which the byte tells the host. */
static void count_open(struct fli_slot *mine)
{
    if (mine->open++ == 0)
        fli_slot_tell_owner(mine);
}

/* Makes room in an out for an object of the owner. Returns false if no magazine can be had. */
static bool open_out(struct fli_handing *handing, struct fli_out *out, uint32_t number)
{
    if (out->magazine != NULL && out->number == number)
        return true; /* it is not full */
    close_out(handing, out);
    *out = (struct fli_out){fli_hand_obtain_empty(handing->server), handing->slots + number, number};
    if (out->magazine == NULL)
        return false;
    fli_store_own(&out->magazine->count, 0);
    if (handing->mine != NULL)
        count_open(handing->mine);
    return true;
}

/* Drops the reference. The object goes into the out, which has `count`, if it is to be handed over. */
static enum fli_drop drop_into(struct fli_out *out, unsigned count, struct fl_counts *counts)
{
    enum fli_drop drop = fli_count_drop(counts, true);
    if (drop != FLI_DROP_HAND)
        return drop;
    out->magazine->slots[count] = counts;
    fli_store_own(&out->magazine->count, (uint16_t)(count + 1));
    return FLI_DROP_LIVES;
}

static inline uint32_t number_of_owner(const struct fl_counts *counts)
{
    return fli_load_public(&counts->local) >> FLI_LOCAL_BITS;
}

bool fli_hand_quickly(struct fli_slot *mine, struct fl_counts *counts, enum fli_drop *drop)
{
    uint32_t number = number_of_owner(counts);
    struct fli_out *out = &mine->outs[number % FLI_OUTS];
    if (out->magazine == NULL || out->number != number || !fli_slot_is_online(out->owner))
        return false;
    unsigned count = fli_magazine_count(out->magazine);
    if (count + 1 == FLI_SLOT_OBJECTS)
        return false;
    *drop = drop_into(out, count, counts);
    return true;
}

/* Merges an object in the place of an owner that is not there, and drops the reference. Returns false, and does
 * nothing, if the owner is there or another thread merges. */
static bool merge_here(struct fli_handing *handing, struct fl_counts *counts, struct fli_slot *owner,
                       enum fli_drop *drop)
{
    if (!fli_slot_claim_idle(owner))
        return false;
    *drop = fli_count_merge(counts);
    fli_slot_release(owner, &handing->merging);
    return true;
}

enum fli_drop fli_hand_over(struct fli_handing *handing, struct fl_counts *counts, bool at_once)
{
    enum fli_drop drop;
    uint32_t number = number_of_owner(counts);
    if (number == 0) /* the owner has merged it meanwhile */
        return fli_count_drop(counts, true);
    if (merge_here(handing, counts, handing->slots + number, &drop))
        return drop;
    struct fli_slot *mine = handing->mine;
    struct fli_out alone = {NULL, NULL, 0}, *out = mine != NULL ? &mine->outs[number % FLI_OUTS] : &alone;
    if (!open_out(handing, out, number)) {
        fli_count_fix(counts);
        handing->refused = true;
        return FLI_DROP_LIVES;
    }
    at_once |= mine == NULL || !fli_slot_is_online(out->owner);
    drop = drop_into(out, fli_magazine_count(out->magazine), counts);
    if (at_once || fli_magazine_count(out->magazine) == FLI_SLOT_OBJECTS)
        close_out(handing, out);
    return drop;
}

void fli_hand_outs(struct fli_handing *handing)
{
    struct fli_slot *mine = handing->mine;
    for (unsigned i = 0; i < FLI_OUTS && mine->open > 0; i++)
        close_out(handing, &mine->outs[i]);
}

void fli_hand_forget(struct fli_slot *slot)
{
    for (unsigned i = 0; i < FLI_OUTS; i++)
        slot->outs[i] = (struct fli_out){NULL, NULL, 0};
    slot->open = 0;
}
