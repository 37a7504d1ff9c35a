/* SPDX-License-Identifier: MIT
 *
 * A program is a string of bytes: four per operation. The first one says what to do, the second one with which heap and
 * handle, the other two with what. Each string is a program, and what makes no sense in it does nothing.
 */
#ifndef FUZZ_PROGRAM_H
#define FUZZ_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

enum { PROGRAM_BYTES_MAX = 1024 };

/* Runs a program from a new world to the end of its last heap. Ends the process at the first thing that is wrong. */
void program_run(const uint8_t *bytes, size_t count);

#endif
