/* SPDX-License-Identifier: MIT */
#include "pool/deferred.h"
#include "base/check.h"
#include "pool/deliver.h"
#include "pool/merge.h"
#include "base/sanitizer.h"
#include "memory/block.h"
#include "memory/mark.h"
#include "memory/state.h"

/* ---- Pressure. */

static void set_pressure(struct fli_deferred *deferred, bool on)
{
    fli_store_public(&deferred->pressure, on);
}

/* Adds to what has been submitted. Returns whether this has raised pressure. */
static bool count_in(struct fli_deferred *deferred, unsigned class_index, size_t blocks, size_t bytes)
{
    fli_add_count(&deferred->blocks[class_index], blocks);
    size_t before = fli_add_count(&deferred->bytes, bytes);
    /* A large block may be counted out before it is counted in: then the number has wrapped. */
    if (FLI_LIKELY(before + bytes <= deferred->bound || before > SIZE_MAX / 2))
        return false;
    fli_add_count(&deferred->over_bytes, bytes);
    if (fli_deferred_has_pressure(deferred))
        return false;
    set_pressure(deferred, true);
    /* Two threads may both find that they have raised it: then the host's callback runs twice. */
    fli_add_count(&deferred->pressures, 1);
    return true;
}

/* Subtracts from what has been submitted. Returns the bytes. */
static size_t count_out(struct fli_deferred *deferred, unsigned class_index, size_t blocks, size_t bytes)
{
    fli_sub_count(&deferred->blocks[class_index], blocks);
    fli_sub_count(&deferred->bytes, bytes);
    return bytes;
}

static void relieve_locked(struct fli_deferred *deferred)
{
    fli_assert_held(&deferred->lock);
    if (fli_deferred_has_pressure(deferred) && fli_load_hint(&deferred->bytes) <= deferred->bound / 2)
        set_pressure(deferred, false);
}

/* ---- Submission. */

static unsigned capacity_of(const struct fli_backing *backing, unsigned class_index)
{
    return backing->magazine_blocks[class_index];
}

bool fli_deferred_submit(struct fli_deferred *deferred, struct fli_magazine *magazine, unsigned class_index,
                         struct fli_pool_counters *counters)
{
    size_t count = fli_load_own(&magazine->count);
    magazine->class_index = (uint8_t)class_index;
    bool raised = count_in(deferred, class_index, count, count * fli_class_bytes(class_index));
    if (fli_merge_is_small(count, capacity_of(deferred->backing, class_index)))
        fli_add_count(&deferred->small, (size_t)1);
    fli_stack_push_mpmc(&deferred->collecting, &deferred->backing->magazines, magazine, counters);
    return raised;
}

bool fli_deferred_mark(struct fli_deferred *deferred, unsigned class_index, const void *block)
{
    bool raised = count_in(deferred, class_index, 1, fli_class_bytes(class_index));
    if (FLI_UNLIKELY(!fli_mark_set(&deferred->backing->slabs, class_index, block)))
        count_out(deferred, class_index, 1, fli_class_bytes(class_index));
    fli_store_hint(&deferred->has_marks, true);
    return raised;
}

bool fli_deferred_count_large(struct fli_deferred *deferred, size_t size, const struct fli_owner *owner)
{
    bool raised = count_in(deferred, 0, 1, size);
    fli_store_hint(&deferred->has_marks, true);
    if (FLI_LIKELY(!owner->realtime))
        fli_deferred_advance(deferred);
    return raised;
}

/* ---- Gathering. */

/* From how many small magazines on. */
enum { GATHER_LEAST = FLI_MODEL ? 1 : FLI_RARE_PATHS ? 2 : 512 };

/* Notes that so many magazines are on the stack, none of them small. Blocks are gathered again when as many small ones have
 * come: so the number of magazines doubles meanwhile, and each is looked at a few times at most. */
static void note_gathered(struct fli_deferred *deferred, size_t magazines)
{
    fli_store_hint(&deferred->small, (size_t)0);
    fli_store_hint(&deferred->gather_at, fli_max(magazines, (size_t)GATHER_LEAST));
}

FLI_COLD static void gather_locked(struct fli_deferred *deferred)
{
    struct fli_magazines *magazines = &deferred->backing->magazines;
    struct fli_chain collecting;
    struct fli_merge merge;
    fli_assert_held(&deferred->lock);
    fli_merge_begin(&merge, deferred->backing, &deferred->collecting, &deferred->counters);
    fli_chain_begin(&collecting, fli_stack_take_all_mpmc(&deferred->collecting, &deferred->counters));
    for (struct fli_magazine *magazine; (magazine = fli_chain_take(&collecting, magazines)) != NULL;)
        fli_merge_put(&merge, magazine);
    fli_merge_end(&merge);
    note_gathered(deferred, merge.passed);
}

/* ---- Release. */

/* Sends the blocks of a magazine home, and leaves those of busy homes in it. */
FLI_COLD static void send_home(struct fli_deferred *deferred, struct fli_magazine *magazine, unsigned class_index,
                               size_t count)
{
    struct fli_backing *backing = deferred->backing;
    void **blocks = fli_magazine_floor(magazine, capacity_of(backing, class_index));
    unsigned left = fli_homes_return(&backing->homes, class_index, blocks, (unsigned)count, false,
                                     &deferred->counters);
    fli_store_own(&magazine->count, (uint16_t)left);
}

/* Releases a magazine. Returns the bytes. */
static size_t release_magazine(struct fli_deferred *deferred, struct fli_magazine *magazine, struct fli_merge *merge)
{
    unsigned class_index = magazine->class_index, capacity = capacity_of(deferred->backing, class_index);
    size_t count = fli_load_own(&magazine->count);
    size_t bytes = count_out(deferred, class_index, count, count * fli_class_bytes(class_index));
    if (FLI_UNLIKELY(deferred->backing->slabs.hardened))
        fli_state_release(&deferred->backing->slabs, class_index, fli_magazine_floor(magazine, capacity), count);
    if (FLI_CHECKED || deferred->backing->slabs.watched)
        for (size_t i = 0; i < count; i++)
            fli_block_poison(&deferred->backing->slabs, class_index, fli_magazine_floor(magazine, capacity)[i]);
    if (FLI_UNLIKELY(deferred->backing->slabs.hardened)) /* where they are some of many */
        send_home(deferred, magazine, class_index, count);
    fli_merge_put(merge, magazine);
    return bytes;
}

/* Releases the batch's magazines. Returns the bytes. */
static size_t release_magazines(struct fli_deferred *deferred)
{
    struct fli_magazines *magazines = &deferred->backing->magazines;
    struct fli_merge merge;
    size_t bytes = 0;
    fli_merge_begin(&merge, deferred->backing, NULL, &deferred->counters);
    for (struct fli_magazine *magazine; (magazine = fli_chain_take(&deferred->waiting, magazines)) != NULL;)
        bytes += release_magazine(deferred, magazine, &merge);
    fli_merge_end(&merge);
    return bytes;
}

/* Sends home the blocks of a slab that are marked and have waited, unless its home is busy. Returns their bytes. */
static size_t release_slab(struct fli_deferred *deferred, uint32_t slab)
{
    struct fli_backing *backing = deferred->backing;
    const struct fli_slab *record = fli_slab_at(&backing->slabs, slab);
    uint64_t bits[FLI_SLAB_BIT_WORDS];
    /* A slab with deferred blocks has a home, which may change until its lock is held. */
    struct fli_home *home = fli_home_of_slab(record);
    size_t bytes = 0;
    if (home == NULL || !fli_home_try_briefly(home))
        return 0;
    if (fli_home_of_slab(record) == home) {
        unsigned class_index = record->class_index, count = fli_mark_take(&backing->slabs, slab, bits);
        if (FLI_UNLIKELY(backing->slabs.hardened))
            fli_state_release_marked(&backing->slabs, class_index, slab, bits);
        fli_deliver_bits(&backing->homes, home, slab, bits);
        bytes = count_out(deferred, class_index, count, count * fli_class_bytes(class_index));
    }
    fli_home_unlock(home);
    return bytes;
}

/* Releases the marked blocks. Marks in slabs whose homes are busy wait for the next step. Returns the bytes. */
static size_t release_marks(struct fli_deferred *deferred)
{
    struct fli_slabs *slabs = &deferred->backing->slabs;
    size_t blocks, bytes = 0;
    for (uint32_t slab = 1; slab <= fli_slab_committed(slabs) && fli_mark_count_waiting(slabs) > 0; slab++)
        bytes += release_slab(deferred, slab);
    size_t of_large = fli_large_release_deferred(&deferred->backing->large, &blocks);
    deferred->has_waiting_marks = fli_mark_count_waiting(slabs) > 0;
    return bytes + count_out(deferred, 0, blocks, of_large);
}

/* ---- Batches. */

static bool close_batch(void *owner)
{
    struct fli_deferred *deferred = owner;
    struct fli_backing *backing = deferred->backing;
    fli_chain_begin(&deferred->waiting, fli_stack_take_all_mpmc(&deferred->collecting, &deferred->counters));
    note_gathered(deferred, 0);
    if (fli_load_hint(&deferred->has_marks)) {
        fli_store_hint(&deferred->has_marks, false);
        size_t marks = fli_mark_close(&backing->slabs) + fli_large_close_deferred(&backing->large);
        deferred->has_waiting_marks = marks > 0;
    }
    relieve_locked(deferred);
    return fli_chain_first(&deferred->waiting, &backing->magazines) != NULL || deferred->has_waiting_marks;
}

static bool release_batch(void *owner, size_t *bytes)
{
    struct fli_deferred *deferred = owner;
    *bytes += release_magazines(deferred);
    if (deferred->has_waiting_marks)
        *bytes += release_marks(deferred);
    relieve_locked(deferred);
    return !deferred->has_waiting_marks;
}

/* A refused batch stays: deferred blocks wait until a grace period can be had. */
static bool keep_batch(void *owner)
{
    (void)owner;
    return false;
}

static const struct fli_batch_calls calls = {.close = close_batch, .release = release_batch, .refuse = keep_batch};

void fli_deferred_init(struct fli_deferred *deferred, struct fli_backing *backing, const struct fli_grace *grace,
                       size_t bound)
{
    deferred->backing = backing;
    deferred->bound = bound;
    fli_stack_init(&deferred->collecting);
    note_gathered(deferred, 0);
    fli_mutex_init(&deferred->lock, FLI_RANK_DEFERRED);
    fli_batch_init(&deferred->batch, &calls, deferred, grace, &deferred->lock);
}

void fli_deferred_close(struct fli_deferred *deferred)
{
    fli_mutex_close(&deferred->lock);
}

/* Whether a step seems possible, seen without the lock. Other threads may take the step or prevent it meanwhile. */
static bool can_step(struct fli_deferred *deferred)
{
    if (fli_deferred_has_pressure(deferred))
        return true;
    if (!fli_deferred_is_waiting(deferred))
        return fli_load_hint(&deferred->has_marks) || fli_stack_top(&deferred->collecting) != 0;
    return fli_batch_may_advance(&deferred->batch);
}

size_t fli_deferred_advance(struct fli_deferred *deferred)
{
    bool steps = can_step(deferred);
    if ((!steps && !fli_deferred_may_gather(deferred)) || !fli_trylock(&deferred->lock))
        return 0;
    size_t released = steps ? fli_batch_advance_locked(&deferred->batch) : 0;
    if (FLI_UNLIKELY(fli_deferred_may_gather(deferred)))
        gather_locked(deferred);
    fli_unlock(&deferred->lock);
    return released;
}

size_t fli_deferred_help(struct fli_deferred *deferred, unsigned milliseconds)
{
    size_t released = fli_deferred_advance(deferred);
    if (fli_deferred_is_waiting(deferred) && fli_batch_wait(&deferred->batch, milliseconds))
        released += fli_deferred_advance(deferred);
    return released;
}

int fli_deferred_drain(struct fli_deferred *deferred, void (*wait)(void *context, int64_t token), void *context)
{
    size_t bytes = 0;
    return fli_batch_drain(&deferred->batch, wait, context, &bytes);
}

/* ---- fork */

static void recount_chain(struct fli_deferred *deferred, struct fli_chain *chain)
{
    const struct fli_magazines *magazines = &deferred->backing->magazines;
    struct fli_magazine *magazine = fli_chain_first(chain, magazines);
    for (; magazine != NULL; magazine = fli_chain_behind(magazine, magazines)) {
        size_t count = fli_load_own(&magazine->count);
        fli_add_count(&deferred->blocks[magazine->class_index], count);
        fli_add_count(&deferred->bytes, count * fli_class_bytes(magazine->class_index));
    }
}

void fli_deferred_recount_stw(struct fli_deferred *deferred)
{
    struct fli_large *large = &deferred->backing->large;
    size_t counts[FL_CLASS_COUNT] = {0};
    fli_mark_count_stw(&deferred->backing->slabs, counts);
    counts[0] = large->deferred[0] + large->deferred[1];
    size_t bytes = large->deferred_bytes[0] + large->deferred_bytes[1];
    for (unsigned c = 0; c < FL_CLASS_COUNT; c++) {
        fli_store_own(&deferred->blocks[c], counts[c]);
        bytes += c != 0 ? counts[c] * fli_class_bytes(c) : 0;
    }
    fli_store_own(&deferred->bytes, bytes);
    fli_store_hint(&deferred->has_marks, true);
    fli_batch_wait_anew_stw(&deferred->batch);
    struct fli_chain collecting;
    fli_chain_begin(&collecting, fli_stack_top(&deferred->collecting));
    recount_chain(deferred, &deferred->waiting);
    recount_chain(deferred, &collecting);
}
