/* SPDX-License-Identifier: MIT
 *
 * Destroying CLEAR and FINALIZE objects, and the drain, which does so one after the other. dead.h says where objects wait
 * meanwhile, and end.h what is done to one.
 *
 *     the calling frame lies below the drain's, on its stack    a drain runs: the object waits
 *     otherwise                                                 the call becomes the drain
 *
 * A drain that the host has left by longjmp is noticed by the first test once the stack is as short as when it began.
 * Before, the host says so (fl_thread_unwound). A drain that is taken to run, or to be gone, in error does no harm: an
 * object waits longer, or two drains empty one list.
 *
 * A thread that exits has no handle with lists. It has as many drains as there are heaps whose objects it drops inside
 * each other (late.h). A thread that has no handle because memory is refused links its objects (bare.h).
 *
 * An object that ends later goes to the queue (pending.h). While fl_run_pending is the drain, so does all that waits.
 */
#include "api/destroy.h"
#include "api/bare.h"
#include "api/late.h"
#include "api/pending.h"
#include "api/serve.h"
#include "base/check.h"
#include "base/watch.h"
#include "heap/service.h"

#include <errno.h>

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

/* The next object to destroy; one without a type if there is none. */
__attribute__((noinline)) static struct fli_dead_object take_slowly(struct fl_thread *face, struct fl_heap *heap,
                                                                    struct fli_dead *list)
{
    struct fli_dead_object object = fli_dead_take(list, &heap->backing.magazines);
    while (object.type == NULL) {
        bool is_left = fli_load_hint(&heap->left_dead) != NULL && !fli_thread_is_realtime(face);
        if ((!fli_dead_has_empties(list) && !is_left) || !adopt(face, heap, list))
            break;
        object = fli_dead_take(list, &heap->backing.magazines);
    }
    return object;
}

/* Does the same. Returns false if there is none. */
static inline __attribute__((always_inline)) bool take(struct fl_thread *face, struct fl_heap *heap,
                                                       struct fli_dead *list, struct fli_dead_object *object)
{
    size_t count = fli_load_own(&list->places.count);
    if (FLI_LIKELY(fli_dead_take_quickly(&list->places, count, object)))
        return true;
    heap = heap != NULL ? heap : fli_thread_of(face)->heap;
    if (FLI_LIKELY((count | list->places.few) == 0 && !fli_dead_has_empties(list) &&
                   fli_load_hint(&heap->left_dead) == NULL))
        return false;
    *object = take_slowly(face, heap, list);
    return object->type != NULL;
}

/* Destroys an object, and then all that waits in the list. If it `judges`, each is looked at before its turn. `heap` is
 * NULL if it is that of the handle. */
static inline __attribute__((always_inline)) void drain_inline(struct fl_thread *thread, struct fl_heap *heap,
                                                               struct fli_dead *list, struct fli_dead_object object,
                                                               bool judges)
{
    __attribute__((cleanup(fli_destroy_stop))) struct fli_dead *drained = list;
    drained->drain.caller = FLI_FRAME_HERE;
    do {
        if (!judges || fli_end_is_live(thread, object))
            fli_end_quickly(thread, object);
    } while (take(thread, heap, list, &object));
}

__attribute__((noinline)) static void drain(struct fl_thread *thread, uintptr_t entry, const struct fl_type *type,
                                            struct fli_dead *list)
{
    drain_inline(thread, NULL, list, (struct fli_dead_object){entry, type}, FLI_CHECKED);
}

/* The same in a heap that may be a hardened one. */
__attribute__((noinline)) static void drain_carefully(struct fl_thread *thread, struct fl_heap *heap,
                                                      struct fli_dead *list, struct fli_dead_object object)
{
    drain_inline(thread, heap, list, object, FLI_CHECKED || heap->hardened);
}

/* Has an object wait where the stack of the list is full, or ends it if there is no place for it. */
FLI_COLD static void wait_full(struct fl_thread *face, uintptr_t entry, const struct fl_type *type,
                               struct fli_dead *list)
{
    struct fli_dead_object object = {entry, type};
    struct fli_thread *server = fli_serve_enter(face);
    bool waits = fli_dead_put_full(list, object, server);
    if (server != NULL)
        fli_service_leave(server);
    if (!waits)
        fli_end_object(face, object);
}

/* Has an object wait that is one of many. */
__attribute__((noinline)) static void wait_among_many(struct fl_thread *face, uintptr_t entry,
                                                      const struct fl_type *type, struct fli_dead *list)
{
    if (FLI_UNLIKELY(!fli_dead_put_many(&list->places, (struct fli_dead_object){entry, type})))
        wait_full(face, entry, type, list);
}

static inline void wait(struct fl_thread *face, uintptr_t entry, const struct fl_type *type, struct fli_dead *list)
{
    if (FLI_UNLIKELY(!fli_dead_put_quickly(&list->places, (struct fli_dead_object){entry, type})))
        wait_among_many(face, entry, type, list);
}

/* Begins a drain where the one before, which the host has left, may have been fl_run_pending. */
static void drain_anew(struct fli_thread *thread, struct fli_dead *list, struct fli_dead_object object)
{
    fli_dead_set_runs(list, false, fli_dead_waits_in(thread->heap));
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
    struct fli_dead_object dead = {fli_dead_entry_begun(object, type), type};
    struct fli_dead *list = fli_dead_find_owner(thread, true);
    if (fli_pending_is_later(thread, type))
        fli_pending_queue(thread, dead);
    else if (list == NULL || fli_destroy_is_draining(list))
        fli_end_object(&thread->face, dead);
    else
        drain_anew(thread, list, dead);
}

/* ---- Where there is no list, or another one. */

/* A drain of an OS thread that exits. */
struct late {
    struct fl_heap *heap; /* whose objects these are */
    struct fli_dead *list, frame;
};

static void end_late(struct late *late)
{
    fli_late_end(late->heap, late->list, &late->frame);
}

/* Destroys an object, and what it drops of its heap. */
static void drain_late(struct fl_thread *face, struct fl_heap *heap, struct fli_dead_object object)
{
    __attribute__((cleanup(end_late))) struct late late = {.heap = heap};
    late.list = fli_late_begin(heap, &late.frame);
    drain_carefully(face, heap, late.list, object);
}

/* Whether an object waits inside callbacks. */
static bool may_wait(struct fli_dead_object object)
{
    return fli_dead_end_of(object.entry) != FLI_DEAD_LEGACY && (object.type->flags & FL_TYPE_AT_ONCE) == 0;
}

/* Destroys an object on an OS thread that can have no handle that would serve it: the thread exits, or memory is refused.
 * `face` may be a handle that is left over from before the exit. */
static void destroy_late(struct fl_thread *face, struct fli_dead_object object)
{
    struct fl_heap *heap = fl_thread_heap(face);
    if (heap != NULL && fli_pending_queue_late(face, heap, object))
        return;
    struct fli_dead *list = fli_late_find(heap);
    if (!may_wait(object))
        fli_end_object(face, object);
    else if (!fli_os_thread_exits())
        fli_bare_destroy(face, object);
    else if (list != NULL && fli_destroy_is_draining(list))
        wait(face, object.entry, object.type, list);
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
        fli_end_object(&thread->face, object);
    else if (!fli_destroy_is_draining(list))
        drain_anew(thread, list, object);
    else if (list->runs)
        fli_pending_queue(thread, object);
    else
        wait(&thread->face, object.entry, object.type, list);
}

/* Ends a CLEAR or FINALIZE object, or one that may end later: destroys it, or has it wait. `entry` is its address, and
 * bits that say how it ends. Reports misuse of fl_dealloc or fl_dealloc_deferred. */
__attribute__((noinline)) static void destroy_carefully(struct fl_thread *face, uintptr_t entry,
                                                        const struct fl_type *type)
{
    struct fli_dead_object object = {entry, type};
    if (fli_dead_end_of(entry) != FLI_DEAD_LEGACY && !fli_end_is_live(face, object))
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
    fli_bare_unwound();
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
    if (kind == FL_DEALLOC_LEGACY)
        return (uintptr_t)object | FLI_DEAD_LEGACY;
    bool is_cleared_only = kind == FL_DEALLOC_CLEAR && (type->flags & FL_TYPE_ANY_KIND) != 0;
    return is_cleared_only ? fli_dead_entry_begun(object, type) : fli_dead_entry(object, type);
}

/* Whether an address has bits that an entry has of its own: then it is not that of a block. */
static inline bool is_odd(const void *object)
{
    return FLI_UNLIKELY(((uintptr_t)object & FLI_DEAD_BITS) != 0);
}

static void tell_odd(const void *object, const struct fl_type *type, const char *call)
{
    fli_misuse(call, object, type->name, "is not aligned as the heap's blocks are");
}

void fli_destroy_as(struct fl_thread *thread, void *object, const struct fl_type *type, enum fl_dealloc_kind kind)
{
    if (!is_odd(object))
        destroy_carefully(thread, entry_of(object, type, kind), type);
    else if (kind == FL_DEALLOC_LEGACY) /* it may be no block of ours, and cannot wait */
        type->dealloc(thread, object, type);
    else
        tell_odd(object, type, "fl_dealloc");
}

/* Puts an object that ends later, and is clearly one of its type, into the queue. */
__attribute__((noinline)) static void queue(struct fl_thread *face, void *object, const struct fl_type *type)
{
    bool is_legacy = type->kind == FL_DEALLOC_LEGACY;
    uintptr_t entry = FLI_UNLIKELY(is_legacy) ? (uintptr_t)object | FLI_DEAD_LEGACY : fli_dead_entry(object, type);
    if (is_odd(object) ||
        FLI_UNLIKELY(!fli_pending_put_quickly(fli_thread_of(face), (struct fli_dead_object){entry, type})))
        fli_destroy_as(face, object, type, type->kind);
}

/* Ends a CLEAR or FINALIZE object: directly if it is clearly one of a type whose objects never wait. */
__attribute__((noinline)) static void end_now(struct fl_thread *face, void *object, const struct fl_type *type)
{
    if ((type->waits & FLI_WAITS_NEVER) != 0 && !is_odd(object) &&
        fli_instance_is_clearly_of(fli_thread_of(face), object, type, type->class_index))
        fli_end_object(face, (struct fli_dead_object){fli_dead_entry(object, type), type});
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
    else if (type->kind == FL_DEALLOC_LEGACY && !fli_pending_is_later(fli_thread_of(thread), type))
        type->dealloc(thread, object, type);
    else
        end_now(thread, object, type);
}

/* Begins a drain with an object if that is clearly one of its type. `bits` are those of its entry. */
static inline __attribute__((always_inline)) void begin(struct fl_thread *face, void *object, uintptr_t bits,
                                                        const struct fl_type *type, struct fli_dead *list)
{
    if (FLI_LIKELY(fli_instance_is_clearly_of(fli_thread_of(face), object, type, type->class_index)))
        drain(face, (uintptr_t)object | bits, type, list);
    else
        dealloc_carefully(face, object, type);
}

/* Whether a pointer is NULL, not aligned as blocks are, or in the upper half of all addresses: by one test, of the address
 * before it with its low bits in front. They would be taken for those of an entry (heap/dead.h). */
static inline bool is_strange(const void *object)
{
    uintptr_t before = (uintptr_t)object - FLI_ALIGNMENT;
    return (before >> 4 | before << 60) >> 59 != 0;
}

/* Ends an object of which all callbacks are called, or one where that is not so simple. */
__attribute__((noinline)) static void end_whole(struct fl_thread *face, void *object, const struct fl_type *type,
                                                struct fli_dead *list)
{
    if (type->waits == (list->waits | FLI_WAITS_WHOLE) && FLI_LIKELY(!is_strange(object))) {
        if (fli_destroy_is_draining(list))
            wait(face, (uintptr_t)object | FLI_DEAD_WHOLE, type, list);
        else
            begin(face, object, FLI_DEAD_WHOLE, type, list);
    } else if (fli_instance_is_clearly_of(fli_thread_of(face), object, type, type->later_class) &&
               fli_pending_is_later(fli_thread_of(face), type)) {
        queue(face, object, type);
    } else {
        dealloc_carefully(face, object, type);
    }
}

/* Ends an object of a kind other than PLAIN, or a PLAIN object whose cache has no room. An object that waits at once is not
 * looked up, and neither is one that an inline free takes: a wrong pointer is noticed when its block goes home. */
void fl_dealloc_slow(struct fl_thread *face, void *object, const struct fl_type *type)
{
    struct fli_dead *list = fli_thread_of(face)->quick_dead;
    if (FLI_UNLIKELY(type->waits != list->waits))
        end_whole(face, object, type, list);
    else if (FLI_UNLIKELY(is_strange(object)))
        dealloc_carefully(face, object, type);
    else if (FLI_LIKELY(fli_destroy_is_draining(list)))
        wait(face, (uintptr_t)object, type, list);
    else
        begin(face, object, 0, type, list);
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
    else if (is_odd(object))
        tell_odd(object, type, "fl_dealloc_deferred");
    else
        destroy_carefully(thread, entry_of(object, type, type->kind) | FLI_DEAD_DEFERRED, type);
}
