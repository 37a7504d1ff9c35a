/* SPDX-License-Identifier: MIT
 *
 * What /proc says of this process, in bytes. For C and C++.
 */
#ifndef FREELANE_BENCH_PROC_BYTES_H
#define FREELANE_BENCH_PROC_BYTES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number of kB that follows `key` in a file of /proc/self, in bytes; 0 if there is none. */
static inline uint64_t proc_bytes(const char *path, const char *key)
{
    char line[256];
    uint64_t kilobytes = 0;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    while (kilobytes == 0 && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            kilobytes = strtoull(line + strlen(key), NULL, 10);
    fclose(file);
    return kilobytes * 1024;
}

/* The most bytes that were resident since the program was executed, or since the peak was reset. */
static inline uint64_t proc_peak(void)
{
    return proc_bytes("/proc/self/status", "VmHWM:");
}

#endif
