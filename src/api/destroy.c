/* SPDX-License-Identifier: MIT
 *
 * Destroying CLEAR and FINALIZE objects: their callbacks, and the drain, which runs them one after the other. dead.h
 * says where objects wait meanwhile.
 *
 *     the calling frame lies below the drain's, on its stack    a drain runs: the object waits
 *     otherwise                                                 the call becomes the drain
 *
 * A drain that the host has left by longjmp is noticed by the first test once the stack is as short as when it began.
 * Before, the host says so (fl_thread_unwound). A drain that is taken to run, or to be gone, in error does no harm: an
 * object waits longer, or two drains empty one list.
 *
 * A thread that exits has no list. There the list lies in the frame of its drain, which is never left but by return.
 *
 * An object that ends later goes to the queue (pending.h). While fl_run_pending is the drain, so does all that waits.
 */
#include "api/destroy.h"
#include "api/pending.h"
#include "api/serve.h"
#include "base/check.h"
#include "base/watch.h"
#include "heap/service.h"

#include <errno.h>

static const char *call_of(uintptr_t entry)
{
    return (entry & FLI_DEAD_DEFERRED) != 0 ? "fl_dealloc_deferred" : "fl_dealloc";
}

/* ---- One object. */

/* Whether the object can be one of the type in the thread's heap; reports misuse if not. */
FLI_COLD static bool judge(struct fl_thread *thread, uintptr_t entry, const struct fl_type *type)
{
    struct fli_free how = fli_instance_free_of(type, call_of(entry), (entry & FLI_DEAD_DEFERRED) != 0);
    return fli_check_live(thread, fli_dead_address(entry), &how);
}

/* The same, quickly in a slab of any range. */
static bool is_live(struct fl_thread *face, uintptr_t entry, const struct fl_type *type)
{
    const struct fli_thread *thread = fli_thread_of(face);
    if (!FLI_CHECKED && (entry & FLI_DEAD_DEFERRED) == 0 && thread->heap != NULL && !thread->heap->hardened &&
        type->class_index != 0 && thread->header == type->header &&
        fli_slab_class_of(&thread->heap->backing.slabs, (void *)entry) == type->class_index)
        return true;
    return judge(face, entry, type);
}

/* Finalizes an object unless that has happened before. Returns whether the object stays allocated: it was
 * resurrected, or `finalize` returned on another OS thread. */
static bool finalize(struct fl_thread *thread, uintptr_t entry, const struct fl_type *type)
{
    void *object = fli_dead_address(entry);
    if (type->finalized_mask != 0) {
        unsigned char *byte = (unsigned char *)object + type->finalized_offset;
        if ((*byte & type->finalized_mask) != 0)
            return false;
        *byte |= type->finalized_mask;
    }
    uintptr_t caller = fli_calling_thread();
    bool resurrected = type->finalize(thread, object, type);
    return !fli_came_back(caller, call_of(entry), object, type->name, "has a finalize") || resurrected;
}

/* Has an object of which `clear_some` has left more wait for its next turn. Returns false if that comes at once: the
 * object does not wait, or finds no place. */
static bool wait_again(struct fl_thread *face, uintptr_t entry, const struct fl_type *type)
{
    if (fli_thread_is_stand_in(face))
        return false;
    struct fli_thread *thread = fli_thread_of(face);
    struct fli_dead *list = fli_dead_find_owner(thread, false);
    struct fli_dead_object object = {entry | FLI_DEAD_BEGUN, type};
    if (fli_pending_is_later(thread, type) || (list != NULL && list->runs))
        return fli_queue_put_owner(thread, object);
    if (list == NULL || (type->flags & FL_TYPE_AT_ONCE) != 0)
        return false;
    return fli_dead_put(list, object.entry, type) || fli_dead_put_full(list, object, thread);
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

/* Clears an object. Returns false, reported as misuse, if `clear` returned on another OS thread. */
static bool clear(struct fl_thread *thread, uintptr_t entry, const struct fl_type *type)
{
    uintptr_t caller = fli_calling_thread();
    type->clear(thread, fli_dead_address(entry), type);
    return fli_came_back(caller, call_of(entry), fli_dead_address(entry), type->name, "has a clear");
}

/* Runs the callbacks of an object and frees it. */
static inline __attribute__((always_inline)) void end_object_inline(struct fl_thread *thread, uintptr_t entry,
                                                                    const struct fl_type *type)
{
    if (type->finalize != NULL && (entry & FLI_DEAD_BEGUN) == 0 && finalize(thread, entry, type))
        return;
    if (FLI_LIKELY(type->clear != NULL)) {
        if (!clear(thread, entry, type))
            return;
    } else if (type->clear_some != NULL && !clear_some(thread, entry, type)) {
        return;
    }
    if (FLI_UNLIKELY((entry & FLI_DEAD_DEFERRED) != 0))
        fli_instance_defer(thread, fli_dead_address(entry), type, call_of(entry));
    else
        fl_type_free(thread, fli_dead_address(entry), type);
}

void fli_destroy_end(struct fl_thread *thread, struct fli_dead_object object)
{
    if ((object.entry & FLI_DEAD_LEGACY) != 0)
        object.type->dealloc(thread, fli_dead_address(object.entry), object.type);
    else
        end_object_inline(thread, object.entry, object.type);
}

bool fli_destroy_is_live(struct fl_thread *thread, struct fli_dead_object object)
{
    return is_live(thread, object.entry, object.type);
}

/* ---- The drain. */

/* Gives back magazines that a list, which is empty, has needed. If other threads have left objects to the heap, takes
 * some. Returns whether it has. */
FLI_COLD static bool adopt(struct fl_thread *face, struct fl_heap *heap, struct fli_dead *list)
{
    struct fli_dead *left = fli_thread_is_realtime(face) ? NULL : fli_dead_take_left(heap);
    struct fli_thread *server = fli_serve_enter(face);
    fli_pile_give_empties(&list->places.pile, &heap->backing, &server->owner.counters, true);
    if (left != NULL)
        fli_dead_adopt(list, left, server);
    fli_service_leave(server);
    return left != NULL;
}

/* The next object to destroy. Returns false if there is none. */
static inline __attribute__((always_inline)) bool take(struct fl_thread *face, struct fl_heap *heap,
                                                       struct fli_dead *list, struct fli_dead_object *object)
{
    while (!fli_dead_take(list, &heap->backing.magazines, object)) {
        bool is_left = fli_load_hint(&heap->left_dead) != NULL && !fli_thread_is_realtime(face);
        if (FLI_LIKELY(!fli_dead_has_empties(list) && !is_left) || !adopt(face, heap, list))
            return false;
    }
    return true;
}

/* Destroys an object, and then all that waits in the list. If it `judges`, each is looked at before its turn. */
static inline __attribute__((always_inline)) void drain_inline(struct fl_thread *thread, struct fl_heap *heap,
                                                               struct fli_dead *list, struct fli_dead_object object,
                                                               bool judges)
{
    __attribute__((cleanup(fli_destroy_stop))) struct fli_dead *drained = list;
    drained->drain.caller = FLI_FRAME_HERE;
    do {
        if (!judges || is_live(thread, object.entry, object.type))
            end_object_inline(thread, object.entry, object.type);
    } while (take(thread, heap, list, &object));
}

__attribute__((noinline)) static void drain(struct fl_thread *thread, struct fl_heap *heap, struct fli_dead *list,
                                            struct fli_dead_object object)
{
    drain_inline(thread, heap, list, object, FLI_CHECKED);
}

/* The same in a heap that may be a hardened one. */
__attribute__((noinline)) static void drain_carefully(struct fl_thread *thread, struct fl_heap *heap,
                                                      struct fli_dead *list, struct fli_dead_object object)
{
    drain_inline(thread, heap, list, object, FLI_CHECKED || heap->hardened);
}

/* Has an object wait where the stack of the list is full, or ends it if there is no place for it. */
FLI_COLD static void wait_full(struct fl_thread *face, struct fli_dead *list, struct fli_dead_object object)
{
    struct fli_thread *server = fli_serve_enter(face);
    bool waits = fli_dead_put_full(list, object, server);
    if (server != NULL)
        fli_service_leave(server);
    if (!waits)
        fli_destroy_end(face, object);
}

static inline void wait(struct fl_thread *face, struct fli_dead *list, uintptr_t entry, const struct fl_type *type)
{
    if (FLI_UNLIKELY(!fli_dead_put(list, entry, type)))
        wait_full(face, list, (struct fli_dead_object){entry, type});
}

/* Begins a drain where the one before, which the host has left, may have been fl_run_pending. */
static void drain_anew(struct fli_thread *thread, struct fli_dead *list, struct fli_dead_object object)
{
    fli_dead_set_runs(list, false, thread->heap->options.later == FL_LATER_NONE);
    drain_carefully(&thread->face, thread->heap, list, object);
}

void fli_destroy_waiting(struct fli_thread *thread, struct fli_dead *list)
{
    struct fli_dead_object object;
    if (take(&thread->face, thread->heap, list, &object))
        drain_carefully(&thread->face, thread->heap, list, object);
}

void fli_destroy_rest(struct fli_thread *thread, void *object, const struct fl_type *type)
{
    struct fli_dead_object dead = {(uintptr_t)object | FLI_DEAD_BEGUN, type};
    struct fli_dead *list = fli_dead_find_owner(thread, true);
    if (fli_pending_is_later(thread, type))
        fli_pending_queue(thread, dead);
    else if (list == NULL || fli_destroy_is_draining(list))
        fli_destroy_end(&thread->face, dead);
    else
        drain_anew(thread, list, dead);
}

/* ---- Where there is no list, or another one. */

static __thread struct fli_dead *late_list;
static __thread struct fl_heap *late_heap; /* whose objects these are */

/* The drain of an OS thread that exits. Its objects are those of one heap. */
static void drain_late(struct fl_thread *face, struct fl_heap *heap, struct fli_dead_object object)
{
    struct fli_dead list = {0};
    late_list = &list;
    late_heap = heap;
    drain_carefully(face, heap, &list, object);
    late_list = NULL;
    struct fli_thread *server = fli_serve_enter(face);
    fli_pile_give_empties(&list.places.pile, &heap->backing, &server->owner.counters, false);
    fli_service_leave(server);
}

/* Whether an object waits inside callbacks. */
static bool may_wait(struct fli_dead_object object)
{
    return (object.entry & FLI_DEAD_LEGACY) == 0 && (object.type->flags & FL_TYPE_AT_ONCE) == 0;
}

/* Destroys an object on an OS thread that has no handle for it but one that is left, and can have none. */
static void destroy_late(struct fl_thread *face, struct fli_dead_object object)
{
    struct fl_heap *heap = fl_thread_heap(face);
    if (heap != NULL && fli_pending_queue_late(face, heap, object))
        return;
    if (!may_wait(object) || !fli_os_thread_exits() || (late_list != NULL && late_heap != heap))
        fli_destroy_end(face, object);
    else if (late_list != NULL)
        wait(face, late_list, object.entry, object.type);
    else
        drain_late(face, heap, object);
}

/* Ends an object of an attached thread. */
static void destroy_attached(struct fli_thread *thread, struct fli_dead_object object)
{
    struct fli_dead *list = fli_dead_find_owner(thread, true);
    if (fli_pending_is_later(thread, object.type))
        fli_pending_queue(thread, object);
    else if (list == NULL || !may_wait(object))
        fli_destroy_end(&thread->face, object);
    else if (!fli_destroy_is_draining(list))
        drain_anew(thread, list, object);
    else if (list->runs)
        fli_pending_queue(thread, object);
    else
        wait(&thread->face, list, object.entry, object.type);
}

/* Ends a CLEAR or FINALIZE object, or one that may end later: destroys it, or has it wait. `entry` is its address, and
 * bits that say how it ends. Reports misuse of fl_dealloc or fl_dealloc_deferred. */
__attribute__((noinline)) static void destroy_carefully(struct fl_thread *face, uintptr_t entry,
                                                        const struct fl_type *type)
{
    struct fli_dead_object object = {entry, type};
    if ((entry & FLI_DEAD_LEGACY) == 0 && !is_live(face, entry, type))
        return;
    fli_watch_pass(NULL, 0);
    struct fli_thread *thread = fli_serve_attached(face);
    if (thread != NULL)
        destroy_attached(thread, object);
    else
        destroy_late(face, object);
}

void fl_thread_unwound(struct fl_thread *face)
{
    struct fli_thread *thread = fli_thread_of(face);
    struct fli_dead *list = thread->heap != NULL ? fli_dead_find_owner(thread, false) : NULL;
    struct fli_dead_object object;
    if (list == NULL || fli_dead_drains(thread))
        return;
    list->drain.caller.address = 0;
    if (take(face, thread->heap, list, &object))
        drain_anew(thread, list, object);
}

/* ---- Dispatch. */

/* The entry of an object that ends as `kind` says, which is not PLAIN. */
static uintptr_t entry_of(const void *object, const struct fl_type *type, enum fl_dealloc_kind kind)
{
    uintptr_t entry = (uintptr_t)object;
    if (kind == FL_DEALLOC_LEGACY)
        return entry | FLI_DEAD_LEGACY;
    bool is_cleared_only = kind == FL_DEALLOC_CLEAR && (type->flags & FL_TYPE_ANY_KIND) != 0;
    return is_cleared_only ? entry | FLI_DEAD_BEGUN : entry;
}

void fli_destroy_as(struct fl_thread *thread, void *object, const struct fl_type *type, enum fl_dealloc_kind kind)
{
    destroy_carefully(thread, entry_of(object, type, kind), type);
}

/* Puts an object that ends later into the queue. */
__attribute__((noinline)) static void queue(struct fl_thread *face, void *object, const struct fl_type *type)
{
    struct fli_thread *thread = fli_thread_of(face);
    uintptr_t legacy = type->kind == FL_DEALLOC_LEGACY ? FLI_DEAD_LEGACY : 0;
    struct fli_dead_object dead = {(uintptr_t)object | legacy, type};
    if (fli_instance_is_clearly_of(thread, object, type, type->later_class) &&
        fli_pile_put_quickly(&thread->queue->pile, &thread->heap->backing.magazines, dead)) {
        fli_store_hint(&thread->is_pending, 1);
        fli_dead_prefetch(dead);
    } else {
        fli_destroy_as(face, object, type, type->kind);
    }
}

/* Ends a CLEAR or FINALIZE object: directly if it is clearly one of a type whose objects never wait. */
__attribute__((noinline)) static void end_now(struct fl_thread *face, void *object, const struct fl_type *type)
{
    uint32_t class_index = type->waiting_class - FL_CLASS_COUNT;
    if ((int32_t)class_index > 0 && fli_instance_is_clearly_of(fli_thread_of(face), object, type, class_index))
        fli_destroy_end(face, (struct fli_dead_object){(uintptr_t)object, type});
    else
        fli_destroy_as(face, object, type, type->kind);
}

/* Ends an object where that is not as simple as below. */
__attribute__((noinline)) static void dealloc_carefully(struct fl_thread *thread, void *object,
                                                        const struct fl_type *type)
{
    if (FLI_UNLIKELY(!type->ready))
        fli_instance_is_ready(type, object, "fl_dealloc");
    else if (type->kind == FL_DEALLOC_PLAIN)
        fli_instance_free(thread, object, type, "fl_dealloc");
    else if (fli_pending_is_later(fli_thread_of(thread), type))
        queue(thread, object, type);
    else if (type->kind == FL_DEALLOC_LEGACY)
        type->dealloc(thread, object, type);
    else
        end_now(thread, object, type);
}

/* Ends an object of a kind other than PLAIN, or a PLAIN object whose cache has no room. */
void fl_dealloc_slow(struct fl_thread *face, void *object, const struct fl_type *type)
{
    struct fli_thread *thread = fli_thread_of(face);
    struct fli_dead *list = thread->dead;
    if (FLI_UNLIKELY(!fli_instance_is_clearly_of(thread, object, type, type->waiting_class) ||
                     list->quick_stack != thread->stack))
        dealloc_carefully(face, object, type);
    else if (fli_destroy_is_draining(list))
        wait(face, list, (uintptr_t)object, type);
    else
        drain(face, thread->heap, list, (struct fli_dead_object){(uintptr_t)object, type});
}

void fl_dealloc_deferred_slow(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    if (!fli_instance_is_ready(type, object, "fl_dealloc_deferred"))
        return;
    if (type->kind == FL_DEALLOC_LEGACY)
        fli_misuse("fl_dealloc_deferred", object, type->name,
                   "is LEGACY, whose dealloc frees by itself; it may end in fl_type_free_deferred");
    else if ((type->flags & FL_TYPE_NOT_DEFERRED) != 0)
        fli_misuse("fl_dealloc_deferred", object, type->name, "cannot be deferred: it has FL_TYPE_NOT_DEFERRED");
    else if (type->kind == FL_DEALLOC_PLAIN)
        fli_instance_defer(thread, object, type, "fl_dealloc_deferred");
    else
        destroy_carefully(thread, entry_of(object, type, type->kind) | FLI_DEAD_DEFERRED, type);
}
