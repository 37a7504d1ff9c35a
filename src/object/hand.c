/* SPDX-License-Identifier: MIT */
#include "object/hand.h"

/* Puts a magazine into the owner's queue. Merges what is in it if the owner is not there. */
static void put(struct fli_handing *handing, struct fli_magazine *magazine)
{
    struct fli_merging *with = &handing->merging;
    if (fli_slot_hand(handing->slot, with->magazines, magazine, with->counters) && fli_slot_claim(handing->slot))
        fli_slot_merge(handing->slot, with);
}

/* A magazine with room, for the owner's queue; NULL if none can be had. */
static struct fli_magazine *obtain_room(struct fli_handing *handing)
{
    struct fli_merging *with = &handing->merging;
    struct fli_magazine *magazine = fli_stack_pop_mpmc(&handing->slot->queue, with->magazines, with->counters);
    if (magazine != NULL && fli_magazine_count(magazine) < FLI_SLOT_OBJECTS)
        return magazine;
    if (magazine != NULL)
        put(handing, magazine);
    magazine = fli_hand_obtain_empty(handing->server);
    if (magazine != NULL)
        fli_store_own(&magazine->count, 0);
    return magazine;
}

/* Drops the reference with a magazine in hand, into which the object goes if it is to be handed over. A magazine with
 * objects goes to the queue in any case: it may come from there. */
static enum fli_drop drop_into(struct fli_handing *handing, struct fli_magazine *magazine, struct fl_object *object)
{
    enum fli_drop drop = fli_count_drop(object, true);
    uint32_t count = fli_magazine_count(magazine);
    if (drop == FLI_DROP_HAND) {
        magazine->slots[count++] = object;
        fli_store_own(&magazine->count, (uint16_t)count);
        drop = FLI_DROP_LIVES;
    }
    struct fli_merging *with = &handing->merging;
    if (count > 0)
        put(handing, magazine);
    else
        fli_stack_push_mpmc(with->empty, with->magazines, magazine, with->counters);
    return drop;
}

enum fli_drop fli_hand_over(struct fli_handing *handing, struct fl_object *object)
{
    uint32_t number = fli_load_public(&object->local) >> FLI_LOCAL_BITS;
    if (number == 0) /* the owner has merged it meanwhile */
        return fli_count_drop(object, true);
    handing->slot = handing->slots + number;
    struct fli_magazine *magazine = obtain_room(handing);
    if (magazine != NULL)
        return drop_into(handing, magazine, object);
    fli_count_fix(object);
    handing->refused = true;
    return FLI_DROP_LIVES;
}
