/* SPDX-License-Identifier: MIT
 *
 * A table that tells which extent starts at an address. The supply enters extents (supply.h); each call that is given a
 * large block finds its extent here. The table has three levels, each indexed by 12 bits of a page's number, for
 * addresses of 48 bits. All threads read and write it without a lock. A node is a separate mapping, so its pages take
 * no memory until they are written. Nodes live as long as the table.
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

/* Enters an extent. Returns false, and enters nothing, if memory is refused or the address has more than 48 bits. To
 * enter at an address that was entered before always succeeds. */
bool fli_starts_enter(struct fli_starts *starts, const void *start, struct fli_extent *extent);

/* Removes the extent that was entered at the address; leaves any other that is there. */
void fli_starts_remove(struct fli_starts *starts, const void *start, struct fli_extent *extent);

/* The extent that was entered at the address, or NULL. Any address. Wait-free. */
struct fli_extent *fli_starts_find(struct fli_starts *starts, const void *address);

/* Returns the table's memory to the OS. No other thread uses the table. */
void fli_starts_close(struct fli_starts *starts);

#endif
