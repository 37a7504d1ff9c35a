/* SPDX-License-Identifier: MIT
 *
 * How the machine gives up: a message, and an exit.
 */
#ifndef VM_FAIL_H
#define VM_FAIL_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Prints a message and exits with status 1. */
__attribute__((noreturn, format(printf, 1, 2), cold)) static inline void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("vm: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

/* Memory of the C library, for what is no object: code, stacks, the collector's lists. */
static inline void *allocate(size_t bytes)
{
    void *block = calloc(1, bytes);
    if (block == NULL)
        fail("out of memory");
    return block;
}

static inline void *reallocate(void *block, size_t bytes)
{
    block = realloc(block, bytes);
    if (block == NULL)
        fail("out of memory");
    return block;
}

#endif
