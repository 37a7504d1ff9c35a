/* SPDX-License-Identifier: MIT
 *
 * The ranges of magazines. Indexes are carved from the bottom. A byte per magazine tells which magazines have been
 * returned; these are carved again before more memory is committed. A page is returned to the OS when all of its
 * magazines are. Ranges consist of whole pages, so none lies in two of them.
 *
 *     a range
 *     +--------+-----------+----------+
 *     | states | magazines | reserved |
 *     +--------+-----------+----------+
 *
 * There is no magazine 0. The states of a small first range lie in its place, so that a heap that is hardly used touches
 * one page less. That page is never returned.
 */
#include "memory/magazine.h"
#include "base/check.h"
#include "base/lock.h"
#include "memory/chain.h"
#include "memory/range.h"

#include <errno.h>
#include <string.h>

enum { COMMIT_STEP = 1 << 20 };

/* What the second range of a heap that began small takes. */
enum { MODEST_BYTES = 2 * FLI_SLAB_BYTES };

/* How many magazines a quick search for a returned one looks at. */
enum { NEARBY = 4096 };

enum magazine_state { IN_USE, IN_HAND, GIVEN_BACK };

/* ---- Looking a magazine up. */

struct fli_magazine *fli_magazine_beyond(const struct fli_magazines *magazines, uint32_t index)
{
    /* M2: acquire, pairs with M1 in grow_locked: the ranges can be read. */
    const struct fli_magazine_range *range = &magazines->at[fli_load_acquire(&magazines->ranges) - 1];
    while (index < range->first)
        range--;
    return (struct fli_magazine *)(void *)(range->base + (size_t)(index - range->first) * FLI_MAGAZINE_BYTES);
}

uint32_t fli_magazine_index_beyond(const struct fli_magazines *magazines, const struct fli_magazine *magazine)
{
    /* M3: acquire, pairs with M1 in grow_locked: the ranges can be read. */
    const struct fli_magazine_range *range = &magazines->at[fli_load_acquire(&magazines->ranges) - 1];
    size_t index;
    while ((index = ((uintptr_t)magazine - (uintptr_t)range->base) / FLI_MAGAZINE_BYTES) >= range->count)
        range--;
    return range->first + (uint32_t)index;
}

/* The state of a magazine. */
static char *state_of_locked(const struct fli_magazines *magazines, uint32_t index)
{
    fli_assert_held(&magazines->lock);
    uint32_t range = fli_load_own(&magazines->ranges) - 1;
    while (index < magazines->at[range].first)
        range--;
    return magazines->states[range] + (index - magazines->at[range].first);
}

/* ---- How a range is laid out. */

static uint32_t magazines_per_page(void)
{
    return (uint32_t)(fli_os_page() / FLI_MAGAZINE_BYTES);
}

/* Magazines for so many bytes of slabs, in whole pages. They have room for half of all blocks to be free, even if all
 * are of the smallest size. Blocks freed beyond that are parked in their slabs. */
static uint32_t magazines_for(size_t slab_bytes)
{
    size_t count = fli_min(slab_bytes / 4 / FLI_MAGAZINE_BYTES, FLI_INDEX_MAX);
    return (uint32_t)(count & ~(size_t)(magazines_per_page() - 1));
}

/* Bytes before the magazines of a range, for their states. */
static size_t states_bytes(uint32_t range, uint32_t count)
{
    return range == 0 && count <= FLI_MAGAZINE_BYTES ? 0 : fli_round_up(count, fli_os_page());
}

static size_t range_bytes(uint32_t range, uint32_t count)
{
    return states_bytes(range, count) + (size_t)count * FLI_MAGAZINE_BYTES;
}

size_t fli_magazines_reserve_bytes(size_t slab_bytes)
{
    return range_bytes(0, magazines_for(slab_bytes));
}

/* Lays a range of `count` magazines out at `base`, of which `ready` bytes can be touched already, and makes its states
 * usable. Returns 0 or -ENOMEM. */
static int lay_out(struct fli_magazines *magazines, uint32_t range, char *base, uint32_t count, size_t ready)
{
    size_t states = states_bytes(range, count);
    struct fli_region *memory = &magazines->memory[range];
    magazines->states[range] = base;
    magazines->at[range] = (struct fli_magazine_range){base + states, magazines->room, count};
    *memory = (struct fli_region){.base = base, .reserved = range_bytes(range, count), .usable = ready};
    /* With huge pages, the OS could bring back what a trim has returned. */
    if (ready == 0)
        fli_os_advise_huge(base, memory->reserved, false);
    return fli_region_reach(memory, count, 0);
}

int fli_magazines_init(struct fli_magazines *magazines, char *base, size_t bytes, size_t ready, size_t slab_bytes)
{
    bool has_states = states_bytes(0, (uint32_t)(bytes / FLI_MAGAZINE_BYTES)) > 0;
    uint32_t count = (uint32_t)(bytes / (FLI_MAGAZINE_BYTES + has_states)) & ~(magazines_per_page() - 1);
    magazines->per_page = magazines_per_page();
    magazines->room = 0;
    int failed = lay_out(magazines, 0, base, count, ready);
    magazines->room = count;
    magazines->room_most = (uint32_t)fli_max(count, magazines_for(slab_bytes));
    fli_store_own(&magazines->ranges, 1);
    magazines->carved = 1;
    magazines->returned = 0;
    magazines->search_from = 1;
    fli_mutex_init(&magazines->lock, FLI_RANK_MEMORY);
    return failed;
}

void fli_magazines_grow_by(struct fli_magazines *magazines, size_t slab_bytes)
{
    magazines->usual = magazines_for(slab_bytes);
}

void fli_magazines_close(struct fli_magazines *magazines)
{
    for (uint32_t range = 0; range < fli_load_own(&magazines->ranges); range++) {
        fli_region_close(&magazines->memory[range]);
        if (range > 0)
            fli_os_release(magazines->memory[range].base, magazines->memory[range].reserved);
    }
    fli_mutex_close(&magazines->lock);
}

size_t fli_magazines_committed(struct fli_magazines *magazines)
{
    size_t bytes = 0;
    fli_lock(&magazines->lock);
    for (uint32_t range = 0; range < fli_load_own(&magazines->ranges); range++)
        bytes += magazines->memory[range].committed;
    fli_unlock(&magazines->lock);
    return bytes;
}

/* ---- Carving. */

/* How many magazines a modest range has: it ends where a neighbour can begin. */
static uint32_t modest_count(const struct fli_magazines *magazines)
{
    size_t bytes = MODEST_BYTES - fli_os_page();
    return (uint32_t)(bytes / FLI_MAGAZINE_BYTES) & ~(magazines->per_page - 1);
}

/* Reserves a range of `count` magazines behind all others, among the memory of small heaps if it is `modest`. */
static bool reserve_locked(struct fli_magazines *magazines, uint32_t count, bool modest)
{
    fli_assert_held(&magazines->lock);
    uint32_t range = fli_load_own(&magazines->ranges);
    char *base = modest ? fli_os_reserve_usable(range_bytes(range, count), FLI_SLAB_BYTES)
                        : fli_os_reserve(range_bytes(range, count), fli_os_page());
    if (base == NULL)
        return false;
    if (lay_out(magazines, range, base, count, modest ? range_bytes(range, count) : 0) == 0)
        return true;
    fli_os_release(base, range_bytes(range, count));
    return false;
}

/* Reserves one more range, as large as all before together, or smaller if the OS refuses that. The second range of a heap
 * that began small is modest. */
static bool grow_locked(struct fli_magazines *magazines)
{
    fli_assert_held(&magazines->lock);
    uint32_t range = fli_load_own(&magazines->ranges);
    bool modest = magazines->usual != 0 && range == 1;
    uint32_t wanted = modest ? modest_count(magazines) : (uint32_t)fli_max(magazines->room, magazines->usual);
    uint32_t count = (uint32_t)fli_min(wanted, magazines->room_most - magazines->room);
    if (range == FLI_MAGAZINE_RANGES_MOST)
        return false;
    while (count >= magazines->per_page && !reserve_locked(magazines, count, modest))
        count = count / 2 & ~(magazines->per_page - 1);
    if (count < magazines->per_page)
        return false;
    magazines->room += count;
    /* M1: release, pairs with M2 in fli_magazine_beyond and M3 in fli_magazine_index_beyond: the range is whole. */
    fli_store_release(&magazines->ranges, range + 1);
    return true;
}

/* Finds a magazine that has been returned. There is one, and none of a lower index than `search_from`. */
static uint32_t reuse_locked(struct fli_magazines *magazines)
{
    fli_assert_held(&magazines->lock);
    const struct fli_magazine_range *range = magazines->at;
    char *found = NULL;
    for (uint32_t from = magazines->search_from; found == NULL; range++) {
        uint32_t end = (uint32_t)fli_min(magazines->carved, range->first + range->count);
        if (from < end)
            found = memchr(state_of_locked(magazines, from), GIVEN_BACK, end - from);
        from = (uint32_t)fli_max(from, end);
    }
    range--;
    *found = IN_USE;
    magazines->returned--;
    magazines->search_from = range->first + (uint32_t)(found - magazines->states[range - magazines->at]);
    return magazines->search_from;
}

static uint32_t carve_new_locked(struct fli_magazines *magazines)
{
    fli_assert_held(&magazines->lock);
    uint32_t index = magazines->carved;
    if (index == magazines->room && !grow_locked(magazines))
        return 0;
    uint32_t last = fli_load_own(&magazines->ranges) - 1;
    const struct fli_magazine_range *range = &magazines->at[last];
    struct fli_region *memory = &magazines->memory[last];
    size_t states = (size_t)(range->base - magazines->states[last]);
    if (fli_region_reach(memory, states + (size_t)(index - range->first + 1) * FLI_MAGAZINE_BYTES, COMMIT_STEP) != 0)
        return 0;
    if (index == 1 && states > 0)
        magazines->states[0][0] = GIVEN_BACK; /* magazine 0 does not exist, so it does not keep its page */
    return magazines->carved++;
}

/* The magazine with an index, 0 if there is none, without blocks and of full room. */
static struct fli_magazine *without_blocks(const struct fli_magazines *magazines, uint32_t index)
{
    if (index == 0)
        return NULL;
    struct fli_magazine *magazine = fli_magazine_at(magazines, index);
    fli_store_own(&magazine->count, 0);
    fli_magazine_set_pad(magazine, 0);
    return magazine;
}

struct fli_magazine *fli_magazine_carve(struct fli_magazines *magazines)
{
    fli_lock(&magazines->lock);
    uint32_t index = magazines->returned > 0 ? reuse_locked(magazines) : carve_new_locked(magazines);
    fli_unlock(&magazines->lock);
    return without_blocks(magazines, index);
}

/* Finds a returned magazine, if one of the next NEARBY was returned. Otherwise the next search begins behind these. */
static uint32_t reuse_nearby_locked(struct fli_magazines *magazines)
{
    fli_assert_held(&magazines->lock);
    uint32_t from = magazines->search_from, range = 0;
    while (range + 1 < fli_load_own(&magazines->ranges) && from >= magazines->at[range + 1].first)
        range++;
    size_t end = fli_min(magazines->carved, magazines->at[range].first + magazines->at[range].count);
    end = fli_min(end, (size_t)from + NEARBY);
    char *found = from < end ? memchr(state_of_locked(magazines, from), GIVEN_BACK, end - from) : NULL;
    if (found == NULL) {
        magazines->search_from = (uint32_t)fli_max(from, end);
        return 0;
    }
    *found = IN_USE;
    magazines->returned--;
    magazines->search_from = magazines->at[range].first + (uint32_t)(found - magazines->states[range]);
    return magazines->search_from;
}

/* Carves the next magazine, if its memory is committed. */
static uint32_t carve_committed_locked(struct fli_magazines *magazines)
{
    fli_assert_held(&magazines->lock);
    uint32_t last = fli_load_own(&magazines->ranges) - 1;
    const struct fli_magazine_range *range = &magazines->at[last];
    size_t states = (size_t)(range->base - magazines->states[last]);
    size_t upto = states + (size_t)(magazines->carved - range->first + 1) * FLI_MAGAZINE_BYTES;
    bool is_committed = magazines->carved < magazines->room && upto <= magazines->memory[last].committed;
    return is_committed ? carve_new_locked(magazines) : 0;
}

struct fli_magazine *fli_magazine_carve_quickly(struct fli_magazines *magazines)
{
    if (!fli_trylock(&magazines->lock))
        return NULL;
    uint32_t index = magazines->returned > 0 ? reuse_nearby_locked(magazines) : 0;
    if (index == 0)
        index = carve_committed_locked(magazines);
    fli_unlock(&magazines->lock);
    return without_blocks(magazines, index);
}

/* Marks the magazines of a chain as in hand, and empties the chain. */
static void mark_locked(struct fli_magazines *magazines, struct fli_chain *chain)
{
    fli_assert_held(&magazines->lock);
    for (struct fli_magazine *magazine; (magazine = fli_chain_take(chain, magazines)) != NULL;)
        *state_of_locked(magazines, fli_magazine_index(magazines, magazine)) = IN_HAND;
}

enum page_state { NOTHING_IN_HAND, PARTLY_IN_HAND, ALL_IN_HAND };

/* How much of a page is in hand. Magazines that have been returned already count as in hand if another one is. */
static enum page_state page_state_locked(const struct fli_magazines *magazines, uint32_t page)
{
    fli_assert_held(&magazines->lock);
    const char *states = state_of_locked(magazines, page * magazines->per_page);
    if (memchr(states, IN_HAND, magazines->per_page) == NULL)
        return NOTHING_IN_HAND;
    return memchr(states, IN_USE, magazines->per_page) != NULL ? PARTLY_IN_HAND : ALL_IN_HAND;
}

/* Puts the magazines from `index` up to `end` that are in hand on the chain `kept`. */
static void keep_locked(struct fli_magazines *magazines, uint32_t index, uint32_t end, struct fli_chain *kept)
{
    fli_assert_held(&magazines->lock);
    char *state = state_of_locked(magazines, index);
    for (; index < end; index++, state++)
        if (*state == IN_HAND) {
            *state = IN_USE;
            fli_chain_put(kept, magazines, fli_magazine_at(magazines, index));
        }
}

/* Notes that the magazines from `index` up to `end` that are in hand have been returned. */
static void note_returned_locked(struct fli_magazines *magazines, uint32_t index, uint32_t end)
{
    fli_assert_held(&magazines->lock);
    char *state = state_of_locked(magazines, index);
    for (; index < end; index++, state++)
        if (*state == IN_HAND) {
            *state = GIVEN_BACK;
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

/* Returns pages of magazines in hand, from page `page` up to `pages` of one range. Puts magazines in hand of other
 * pages on the chain `kept`. Returns the bytes returned to the OS. */
static size_t return_pages_locked(struct fli_magazines *magazines, uint32_t page, uint32_t pages,
                                  struct fli_chain *kept)
{
    fli_assert_held(&magazines->lock);
    size_t bytes = 0;
    for (uint32_t end; page < pages; page = end) {
        enum page_state state = page_state_locked(magazines, page);
        end = page + 1;
        if (state == PARTLY_IN_HAND)
            keep_locked(magazines, page * magazines->per_page, end * magazines->per_page, kept);
        if (state != ALL_IN_HAND)
            continue;
        while (end < pages && page_state_locked(magazines, end) == ALL_IN_HAND)
            end++;
        bytes += decommit_locked(magazines, page, end, kept);
    }
    return bytes;
}

size_t fli_magazines_return(struct fli_magazines *magazines, struct fli_chain *empties)
{
    size_t bytes = 0;
    if (fli_chain_first(empties, magazines) == NULL)
        return 0;
    fli_lock(&magazines->lock);
    mark_locked(magazines, empties);
    uint32_t per_page = magazines->per_page, pages = (magazines->carved + per_page - 1) / per_page;
    for (uint32_t i = 0; i < fli_load_own(&magazines->ranges); i++) {
        const struct fli_magazine_range *range = &magazines->at[i];
        uint32_t end = (range->first + range->count) / per_page;
        bytes += return_pages_locked(magazines, range->first / per_page, (uint32_t)fli_min(end, pages), empties);
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
