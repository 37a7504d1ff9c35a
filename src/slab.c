/* SPDX-License-Identifier: MIT
 *
 * Committing, carving, parking and retiring slabs. One lock per heap serialises all that changes a slab's state; it
 * is taken once for a magazine's worth of blocks.
 */
#include "slab.h"
#include "check.h"
#include "sanitizer.h"

#include <errno.h>
#include <string.h>

enum { COMMIT_SLABS = 64 }; /* slabs committed at a time, at least */

/* Adjacent slabs whose memory goes back in one call, at most: long enough that the call's own cost is lost in that of
 * the pages, short enough for whoever waits to map memory meanwhile. */
enum { RUN_SLABS_MOST = 32 };

static size_t slab_count(size_t span)
{
    return span >> FLI_SLAB_SHIFT;
}

static size_t bit_bytes(size_t slabs)
{
    return slabs * FLI_SLAB_BIT_WORDS * sizeof(uint64_t);
}

size_t fli_slabs_metadata_bytes(size_t span)
{
    size_t count = slab_count(span);
    return fli_round_up(count, FLI_PAGE) + fli_round_up(count * sizeof(struct fli_slab), FLI_PAGE) +
           4 * fli_round_up(bit_bytes(count), FLI_PAGE);
}

static char *lay_out(struct fli_region *region, char *at, size_t bytes)
{
    *region = (struct fli_region){.base = at, .reserved = fli_round_up(bytes, FLI_PAGE)};
    return at + region->reserved;
}

int fli_slabs_init(struct fli_slabs *slabs, char *base, size_t span, struct fli_limit *limit, bool defers)
{
    size_t count = slab_count(span);
    char *at = lay_out(&slabs->memory, base, span);
    at = lay_out(&slabs->class_bytes, at, count);
    at = lay_out(&slabs->slab_records, at, count * sizeof(struct fli_slab));
    at = lay_out(&slabs->parked_words, at, bit_bytes(count));
    for (unsigned batch = 0; batch < 2; batch++) {
        at = lay_out(&slabs->deferred_words[batch], at, bit_bytes(count));
        slabs->deferred_bits[batch] = (void *)slabs->deferred_words[batch].base;
    }
    lay_out(&slabs->live_words, at, bit_bytes(count));

    slabs->base = base;
    slabs->span = span;
    slabs->classes = (void *)slabs->class_bytes.base;
    slabs->slabs = (void *)slabs->slab_records.base;
    slabs->parked_bits = (void *)slabs->parked_words.base;
    slabs->live_bits = (void *)slabs->live_words.base;
    slabs->limit = limit;
    slabs->defers = defers;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        size_t bytes = fli_class_bytes(c);
        slabs->by_class[c].block_bytes = bytes;
        slabs->by_class[c].reciprocal = (uint32_t)((((uint64_t)1 << 32) + bytes - 1) / bytes);
    }
    pthread_mutex_init(&slabs->lock, NULL);
    /* Every class byte is readable from the start, so that any address in the range can be looked up. */
    return fli_region_reach(&slabs->class_bytes, count, 0);
}

void fli_slabs_close(struct fli_slabs *slabs)
{
    fli_region_close(&slabs->memory);
    fli_region_close(&slabs->class_bytes);
    fli_region_close(&slabs->slab_records);
    fli_region_close(&slabs->parked_words);
    fli_region_close(&slabs->deferred_words[0]);
    fli_region_close(&slabs->deferred_words[1]);
    fli_region_close(&slabs->live_words);
    pthread_mutex_destroy(&slabs->lock);
}

static int commit_bits_locked(struct fli_region *words, size_t count, size_t ahead, bool wanted)
{
    return wanted ? fli_region_reach(words, bit_bytes(count), bit_bytes(ahead)) : 0;
}

/* Commits the memory of the next slab and of its metadata, and of some more. */
static int commit_locked(struct fli_slabs *slabs)
{
    size_t count = (size_t)slabs->committed + 1;
    size_t ahead = fli_max(COMMIT_SLABS, slabs->committed / 8);
    if (count > slab_count(slabs->span) ||
        fli_region_reach(&slabs->slab_records, count * sizeof(struct fli_slab), ahead * sizeof(struct fli_slab)) !=
            0 ||
        commit_bits_locked(&slabs->parked_words, count, ahead, true) != 0 ||
        commit_bits_locked(&slabs->deferred_words[0], count, ahead, slabs->defers) != 0 ||
        commit_bits_locked(&slabs->deferred_words[1], count, ahead, slabs->defers) != 0 ||
        commit_bits_locked(&slabs->live_words, count, ahead, FLI_CHECKED) != 0)
        return -ENOMEM;
    return fli_region_reach(&slabs->memory, count << FLI_SLAB_SHIFT, ahead << FLI_SLAB_SHIFT);
}

static uint64_t bit_mask(uint32_t block)
{
    return (uint64_t)1 << (block % 64);
}

/* ---- The lists of a class. */

static struct fli_slab *slab_at(struct fli_slabs *slabs, uint32_t slab)
{
    return &slabs->slabs[slab - 1];
}

static void link_locked(struct fli_slabs *slabs, struct fli_slab_class *class, uint32_t slab, enum fli_slab_list list)
{
    struct fli_slab *record = slab_at(slabs, slab);
    record->list = (uint16_t)list;
    record->previous = 0;
    record->next = class->lists[list];
    if (record->next != 0)
        slab_at(slabs, record->next)->previous = slab;
    class->lists[list] = slab;
}

static void unlink_locked(struct fli_slabs *slabs, struct fli_slab_class *class, uint32_t slab)
{
    struct fli_slab *record = slab_at(slabs, slab);
    if (record->previous != 0)
        slab_at(slabs, record->previous)->next = record->next;
    else
        class->lists[record->list] = record->next;
    if (record->next != 0)
        slab_at(slabs, record->next)->previous = record->previous;
}

/* Moves a slab to the list where its counts say it belongs. */
static void place_locked(struct fli_slabs *slabs, struct fli_slab_class *class, uint32_t slab)
{
    const struct fli_slab *record = slab_at(slabs, slab);
    enum fli_slab_list list = FLI_SLABS_PARTLY;
    if (record->parked == 0)
        list = FLI_SLABS_BUSY;
    else if (record->parked == record->carved)
        list = FLI_SLABS_FREE;
    if (list != (enum fli_slab_list)record->list) {
        unlink_locked(slabs, class, slab);
        link_locked(slabs, class, slab, list);
    }
}

/* ---- Carving. */

static uint32_t take_idle_locked(struct fli_slabs *slabs, struct fli_idle_slabs *idle)
{
    uint32_t slab = idle->first;
    if (slab != 0) {
        idle->first = slab_at(slabs, slab)->next;
        idle->count--;
    }
    return slab;
}

static void keep_idle_locked(struct fli_slabs *slabs, struct fli_idle_slabs *idle, uint32_t slab)
{
    *slab_at(slabs, slab) = (struct fli_slab){.next = idle->first};
    idle->first = slab;
    idle->count++;
}

/* A slab that counts as one without memory: kept, cold, or the next of the range. Returns number + 1, or 0. */
static uint32_t warm_up_locked(struct fli_slabs *slabs)
{
    if (!fli_limit_take(slabs->limit, FLI_SLAB_BYTES))
        return 0;
    struct fli_idle_slabs *idle = slabs->kept.count > 0 ? &slabs->kept : &slabs->cold;
    if (idle->count == 0 && commit_locked(slabs) != 0) {
        fli_limit_give(slabs->limit, FLI_SLAB_BYTES);
        return 0;
    }
    if (idle->count == 0)
        return ++slabs->committed;
    slabs->reused_bytes += FLI_SLAB_BYTES;
    return take_idle_locked(slabs, idle);
}

/* A slab without a class. Returns number + 1, or 0. */
static uint32_t obtain_locked(struct fli_slabs *slabs)
{
    uint32_t slab = take_idle_locked(slabs, &slabs->warm);
    if (slab == 0)
        return warm_up_locked(slabs);
    slabs->reused_bytes += FLI_SLAB_BYTES;
    return slab;
}

/* Gives the class a fresh slab to carve. */
static bool begin_slab_locked(struct fli_slabs *slabs, unsigned class_index)
{
    struct fli_slab_class *class = &slabs->by_class[class_index];
    uint32_t slab = obtain_locked(slabs);
    if (slab == 0)
        return false;
    *slab_at(slabs, slab) = (struct fli_slab){
        .blocks = (uint16_t)fli_min(FLI_SLAB_BYTES / class->block_bytes, FLI_SLAB_BLOCKS_MAX)};
    link_locked(slabs, class, slab, FLI_SLABS_BUSY);
    class->carving = slab;
    class->slabs++;
    FLI_ATOMIC(uint64_t) *used = &slabs->ever_used[class_index / 64];
    fli_store_relaxed(used, fli_load_relaxed(used) | bit_mask(class_index)); /* relaxed: a hint where to look */
    if (FLI_CHECKED)
        fli_poison(fli_slab_start(slabs, slab - 1), FLI_SLAB_BYTES);
    /* Relaxed: blocks of the slab reach other threads through the pool or through the host, both of which order. */
    fli_store_relaxed(&slabs->classes[slab - 1], (uint8_t)class_index);
    return true;
}

unsigned fli_slab_carve(struct fli_slabs *slabs, unsigned class_index, unsigned count, void **blocks)
{
    struct fli_slab_class *class = &slabs->by_class[class_index];
    pthread_mutex_lock(&slabs->lock);
    unsigned done = 0;
    if (class->carving != 0 || begin_slab_locked(slabs, class_index)) {
        uint32_t slab = class->carving;
        struct fli_slab *record = slab_at(slabs, slab);
        char *next = fli_slab_start(slabs, slab - 1) + record->carved * class->block_bytes;
        done = (unsigned)fli_min(count, (size_t)(record->blocks - record->carved));
        for (unsigned i = done; i-- > 0; next += class->block_bytes)
            blocks[i] = next;
        record->carved = (uint16_t)(record->carved + done);
        class->carved += done;
        fli_count(&slabs->carved_bytes, done * class->block_bytes);
        place_locked(slabs, class, slab);
        if (record->carved == record->blocks)
            class->carving = 0;
    }
    pthread_mutex_unlock(&slabs->lock);
    return done;
}

/* ---- Parking. */

static size_t word_index(uint32_t number, uint32_t block)
{
    return (size_t)number * FLI_SLAB_BIT_WORDS + block / 64;
}

static unsigned words_of(const struct fli_slab *record)
{
    return (record->blocks + 63u) / 64;
}

/* Changes the counts of parked blocks. */
static void count_parked_locked(struct fli_slabs *slabs, struct fli_slab_class *class, uint32_t slab, int change)
{
    struct fli_slab *record = slab_at(slabs, slab);
    record->parked = (uint16_t)(record->parked + change);
    fli_count(&class->parked, (size_t)change);
    fli_count(&slabs->parked_bytes, (size_t)change * class->block_bytes);
    place_locked(slabs, class, slab);
}

/* Whether a pointer is a block of the class, as far as its slab can tell: inline calls take it for one unseen. Finds which
 * block it is. The low half of the product is below the reciprocal just where the division leaves no rest. */
static inline bool find_block_locked(const struct fli_slabs *slabs, unsigned class_index, const void *block,
                                     uint32_t *number, uint32_t *index)
{
    size_t offset = fli_slab_offset(slabs, block);
    uint32_t reciprocal = slabs->by_class[class_index].reciprocal;
    uint64_t product = (offset & (FLI_SLAB_BYTES - 1)) * reciprocal;
    *number = (uint32_t)(offset >> FLI_SLAB_SHIFT), *index = (uint32_t)(product >> 32);
    /* Relaxed: under the lock. */
    if (FLI_UNLIKELY(offset >= slabs->span || fli_load_relaxed(&slabs->classes[*number]) != class_index))
        return false;
    const struct fli_slab *record = &slabs->slabs[*number];
    bool has_rest = (uint32_t)product >= reciprocal, is_carved = *index < record->carved;
    return FLI_LIKELY(!has_rest & is_carved & (record->list < FLI_SLAB_LISTS));
}

FLI_COLD static void note_stray_locked(struct fli_slabs *slabs, unsigned class_index, const void *block,
                                       bool was_free)
{
    if (slabs->stray_count < FLI_STRAYS_MOST)
        slabs->strays[slabs->stray_count++] = (struct fli_stray){block, (uint8_t)class_index, was_free, 0};
    else
        slabs->strays[FLI_STRAYS_MOST - 1].others++;
    fli_store_relaxed(&slabs->has_strays, true); /* relaxed: a hint */
}

/* Parks a block in its slab, and leaves the counts of the class to the caller. Returns false for a stray. */
static inline bool park_locked(struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    uint32_t number, index;
    uint64_t *word = NULL;
    if (find_block_locked(slabs, class_index, block, &number, &index))
        word = &slabs->parked_bits[word_index(number, index)];
    if (FLI_UNLIKELY(word == NULL || (*word & bit_mask(index)) != 0)) {
        note_stray_locked(slabs, class_index, block, word != NULL);
        return false;
    }
    struct fli_slab *record = &slabs->slabs[number];
    *word |= bit_mask(index);
    record->parked++;
    /* Blocks come in the order in which they were freed, mostly from another slab than the one before. Only the first
     * and the last to be parked of a slab move it to another list. */
    if (FLI_UNLIKELY(record->parked == 1 || record->parked == record->carved))
        place_locked(slabs, &slabs->by_class[class_index], number + 1);
    return true;
}

void fli_slab_park(struct fli_slabs *slabs, unsigned class_index, unsigned count, void *const *blocks)
{
    struct fli_slab_class *class = &slabs->by_class[class_index];
    size_t parked = 0;
    pthread_mutex_lock(&slabs->lock);
    for (unsigned i = 0; i < count; i++)
        parked += park_locked(slabs, class_index, blocks[i]);
    fli_count(&class->parked, parked);
    fli_count(&slabs->parked_bytes, parked * class->block_bytes);
    pthread_mutex_unlock(&slabs->lock);
}

/* Takes up to `count` parked blocks of one slab, highest address first. */
static unsigned unpark_slab_locked(struct fli_slabs *slabs, struct fli_slab_class *class, uint32_t slab,
                                   unsigned count, void **blocks)
{
    char *start = fli_slab_start(slabs, slab - 1);
    unsigned done = 0;
    for (unsigned w = words_of(slab_at(slabs, slab)); w-- > 0 && done < count;) {
        uint64_t *word = &slabs->parked_bits[word_index(slab - 1, w * 64)];
        while (*word != 0 && done < count) {
            unsigned bit = 63u - (unsigned)__builtin_clzll(*word);
            *word &= ~bit_mask(bit);
            blocks[done++] = start + (w * 64 + bit) * class->block_bytes;
        }
    }
    count_parked_locked(slabs, class, slab, -(int)done);
    return done;
}

unsigned fli_slab_unpark(struct fli_slabs *slabs, unsigned class_index, unsigned count, void **blocks)
{
    struct fli_slab_class *class = &slabs->by_class[class_index];
    unsigned done = 0;
    pthread_mutex_lock(&slabs->lock);
    while (done < count) {
        uint32_t slab = class->lists[FLI_SLABS_PARTLY];
        if (slab == 0)
            slab = class->lists[FLI_SLABS_FREE];
        if (slab == 0)
            break;
        done += unpark_slab_locked(slabs, class, slab, count - done, blocks + done);
    }
    slabs->reused_bytes += done * class->block_bytes;
    pthread_mutex_unlock(&slabs->lock);
    return done;
}

/* ---- Deferred blocks without a magazine. */

bool fli_slab_defer(struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    uint32_t number, index;
    pthread_mutex_lock(&slabs->lock);
    bool is_block = find_block_locked(slabs, class_index, block, &number, &index), is_new = false;
    if (is_block) {
        size_t place = word_index(number, index);
        uint64_t free = slabs->parked_bits[place] | slabs->deferred_bits[0][place] | slabs->deferred_bits[1][place];
        is_new = (free & bit_mask(index)) == 0;
        slabs->deferred_bits[slabs->collecting][place] |= is_new ? bit_mask(index) : 0;
        slabs->deferred[slabs->collecting] += is_new;
    }
    if (!is_new)
        note_stray_locked(slabs, class_index, block, is_block);
    pthread_mutex_unlock(&slabs->lock);
    return is_new;
}

size_t fli_slab_close_deferred(struct fli_slabs *slabs)
{
    pthread_mutex_lock(&slabs->lock);
    size_t waiting = slabs->deferred[slabs->collecting];
    slabs->collecting ^= 1;
    FLI_ASSERT(slabs->deferred[slabs->collecting] == 0);
    pthread_mutex_unlock(&slabs->lock);
    return waiting;
}

/* Parks the blocks of a slab that wait. Those that have been freed again meanwhile are parked already, or their slab is
 * retired. Returns how many waited. */
static unsigned release_slab_locked(struct fli_slabs *slabs, unsigned class_index, uint32_t number)
{
    const struct fli_slab *record = &slabs->slabs[number];
    uint64_t *waiting = &slabs->deferred_bits[slabs->collecting ^ 1][word_index(number, 0)];
    uint64_t *parked = &slabs->parked_bits[word_index(number, 0)];
    const char *start = fli_slab_start(slabs, number);
    size_t bytes = slabs->by_class[class_index].block_bytes;
    unsigned count = 0, fresh = 0;
    for (unsigned w = 0; w < words_of(record); w++) {
        uint64_t twice = waiting[w] & (record->list < FLI_SLAB_LISTS ? parked[w] : UINT64_MAX);
        count += (unsigned)__builtin_popcountll(waiting[w]);
        fresh += (unsigned)__builtin_popcountll(waiting[w] & ~twice);
        parked[w] |= waiting[w] & ~twice;
        waiting[w] = 0;
        for (; twice != 0; twice &= twice - 1)
            note_stray_locked(slabs, class_index, start + (w * 64 + (size_t)__builtin_ctzll(twice)) * bytes, true);
    }
    if (fresh > 0)
        count_parked_locked(slabs, &slabs->by_class[class_index], number + 1, (int)fresh);
    return count;
}

void fli_slab_release_deferred(struct fli_slabs *slabs, size_t *counts)
{
    pthread_mutex_lock(&slabs->lock);
    size_t *waiting = &slabs->deferred[slabs->collecting ^ 1];
    for (uint32_t number = 0; number < slabs->committed && *waiting != 0; number++) {
        unsigned class_index = fli_load_relaxed(&slabs->classes[number]); /* relaxed: under the lock */
        unsigned count = class_index != 0 ? release_slab_locked(slabs, class_index, number) : 0;
        counts[class_index] += count;
        *waiting -= count;
    }
    pthread_mutex_unlock(&slabs->lock);
}

void fli_slab_count_deferred_stw(struct fli_slabs *slabs, size_t *counts)
{
    bool any = slabs->deferred[0] + slabs->deferred[1] > 0;
    for (uint32_t number = 0; any && number < slabs->committed; number++) {
        unsigned class_index = fli_load_relaxed(&slabs->classes[number]); /* relaxed: no other thread runs */
        for (unsigned w = 0; w < words_of(&slabs->slabs[number]); w++)
            for (unsigned batch = 0; batch < 2; batch++)
                counts[class_index] += (size_t)__builtin_popcountll(
                    slabs->deferred_bits[batch][word_index(number, w * 64)]);
    }
}

void fli_slab_poison(struct fli_slabs *slabs, unsigned class_index, void *block)
{
    size_t bytes = slabs->by_class[class_index].block_bytes;
    size_t kept = fli_min(fli_round_up(slabs->stale_bytes, 16), bytes);
    fli_poison((char *)block + kept, bytes - kept);
}

/* ---- Giving memory back. */

uint32_t fli_slab_retire(struct fli_slabs *slabs, unsigned class_index, unsigned *blocks)
{
    struct fli_slab_class *class = &slabs->by_class[class_index];
    pthread_mutex_lock(&slabs->lock);
    uint32_t slab = class->lists[FLI_SLABS_FREE];
    if (slab != 0) {
        struct fli_slab *record = slab_at(slabs, slab);
        *blocks = record->carved;
        unlink_locked(slabs, class, slab);
        record->list = FLI_SLAB_LISTS;
        if (class->carving == slab)
            class->carving = 0;
        class->slabs--;
        class->carved -= record->carved;
        fli_count(&slabs->carved_bytes, (size_t)-record->carved * class->block_bytes);
        fli_count(&class->parked, (size_t)-record->parked);
        fli_count(&slabs->parked_bytes, (size_t)-record->parked * class->block_bytes);
        memset(&slabs->parked_bits[word_index(slab - 1, 0)], 0, words_of(record) * sizeof(uint64_t));
        record->parked = 0;
        record->next = 0;
        fli_count(&slabs->retired, 1);
    }
    pthread_mutex_unlock(&slabs->lock);
    return slab;
}

/* Sets the bits of all blocks that were carved. */
static void park_all_locked(struct fli_slabs *slabs, uint32_t slab)
{
    uint64_t *words = &slabs->parked_bits[word_index(slab - 1, 0)];
    for (uint32_t index = 0; index < slab_at(slabs, slab)->carved; index++)
        words[index / 64] |= bit_mask(index);
}

void fli_slab_unretire(struct fli_slabs *slabs, uint32_t first)
{
    pthread_mutex_lock(&slabs->lock);
    for (uint32_t slab = first, next; slab != 0; slab = next) {
        struct fli_slab *record = slab_at(slabs, slab);
        /* Relaxed: written under the lock. */
        struct fli_slab_class *class = &slabs->by_class[fli_load_relaxed(&slabs->classes[slab - 1])];
        next = record->next;
        class->slabs++;
        class->carved += record->carved;
        fli_count(&slabs->carved_bytes, record->carved * class->block_bytes);
        park_all_locked(slabs, slab);
        link_locked(slabs, class, slab, FLI_SLABS_FREE);
        count_parked_locked(slabs, class, slab, record->carved);
        fli_count(&slabs->retired, (uint32_t)-1);
    }
    pthread_mutex_unlock(&slabs->lock);
}

/* Merges two lists of slabs, each with the highest number first, into one. */
static uint32_t merge(struct fli_slabs *slabs, uint32_t a, uint32_t b)
{
    uint32_t first = 0, *link = &first;
    while (a != 0 && b != 0) {
        uint32_t *higher = a > b ? &a : &b;
        *link = *higher;
        link = &slab_at(slabs, *higher)->next;
        *higher = *link;
    }
    *link = a != 0 ? a : b;
    return first;
}

/* Sorts a list of slabs, the highest number first: a merge sort, where sorted[i] has 2^i slabs or none. */
static uint32_t sort(struct fli_slabs *slabs, uint32_t first)
{
    uint32_t sorted[32] = {0}, all = 0;
    while (first != 0) {
        uint32_t list = first;
        first = slab_at(slabs, list)->next;
        slab_at(slabs, list)->next = 0;
        unsigned i = 0;
        for (; sorted[i] != 0; sorted[i++] = 0)
            list = merge(slabs, sorted[i], list);
        sorted[i] = list;
    }
    for (unsigned i = 0; i < 32; i++)
        all = merge(slabs, sorted[i], all);
    return all;
}

static void lose_class_locked(struct fli_slabs *slabs, struct fli_idle_slabs *idle, uint32_t slab)
{
    /* Relaxed: nobody holds a block of the slab whose class could matter to him. */
    fli_store_relaxed(&slabs->classes[slab - 1], 0);
    keep_idle_locked(slabs, idle, slab);
    fli_count(&slabs->retired, (uint32_t)-1);
}

/* Makes the first of a list of retired slabs warm ones, as long as there are fewer than `most`; of those that there
 * were already, retires the ones beyond `most` again. Returns the list of what is still retired. */
static uint32_t make_warm(struct fli_slabs *slabs, uint32_t first, size_t most)
{
    uint32_t slab;
    pthread_mutex_lock(&slabs->lock);
    while ((slab = first) != 0 && slabs->warm.count < most) {
        first = slab_at(slabs, slab)->next;
        lose_class_locked(slabs, &slabs->warm, slab);
    }
    while (slabs->warm.count > most) {
        slab = take_idle_locked(slabs, &slabs->warm);
        slab_at(slabs, slab)->next = first;
        first = slab;
        fli_count(&slabs->retired, 1);
    }
    pthread_mutex_unlock(&slabs->lock);
    return first;
}

static void end_retirement(struct fli_slabs *slabs, struct fli_idle_slabs *idle, uint32_t number, uint32_t count)
{
    pthread_mutex_lock(&slabs->lock);
    for (uint32_t slab = number + count; slab > number; slab--)
        lose_class_locked(slabs, idle, slab);
    pthread_mutex_unlock(&slabs->lock);
}

/* Makes the `count` retired slabs from `number` up cold ones. Those whose memory the system does not take are kept: they
 * can serve again all the same. Returns the bytes given back. */
static size_t make_run_cold(struct fli_slabs *slabs, uint32_t number, uint32_t count)
{
    size_t bytes = (size_t)count << FLI_SLAB_SHIFT, returned = 0;
    bool given = fli_os_decommit(fli_slab_start(slabs, number), bytes) == 0;
    if (given || count == 1) {
        end_retirement(slabs, given ? &slabs->cold : &slabs->kept, number, count);
        return given ? bytes : 0;
    }
    /* One locked page is enough for a refusal of all. */
    for (uint32_t i = count; i-- > 0;)
        returned += make_run_cold(slabs, number + i, 1);
    return returned;
}

/* Makes a list of retired slabs cold, adjacent ones together, and counts them. Returns the bytes given back. */
static size_t make_cold(struct fli_slabs *slabs, uint32_t first, size_t *count)
{
    size_t returned = 0;
    *count = 0;
    for (uint32_t slab = sort(slabs, first); slab != 0;) {
        uint32_t lowest = slab, run = 1, next;
        while ((next = slab_at(slabs, lowest)->next) == lowest - 1 && next != 0 && run < RUN_SLABS_MOST) {
            lowest = next;
            run++;
        }
        returned += make_run_cold(slabs, lowest - 1, run);
        *count += run;
        slab = next;
    }
    return returned;
}

size_t fli_slab_make_idle(struct fli_slabs *slabs, uint32_t first, size_t warm_most)
{
    size_t count, returned = make_cold(slabs, make_warm(slabs, first, warm_most), &count);
    fli_limit_give(slabs->limit, count << FLI_SLAB_SHIFT);
    return returned;
}

size_t fli_slab_give_kept(struct fli_slabs *slabs)
{
    pthread_mutex_lock(&slabs->lock);
    uint32_t first = slabs->kept.first;
    fli_count(&slabs->retired, slabs->kept.count);
    slabs->kept = (struct fli_idle_slabs){0, 0};
    pthread_mutex_unlock(&slabs->lock);
    size_t count;
    return make_cold(slabs, first, &count);
}

/* Whether the page of parked bits that begins with those of slab `number` has none set. */
static bool bits_page_is_clear_locked(const struct fli_slabs *slabs, uint32_t number, uint32_t end)
{
    for (uint32_t i = number; i < end; i++)
        if (slabs->slabs[i].parked > 0)
            return false;
    return true;
}

size_t fli_slab_trim_metadata(struct fli_slabs *slabs)
{
    const uint32_t slabs_per_page = FLI_PAGE / (FLI_SLAB_BIT_WORDS * sizeof(uint64_t));
    size_t bytes = 0;
    pthread_mutex_lock(&slabs->lock);
    for (uint32_t first = 0, end; first < slabs->committed; first = end + slabs_per_page) {
        for (end = first; end < slabs->committed; end += slabs_per_page)
            if (!bits_page_is_clear_locked(slabs, end, (uint32_t)fli_min(end + slabs_per_page, slabs->committed)))
                break;
        size_t run = (end - first) / slabs_per_page * FLI_PAGE;
        if (run > 0 && fli_os_decommit(&slabs->parked_bits[word_index(first, 0)], run) == 0)
            bytes += run;
    }
    pthread_mutex_unlock(&slabs->lock);
    return bytes;
}

/* ---- Questions about blocks. */

static FLI_ATOMIC(uint64_t) * live_word(const struct fli_slabs *slabs, const void *block, uint32_t index)
{
    return &slabs->live_bits[word_index(fli_slab_number(slabs, block), index)];
}

bool fli_slab_mark_live(struct fli_slabs *slabs, unsigned class_index, const void *block, bool live)
{
    uint32_t index = fli_slab_block_index(slabs, class_index, block);
    FLI_ATOMIC(uint64_t) *word = live_word(slabs, block, index);
    /* Relaxed: one bit tells two owners of the same block apart; nothing else is read because of it. */
    uint64_t old = live ? fli_or_relaxed(word, bit_mask(index)) : fli_and_relaxed(word, ~bit_mask(index));
    return (old & bit_mask(index)) != 0;
}

bool fli_slab_is_live(const struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    uint32_t index = fli_slab_block_index(slabs, class_index, block);
    return (fli_load_relaxed(live_word(slabs, block, index)) & bit_mask(index)) != 0; /* relaxed: as above */
}

bool fli_slab_is_parked(struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    uint32_t index = fli_slab_block_index(slabs, class_index, block);
    pthread_mutex_lock(&slabs->lock);
    uint64_t word = slabs->parked_bits[word_index(fli_slab_number(slabs, block), index)];
    pthread_mutex_unlock(&slabs->lock);
    return (word & bit_mask(index)) != 0;
}

bool fli_slab_is_deferred(struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    if (!slabs->defers)
        return false;
    uint32_t index = fli_slab_block_index(slabs, class_index, block);
    size_t place = word_index(fli_slab_number(slabs, block), index);
    pthread_mutex_lock(&slabs->lock);
    uint64_t word = slabs->deferred_bits[0][place] | slabs->deferred_bits[1][place];
    pthread_mutex_unlock(&slabs->lock);
    return (word & bit_mask(index)) != 0;
}

bool fli_slab_is_block(struct fli_slabs *slabs, unsigned class_index, const void *block)
{
    uint32_t index = fli_slab_block_index(slabs, class_index, block);
    uint32_t number = fli_slab_number(slabs, block);
    pthread_mutex_lock(&slabs->lock);
    bool carved = index < slabs->slabs[number].carved;
    pthread_mutex_unlock(&slabs->lock);
    return carved && fli_slab_start(slabs, number) + index * slabs->by_class[class_index].block_bytes == block;
}
