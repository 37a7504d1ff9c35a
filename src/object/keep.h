/* SPDX-License-Identifier: MIT
 *
 * What a handle keeps: dead objects that stay constructed, by type. The last one that came is the first to go.
 *
 *     of one type        a magazine                                              a multiple of FL_MAGAZINE_BYTES
 *     ┌───────┐          ┌────────┬─────────┬───────────────┬───────────────┬────     v
 *     │ top   │ ───┐     │ header │ 0, base │ object, bytes │ object, bytes │         │
 *     │ full  │    │     └────────┴─────────┴───────────────┴───────────────┴────     │
 *     │ empty │    │                                                        ^
 *     └───────┘    └────────────────────────────────────────────────────────┘
 *
 *     bytes of a pair = those of its object and of all that came before it and are kept <= the bound of the type
 *     base            = bytes of the last pair in the magazine that was filled before, or 0
 *
 * Of the loaded magazine, `top` is one past the last pair, so one word says which it is, how many pairs it has, and
 * where the bytes of all stand. The pair at the bottom has no object: that tells that the magazine is empty. Where no
 * magazine is loaded, `top` is the end of a constant one that is full, and whose last pair is such a bottom.
 *
 * A kept object is allocated, as the heap sees it, and nothing is written to it. So memory is needed for the pairs
 * alone: where that is refused, nothing is kept. Magazines that have become empty stay, for the objects that have left
 * them, until the handle keeps nothing.
 *
 * The owning thread alone puts and takes. The registry lock guards which types there are (`kept`, `kept_types`), so
 * that other threads can count. It is held while a magazine comes or goes, so they may read the bytes at a `top`. In
 * the child of a fork, what a thread kept that is gone is as that thread had it at that instant. So `top` is lowered
 * before an object leaves, and raised after one has come. What does not count just then is live in the child for ever.
 *
 *     label  order    where                           pairs with
 *     N1     release  a pair is set                   a fork: the pair did not count
 *     N2     release  `top` is raised                 a fork: the pair is set
 */
#ifndef FLI_KEEP_H
#define FLI_KEEP_H

#include "heap/guest.h"
#include "heap/pile.h"

#include <freelane/object.h>

/* A kept object, and the bytes up to it. */
struct fli_keep_pair {
    FLI_ATOMIC(uintptr_t) object;
    FLI_ATOMIC(size_t) bytes;
};

/* What a handle keeps of one type: 64 bytes. */
struct fl_kept {
    FLI_ATOMIC(struct fli_keep_pair *) top;
    FLI_ATOMIC(uint64_t) renewed;           /* objects that have left to be used again */
    FLI_ATOMIC(uint64_t) evicted;           /* objects that have left to be cleared */
    const struct fl_constructed_type *type; /* NULL: it has kept nothing yet */
    struct fli_chain full, empty;
} __attribute__((aligned(64)));

enum {
    /* Pairs of a magazine, without that at the bottom. A pile has room for them. */
    FLI_KEEP_PAIRS = (int)FLI_PILE_PAIRS - 1,
    /* Where the first of them lies. */
    FLI_KEEP_FLOOR = FL_MAGAZINE_BYTES - FLI_KEEP_PAIRS * (int)sizeof(struct fli_keep_pair),
};

static inline bool fli_keep_is_full(const struct fli_keep_pair *top)
{
    return ((uintptr_t)top & (FL_MAGAZINE_BYTES - 1)) == 0;
}

static inline bool fli_keep_is_empty(const struct fli_keep_pair *top)
{
    return fli_load_own(&top[-1].object) == 0;
}

/* What a handle keeps of a type; NULL if it has kept none. */
static inline struct fl_kept *fli_keep_of(const struct fl_thread *face, uint32_t number)
{
    return FLI_LIKELY(number < face->kept_types) ? face->kept + number : NULL;
}

/* Stores in `bytes` what is kept with an object more, which has so many bytes of parts. Returns whether the bound allows
 * it. The owning thread, here and below. */
static inline bool fli_keep_fits(const struct fli_keep_pair *top, const struct fl_constructed_type *type,
                                 size_t parts, size_t *bytes)
{
    return !__builtin_add_overflow(parts, type->type.size, bytes) &&
           !__builtin_add_overflow(*bytes, fli_load_own(&top[-1].bytes), bytes) && *bytes <= type->keep_bytes;
}

/* Keeps an object. Returns false if there is no room in the magazine, or the bound does not allow it. */
static inline bool fli_keep_put_quickly(struct fl_kept *kept, const struct fl_constructed_type *type, void *object,
                                        size_t parts)
{
    struct fli_keep_pair *top = fli_load_own(&kept->top);
    size_t bytes;
    if (FLI_UNLIKELY(fli_keep_is_full(top)) || FLI_UNLIKELY(!fli_keep_fits(top, type, parts, &bytes)))
        return false;
    /* N1: release, pairs with a fork: the pair does not count, and the object is dead. */
    fli_store_release(&top->object, (uintptr_t)object);
    fli_store_hint(&top->bytes, bytes); /* the child of a fork does not read it */
    /* N2: release, pairs with a fork: the pair is set. */
    fli_store_release(&kept->top, top + 1);
    return true;
}

/* The object that was kept last, which leaves; NULL if the loaded magazine has none. */
static inline void *fli_keep_take_quickly(struct fl_kept *kept)
{
    struct fli_keep_pair *top = fli_load_own(&kept->top);
    void *object = (void *)fli_load_own(&top[-1].object);
    if (FLI_LIKELY(object != NULL))
        fli_store_hint(&kept->top, top - 1);
    return object;
}

/* Keeps an object also where there is no room in the magazine, or none is loaded. Returns false, too, if memory is
 * refused. Keeps errno. No lock may be held. */
bool fli_keep_put(struct fli_thread *thread, const struct fl_constructed_type *type, void *object, size_t parts);

/* Takes an object, also where the loaded magazine has none. NULL if none is kept. */
void *fli_keep_take(struct fli_thread *thread, struct fl_kept *kept);

/* How many objects a handle keeps. The owning thread. */
size_t fli_keep_objects(const struct fli_thread *thread);

/* Gives up what a handle needs to keep objects, of which it has none. No lock may be held. */
void fli_keep_close(struct fli_thread *thread);

/* Has all objects wait in the queue of the thread, for fl_run_pending, and does the same. The owning thread, or any
 * other while that is stopped. */
void fli_keep_hand_over_locked(struct fli_thread *thread);

/* Adds up what the handles of a heap keep. */
void fli_keep_count_locked(struct fl_heap *heap, struct fl_object_stats *stats);

/* Tells of the block of each object of the heap. The threads are stopped, here and below. */
void fli_keep_visit_locked(struct fl_heap *heap, fli_guest_visitor visitor, void *context);

/* Is told of a magazine, with its pairs. Whatever it returns other than 0 ends the visit. */
typedef int (*fli_keep_visitor)(void *context, const struct fl_kept *kept, const struct fli_keep_pair *pairs,
                                size_t count);

/* Tells of the loaded magazine of a type, and then of the full ones, the last one first. */
int fli_keep_visit_type(struct fl_heap *heap, struct fl_kept *kept, fli_keep_visitor visitor, void *context);

/* Verifies what the handles of a heap keep, and adds its magazines to `*magazines`. Returns 0, or -EUCLEAN with a
 * message. */
int fli_keep_check_locked(struct fl_heap *heap, size_t *magazines, char *error, size_t error_size);

#endif
