/* SPDX-License-Identifier: MIT
 *
 * The slow halves of the functions of object.h: other threads' references, handing over, and handles without a slot.
 */
#include "api/serve.h"
#include "base/check.h"
#include "base/watch.h"
#include "heap/service.h"
#include "object/construct.h"
#include "object/hand.h"
#include "object/slots.h"

/* The owner's count at which half of it moves to the shared one. The fast paths know only FL_LOCAL_MOST. */
enum { LOCAL_TOP = FLI_RARE_PATHS ? 3 : FL_LOCAL_MOST, LOCAL_HALF = (LOCAL_TOP + 1) / 2 };

/* What `local` of the caller's objects begins with. The fast paths of checked builds do not know it. */
static inline uint32_t mark_of(const struct fl_thread *face)
{
    return FLI_CHECKED ? fli_slots_mark(fli_thread_of(face)) : face->slot;
}

/* Whether the caller owns the object. Stores the owner's count, which is 0 if the object is dead. */
static inline bool is_mine(const struct fl_thread *face, const struct fl_counts *counts, uint32_t *count)
{
    uint32_t mark = mark_of(face);
    *count = fli_load_public(&counts->local) - mark;
    return mark != 0 && *count <= FL_LOCAL_MOST;
}

static void set_count(const struct fl_thread *face, struct fl_counts *counts, uint32_t count)
{
    fli_store_public(&counts->local, mark_of(face) + count);
}

/* The layout of the caller's objects. */
static const struct fl_object_layout *layout_of(const struct fl_thread *face)
{
    return fli_slots_layout(fl_thread_heap(face));
}

/* ---- Taking references. */

/* An object has become immortal because its shared count was full. */
static void count_overflow(const struct fl_thread *face)
{
    struct fli_slots *slots = fli_slots_of(fl_thread_heap(face));
    if (slots != NULL)
        fli_add_count(&slots->overflows, 1);
}

__attribute__((noinline)) static void add_shared_slowly(const struct fl_thread *face, struct fl_counts *counts,
                                                        uint32_t references)
{
    if (!fli_count_add(counts, references))
        count_overflow(face);
}

static inline void add_shared(const struct fl_thread *face, struct fl_counts *counts, uint32_t references)
{
    if (FLI_UNLIKELY(!fli_count_add_quickly(counts, references)))
        add_shared_slowly(face, counts, references);
}

/* A reference more for the owner, whose count is not 0. */
static void add_mine(const struct fl_thread *face, struct fl_counts *counts, uint32_t count)
{
    if (count >= LOCAL_TOP) {
        add_shared(face, counts, LOCAL_HALF);
        count -= LOCAL_HALF;
    }
    set_count(face, counts, count + 1);
}

FLI_COLD static void report_dead(const struct fl_thread *face, const struct fl_counts *counts)
{
    const struct fl_object_layout *layout = layout_of(face);
    fli_misuse("fl_incref", fli_layout_object(layout, counts), fli_layout_type(layout, counts)->name,
               "is dead: it has no reference");
}

__attribute__((noinline)) static void incref_mine(const struct fl_thread *face, struct fl_counts *counts,
                                                  uint32_t count)
{
    if (count > 0)
        add_mine(face, counts, count);
    else
        report_dead(face, counts);
}

/* Whether the counts of an object are merged, and nobody has a reference. Only checked builds look, which merge all
 * objects before they die. */
static bool is_merged_and_dead(const struct fl_counts *counts)
{
    uint32_t shared = FLI_CHECKED ? fli_load_public(&counts->shared) : 0;
    return (shared & FL_SHARED_MERGED) != 0 && fli_shared_count(shared) <= 0;
}

void fl_counts_incref_slow(struct fl_thread *face, struct fl_counts *counts)
{
    uint32_t count;
    if (FLI_UNLIKELY(is_mine(face, counts, &count)))
        incref_mine(face, counts, count);
    else if (FLI_UNLIKELY(is_merged_and_dead(counts)))
        report_dead(face, counts);
    else
        add_shared(face, counts, 1);
}

static bool try_shared(const struct fl_thread *face, struct fl_counts *counts)
{
    enum fli_try came = fli_count_try(counts);
    if (FLI_UNLIKELY(came == FLI_TRY_FULL))
        count_overflow(face);
    return came != FLI_TRY_FAILED;
}

bool fl_counts_try_slow(struct fl_thread *face, struct fl_counts *counts)
{
    uint32_t count;
    if (!is_mine(face, counts, &count))
        return try_shared(face, counts);
    if (count > 0)
        add_mine(face, counts, count);
    return count > 0;
}

void fl_counts_publish(struct fl_counts *counts)
{
    fli_count_publish(counts);
}

void fl_publish(struct fl_object *object)
{
    fli_count_publish(&object->counts);
}

void fl_counts_make_immortal(struct fl_counts *counts)
{
    fli_count_fix(counts);
}

void fl_make_immortal(struct fl_object *object)
{
    fli_count_fix(&object->counts);
}

/* ---- Dropping references. */

static struct fli_handing begin_handing(struct fli_thread *server, struct fli_slots *slots)
{
    return (struct fli_handing){.server = server,
                                .slots = fli_slots_at(slots, 0),
                                .mine = fli_slots_mine(server),
                                .merging = fli_slots_merging(server, slots)};
}

/* Reports and ends what was found. No lock may be held. */
static void end_handing(struct fl_thread *face, struct fl_heap *heap, const struct fli_handing *handing)
{
    if (handing->refused)
        fli_add_count(&fli_slots_of(heap)->refused, 1);
    if (handing->merging.wrong != NULL)
        fli_slots_report(heap, fli_slots_layout(heap), handing->merging.wrong, handing->merging.why);
    fli_slots_end_dead(face, heap);
}

/* Whether the host may wait for the end of the type's objects: its code runs there. A constructed type is CLEAR. */
static bool is_waited_for(const struct fl_type *type)
{
    return type->kind != FL_DEALLOC_PLAIN && type->kind != FL_DEALLOC_CLEAR && !fli_construct_is(type);
}

/* Drops a reference for the owner's queue. Deallocates what this has found dead. */
static enum fli_drop hand_over(struct fl_thread *face, struct fl_counts *counts, const struct fl_type *type)
{
    struct fli_thread *server = fli_serve_enter(face);
    if (server == NULL)
        return FLI_DROP_LIVES; /* there is no heap that the object could be of */
    struct fl_heap *heap = server->heap;
    struct fli_slots *slots = fli_slots_of(heap);
    if (slots == NULL) {
        fli_service_leave(server);
        return FLI_DROP_BELOW; /* no object of the heap has an owner */
    }
    struct fli_handing handing = begin_handing(server, slots);
    enum fli_drop drop = fli_hand_over(&handing, counts, is_waited_for(type));
    fli_service_leave(server);
    end_handing(face, heap, &handing);
    return drop;
}

static bool hand_quickly(const struct fl_thread *face, struct fl_counts *counts, const struct fl_type *type,
                         enum fli_drop *drop)
{
    struct fli_slot *mine = fli_slots_mine(fli_thread_of(face));
    return mine != NULL && !is_waited_for(type) && fli_hand_quickly(mine, counts, drop);
}

static enum fli_drop drop_mine(const struct fl_thread *face, struct fl_counts *counts, uint32_t count)
{
    if (count == 0)
        return FLI_DROP_BELOW;
    set_count(face, counts, count - 1);
    return count > 1 ? FLI_DROP_LIVES : fli_count_merge_last(counts);
}

static enum fli_drop drop_if_known(const struct fl_thread *face, struct fl_counts *counts)
{
    uint32_t count;
    return is_mine(face, counts, &count) ? drop_mine(face, counts, count) : fli_count_drop(counts, false);
}

/* Gives the handle a slot, for its outs. Returns whether it has got one: then it may own the object. */
static bool joins(const struct fl_thread *face)
{
    struct fli_thread *thread = fli_thread_of(face);
    if (thread->heap == NULL || thread->guest != 0 || fli_slots_of(thread->heap) == NULL)
        return false;
    fli_slots_join(thread);
    return thread->guest != 0;
}

/* Goes on with a drop. Returns whether the object is dead. Whoever still has its reference may look at its type. */
static bool go_on(struct fl_thread *face, struct fl_counts *counts, const struct fl_object_layout *layout,
                  enum fli_drop drop)
{
    if (drop == FLI_DROP_HAND && FLI_UNLIKELY(joins(face)))
        drop = drop_if_known(face, counts);
    if (drop == FLI_DROP_HAND) {
        const struct fl_type *type = fli_layout_type(layout, counts);
        if (!hand_quickly(face, counts, type, &drop))
            drop = hand_over(face, counts, type);
    }
    if (FLI_UNLIKELY(drop >= FLI_DROP_HAND))
        fli_slots_report(fl_thread_heap(face), layout, counts, drop);
    return drop == FLI_DROP_LAST;
}

bool fl_drop(struct fl_thread *face, struct fl_object *object)
{
    return go_on(face, &object->counts, &fli_layout_own, drop_if_known(face, &object->counts));
}

bool fl_counts_drop_slow(struct fl_thread *face, struct fl_counts *counts)
{
    enum fli_drop drop = drop_if_known(face, counts);
    return drop != FLI_DROP_LIVES && go_on(face, counts, layout_of(face), drop);
}

bool fl_counts_drop_merge(struct fl_counts *counts)
{
    return fli_count_merge_last(counts) == FLI_DROP_LAST;
}

void fl_counts_decref(struct fl_thread *face, struct fl_counts *counts)
{
    if (!fl_counts_drop(face, counts))
        return;
    const struct fl_object_layout *layout = layout_of(face);
    fl_dealloc(face, fli_layout_object(layout, counts), fli_layout_type(layout, counts));
}

__attribute__((noinline)) static void decref_and_go_on(struct fl_thread *face, struct fl_object *object,
                                                       enum fli_drop drop)
{
    if (go_on(face, &object->counts, &fli_layout_own, drop))
        fl_dealloc(face, object, object->type);
}

__attribute__((noinline)) static void decref_mine(struct fl_thread *face, struct fl_object *object, uint32_t count)
{
    decref_and_go_on(face, object, drop_mine(face, &object->counts, count));
}

void fl_decref_slow(struct fl_thread *face, struct fl_object *object)
{
    uint32_t count;
    if (FLI_UNLIKELY(is_mine(face, &object->counts, &count))) {
        decref_mine(face, object, count);
        return;
    }
    enum fli_drop drop = fli_count_drop_inline(&object->counts, false);
    if (FLI_UNLIKELY(drop != FLI_DROP_LIVES))
        decref_and_go_on(face, object, drop);
}

void fl_decref_merge(struct fl_thread *face, struct fl_object *object)
{
    if (fl_counts_drop_merge(&object->counts))
        fl_dealloc(face, object, object->type);
}

/* ---- Merging. */

static void merge(struct fli_thread *thread, struct fli_slot *slot)
{
    struct fl_thread *face = &thread->face;
    bool claimed = fli_slot_claim_owner(slot);
    struct fli_slots *slots = fli_slots_of(thread->heap);
    if (!claimed && slot->open == 0 && (fli_thread_is_realtime(face) || !fli_slots_have_dead(slots)))
        return;
    struct fli_handing handing = begin_handing(thread, slots);
    if (claimed)
        fli_slot_merge(slot, &handing.merging);
    fli_hand_outs(&handing);
    end_handing(face, thread->heap, &handing);
}

void fl_merge(struct fl_thread *face)
{
    struct fli_thread *thread = fli_thread_of(face);
    struct fli_slot *slot = fli_slots_mine(thread);
    if (slot == NULL)
        return;
    merge(thread, slot);
    if (fli_load_hint(&slot->handed) != 0 && fli_slots_mine(thread) == slot)
        merge(thread, slot); /* the byte may tell of dead objects that have ended since */
}

const unsigned char *fl_thread_handed(struct fl_thread *face)
{
    static const unsigned char nothing = 0;
    struct fli_thread *server = fli_serve_enter(face);
    if (server == NULL)
        return &nothing;
    fli_slots_join(server);
    const struct fli_slot *slot = fli_slots_mine(server);
    fli_service_leave(server);
    return slot != NULL ? (const unsigned char *)&slot->handed : &nothing;
}

/* ---- Making objects. */

/* Gives an object one reference: that of its owner, or a shared one if `mark` is 0. */
static void set_one(struct fl_counts *counts, uint32_t mark)
{
    uint32_t merged = FL_SHARED_MERGED | FL_SHARED_ONE;
    fli_store_public(&counts->local, mark != 0 ? mark + 1 : 0);
    fli_store_public(&counts->shared, mark != 0 ? 0 : merged);
}

/* Gives an object its first reference, through a handle that may have no slot yet. */
static void begin_counts(struct fl_thread *face, struct fl_counts *counts)
{
    struct fli_thread *server = fli_serve_enter(face);
    uint32_t mark = 0;
    if (server != NULL) {
        fli_slots_join(server);
        mark = fli_slots_mark(server);
        fli_service_leave(server);
    }
    set_one(counts, mark);
}

void fl_counts_init_slow(struct fl_thread *face, struct fl_counts *counts)
{
    begin_counts(face, counts);
    fli_watch_wrote(counts, sizeof *counts);
}

void fl_object_init_slow(struct fl_thread *face, struct fl_object *object, const struct fl_type *type)
{
    begin_counts(face, &object->counts);
    fli_store_public(&object->type, type);
    fli_watch_wrote(object, sizeof *object);
}

void fl_counts_revive(struct fl_thread *face, struct fl_counts *counts)
{
    bool published = (fli_load_public(&counts->shared) & FL_SHARED_PUBLISHED) != 0;
    set_one(counts, fli_slots_mark(fli_thread_of(face)));
    if (published) /* anew: a stale reader that raises the count sees where the object lies no more */
        fli_count_publish(counts);
}

void fl_revive(struct fl_thread *face, struct fl_object *object)
{
    fl_counts_revive(face, &object->counts);
}
