/* SPDX-License-Identifier: MIT */
#include "api/end.h"
#include "api/pending.h"

static const char *call_of(uintptr_t entry)
{
    return (entry & FLI_DEAD_DEFERRED) != 0 ? "fl_dealloc_deferred" : "fl_dealloc";
}

/* Whether the object can be one of the type in the thread's heap; reports misuse if not. */
FLI_COLD static bool judge(struct fl_thread *thread, uintptr_t entry, const struct fl_type *type)
{
    struct fli_free how = fli_instance_free_of(type, call_of(entry), (entry & FLI_DEAD_DEFERRED) != 0);
    return fli_check_live(thread, fli_dead_address(entry), &how);
}

bool fli_end_is_live(struct fl_thread *face, struct fli_dead_object object)
{
    uintptr_t entry = object.entry;
    const struct fl_type *type = object.type;
    const struct fli_thread *thread = fli_thread_of(face);
    /* Quickly, in a slab of any range. */
    if (!FLI_CHECKED && (entry & FLI_DEAD_DEFERRED) == 0 && thread->heap != NULL && !thread->heap->hardened &&
        type->class_index != 0 && thread->header == type->header &&
        fli_slab_class_of(&thread->heap->backing.slabs, (void *)entry) == type->class_index)
        return true;
    return judge(face, entry, type);
}

/* Finalizes an object unless that has happened before. Returns false if the object stays allocated: it was
 * resurrected, or `finalize` returned on another OS thread. */
static inline bool finalize(struct fl_thread *thread, uintptr_t entry, const struct fl_type *type)
{
    void *object = fli_dead_address(entry);
    if (type->finalized_mask != 0) {
        unsigned char *byte = (unsigned char *)object + type->finalized_offset;
        if ((*byte & type->finalized_mask) != 0)
            return true;
        *byte |= type->finalized_mask;
    }
    uintptr_t caller = fli_calling_thread();
    bool resurrected = type->finalize(thread, object, type);
    return fli_came_back(caller, call_of(entry), object, type->name, "has a finalize") && !resurrected;
}

/* Has an object of which `clear_some` has left more wait for its next turn. Returns false if that comes at once: the
 * object does not wait, or finds no place. */
static bool wait_again(struct fl_thread *face, uintptr_t entry, const struct fl_type *type)
{
    if (fli_thread_is_stand_in(face) || (type->flags & FL_TYPE_AT_ONCE) != 0)
        return false;
    struct fli_thread *thread = fli_thread_of(face);
    struct fli_dead *list = fli_dead_find_owner(thread, false);
    struct fli_dead_object object = {(entry & ~(uintptr_t)FLI_DEAD_WHOLE) | FLI_DEAD_BEGUN, type};
    if (fli_pending_is_later(thread, type) || (list != NULL && list->runs))
        return fli_queue_put_owner(thread, object);
    return list != NULL && (fli_dead_put(list, object) || fli_dead_put_full(list, object, thread));
}

/* Clears an object piece by piece. Returns whether it is done. */
static bool clear_some(struct fl_thread *thread, uintptr_t entry, const struct fl_type *type)
{
    void *object = fli_dead_address(entry);
    do {
        uintptr_t caller = fli_calling_thread();
        bool more = type->clear_some(thread, object, type);
        bool came_back = fli_came_back(caller, call_of(entry), object, type->name, "has a clear_some");
        if (!came_back || !more)
            return came_back;
    } while (!wait_again(thread, entry, type));
    return false;
}

/* Runs the callbacks of an object and frees it, however it ends. */
__attribute__((noinline)) static void end_carefully(struct fl_thread *thread, uintptr_t entry,
                                                    const struct fl_type *type)
{
    void *object = fli_dead_address(entry);
    if (fli_dead_end_of(entry) == FLI_DEAD_WHOLE && type->finalize != NULL && !finalize(thread, entry, type))
        return;
    if (type->clear != NULL) {
        if (!fli_end_clear(thread, object, type, call_of(entry)))
            return;
    } else if (type->clear_some != NULL && !clear_some(thread, entry, type)) {
        return;
    }
    if ((entry & FLI_DEAD_DEFERRED) != 0)
        fli_instance_defer(thread, object, type, call_of(entry));
    else
        fl_type_free(thread, object, type);
}

/* Of an object whose `clear_some` has left more: what is to end before it, or the object itself. */
static struct fli_dead_object choose(struct fl_thread *face, struct fli_dead_object object)
{
    if (fli_thread_is_stand_in(face) || (object.type->flags & FL_TYPE_AT_ONCE) != 0)
        return object;
    struct fli_thread *thread = fli_thread_of(face);
    struct fli_dead *list = fli_dead_find_owner(thread, false);
    if (list == NULL)
        return object;
    if (list->runs)
        return fli_queue_exchange(thread->queue, object);
    return fli_dead_exchange(&list->places, object);
}

/* Ends an object whose callbacks are not as simple as below. If another is to end before it, ends that one, and it waits
 * again. */
__attribute__((noinline)) static void end_chosen(struct fl_thread *thread, struct fli_dead_object object)
{
    if (fli_dead_end_of(object.entry) == FLI_DEAD_BEGUN && object.type->clear_some != NULL) {
        object = choose(thread, object);
        if (!fli_end_is_live(thread, object))
            return;
    }
    if (fli_dead_end_of(object.entry) == FLI_DEAD_LEGACY)
        object.type->dealloc(thread, fli_dead_address(object.entry), object.type);
    else
        end_carefully(thread, object.entry, object.type);
}

/* A type without `clear_some` whose objects end as FLI_DEAD_WHOLE has a `finalize`. */
bool fli_end_begin(struct fl_thread *thread, struct fli_dead_object object)
{
    if (FLI_LIKELY((object.entry & FLI_DEAD_BITS) == FLI_DEAD_WHOLE && object.type->clear_some == NULL))
        return finalize(thread, object.entry, object.type);
    end_chosen(thread, object);
    return false;
}

void fli_end_object(struct fl_thread *thread, struct fli_dead_object object)
{
    if (fli_dead_end_of(object.entry) == FLI_DEAD_LEGACY)
        object.type->dealloc(thread, fli_dead_address(object.entry), object.type);
    else
        fli_end_quickly(thread, object);
}
