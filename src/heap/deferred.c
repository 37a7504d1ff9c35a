/* SPDX-License-Identifier: MIT
 *
 * Atomics are relaxed in this file: magazines come and go through stacks, which order (pool.h), and the rest are
 * numbers and hints, or words under the lock.
 */
#include "heap/deferred.h"
#include "base/check.h"
#include "base/sanitizer.h"
#include "memory/block.h"
#include "memory/mark.h"

#include <errno.h>

/* The errno value when all that can be said is that it is too early. */
enum { TOO_EARLY = -EAGAIN };

void fli_deferred_init(struct fli_deferred *deferred, struct fli_backing *backing, const struct fli_grace *grace,
                       size_t bound)
{
    deferred->backing = backing;
    deferred->grace = grace;
    deferred->bound = bound;
    fli_stack_init(&deferred->collecting);
    fli_mutex_init(&deferred->lock, FLI_RANK_DEFERRED);
}

void fli_deferred_close(struct fli_deferred *deferred)
{
    fli_mutex_close(&deferred->lock);
}

/* ---- Pressure. */

static void set_pressure(struct fli_deferred *deferred, bool on)
{
    __atomic_store_n(&deferred->pressure, on, __ATOMIC_RELAXED);
}

/* Adds to what has been submitted. Returns whether this has raised pressure. */
static bool count_in(struct fli_deferred *deferred, unsigned class_index, size_t blocks, size_t bytes)
{
    fli_add_relaxed(&deferred->blocks[class_index], blocks);
    size_t before = fli_add_relaxed(&deferred->bytes, bytes);
    /* A large block may be counted out before it is counted in: then the number has wrapped. */
    if (FLI_LIKELY(before + bytes <= deferred->bound || before > SIZE_MAX / 2))
        return false;
    fli_add_relaxed(&deferred->over_bytes, bytes);
    if (fli_deferred_has_pressure(deferred))
        return false;
    set_pressure(deferred, true);
    /* Two threads may both find that they have raised it: the host is told twice. */
    fli_add_relaxed(&deferred->pressures, 1);
    return true;
}

static void count_out(struct fli_deferred *deferred, unsigned class_index, size_t blocks, size_t bytes)
{
    fli_sub_relaxed(&deferred->blocks[class_index], blocks);
    fli_sub_relaxed(&deferred->bytes, bytes);
}

static void relieve_locked(struct fli_deferred *deferred)
{
    if (fli_deferred_has_pressure(deferred) && fli_load_relaxed(&deferred->bytes) <= deferred->bound / 2)
        set_pressure(deferred, false);
}

/* ---- A thread's magazines. */

/* A full magazine's top is where the next one begins. */
static struct fli_magazine *magazine_below(void **top)
{
    return (struct fli_magazine *)(((uintptr_t)top - 1) & ~(uintptr_t)(FLI_MAGAZINE_BYTES - 1));
}

struct fli_magazine *fli_deferred_magazine(void ***place)
{
    void **top = __atomic_load_n(place, __ATOMIC_RELAXED);
    return top != NULL ? magazine_below(top) : NULL;
}

static unsigned capacity_of(const struct fli_backing *backing, unsigned class_index)
{
    return backing->magazine_blocks[class_index];
}

size_t fli_deferred_unsubmitted(void ***place, unsigned class_index, const struct fli_backing *backing)
{
    void **top = __atomic_load_n(place, __ATOMIC_RELAXED);
    if (top == NULL)
        return 0;
    return (size_t)(top - fli_magazine_floor(magazine_below(top), capacity_of(backing, class_index)));
}

bool fli_deferred_submit_owner(struct fli_deferred *deferred, void ***place, unsigned class_index,
                               struct fli_owner *owner)
{
    struct fli_magazine *magazine = fli_deferred_magazine(place);
    if (magazine == NULL)
        return false;
    size_t count = fli_deferred_unsubmitted(place, class_index, deferred->backing);
    fli_store_relaxed(&magazine->count, (uint16_t)count);
    magazine->class_index = (uint16_t)class_index;
    __atomic_store_n(place, NULL, __ATOMIC_RELAXED);
    bool raised = count_in(deferred, class_index, count, count * fli_class_bytes(class_index));
    fli_stack_push_mpmc(&deferred->collecting, &deferred->backing->magazines, magazine, &owner->counters);
    return raised;
}

static bool mark(struct fli_deferred *deferred, unsigned class_index, const void *block)
{
    bool raised = count_in(deferred, class_index, 1, fli_class_bytes(class_index));
    if (FLI_UNLIKELY(!fli_mark_set(&deferred->backing->slabs, class_index, block)))
        count_out(deferred, class_index, 1, fli_class_bytes(class_index));
    fli_store_relaxed(&deferred->has_marks, true);
    return raised;
}

bool fli_deferred_put_owner(struct fli_deferred *deferred, void ***place, unsigned class_index, void *block,
                            struct fli_owner *owner)
{
    bool raised = false;
    if (fl_cache_is_full(*place)) {
        if (*place != NULL) {
            raised = fli_deferred_submit_owner(deferred, place, class_index, owner);
            fli_deferred_advance(deferred);
        }
        struct fli_magazine *empty = fli_cache_obtain_empty(deferred->backing, owner);
        if (empty == NULL) {
            bool by_mark = mark(deferred, class_index, block);
            fli_deferred_advance(deferred);
            return raised || by_mark;
        }
        __atomic_store_n(place, fli_magazine_floor(empty, capacity_of(deferred->backing, class_index)),
                         __ATOMIC_RELAXED);
    }
    fl_top_put(place, block);
    return raised;
}

bool fli_deferred_count_large(struct fli_deferred *deferred, size_t size)
{
    bool raised = count_in(deferred, 0, 1, size);
    fli_store_relaxed(&deferred->has_marks, true);
    fli_deferred_advance(deferred);
    return raised;
}

/* ---- Release. */

/* Part-full magazines being put together. */
struct merge {
    uint64_t has_partial[2];                      /* a bit per class */
    struct fli_magazine *partial[FL_CLASS_COUNT]; /* there, one magazine that is not full */
};

static void push(struct fli_deferred *deferred, struct fli_stack *stack, struct fli_magazine *magazine)
{
    fli_stack_push_mpmc(stack, &deferred->backing->magazines, magazine, &deferred->counters);
}

static void push_filled(struct fli_deferred *deferred, struct fli_magazine *magazine)
{
    push(deferred, &deferred->backing->pool.filled[magazine->class_index], magazine);
    fli_count(&deferred->counters.exchanges, 1);
}

/* Moves blocks from one magazine to another of the class, until that is full or this is empty. */
static void pour(struct fli_magazine *from, struct fli_magazine *to, unsigned capacity)
{
    uint16_t have = fli_load_relaxed(&from->count), there = fli_load_relaxed(&to->count);
    void **source = fli_magazine_floor(from, capacity), **target = fli_magazine_floor(to, capacity);
    while (have > 0 && there < capacity)
        target[there++] = source[--have];
    fli_store_relaxed(&from->count, have);
    fli_store_relaxed(&to->count, there);
}

/* Puts the blocks of part-full magazines together. */
static void merge_magazine(struct fli_deferred *deferred, struct fli_magazine *magazine, unsigned capacity,
                           struct merge *merge)
{
    unsigned class_index = magazine->class_index;
    struct fli_magazine **partial = &merge->partial[class_index];
    uint64_t *word = &merge->has_partial[class_index / 64], bit = (uint64_t)1 << class_index % 64;
    if ((*word & bit) == 0) {
        *word |= bit;
        *partial = magazine;
        return;
    }
    pour(*partial, magazine, capacity);
    if (fli_load_relaxed(&magazine->count) == capacity) {
        push_filled(deferred, magazine);
    } else {
        push(deferred, &deferred->backing->pool.empty, *partial);
        *partial = magazine;
    }
}

static void release_magazine(struct fli_deferred *deferred, struct fli_magazine *magazine, struct merge *merge)
{
    unsigned class_index = magazine->class_index, capacity = capacity_of(deferred->backing, class_index);
    size_t count = fli_load_relaxed(&magazine->count);
    count_out(deferred, class_index, count, count * fli_class_bytes(class_index));
    if (FLI_CHECKED)
        for (size_t i = 0; i < count; i++)
            fli_block_poison(&deferred->backing->slabs, class_index, fli_magazine_floor(magazine, capacity)[i]);
    if (FLI_LIKELY(count == capacity))
        push_filled(deferred, magazine);
    else
        merge_magazine(deferred, magazine, capacity, merge);
}

static void push_partial(struct fli_deferred *deferred, struct fli_magazine *partial)
{
    if (fli_load_relaxed(&partial->count) > 0)
        push_filled(deferred, partial);
    else
        push(deferred, &deferred->backing->pool.empty, partial);
}

static void release_magazines(struct fli_deferred *deferred)
{
    struct fli_magazines *magazines = &deferred->backing->magazines;
    struct merge merge;
    merge.has_partial[0] = merge.has_partial[1] = 0;
    for (uint32_t index = deferred->waiting; index != 0;) {
        struct fli_magazine *magazine = fli_magazine_at(magazines, index);
        index = fli_load_relaxed(&magazine->next);
        release_magazine(deferred, magazine, &merge);
    }
    for (unsigned word = 0; word < 2; word++)
        for (uint64_t left = merge.has_partial[word]; left != 0; left &= left - 1)
            push_partial(deferred, merge.partial[64 * word + (unsigned)__builtin_ctzll(left)]);
    deferred->waiting = 0;
}

/* Sends the blocks of a slab home that are marked and wait, if its home is not busy. */
static void release_slab(struct fli_deferred *deferred, uint32_t slab)
{
    struct fli_backing *backing = deferred->backing;
    const struct fli_slab *record = fli_slab_at(&backing->slabs, slab);
    uint64_t bits[FLI_SLAB_BIT_WORDS];
    /* A slab with deferred blocks has a home, which may change until its lock is held. */
    struct fli_home *home = fli_home_of_slab(record);
    if (home == NULL || !fli_home_try_briefly(home))
        return;
    if (fli_home_of_slab(record) == home) {
        unsigned class_index = record->class_index, count = fli_mark_take(&backing->slabs, slab, bits);
        fli_home_put_bits(&backing->homes, home, slab, bits);
        count_out(deferred, class_index, count, count * fli_class_bytes(class_index));
    }
    fli_home_unlock(home);
}

/* Releases what is marked. Marks in slabs whose homes are busy wait for the next step. */
static void release_marks(struct fli_deferred *deferred)
{
    struct fli_slabs *slabs = &deferred->backing->slabs;
    for (uint32_t slab = 1; slab <= fli_slab_committed(slabs) && fli_mark_count_waiting(slabs) > 0; slab++)
        release_slab(deferred, slab);
    size_t blocks;
    size_t bytes = fli_large_release_deferred(&deferred->backing->large, &blocks);
    count_out(deferred, 0, blocks, bytes);
    deferred->has_waiting_marks = fli_mark_count_waiting(slabs) > 0;
}

/* ---- Steps, under the lock. */

/* Everything that has been submitted becomes the batch. */
static void close_batch_locked(struct fli_deferred *deferred)
{
    fli_assert_held(&deferred->lock);
    deferred->waiting = fli_stack_take_all_mpmc(&deferred->collecting, &deferred->counters);
    if (fli_load_relaxed(&deferred->has_marks)) {
        fli_store_relaxed(&deferred->has_marks, false);
        size_t marks = fli_mark_close(&deferred->backing->slabs) +
                       fli_large_close_deferred(&deferred->backing->large);
        deferred->has_waiting_marks = marks > 0;
    }
    bool is_waiting = deferred->waiting != 0 || deferred->has_waiting_marks;
    deferred->batch += is_waiting;
    deferred->is_waiting = is_waiting;
    fli_store_relaxed(&deferred->token, 0);
}

/* Begins the batch's grace period unless it has begun. Returns whether it has. */
static bool begin_locked(struct fli_deferred *deferred)
{
    fli_assert_held(&deferred->lock);
    if (fli_load_relaxed(&deferred->token) != 0)
        return true;
    int64_t token = fli_grace_begin(deferred->grace);
    if (token > 0) {
        fli_store_relaxed(&deferred->token, token);
        fli_count(&deferred->grace_periods, 1);
        return true;
    }
    deferred->refusal = token < 0 ? (int)token : TOO_EARLY;
    fli_count(&deferred->grace_refusals, 1);
    return false;
}

/* Takes what steps can be taken. Returns whether anything was released. */
static bool advance_locked(struct fli_deferred *deferred)
{
    fli_assert_held(&deferred->lock);
    bool released = false;
    if (deferred->is_waiting && begin_locked(deferred) &&
        fli_grace_elapsed(deferred->grace, fli_load_relaxed(&deferred->token))) {
        release_magazines(deferred);
        if (deferred->has_waiting_marks)
            release_marks(deferred);
        deferred->is_waiting = deferred->has_waiting_marks;
        released = true;
    }
    if (!deferred->is_waiting) {
        close_batch_locked(deferred);
        if (deferred->is_waiting)
            begin_locked(deferred);
    }
    relieve_locked(deferred);
    return released;
}

/* Whether a step can be taken, as far as can be seen without the lock. Others may take it or make it impossible
 * meanwhile. */
static bool can_step(struct fli_deferred *deferred)
{
    if (fli_deferred_has_pressure(deferred))
        return true;
    if (!fli_deferred_is_waiting(deferred))
        return fli_load_relaxed(&deferred->has_marks) || fli_stack_top(&deferred->collecting) != 0;
    int64_t token = fli_load_relaxed(&deferred->token);
    return token == 0 || fli_grace_elapsed(deferred->grace, token);
}

bool fli_deferred_advance(struct fli_deferred *deferred)
{
    if (!can_step(deferred) || !fli_trylock(&deferred->lock))
        return false;
    int saved = errno;
    bool released = advance_locked(deferred);
    fli_unlock(&deferred->lock);
    errno = saved;
    return released;
}

/* ---- Waiting. */

bool fli_deferred_help(struct fli_deferred *deferred, unsigned milliseconds)
{
    bool released = fli_deferred_advance(deferred);
    int64_t token = fli_load_relaxed(&deferred->token);
    /* An implementation of the host's that can be waited for says not how long. */
    if (fli_deferred_is_waiting(deferred) && token != 0 && deferred->grace->wait_for != NULL &&
        fli_grace_wait(deferred->grace, token, milliseconds))
        released |= fli_deferred_advance(deferred);
    return released;
}

/* Takes what steps can be taken. `*token` is that of the batch that waits then, 0 if none does, and `*batch` its
 * number. Returns 0, or why it cannot be waited for. */
static int step(struct fli_deferred *deferred, int64_t *token, uint64_t *batch)
{
    fli_lock(&deferred->lock);
    advance_locked(deferred);
    bool is_waiting = deferred->is_waiting;
    *token = is_waiting ? fli_load_relaxed(&deferred->token) : 0;
    *batch = deferred->batch;
    int result = is_waiting && *token == 0 ? deferred->refusal : 0;
    fli_unlock(&deferred->lock);
    return result;
}

int fli_deferred_drain(struct fli_deferred *deferred, void (*wait)(void *context, int64_t token), void *context)
{
    int saved = errno;
    int64_t token;
    uint64_t batch, first = 0;
    int result;
    /* What has been submitted is in the batch that waits now or in the next one. */
    while ((result = step(deferred, &token, &batch)) == 0 && token != 0) {
        if (first == 0)
            first = batch;
        if (batch > first + 1)
            break;
        if (!fli_grace_can_wait(deferred->grace)) {
            result = TOO_EARLY;
            break;
        }
        wait(context, token);
    }
    errno = saved;
    return result;
}

/* ---- fork */

static void recount_list(struct fli_deferred *deferred, uint32_t index)
{
    while (index != 0) {
        const struct fli_magazine *magazine = fli_magazine_at(&deferred->backing->magazines, index);
        size_t count = fli_load_relaxed(&magazine->count);
        fli_add_relaxed(&deferred->blocks[magazine->class_index], count);
        fli_add_relaxed(&deferred->bytes, count * fli_class_bytes(magazine->class_index));
        index = fli_load_relaxed(&magazine->next);
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
        fli_store_relaxed(&deferred->blocks[c], counts[c]);
        bytes += c != 0 ? counts[c] * fli_class_bytes(c) : 0;
    }
    fli_store_relaxed(&deferred->bytes, bytes);
    fli_store_relaxed(&deferred->has_marks, true);
    if (deferred->grace->readers != NULL)
        fli_store_relaxed(&deferred->token, 0);
    recount_list(deferred, deferred->waiting);
    recount_list(deferred, fli_stack_top(&deferred->collecting));
}
