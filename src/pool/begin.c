/* SPDX-License-Identifier: MIT */
#include "pool/begin.h"
#include "base/check.h"

/* How many slabs back the start of a row of slabs that are all free is looked for. */
enum { FREE_ROW_MOST = 64 };

/* A new row of slabs is such a part of what a home has, and so many at most. */
enum { ROW_PART = 3, ROW_MOST = 16 };

/* A home takes a row of so many slabs that are all free from another, at least; if the others have so many together. */
enum { FREE_ROW_LEAST = FLI_RARE_PATHS ? 2 : 4, OTHERS_LEAST = 2 * FREE_ROW_LEAST };

/* ---- Slabs of this home. */

/* The home that has a slab, a moment ago; NULL if none has, or there is no slab of that number. */
static const struct fli_home *home_of_slab(const struct fli_homes *homes, uint32_t slab)
{
    FLI_ATOMIC(uint8_t) *class = slab != 0 ? fli_slab_class_at(homes->slabs, slab) : NULL;
    bool is_used = class != NULL && fli_load_hint(class) != 0;
    return is_used ? fli_load_hint(&fli_slab_at(homes->slabs, slab)->home) : NULL;
}

/* Whether another home has a slab, a moment ago. */
static bool is_others(const struct fli_homes *homes, const struct fli_home *home, uint32_t slab)
{
    const struct fli_home *of = home_of_slab(homes, slab);
    return of != NULL && of != home;
}

/* How many slabs in a row a home would like to have for a class: one; or a part of what homes have on the average, if
 * another home, which grows too, has taken the next slab. */
static uint32_t row_wanted(const struct fli_homes *homes, const struct fli_home *home, unsigned class_index,
                           uint32_t next)
{
    uint32_t slabs = fli_load_hint(&homes->slabs->by_class[class_index].slabs);
    uint32_t row = slabs / (ROW_PART * fli_load_hint(&homes->count));
    return is_others(homes, home, next) ? (uint32_t)fli_min(fli_max(row, 1), ROW_MOST) : 1;
}

/* Whether a number is that of a slab at this home that is all free. */
static bool is_all_free(const struct fli_homes *homes, const struct fli_home *home, uint32_t slab)
{
    /* Slabs of other homes may change meanwhile; those of this one keep what they are as long as the lock is held. */
    return home_of_slab(homes, slab) == home && fli_slab_at(homes->slabs, slab)->list == FLI_HOME_FREE;
}

/* A slab at this home that is all free; 0 if there is none. */
static uint32_t first_free(const struct fli_homes *homes, const struct fli_home *home)
{
    FLI_FOR_USED_CLASSES (c, homes->slabs)
        if (home->classes[c].lists[FLI_HOME_FREE] != 0)
            return home->classes[c].lists[FLI_HOME_FREE];
    return 0;
}

bool fli_begin_has_free(const struct fli_homes *homes, const struct fli_home *home)
{
    return first_free(homes, home) != 0;
}

/* A slab at this home that is all free: the one that is wanted, or the first of a row of such; 0 if there is none. */
static uint32_t find_all_free(const struct fli_homes *homes, const struct fli_home *home, uint32_t wanted)
{
    if (is_all_free(homes, home, wanted))
        return wanted;
    uint32_t slab = first_free(homes, home);
    for (unsigned n = 0; slab != 0 && n < FREE_ROW_MOST && is_all_free(homes, home, slab - 1); n++)
        slab--;
    return slab;
}

/* Takes a slab of another class that is all free at this home, and gives it the class. Such a slab has memory, and this
 * thread has used it of late. Returns 0 if there is none. */
static uint32_t convert(struct fli_homes *homes, struct fli_home *home, unsigned class_index, uint32_t wanted)
{
    struct fli_slabs *slabs = homes->slabs;
    if (fli_load_hint(&homes->free_slabs) == 0 || !fli_begin_converts(homes))
        return 0;
    uint32_t slab = find_all_free(homes, home, wanted);
    if (slab == 0)
        return 0;
    fli_home_give_up(homes, home, slab);
    if (FLI_LIKELY(fli_slab_begin_anew(slabs, class_index, slab)))
        return slab;
    fli_home_take_in(homes, home, slab);
    return 0;
}

/* ---- Slabs of other homes. */

/* The start of a row of slabs in a chunk that are all free at a home: the longest of those that a class's latest such slab
 * lies in. Stores its length, or `most` if that is less. */
static uint32_t longest_free_row(const struct fli_homes *homes, const struct fli_home *home, uint32_t most,
                                 uint32_t *length)
{
    uint32_t start = 0;
    *length = 0;
    FLI_FOR_USED_CLASSES (c, homes->slabs) {
        uint32_t first = home->classes[c].lists[FLI_HOME_FREE], end = first + 1;
        if (first == 0 || (start != 0 && first - start < *length))
            continue;
        while ((first - 1) % FLI_CHUNK_SLABS != 0 && is_all_free(homes, home, first - 1))
            first--;
        while ((end - 1) % FLI_CHUNK_SLABS != 0 && is_all_free(homes, home, end))
            end++;
        if (end - first > *length) {
            start = first;
            *length = end - first;
        }
    }
    *length = (uint32_t)fli_min(*length, most);
    return start;
}

/* Takes a row of slabs that are all free from another home, if that has one and is not busy. */
static bool adopt_row(struct fli_homes *homes, struct fli_home *from, struct fli_home *home, uint32_t most)
{
    if (from == home || !fli_home_try(from))
        return false;
    uint32_t length, start = longest_free_row(homes, from, most, &length);
    bool is_worth = length >= FREE_ROW_LEAST;
    for (uint32_t slab = start + length; is_worth && slab-- > start;) {
        fli_home_give_up(homes, from, slab);
        fli_home_take_in(homes, home, slab);
    }
    fli_home_unlock(from);
    return is_worth;
}

/* Looks at a few other homes for a row of slabs that are all free: their memory costs no page faults. Returns whether the
 * home has got some. */
static bool adopt_free(struct fli_homes *homes, struct fli_home *home)
{
    size_t others = fli_load_hint(&homes->free_slabs);
    if (others < OTHERS_LEAST || !fli_begin_converts(homes))
        return false;
    struct fli_homes_look look = {homes, home, FLI_HOMES_LOOKED_AT, NULL};
    for (struct fli_home *from; (from = fli_homes_look_on(&look)) != NULL;)
        if (adopt_row(homes, from, home, (uint32_t)(others / 2)))
            return true;
    return false;
}

/* ---- A slab for a class. */

bool fli_begin_slab(struct fli_homes *homes, struct fli_home *home, unsigned class_index)
{
    fli_home_assert_held(home);
    uint32_t latest = home->classes[class_index].latest, next = latest != 0 ? latest + 1 : 0;
    uint32_t slab = convert(homes, home, class_index, next);
    if (slab == 0 && adopt_free(homes, home))
        slab = convert(homes, home, class_index, next);
    if (slab == 0)
        slab = fli_slab_begin(homes->slabs, class_index, next, row_wanted(homes, home, class_index, next));
    home->begun++;
    if (slab != 0)
        fli_home_take_in(homes, home, slab);
    return slab != 0;
}

bool fli_begin_or_adopt(struct fli_homes *homes, struct fli_home *home, unsigned class_index, bool realtime,
                        bool pressed)
{
    if (!realtime && fli_homes_adopt(homes, home, class_index, false))
        return true;
    return fli_begin_slab(homes, home, class_index) ||
           ((realtime || pressed) && fli_homes_adopt(homes, home, class_index, pressed));
}
