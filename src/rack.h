/* SPDX-License-Identifier: MIT
 *
 * Racks: whole magazines that a thread keeps to itself, between its caches and the pool.
 *
 *     caches  <->  rack, up to a bound  <->  pool
 *
 * A thread that creates ten thousand objects and destroys them again needs more than the two magazines of a cache.
 * What it frees beyond them goes onto its rack and comes from there again: with no atomic read-modify-write, still in
 * its processor's caches, and not mixed with the blocks of other threads, so that threads at work do not write to
 * neighbouring lines. Only what is past the bound moves between threads.
 *
 * A rack has a shelf of full magazines for each class, and one of empty magazines for all. A shelf is a list like a
 * stack of the pool (pool.h), with `next` and `below` of the same meaning, but one thread's; the word that names its
 * top is where the owner keeps it (cache.h). Others read that word and `below`, for statistics.
 *
 * Full and empty magazines have a bound each, small at first. When the thread asks in vain for what there was no room
 * for, the bound grows a step, until it has grown by as much: so it comes to hold what the thread frees and allocates
 * again, while who only allocates keeps few empty magazines and who only frees few full ones, and what such threads
 * have too much of goes on to the pool. The bounds end at three quarters and one quarter of what the heap lets a thread
 * have.
 *
 *     KiB of a part = sum over its magazines of their own bytes and those of the blocks in them, rounded up
 */
#ifndef FLI_RACK_H
#define FLI_RACK_H

#include "config.h"
#include "pool.h"
#include "sizeclass.h"

/* The most that a rack holds, less than 64 MiB, and what each part of it may hold at first. */
enum {
    FLI_RACK_BYTES_MOST = FLI_RARE_PATHS ? 16 * FLI_MAGAZINE_BYTES : 32 << 20,
    FLI_RACK_BYTES_FIRST = FLI_RARE_PATHS ? 4 * FLI_MAGAZINE_BYTES : 1 << 15,
};

struct fli_rack_part {
    uint16_t kib;          /* of its magazines and their blocks, each rounded up */
    uint16_t refused;      /* KiB of one class that there was no room for, and that the bound has not grown by */
    uint8_t refused_class; /* which; 0: empty magazines */
    uint8_t grown;         /* steps by which the bound has */
};

struct fli_rack {
    struct fli_pool_counters counters; /* what the thread did to the pool */
    FLI_ATOMIC(uint32_t) empty_shelf;
    struct fli_rack_part full, empty;
    uint8_t given; /* magazines that went to the pool since the heap was last told, heavy ones counting more */
};

/* Puts a magazine onto a shelf of the part, that of the class or, if it is 0, that of empty magazines, unless it is
 * more than the part's bound or `most` bytes then. Returns whether it has. The owning thread only. */
bool fli_rack_put_owner(struct fli_rack_part *part, FLI_ATOMIC(uint32_t) * shelf,
                        const struct fli_magazines *magazines, struct fli_magazine *magazine, unsigned class_index,
                        size_t most);

/* Takes the magazine put onto a shelf of the part last, or returns NULL; then the part may hold more from now on, if
 * what is missing had been refused. The owning thread, or any while it is stopped. */
struct fli_magazine *fli_rack_take_owner(struct fli_rack_part *part, FLI_ATOMIC(uint32_t) * shelf,
                                         const struct fli_magazines *magazines, unsigned class_index);

/* The blocks on a shelf; on that of empty magazines, the magazines. Any thread; exact while the owner is quiet. */
uint64_t fli_rack_blocks(FLI_ATOMIC(uint32_t) * shelf, const struct fli_magazines *magazines);

#endif
