/* SPDX-License-Identifier: MIT
 *
 * Stands in the system's place and refuses memory or address space. A test that includes this links with
 *
 *     -Wl,--wrap=mmap -Wl,--wrap=mprotect
 */
#ifndef TESTS_REFUSAL_H
#define TESTS_REFUSAL_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

static bool refuses;              /* everything */
static size_t granted = SIZE_MAX; /* reservations of more bytes than this are refused */
static unsigned refused;          /* how many calls were */

void *__real_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);
int __real_mprotect(void *address, size_t length, int protection);
void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);
int __wrap_mprotect(void *address, size_t length, int protection);

void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
    if (!refuses && (protection != PROT_NONE || length <= granted))
        return __real_mmap(address, length, protection, flags, file, offset);
    refused++;
    errno = ENOMEM;
    return MAP_FAILED;
}

int __wrap_mprotect(void *address, size_t length, int protection)
{
    if (!refuses)
        return __real_mprotect(address, length, protection);
    refused++;
    errno = ENOMEM;
    return -1;
}

#endif
