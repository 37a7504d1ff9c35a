/* SPDX-License-Identifier: MIT */
#include "pool/owner.h"

bool fli_owner_come_home(struct fli_owner *owner)
{
    struct fli_home *home = owner->home;
    if (!fli_home_try(home) && (owner->realtime || !fli_home_try_briefly(home)))
        return false;
    if (FLI_UNLIKELY(fli_load_hint(&home->away)))
        fli_store_hint(&home->away, false);
    fli_count(&owner->counters.home_visits, 1);
    return true;
}

FLI_COLD bool fli_owner_move(struct fli_backing *backing, struct fli_owner *owner)
{
    for (bool forked = true; forked;) {
        forked = fli_lock_wait_for_fork(FLI_RANK_HOME);
        if (fli_owner_come_home(owner))
            return true;
    }
    struct fli_home *home = fli_homes_enter(&backing->homes);
    if (home == NULL)
        return false;
    fli_homes_leave(&backing->homes, owner->home);
    owner->home = home;
    return fli_owner_come_home(owner);
}

bool fli_owner_keep(struct fli_magazine *magazine, unsigned class_index, struct fli_backing *backing,
                    struct fli_home *home)
{
    size_t most = fli_load_hint(&backing->rack_bytes);
    most -= most / 4;
    struct fli_rack_part *part = fli_owner_is_small(class_index) ? &home->rack.small : &home->rack.large;
    return fli_rack_put(part, &home->classes[class_index].shelf, &backing->magazines, magazine, class_index,
                        fli_owner_is_small(class_index) ? fli_min(most, backing->small_bytes) : most);
}

struct fli_magazine *fli_owner_take_kept(unsigned class_index, struct fli_backing *backing, struct fli_home *home)
{
    struct fli_rack_part *part = fli_owner_is_small(class_index) ? &home->rack.small : &home->rack.large;
    return fli_rack_take(part, &home->classes[class_index].shelf, &backing->magazines, class_index);
}

struct fli_magazine *fli_owner_obtain_empty(struct fli_backing *backing, struct fli_home *home,
                                            struct fli_owner *owner)
{
    struct fli_magazines *magazines = &backing->magazines;
    struct fli_magazine *magazine = NULL;
    if (home != NULL)
        magazine = fli_rack_take(&home->rack.empty, &home->rack.empty_shelf, magazines, 0);
    if (magazine == NULL)
        magazine = fli_stack_pop_mpmc(&backing->pool.empty, magazines, &owner->counters);
    return magazine != NULL ? magazine : fli_magazine_carve(magazines);
}

struct fli_magazine *fli_owner_obtain_empty_anywhere(struct fli_backing *backing, struct fli_owner *owner)
{
    bool at_home = fli_home_try(owner->home);
    struct fli_magazine *magazine = fli_owner_obtain_empty(backing, at_home ? owner->home : NULL, owner);
    if (at_home)
        fli_home_unlock(owner->home);
    return magazine;
}

void fli_owner_give_empty(struct fli_magazine *magazine, struct fli_backing *backing, struct fli_owner *owner,
                          bool at_home)
{
    size_t most = fli_load_hint(&backing->rack_bytes) / 4;
    struct fli_rack *rack = &owner->home->rack;
    if (!at_home || !fli_rack_put(&rack->empty, &rack->empty_shelf, &backing->magazines, magazine, 0, most))
        fli_stack_push_mpmc(&backing->pool.empty, &backing->magazines, magazine, &owner->counters);
}
