/* SPDX-License-Identifier: MIT
 *
 * Blocks past FL_BLOCK_MAX: they come from the C library and are entered in a side table under a lock, so that they
 * are told from foreign pointers, counted, and freed with their heap.
 *
 *     blocks in the table = live large blocks of the heap + deferred ones
 *
 * A deferred block stays in the table, marked with one of two marks, for two batches: one collects while the other
 * waits for its grace period (deferred.h).
 */
#ifndef FLI_LARGE_H
#define FLI_LARGE_H

#include "base/base.h"
#include "base/limit.h"
#include "base/lock.h"

#include <pthread.h>

enum fli_large_state { FLI_LARGE_LIVE, FLI_LARGE_DEFERRED /* and the number of the batch, 0 or 1, added */ };

struct fli_large_entry {
    void *block; /* NULL if the place is free */
    size_t size;
    unsigned state; /* enum fli_large_state */
};

struct fli_large {
    struct fli_limit *limit;
    struct fli_mutex lock;           /* guards what follows */
    struct fli_large_entry *entries; /* open addressing, linear probing; a power of two of places, at most 3/4 used */
    size_t places;
    size_t blocks;
    size_t bytes;
    unsigned collecting; /* the batch that collects */
    size_t deferred[2];  /* deferred blocks of each batch */
    size_t deferred_bytes[2];
};

/* What fli_large_free and fli_large_defer found. */
enum fli_large_result {
    FLI_LARGE_DONE,
    FLI_LARGE_UNKNOWN,    /* the table does not have the block */
    FLI_LARGE_WRONG_SIZE, /* it has another size than was said */
    FLI_LARGE_IS_DEFERRED /* it was freed already */
};

void fli_large_init(struct fli_large *large, struct fli_limit *limit);

/* Frees all blocks and the table. */
void fli_large_close(struct fli_large *large);

/* Returns NULL if the limit or the system refuses. */
void *fli_large_alloc(struct fli_large *large, size_t size, bool zeroed);

/* Frees a large block, which has `size` bytes if it is `sized`; `*actual` is the size it has, 0 if it is not
 * known. */
enum fli_large_result fli_large_free(struct fli_large *large, void *block, bool sized, size_t size, size_t *actual);

/* Marks a large block as deferred; likewise. Never fails for lack of memory. */
enum fli_large_result fli_large_defer(struct fli_large *large, void *block, bool sized, size_t size, size_t *actual);

/* Begins a batch: the deferred blocks wait from now on, and new ones are another batch's. None may be waiting.
 * Returns how many wait. */
size_t fli_large_close_deferred(struct fli_large *large);

/* Frees what waits. Returns the bytes, and how many blocks they were. */
size_t fli_large_release_deferred(struct fli_large *large, size_t *blocks);

/* The size the live block was allocated with, 0 if the table does not have it. */
size_t fli_large_size(struct fli_large *large, const void *block);

#endif
