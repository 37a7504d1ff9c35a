/* SPDX-License-Identifier: MIT
 *
 * What the child of a fork may find of another thread's work: its memory as it was at some instant, with any stores
 * missing that the memory orders do not keep in their place.
 *
 * A program that includes this is compiled with -fsanitize=thread and linked with snapshot.c in place of the
 * sanitizer's runtime. So it hears of each store of the library, plain or atomic, with its order.
 *
 *     a store that releases     comes after all stores before it in the program
 *     any other store           comes after earlier stores to the same bytes, and may be early or late otherwise
 *
 * A snapshot has all stores that come before one that it has. In C11 a fork is not an acquire of anything; this is
 * what a compiler may make of stores that are in the order of the program, and what the kernel then copies.
 */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include <stdint.h>

/* Does the work once, on the calling thread, and calls `look` in each snapshot of it. What `look` stores is undone.
 * Returns how many there were. Memory that the work frees or maps must not matter to `look`. */
unsigned long snapshot_each(void (*work)(void *context), void (*look)(void *context), void *context);

/* Ends the program unless `truth` holds. */
#define SNAPSHOT_ASSERT(truth) ((truth) ? (void)0 : snapshot_fail(__FILE__, __LINE__, #truth))

void snapshot_fail(const char *file, int line, const char *truth);

#endif
