/* SPDX-License-Identifier: MIT
 *
 * The shim over Freelane: the thread's handle for the default heap stands beside the interpreter's state.
 */
#ifndef FREELANE_CLIENTS_SHIM_FREELANE_H
#define FREELANE_CLIENTS_SHIM_FREELANE_H

#include <freelane/freelane.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The handle of the calling thread, which its exit detaches. Exits where memory is refused. */
static inline void *shim_open(void)
{
    struct fl_thread *thread = fl_thread_attach(fl_heap_default());
    if (thread == NULL) {
        perror("fl_thread_attach");
        exit(1);
    }
    return thread;
}

static inline void *shim_alloc(void *shim, size_t size)
{
    return fl_alloc(shim, size);
}

static inline void shim_free(void *shim, void *block)
{
    fl_free(shim, block);
}

static inline void shim_free_sized(void *shim, void *block, size_t size)
{
    fl_free_sized(shim, block, size);
}

static inline void *shim_resize(void *shim, void *block, size_t old_size, size_t size)
{
    return fl_realloc(shim, block, old_size, size);
}

static inline size_t shim_usable_size(const void *block)
{
    return fl_usable_size(fl_heap_default(), block);
}

/* The usable size of a block that has just been allocated with `size`: its class says it, in steps of 16 bytes up to
 * 512, and of eight to each doubling up to FL_BLOCK_MAX. */
static inline size_t shim_usable_size_for(const void *block, size_t size)
{
    (void)block;
    size_t step = size <= 512 ? 16 : (size_t)1 << (60 - __builtin_clzll(size - 1));
    return size > FL_BLOCK_MAX ? size : (size + step - 1) & ~(step - 1);
}

/* Whether nothing is left and all is well, after the last thread has closed its state. */
static inline bool shim_is_clean(void)
{
    struct fl_stats stats;
    char error[256] = "";
    fl_heap_stats(fl_heap_default(), &stats);
    if (stats.live_blocks != 0)
        fprintf(stderr, "%zu blocks are left\n", stats.live_blocks);
    if (fl_heap_check(fl_heap_default(), error, sizeof error) != 0)
        fprintf(stderr, "%s\n", error);
    return stats.live_blocks == 0 && error[0] == '\0';
}

#endif
