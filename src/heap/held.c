/* SPDX-License-Identifier: MIT
 *
 * No other thread uses the heap, so all accesses here are relaxed.
 */
#include "heap/held.h"
#include "heap/registry.h"
#include "heap/thread.h"
#include "pool/reserve.h"
#include "pool/unsubmitted.h"

struct visit {
    struct fl_heap *heap;
    fli_held_visitor visitor;
    void *context;
};

static unsigned capacity_of(const struct visit *visit, unsigned class_index)
{
    return visit->heap->backing.magazine_blocks[class_index];
}

static int tell(const struct visit *visit, const struct fli_held *held)
{
    return visit->visitor(visit->context, held);
}

/* Tells of a magazine that no cache has loaded. */
static int tell_of(const struct visit *visit, struct fli_held *held)
{
    struct fli_magazine *magazine = held->magazine;
    if (magazine != NULL) {
        held->blocks = fli_magazine_floor(magazine, capacity_of(visit, held->class_index));
        held->count = fli_magazine_count(magazine);
    }
    return tell(visit, held);
}

/* ---- Lists. */

/* A stack of the pool or a shelf of a rack, from its top down. */
static int visit_list(const struct visit *visit, uint32_t index, unsigned class_index, const char *place)
{
    const struct fli_magazines *magazines = &visit->heap->backing.magazines;
    struct fli_held held = {.place = place, .class_index = class_index};
    int ended = 0;
    while (index != 0 && ended == 0) {
        held.index = index;
        held.above = held.magazine;
        held.magazine = index < magazines->carved ? fli_magazine_at(magazines, index) : NULL;
        ended = tell_of(visit, &held);
        index = held.magazine != NULL ? fli_load_relaxed(&held.magazine->next) : 0;
    }
    return ended;
}

static int visit_pool(const struct visit *visit)
{
    struct fli_pool *pool = &visit->heap->backing.pool;
    int ended = visit_list(visit, fli_stack_top(&pool->empty), 0, "the pool");
    for (unsigned c = 1; c < FL_CLASS_COUNT && ended == 0; c++)
        ended = visit_list(visit, fli_stack_top(&pool->filled[c]), c, "the pool");
    return ended;
}

static int visit_rack(const struct visit *visit, struct fli_home *home)
{
    int ended = visit_list(visit, fli_load_relaxed(&home->rack.empty_shelf.first), 0, "a home's rack");
    for (unsigned c = 1; c < FL_CLASS_COUNT && ended == 0; c++)
        ended = visit_list(visit, fli_load_relaxed(&home->classes[c].shelf.first), c, "a home's rack");
    return ended;
}

/* The submitted magazines of a chain. */
static int visit_submitted(const struct visit *visit, struct fli_chain chain)
{
    const struct fli_magazines *magazines = &visit->heap->backing.magazines;
    struct fli_magazine *magazine = fli_chain_first(&chain, magazines);
    int ended = 0;
    for (; magazine != NULL && ended == 0; magazine = fli_chain_behind(magazine, magazines)) {
        struct fli_held held = {.place = "a submitted magazine", .class_index = magazine->class_index};
        held.magazine = magazine;
        ended = tell_of(visit, &held);
    }
    return ended;
}

static int visit_deferred(const struct visit *visit)
{
    struct fli_deferred *deferred = &visit->heap->deferred;
    int ended = visit_submitted(visit, deferred->waiting);
    return ended == 0 ? visit_submitted(visit, (struct fli_chain){fli_stack_top(&deferred->collecting)}) : ended;
}

/* ---- Threads. */

static int visit_loaded(const struct visit *visit, const struct fl_cache *cache, unsigned class_index)
{
    unsigned capacity = capacity_of(visit, class_index);
    struct fli_held held = {.place = "a loaded magazine", .class_index = class_index};
    held.magazine = fli_cache_loaded(cache);
    held.blocks = fli_cache_floor(cache, capacity);
    held.count = fli_cache_loaded_blocks(cache, capacity);
    return held.magazine != NULL ? tell(visit, &held) : 0;
}

static int visit_previous(const struct visit *visit, const struct fl_cache *cache, unsigned class_index)
{
    struct fli_held held = {.place = "a previous magazine", .class_index = class_index};
    held.magazine = fli_cache_previous(cache, &visit->heap->backing.magazines);
    return held.magazine != NULL ? tell_of(visit, &held) : 0;
}

/* What the thread has set aside of a class; of class 0, empty magazines. */
static int visit_reserved(const struct visit *visit, const struct fli_thread *thread, unsigned class_index)
{
    const struct fli_reserve *reserve = fli_load_own(&thread->owner.reserve);
    if (reserve == NULL)
        return 0;
    const struct fli_chain *chain = class_index != 0 ? &reserve->chains[class_index] : &reserve->empties;
    return visit_list(visit, fli_load_relaxed(&chain->first), class_index, "what a thread has set aside");
}

/* The thread's magazine of deferred blocks. */
static int visit_unsubmitted(const struct visit *visit, struct fli_thread *thread, unsigned class_index)
{
    void ***place = fli_thread_deferred(thread, class_index);
    struct fli_held held = {.place = "a magazine of deferred blocks", .class_index = class_index};
    held.magazine = fli_unsubmitted_magazine(place);
    if (held.magazine == NULL)
        return 0;
    held.blocks = fli_magazine_floor(held.magazine, capacity_of(visit, class_index));
    held.count = fli_unsubmitted_blocks(place, class_index, &visit->heap->backing);
    return tell(visit, &held);
}

static int visit_thread(const struct visit *visit, struct fli_thread *thread)
{
    int ended = visit_reserved(visit, thread, 0);
    for (unsigned c = 1; c < FL_CLASS_COUNT && ended == 0; c++) {
        const struct fl_cache *cache = fli_thread_cache(thread, c);
        ended = visit_loaded(visit, cache, c);
        if (ended == 0)
            ended = visit_previous(visit, cache, c);
        if (ended == 0)
            ended = visit_reserved(visit, thread, c);
        if (ended == 0)
            ended = visit_unsubmitted(visit, thread, c);
    }
    return ended;
}

int fli_held_visit_locked(struct fl_heap *heap, fli_held_visitor visitor, void *context)
{
    fli_registry_assert_held();
    const struct visit visit = {.heap = heap, .visitor = visitor, .context = context};
    int ended = visit_thread(&visit, heap->service);
    for (struct fli_thread *thread = heap->threads; thread != NULL && ended == 0; thread = thread->in_heap.next)
        ended = visit_thread(&visit, thread);
    if (ended == 0)
        ended = visit_deferred(&visit);
    if (ended == 0)
        ended = visit_pool(&visit);
    struct fli_home *home = fli_homes_first(&heap->backing.homes);
    for (; home != NULL && ended == 0; home = home->next)
        ended = visit_rack(&visit, home);
    return ended;
}
