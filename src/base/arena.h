/* SPDX-License-Identifier: MIT
 *
 * Memory for records that are given back all at once. It comes from the OS, so it can be had inside a call of malloc.
 * The caller serialises.
 */
#ifndef FLI_ARENA_H
#define FLI_ARENA_H

#include "base/base.h"

struct fli_arena {
    struct fli_arena_chunk *newest;
};

/* Takes `bytes` bytes that read as zeros, aligned to 16. NULL if the OS refuses. Keeps errno. */
void *fli_arena_take(struct fli_arena *arena, size_t bytes);

/* Gives all that was taken back to the OS. Keeps errno. */
void fli_arena_clear(struct fli_arena *arena);

#endif
