/* SPDX-License-Identifier: MIT
 *
 * The blocks of jansson that are no values: tables, nodes and texts. What its source calls after jansson_blocks.py has
 * changed it. Included at the end of its private header.
 *
 * They are Freelane's, as long as the program sets no allocation functions. Each is freed with the size that it was
 * allocated with where the source knows that.
 */
#ifndef FREELANE_CLIENTS_JANSSON_BLOCKS_H
#define FREELANE_CLIENTS_JANSSON_BLOCKS_H

#include <freelane/freelane.h>

#include <stdlib.h>
#include <string.h>

/* The allocation functions of jansson, and what they are at first. */
extern json_malloc_t do_malloc;
extern json_free_t do_free;
void *blocks_default_malloc(size_t size);
void blocks_default_free(void *block);

/* Whether the program has ever set others: then some blocks are Freelane's and some are not. */
extern bool blocks_are_mixed;

static inline void *block_alloc(size_t size)
{
    if (FL_UNLIKELY(blocks_are_mixed) || size == 0)
        return jsonp_malloc(size);
    return fl_alloc(fl_thread_self(), size);
}

/* Frees a block whose size is not known. Not NULL. */
static inline void block_release(void *block)
{
    if (!FL_UNLIKELY(blocks_are_mixed) || fl_owns(fl_heap_default(), block))
        fl_free(fl_thread_self(), block);
    else if (do_free == blocks_default_free)
        free(block);
    else
        do_free(block);
}

/* Frees a block of this size, or NULL. `thread` is the caller's handle. */
static inline void block_free_by(struct fl_thread *thread, void *block, size_t size)
{
    if (FL_UNLIKELY(blocks_are_mixed) || block == NULL)
        jsonp_free(block);
    else
        fl_free_sized(thread, block, size);
}

static inline void block_free(void *block, size_t size)
{
    block_free_by(fl_thread_self(), block, size);
}

/* A text of `length` bytes, in a block that is as large as it needs to be: moves it out of the one of `size` bytes if
 * that is larger. If memory is refused, frees the text and returns NULL. */
static inline char *block_fit(char *text, size_t size, size_t length)
{
    char *fitting;
    if (FL_UNLIKELY(blocks_are_mixed) || size == length + 1)
        return text;
    fitting = fl_alloc(fl_thread_self(), length + 1);
    if (fitting != NULL)
        memcpy(fitting, text, length + 1);
    fl_free_sized(fl_thread_self(), text, size);
    return fitting;
}

/* A text that the caller of jansson frees with free, as the documentation says. */
static inline char *block_strdup_for_caller(const char *text)
{
    return do_malloc != blocks_default_malloc ? jsonp_strdup(text) : strdup(text);
}

#endif
