/* SPDX-License-Identifier: MIT */
#include "object/keep.h"
#include "base/check.h"
#include "heap/registry.h"
#include "heap/thread.h"
#include "memory/block.h"
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

/* The magazine whose pairs end at a `top`; NULL if none is loaded. */
static struct fli_magazine *magazine_of(const struct fli_keep_pair *top)
{
    uintptr_t inside = (uintptr_t)top - 1;
    return top != NULL ? (struct fli_magazine *)(inside & ~(uintptr_t)(FL_MAGAZINE_BYTES - 1)) : NULL;
}

static struct fli_keep_pair *floor_of(struct fli_magazine *magazine)
{
    return (struct fli_keep_pair *)(void *)((char *)magazine + FLI_KEEP_FLOOR);
}

static size_t loaded_pairs(const struct fli_keep_pair *top)
{
    return top != NULL ? (size_t)(top - floor_of(magazine_of(top))) : 0;
}

static void give_empty(struct fli_thread *thread, struct fli_magazine *magazine)
{
    struct fli_backing *backing = &thread->heap->backing;
    if (magazine == NULL)
        return;
    fli_store_own(&magazine->count, 0);
    fli_stack_push_mpmc(&backing->pool.empty, &backing->magazines, magazine, &thread->owner.counters);
}

/* Loads an empty magazine if the loaded one is full, or there is none. Returns whether there is room. */
static bool make_room(struct fli_thread *thread, struct fl_kept *kept)
{
    struct fli_keep_pair *top = fli_load_own(&kept->top);
    struct fli_magazine *empty = kept->spare, *full = magazine_of(top);
    if (!fli_keep_is_full(top))
        return true;
    kept->spare = NULL;
    if (empty == NULL)
        empty = fli_pile_obtain_empty(thread);
    if (empty == NULL)
        return false;
    fli_store_own(&kept->top, floor_of(empty));
    if (full == NULL)
        return true;
    fli_store_own(&full->count, FLI_PILE_PAIRS);
    fli_chain_put(&kept->full, magazines_of(thread->heap), full);
    return true;
}

/* Loads a full magazine where the loaded one is empty. Returns whether there was one. */
static bool load_full(struct fli_thread *thread, struct fl_kept *kept)
{
    struct fli_magazine *empty = magazine_of(fli_load_own(&kept->top));
    struct fli_magazine *full = fli_chain_take(&kept->full, magazines_of(thread->heap));
    if (full == NULL)
        return false;
    fli_store_own(&kept->top, floor_of(full) + FLI_PILE_PAIRS);
    give_empty(thread, kept->spare);
    kept->spare = empty;
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
        fli_store_hint(&kept->room, type->keep_bytes);
        fli_registry_unlock();
    }
    return kept;
}

bool fli_keep_put(struct fli_thread *thread, const struct fl_constructed_type *type, void *object, size_t bytes)
{
    struct fl_kept *kept = obtain(&thread->face, type);
    return kept != NULL && bytes <= fli_load_own(&kept->room) && make_room(thread, kept) &&
           fli_keep_put_quickly(kept, object, bytes);
}

void *fli_keep_take(struct fli_thread *thread, struct fl_kept *kept)
{
    bool has_none = fli_keep_has_none(kept) && !load_full(thread, kept);
    return has_none ? NULL : fli_keep_take_quickly(kept);
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
    if (kept->type == NULL)
        return;
    stats->kept += objects_of(heap, kept);
    stats->kept_bytes += kept->type->keep_bytes - fli_load_hint(&kept->room);
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
        give_empty(thread, magazine_of(fli_load_own(&kept[number].top)));
        give_empty(thread, kept[number].spare);
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
    fli_store_own(&kept->top, NULL);
    if (top != NULL)
        hand_pairs(thread, &kept->type->type, magazine_of(top), loaded_pairs(top));
}

static void hand_type(struct fli_thread *thread, struct fl_kept *kept)
{
    struct fli_magazine *full;
    fli_count(&kept->evicted, objects_of(thread->heap, kept));
    fli_store_hint(&kept->room, kept->type->keep_bytes);
    hand_loaded(thread, kept);
    while ((full = fli_chain_take(&kept->full, magazines_of(thread->heap))) != NULL)
        hand_pairs(thread, &kept->type->type, full, FLI_PILE_PAIRS);
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

/* Is told of each magazine, with its pairs. Whatever it returns other than 0 ends the visit. */
typedef int (*magazine_visitor)(void *context, const struct fl_kept *kept, const struct fli_keep_pair *pairs,
                                size_t count);

static int visit_type(struct fl_heap *heap, struct fl_kept *kept, magazine_visitor visitor, void *context)
{
    struct fli_magazine *loaded = magazine_of(fli_load_own(&kept->top)), *full;
    struct fli_chain chain = {fli_load_own(&kept->full.first)};
    int ended = 0;
    if (loaded != NULL)
        ended = visitor(context, kept, floor_of(loaded), loaded_pairs(fli_load_own(&kept->top)));
    if (ended == 0 && kept->spare != NULL)
        ended = visitor(context, kept, floor_of(kept->spare), 0);
    while (ended == 0 && (full = fli_chain_take(&chain, magazines_of(heap))) != NULL)
        ended = visitor(context, kept, floor_of(full), FLI_PILE_PAIRS);
    return ended;
}

static int visit_thread(const struct fli_thread *thread, magazine_visitor visitor, void *context)
{
    int ended = 0;
    for (uint32_t number = 0; number < thread->face.kept_types && ended == 0; number++)
        ended = visit_type(thread->heap, &thread->face.kept[number], visitor, context);
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
        visit_thread(thread, tell, &telling);
}

/* ---- The check. */

struct check {
    const struct fli_slabs *slabs;
    size_t magazines, bytes;
    char *error;
    size_t error_size;
};

/* Verifies that an object lies in a block that is allocated, and is dead. */
static int check_object(const struct check *check, const struct fl_type *type, const struct fl_object *object)
{
    unsigned class_index = fli_slab_class_of(check->slabs, object);
    if (class_index == type->class_index && fli_block_is_start(check->slabs, class_index, object) &&
        !fli_block_is_free(check->slabs, class_index, object) && fli_load_public(&object->type) == type &&
        (fli_load_public(&object->local) & FL_LOCAL_MOST) == 0)
        return 0;
    return fli_complain(-EUCLEAN, check->error, check->error_size, "%p is kept as a dead '%s', but is none",
                        (const void *)object, type->name);
}

static int check_magazine(void *context, const struct fl_kept *kept, const struct fli_keep_pair *pairs, size_t count)
{
    struct check *check = context;
    int failed = 0;
    check->magazines++;
    for (size_t i = 0; i < count && failed == 0; i++) {
        check->bytes += fli_load_own(&pairs[i].bytes);
        failed = check_object(check, &kept->type->type, (const struct fl_object *)fli_load_own(&pairs[i].object));
    }
    return failed;
}

static int check_type(struct check *check, struct fl_heap *heap, struct fl_kept *kept)
{
    check->bytes = 0;
    int failed = visit_type(heap, kept, check_magazine, check);
    size_t room = fli_load_own(&kept->room), bound = kept->type != NULL ? kept->type->keep_bytes : 0;
    if (failed == 0 && check->bytes + room != bound)
        failed = fli_complain(-EUCLEAN, check->error, check->error_size,
                              "%zu bytes of '%s' are kept, and there is room for %zu, but the bound is %zu",
                              check->bytes, kept->type->type.name, room, bound);
    return failed;
}

static int check_thread(struct check *check, const struct fli_thread *thread)
{
    int failed = 0;
    for (uint32_t number = 0; number < thread->face.kept_types && failed == 0; number++)
        failed = check_type(check, thread->heap, &thread->face.kept[number]);
    return failed;
}

int fli_keep_check_locked(struct fl_heap *heap, size_t *magazines, char *error, size_t error_size)
{
    struct check check = {.slabs = &heap->backing.slabs, .error = error, .error_size = error_size};
    int failed = 0;
    fli_registry_assert_held();
    for (const struct fli_thread *thread = heap->threads; thread != NULL && failed == 0;
         thread = thread->in_heap.next)
        failed = check_thread(&check, thread);
    *magazines += check.magazines;
    return failed;
}

_Static_assert(sizeof(struct fli_keep_pair) == sizeof(struct fli_pair), "a pile has the same room in a magazine");
