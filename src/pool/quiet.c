/* SPDX-License-Identifier: MIT */
#include "pool/quiet.h"
#include "pool/allowance.h"
#include "pool/begin.h"
#include "pool/exchange.h"
#include "pool/reserve.h"

/* The quiet classes of a word of bits. */
static uint64_t quiet_of(const struct fli_home *home, unsigned word)
{
    return home->quiet.words[word] & ~home->busy.words[word];
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
    return (quiet_of(home, 0) | quiet_of(home, 1)) != 0 && !owner->realtime && !fli_allowance_is_scarce(backing) &&
           fli_begin_converts(&backing->homes) && !fli_begin_has_free(&backing->homes, home);
}

FLI_COLD bool fli_quiet_send_home_owner(struct fl_cache *caches, struct fli_backing *backing, struct fli_owner *owner)
{
    struct fli_home *home = owner->home;
    fli_home_unlock(home);
    FLI_FOR_USED_CLASSES (c, &backing->slabs) {
        if (!fli_class_set_has(&home->quiet, c) || fli_class_set_has(&home->busy, c) || fli_reserve_keeps(owner, c))
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
