/* SPDX-License-Identifier: MIT */
#include "heap/site.h"

#include <string.h>

/* FNV-1a (G. Fowler, L. C. Noll, K.-P. Vo), a word at a time, and once more mixed because the low bits choose. */
static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x100000001b3u;
    return hash ^ hash >> 29;
}

static uint64_t hash_of(const struct fli_site_key *key)
{
    uint64_t hash = mix(0xcbf29ce484222325u, key->size);
    for (size_t i = 0; i < key->depth; i++)
        hash = mix(hash, (uint64_t)(uintptr_t)key->frames[i]);
    for (const char *name = key->type; name != NULL && *name != '\0'; name++)
        hash = mix(hash, (unsigned char)*name);
    return hash;
}

static bool is_same(const struct fli_site_key *key, const struct fli_site_key *other)
{
    bool same_type = key->type == NULL || other->type == NULL ? key->type == other->type
                                                              : strcmp(key->type, other->type) == 0;
    return same_type && key->size == other->size && key->depth == other->depth &&
           (key->depth == 0 || memcmp(key->frames, other->frames, key->depth * sizeof *key->frames) == 0);
}

/* Fills in a key whose frames and name are to lie behind the site. */
static void fill(struct fli_site *site, const struct fli_site_key *key)
{
    void **frames = (void **)(site + 1);
    char *name = (char *)(frames + key->depth);
    if (key->depth > 0)
        memcpy(frames, key->frames, key->depth * sizeof *frames);
    if (key->type != NULL)
        strcpy(name, key->type);
    site->key = *key;
    site->key.frames = frames;
    site->key.type = key->type != NULL ? name : NULL;
}

static struct fli_site *add(struct fli_sites *sites, const struct fli_site_key *key, uint64_t hash)
{
    size_t name_bytes = key->type != NULL ? strlen(key->type) + 1 : 0;
    size_t bytes = fli_round_up(sizeof(struct fli_site) + key->depth * sizeof *key->frames + name_bytes, 16);
    struct fli_site *site = fli_arena_take(&sites->arena, bytes), **head = &sites->heads[hash % FLI_SITE_LISTS];
    if (site == NULL)
        return NULL;
    site->hash = hash;
    site->bytes = bytes;
    fill(site, key);
    site->next = *head;
    *head = site;
    site->older = sites->newest;
    sites->newest = site;
    sites->bytes += bytes;
    return site;
}

struct fli_site *fli_sites_find(struct fli_sites *sites, const struct fli_site_key *key)
{
    uint64_t hash = hash_of(key);
    struct fli_site *site = sites->heads[hash % FLI_SITE_LISTS];
    while (site != NULL && (site->hash != hash || !is_same(&site->key, key)))
        site = site->next;
    return site != NULL ? site : add(sites, key, hash);
}

void fli_site_copy(const struct fli_site *site, struct fli_site *place)
{
    *place = *site;
    fill(place, &site->key);
}

void fli_sites_clear(struct fli_sites *sites)
{
    fli_arena_clear(&sites->arena);
    memset(sites, 0, sizeof *sites);
}
