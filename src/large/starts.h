/* SPDX-License-Identifier: MIT
 *
 * Which extent starts at an address: a table of three levels by the number of the page, 12 bits each, of addresses of 48
 * bits. It is read without a lock. Nodes are memory of their own, of which only the pages that are written exist, and
 * live as long as the table.
 *
 *     address    47 .. 36    35 .. 24    23 .. 12
 *                root ─────> node ─────> leaf ─────> extent
 */
#ifndef FLI_STARTS_H
#define FLI_STARTS_H

#include "base/atomic.h"
#include "base/base.h"

struct fli_extent;

struct fli_starts {
    FLI_ATOMIC(void *) root;
};

/* Enters an extent. Returns false, and changes nothing that can be seen, if memory is refused or the address is out of
 * reach. An address that has been entered before can be entered again at any time. */
bool fli_starts_enter(struct fli_starts *starts, const void *start, struct fli_extent *extent);

/* Removes the extent that was entered at the address; leaves any other that is there. */
void fli_starts_remove(struct fli_starts *starts, const void *start, struct fli_extent *extent);

/* The extent that was entered at the address, or NULL. Any address. Wait-free. */
struct fli_extent *fli_starts_find(struct fli_starts *starts, const void *address);

/* Returns the table's memory. */
void fli_starts_close(struct fli_starts *starts);

#endif
