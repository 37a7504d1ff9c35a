/* SPDX-License-Identifier: MIT
 *
 * The shim over malloc: that of the C library or of the one that is preloaded.
 */
#ifndef FREELANE_CLIENTS_SHIM_MALLOC_H
#define FREELANE_CLIENTS_SHIM_MALLOC_H

#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

/* What an interpreter keeps beside its state to allocate with: nothing. */
static inline void *shim_open(void)
{
    return NULL;
}

static inline void *shim_alloc(void *shim, size_t size)
{
    (void)shim;
    return malloc(size);
}

static inline void shim_free(void *shim, void *block)
{
    (void)shim;
    free(block);
}

static inline void shim_free_sized(void *shim, void *block, size_t size)
{
    (void)shim;
    (void)size;
    free(block);
}

static inline void *shim_resize(void *shim, void *block, size_t old_size, size_t size)
{
    (void)shim;
    (void)old_size;
    return realloc(block, size);
}

static inline size_t shim_usable_size(const void *block)
{
    return malloc_usable_size((void *)block);
}

/* The usable size of a block that has just been allocated with `size`. */
static inline size_t shim_usable_size_for(const void *block, size_t size)
{
    (void)size;
    return malloc_usable_size((void *)block);
}

/* Whether nothing is left and all is well, after the last thread has closed its state. */
static inline bool shim_is_clean(void)
{
    return true;
}

#endif
