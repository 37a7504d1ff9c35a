/* SPDX-License-Identifier: MIT
 *
 * Racks: whole magazines that a thread keeps at home (home.h), just as they left its caches.
 *
 *     caches  <->  rack, up to a bound  <->  free bits of slabs, or the pool
 *
 * A program that frees some thousand objects and allocates them again needs more than the two magazines of a cache.
 * What a thread frees beyond these goes onto its rack and comes back from there, still in the processor's cache. A
 * rack keeps small blocks up to about half of that cache: beyond it, their order in memory matters more. Large
 * blocks are too few in a slab for order to matter: a rack keeps them up to a bound that grows.
 *
 * A thread cannot keep blocks of another thread's slabs. It gives a full magazine of them whole to the rack of that
 * thread, if at most one of the class lies there. So a stream of blocks that one thread allocates and another frees
 * returns without a look at each block. When a thread drops much that another made, all but two magazines go to the bits
 * of their slabs, and come out in the order of addresses, not in the order in which they were freed.
 *
 * A rack has a shelf of filled magazines for each class, and one shelf of empty magazines. A shelf is a chain
 * (memory/chain.h). exchange.c and the trims (heap/trim.c) use racks, always under the lock of the home.
 *
 * A rack has three parts: small, large and empty magazines. Each part has a bound, which begins low and grows when
 * the thread misses: when it asks for a magazine that was turned away earlier. Growth stops once it covers what was
 * turned away.
 * If what is freed between two misses is more than the part for small blocks may ever hold, its bound is the first one
 * again: the part would keep what was freed first, which has left the processor's cache by then, and give it out in the
 * order in which it was freed, with gaps in the slabs of all the rest.
 *
 *     KiB of a part = sum over its magazines of their own bytes and those of the blocks in them, rounded up
 *     KiB of a part <= min(its bound, the caller's `most`) after each put
 */
#ifndef FLI_RACK_H
#define FLI_RACK_H

#include "base/config.h"
#include "memory/sizeclass.h"
#include "memory/chain.h"
#include "pool/pool.h"

/* The most bytes that a rack holds, less than 64 MiB, and the first bound of each part. */
enum {
    FLI_RACK_BYTES_MOST = FLI_RARE_PATHS ? 16 * FLI_MAGAZINE_BYTES : 32 << 20,
    FLI_RACK_BYTES_FIRST = FLI_RARE_PATHS ? 4 * FLI_MAGAZINE_BYTES : 1 << 15,
};

struct fli_rack_part {
    FLI_ATOMIC(uint16_t) kib;         /* of its magazines and their blocks, each rounded up */
    FLI_PLAIN(uint16_t) refused;      /* KiB of one class turned away, less what the bound has grown by since */
    FLI_PLAIN(uint8_t) refused_class; /* that class; 0: empty magazines */
    FLI_PLAIN(uint8_t) grown;         /* steps by which the bound has grown */
    FLI_PLAIN(uint16_t) turned;       /* KiB of all classes turned away since the thread last missed */
};

struct fli_rack {
    struct fli_chain empty_shelf;
    struct fli_rack_part small, large, empty;
};

/* Puts a magazine onto a shelf of the part. Class 0 stands for empty magazines. Returns false, and turns the
 * magazine away, if the part would then exceed its bound or `most` bytes. Under the home's lock. */
bool fli_rack_put(struct fli_rack_part *part, struct fli_chain *shelf, const struct fli_magazines *magazines,
                  struct fli_magazine *magazine, unsigned class_index, size_t most);

/* Takes the magazine that was put onto a shelf of the part last. If the shelf is empty, returns NULL and lets the
 * bound grow if the part has turned such a magazine away. Under the home's lock. */
struct fli_magazine *fli_rack_take(struct fli_rack_part *part, struct fli_chain *shelf,
                                   const struct fli_magazines *magazines, unsigned class_index);

/* Whether a part that may hold `most` bytes could not hold what was turned away since the thread last missed, beside
 * what it has. Under the home's lock. */
bool fli_rack_overflows(const struct fli_rack_part *part, size_t most);

/* Lowers the bound of a part to the first one, because what it kept was not used, or not worth it. Under the home's
 * lock. */
void fli_rack_forget(struct fli_rack_part *part);

/* Bytes in a part, a moment ago. Any thread. */
static inline size_t fli_rack_bytes(const struct fli_rack_part *part)
{
    return (size_t)fli_load_hint(&part->kib) * FLI_KIB;
}

/* Whether no magazine is on any shelf of a rack, a moment ago. Any thread. */
static inline bool fli_rack_is_empty(const struct fli_rack *rack)
{
    return fli_rack_bytes(&rack->small) + fli_rack_bytes(&rack->large) + fli_rack_bytes(&rack->empty) == 0;
}

/* Resets the bounds of a rack that holds nothing to the first ones. Under the home's lock. */
void fli_rack_reset_empty(struct fli_rack *rack);

#endif
