/* SPDX-License-Identifier: MIT */
#include "object/construct.h"
#include "api/destroy.h"
#include "base/check.h"
#include "base/watch.h"
#include "heap/registry.h"
#include "heap/walk.h"
#include "object/keep.h"
#include "object/slots.h"

#include <errno.h>

/* ---- The end. */

/* Keeps an object where there is no room in a magazine. Returns false if it is to be cleared and freed. */
__attribute__((noinline)) static bool keep_slowly(struct fli_thread *thread, const struct fl_constructed_type *type,
                                                  void *object, size_t parts)
{
    const struct fli_slot *slot = fli_slots_mine(thread);
    return slot != NULL && slot->keeps && fli_keep_put(thread, type, object, parts);
}

/* Keeps an object that was reset where there is room. Returns false if there is none. */
static inline bool keep_quickly(const struct fl_thread *face, void *object, const struct fl_constructed_type *type,
                                size_t parts)
{
    uint32_t number = type->number;
    return FLI_LIKELY(number < face->kept_types) &&
           FLI_LIKELY(fli_keep_put_quickly(face->kept + number, type, object, parts));
}

/* Keeps an object that was reset. Returns false if it is to be cleared and freed. */
static bool keep(struct fl_thread *face, void *object, const struct fl_constructed_type *type, size_t parts)
{
    return keep_quickly(face, object, type, parts) || keep_slowly(fli_thread_of(face), type, object, parts);
}

/* Resets an object, and stores in `parts` the bytes of its parts. Returns whether the callback has come back. */
static inline bool reset(struct fl_thread *face, void *object, const struct fl_constructed_type *type, size_t *parts)
{
    uintptr_t caller = fli_calling_thread();
    *parts = type->reset(face, object, &type->type);
    return fli_came_back(caller, "fl_dealloc", object, type->type.name, "has a reset");
}

bool fli_construct_end(struct fl_thread *face, void *object, const struct fl_type *type)
{
    size_t parts;
    if (FLI_LIKELY(fli_construct_is(type)))
        return !reset(face, object, fli_construct_of(type), &parts) ||
               keep(face, object, fli_construct_of(type), parts);
    fli_misuse("fl_dealloc", object, type->name,
               "has a constructed base: fl_constructed_type_ready, not fl_type_ready, makes it ready");
    return true;
}

/* Ends an object that was reset and may not be kept yet, and destroys what waits. */
FLI_COLD static void end_slowly(struct fl_thread *face, struct fli_dead *list, struct fl_object *object, size_t parts,
                                bool is_kept)
{
    struct fli_dead_object dead = {(uintptr_t)object | FLI_DEAD_BEGUN, object->type};
    if (!is_kept && !keep(face, object, fli_construct_of(dead.type), parts))
        fli_end_object(face, dead);
    fli_destroy_waiting(fli_thread_of(face), list);
}

/* Ends a constructed object as the drain of the list, in the frame `here`. The object knows its type, so no register need
 * keep it. */
static inline __attribute__((always_inline)) void drain(struct fl_thread *face, struct fli_dead *list,
                                                        struct fli_frame here, struct fl_object *object,
                                                        const struct fl_type *type)
{
    __attribute__((cleanup(fli_destroy_stop))) struct fli_dead *drained = list;
    drained->drain.caller = here;
    size_t parts = fli_construct_of(type)->reset(face, object, type);
    bool is_kept = keep_quickly(face, object, fli_construct_of(object->type), parts);
    const struct fl_heap *heap = fli_thread_of(face)->heap;
    uintptr_t waits = fli_load_own(&list->places.count) | (uintptr_t)fli_load_hint(&heap->left_dead);
    if (FLI_UNLIKELY(!is_kept || waits != 0))
        end_slowly(face, list, object, parts, is_kept);
}

/* Whether the call may take the quick way: the handle keeps objects, and no drain runs on its stack. */
static inline __attribute__((always_inline)) bool is_quick(const struct fl_thread *face, struct fli_frame here)
{
    const struct fli_thread *thread = fli_thread_of(face);
    const struct fli_dead *list = thread->quick_dead;
    return !FLI_CHECKED && FLI_LIKELY(face->kept_types > 0) &&
           FLI_LIKELY(list->waits != FLI_WAITS_NOWHERE && here.address >= list->drain.caller.address);
}

__attribute__((noinline)) static void end(struct fl_thread *face, struct fl_object *object,
                                          const struct fl_type *type)
{
    struct fli_frame here = FLI_FRAME_HERE;
    if (FLI_LIKELY(is_quick(face, here)))
        drain(face, fli_thread_of(face)->dead, here, object, type);
    else
        fl_dealloc_slow(face, object, type);
}

void fl_object_end_slow(struct fl_thread *face, struct fl_object *object, const struct fl_type *type)
{
    if (FLI_UNLIKELY(type->dealloc_cache != FLI_CONSTRUCT_CACHE))
        fl_dealloc_slow(face, object, type);
    else
        end(face, object, type);
}

/* ---- Allocating. */

/* Renews an object that was kept, and has a reference again. */
static inline struct fl_object *renew(struct fl_thread *face, struct fl_kept *kept, struct fl_object *object,
                                      const struct fl_constructed_type *type)
{
    fli_count(&kept->renewed, 1);
    type->renew(face, object, &type->type);
    return object;
}

/* An object in the making. */
struct making {
    struct fl_thread *face;
    struct fl_object *object; /* NULL: it is made */
    const struct fl_type *type;
};

/* Frees the block of an object that was not made, also if an exception leaves its `construct`. */
static void end_making(struct making *making)
{
    if (FLI_UNLIKELY(making->object != NULL) && fl_drop(making->face, making->object))
        fl_type_free(making->face, making->object, making->type);
}

/* Constructs an object in a block that is its. Returns NULL, with errno ENOMEM, if that is refused. */
static struct fl_object *construct(struct fl_thread *face, struct fl_object *object,
                                   const struct fl_constructed_type *type)
{
    __attribute__((cleanup(end_making))) struct making making = {face, object, &type->type};
    fl_object_init(face, object, &type->type);
    fli_watch_pass(object, sizeof *object);
    if (FLI_LIKELY(type->construct(face, object, &type->type))) {
        making.object = NULL;
        return object;
    }
    errno = ENOMEM;
    return NULL;
}

/* Whether objects of the heap have the header of 16 bytes; reports it if they have another. */
static bool has_own_header(const struct fl_thread *face, const struct fl_type *type)
{
    const struct fl_object_layout *layout = fli_slots_layout(fl_thread_heap(face));
    if (FLI_LIKELY(layout->counts == fli_layout_own.counts && layout->type == fli_layout_own.type))
        return true;
    fli_misuse("fl_object_alloc", NULL, type->name,
               "has the header of struct fl_object, and objects of the heap have another");
    errno = EINVAL;
    return false;
}

/* Allocates where no kept object is at hand. What other threads have handed over may leave one. During a walk, checked
 * builds take none, and report the allocation of a block. */
__attribute__((noinline)) static struct fl_object *make(struct fl_thread *face,
                                                        const struct fl_constructed_type *type)
{
    struct fli_thread *thread = fli_thread_of(face);
    if (!has_own_header(face, &type->type))
        return NULL;
    fl_merge(face);
    struct fl_kept *kept = fli_keep_of(face, type->number);
    if (kept != NULL && !fli_walk_is_disturbed(thread->heap)) {
        struct fl_object *object = fli_keep_take(thread, kept);
        if (object != NULL) {
            fl_object_init(face, object, &type->type);
            return renew(face, kept, object, type);
        }
    }
    struct fl_object *object = fl_type_alloc(face, &type->type);
    return object != NULL ? construct(face, object, type) : NULL;
}

/* Whether a type is ready; reports it if not. */
static bool is_ready(const struct fl_type *type)
{
    if (FLI_LIKELY(type->ready))
        return true;
    fli_misuse("fl_object_alloc", NULL, type->name, "was given a type that is not ready");
    errno = EINVAL;
    return false;
}

/* Allocates an object of a type that is not a constructed one. */
__attribute__((noinline)) static struct fl_object *alloc(struct fl_thread *face, const struct fl_type *type)
{
    if (!is_ready(type) || !has_own_header(face, type))
        return NULL;
    fl_merge(face);
    struct fl_object *object = (struct fl_object *)fl_type_alloc(face, type);
    if (object != NULL) {
        fl_object_init(face, object, type);
        fli_watch_wrote(object, sizeof *object);
    }
    return object;
}

struct fl_object *fl_object_alloc_slow(struct fl_thread *face, const struct fl_type *type)
{
    if (FLI_UNLIKELY(!fli_construct_is(type)))
        return alloc(face, type);
    const struct fl_constructed_type *constructed = fli_construct_of(type);
    uint32_t number = constructed->number;
    if (FLI_CHECKED || FLI_UNLIKELY(number >= face->kept_types))
        return make(face, constructed);
    struct fl_kept *kept = face->kept + number;
    struct fl_object *object = fli_keep_take_quickly(kept);
    if (FLI_UNLIKELY(object == NULL))
        return make(face, constructed);
    /* It knows its type still. A handle that keeps objects has a slot. */
    fl_counts_begin(face, &object->counts);
    return renew(face, kept, object, constructed);
}

/* ---- Evicting. */

/* Evicts an object of the type with this number. Returns false if the handle keeps none. */
static bool evict_one(struct fli_thread *thread, uint32_t number)
{
    struct fl_kept *kept = fli_keep_of(&thread->face, number);
    void *object = kept != NULL ? fli_keep_take(thread, kept) : NULL;
    if (object == NULL)
        return false;
    fli_count(&kept->evicted, 1);
    fli_destroy_rest(thread, object, &kept->type->type);
    return true;
}

bool fli_construct_keeps(const struct fli_thread *thread)
{
    return fli_keep_objects(thread) > 0;
}

/* Evicts as many objects as there are: callbacks may have the handle keep others. */
bool fli_construct_evict(struct fli_thread *thread)
{
    size_t objects = fli_keep_objects(thread), left = objects;
    for (uint32_t number = 0; left > 0 && number < thread->face.kept_types; number++)
        while (left > 0 && evict_one(thread, number))
            left--;
    if (!fli_construct_keeps(thread))
        fli_keep_close(thread);
    return objects > 0;
}

void fli_construct_close(struct fli_thread *thread)
{
    fli_slots_mine(thread)->keeps = false;
    fli_construct_evict(thread);
    if (thread->face.kept == NULL)
        return;
    fli_registry_lock();
    fli_construct_hand_over_locked(thread);
    fli_registry_unlock();
}

void fli_construct_hand_over_locked(struct fli_thread *thread)
{
    fli_registry_assert_held();
    if (fli_construct_keeps(thread))
        fli_thread_alert(thread);
    fli_keep_hand_over_locked(thread);
}
