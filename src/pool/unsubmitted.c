/* SPDX-License-Identifier: MIT */
#include "pool/unsubmitted.h"
#include "base/check.h"

#include <errno.h>

/* All threads' magazines together may have room for the limit divided by this; or for so many bytes, if there is none. */
enum { ROOMS_PER_LIMIT = 100, ROOMS_UNLIMITED = FLI_RARE_PATHS ? 1 << 20 : 64 << 20 };

/* This part of that is for the base of 200 threads. */
enum { BASE_PART = 8 };

/* A magazine gets this part of what is left. */
enum { ROOMS_PER_REST = 8 };

/* Parts of a magazine, of which what a thread submits is counted. */
enum { WHOLE = 256 };

void fli_unsubmitted_init(struct fli_quota *rooms, size_t limit_bytes)
{
    size_t most = limit_bytes != SIZE_MAX ? limit_bytes / ROOMS_PER_LIMIT : (size_t)ROOMS_UNLIMITED;
    fli_quota_init(rooms, most, most / BASE_PART);
}

/* ---- A thread's magazines. */

/* A full magazine's top is where the next one begins. */
static struct fli_magazine *magazine_below(void **top)
{
    return (struct fli_magazine *)(((uintptr_t)top - 1) & ~(uintptr_t)(FLI_MAGAZINE_BYTES - 1));
}

struct fli_magazine *fli_unsubmitted_magazine(void ***place)
{
    void **top = fli_load_public(place);
    return top != NULL ? magazine_below(top) : NULL;
}

size_t fli_unsubmitted_blocks(void ***place, unsigned class_index, const struct fli_backing *backing)
{
    void **top = fli_load_public(place);
    if (top == NULL)
        return 0;
    /* For another thread the magazine may be one of less room by now. */
    void **floor = fli_magazine_floor(magazine_below(top), backing->magazine_blocks[class_index]);
    return top > floor ? (size_t)(top - floor) : 0;
}

/* ---- Room. */

/* Counts what the thread's magazines have room for beyond the base, unless what is counted is that, or no more than the
 * base too much. Returns whether all threads together have no more than they may. */
static bool note_owner(struct fli_quota *rooms, struct fli_owner *owner)
{
    size_t beyond = fli_quota_beyond(rooms, owner->unsubmitted), noted = owner->noted;
    if (FLI_MODEL || (beyond <= noted && beyond + rooms->base >= noted && owner->unsubmitted > 0) || beyond == noted)
        return true;
    owner->noted = (uint32_t)beyond;
    return fli_add_count(&rooms->beyond, beyond - noted) + (beyond - noted) <= rooms->beyond_most || beyond < noted;
}

/* For how many blocks there is room now, 0 if less than a block is left. */
static unsigned room_for(const struct fli_quota *rooms, const struct fli_owner *owner, unsigned class_index,
                         unsigned most)
{
    size_t bytes = fli_class_bytes(class_index), left = fli_quota_left(rooms, owner->unsubmitted, owner->noted);
    if (FLI_LIKELY(left / ROOMS_PER_REST >= most * bytes))
        return most;
    return (unsigned)fli_max(left / ROOMS_PER_REST / bytes, left >= bytes);
}

/* Submits the thread's magazine of a class, if there is one. Returns whether this has raised pressure. */
static bool submit_owner(struct fli_deferred *deferred, void ***place, unsigned class_index, struct fli_owner *owner)
{
    void **top = fli_load_public(place);
    if (top == NULL)
        return false;
    struct fli_magazine *magazine = magazine_below(top);
    unsigned capacity = deferred->backing->magazine_blocks[class_index];
    size_t count = (size_t)(top - fli_magazine_floor(magazine, capacity));
    owner->unsubmitted -= (uint32_t)(fli_magazine_room(magazine, capacity) * fli_class_bytes(class_index));
    owner->submitted_parts = (uint16_t)(owner->submitted_parts + count * WHOLE / capacity);
    fli_store_own(&magazine->count, (uint16_t)count);
    fli_store_public(place, NULL);
    return fli_deferred_submit(deferred, magazine, class_index, &owner->counters);
}

bool fli_unsubmitted_submit_classes_owner(struct fli_deferred *deferred, void ***places,
                                          struct fli_class_set *classes, struct fli_owner *owner)
{
    bool raised = false;
    for (unsigned c = fli_class_set_take(classes); c != 0; c = fli_class_set_take(classes))
        raised |= submit_owner(deferred, &places[c], c, owner);
    note_owner(&deferred->rooms, owner);
    return raised;
}

FLI_COLD static bool submit_all(struct fli_deferred *deferred, void ***places, struct fli_owner *owner)
{
    bool raised = false;
    FLI_FOR_USED_CLASSES (c, &deferred->backing->slabs)
        raised |= submit_owner(deferred, &places[c], c, owner);
    note_owner(&deferred->rooms, owner);
    return raised;
}

/* The room that a magazine gets, in blocks; 0 if there is none even after the thread has submitted all others. */
static unsigned obtain_room(struct fli_deferred *deferred, void ***places, unsigned class_index,
                            struct fli_owner *owner, bool *raised)
{
    struct fli_quota *rooms = &deferred->rooms;
    size_t bytes = fli_class_bytes(class_index);
    unsigned most = deferred->backing->magazine_blocks[class_index];
    unsigned room = room_for(rooms, owner, class_index, most);
    if (FLI_UNLIKELY(room < most) && (room == 0 || ++owner->tight == 0)) {
        *raised |= submit_all(deferred, places, owner);
        room = room_for(rooms, owner, class_index, most);
    }
    owner->unsubmitted += (uint32_t)(room * bytes);
    if (FLI_LIKELY(note_owner(rooms, owner)))
        return room;
    owner->unsubmitted -= (uint32_t)(room * bytes); /* another thread has just taken it */
    note_owner(rooms, owner);
    return 0;
}

/* Puts an empty magazine in place. Returns whether there is room for it. */
static bool begin_owner(struct fli_deferred *deferred, void ***places, unsigned class_index,
                        struct fli_magazine *empty, struct fli_owner *owner, bool *raised)
{
    unsigned capacity = deferred->backing->magazine_blocks[class_index];
    bool is_bounded = !FLI_MODEL && FLI_LIKELY(!owner->realtime);
    unsigned granted = is_bounded ? obtain_room(deferred, places, class_index, owner, raised) : 0;
    unsigned room = granted > 0 ? granted : is_bounded ? 1 : capacity;
    if (granted == 0) {
        owner->unsubmitted += (uint32_t)(room * fli_class_bytes(class_index));
        note_owner(&deferred->rooms, owner);
    }
    fli_magazine_set_pad(empty, capacity - room);
    fli_store_public(&places[class_index], fli_magazine_floor(empty, capacity));
    return granted > 0 || !is_bounded;
}

/* ---- Deferring and submitting. */

/* Takes the next step, unless the thread leaves that to others. It is due when what the thread has submitted since the last
 * one makes up a whole magazine, or when many small ones have been submitted. */
static void advance_owner(struct fli_deferred *deferred, struct fli_owner *owner)
{
    if (owner->submitted_parts < WHOLE && !fli_deferred_may_gather(deferred))
        return;
    owner->submitted_parts = 0;
    if (FLI_LIKELY(!owner->realtime))
        fli_deferred_advance(deferred);
}

bool fli_unsubmitted_put_owner(struct fli_deferred *deferred, void ***places, unsigned class_index, void *block,
                               struct fli_owner *owner)
{
    void ***place = &places[class_index];
    bool raised = false, fits = true;
    if (fl_cache_is_full(*place)) {
        raised = submit_owner(deferred, place, class_index, owner);
        advance_owner(deferred, owner);
        struct fli_magazine *empty = fli_owner_obtain_empty_anywhere(deferred->backing, owner);
        if (empty == NULL) {
            raised |= fli_deferred_mark(deferred, class_index, block);
            owner->submitted_parts = WHOLE;
            advance_owner(deferred, owner);
            return raised;
        }
        fits = begin_owner(deferred, places, class_index, empty, owner, &raised);
    }
    fl_top_put(place, block);
    if (FLI_UNLIKELY(!fits)) {
        raised |= submit_owner(deferred, place, class_index, owner);
        note_owner(&deferred->rooms, owner);
        advance_owner(deferred, owner);
    }
    return raised;
}

/* ---- Checking. */

int fli_unsubmitted_check(const struct fli_deferred *deferred, void ***places, const struct fli_owner *owner,
                          char *error, size_t error_size)
{
    size_t room = 0;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        const struct fli_magazine *magazine = fli_unsubmitted_magazine(&places[c]);
        if (magazine != NULL)
            room += fli_magazine_room(magazine, deferred->backing->magazine_blocks[c]) * fli_class_bytes(c);
    }
    size_t beyond = fli_quota_beyond(&deferred->rooms, room);
    if (room == owner->unsubmitted && beyond <= owner->noted)
        return 0;
    return fli_complain(
        -EUCLEAN, error, error_size,
        "a thread has room for %zu bytes of deferred blocks, %zu beyond the base, but counts %u and %u", room, beyond,
        owner->unsubmitted, owner->noted);
}
