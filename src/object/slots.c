/* SPDX-License-Identifier: MIT */
#include "object/slots.h"
#include "api/serve.h"
#include "base/check.h"
#include "heap/pile.h"
#include "heap/registry.h"
#include "heap/service.h"
#include "object/construct.h"
#include "object/hand.h"
#include "object/keep.h"

#include <errno.h>
#include <stdlib.h>

/* The slots of a region are committed so many bytes at a time, at least. */
#define COMMIT_STEP ((size_t)64 * sizeof(struct fli_slot))

/* ---- The table. */

static void destroy(struct fli_guest *guest)
{
    struct fli_slots *slots = (struct fli_slots *)(void *)guest;
    fli_region_close(&slots->memory);
    fli_os_release(slots->memory.base, slots->memory.reserved);
    free(slots);
}

static void leave(struct fli_thread *thread, bool detached);
static void come_back(struct fli_thread *thread);
static void remove_locked(struct fli_thread *thread);
static void begin_anew_stw(struct fl_heap *heap);
static int check_locked(struct fl_heap *heap, size_t *magazines, char *error, size_t error_size);

static struct fli_slots *create(void)
{
    struct fli_slots *slots = aligned_alloc(FLI_CACHE_LINE, fli_round_up(sizeof *slots, FLI_CACHE_LINE));
    if (slots == NULL)
        return NULL;
    *slots = (struct fli_slots){.guest = {leave, come_back, remove_locked, begin_anew_stw, fli_construct_evict,
                                          fli_construct_keeps, fli_construct_hand_over_locked, fli_keep_visit_locked,
                                          check_locked, destroy},
                                .layout = fli_layout_own};
    fli_stack_init(&slots->dead);
    slots->memory.reserved = fli_round_up((FLI_SLOTS_MOST + 1) * sizeof(struct fli_slot), FLI_KIB * 64);
    slots->memory.base = fli_os_reserve(slots->memory.reserved, FLI_KIB * 64);
    if (slots->memory.base != NULL)
        return slots;
    free(slots);
    return NULL;
}

struct fli_slots *fli_slots_obtain(struct fl_heap *heap)
{
    struct fli_slots *slots = fli_slots_of(heap);
    if (slots != NULL || (slots = create()) == NULL)
        return slots;
    struct fli_guest *entered = fli_guest_enter(heap, &slots->guest);
    if (entered != &slots->guest)
        destroy(&slots->guest); /* another thread was first */
    return (struct fli_slots *)(void *)entered;
}

/* ---- Slots come and go. */

/* Takes a free slot, or a new one; 0 if there is none. */
static uint32_t take_locked(struct fli_slots *slots)
{
    fli_registry_assert_held();
    uint32_t number = slots->free;
    if (number != 0) {
        slots->free = fli_slots_at(slots, number)->next_free;
        return number;
    }
    bool refused = slots->used == FLI_SLOTS_MOST ||
                   fli_region_reach(&slots->memory, (slots->used + 2) * sizeof(struct fli_slot), COMMIT_STEP) != 0;
    fli_store_hint(&slots->full, refused);
    return refused ? 0 : ++slots->used;
}

static void give_back_locked(struct fli_slots *slots, struct fli_slot *slot)
{
    fli_registry_assert_held();
    slot->next_free = slots->free;
    slots->free = (uint32_t)(slot - fli_slots_at(slots, 0));
    fli_store_hint(&slots->full, false);
}

/* Shows the slot to the fast paths, or hides it from them. Those of checked builds never see it. */
static void show(struct fli_thread *thread)
{
    thread->face.slot = FLI_CHECKED ? 0 : fli_slots_mark(thread);
    thread->face.uncounted = thread->face.slot != 0 ? FL_SHARED_IMMORTAL : 0;
}

void fli_slots_join(struct fli_thread *thread)
{
    if (thread->guest != 0)
        return;
    int saved = errno;
    struct fli_slots *slots = thread != thread->heap->service ? fli_slots_obtain(thread->heap) : NULL;
    if (slots != NULL && !fli_load_hint(&slots->full)) {
        fli_registry_lock();
        uint32_t number = take_locked(slots);
        fli_registry_unlock();
        if (number != 0) {
            thread->guest = number;
            come_back(thread);
        }
    }
    errno = saved;
}

static void come_back(struct fli_thread *thread)
{
    fli_slot_enter(fli_slots_mine(thread));
    fli_slots_mine(thread)->keeps = true;
    if (fli_slots_have_dead(fli_slots_of(thread->heap)))
        fli_slot_tell_owner(fli_slots_mine(thread));
    show(thread);
}

/* Has a thread leave its slot, unless something is to be merged, or to be handed over. Returns whether it owns nothing now:
 * then its handle says so before any callback runs, because others may merge what it owned. */
static bool try_to_leave(struct fli_thread *thread, struct fli_slot *slot)
{
    if (slot->open > 0 || ((fli_load_own(&slot->state) & FLI_SLOT_ONLINE) != 0 && !fli_slot_leave(slot)))
        return false;
    show(thread);
    return true;
}

/* Until the slot is given up, callbacks of dead objects may create others, and drop them. One that goes offline and
 * comes back has the handle own objects again, and keep them. */
static void leave(struct fli_thread *thread, bool detached)
{
    struct fli_slots *slots = fli_slots_of(thread->heap);
    struct fli_slot *slot = fli_slots_mine(thread);
    do {
        fli_construct_close(thread);
        while (!try_to_leave(thread, slot))
            fl_merge(&thread->face);
        if (detached) /* what a merge has left that the host has left */
            fli_slots_end_dead(&thread->face, thread->heap);
    } while (thread->face.kept != NULL || !try_to_leave(thread, slot));
    if (!detached)
        return;
    thread->guest = 0;
    fli_registry_lock();
    give_back_locked(slots, slot);
    fli_registry_unlock();
}

/* Tells the owners of dead objects that wait to be deallocated. */
static void tell_of_dead_locked(struct fl_heap *heap, struct fli_slots *slots)
{
    fli_registry_assert_held();
    if (!fli_slots_have_dead(slots))
        return;
    for (struct fli_thread *thread = heap->threads; thread != NULL; thread = thread->in_heap.next)
        if (thread->guest != 0)
            fli_slot_tell_owner(fli_slots_mine(thread));
}

/* Runs no callback: others deallocate what this finds dead. */
static void remove_locked(struct fli_thread *thread)
{
    struct fli_slots *slots = fli_slots_of(thread->heap);
    struct fli_slot *slot = fli_slots_mine(thread);
    struct fli_handing handing = {.server = thread, .mine = slot, .merging = fli_slots_merging(thread, slots)};
    fli_construct_hand_over_locked(thread);
    thread->guest = 0;
    if (thread->heap->has_lost)
        fli_hand_forget(slot); /* in the child of a fork: its thread may have been at work on them */
    else
        fli_hand_outs(&handing);
    bool is_free = fli_slot_remove(slot);
    if (!thread->heap->has_lost && fli_slot_claim(slot))
        fli_slot_merge(slot, &handing.merging);
    if (is_free)
        give_back_locked(slots, slot);
    tell_of_dead_locked(thread->heap, slots);
}

/* ---- In the child of a fork. */

static bool is_claimed(const struct fli_slot *slot)
{
    return (fli_load_own(&slot->state) & FLI_SLOT_CLAIMED) != 0;
}

/* Takes slots off the list of free ones that threads were merging which are gone. */
static void retire_free_stw(struct fli_slots *slots)
{
    for (uint32_t *at = &slots->free; *at != 0;) {
        struct fli_slot *slot = fli_slots_at(slots, *at);
        if (is_claimed(slot))
            *at = slot->next_free;
        else
            at = &slot->next_free;
    }
}

static void retire_used_stw(struct fl_heap *heap)
{
    for (struct fli_thread *thread = heap->threads; thread != NULL; thread = thread->in_heap.next)
        if (thread->guest != 0 && is_claimed(fli_slots_mine(thread))) {
            thread->guest = 0;
            show(thread);
        }
}

/* What other threads were handing over, or had found dead, is left alone: they were at work on it. */
static void begin_anew_stw(struct fl_heap *heap)
{
    struct fli_slots *slots = fli_slots_of(heap);
    if (!heap->has_lost)
        return;
    retire_free_stw(slots);
    retire_used_stw(heap);
    for (uint32_t number = 1; number <= slots->used; number++) {
        struct fli_slot *slot = fli_slots_at(slots, number);
        fli_store_own(&slot->state, fli_load_own(&slot->state) & FLI_SLOT_ONLINE);
        fli_stack_reset_stw(&slot->queue, 0);
    }
    fli_stack_reset_stw(&slots->dead, 0);
}

/* ---- While no other thread uses the heap. */

static size_t count_stack(const struct fl_heap *heap, struct fli_stack *stack)
{
    const struct fli_magazines *magazines = &heap->backing.magazines;
    struct fli_chain chain = {fli_stack_top(stack)};
    size_t count = 0;
    while (fli_chain_take(&chain, magazines) != NULL)
        count++;
    return count;
}

static int check_locked(struct fl_heap *heap, size_t *magazines, char *error, size_t error_size)
{
    struct fli_slots *slots = fli_slots_of(heap);
    *magazines += count_stack(heap, &slots->dead);
    for (uint32_t number = 1; number <= slots->used; number++)
        *magazines += count_stack(heap, &fli_slots_at(slots, number)->queue) + fli_slots_at(slots, number)->open;
    return fli_keep_check_locked(heap, magazines, error, error_size);
}

/* ---- What is handed over, and dead. */

struct fli_merging fli_slots_merging(struct fli_thread *thread, struct fli_slots *slots)
{
    struct fli_backing *backing = &thread->heap->backing;
    return (struct fli_merging){.magazines = &backing->magazines,
                                .dead = &slots->dead,
                                .empty = &backing->pool.empty,
                                .counters = &thread->owner.counters};
}

struct fli_magazine *fli_hand_obtain_empty(struct fli_thread *server)
{
    return fli_pile_obtain_empty(server);
}

void fli_slots_report(struct fl_heap *heap, const struct fl_object_layout *layout, const struct fl_counts *counts,
                      enum fli_drop why)
{
    const void *object = fli_layout_object(layout, counts);
    const char *type = fli_layout_type(layout, counts)->name;
    if (why == FLI_DROP_IMMORTAL)
        fli_misuse("fl_decref", object, type, "is immortal, and more of its references were dropped than were taken");
    else if (heap != NULL && !fl_owns(heap, object))
        fli_misuse("fl_decref", object, type, "has no reference in heap %p, of which it is not a block",
                   (void *)heap);
    else
        fli_misuse("fl_decref", object, type, "has no reference: more were dropped than there were");
}

/* Takes the counts of a dead object off a magazine; NULL if it has none that callbacks wait for. PLAIN ones are freed at
 * once, unless the caller holds the lock of the service thread. */
static struct fl_counts *take_dead(struct fli_thread *server, const struct fl_object_layout *layout,
                                   struct fli_magazine *magazine)
{
    uint32_t left = fli_magazine_count(magazine);
    struct fl_counts *counts = NULL;
    while (left > 0 && counts == NULL) {
        counts = (struct fl_counts *)magazine->slots[--left];
        const struct fl_type *type = fli_layout_type(layout, counts);
        if (type->kind != FL_DEALLOC_PLAIN || server == server->heap->service)
            continue;
        fl_dealloc(&server->face, fli_layout_object(layout, counts), type);
        counts = NULL;
    }
    fli_store_own(&magazine->count, (uint16_t)left);
    return counts;
}

/* The counts of the next dead object, or NULL. What is left of its magazine goes back, because callbacks may not
 * return. */
static struct fl_counts *next_dead(struct fli_thread *server, struct fli_slots *slots)
{
    struct fli_merging with = fli_slots_merging(server, slots);
    struct fl_counts *counts = NULL;
    for (struct fli_magazine *magazine; counts == NULL;) {
        magazine = fli_stack_pop_mpmc(with.dead, with.magazines, with.counters);
        if (magazine == NULL)
            return NULL;
        counts = take_dead(server, &slots->layout, magazine);
        fli_stack_push_mpmc(fli_magazine_count(magazine) > 0 ? with.dead : with.empty, with.magazines, magazine,
                            with.counters);
    }
    return counts;
}

void fli_slots_end_dead(struct fl_thread *face, struct fl_heap *heap)
{
    struct fli_slots *slots = fli_slots_of(heap);
    struct fli_slot *mine = fli_slots_mine(fli_thread_of(face));
    for (;;) {
        struct fli_thread *server = fli_serve_enter(face);
        struct fl_counts *counts = next_dead(server, slots);
        fli_service_leave(server);
        if (counts == NULL)
            return;
        if (mine != NULL && fli_slots_have_dead(slots))
            fli_slot_tell_owner(mine);
        fl_dealloc(face, fli_layout_object(&slots->layout, counts), fli_layout_type(&slots->layout, counts));
    }
}
