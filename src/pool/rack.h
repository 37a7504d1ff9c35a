/* SPDX-License-Identifier: MIT
 *
 * Racks: whole magazines that a thread keeps at home (home.h), just as they left its caches.
 *
 *     caches  <->  rack, up to a bound  <->  free bits of slabs, or the pool
 *
 * A thread that creates some thousand objects and destroys them again needs more than the two magazines of a cache.
 * What it frees beyond them goes onto its rack and comes from there again, still in its processor's caches. Small
 * blocks are kept up to about half of such a cache, because beyond it their order in memory counts for more. Large
 * ones are too few in a slab for order to matter: they are kept up to a bound that grows.
 *
 * A magazine of another thread's blocks, which this thread cannot keep, goes to the other thread's rack as it is: so
 * what one thread allocates and another one frees comes back without a look at each block.
 *
 * A rack has a shelf of filled magazines for each class, and one of empty magazines for all. A shelf is a chain
 * (memory/chain.h) under the home's lock.
 *
 * Each part of a rack, of small, large and empty magazines, has a bound. It begins low. When the thread asks in vain
 * for what there was no room for, the bound grows a step, until it has grown by as much: so it comes to hold what the
 * thread frees and allocates again. It ends at what the caller names as the most.
 *
 *     KiB of a part = sum over its magazines of their own bytes and those of the blocks in them, rounded up
 */
#ifndef FLI_RACK_H
#define FLI_RACK_H

#include "base/config.h"
#include "base/sizeclass.h"
#include "memory/chain.h"
#include "pool/pool.h"

/* The most that a rack holds, less than 64 MiB, and what each part of it may hold at first. */
enum {
    FLI_RACK_BYTES_MOST = FLI_RARE_PATHS ? 16 * FLI_MAGAZINE_BYTES : 32 << 20,
    FLI_RACK_BYTES_FIRST = FLI_RARE_PATHS ? 4 * FLI_MAGAZINE_BYTES : 1 << 15,
};

struct fli_rack_part {
    FLI_PLAIN(uint16_t) kib;          /* of its magazines and their blocks, each rounded up */
    FLI_PLAIN(uint16_t) refused;      /* KiB of one class that had no room, and that the bound has not grown by */
    FLI_PLAIN(uint8_t) refused_class; /* which; 0: empty magazines */
    FLI_PLAIN(uint8_t) grown;         /* steps by which the bound has */
};

struct fli_rack {
    struct fli_chain empty_shelf;
    struct fli_rack_part small, large, empty;
};

/* Puts a magazine onto a shelf of the part, that of the class or, if it is 0, that of empty magazines, unless it is
 * more than the part's bound or `most` bytes then. Returns whether it has. Under the home's lock. */
bool fli_rack_put(struct fli_rack_part *part, struct fli_chain *shelf, const struct fli_magazines *magazines,
                  struct fli_magazine *magazine, unsigned class_index, size_t most);

/* Takes the magazine put onto a shelf of the part last, or returns NULL; then the part may hold more from now on, if
 * what is missing had been refused. Likewise. */
struct fli_magazine *fli_rack_take(struct fli_rack_part *part, struct fli_chain *shelf,
                                   const struct fli_magazines *magazines, unsigned class_index);

/* Sets the bounds of a rack that holds nothing to what they are at first. Likewise. */
void fli_rack_reset_empty(struct fli_rack *rack);

#endif
