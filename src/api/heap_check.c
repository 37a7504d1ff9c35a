/* SPDX-License-Identifier: MIT
 *
 * fl_heap_check: walks every place where the library holds a free block, and verifies the equations below. No other
 * thread uses the heap meanwhile, and trims wait, those of the caretaker too, so all accesses here are relaxed.
 *
 *     - each free block is the start of a carved block of a slab of its class, and is found once;
 *     - `below` of each pooled magazine is what lies on the stack from it downwards;
 *     - carved = live + cached + pooled + parked + deferred + lost, with the blocks found in the places on the right
 *       (checked builds count `live` by the live bits, hardened heaps by the states);
 *     - magazines in existence = in caches + deferred + on stacks + of a layer above + lost;
 *     - the room of threads' magazines of deferred blocks, and what of it lies beyond the base, is counted (unsubmitted.h);
 *     - large blocks and the extents that are kept for others = those in existence (large.h);
 *     - slabs in existence = at home + warm + cold + retired;
 *     - each slab at home is where it says: on the list that fits its free blocks, full, or current;
 *     - what the profile has sampled is live, and counted by site (profile.h).
 */
#include "api/stats.h"
#include "base/check.h"
#include "heap/guest.h"
#include "heap/held.h"
#include "heap/profile.h"
#include "heap/registry.h"
#include "memory/block.h"
#include "memory/idle.h"
#include "memory/mark.h"
#include "memory/state.h"
#include "pool/unsubmitted.h"

#include <errno.h>
#include <stdlib.h>

/* One walk. */
struct walk {
    struct fl_heap *heap;
    struct fli_slabs *slabs;
    uint64_t *seen;               /* a bit per block, by slab, as in slab.h */
    size_t found[FL_CLASS_COUNT]; /* blocks found free, by class */
    size_t magazines;
    uint32_t used;     /* slabs found at home */
    size_t free_slabs; /* how many of these are on lists of slabs that are all free */
    char *error;
    size_t error_size;
};

static size_t seen_word(const struct walk *walk, unsigned class_index, const void *block)
{
    return (size_t)fli_slab_number(walk->slabs, block) * FLI_SLAB_BIT_WORDS +
           fli_slab_block_index(walk->slabs, class_index, block) / 64;
}

/* Whether the host has a block, as far as the build and the heap know: checked builds and hardened heaps do. */
static bool is_live(const struct walk *walk, unsigned class_index, const void *block)
{
    if (FLI_CHECKED && fli_block_is_live(walk->slabs, class_index, block))
        return true;
    return walk->slabs->hardened && fli_state_is_live(walk->slabs, class_index, block);
}

static bool knows_live(const struct walk *walk)
{
    return (FLI_CHECKED || walk->slabs->hardened) && !walk->heap->has_lost;
}

static int see(struct walk *walk, unsigned class_index, const void *block, const char *place)
{
    size_t bytes = fli_class_bytes(class_index);
    if (fli_slab_class_of(walk->slabs, block) != class_index)
        return fli_complain(-EUCLEAN, walk->error, walk->error_size, "%p in %s is not a block of %zu bytes", block,
                            place, bytes);
    if (!fli_block_is_start(walk->slabs, class_index, block))
        return fli_complain(-EUCLEAN, walk->error, walk->error_size,
                            "%p in %s is not the start of a block of %zu bytes", block, place, bytes);
    uint64_t mask = (uint64_t)1 << (fli_slab_block_index(walk->slabs, class_index, block) % 64);
    uint64_t *word = &walk->seen[seen_word(walk, class_index, block)];
    if ((*word & mask) != 0)
        return fli_complain(-EUCLEAN, walk->error, walk->error_size,
                            "the block %p of %zu bytes is free twice, the second time in %s", block, bytes, place);
    if (knows_live(walk) && is_live(walk, class_index, block))
        return fli_complain(-EUCLEAN, walk->error, walk->error_size, "%p in %s is marked live", block, place);
    *word |= mask;
    walk->found[class_index]++;
    return 0;
}

static int see_all(struct walk *walk, unsigned class_index, void *const *blocks, size_t count, const char *place)
{
    int failed = 0;
    for (size_t i = 0; i < count && failed == 0; i++)
        failed = see(walk, class_index, blocks[i], place);
    return failed;
}

/* Verifies that a magazine on a list says how many blocks lie below it, as the one above it does. */
static int check_below(struct walk *walk, const struct fli_held *held)
{
    if (held->magazine == NULL)
        return fli_complain(-EUCLEAN, walk->error, walk->error_size,
                            "in %s, class %u names magazine %u, there are %u", held->place, held->class_index,
                            held->index, walk->heap->backing.magazines.carved - 1);
    if (held->above == NULL)
        return 0;
    uint64_t below = fli_load_relaxed(&held->above->below) - fli_magazine_weight(held->above);
    if (fli_load_relaxed(&held->magazine->below) == below)
        return 0;
    return fli_complain(-EUCLEAN, walk->error, walk->error_size,
                        "magazine %u of class %u says that %llu blocks lie below it, there are %llu", held->index,
                        held->class_index, (unsigned long long)fli_load_relaxed(&held->magazine->below),
                        (unsigned long long)below);
}

/* Walks a magazine. */
static int walk_magazine(void *context, const struct fli_held *held)
{
    struct walk *walk = context;
    int failed = check_below(walk, held);
    walk->magazines++;
    return failed == 0 ? see_all(walk, held->class_index, held->blocks, held->count, held->place) : failed;
}

static int see_if(struct walk *walk, unsigned class_index, const void *block, bool is_there, const char *place)
{
    return is_there ? see(walk, class_index, block, place) : 0;
}

/* Looks at the bits of a slab: free blocks, deferred ones, and in checked builds live ones. */
static int walk_slab(struct walk *walk, unsigned class_index, uint32_t slab, size_t *live)
{
    const struct fli_slab *record = fli_slab_at(walk->slabs, slab);
    unsigned free_blocks = 0, marks = 0;
    int failed = 0;
    for (unsigned i = 0; i < record->blocks && failed == 0; i++) {
        const void *block = fli_slab_start(walk->slabs, slab) + i * walk->slabs->by_class[class_index].block_bytes;
        bool is_free = fli_block_is_free(walk->slabs, class_index, block);
        *live += is_live(walk, class_index, block);
        bool is_marked = fli_mark_is_set(walk->slabs, class_index, block);
        free_blocks += is_free;
        marks += is_marked;
        failed = see_if(walk, class_index, block, is_free, "its slab");
        if (failed == 0)
            failed = see_if(walk, class_index, block, is_marked, "its slab, deferred");
    }
    if (failed == 0 && (free_blocks != record->free || marks != record->marks))
        failed = fli_complain(-EUCLEAN, walk->error, walk->error_size,
                              "slab %u has %u free blocks and %u deferred ones, but counts %u and %u", slab,
                              free_blocks, marks, record->free, record->marks);
    return failed;
}

/* What the slabs of a class say in their records. */
struct places {
    size_t live;       /* blocks that are known to be live */
    uint32_t on_lists; /* slabs on lists of their homes */
};

/* Walks all slabs of the class that are at home, by their records. */
static int walk_slabs(struct walk *walk, unsigned class_index, struct places *places)
{
    int failed = 0;
    for (uint32_t slab = 1; slab <= walk->slabs->committed && failed == 0; slab++) {
        const struct fli_slab *record = fli_slab_at(walk->slabs, slab);
        if (fli_load_relaxed(fli_slab_class_at(walk->slabs, slab)) != class_index ||
            fli_load_relaxed(&record->home) == NULL)
            continue;
        walk->used++;
        places->on_lists += record->list < FLI_HOME_LISTS;
        failed = fli_homes_check_place(walk->slabs, class_index, slab, walk->error, walk->error_size);
        if (failed == 0)
            failed = walk_slab(walk, class_index, slab, &places->live);
    }
    return failed;
}

static uint32_t count_list(const struct walk *walk, uint32_t first)
{
    uint32_t count = 0;
    for (uint32_t slab = first; slab != 0 && count <= walk->slabs->committed;
         slab = fli_slab_at(walk->slabs, slab)->next)
        count++;
    return count;
}

/* Slabs without a class, as the bits of the chunks have them; and lone ones. */
struct idle {
    uint32_t warm, cold, kept, skipped, lone;
};

static struct idle count_idle(const struct fli_slabs *slabs)
{
    struct idle idle = {0};
    for (uint32_t slab = 0; slab < slabs->committed; slab += FLI_CHUNK_SLABS) {
        const struct fli_chunk *chunk = fli_idle_chunk(slabs, slab / FLI_CHUNK_SLABS);
        idle.warm += (uint32_t)__builtin_popcount(chunk->warm);
        idle.cold += (uint32_t)__builtin_popcount(chunk->cold);
        idle.kept += (uint32_t)__builtin_popcount(chunk->cold & chunk->kept);
        idle.skipped += (uint32_t)__builtin_popcount(chunk->cold & chunk->skipped);
    }
    for (uint32_t slab = 1; slab <= slabs->committed; slab++)
        idle.lone += fli_load_relaxed(fli_slab_class_at(slabs, slab)) != 0 && fli_slab_at(slabs, slab)->is_lone;
    return idle;
}

/* Verifies that every slab is at home, warm, cold or retired. */
static int check_slabs(struct walk *walk)
{
    const struct fli_slabs *slabs = walk->slabs;
    struct idle idle = count_idle(slabs);
    uint32_t retired = fli_load_relaxed(&slabs->retired), listed = count_list(walk, slabs->warm);
    if (walk->used + idle.warm + idle.cold + retired != slabs->committed)
        return fli_complain(-EUCLEAN, walk->error, walk->error_size,
                            "%u slabs exist, but %u are in use, %u warm, %u cold and %u retired", slabs->committed,
                            walk->used, idle.warm, idle.cold, retired);
    size_t counted = fli_load_relaxed(&walk->heap->backing.homes.free_slabs);
    if (walk->free_slabs != counted)
        return fli_complain(-EUCLEAN, walk->error, walk->error_size, "%zu slabs are all free, but counted are %zu",
                            walk->free_slabs, counted);
    if (listed != idle.warm || idle.warm != slabs->warm_count || idle.cold != fli_idle_cold_count(slabs) ||
        idle.kept != fli_idle_kept_count(slabs) || idle.skipped != fli_idle_skipped_count(slabs))
        return fli_complain(-EUCLEAN, walk->error, walk->error_size,
                            "%u slabs are warm and %u cold, but counted are %u and %u", idle.warm, idle.cold,
                            slabs->warm_count, fli_idle_cold_count(slabs));
    if (idle.lone != slabs->lone_count)
        return fli_complain(-EUCLEAN, walk->error, walk->error_size, "%u slabs are lone, but counted are %u",
                            idle.lone, slabs->lone_count);
    return 0;
}

static int check_equation(struct walk *walk, unsigned class_index, size_t live)
{
    struct fl_class_stats stats = {0};
    fli_stats_count_class_locked(walk->heap, class_index, &stats);
    size_t counted = stats.cached + stats.pooled + stats.parked + stats.deferred;
    if (counted != walk->found[class_index])
        return fli_complain(
            -EUCLEAN, walk->error, walk->error_size,
            "class of %zu bytes: cached %zu + pooled %zu + parked %zu + deferred %zu, but %zu free blocks exist",
            stats.block_bytes, stats.cached, stats.pooled, stats.parked, stats.deferred, walk->found[class_index]);
    if (counted + stats.lost > stats.carved)
        return fli_complain(-EUCLEAN, walk->error, walk->error_size,
                            "class of %zu bytes: %zu carved, but %zu free and %zu lost", stats.block_bytes,
                            stats.carved, counted, stats.lost);
    if (knows_live(walk) && live != stats.live)
        return fli_complain(-EUCLEAN, walk->error, walk->error_size,
                            "class of %zu bytes: carved %zu - free %zu - lost %zu leaves %zu live, but %zu are",
                            stats.block_bytes, stats.carved, counted, stats.lost, stats.live, live);
    return 0;
}

static int walk_class(struct walk *walk, unsigned class_index)
{
    struct places places = {0};
    int failed = walk_slabs(walk, class_index, &places);
    if (failed == 0)
        failed = fli_homes_check_lists(&walk->heap->backing.homes, class_index, places.on_lists, &walk->free_slabs,
                                       walk->error, walk->error_size);
    return failed == 0 ? check_equation(walk, class_index, places.live) : failed;
}

static int check_magazines(struct walk *walk)
{
    int failed = fli_dead_check_locked(walk->heap, &walk->magazines, walk->error, walk->error_size);
    if (failed == 0)
        failed = fli_guest_check_locked(walk->heap, &walk->magazines, walk->error, walk->error_size);
    size_t exist = fli_magazines_count(&walk->heap->backing.magazines);
    size_t found = walk->magazines + walk->heap->lost_magazines;
    /* The magazines that a thread had in hand when a fork left it behind are not known. */
    bool wrong = walk->heap->has_lost ? found > exist : found != exist;
    if (failed == 0 && wrong)
        failed = fli_complain(-EUCLEAN, walk->error, walk->error_size,
                              "%zu magazines exist, but %zu are accounted for", exist, found);
    return failed;
}

static int check_unsubmitted(const struct walk *walk, struct fli_thread *thread, size_t *noted)
{
    *noted += thread->owner.noted;
    return fli_unsubmitted_check(&walk->heap->deferred, thread->deferred, &thread->owner, walk->error,
                                 walk->error_size);
}

/* Verifies the room of all threads for deferred blocks. */
static int check_all_unsubmitted(const struct walk *walk)
{
    size_t noted = 0, counted = fli_load_relaxed(&walk->heap->deferred.rooms.beyond);
    int failed = check_unsubmitted(walk, walk->heap->service, &noted);
    for (struct fli_thread *thread = walk->heap->threads; thread != NULL && failed == 0;
         thread = thread->in_heap.next)
        failed = check_unsubmitted(walk, thread, &noted);
    if (failed == 0 && noted != counted)
        failed = fli_complain(-EUCLEAN, walk->error, walk->error_size,
                              "threads have room for %zu bytes of deferred blocks beyond the base, but count %zu",
                              noted, counted);
    return failed;
}

int fl_heap_check(struct fl_heap *heap, char *error, size_t error_size)
{
    struct walk walk = {.heap = heap, .slabs = &heap->backing.slabs, .error = error, .error_size = error_size};
    fli_registry_lock();
    fli_lock(&heap->trim_lock);
    walk.seen = calloc((size_t)walk.slabs->committed + 2, FLI_SLAB_BIT_WORDS * sizeof(uint64_t));
    int failed = walk.seen != NULL ? 0 : fli_complain(-ENOMEM, error, error_size, "no memory for the check");
    if (failed == 0)
        failed = fli_held_visit_locked(heap, walk_magazine, &walk);
    for (unsigned c = 1; c < FL_CLASS_COUNT && failed == 0; c++)
        failed = walk_class(&walk, c);
    if (failed == 0)
        failed = check_magazines(&walk);
    if (failed == 0)
        failed = check_all_unsubmitted(&walk);
    if (failed == 0)
        failed = check_slabs(&walk);
    if (failed == 0)
        failed = fli_large_check(&heap->backing.large, error, error_size);
    if (failed == 0)
        failed = fli_profile_check(heap, walk.seen, error, error_size);
    fli_unlock(&heap->trim_lock);
    fli_registry_unlock();
    free(walk.seen);
    return failed;
}
