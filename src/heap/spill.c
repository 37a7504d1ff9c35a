/* SPDX-License-Identifier: MIT */
#include "heap/spill.h"

/* How many objects a full stack spills: half of what is outside the window. */
enum { SPILLED = (FLI_DEAD_STACK - FLI_DEAD_WINDOW) / 2 };

/* Moves half of what is outside the window of a full stack onto the pile. What finds no place there stays. Returns
 * whether there is room. */
static bool spill(struct fli_dead_places *places, struct fli_pile *pile, struct fli_thread *server)
{
    size_t kept = FLI_DEAD_WINDOW;
    fli_store_own(&places->count, kept);
    for (size_t i = kept; i < FLI_DEAD_STACK; i++)
        if (i >= FLI_DEAD_WINDOW + SPILLED || !fli_pile_put(pile, fli_dead_at(places, i), server))
            fli_dead_set(places, kept++, fli_dead_at(places, i));
    /* D7: release, pairs with a fork: as D1. */
    fli_store_release(&places->count, kept);
    return kept < FLI_DEAD_STACK;
}

bool fli_spill_put(struct fli_dead_places *places, struct fli_pile *pile, struct fli_dead_object object,
                   struct fli_thread *server)
{
    places->few = FLI_DEAD_WINDOW;
    if (spill(places, pile, server))
        return fli_dead_put_quickly(places, object) || fli_dead_put_many(places, object);
    return fli_pile_put(pile, object, server);
}

/* Moves objects from the pile, which has some, onto the stack, which has no more than a window. They do not pass through
 * it: else an object that waits again (api/end.c) would leave it before those that it has dropped are gone. */
static void refill(struct fli_dead_places *places, struct fli_pile *pile, const struct fli_magazines *magazines)
{
    size_t count = fli_load_own(&places->count), more = SPILLED;
    const struct fli_pair *pairs = fli_pile_take_many(pile, magazines, &more);
    if (FLI_UNLIKELY(pairs == NULL)) {
        more = 1;
        fli_dead_set(places, count, fli_pile_take(pile, magazines));
    }
    for (size_t i = pairs != NULL ? more : 0; i-- > 0;) {
        struct fli_dead_object object = fli_pair_get(&pairs[i]);
        fli_dead_prefetch(object);
        fli_dead_set(places, count + i, object);
    }
    /* D8: release, pairs with a fork: as D1. */
    fli_store_release(&places->count, count + more);
}

struct fli_dead_object fli_spill_take(struct fli_dead_places *places, struct fli_pile *pile,
                                      const struct fli_magazines *magazines)
{
    bool is_spilled = fli_load_own(&pile->count) != 0;
    if (is_spilled && fli_load_own(&places->count) <= FLI_DEAD_WINDOW)
        refill(places, pile, magazines);
    else if (!is_spilled)
        places->few = 0;
    size_t count = fli_load_own(&places->count);
    return count == 0 ? (struct fli_dead_object){0, NULL} : fli_dead_take_last(places, count);
}
