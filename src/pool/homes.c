/* SPDX-License-Identifier: MIT */
#include "pool/homes.h"
#include "base/check.h"
#include "memory/stray.h"
#include "pool/deliver.h"

#include <stdlib.h>
#include <string.h>

/* How many vacant homes a thread looks at before it moves into the first of them. */
enum { VACANT_LOOKED_AT = 16 };

/* How many homes there are before threads share slabs. */
enum { SHARED_FROM = FLI_RARE_PATHS ? 4 : 8, SHARED_FROM_SCARCE = 3 };

/* How many homes the blocks of one magazine are sent to. */
enum { RETURN_TRIES = 8 };

/* How many blocks of a magazine are looked at to tell where all of them come from. */
enum { SAMPLES = 8 };

/* A home that has the blocks of so many slabs free spares some, though its thread is at work. */
enum { MANY_SLABS = 2 };

/* ---- Moving in and out. */

void fli_homes_init(struct fli_homes *homes, struct fli_slabs *slabs, bool is_scarce)
{
    homes->slabs = slabs;
    homes->shared_from = is_scarce ? SHARED_FROM_SCARCE : SHARED_FROM;
    fli_mutex_init(&homes->lock, FLI_RANK_HOMES);
}

void fli_homes_close(struct fli_homes *homes)
{
    struct fli_home *next;
    for (struct fli_home *home = fli_homes_first(homes); home != NULL; home = next) {
        next = home->next;
        free(home);
    }
    fli_mutex_close(&homes->lock);
}

static uint16_t processor_here(void)
{
    return FLI_MODEL ? 0 : (uint16_t)fli_os_processor();
}

/* Takes a vacant home, if it can one whose last thread left it on this processor, whose caches may still have it. */
static struct fli_home *take_vacant_locked(struct fli_homes *homes)
{
    fli_assert_held(&homes->lock);
    FLI_PLAIN(struct fli_home *) *place = &homes->vacant;
    FLI_PLAIN(struct fli_home *) *chosen = place;
    unsigned here = processor_here();
    for (unsigned looks = 0; *place != NULL && looks < VACANT_LOOKED_AT; looks++) {
        struct fli_home *home = *place;
        if (home->processor == here) {
            chosen = place;
            break;
        }
        place = &home->next_vacant;
    }
    struct fli_home *home = *chosen;
    if (home != NULL)
        *chosen = home->next_vacant;
    return home;
}

static struct fli_home *create_locked(struct fli_homes *homes)
{
    fli_assert_held(&homes->lock);
    struct fli_home *home = aligned_alloc(FLI_CACHE_LINE, fli_round_up(sizeof *home, FLI_CACHE_LINE));
    if (home == NULL)
        return NULL;
    memset(home, 0, sizeof *home);
    home->next = fli_homes_first(homes);
    /* W3: release, pairs with W4 in fli_homes_first: the home is whole. */
    fli_store_release(&homes->first, home);
    fli_count(&homes->count, 1u);
    if (home->next == NULL)
        homes->shared = home;
    return home;
}

/* What the thread before used, or this one before it came, says nothing of what it does here (quiet.h). */
static void forget_use(struct fli_home *home)
{
    home->begun = 0;
    home->sparse = 0;
    home->busy = home->quiet = (struct fli_class_set){0};
}

struct fli_home *fli_homes_enter(struct fli_homes *homes)
{
    fli_lock(&homes->lock);
    struct fli_home *home = take_vacant_locked(homes);
    if (home == NULL)
        home = create_locked(homes);
    if (home != NULL) {
        fli_home_forget_first(home);
        forget_use(home);
        fli_store_hint(&home->away, false);
    }
    fli_unlock(&homes->lock);
    return home;
}

void fli_homes_leave(struct fli_homes *homes, struct fli_home *home)
{
    uint16_t here = processor_here();
    fli_lock(&homes->lock);
    fli_store_hint(&home->away, true);
    home->processor = here;
    home->next_vacant = homes->vacant;
    homes->vacant = home;
    fli_unlock(&homes->lock);
}

size_t fli_homes_free(struct fli_homes *homes, unsigned class_index)
{
    size_t blocks = 0;
    for (struct fli_home *home = fli_homes_first(homes); home != NULL; home = home->next)
        blocks += fli_load_hint(&home->classes[class_index].free);
    return blocks;
}

size_t fli_homes_large_kept(struct fli_homes *homes)
{
    size_t bytes = 0;
    for (struct fli_home *home = fli_homes_first(homes); home != NULL; home = home->next)
        bytes += fli_rack_bytes(&home->rack.large);
    return bytes;
}

/* ---- Sending blocks home. */

/* Removes a block from an array of `count`. */
static void remove_block(void **blocks, unsigned at, unsigned count)
{
    memmove(&blocks[at], &blocks[at + 1], (count - at - 1) * sizeof *blocks);
}

/* The home, a moment ago, of a pointer freed as a block of a class; NULL if the pointer is no block of it. */
static struct fli_home *home_of(const struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    return FLI_LIKELY(fli_slab_class_of(slabs, block) == class_index) ? fli_home_of(slabs, block) : NULL;
}

struct fli_home *fli_homes_other(struct fli_homes *homes, const struct fli_home *own, unsigned class_index,
                                 void *const *blocks, unsigned count)
{
    struct fli_home *home = home_of(homes->slabs, class_index, blocks[0]);
    if (home == own)
        return NULL;
    for (unsigned i = 1; i < SAMPLES && home != NULL; i++)
        if (home_of(homes->slabs, class_index, blocks[i * (count - 1) / (SAMPLES - 1)]) != home)
            return NULL;
    return home;
}

unsigned fli_homes_return(struct fli_homes *homes, unsigned class_index, void **blocks, unsigned count, bool waits,
                          struct fli_pool_counters *counters)
{
    unsigned refused = 0, left = count;
    for (unsigned tries = 0; refused < left && (waits || tries < RETURN_TRIES); tries++) {
        struct fli_home *home = home_of(homes->slabs, class_index, blocks[refused]);
        if (FLI_UNLIKELY(home == NULL)) {
            fli_stray_note(homes->slabs, class_index, blocks[refused],
                           fli_slab_class_of(homes->slabs, blocks[refused]) == class_index);
            remove_block(blocks, refused, left--);
            continue;
        }
        if (waits)
            fli_home_wait(home);
        if (waits || fli_home_try(home)) {
            fli_count(&counters->home_visits, 1);
            left = refused + fli_deliver(homes, home, class_index, blocks + refused, left - refused);
            fli_home_unlock(home);
        } else {
            refused++;
        }
    }
    return left;
}

/* ---- Adoption. */

/* Lists of a home, by their fullest slab: */
enum { ANY = 0, QUARTER_FREE = 1, MOSTLY_FREE = FLI_HOME_QUARTERS - 1, ALL_FREE = FLI_HOME_FREE };

/* What a home can spare of a class, for another one. It spares any slab for a thread that is pressed, and if it is away.
 * If it has many free blocks, it spares slabs of which a quarter is free. Where memory is scarce, those that are mostly
 * free become shared ones: else the slabs of a thread that was there before others would be of no use to these. */
static unsigned spared_by(const struct fli_homes *homes, const struct fli_home *from, const struct fli_home *home,
                          unsigned class_index, bool pressed)
{
    size_t many = (size_t)MANY_SLABS * homes->slabs->by_class[class_index].blocks;
    if (pressed || fli_load_hint(&from->away))
        return ANY;
    if (fli_load_hint(&from->classes[class_index].free) >= many)
        return QUARTER_FREE;
    bool is_for_all = !FLI_MODEL && homes->shared_from == SHARED_FROM_SCARCE && home == homes->shared;
    return is_for_all ? MOSTLY_FREE : ALL_FREE;
}

/* The free blocks of a slab that a home spares. */
static uint32_t least_free(uint32_t blocks, unsigned spared)
{
    return spared == ANY ? 1 : blocks * spared / FLI_HOME_QUARTERS;
}

/* The freest slab of the class that the home spares; 0 if there is none. */
static uint32_t to_spare(const struct fli_homes *homes, const struct fli_home *home, unsigned class_index,
                         unsigned spared)
{
    const struct fli_home_class *class = &home->classes[class_index];
    uint32_t slab = 0, current = class->current;
    for (unsigned list = FLI_HOME_LISTS; slab == 0 && list-- > spared;)
        slab = class->lists[list];
    if (slab != 0 || current == 0 || spared == ALL_FREE)
        return slab;
    const struct fli_slab *record = fli_slab_at(homes->slabs, current);
    return spared == ANY || record->free >= least_free(record->blocks, spared) ? current : 0;
}

/* Adopts a slab from one other home, if that has one to spare and is not busy. */
static bool adopt_from(struct fli_homes *homes, struct fli_home *from, struct fli_home *home, unsigned class_index,
                       bool pressed)
{
    unsigned spared = spared_by(homes, from, home, class_index, pressed);
    uint32_t worth = least_free(homes->slabs->by_class[class_index].blocks, spared);
    if (from == home || fli_load_hint(&from->classes[class_index].free) < worth)
        return false;
    if (!(pressed ? fli_home_try_briefly(from) : fli_home_try(from)))
        return false;
    uint32_t slab = to_spare(homes, from, class_index, spared);
    if (slab != 0) {
        fli_home_give_up(homes, from, slab);
        fli_home_take_in(homes, home, slab);
    }
    fli_home_unlock(from);
    return slab != 0;
}

/* The home behind the one that was looked at last; after the last home, the first. */
static struct fli_home *next_to_look_at(struct fli_homes *homes, struct fli_home *home)
{
    struct fli_home *next = home->looked_at;
    if (next != NULL)
        next = next->next;
    home->looked_at = next != NULL ? next : fli_homes_first(homes);
    return home->looked_at;
}

struct fli_home *fli_homes_look_on(struct fli_homes_look *look)
{
    struct fli_home *next = next_to_look_at(look->homes, look->home);
    if (next == look->first || look->left == 0)
        return NULL;
    if (look->first == NULL)
        look->first = next;
    look->left--;
    return next;
}

bool fli_homes_adopt(struct fli_homes *homes, struct fli_home *home, unsigned class_index, bool pressed)
{
    fli_home_assert_held(home);
    struct fli_homes_look look = {homes, home, pressed ? SIZE_MAX : (size_t)FLI_HOMES_LOOKED_AT, NULL};
    for (struct fli_home *from; (from = fli_homes_look_on(&look)) != NULL;)
        if (adopt_from(homes, from, home, class_index, pressed))
            return true;
    return false;
}
