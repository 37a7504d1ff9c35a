/* SPDX-License-Identifier: MIT
 *
 * What jansson's source calls after jansson_typed.py has changed it. Included at the end of its private header.
 *
 * Each kind of value is a type of Freelane, on the default heap: integers and reals are PLAIN, strings, arrays and
 * objects CLEAR. What has no type is Freelane's as well, as long as the program sets no allocation functions.
 */
#ifndef FREELANE_CLIENTS_JANSSON_TYPED_H
#define FREELANE_CLIENTS_JANSSON_TYPED_H

#include <freelane/freelane.h>

#include <stdlib.h>
#include <string.h>

/* By enum json_type. They are ready before main begins. */
extern struct fl_type typed_types[];

/* The allocation functions of jansson, and what they are at first. */
extern json_malloc_t do_malloc;
extern json_free_t do_free;
void *typed_default_malloc(size_t size);
void typed_default_free(void *block);

/* Whether the program has ever set others: then some blocks are Freelane's and some are not. */
extern bool typed_is_mixed;

static inline void *typed_alloc(json_type type)
{
    return fl_type_alloc(fl_thread_self(), &typed_types[type]);
}

/* Frees a value whose construction failed. */
static inline void typed_free(void *value, json_type type)
{
    fl_type_free(fl_thread_self(), value, &typed_types[type]);
}

static inline void *typed_alloc_sized(size_t size)
{
    if (do_malloc != typed_default_malloc || size == 0)
        return jsonp_malloc(size);
    return fl_alloc(fl_thread_self(), size);
}

/* Frees a block of the allocation functions. Not NULL. */
static inline void typed_release(void *block)
{
    if (!typed_is_mixed || fl_owns(fl_heap_default(), block))
        fl_free(fl_thread_self(), block);
    else if (do_free == typed_default_free)
        free(block);
    else
        do_free(block);
}

static inline void typed_free_sized(void *block, size_t size)
{
    if (typed_is_mixed || block == NULL)
        jsonp_free(block);
    else
        fl_free_sized(fl_thread_self(), block, size);
}

/* A text that the caller of jansson frees with free, as the documentation says. */
static inline char *typed_strdup_for_caller(const char *text)
{
    return do_malloc != typed_default_malloc ? jsonp_strdup(text) : strdup(text);
}

#endif
