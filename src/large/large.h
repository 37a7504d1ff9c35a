/* SPDX-License-Identifier: MIT
 *
 * Blocks above FL_BLOCK_MAX, for the slow halves of api/. Each has an extent, a separate mapping from the OS
 * (extent.h). A thread finds the extent by the block's page, without a lock (starts.h), and so recognises foreign
 * pointers. The extents of freed blocks are kept for later blocks, up to a bound (spare.h).
 *
 *     extents with memory  = live + deferred + spare + in hand
 *     taken from the limit = bytes of live and deferred blocks + bytes of the last blocks of spare extents
 *
 * Threads are spread over shards, which keep spare extents: in trays, without a lock (tray.h), and in lists under a
 * lock (spare.h). An extent whose block was freed stays in its shard. A thread whose shard has no spare extent looks in
 * the others before it asks the OS. A thread holds one of these locks at a time, and none while it calls the OS.
 *
 * An extent that a thread has in hand at a fork is lost to the child, with what it takes of the limit.
 *
 * In a hardened heap each extent has pages around it that nobody can touch. A freed block has a checksum, like one in a
 * slab (memory/state.h), which is compared when its extent serves again. What is left of the block's last page is zero as
 * long as it is live.
 *
 * Deferred blocks go through two batches: one collects while the other waits for its grace period (pool/deferred.h).
 */
#ifndef FLI_LARGE_H
#define FLI_LARGE_H

#include "base/lock.h"
#include "large/spare.h"
#include "large/starts.h"
#include "large/tray.h"

enum { FLI_LARGE_SHARDS = FLI_RARE_PATHS ? 2 : 8 };

/* A block of up to so many bytes is copied when its size changes much; a larger one only into a spare extent. */
enum { FLI_LARGE_COPIED_MOST = FLI_MIB };

struct fli_large_shard {
    FLI_ON_OWN_LINE struct fli_trays trays;
    struct fli_mutex lock; /* guards what follows, and room in the trays */
    struct fli_spare spare;
    struct fli_link unused; /* extents without memory */
    unsigned coloured;      /* extents that were given a colour */
};

struct fli_large {
    struct fli_limit *limit;
    bool is_shown;              /* tools are told which memory is a block (base/watch.h); constant */
    struct fli_slabs *hardened; /* where a hardened heap has its key and notes what it finds; NULL in others */
    struct fli_starts starts;
    FLI_ATOMIC(struct fli_extent *) made; /* all extents */
    FLI_ATOMIC(size_t) most;              /* spare bytes that a shard may keep */
    FLI_ATOMIC(unsigned) threads;         /* threads that have been given a shard */
    struct fli_large_shard shards[FLI_LARGE_SHARDS];

    struct fli_mutex lock;          /* guards what follows */
    unsigned collecting;            /* the batch that collects */
    struct fli_link deferred_of[2]; /* deferred extents of each batch */
    size_t deferred[2];             /* how many extents those are */
    size_t deferred_bytes[2];       /* bytes of their blocks */
};

/* What came of freeing, deferring or resizing a block. */
enum fli_large_result {
    FLI_LARGE_DONE,
    FLI_LARGE_UNKNOWN,     /* there is no such block */
    FLI_LARGE_WRONG_SIZE,  /* it does not have the size that was given */
    FLI_LARGE_IS_DEFERRED, /* it was freed already */
    FLI_LARGE_REFUSED      /* by the limit or the OS; nothing has changed */
};

void fli_large_init(struct fli_large *large, struct fli_limit *limit);

/* Frees all blocks. No other thread uses them. */
void fli_large_close(struct fli_large *large);

/* Whether any block was ever allocated. */
bool fli_large_was_used(struct fli_large *large);

/* Lets all shards together keep `most` bytes, in equal shares for as many shards as there are threads. */
void fli_large_share(struct fli_large *large, size_t most, size_t threads);

/* The shard of a new thread. */
unsigned fli_large_next_shard(struct fli_large *large);

/* Returns a block, or NULL if the limit or the OS refuses. */
void *fli_large_alloc(struct fli_large *large, unsigned shard, size_t size, bool zeroed);

/* Does the same for a real-time thread: returns nothing to the OS before it fails. */
void *fli_large_alloc_realtime(struct fli_large *large, unsigned shard, size_t size, bool zeroed);

/* Returns a block that begins at a page; for a `realtime` thread as above. */
void *fli_large_alloc_page(struct fli_large *large, unsigned shard, size_t size, bool realtime);

/* Frees a large block. If it is `sized`, the caller says that it has `size` bytes. `*actual` becomes the size that it
 * has, 0 if there is no such block. */
enum fli_large_result fli_large_free(struct fli_large *large, void *block, bool sized, size_t size, size_t *actual);

/* The most frequent case: frees a live block of `size` bytes. Returns false, and changes nothing, if there is no such
 * block, or the heap is hardened: then fli_large_free says what is wrong, or frees it. Not for real-time threads. */
bool fli_large_free_quickly(struct fli_large *large, void *block, size_t size);

/* Does the same for a real-time thread: returns nothing to the OS. */
enum fli_large_result fli_large_free_realtime(struct fli_large *large, void *block, bool sized, size_t size,
                                              size_t *actual);

/* Resizes the block at `*block` from `old_size` to `new_size` bytes; it may move. `*actual` as above. If the sizes differ
 * much, copies the block into another extent, which mostly is a spare one: its pages need no page faults, each of which
 * takes as long as to copy some pages. Otherwise, and for a `realtime` thread, has the OS move the pages. */
enum fli_large_result fli_large_resize(struct fli_large *large, void **block, size_t old_size, size_t new_size,
                                       bool realtime, size_t *actual);

/* Defers a large block; otherwise like fli_large_free. Never fails for lack of memory. */
enum fli_large_result fli_large_defer(struct fli_large *large, void *block, bool sized, size_t size, size_t *actual);

/* Begins a batch: the blocks deferred so far wait from now on, and new ones belong to the next batch. No batch may be
 * waiting. Returns how many blocks wait. */
size_t fli_large_close_deferred(struct fli_large *large);

/* Frees the blocks that wait. Returns their bytes, and in `*blocks` how many they were. */
size_t fli_large_release_deferred(struct fli_large *large, size_t *blocks);

/* The size that the live block was allocated with, 0 if there is no such block. Any thread. Wait-free. */
size_t fli_large_size(struct fli_large *large, const void *block);

/* ---- Counts, checks, fork. */

/* The first of all extents, in use or not; the others follow through `next_made`. */
const struct fli_extent *fli_large_first(struct fli_large *large);

struct fli_large_counts {
    size_t blocks, bytes;  /* live */
    size_t deferred_bytes; /* of blocks that wait for a grace period */
    size_t kept_bytes;     /* of spare extents */
};

/* Whether an extent has memory and no thread has it in hand; not told of one in a tray. No other thread uses it. */
static inline bool fli_large_has_memory(struct fli_extent *extent)
{
    return extent->state == FLI_EXTENT_OUT ? fli_load_own(&extent->size) != 0 : extent->state != FLI_EXTENT_UNUSED;
}

/* Counts what a walk over all extents finds: each was there a moment ago. */
struct fli_large_counts fli_large_count(struct fli_large *large);

/* Verifies what the shards keep, and that each extent is found where it starts. Returns 0, or
 * -EUCLEAN and a message. No other thread uses the heap. */
int fli_large_check(struct fli_large *large, char *error, size_t error_size);

/* For a fork, whose ranks of locks are closed: puts what is in the trays under the locks, so that other threads neither
 * take nor put anything there while the kernel copies the process. The child forgets what such a thread put down late:
 * of an extent that was copied at two moments, it may have two owners. */
void fli_large_set_aside(struct fli_large *large);
void fli_large_forget_stw(struct fli_large *large);

/* Applies an operation to each lock. */
void fli_large_for_each_lock(struct fli_large *large, void (*operation)(struct fli_mutex *));

#endif
