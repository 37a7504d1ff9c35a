/* SPDX-License-Identifier: MIT */
#include "api/late.h"
#include "heap/service.h"

static __thread struct fli_dead *lists; /* the latest first */

/* The place of the heap's list. */
static struct fli_dead **place_of(const struct fl_heap *heap)
{
    struct fli_dead **place = &lists;
    while (*place != NULL && (*place)->stack != heap)
        place = &(*place)->next;
    return place;
}

struct fli_dead *fli_late_find(const struct fl_heap *heap)
{
    return *place_of(heap);
}

struct fli_dead *fli_late_begin(const struct fl_heap *heap, struct fli_dead *frame)
{
    struct fli_dead *list = fli_late_find(heap);
    if (list != NULL)
        return list;
    list = fli_dead_create(0);
    if (list == NULL)
        list = frame;
    list->stack = heap;
    list->next = lists;
    lists = list;
    return list;
}

void fli_late_end(struct fl_heap *heap, struct fli_dead *list, const struct fli_dead *frame)
{
    struct fli_dead **place = place_of(heap);
    struct fli_thread *server = fli_service_enter(heap);
    *place = list->next;
    fli_pile_give_empties(&list->places.pile, &heap->backing, &server->owner.counters, false);
    fli_service_leave(server);
    if (list == frame)
        return;
    if (fli_dead_is_empty(list))
        fli_dead_destroy(list);
    else
        fli_dead_leave(heap, list);
}
