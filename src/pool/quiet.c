/* SPDX-License-Identifier: MIT */
#include "pool/quiet.h"
#include "pool/allowance.h"
#include "pool/begin.h"
#include "pool/exchange.h"
#include "pool/reserve.h"
#include "pool/sparse.h"

static bool is_quiet(const struct fli_home *home, unsigned class_index)
{
    return fli_class_set_has(&home->quiet, class_index) && !fli_class_set_has(&home->busy, class_index);
}

bool fli_quiet_judge_owner(struct fli_backing *backing, struct fli_owner *owner)
{
    struct fli_home *home = owner->home;
    fli_home_assert_held(home);
    if (home->begun >= FLI_QUIET_SLABS) {
        home->begun = 0;
        for (unsigned word = 0; word < FLI_CLASS_SET_WORDS; word++)
            home->quiet.words[word] = ~home->busy.words[word];
        home->busy = (struct fli_class_set){0};
    }
    return !fli_class_set_is_empty(&home->quiet) && !owner->realtime && !fli_allowance_is_scarce(backing) &&
           fli_begin_converts(&backing->homes) && !fli_begin_has_free(&backing->homes, home);
}

FLI_COLD bool fli_quiet_send_home_owner(struct fl_cache *caches, struct fli_backing *backing, struct fli_owner *owner)
{
    struct fli_home *home = owner->home;
    fli_sparse_judge(backing, home);
    fli_home_unlock(home);
    FLI_FOR_USED_CLASSES (c, &backing->slabs) {
        if (fli_sparse_has(home, c))
            fli_sparse_gather_owner(c, backing, owner);
        if (!(is_quiet(home, c) || fli_sparse_has(home, c)) || fli_reserve_keeps(owner, c))
            continue;
        if (caches[c].floor != NULL)
            fli_exchange_flush_owner(&caches[c], c, backing, owner);
        fli_exchange_clear_shelf_owner(c, backing, owner);
    }
    home->quiet = (struct fli_class_set){0};
    if (!fli_owner_come_home(owner) && !fli_owner_move(backing, owner))
        return false;
    fli_home_close_free(&backing->homes, owner->home);
    return true;
}
