/* SPDX-License-Identifier: MIT
 *
 * A table that tells which extent starts at a page. The supply enters extents (supply.h). Each call that is given a large
 * block finds its extent here: a block begins in the first page of its extent (extent.h). The table has three levels, each
 * indexed by 12 bits of a page's number, for addresses of 48 bits. All threads read and write it without a lock. A node is a
 * separate mapping, so its pages take no memory until they are written. Nodes live as long as the table.
 *
 *     address    47 .. 36    35 .. 24    23 .. 12
 *                root ─────> node ─────> leaf ─────> extent
 */
#ifndef FLI_STARTS_H
#define FLI_STARTS_H

#include "base/atomic.h"
#include "base/base.h"

struct fli_extent;

enum {
    FLI_STARTS_LEVELS = 3,
    FLI_STARTS_SLOT_BITS = 12,
    FLI_STARTS_PAGE_BITS = 12,
    FLI_STARTS_SLOTS = 1 << FLI_STARTS_SLOT_BITS,
    FLI_STARTS_ADDRESS_BITS = FLI_STARTS_PAGE_BITS + FLI_STARTS_LEVELS * FLI_STARTS_SLOT_BITS
};

struct fli_starts {
    FLI_ATOMIC(void *) root;
};

struct fli_starts_node {
    FLI_ATOMIC(void *) slots[FLI_STARTS_SLOTS];
};

/* Enters an extent. Returns false, and enters nothing, if memory is refused or the address has more than 48 bits. To
 * enter at an address that was entered before always succeeds. */
bool fli_starts_enter(struct fli_starts *starts, const void *start, struct fli_extent *extent);

/* Removes the extent that was entered at the address; leaves any other that is there. */
void fli_starts_remove(struct fli_starts *starts, const void *start, struct fli_extent *extent);

/* The node at a slot, or NULL. */
static inline struct fli_starts_node *fli_starts_node_at(FLI_ATOMIC(void *) * slot)
{
    /* L1: acquire, pairs with L2: the node can be read. */
    return (struct fli_starts_node *)fli_load_acquire(slot);
}

/* The slot for an address in a node, `level` levels above the leaves. NULL if there is no node. */
static inline FLI_ATOMIC(void *) * fli_starts_step(struct fli_starts_node *node, uintptr_t address, unsigned level)
{
    unsigned shift = FLI_STARTS_PAGE_BITS + level * FLI_STARTS_SLOT_BITS;
    return FLI_LIKELY(node != NULL) ? &node->slots[address >> shift & (FLI_STARTS_SLOTS - 1)] : NULL;
}

/* The slot of an address in a leaf. NULL if there is no such leaf. */
static inline FLI_ATOMIC(void *) * fli_starts_slot(struct fli_starts *starts, const void *address)
{
    uintptr_t key = (uintptr_t)address;
    FLI_ATOMIC(void *) *slot = FLI_LIKELY(key >> FLI_STARTS_ADDRESS_BITS == 0) ? &starts->root : NULL;
    for (unsigned level = FLI_STARTS_LEVELS; level-- > 0 && slot != NULL;)
        slot = fli_starts_step(fli_starts_node_at(slot), key, level);
    return slot;
}

/* The extent that was entered at the page in which the address lies, or NULL. Any address. Wait-free. */
static inline struct fli_extent *fli_starts_find(struct fli_starts *starts, const void *address)
{
    FLI_ATOMIC(void *) *slot = fli_starts_slot(starts, address);
    /* L4: acquire, pairs with L3. */
    return FLI_LIKELY(slot != NULL) ? (struct fli_extent *)fli_load_acquire(slot) : NULL;
}

/* Returns the table's memory to the OS. No other thread uses the table. */
void fli_starts_close(struct fli_starts *starts);

#endif
