/* SPDX-License-Identifier: MIT
 *
 * Blocks past FL_BLOCK_MAX. Each has an extent, memory of its own from the OS (extent.h), and is found by its address
 * without a lock (starts.h), so that it is told from foreign pointers. What is freed is kept for the next block up to a
 * bound (spare.h).
 *
 *     extents with memory = live + deferred + spare (+ those in the hands of threads at work)
 *     taken of the limit  = bytes of live and deferred blocks, and of the last blocks of spare extents
 *
 * Threads are spread over shards, each with a lock, the counts of what its threads allocated, and spare extents. A block
 * goes back to the shard that it came from. A thread whose shard has no spare extent looks for one in the others before
 * it asks the OS. No lock is held over a call of the OS, nor inside another.
 *
 * A deferred block goes through two batches: one collects while the other waits for its grace period (deferred.h).
 */
#ifndef FLI_LARGE_H
#define FLI_LARGE_H

#include "base/lock.h"
#include "large/spare.h"
#include "large/starts.h"

enum { FLI_LARGE_SHARDS = FLI_RARE_PATHS ? 2 : 8 };

struct fli_large_shard {
    FLI_ON_OWN_LINE struct fli_mutex lock; /* guards what follows, and the extents that are counted here */
    size_t blocks, bytes;                  /* live */
    struct fli_spare spare;
    struct fli_link unused; /* extents without memory */
};

struct fli_large {
    struct fli_limit *limit;
    struct fli_starts starts;
    FLI_ATOMIC(struct fli_extent *) made; /* all extents */
    FLI_ATOMIC(size_t) most;              /* of spare bytes in a shard */
    FLI_ATOMIC(unsigned) threads;         /* that have been told their shard */
    struct fli_large_shard shards[FLI_LARGE_SHARDS];

    struct fli_mutex lock;          /* guards what follows */
    unsigned collecting;            /* the batch that collects */
    struct fli_link deferred_of[2]; /* deferred extents of each batch */
    size_t deferred[2];             /* how many these are */
    size_t deferred_bytes[2];       /* bytes of their blocks */
};

/* What was found of a block that is to be freed, deferred or resized. */
enum fli_large_result {
    FLI_LARGE_DONE,
    FLI_LARGE_UNKNOWN,     /* there is no such block */
    FLI_LARGE_WRONG_SIZE,  /* it has another size than was said */
    FLI_LARGE_IS_DEFERRED, /* it was freed already */
    FLI_LARGE_REFUSED      /* by the limit or the system; nothing has changed */
};

void fli_large_init(struct fli_large *large, struct fli_limit *limit);

/* Frees all blocks. No other thread uses them. */
void fli_large_close(struct fli_large *large);

/* Whether there has been any block. */
bool fli_large_was_used(struct fli_large *large);

/* All threads' shards may keep `most` bytes together, and there are so many threads. */
void fli_large_share(struct fli_large *large, size_t most, size_t threads);

/* The shard of a new thread. */
unsigned fli_large_next_shard(struct fli_large *large);

/* Returns a block, or NULL if the limit or the system refuses. */
void *fli_large_alloc(struct fli_large *large, unsigned shard, size_t size, bool zeroed);

/* Frees a large block, which has `size` bytes if it is `sized`; `*actual` is the size it has, 0 if it is not
 * known. */
enum fli_large_result fli_large_free(struct fli_large *large, void *block, bool sized, size_t size, size_t *actual);

/* Gives the block at `*block`, of `old_size` bytes, `new_size` ones; it may move. `*actual` as above. */
enum fli_large_result fli_large_resize(struct fli_large *large, void **block, size_t old_size, size_t new_size,
                                       size_t *actual);

/* Marks a large block as deferred; like fli_large_free. Never fails for lack of memory. */
enum fli_large_result fli_large_defer(struct fli_large *large, void *block, bool sized, size_t size, size_t *actual);

/* Begins a batch: the deferred blocks wait from now on, and new ones are another batch's. None may be waiting.
 * Returns how many wait. */
size_t fli_large_close_deferred(struct fli_large *large);

/* Frees what waits. Returns the bytes, and how many blocks they were. */
size_t fli_large_release_deferred(struct fli_large *large, size_t *blocks);

/* The size the live block was allocated with, 0 if there is no such block. Wait-free. */
size_t fli_large_size(struct fli_large *large, const void *block);

/* ---- Counts, checks, fork. */

struct fli_large_counts {
    size_t blocks, bytes;  /* live */
    size_t deferred_bytes; /* of blocks that wait for a grace period */
    size_t kept_bytes;     /* of spare extents */
};

struct fli_large_counts fli_large_count(struct fli_large *large);

/* Verifies the first equation above, shard by shard, and that each extent is found where it starts. Returns 0, or
 * -EUCLEAN and a message. No other thread uses the heap. */
int fli_large_check(struct fli_large *large, char *error, size_t error_size);

/* Applies an operation to each lock. */
void fli_large_for_each_lock(struct fli_large *large, void (*operation)(struct fli_mutex *));

#endif
