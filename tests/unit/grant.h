/* SPDX-License-Identifier: MIT
 *
 * Stands in the system's place and grants so many mappings. A test that includes this links with
 *
 *     -Wl,--wrap=mmap
 */
#ifndef TESTS_GRANT_H
#define TESTS_GRANT_H

#include <errno.h>
#include <limits.h>
#include <sys/mman.h>

/* Mappings that are still granted. */
static unsigned granted = UINT_MAX;

void *__real_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);
void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);

void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
    if (granted > 0) {
        granted -= granted != UINT_MAX;
        return __real_mmap(address, length, protection, flags, file, offset);
    }
    errno = ENOMEM;
    return MAP_FAILED;
}

#endif
