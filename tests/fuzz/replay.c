/* SPDX-License-Identifier: MIT
 *
 * usage: replay <file>...
 *
 * Runs each program of the files: a line of hexadecimal digits each.
 */
#include "program.h"

#include <stdio.h>
#include <stdlib.h>

static int digit(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads a line. Returns its bytes, or -1 at the end of the file. */
static long read_line(FILE *file, const char *name, uint8_t *bytes)
{
    long digits = 0;
    int c;
    while ((c = fgetc(file)) != '\n') {
        if (c == EOF && digits == 0)
            return -1;
        if (digit(c) < 0 || digits == 2 * PROGRAM_BYTES_MAX) {
            fprintf(stderr, "%s: a line is no program\n", name);
            exit(2);
        }
        bytes[digits / 2] = (uint8_t)(digits % 2 == 0 ? digit(c) << 4 : bytes[digits / 2] | digit(c));
        digits++;
    }
    return digits / 2;
}

static unsigned run_file(const char *name)
{
    uint8_t bytes[PROGRAM_BYTES_MAX];
    unsigned programs = 0;
    FILE *file = fopen(name, "r");
    if (file == NULL) {
        perror(name);
        exit(2);
    }
    for (long count; (count = read_line(file, name, bytes)) >= 0; programs++) {
        fprintf(stderr, "\r%s: program %u ", name, programs + 1);
        program_run(bytes, (size_t)count);
    }
    fclose(file);
    return programs;
}

int main(int count, char **names)
{
    unsigned programs = 0;
    for (int i = 1; i < count; i++)
        programs += run_file(names[i]);
    fprintf(stderr, "\r%u programs\n", programs);
    return programs > 0 ? 0 : 2;
}
