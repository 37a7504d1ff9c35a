/* SPDX-License-Identifier: MIT */
#include "heap/dead.h"
#include "base/check.h"
#include "heap/registry.h"
#include "heap/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

static void link_object(struct fli_dead_places *places, struct fli_dead_object object)
{
    uintptr_t link = object.entry + object.type->words_offset;
    struct words *words = words_at(link);
    fli_store_public(&words->link, fli_load_own(&places->linked));
    fli_store_public(&words->type, (uintptr_t)object.type);
    /* D3: release, pairs with D4 in count_pile: the object's words are written. */
    fli_store_release(&places->linked, link);
}

struct fli_dead_object fli_dead_behind(uintptr_t *link)
{
    const struct words *words = words_at(*link);
    const struct fl_type *type = (const struct fl_type *)fli_load_public(&words->type);
    struct fli_dead_object object = {*link - type->words_offset, type};
    *link = fli_load_public(&words->link);
    return object;
}

static struct fli_dead_object unlink_object(struct fli_dead_places *places)
{
    uintptr_t link = fli_load_own(&places->linked);
    struct words *words = words_at(link);
    struct fli_dead_object object = fli_dead_behind(&link);
    fli_store_own(&places->linked, link);
    fli_store_public(&words->link, 0);
    return object;
}

/* ---- The pile. */

static struct fli_dead_object *pairs_of(struct fli_magazine *magazine)
{
    return (struct fli_dead_object *)(void *)magazine->slots;
}

static bool has_room(struct fli_magazine *magazine)
{
    return magazine != NULL && fli_magazine_count(magazine) < FLI_DEAD_PAIRS;
}

/* An empty magazine; NULL if memory is refused. Keeps errno. */
static struct fli_magazine *obtain_empty(struct fli_thread *server)
{
    int saved = errno;
    struct fli_magazine *magazine = fli_owner_obtain_empty_anywhere(&server->heap->backing, &server->owner);
    errno = saved;
    return magazine;
}

/* A magazine of the pile with room; NULL if there is none. */
static struct fli_magazine *magazine_with_room(struct fli_dead *list, struct fli_thread *server)
{
    const struct fli_magazines *magazines = &server->heap->backing.magazines;
    struct fli_chain *chain = &list->places.magazines;
    struct fli_magazine *magazine = fli_chain_first(chain, magazines);
    if (has_room(magazine))
        return magazine;
    magazine = fli_chain_take(&list->empties, magazines);
    if (magazine == NULL)
        magazine = obtain_empty(server);
    if (magazine != NULL)
        fli_chain_put(chain, magazines, magazine);
    return magazine;
}

/* Puts an object onto the pile. Returns false if there is no place for it. */
static bool pile(struct fli_dead *list, struct fli_dead_object object, struct fli_thread *server)
{
    bool may_link = (object.type->flags & FL_TYPE_HAS_WORDS) != 0;
    /* Once memory was refused, it is not asked for again as long as objects are linked. */
    bool links = server == NULL || (may_link && fli_load_own(&list->places.linked) != 0);
    struct fli_magazine *magazine = links ? NULL : magazine_with_room(list, server);
    if (magazine != NULL) {
        uint32_t count = fli_magazine_count(magazine);
        pairs_of(magazine)[count] = object;
        /* D5: release, pairs with D6 in count_pile: the pair is in the magazine. */
        fli_store_release(&magazine->count, (uint16_t)(count + 1));
    } else if (may_link) {
        link_object(&list->places, object);
    } else {
        return false;
    }
    fli_count(&list->places.piled, 1);
    return true;
}

static struct fli_dead_object object_at(const struct fli_dead_places *places, uint32_t place)
{
    return (struct fli_dead_object){places->entries[place], places->types[place]};
}

static void set_object(struct fli_dead_places *places, uint32_t place, struct fli_dead_object object)
{
    places->entries[place] = object.entry;
    places->types[place] = object.type;
}

/* Moves the lower half of a full stack onto the pile. What finds no place there stays. Returns whether there is room. */
static bool spill(struct fli_dead *list, struct fli_thread *server)
{
    struct fli_dead_places *places = &list->places;
    uint32_t kept = 0;
    fli_store_own(&places->count, 0);
    for (uint32_t i = 0; i < FLI_DEAD_STACK; i++)
        if (i >= FLI_DEAD_STACK / 2 || !pile(list, object_at(places, i), server))
            set_object(places, kept++, object_at(places, i));
    /* D7: release, pairs with D2 in leave_locked: as D1. */
    fli_store_release(&places->count, kept);
    return kept < FLI_DEAD_STACK;
}

bool fli_dead_put_full(struct fli_dead *list, struct fli_dead_object object, struct fli_thread *server)
{
    if (spill(list, server))
        return fli_dead_put(list, object.entry, object.type);
    return pile(list, object, server);
}

/* Takes the last pair of the magazines. A magazine that this empties stays, unless there is one behind it. */
static struct fli_dead_object take_pair(struct fli_dead *list, const struct fli_magazines *magazines)
{
    struct fli_chain *chain = &list->places.magazines;
    struct fli_magazine *magazine = fli_chain_first(chain, magazines);
    if (fli_magazine_count(magazine) == 0) {
        fli_chain_put(&list->empties, magazines, fli_chain_take(chain, magazines));
        magazine = fli_chain_first(chain, magazines);
    }
    uint32_t count = fli_magazine_count(magazine) - 1;
    fli_store_own(&magazine->count, (uint16_t)count);
    return pairs_of(magazine)[count];
}

static struct fli_dead_object take_piled(struct fli_dead *list, const struct fli_magazines *magazines)
{
    bool linked = fli_load_own(&list->places.linked) != 0;
    fli_count(&list->places.piled, (size_t)-1);
    struct fli_dead_object object = linked ? unlink_object(&list->places) : take_pair(list, magazines);
    fli_dead_prefetch(object.entry, object.type);
    return object;
}

void fli_dead_refill(struct fli_dead *list, const struct fli_magazines *magazines)
{
    struct fli_dead_places *places = &list->places;
    uint32_t count = fli_load_own(&places->count);
    uint32_t more = (uint32_t)fli_min(fli_load_own(&places->piled), FLI_DEAD_STACK / 2 - FLI_DEAD_WINDOW);
    fli_store_own(&places->count, 0);
    for (uint32_t i = count; i-- > 0;)
        set_object(places, i + more, object_at(places, i));
    for (uint32_t i = more; i-- > 0;)
        set_object(places, i, take_piled(list, magazines));
    /* D8: release, pairs with D2 in leave_locked: as D1. */
    fli_store_release(&places->count, count + more);
}

void fli_dead_give_empties(struct fli_dead *list, struct fli_backing *backing, struct fli_pool_counters *counters,
                           bool keeps)
{
    struct fli_magazine *first = fli_chain_first(&list->places.magazines, &backing->magazines);
    if (!keeps && first != NULL && fli_magazine_count(first) == 0)
        fli_chain_put(&list->empties, &backing->magazines,
                      fli_chain_take(&list->places.magazines, &backing->magazines));
    for (struct fli_magazine *empty; (empty = fli_chain_take(&list->empties, &backing->magazines)) != NULL;)
        fli_stack_push_mpmc(&backing->pool.empty, &backing->magazines, empty, counters);
}

/* ---- The lists of a thread. */

/* Whether nothing waits in a list and no drain is at work on it. */
static bool is_idle(const struct fli_dead *list)
{
    return list->drain.caller.address == 0 && fli_dead_is_empty(list);
}

/* Makes a list in a magazine. */
static struct fli_dead *make(struct fli_thread *thread)
{
    struct fli_magazine *holder = obtain_empty(thread);
    if (holder == NULL)
        return NULL;
    struct fli_dead *list = (struct fli_dead *)(void *)holder->slots;
    memset(list, 0, sizeof *list);
    list->holder = holder;
    return list;
}

/* Gives back what a list consists of. Nothing waits in it. */
static void dispose(struct fli_dead *list, struct fli_backing *backing, struct fli_pool_counters *counters)
{
    fli_dead_give_empties(list, backing, counters, false);
    if (list->holder == NULL)
        free(list);
    else
        fli_stack_push_mpmc(&backing->pool.empty, &backing->magazines, list->holder, counters);
}

/* The place of the thread's list for a stack, among its other lists. */
static struct fli_dead **place_of(struct fli_thread *thread, const void *stack)
{
    struct fli_dead **place = &thread->other_dead;
    while (*place != NULL && (*place)->stack != stack)
        place = &(*place)->next;
    return place;
}

/* The place of a list that is idle. */
static struct fli_dead **place_of_idle(struct fli_thread *thread)
{
    struct fli_dead **place = &thread->other_dead;
    while (*place != NULL && !is_idle(*place))
        place = &(*place)->next;
    return place;
}

/* Makes one of the thread's other lists, or a new one, the present list. */
static struct fli_dead *change_to(struct fli_thread *thread, struct fli_dead **place)
{
    struct fli_dead *list = *place, *rest = list != NULL ? list->next : NULL;
    if (list == NULL)
        list = make(thread);
    if (list == NULL)
        return NULL;
    *place = rest;
    thread->dead->next = thread->other_dead;
    thread->other_dead = thread->dead;
    thread->dead = list;
    return list;
}

struct fli_dead *fli_dead_find_owner(struct fli_thread *thread, bool makes)
{
    struct fli_dead *list = thread->dead;
    if (list->stack == thread->stack)
        return list;
    struct fli_dead **place = place_of(thread, thread->stack);
    if (*place == NULL && !makes)
        return NULL;
    if (*place != NULL || !is_idle(list))
        list = change_to(thread, *place != NULL ? place : place_of_idle(thread));
    if (list != NULL)
        list->stack = thread->stack;
    return list;
}

bool fli_dead_drains(struct fli_thread *thread)
{
    const struct fli_dead *list = fli_dead_find_owner(thread, false);
    return list != NULL && list->drain.caller.address != 0 && fli_stack_find(list->drain.caller) == FLI_ON_STACK;
}

void fli_dead_flush_owner(struct fli_thread *thread)
{
    struct fli_backing *backing = &thread->heap->backing;
    struct fli_pool_counters *counters = &thread->owner.counters;
    fli_dead_give_empties(thread->dead, backing, counters, false);
    for (struct fli_dead *list = thread->other_dead; list != NULL; list = list->next)
        fli_dead_give_empties(list, backing, counters, false);
}

struct fli_dead *fli_dead_create(void)
{
    return calloc(1, sizeof(struct fli_dead));
}

void fli_dead_destroy(struct fli_dead *list)
{
    free(list);
}

/* ---- What is left to the heap. */

static size_t count_linked(uintptr_t link)
{
    size_t count = 0;
    for (; link != 0; count++)
        fli_dead_behind(&link);
    return count;
}

/* Counts the pile anew. In the child of a fork, the thread that owned the list may have been at work on it. */
static void count_pile(struct fli_dead_places *places, const struct fli_magazines *magazines)
{
    /* D4: acquire, pairs with D3 in link_object. */
    size_t piled = count_linked(fli_load_acquire(&places->linked));
    struct fli_magazine *magazine = fli_chain_first(&places->magazines, magazines);
    for (; magazine != NULL; magazine = fli_chain_behind(magazine, magazines))
        /* D6: acquire, pairs with D5 in fli_dead_pile_owner. */
        piled += fli_load_acquire(&magazine->count);
    fli_store_own(&places->piled, piled);
}

/* Leaves a list to the heap, or disposes of it. */
static void leave_locked(struct fli_thread *thread, struct fli_dead *list)
{
    struct fl_heap *heap = thread->heap;
    fli_registry_assert_held();
    count_pile(&list->places, &heap->backing.magazines);
    /* D2: acquire, pairs with D1 in fli_dead_put, D7 in spill and D8 in fli_dead_refill. */
    if (fli_load_acquire(&list->places.count) == 0 && fli_load_own(&list->places.piled) == 0) {
        dispose(list, &heap->backing, &thread->owner.counters);
        return;
    }
    list->drain.caller.address = 0;
    list->next = fli_load_own(&heap->left_dead);
    fli_store_hint(&heap->left_dead, list);
}

void fli_dead_leave_locked(struct fli_thread *thread)
{
    for (struct fli_dead *list = thread->other_dead, *next; list != NULL; list = next) {
        next = list->next;
        leave_locked(thread, list);
    }
    leave_locked(thread, thread->dead);
}

struct fli_dead *fli_dead_take_left(struct fl_heap *heap)
{
    fli_registry_lock();
    struct fli_dead *list = fli_load_own(&heap->left_dead);
    if (list != NULL)
        fli_store_hint(&heap->left_dead, list->next);
    fli_registry_unlock();
    return list;
}

void fli_dead_adopt(struct fli_dead *list, struct fli_dead *left, struct fli_thread *server)
{
    struct fli_backing *backing = &server->heap->backing;
    fli_dead_give_empties(list, backing, &server->owner.counters, false);
    memcpy(&list->places, &left->places, sizeof list->places);
    memset(&left->places, 0, sizeof left->places);
    dispose(left, backing, &server->owner.counters);
}

_Static_assert(sizeof(struct fli_dead) <= sizeof(void *[FLI_MAGAZINE_SLOTS]), "a list fits a magazine");
