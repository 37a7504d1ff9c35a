/* SPDX-License-Identifier: MIT
 *
 * Attach, detach, flush.
 */
#include "heap/thread.h"
#include "base/check.h"
#include "heap/guest.h"
#include "heap/registry.h"
#include "heap/share.h"
#include "heap/submit.h"
#include "heap/trace.h"
#include "large/supply.h"
#include "memory/stray.h"
#include "pool/reserve.h"

#include <errno.h>
#include <stdlib.h>

/* The stand-ins. Constant: no cache of theirs ever gets capacity. */
static const struct fli_thread unattached = {.later = FLI_LATER_UNKNOWN, .quick_dead = FLI_DEAD_NONE},
                               exited = {.later = FLI_LATER_UNKNOWN, .quick_dead = FLI_DEAD_NONE};

__thread struct fl_thread *fl_thread_current = (struct fl_thread *)&unattached.face;

static void enter_locked(struct fli_thread *thread)
{
    fli_registry_assert_held();
    struct fl_heap *heap = thread->heap;
    FLI_LIST_ADD(&heap->threads, thread, in_heap);
    heap->thread_count++;
    fli_store_hint(&thread->is_pending, fli_queue_is_left(heap));
    fli_share_racks_locked(heap);
    fli_os_thread_bind_locked(thread);
    fli_trace_settle_locked(thread);
}

void fli_thread_remove_locked(struct fli_thread *thread)
{
    fli_registry_assert_held();
    struct fl_heap *heap = thread->heap;
    fli_guest_remove_locked(thread);
    fli_os_thread_unbind_locked(thread);
    fli_dead_leave_locked(thread);
    fli_queue_leave_locked(thread);
    FLI_LIST_REMOVE(thread, in_heap);
    heap->thread_count--;
    heap->leaving -= thread->leaves;
    fli_homes_leave(&heap->backing.homes, thread->owner.home);
    fli_share_racks_locked(heap);
    fli_pool_add_counters(&heap->detached, &thread->owner.counters);
    fli_reserve_destroy(&thread->owner);
}

/* ---- Attaching and detaching. */

void fli_thread_destroy(struct fli_thread *thread)
{
    fli_dead_destroy(thread->dead);
    free(thread->queue);
    free(thread);
}

struct fli_thread *fli_thread_create(struct fl_heap *heap)
{
    struct fli_thread *thread = calloc(1, fli_thread_bytes(heap));
    if (thread == NULL)
        return NULL;
    thread->dead = thread->quick_dead = fli_dead_create(fli_dead_waits_in(heap));
    thread->queue = calloc(1, sizeof *thread->queue);
    bool refused = thread->dead == NULL || thread->queue == NULL;
    thread->owner.home = refused ? NULL : fli_homes_enter(&heap->backing.homes);
    if (thread->owner.home == NULL) {
        fli_thread_destroy(thread);
        return NULL;
    }
    thread->heap = heap;
    thread->later = (uint8_t)(1u << heap->options.later);
    thread->owner.large_shard = (uint8_t)fli_large_next_shard(&heap->backing.large);
    thread->header = heap->options.header;
    thread->caches = fli_thread_place(thread, false);
    thread->deferred = fli_thread_deferred_place(thread, false);
    fli_thread_know_range_owner(thread, &heap->backing.slabs.ranges.at[0]);
    if (heap->watched || heap->hardened)
        thread->slabs_span = 0; /* every call takes its slow half */
    return thread;
}

void fli_thread_know_range_owner(struct fli_thread *thread, const struct fli_range *range)
{
    thread->slabs_base = (uintptr_t)range->base;
    thread->slabs_span = range->span;
    thread->slab_classes = range->classes;
}

static struct fli_thread *attach(struct fl_heap *heap)
{
    struct fli_thread *thread = fli_os_thread_watch() == 0 ? fli_thread_create(heap) : NULL;
    if (thread == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    fli_registry_lock();
    enter_locked(thread);
    fli_registry_unlock();
    fli_reader_add_handle(fli_thread_reader(thread), &heap->grace);
    return thread;
}

struct fli_thread *fli_thread_attach_self(struct fl_heap *heap)
{
    if (fl_thread_current != &unattached.face)
        return NULL; /* it exits */
    struct fli_thread *thread = attach(heap);
    if (thread != NULL) {
        thread->is_self = true;
        fl_thread_current = &thread->face;
    }
    return thread;
}

struct fl_thread *fl_thread_attach_abi(unsigned abi, struct fl_heap *heap)
{
    if (abi != FL_ABI) {
        errno = ENOTSUP;
        return NULL;
    }
    struct fli_thread *thread = fli_os_thread_exits() ? fli_os_thread_attach_left(heap) : attach(heap);
    return thread != NULL ? &thread->face : NULL;
}

/* Notes that the thread has been flushed, for the last time if it `leaves`. Returns whether no other thread of the
 * heap has anything left to flush: all others that are attached leave. */
static bool note_flush(struct fli_thread *thread, bool leaves)
{
    struct fl_heap *heap = thread->heap;
    fli_registry_lock();
    /* A detach that a callback of the host has left by longjmp may have noted it before. */
    heap->leaving += (size_t)leaves - thread->leaves;
    thread->leaves = leaves;
    bool last = heap->thread_count == heap->leaving + !leaves;
    fli_registry_unlock();
    return last;
}

/* Flushes on the host's behalf, looks at the heap's bound, and reports strays. The thread `leaves` if no call will
 * use it again. */
static void flush_and_tell(struct fli_thread *thread, bool leaves)
{
    struct fl_heap *heap = thread->heap;
    fli_submit(thread);
    fli_reserve_end_owner(&heap->backing, &thread->owner);
    fli_thread_flush_owner(thread);
    if (heap->grace.kind != FL_GRACE_NONE)
        fli_bound_advance_deferred(heap);
    fli_supply_flush(&heap->backing.large, thread->owner.large_shard);
    fli_bound_keep_at_flush(heap, note_flush(thread, leaves));
    fli_stray_tell(&heap->backing.slabs, heap, leaves ? "fl_thread_detach" : "fl_thread_flush");
    if (!leaves)
        return;
    fli_reserve_end_owner(&heap->backing, &thread->owner); /* the misuse handler may have used the handle */
    fli_thread_flush_owner(thread);
}

/* Ends the handle's share in the reader that its OS thread is, if that is the calling OS thread. */
static void stop_reading(struct fli_thread *thread, bool detached)
{
    if (thread->os_thread != NULL && thread->os_thread == fli_os_thread_self())
        fli_reader_remove_handle(fli_thread_reader(thread), &thread->heap->grace, detached);
}

void fli_thread_note_exit(void)
{
    fl_thread_current = (struct fl_thread *)&exited.face;
}

void fli_thread_end_claimed(struct fli_thread *thread)
{
    fli_guest_leave(thread, true);
    flush_and_tell(thread, true);
    stop_reading(thread, true);
    if (&thread->face == fl_thread_current)
        fl_thread_current = (struct fl_thread *)&unattached.face;
    fli_registry_lock();
    fli_thread_remove_locked(thread);
    fli_registry_unlock();
}

/* Claims a handle for the calling OS thread to detach. Returns why it must not, or NULL. */
static const char *claim(struct fli_thread *thread, struct fli_frame here)
{
    const char *wrong = NULL;
    fli_registry_lock();
    if (thread->is_self && !fli_os_thread_may_use_locked(thread))
        wrong = "is what fl_thread_self returns to another thread";
    else if (!fli_os_thread_claim_locked(thread, here))
        wrong = "is being detached already";
    fli_registry_unlock();
    return wrong;
}

int fl_thread_detach(struct fl_thread *face)
{
    struct fli_thread *thread = fli_thread_of(face);
    const char *wrong;
    if (fli_thread_left(face) != NULL)
        return 0; /* the exit of its OS thread has detached it */
    if (fli_thread_is_stand_in(face))
        wrong = "is not an attached thread";
    else if (fli_thread_sections(thread) > 0)
        wrong = "is inside a read-side section";
    else if (fli_dead_drains(thread))
        wrong = "is destroying an object, whose callback must not detach it";
    else
        wrong = claim(thread, FLI_FRAME_HERE);
    if (wrong != NULL) {
        fli_misuse("fl_thread_detach", face, NULL, "%s", wrong);
        return -EINVAL;
    }
    fli_thread_end_claimed(thread);
    free(thread);
    return 0;
}

bool fli_thread_is_inside(const struct fli_thread *thread)
{
    unsigned sections = fli_thread_sections(thread);
    if (sections > 0 || thread->os_thread == NULL || thread->heap->grace.readers == NULL)
        return sections > 0;
    return fli_load_own(&thread->os_thread->readers[thread->heap->grace.kind].sections) > 0;
}

static bool has_sections(struct fl_heap *heap)
{
    bool inside = false;
    fli_registry_lock();
    for (struct fli_thread *thread = fli_os_thread_first_locked(); thread != NULL; thread = thread->in_os_thread.next)
        inside = inside || (thread->heap == heap && fli_thread_is_inside(thread));
    fli_registry_unlock();
    return inside;
}

bool fli_thread_caller_is_inside(struct fl_heap *heap)
{
    if (fli_grace_is_inside(&heap->grace))
        return true;
    const struct fli_os_thread *here = fli_os_thread_self();
    if (heap->grace.readers != NULL && here != NULL && fli_load_own(&here->readers[heap->grace.kind].sections) > 0)
        return true;
    return has_sections(heap);
}

void fli_thread_flush_owner(struct fli_thread *thread)
{
    struct fli_backing *backing = &thread->heap->backing;
    fli_submit_owner(thread);
    fli_dead_flush_owner(thread);
    fli_queue_flush_owner(thread);
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++)
        if (fli_thread_cache(thread, c)->floor != NULL) /* else it has no previous magazine either */
            fli_exchange_flush_owner(fli_thread_cache(thread, c), c, backing, &thread->owner);
    fli_exchange_end_flush_owner(backing, &thread->owner);
}

void fli_thread_flush_unused(struct fl_heap *heap, bool stopped)
{
    fli_registry_lock();
    for (struct fli_thread *thread = heap->threads; thread != NULL; thread = thread->in_heap.next) {
        if (thread->detacher != NULL || !(stopped || thread->offline))
            continue; /* one that is being detached flushes itself, perhaps in an exit, which no stop waits for */
        if (stopped) {
            fli_guest_hand_over_locked(thread);
            fli_reserve_end_owner(&heap->backing, &thread->owner);
        }
        fli_thread_flush_owner(thread);
    }
    fli_registry_unlock();
}

void fl_heap_flush_stopped(struct fl_heap *heap)
{
    fli_thread_flush_unused(heap, true);
}

void fl_thread_flush(struct fl_thread *face)
{
    if (fli_thread_is_stand_in(face))
        return;
    fli_guest_evict(fli_thread_of(face));
    flush_and_tell(fli_thread_of(face), false);
}

void fl_thread_offline(struct fl_thread *face)
{
    if (fli_thread_is_stand_in(face))
        return;
    struct fli_thread *thread = fli_thread_of(face);
    if (fli_thread_is_inside(thread)) {
        fli_misuse("fl_thread_offline", face, NULL, "is inside a read-side section");
        return;
    }
    fli_guest_leave(thread, false);
    if (thread->heap->grace.kind != FL_GRACE_NONE) {
        fli_submit(thread);
        stop_reading(thread, false);
        fli_bound_advance_deferred(thread->heap);
    }
    if (face == fl_thread_current)
        fl_thread_current = (struct fl_thread *)&unattached.face;
    fli_store_hint(&thread->owner.home->away, true);
    fli_registry_lock();
    fli_os_thread_unbind_locked(thread);
    thread->offline = true;
    fli_registry_unlock();
}

void fl_thread_online(struct fl_thread *face)
{
    if (fli_thread_is_stand_in(face))
        return;
    struct fli_thread *thread = fli_thread_of(face);
    /* If the exit cannot be watched, the handle stays unbound, and attached past the exit: no block is lost. */
    bool watched = fli_os_thread_watch() == 0;
    if (thread->os_thread != NULL && thread->os_thread == fli_os_thread_self())
        return; /* it is online here */
    fli_registry_lock();
    fli_os_thread_unbind_locked(thread);
    if (watched)
        fli_os_thread_bind_locked(thread);
    thread->offline = false;
    fli_registry_unlock();
    if (watched)
        fli_reader_add_handle(fli_thread_reader(thread), &thread->heap->grace);
    if (thread->is_self && fl_thread_current == &unattached.face)
        fl_thread_current = face;
    fli_guest_come_back(thread);
}
