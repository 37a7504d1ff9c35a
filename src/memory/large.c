/* SPDX-License-Identifier: MIT
 *
 * The side table of large blocks: a hash table by address. Its lock is held for a look-up only, never over a call of
 * malloc or free, but for the one that enlarges the table. Deleting moves later entries up instead of leaving
 * tombstones, so freeing needs no memory.
 */
#include "memory/large.h"
#include "base/check.h"
#include "base/lock.h"

#include <stdlib.h>

enum { PLACES_FIRST = 64 };

void fli_large_init(struct fli_large *large, struct fli_limit *limit)
{
    *large = (struct fli_large){.limit = limit};
    fli_mutex_init(&large->lock, FLI_RANK_MEMORY);
}

void fli_large_close(struct fli_large *large)
{
    for (size_t i = 0; i < large->places; i++)
        free(large->entries[i].block);
    free(large->entries);
    fli_mutex_close(&large->lock);
}

static size_t home(const struct fli_large *large, const void *block)
{
    /* Fibonacci hashing of the address. */
    return (size_t)(((uintptr_t)block >> 4) * 0x9e3779b97f4a7c15u >> 20) & (large->places - 1);
}

static size_t following(const struct fli_large *large, size_t place)
{
    return (place + 1) & (large->places - 1);
}

/* The block's entry, or the free place where it would go. The table is not full. */
static struct fli_large_entry *find(const struct fli_large *large, const void *block)
{
    size_t place = home(large, block);
    while (large->entries[place].block != NULL && large->entries[place].block != block)
        place = following(large, place);
    return &large->entries[place];
}

static bool grow_locked(struct fli_large *large)
{
    fli_assert_held(&large->lock);
    struct fli_large old = *large;
    size_t places = old.places == 0 ? PLACES_FIRST : 2 * old.places;
    struct fli_large_entry *entries = calloc(places, sizeof *entries);
    if (entries == NULL)
        return false;
    large->entries = entries;
    large->places = places;
    for (size_t i = 0; i < old.places; i++)
        if (old.entries[i].block != NULL)
            *find(large, old.entries[i].block) = old.entries[i];
    free(old.entries);
    return true;
}

static bool enter(struct fli_large *large, void *block, size_t size)
{
    fli_lock(&large->lock);
    size_t entries = large->blocks + large->deferred[0] + large->deferred[1];
    bool room = 4 * (entries + 1) <= 3 * large->places || grow_locked(large);
    if (room) {
        *find(large, block) = (struct fli_large_entry){.block = block, .size = size};
        large->blocks++;
        large->bytes += size;
    }
    fli_unlock(&large->lock);
    return room;
}

/* Closes the gap at `place`: entries behind it that may not stay behind a free place move up. */
static void remove_locked(struct fli_large *large, size_t place)
{
    fli_assert_held(&large->lock);
    for (size_t next = following(large, place); large->entries[next].block != NULL; next = following(large, next)) {
        size_t wanted = home(large, large->entries[next].block);
        bool reachable = place <= next ? place < wanted && wanted <= next : place < wanted || wanted <= next;
        if (!reachable) {
            large->entries[place] = large->entries[next];
            place = next;
        }
    }
    large->entries[place] = (struct fli_large_entry){0};
}

void *fli_large_alloc(struct fli_large *large, size_t size, bool zeroed)
{
    if (size > PTRDIFF_MAX || !fli_limit_take(large->limit, size))
        return NULL;
    void *block = zeroed ? calloc(1, size) : malloc(size);
    if (block == NULL || !enter(large, block, size)) {
        free(block);
        fli_limit_give(large->limit, size);
        return NULL;
    }
    return block;
}

/* Looks a live block up for its end. The entry is in `*found` if all is well. */
static enum fli_large_result look_up_locked(struct fli_large *large, const void *block, bool sized, size_t size,
                                            struct fli_large_entry **found)
{
    struct fli_large_entry *entry = large->places != 0 && block != NULL ? find(large, block) : NULL;
    *found = entry;
    if (entry == NULL || entry->block != block)
        return FLI_LARGE_UNKNOWN;
    if (entry->state != FLI_LARGE_LIVE)
        return FLI_LARGE_IS_DEFERRED;
    return sized && size != entry->size ? FLI_LARGE_WRONG_SIZE : FLI_LARGE_DONE;
}

/* Takes a live block out of the counts. Returns its size. */
static size_t uncount_locked(struct fli_large *large, const struct fli_large_entry *entry)
{
    fli_assert_held(&large->lock);
    large->blocks--;
    large->bytes -= entry->size;
    return entry->size;
}

enum fli_large_result fli_large_free(struct fli_large *large, void *block, bool sized, size_t size, size_t *actual)
{
    struct fli_large_entry *entry;
    fli_lock(&large->lock);
    enum fli_large_result result = look_up_locked(large, block, sized, size, &entry);
    *actual = result == FLI_LARGE_UNKNOWN ? 0 : entry->size;
    if (result == FLI_LARGE_DONE) {
        uncount_locked(large, entry);
        remove_locked(large, (size_t)(entry - large->entries));
    }
    fli_unlock(&large->lock);
    if (result == FLI_LARGE_DONE) {
        fli_limit_give(large->limit, *actual);
        free(block);
    }
    return result;
}

size_t fli_large_size(struct fli_large *large, const void *block)
{
    fli_lock(&large->lock);
    size_t size = 0;
    if (large->places != 0 && block != NULL) {
        const struct fli_large_entry *entry = find(large, block);
        size = entry->state == FLI_LARGE_LIVE ? entry->size : 0;
    }
    fli_unlock(&large->lock);
    return size;
}

/* ---- Deferred blocks. */

enum fli_large_result fli_large_defer(struct fli_large *large, void *block, bool sized, size_t size, size_t *actual)
{
    struct fli_large_entry *entry;
    fli_lock(&large->lock);
    enum fli_large_result result = look_up_locked(large, block, sized, size, &entry);
    *actual = result == FLI_LARGE_UNKNOWN ? 0 : entry->size;
    if (result == FLI_LARGE_DONE) {
        entry->state = FLI_LARGE_DEFERRED + large->collecting;
        large->deferred[large->collecting]++;
        large->deferred_bytes[large->collecting] += uncount_locked(large, entry);
    }
    fli_unlock(&large->lock);
    return result;
}

size_t fli_large_close_deferred(struct fli_large *large)
{
    fli_lock(&large->lock);
    size_t waiting = large->deferred[large->collecting];
    large->collecting ^= 1;
    FLI_ASSERT(large->deferred[large->collecting] == 0);
    fli_unlock(&large->lock);
    return waiting;
}

/* Takes one block that waits out of the table. `*place` is where the search goes on: what removing moves comes to lie
 * there or behind it. Returns NULL if none is left. */
static void *take_waiting(struct fli_large *large, size_t *place, size_t *size)
{
    void *block = NULL;
    fli_lock(&large->lock);
    unsigned batch = large->collecting ^ 1;
    if (*place >= large->places) /* the table has changed under the search */
        *place = 0;
    while (large->deferred[batch] > 0 && block == NULL) {
        struct fli_large_entry entry = large->entries[*place];
        if (entry.block != NULL && entry.state == FLI_LARGE_DEFERRED + batch) {
            block = entry.block;
            *size = entry.size;
            large->deferred[batch]--;
            large->deferred_bytes[batch] -= entry.size;
            remove_locked(large, *place);
        } else {
            *place = following(large, *place);
        }
    }
    fli_unlock(&large->lock);
    return block;
}

size_t fli_large_release_deferred(struct fli_large *large, size_t *blocks)
{
    size_t bytes = 0, place = 0, size;
    *blocks = 0;
    for (void *block; (block = take_waiting(large, &place, &size)) != NULL; bytes += size, ++*blocks) {
        fli_limit_give(large->limit, size);
        free(block);
    }
    return bytes;
}
