/* SPDX-License-Identifier: MIT */
#include "object/keep.h"
#include "base/check.h"
#include "heap/registry.h"
#include "heap/thread.h"
#include "object/slots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FEWEST_TYPES = 8 };

/* ---- Magazines. */

static const struct fli_magazines *magazines_of(const struct fl_heap *heap)
{
    return &heap->backing.magazines;
}

/* What has no magazine: no room, and no object. */
static const struct fli_keep_pair nothing[FL_MAGAZINE_BYTES / sizeof(struct fli_keep_pair)]
    __attribute__((aligned(FL_MAGAZINE_BYTES)));

/* The `top` where no magazine is loaded. */
static struct fli_keep_pair *top_of_nothing(void)
{
    return (struct fli_keep_pair *)((uintptr_t)nothing + sizeof nothing);
}

/* The magazine whose pairs end at a `top`; NULL if none is loaded. */
static struct fli_magazine *magazine_of(const struct fli_keep_pair *top)
{
    uintptr_t inside = (uintptr_t)top - 1;
    return top != top_of_nothing() ? (struct fli_magazine *)(inside & ~(uintptr_t)(FL_MAGAZINE_BYTES - 1)) : NULL;
}

static struct fli_keep_pair *floor_of(struct fli_magazine *magazine)
{
    return (struct fli_keep_pair *)(void *)((char *)magazine + FLI_KEEP_FLOOR);
}

static size_t loaded_pairs(const struct fli_keep_pair *top)
{
    struct fli_magazine *loaded = magazine_of(top);
    return loaded != NULL ? (size_t)(top - floor_of(loaded)) : 0;
}

static void give_empty(struct fli_thread *thread, struct fli_magazine *magazine)
{
    struct fli_backing *backing = &thread->heap->backing;
    if (magazine == NULL)
        return;
    fli_store_own(&magazine->count, 0);
    fli_stack_push_mpmc(&backing->pool.empty, &backing->magazines, magazine, &thread->owner.counters);
}

/* Loads an empty magazine. What is in it counts on from `bytes`. */
static void load_empty(struct fl_kept *kept, struct fli_magazine *empty, size_t bytes)
{
    struct fli_keep_pair *floor = floor_of(empty);
    fli_store_hint(&floor[-1].object, 0);
    fli_store_hint(&floor[-1].bytes, bytes);
    fli_store_hint(&kept->top, floor);
}

/* Loads a magazine of the pool, if there is one. */
static bool load_new(struct fli_thread *thread, struct fl_kept *kept, size_t bytes)
{
    struct fli_magazine *empty = fli_pile_obtain_empty(thread);
    if (empty == NULL)
        return false;
    fli_registry_lock(); /* others count meanwhile */
    load_empty(kept, empty, bytes);
    fli_registry_unlock();
    return true;
}

/* Loads an empty magazine if the loaded one is full, or there is none. Returns whether there is room. */
static bool make_room(struct fli_thread *thread, struct fl_kept *kept)
{
    const struct fli_magazines *magazines = magazines_of(thread->heap);
    struct fli_keep_pair *top = fli_load_own(&kept->top);
    if (!fli_keep_is_full(top))
        return true;
    size_t bytes = fli_load_own(&top[-1].bytes);
    struct fli_magazine *empty = fli_chain_take(&kept->empty, magazines), *full = magazine_of(top);
    if (empty != NULL)
        load_empty(kept, empty, bytes);
    else if (!load_new(thread, kept, bytes))
        return false;
    if (full == NULL)
        return true;
    fli_store_own(&full->count, FLI_KEEP_PAIRS);
    fli_chain_put(&kept->full, magazines, full);
    return true;
}

/* Loads a full magazine where the loaded one is empty. Returns whether there was one. */
static bool load_full(struct fli_thread *thread, struct fl_kept *kept)
{
    const struct fli_magazines *magazines = magazines_of(thread->heap);
    struct fli_magazine *empty = magazine_of(fli_load_own(&kept->top));
    struct fli_magazine *full = fli_chain_take(&kept->full, magazines);
    if (full == NULL)
        return false;
    fli_store_hint(&kept->top, floor_of(full) + FLI_KEEP_PAIRS);
    fli_store_own(&empty->count, 0);
    fli_chain_put(&kept->empty, magazines, empty);
    return true;
}

/* ---- Types. */

/* Makes room for the type with this number. Returns false if memory is refused, or if there are too many types. */
static bool enter(struct fl_thread *face, uint32_t number)
{
    if (number < face->kept_types)
        return true;
    if (number >= UINT16_MAX)
        return false;
    struct fl_kept *before = face->kept;
    size_t types = fli_min(fli_max(fli_max(number + 1, 2 * (size_t)face->kept_types), FEWEST_TYPES), UINT16_MAX);
    struct fl_kept *kept = aligned_alloc(sizeof *kept, types * sizeof *kept);
    if (kept == NULL)
        return false;
    memset(kept, 0, types * sizeof *kept);
    for (size_t i = face->kept_types; i < types; i++)
        fli_store_own(&kept[i].top, top_of_nothing());
    fli_registry_lock();
    if (before != NULL)
        memcpy(kept, before, face->kept_types * sizeof *kept);
    face->kept = kept;
    face->kept_types = (uint16_t)types;
    fli_registry_unlock();
    free(before);
    return true;
}

/* What the handle keeps of a type; NULL if there is no room for it. Keeps errno. */
static struct fl_kept *obtain(struct fl_thread *face, const struct fl_constructed_type *type)
{
    int saved = errno;
    bool entered = enter(face, type->number);
    errno = saved;
    struct fl_kept *kept = entered ? fli_keep_of(face, type->number) : NULL;
    if (kept != NULL && kept->type == NULL) {
        fli_registry_lock(); /* others count meanwhile */
        kept->type = type;
        fli_registry_unlock();
    }
    return kept;
}

bool fli_keep_put(struct fli_thread *thread, const struct fl_constructed_type *type, void *object, size_t parts)
{
    struct fl_kept *kept = obtain(&thread->face, type);
    size_t bytes;
    return kept != NULL && fli_keep_fits(fli_load_own(&kept->top), type, parts, &bytes) && make_room(thread, kept) &&
           fli_keep_put_quickly(kept, type, object, parts);
}

void *fli_keep_take(struct fli_thread *thread, struct fl_kept *kept)
{
    void *object = fli_keep_take_quickly(kept);
    return object == NULL && load_full(thread, kept) ? fli_keep_take_quickly(kept) : object;
}

/* The bytes of what is kept of a type. Other threads hold the registry lock. */
static size_t bytes_of(struct fl_kept *kept)
{
    return fli_load_hint(&fli_load_hint(&kept->top)[-1].bytes);
}

static size_t objects_of(const struct fl_heap *heap, struct fl_kept *kept)
{
    return loaded_pairs(fli_load_hint(&kept->top)) + fli_chain_blocks(&kept->full, magazines_of(heap));
}

size_t fli_keep_objects(const struct fli_thread *thread)
{
    size_t objects = 0;
    for (uint32_t number = 0; number < thread->face.kept_types; number++)
        objects += objects_of(thread->heap, &thread->face.kept[number]);
    return objects;
}

static void count_type(const struct fl_heap *heap, struct fl_kept *kept, struct fl_object_stats *stats)
{
    stats->kept += objects_of(heap, kept);
    stats->kept_bytes += bytes_of(kept);
    stats->renewed += fli_load_hint(&kept->renewed);
    stats->evicted += fli_load_hint(&kept->evicted);
}

static void count_thread(const struct fli_thread *thread, struct fl_object_stats *stats)
{
    for (uint32_t number = 0; number < thread->face.kept_types; number++)
        count_type(thread->heap, &thread->face.kept[number], stats);
}

void fli_keep_count_locked(struct fl_heap *heap, struct fl_object_stats *stats)
{
    fli_registry_assert_held();
    for (const struct fli_thread *thread = heap->threads; thread != NULL; thread = thread->in_heap.next)
        count_thread(thread, stats);
}

/* ---- Giving up. */

static void give_empties(struct fli_thread *thread, struct fl_kept *kept)
{
    struct fli_magazine *empty;
    give_empty(thread, magazine_of(fli_load_own(&kept->top)));
    while ((empty = fli_chain_take(&kept->empty, magazines_of(thread->heap))) != NULL)
        give_empty(thread, empty);
}

static void close_locked(struct fli_thread *thread)
{
    fli_registry_assert_held();
    struct fl_kept *kept = thread->face.kept;
    uint32_t types = thread->face.kept_types;
    struct fl_object_stats *gone = &fli_slots_of(thread->heap)->gone;
    thread->face.kept_types = 0;
    thread->face.kept = NULL;
    for (uint32_t number = 0; number < types; number++) {
        gone->renewed += fli_load_own(&kept[number].renewed);
        gone->evicted += fli_load_own(&kept[number].evicted);
        give_empties(thread, &kept[number]);
    }
    free(kept);
}

void fli_keep_close(struct fli_thread *thread)
{
    if (thread->face.kept == NULL)
        return;
    fli_registry_lock();
    close_locked(thread);
    fli_registry_unlock();
}

/* ---- Handing over. */

/* Makes `count` pairs, which begin at `from`, a magazine of the thread's queue. */
static void hand_pairs(struct fli_thread *thread, const struct fl_type *type, struct fli_magazine *magazine,
                       size_t count)
{
    struct fli_keep_pair *from = floor_of(magazine);
    for (size_t i = 0; i < count; i++) {
        uintptr_t object = fli_load_own(&from[i].object);
        fli_pair_set(&fli_pile_pairs(magazine)[i], (struct fli_dead_object){object | FLI_DEAD_BEGUN, type});
    }
    fli_store_own(&magazine->count, (uint16_t)count);
    fli_pile_put_magazine(&thread->queue->pile, magazines_of(thread->heap), magazine);
}

static void hand_loaded(struct fli_thread *thread, struct fl_kept *kept)
{
    struct fli_keep_pair *top = fli_load_own(&kept->top);
    fli_store_own(&kept->top, top_of_nothing());
    if (magazine_of(top) != NULL)
        hand_pairs(thread, &kept->type->type, magazine_of(top), loaded_pairs(top));
}

static void hand_type(struct fli_thread *thread, struct fl_kept *kept)
{
    struct fli_magazine *full;
    fli_count(&kept->evicted, objects_of(thread->heap, kept));
    hand_loaded(thread, kept);
    while ((full = fli_chain_take(&kept->full, magazines_of(thread->heap))) != NULL)
        hand_pairs(thread, &kept->type->type, full, FLI_KEEP_PAIRS);
}

void fli_keep_hand_over_locked(struct fli_thread *thread)
{
    fli_registry_assert_held();
    for (uint32_t number = 0; number < thread->face.kept_types; number++)
        if (thread->face.kept[number].type != NULL)
            hand_type(thread, &thread->face.kept[number]);
    if (thread->face.kept != NULL)
        close_locked(thread);
}

/* ---- While no other thread uses the heap. */

int fli_keep_visit_type(struct fl_heap *heap, struct fl_kept *kept, fli_keep_visitor visitor, void *context)
{
    struct fli_magazine *loaded = magazine_of(fli_load_own(&kept->top)), *full;
    struct fli_chain chain = {fli_load_own(&kept->full.first)};
    int ended = 0;
    if (loaded != NULL)
        ended = visitor(context, kept, floor_of(loaded), loaded_pairs(fli_load_own(&kept->top)));
    while (ended == 0 && (full = fli_chain_take(&chain, magazines_of(heap))) != NULL)
        ended = visitor(context, kept, floor_of(full), FLI_KEEP_PAIRS);
    return ended;
}

struct telling {
    fli_guest_visitor visitor;
    void *context;
};

static int tell(void *context, const struct fl_kept *kept, const struct fli_keep_pair *pairs, size_t count)
{
    const struct telling *telling = context;
    (void)kept;
    for (size_t i = 0; i < count; i++)
        telling->visitor(telling->context, (const void *)fli_load_own(&pairs[i].object));
    return 0;
}

void fli_keep_visit_locked(struct fl_heap *heap, fli_guest_visitor visitor, void *context)
{
    struct telling telling = {visitor, context};
    fli_registry_assert_held();
    for (const struct fli_thread *thread = heap->threads; thread != NULL; thread = thread->in_heap.next)
        for (uint32_t number = 0; number < thread->face.kept_types; number++)
            fli_keep_visit_type(heap, &thread->face.kept[number], tell, &telling);
}

_Static_assert(sizeof(struct fli_keep_pair) == sizeof(struct fli_pair), "a pile has the same room in a magazine");
