/* SPDX-License-Identifier: MIT
 *
 * Blocks past FL_BLOCK_MAX: they come from the C library and are entered in a side table under a lock, so that they
 * are told from foreign pointers, counted, and freed with their heap.
 *
 *     blocks in the table = live large blocks of the heap
 */
#ifndef FLI_LARGE_H
#define FLI_LARGE_H

#include "base.h"
#include "limit.h"

#include <pthread.h>

struct fli_large_entry {
    void *block; /* NULL if the place is free */
    size_t size;
};

struct fli_large {
    struct fli_limit *limit;
    pthread_mutex_t lock;            /* guards what follows */
    struct fli_large_entry *entries; /* open addressing, linear probing; a power of two of places, at most 3/4 used */
    size_t places;
    size_t blocks;
    size_t bytes;
};

void fli_large_init(struct fli_large *large, struct fli_limit *limit);

/* Frees all blocks and the table. */
void fli_large_close(struct fli_large *large);

/* Returns NULL if the limit or the system refuses. */
void *fli_large_alloc(struct fli_large *large, size_t size, bool zeroed);

/* Frees a large block. Returns false if the table does not have it, or if it is `sized` and has another size;
 * `*actual` is then the size it has, 0 if none. */
bool fli_large_free(struct fli_large *large, void *block, bool sized, size_t size, size_t *actual);

/* The size the block was allocated with, 0 if the table does not have it. */
size_t fli_large_size(struct fli_large *large, const void *block);

#endif
