/* SPDX-License-Identifier: MIT
 *
 * The side table of large blocks: a hash table by address. Its lock is held for a look-up only, never over a call of
 * malloc or free, but for the one that enlarges the table. Deleting moves later entries up instead of leaving
 * tombstones, so freeing needs no memory.
 */
#include "large.h"
#include "check.h"

#include <stdlib.h>

enum { PLACES_FIRST = 64 };

void fli_large_init(struct fli_large *large, struct fli_limit *limit)
{
    *large = (struct fli_large){.limit = limit};
    pthread_mutex_init(&large->lock, NULL);
}

void fli_large_close(struct fli_large *large)
{
    for (size_t i = 0; i < large->places; i++)
        free(large->entries[i].block);
    free(large->entries);
    pthread_mutex_destroy(&large->lock);
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
    pthread_mutex_lock(&large->lock);
    bool room = 4 * (large->blocks + 1) <= 3 * large->places || grow_locked(large);
    if (room) {
        *find(large, block) = (struct fli_large_entry){.block = block, .size = size};
        large->blocks++;
        large->bytes += size;
    }
    pthread_mutex_unlock(&large->lock);
    return room;
}

/* Closes the gap at `place`: entries behind it that may not stay behind a free place move up. */
static void remove_locked(struct fli_large *large, size_t place)
{
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

bool fli_large_free(struct fli_large *large, void *block, bool sized, size_t size, size_t *actual)
{
    *actual = 0;
    pthread_mutex_lock(&large->lock);
    struct fli_large_entry *entry = large->places != 0 ? find(large, block) : NULL;
    if (entry != NULL && entry->block == block)
        *actual = entry->size;
    bool known = *actual != 0 && (!sized || size == *actual);
    if (known) {
        large->blocks--;
        large->bytes -= *actual;
        remove_locked(large, (size_t)(entry - large->entries));
    }
    pthread_mutex_unlock(&large->lock);
    if (known) {
        fli_limit_give(large->limit, *actual);
        free(block);
    }
    return known;
}

size_t fli_large_size(struct fli_large *large, const void *block)
{
    pthread_mutex_lock(&large->lock);
    size_t size = 0;
    if (large->places != 0 && block != NULL)
        size = find(large, block)->size;
    pthread_mutex_unlock(&large->lock);
    return size;
}
