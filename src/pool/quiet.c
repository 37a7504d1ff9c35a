/* SPDX-License-Identifier: MIT */
#include "pool/quiet.h"
#include "pool/allowance.h"
#include "pool/exchange.h"
#include "pool/reserve.h"

static void begin_anew(struct fli_owner *owner)
{
    owner->home->begun = 0;
    owner->busy = 0;
}

bool fli_quiet_must_judge_owner(struct fli_backing *backing, struct fli_owner *owner)
{
    struct fli_home *home = owner->home;
    fli_home_assert_held(home);
    if (home->begun >= 2 * FLI_QUIET_SLABS)
        begin_anew(owner);
    return home->begun >= FLI_QUIET_SLABS && !owner->realtime && !fli_allowance_is_scarce(backing) &&
           fli_homes_convert(&backing->homes) && !fli_homes_has_free(&backing->homes, home);
}

FLI_COLD bool fli_quiet_send_home_owner(struct fl_cache *caches, struct fli_backing *backing, struct fli_owner *owner)
{
    uint64_t busy = owner->busy;
    begin_anew(owner);
    fli_home_unlock(owner->home);
    FLI_FOR_USED_CLASSES (c, &backing->slabs) {
        if ((busy & fli_quiet_bit(c)) != 0 || fli_reserve_keeps(owner, c))
            continue;
        if (caches[c].floor != NULL)
            fli_exchange_flush_owner(&caches[c], c, backing, owner);
        fli_exchange_clear_shelf_owner(c, backing, owner);
    }
    if (!fli_owner_come_home(owner) && !fli_owner_move(backing, owner))
        return false;
    fli_home_close_free(&backing->homes, owner->home);
    return true;
}
