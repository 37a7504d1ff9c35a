/* SPDX-License-Identifier: MIT
 *
 * Where the blocks that a profile has sampled were allocated. A site is a call stack, the name of a type and a size:
 * all its samples stand for equally many blocks. Sites stay until all are removed. The profile's lock guards them.
 *
 *     a site
 *     +----------------------+----------------------+------------------+
 *     | size, counts, ..     | frames, innermost .. | type's name .. 0 |
 *     +----------------------+----------------------+------------------+
 */
#ifndef FLI_SITE_H
#define FLI_SITE_H

#include "base/arena.h"

enum { FLI_SITE_LISTS = 4096 };

/* What tells sites apart. */
struct fli_site_key {
    const char *type; /* the name of the type, or NULL */
    size_t size;      /* of each block, as the calls said, in bytes */
    size_t depth;     /* how many frames there are */
    void *const *frames;
};

struct fli_site {
    struct fli_site *next;  /* with the same head */
    struct fli_site *older; /* of all */
    uint64_t hash;
    size_t live;      /* samples whose block is live */
    size_t allocated; /* all samples */
    size_t found;     /* what fl_heap_check counts */
    size_t bytes;     /* of this record */
    struct fli_site_key key;
};

struct fli_sites {
    struct fli_site *newest;
    size_t bytes; /* of all records */
    struct fli_arena arena;
    struct fli_site *heads[FLI_SITE_LISTS];
};

/* The site with the key, perhaps a new one without samples. NULL if memory is refused. */
struct fli_site *fli_sites_find(struct fli_sites *sites, const struct fli_site_key *key);

/* Copies a site, with its frames and the name, to `place`, which has room for its bytes. */
void fli_site_copy(const struct fli_site *site, struct fli_site *place);

/* Removes all sites. */
void fli_sites_clear(struct fli_sites *sites);

#endif
