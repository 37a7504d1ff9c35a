/* SPDX-License-Identifier: MIT */
#include "heap/pile.h"
#include "heap/thread.h"

#include <errno.h>

/* ---- Linked objects. */

/* The two words of a dead object that its type names. */
struct words {
    uintptr_t link; /* to the words of the object before */
    uintptr_t type;
};

static struct words *words_at(uintptr_t link)
{
    return (struct words *)fli_dead_address(link);
}

/* How the words of a type's objects hold a link though stale readers look at them; NULL if no reader does. */
static const struct fl_header_link *way_of(const struct fl_type *type)
{
    const struct fl_header *header = type->header;
    return header != NULL && type->words_offset < header->bytes ? &header->link : NULL;
}

/* Spreads the bits of a link over those of a mask, from the lowest up. */
static uint64_t spread(uint64_t link, uint64_t mask)
{
    uint64_t word = 0;
    for (; mask != 0; mask &= mask - 1, link >>= 1)
        word |= (link & 1) * (mask & -mask);
    return word;
}

/* Gathers a link from the bits of a mask. */
static uint64_t gather(uint64_t word, uint64_t mask)
{
    uint64_t link = 0;
    for (unsigned place = 0; mask != 0; mask &= mask - 1, place++)
        link |= (uint64_t)((word & mask & -mask) != 0) << place;
    return link;
}

/* The first word of an object that is linked to `before`, the object linked before it. Of the word `now`, bits may
 * stay. */
static uint64_t word_of(const struct fl_type *type, uintptr_t before, uint64_t now)
{
    const struct fl_header_link *way = way_of(type);
    return way == NULL ? before : way->others | spread(before, way->bits) | (now & way->stays);
}

/* The first word of an object that is linked no more, where `now` is that of the linked one. */
static uint64_t word_after(const struct fl_type *type, uint64_t now)
{
    const struct fl_header_link *way = way_of(type);
    return way == NULL ? 0 : way->after | (now & way->stays);
}

/* The link in the first word of an object. */
static uintptr_t link_in(const struct fl_type *type, uint64_t word)
{
    const struct fl_header_link *way = way_of(type);
    return way == NULL ? word : gather(word, way->bits);
}

/* Whether an object of the type can be linked: it has words, and they have room for the link. */
static bool may_link(struct fli_pile *pile, const struct fl_type *type)
{
    uintptr_t before = fli_load_own(&pile->linked);
    return (type->flags & FL_TYPE_HAS_WORDS) != 0 && link_in(type, word_of(type, before, 0)) == before;
}

static void link_object(struct fli_pile *pile, struct fli_dead_object object)
{
    uintptr_t link = object.entry + object.type->words_offset;
    struct words *words = words_at(link);
    uint64_t now = fli_load_public(&words->link);
    fli_store_public(&words->link, word_of(object.type, fli_load_own(&pile->linked), now));
    fli_store_public(&words->type, (uintptr_t)object.type);
    /* D3: release, pairs with a fork: the object's words are written. */
    fli_store_release(&pile->linked, link);
}

struct fli_dead_object fli_pile_behind(uintptr_t *link)
{
    const struct words *words = words_at(*link);
    const struct fl_type *type = (const struct fl_type *)fli_load_public(&words->type);
    struct fli_dead_object object = {*link - type->words_offset, type};
    *link = link_in(type, fli_load_public(&words->link));
    return object;
}

static struct fli_dead_object unlink_object(struct fli_pile *pile)
{
    uintptr_t link = fli_load_own(&pile->linked);
    struct words *words = words_at(link);
    struct fli_dead_object object = fli_pile_behind(&link);
    fli_store_own(&pile->linked, link);
    fli_store_public(&words->link, word_after(object.type, fli_load_public(&words->link)));
    return object;
}

/* ---- The pile. */

static bool has_room(struct fli_magazine *magazine)
{
    return magazine != NULL && fli_magazine_count(magazine) < FLI_PILE_PAIRS;
}

struct fli_magazine *fli_pile_obtain_empty(struct fli_thread *server)
{
    int saved = errno;
    struct fli_magazine *magazine = fli_owner_obtain_empty_anywhere(&server->heap->backing, &server->owner);
    errno = saved;
    return magazine;
}

/* A magazine of the pile with room; NULL if there is none. */
static struct fli_magazine *magazine_with_room(struct fli_pile *pile, struct fli_thread *server)
{
    const struct fli_magazines *magazines = &server->heap->backing.magazines;
    struct fli_chain *chain = &pile->magazines;
    struct fli_magazine *magazine = fli_chain_first(chain, magazines);
    if (has_room(magazine))
        return magazine;
    magazine = fli_chain_take(&pile->empties, magazines);
    if (magazine == NULL)
        magazine = fli_pile_obtain_empty(server);
    if (magazine != NULL)
        fli_chain_put(chain, magazines, magazine);
    return magazine;
}

bool fli_pile_put(struct fli_pile *pile, struct fli_dead_object object, struct fli_thread *server)
{
    /* Once memory was refused, it is not asked for again as long as objects are linked. */
    bool is_linked = fli_load_own(&pile->linked) != 0;
    bool links = server == NULL || (is_linked && may_link(pile, object.type));
    struct fli_magazine *magazine = links ? NULL : magazine_with_room(pile, server);
    if (magazine != NULL)
        return fli_pile_put_quickly(pile, &server->heap->backing.magazines, object);
    if (!may_link(pile, object.type))
        return false;
    link_object(pile, object);
    fli_pile_add(pile, 1);
    return true;
}

/* Takes the last pair of the magazines. A magazine that this empties stays, unless there is one behind it. */
static struct fli_dead_object take_pair(struct fli_pile *pile, const struct fli_magazines *magazines)
{
    struct fli_chain *chain = &pile->magazines;
    struct fli_magazine *magazine = fli_chain_first(chain, magazines);
    if (fli_magazine_count(magazine) == 0) {
        fli_chain_put(&pile->empties, magazines, fli_chain_take(chain, magazines));
        magazine = fli_chain_first(chain, magazines);
    }
    uint32_t last = fli_magazine_count(magazine) - 1u;
    fli_store_own(&magazine->count, (uint16_t)last);
    return fli_pair_get(&fli_pile_pairs(magazine)[last]);
}

struct fli_dead_object fli_pile_take(struct fli_pile *pile, const struct fli_magazines *magazines)
{
    bool linked = fli_load_own(&pile->linked) != 0;
    fli_pile_add(pile, (size_t)-1);
    return linked ? unlink_object(pile) : take_pair(pile, magazines);
}

void fli_pile_put_magazine(struct fli_pile *pile, const struct fli_magazines *magazines,
                           struct fli_magazine *magazine)
{
    struct fli_chain *chain = &pile->magazines;
    uint32_t count = fli_magazine_count(magazine);
    struct fli_magazine *first = count > 0 ? fli_chain_first(chain, magazines) : NULL;
    if (first != NULL && fli_magazine_count(first) == 0)
        fli_chain_put(&pile->empties, magazines, fli_chain_take(chain, magazines));
    fli_chain_put(count > 0 ? chain : &pile->empties, magazines, magazine);
    fli_pile_add(pile, count);
}

void fli_pile_give_empties(struct fli_pile *pile, struct fli_backing *backing, struct fli_pool_counters *counters,
                           bool keeps)
{
    struct fli_magazine *first = fli_chain_first(&pile->magazines, &backing->magazines);
    if (!keeps && first != NULL && fli_magazine_count(first) == 0)
        fli_chain_put(&pile->empties, &backing->magazines, fli_chain_take(&pile->magazines, &backing->magazines));
    while (fli_pile_has_empties(pile))
        fli_pile_give_empty(pile, backing, counters);
}

void fli_pile_give_empty(struct fli_pile *pile, struct fli_backing *backing, struct fli_pool_counters *counters)
{
    struct fli_magazine *empty = fli_chain_take(&pile->empties, &backing->magazines);
    fli_stack_push_mpmc(&backing->pool.empty, &backing->magazines, empty, counters);
}

/* ---- In the child of a fork. */

static size_t count_linked(uintptr_t link)
{
    size_t count = 0;
    for (; link != 0; count++)
        fli_pile_behind(&link);
    return count;
}

/* Counts the pile anew. In the child of a fork, the thread that owned the list may have been at work on it. */
static void count_pile(struct fli_pile *pile, const struct fli_magazines *magazines)
{
    size_t count = count_linked(fli_load_own(&pile->linked));
    struct fli_magazine *magazine = fli_chain_first(&pile->magazines, magazines);
    for (; magazine != NULL; magazine = fli_chain_behind(magazine, magazines))
        count += fli_magazine_count(magazine);
    fli_store_own(&pile->count, count);
}

void fli_pile_recount(struct fli_pile *pile, const struct fli_magazines *magazines)
{
    if (fli_lock_is_forking())
        count_pile(pile, magazines);
}

void fli_pile_move(struct fli_pile *to, struct fli_pile *from)
{
    fli_store_own(&to->linked, fli_load_own(&from->linked));
    fli_store_own(&from->linked, 0);
    fli_chain_begin(&to->magazines, fli_chain_end(&from->magazines));
    fli_chain_begin(&to->empties, fli_chain_end(&from->empties));
    fli_store_hint(&to->count, fli_load_own(&from->count));
    fli_store_hint(&from->count, 0);
}
