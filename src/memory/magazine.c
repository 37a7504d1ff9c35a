/* SPDX-License-Identifier: MIT
 *
 * The region of magazines. Indexes are carved from the bottom. A byte per magazine tells which magazines have been
 * returned; these are carved again before the region grows. A page is returned to the OS when all of its magazines
 * are.
 */
#include "memory/magazine.h"
#include "base/check.h"
#include "base/lock.h"
#include "memory/chain.h"

#include <string.h>

enum { COMMIT_STEP = 1 << 20 };

enum magazine_state { IN_USE, IN_HAND, GIVEN_BACK };

static uint32_t magazines_per_page(void)
{
    return (uint32_t)(fli_os_page() / FLI_MAGAZINE_BYTES);
}

size_t fli_magazines_reserve_bytes(size_t slab_bytes)
{
    /* Room for half of all blocks to be free, even if all are of the smallest size. Blocks freed beyond that are parked
     * in their slabs. The region has whole pages, because memory is returned to the OS in pages. */
    size_t count = fli_min(slab_bytes / 4 / FLI_MAGAZINE_BYTES, FLI_INDEX_MAX);
    count &= ~(size_t)(magazines_per_page() - 1);
    return count * FLI_MAGAZINE_BYTES + fli_round_up(count, fli_os_page());
}

void fli_magazines_init(struct fli_magazines *magazines, char *base, size_t bytes)
{
    size_t count = bytes / (FLI_MAGAZINE_BYTES + 1) & ~(size_t)(magazines_per_page() - 1);
    size_t slots = count * FLI_MAGAZINE_BYTES;
    magazines->base = base;
    magazines->region = (struct fli_region){.base = base, .reserved = slots};
    magazines->states = (struct fli_region){.base = base + slots, .reserved = bytes - slots};
    magazines->per_page = magazines_per_page();
    magazines->carved = 1;
    magazines->returned = 0;
    magazines->search_from = 1;
    fli_mutex_init(&magazines->lock, FLI_RANK_MEMORY);
}

void fli_magazines_close(struct fli_magazines *magazines)
{
    fli_region_close(&magazines->region);
    fli_region_close(&magazines->states);
    fli_mutex_close(&magazines->lock);
}

static uint32_t reuse_locked(struct fli_magazines *magazines)
{
    fli_assert_held(&magazines->lock);
    char *states = magazines->states.base;
    uint32_t from = magazines->search_from;
    char *found = memchr(states + from, GIVEN_BACK, magazines->carved - from);
    FLI_ASSERT(found != NULL);
    *found = IN_USE;
    magazines->returned--;
    magazines->search_from = (uint32_t)(found - states);
    return magazines->search_from;
}

static uint32_t grow_locked(struct fli_magazines *magazines)
{
    fli_assert_held(&magazines->lock);
    size_t count = (size_t)magazines->carved + 1;
    if (count * FLI_MAGAZINE_BYTES > magazines->region.reserved)
        return 0;
    if (fli_region_reach(&magazines->states, count, COMMIT_STEP / FLI_MAGAZINE_BYTES) != 0 ||
        fli_region_reach(&magazines->region, count * FLI_MAGAZINE_BYTES, COMMIT_STEP) != 0)
        return 0;
    if (magazines->carved == 1)
        magazines->states.base[0] = GIVEN_BACK; /* magazine 0 does not exist, so it does not keep its page */
    return magazines->carved++;
}

struct fli_magazine *fli_magazine_carve(struct fli_magazines *magazines)
{
    fli_lock(&magazines->lock);
    uint32_t index = magazines->returned > 0 ? reuse_locked(magazines) : grow_locked(magazines);
    fli_unlock(&magazines->lock);
    if (index == 0)
        return NULL;
    struct fli_magazine *magazine = fli_magazine_at(magazines, index);
    fli_store_own(&magazine->count, 0);
    return magazine;
}

/* Marks the magazines of a chain as in hand, and empties the chain. */
static void mark_locked(struct fli_magazines *magazines, struct fli_chain *chain)
{
    fli_assert_held(&magazines->lock);
    for (struct fli_magazine *magazine; (magazine = fli_chain_take(chain, magazines)) != NULL;)
        magazines->states.base[fli_magazine_index(magazines, magazine)] = IN_HAND;
}

enum page_state { NOTHING_IN_HAND, PARTLY_IN_HAND, ALL_IN_HAND };

/* How much of a page is in hand. Magazines that have been returned already count as in hand if another one is. */
static enum page_state page_state_locked(const struct fli_magazines *magazines, uint32_t page)
{
    fli_assert_held(&magazines->lock);
    const char *states = magazines->states.base + (size_t)page * magazines->per_page;
    if (memchr(states, IN_HAND, magazines->per_page) == NULL)
        return NOTHING_IN_HAND;
    return memchr(states, IN_USE, magazines->per_page) != NULL ? PARTLY_IN_HAND : ALL_IN_HAND;
}

/* Puts the magazines from `index` up to `end` that are in hand on the chain `kept`. */
static void keep_locked(struct fli_magazines *magazines, uint32_t index, uint32_t end, struct fli_chain *kept)
{
    fli_assert_held(&magazines->lock);
    for (; index < end; index++)
        if (magazines->states.base[index] == IN_HAND) {
            magazines->states.base[index] = IN_USE;
            fli_chain_put(kept, magazines, fli_magazine_at(magazines, index));
        }
}

/* Notes that the magazines from `index` up to `end` that are in hand have been returned. */
static void note_returned_locked(struct fli_magazines *magazines, uint32_t index, uint32_t end)
{
    fli_assert_held(&magazines->lock);
    for (; index < end; index++)
        if (magazines->states.base[index] == IN_HAND) {
            magazines->states.base[index] = GIVEN_BACK;
            magazines->returned++;
        }
}

/* Returns a run of pages in hand to the OS. If the OS refuses, their magazines go on existing, on the chain `kept`.
 * Returns the bytes returned to the OS. */
static size_t decommit_locked(struct fli_magazines *magazines, uint32_t page, uint32_t end, struct fli_chain *kept)
{
    fli_assert_held(&magazines->lock);
    uint32_t first = page * magazines->per_page, behind = end * magazines->per_page;
    size_t run = (size_t)(behind - first) * FLI_MAGAZINE_BYTES;
    if (fli_os_decommit(fli_magazine_at(magazines, first), run) != 0) {
        keep_locked(magazines, first, behind, kept);
        return 0;
    }
    note_returned_locked(magazines, first, behind);
    return run;
}

size_t fli_magazines_return(struct fli_magazines *magazines, struct fli_chain *empties)
{
    size_t bytes = 0;
    if (fli_chain_first(empties, magazines) == NULL)
        return 0;
    fli_lock(&magazines->lock);
    mark_locked(magazines, empties);
    uint32_t per_page = magazines->per_page, pages = (magazines->carved + per_page - 1) / per_page;
    for (uint32_t page = 0, end; page < pages; page = end) {
        enum page_state state = page_state_locked(magazines, page);
        end = page + 1;
        if (state == PARTLY_IN_HAND)
            keep_locked(magazines, page * per_page, end * per_page, empties);
        if (state != ALL_IN_HAND)
            continue;
        while (end < pages && page_state_locked(magazines, end) == ALL_IN_HAND)
            end++;
        bytes += decommit_locked(magazines, page, end, empties);
    }
    magazines->search_from = 1;
    fli_unlock(&magazines->lock);
    return bytes;
}

size_t fli_magazines_count(struct fli_magazines *magazines)
{
    fli_lock(&magazines->lock);
    size_t count = magazines->carved - 1 - magazines->returned;
    fli_unlock(&magazines->lock);
    return count;
}
