/* SPDX-License-Identifier: MIT
 *
 * Dead objects that wait for their callbacks, each with its type.
 *
 *              put      take, if there are no others                take the last
 *               ↓               ↑                                         ↑
 *     stack: ┌──┴───────────────┴─────┐  the first  ┌─────────────────────┴┐
 *            │ window: the 16 that    │ ──────────> │ others          last │
 *            │ came last              │             │                      │
 *            └────────────────────────┘             └──────────────────────┘
 *                                                      spill ↓ ↑ refill
 *     pile (pile.h)
 *
 *     nothing on the stack  =>  nothing on the pile
 *
 * An object is prefetched when it is put. It stays in the window until 16 others have come, and objects outside are taken
 * before those in it. So an object's prefetch has time, and it is not taken so late that its memory has left the caches
 * again: the buffer beside a mark stack of Cher, Hosking and Vijaykumar, "Software Prefetching for Mark-Sweep Garbage
 * Collection" (ASPLOS 2004). An object that has been cleared in part and comes out of the window goes back into it, and
 * what is there for the longest time is taken instead: else it would drop all before that ends.
 *
 * A full stack spills half of what is outside the window onto the pile, which grows by empty magazines. If none can be
 * had, an object of a type with FL_TYPE_HAS_WORDS is linked. Other objects then stay on the stack, and when that is
 * full, they find no place.
 *
 * A list belongs to a thread and to a stack of it, which the host names (fl_thread_set_stack). The call that empties the
 * list is its drain. The list keeps no state across callbacks but what is written here, so a callback can be left at
 * any time, and two drains of one list do no harm. A thread has one list, and others for stacks on which drains are
 * parked. These lie in magazines. What a thread leaves is left to its heap.
 *
 * Objects that end later wait in the queue of their thread (queue.h). While fl_run_pending is the drain of a list, all
 * that its callbacks drop goes to the queue instead of the list.
 *
 * The owning thread alone uses a list. In the child of a fork, that of a thread that is gone is as that thread had it at
 * that instant. So a count is lowered before its objects move, and raised after. What does not count just then is live
 * in the child for ever. The child itself orders nothing: nobody writes its memory meanwhile.
 */
#ifndef FLI_DEAD_H
#define FLI_DEAD_H

#include "base/callback.h"
#include "heap/pile.h"

enum {
    FLI_DEAD_STACK = FLI_RARE_PATHS ? 8 : 46,
    /* Bits of fl_type.waits. Objects may end in the quick way, because their type says all that it needs to know, */
    FLI_WAITS = 1,
    /* but only in a heap with stale readers. */
    FLI_WAITS_HEADER = 2,
    /* More callbacks than `clear` are called. */
    FLI_WAITS_WHOLE = 4,
    /* They end where they are dropped. */
    FLI_WAITS_NEVER = 8,
    /* What a list says where nothing ends in the quick way. No type has this bit. */
    FLI_WAITS_NOWHERE = 16,
};

/* Where the objects of a list are. */
struct fli_dead_places {
    FLI_ATOMIC(size_t) count; /* objects on the stack */
    uint32_t few;             /* of so few none is taken: 0, or the window while the pile may have some */
    uint32_t first;           /* the place in the window whose object came first, once the window is full */
    struct fli_pile pile;
    /* The stack. Entry and type are apart, so that no compiler copies them as one word: a processor would wait for the two
     * stores that made it. */
    FLI_ATOMIC(uintptr_t) entries[FLI_DEAD_STACK];
    FLI_ATOMIC(const struct fl_type *) types[FLI_DEAD_STACK];
};

struct fli_dead {
    struct fli_callback drain; /* the call that empties the list; address 0: none does */
    const void *stack;         /* the host's name for the stack */
    uint32_t waits;            /* fl_type.waits of the types whose objects end here quickly and are only cleared */
    bool runs;                 /* that call is fl_run_pending */
    struct fli_dead_places places; /* of the objects */
    struct fli_magazine *holder;   /* the magazine that the list lies in; NULL: it has memory of its own */
    struct fli_dead *next;         /* of the thread's other lists, or of those left to the heap */
};

/* A list in which nothing ever waits: for the fast path of a thread whose present stack has no list at hand. Nobody
 * writes it. */
extern const struct fli_dead fli_dead_none;
#define FLI_DEAD_NONE ((struct fli_dead *)&fli_dead_none)

/* What a list of the heap says in `waits` unless fl_run_pending is its drain. */
uint32_t fli_dead_waits_in(const struct fl_heap *heap);

/* Says whether fl_run_pending is the drain of a list, and what waits there. */
static inline void fli_dead_set_runs(struct fli_dead *list, bool runs, uint32_t waits)
{
    list->runs = runs;
    list->waits = waits;
}

static inline bool fli_dead_is_empty(const struct fli_dead *list)
{
    return fli_load_own(&list->places.count) == 0;
}

/* The object at a place of the stack. (Of the sums gcc makes shorter code than of subscripts.) */
static inline struct fli_dead_object fli_dead_at(const struct fli_dead_places *places, size_t place)
{
    return (struct fli_dead_object){fli_load_own(places->entries + place), fli_load_own(places->types + place)};
}

/* Puts an object at a place that does not count now. */
static inline void fli_dead_set(struct fli_dead_places *places, size_t place, struct fli_dead_object object)
{
    /* D11: release, pairs with a fork: the place no longer counts. */
    fli_store_release(places->entries + place, object.entry);
    /* D12: release, pairs with a fork: as D11. */
    fli_store_release(places->types + place, object.type);
}

/* Puts an object onto the stack, into a window that is not full. Returns false if it is. The owning thread. */
static inline bool fli_dead_put_quickly(struct fli_dead_places *places, struct fli_dead_object object)
{
    size_t count = fli_load_own(&places->count);
    if (FLI_UNLIKELY(count >= FLI_DEAD_WINDOW))
        return false;
    fli_dead_prefetch(object);
    fli_dead_set(places, count, object);
    /* D1: release, pairs with a fork: the object is on the stack. */
    fli_store_release(&places->count, count + 1);
    return true;
}

/* Sets a place of the stack, which has `count` objects then. Meanwhile what lies above that place does not count. */
static inline void fli_dead_set_among(struct fli_dead_places *places, size_t place, size_t count,
                                      struct fli_dead_object object)
{
    fli_store_own(&places->count, place);
    fli_dead_set(places, place, object);
    /* D13: release, pairs with a fork: as D1. */
    fli_store_release(&places->count, count);
}

/* Puts an object into a full window. What came into it first moves out of it. Returns false if there is no room. The owning
 * thread. */
static inline bool fli_dead_put_many(struct fli_dead_places *places, struct fli_dead_object object)
{
    size_t count = fli_load_own(&places->count), place = places->first;
    if (FLI_UNLIKELY(count == FLI_DEAD_STACK))
        return false;
    fli_dead_prefetch(object);
    places->first = (uint32_t)((place + 1) % FLI_DEAD_WINDOW);
    fli_dead_set(places, count, fli_dead_at(places, place));
    fli_dead_set_among(places, place, count + 1, object);
    return true;
}

/* Puts an object onto the stack. Returns false if that is full. The owning thread. */
static inline bool fli_dead_put(struct fli_dead *list, struct fli_dead_object object)
{
    return fli_dead_put_quickly(&list->places, object) || fli_dead_put_many(&list->places, object);
}

/* Makes room on a full stack. Returns false if the object, which is to be put, finds no place; else it has one. `server`
 * is the thread that serves the owner's calls (api/serve.h), or NULL if none does. The owning thread. */
bool fli_dead_put_full(struct fli_dead *list, struct fli_dead_object object, struct fli_thread *server);

/* Takes the last object. */
static inline struct fli_dead_object fli_dead_take_last(struct fli_dead_places *places, size_t count)
{
    fli_store_own(&places->count, count - 1);
    return fli_dead_at(places, count - 1);
}

/* Puts an object that was taken into the window, if that is full, and takes what came into it first instead. Returns the
 * object itself if the window is not full: then it was the last. */
static inline struct fli_dead_object fli_dead_exchange(struct fli_dead_places *places, struct fli_dead_object object)
{
    size_t count = fli_load_own(&places->count);
    if (count < FLI_DEAD_WINDOW)
        return object;
    struct fli_dead_object first = fli_dead_at(places, places->first);
    fli_dead_set_among(places, places->first, count, object);
    return first;
}

/* Takes an object, of `count` on the stack, if the pile need not be looked at. Returns false if it is, or there is none.
 * The owning thread. */
static inline __attribute__((always_inline)) bool fli_dead_take_quickly(struct fli_dead_places *places, size_t count,
                                                                        struct fli_dead_object *object)
{
    if (FLI_UNLIKELY(count <= places->few))
        return false;
    *object = fli_dead_take_last(places, count);
    return true;
}

/* Takes an object; one without a type if there is none. The owning thread. */
struct fli_dead_object fli_dead_take(struct fli_dead *list, const struct fli_magazines *magazines);

/* Whether magazines can be given to the pool. */
static inline bool fli_dead_has_empties(const struct fli_dead *list)
{
    return fli_load_own(&list->places.pile.empties.first) != 0;
}

/* ---- The lists of a thread. */

/* The list of the thread's present stack. It makes one if that is needed and `makes` says so. NULL if there is none,
 * or if memory is refused. The owning thread. */
struct fli_dead *fli_dead_find_owner(struct fli_thread *thread, bool makes);

/* Whether a drain of the thread's present stack is certain to run. The owning thread. */
bool fli_dead_drains(struct fli_thread *thread);

/* Gives all magazines that the lists of a thread do not need to the pool. The owning thread, or any other while that is
 * stopped. */
void fli_dead_flush_owner(struct fli_thread *thread);

/* Ends the lists of a thread that is removed. What waits is left to the heap. */
void fli_dead_leave_locked(struct fli_thread *thread);

/* Leaves a list with memory of its own to the heap. Locks. */
FLI_COLD void fli_dead_leave(struct fl_heap *heap, struct fli_dead *list);

/* Takes a list that a thread has left to the heap; NULL if there is none. Locks. */
FLI_COLD struct fli_dead *fli_dead_take_left(struct fl_heap *heap);

/* Moves what waits in such a list into an empty one, and disposes of it. `server` as above. The owning thread. */
void fli_dead_adopt(struct fli_dead *list, struct fli_dead *left, struct fli_thread *server);

/* Verifies the lists of a heap, and adds the magazines that they consist of to `*magazines`. Returns 0, or -EUCLEAN with
 * a message. */
int fli_dead_check_locked(struct fl_heap *heap, size_t *magazines, char *error, size_t error_size);

/* A list with memory of its own, in which such objects wait quickly; NULL if that is refused. */
struct fli_dead *fli_dead_create(uint32_t waits);

/* Ends such a list, which is empty and has no magazines. */
void fli_dead_destroy(struct fli_dead *list);

#endif
