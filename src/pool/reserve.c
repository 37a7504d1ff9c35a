/* SPDX-License-Identifier: MIT */
#include "pool/reserve.h"
#include "pool/allowance.h"
#include "pool/exchange.h"

#include <stdlib.h>

static void put_empty(struct fli_reserve *reserve, struct fli_backing *backing, struct fli_magazine *empty)
{
    fli_store_own(&empty->count, 0);
    fli_magazine_set_pad(empty, 0);
    fli_chain_put(&reserve->empties, &backing->magazines, empty);
}

static void put(struct fli_magazine *magazine, unsigned class_index, struct fli_backing *backing,
                struct fli_owner *owner)
{
    struct fli_reserve *reserve = fli_load_own(&owner->reserve);
    if (fli_magazine_count(magazine) > 0)
        fli_chain_put(&reserve->chains[class_index], &backing->magazines, magazine);
    else
        put_empty(reserve, backing, magazine);
}

void fli_reserve_set_aside_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                 struct fli_owner *owner)
{
    struct fli_magazine *previous = fli_cache_previous(cache, &backing->magazines);
    struct fli_magazine *loaded = fli_cache_unload_owner(cache, backing->magazine_blocks[class_index]);
    if (previous != NULL)
        put(previous, class_index, backing, owner);
    if (loaded != NULL)
        put(loaded, class_index, backing, owner);
}

void fli_reserve_keep_empty_owner(struct fli_magazine *empty, struct fli_backing *backing, struct fli_owner *owner)
{
    put_empty(fli_load_own(&owner->reserve), backing, empty);
}

/* An empty magazine of the thread's own, or one from elsewhere; NULL if there is none. */
static struct fli_magazine *obtain_empty(struct fli_reserve *reserve, struct fli_backing *backing,
                                         struct fli_owner *owner)
{
    struct fli_magazine *empty = fli_chain_take(&reserve->empties, &backing->magazines);
    if (empty != NULL || !owner->realtime)
        return empty != NULL ? empty : fli_owner_obtain_empty_anywhere(backing, owner);
    empty = fli_owner_find_empty(backing, NULL, owner);
    return empty != NULL ? empty : fli_magazine_carve_quickly(&backing->magazines);
}

bool fli_reserve_make_room_owner(struct fl_cache *cache, unsigned class_index, struct fli_backing *backing,
                                 struct fli_owner *owner)
{
    struct fli_reserve *reserve = fli_load_own(&owner->reserve);
    struct fli_magazine *empty = obtain_empty(reserve, backing, owner);
    if (empty == NULL)
        return false;
    struct fli_magazine *full = fli_cache_push_owner(cache, empty, backing->magazine_blocks[class_index],
                                                     &backing->magazines);
    if (full != NULL)
        fli_chain_put(&reserve->chains[class_index], &backing->magazines, full);
    if (fli_allowance_is_scarce(backing)) {
        fli_allowance_note_owner(full, false, class_index, backing, owner);
        fli_allowance_note_owner(empty, true, class_index, backing, owner);
    }
    return true;
}

bool fli_reserve_begin_owner(struct fli_owner *owner, unsigned class_index)
{
    struct fli_reserve *reserve = fli_load_own(&owner->reserve);
    if (reserve == NULL) {
        reserve = (struct fli_reserve *)calloc(1, sizeof *reserve);
        if (reserve == NULL)
            return false;
        /* Z1: release, pairs with Z2 in fli_reserve_blocks: the table is whole. */
        fli_store_release(&owner->reserve, reserve);
    }
    reserve->filling = class_index;
    return true;
}

void fli_reserve_begun_owner(struct fli_owner *owner, bool is_set_aside)
{
    struct fli_reserve *reserve = fli_load_own(&owner->reserve);
    reserve->keeps[reserve->filling] = reserve->keeps[reserve->filling] || is_set_aside;
    reserve->filling = 0;
}

void fli_reserve_break_off_owner(struct fli_owner *owner)
{
    struct fli_reserve *reserve = fli_load_own(&owner->reserve);
    if (reserve != NULL)
        reserve->filling = 0;
}

void fli_reserve_give_back_owner(unsigned class_index, size_t most, struct fli_backing *backing,
                                 struct fli_owner *owner)
{
    const struct fli_magazines *magazines = &backing->magazines;
    while (fli_reserve_blocks(owner, class_index, magazines) > most)
        fli_exchange_give_away_owner(fli_reserve_take_owner(owner, class_index, magazines), class_index, backing,
                                     owner);
}

size_t fli_reserve_forget_empties_owner(struct fli_owner *owner, const struct fli_magazines *magazines)
{
    struct fli_reserve *reserve = fli_load_own(&owner->reserve);
    size_t count = 0;
    while (reserve != NULL && fli_chain_take(&reserve->empties, magazines) != NULL)
        count++;
    return count;
}

void fli_reserve_end_owner(struct fli_backing *backing, struct fli_owner *owner)
{
    struct fli_reserve *reserve = fli_load_own(&owner->reserve);
    for (unsigned c = 1; c < FL_CLASS_COUNT && reserve != NULL; c++) {
        fli_reserve_give_back_owner(c, 0, backing, owner);
        reserve->keeps[c] = false;
    }
    struct fli_magazine *empty;
    while (reserve != NULL && (empty = fli_chain_take(&reserve->empties, &backing->magazines)) != NULL)
        fli_owner_give_empty(empty, backing, owner, false);
}

void fli_reserve_destroy(struct fli_owner *owner)
{
    free(fli_load_own(&owner->reserve));
    fli_store_own(&owner->reserve, NULL);
}
