/* SPDX-License-Identifier: MIT
 *
 * The reader turns the text of a program into code. The language is postfix; programs/README.md describes it.
 *
 *     scope      a function that is being read: its variables, its code, and the blocks that are open in it
 *     names      functions and globals; they stay known when the next file is read
 */
#ifndef VM_READER_H
#define VM_READER_H

#include "machine/machine.h"

struct reader;

struct reader *reader_open(struct machine *machine);

/* Reads a file. Returns a closure that runs it, which is a constant of the world. */
object_t *reader_read(struct reader *reader, const char *path);

/* Frees all code. No machine runs any more. */
void reader_close(struct reader *reader);

#endif
