/* SPDX-License-Identifier: MIT */
#include "heap/dead.h"
#include "base/check.h"
#include "heap/registry.h"
#include "heap/spill.h"
#include "heap/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool fli_dead_put_full(struct fli_dead *list, struct fli_dead_object object, struct fli_thread *server)
{
    return fli_spill_put(&list->places, &list->places.pile, object, server);
}

struct fli_dead_object fli_dead_take(struct fli_dead *list, const struct fli_magazines *magazines)
{
    return fli_spill_take(&list->places, &list->places.pile, magazines);
}

/* ---- The lists of a thread. */

const struct fli_dead fli_dead_none = {.waits = FLI_WAITS_NOWHERE};

uint32_t fli_dead_waits_in(const struct fl_heap *heap)
{
    if (FLI_CHECKED || heap->watched || heap->hardened || heap->options.later != FL_LATER_NONE)
        return FLI_WAITS_NOWHERE;
    return heap->options.header != NULL ? FLI_WAITS | FLI_WAITS_HEADER : FLI_WAITS;
}

/* Notes for the fast path whether the list at hand is that of the present stack. */
static void settle(struct fli_thread *thread)
{
    thread->quick_dead = thread->dead->stack == thread->stack ? thread->dead : FLI_DEAD_NONE;
}

/* Whether nothing waits in a list and no drain is at work on it. */
static bool is_idle(const struct fli_dead *list)
{
    return list->drain.caller.address == 0 && fli_dead_is_empty(list);
}

/* Makes a list in a magazine. */
static struct fli_dead *make(struct fli_thread *thread)
{
    struct fli_magazine *holder = fli_pile_obtain_empty(thread);
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
    fli_pile_give_empties(&list->places.pile, backing, counters, false);
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

/* Makes one of the thread's other lists, or a new one, the present list. In the child of a fork, the thread may lack
 * one of the two, but has none twice. */
static struct fli_dead *change_to(struct fli_thread *thread, struct fli_dead **place)
{
    struct fli_dead *last = thread->dead, *list = *place, *rest = list != NULL ? list->next : NULL;
    if (list == NULL)
        list = make(thread);
    if (list == NULL)
        return NULL;
    *place = rest;
    thread->dead = list;
    last->next = thread->other_dead;
    thread->other_dead = last;
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
    if (list != NULL && (list->stack != thread->stack || is_idle(list))) {
        list->stack = thread->stack;
        fli_dead_set_runs(list, false, fli_dead_waits_in(thread->heap));
    }
    settle(thread);
    return list;
}

void fl_thread_set_stack(struct fl_thread *face, const void *stack)
{
    struct fli_thread *thread = fli_thread_of(face);
    if (fli_thread_is_stand_in(face))
        return;
    thread->stack = stack;
    settle(thread);
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
    fli_pile_give_empties(&thread->dead->places.pile, backing, counters, false);
    for (struct fli_dead *list = thread->other_dead; list != NULL; list = list->next)
        fli_pile_give_empties(&list->places.pile, backing, counters, false);
}

struct fli_dead *fli_dead_create(uint32_t waits)
{
    struct fli_dead *list = calloc(1, sizeof *list);
    if (list != NULL)
        list->waits = waits;
    return list;
}

void fli_dead_destroy(struct fli_dead *list)
{
    free(list);
}

/* ---- What is left to the heap. */

static void add_left_locked(struct fl_heap *heap, struct fli_dead *list)
{
    fli_registry_assert_held();
    list->drain.caller.address = 0;
    list->next = fli_load_own(&heap->left_dead);
    fli_store_hint(&heap->left_dead, list);
}

/* Leaves a list to the heap, or disposes of it. */
static void leave_locked(struct fli_thread *thread, struct fli_dead *list)
{
    struct fl_heap *heap = thread->heap;
    fli_registry_assert_held();
    fli_pile_recount(&list->places.pile, &heap->backing.magazines);
    /* In the child of a fork, all that this reads was written before the fork. */
    if (fli_load_own(&list->places.count) == 0 && fli_load_own(&list->places.pile.count) == 0) {
        dispose(list, &heap->backing, &thread->owner.counters);
        return;
    }
    add_left_locked(heap, list);
}

void fli_dead_leave(struct fl_heap *heap, struct fli_dead *list)
{
    fli_registry_lock();
    add_left_locked(heap, list);
    fli_registry_unlock();
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
    fli_pile_give_empties(&list->places.pile, backing, &server->owner.counters, false);
    list->places.few = FLI_DEAD_WINDOW;
    fli_pile_move(&list->places.pile, &left->places.pile);
    size_t count = fli_load_own(&left->places.count);
    for (size_t i = 0; i < count; i++)
        fli_dead_set(&list->places, i, fli_dead_at(&left->places, i));
    /* D14: release, pairs with a fork: as D1. */
    fli_store_release(&list->places.count, count);
    dispose(left, backing, &server->owner.counters);
}

_Static_assert(sizeof(struct fli_dead) <= sizeof(void *[FLI_MAGAZINE_SLOTS]), "a list fits a magazine");
