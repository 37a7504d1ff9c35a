/* SPDX-License-Identifier: MIT */
#include "large/starts.h"
#include "base/os.h"

enum { SLOT_BITS = 12, SLOTS = 1 << SLOT_BITS, PAGE_BITS = 12, ADDRESS_BITS = PAGE_BITS + 3 * SLOT_BITS };

struct node {
    FLI_ATOMIC(void *) slots[SLOTS];
};

/* Makes the node of an empty slot. NULL if memory is refused. */
FLI_COLD static struct node *make_node(FLI_ATOMIC(void *) * slot)
{
    void *node = NULL, *made = fli_os_map(sizeof(struct node));
    /* L2: release, pairs with L1 and L2: the mapped node is visible. Failure: acquire, another thread was first. */
    if (made == NULL || fli_cas_strong(slot, &node, made, memory_order_release, memory_order_acquire))
        return made;
    fli_os_unmap(made, sizeof(struct node));
    return node;
}

/* The node at a slot, made if there is none and `make` says so. */
static inline struct node *node_at(FLI_ATOMIC(void *) * slot, bool make)
{
    /* L1: acquire, pairs with L2: the node can be read. */
    void *node = fli_load_acquire(slot);
    return FLI_LIKELY(node != NULL) || !make ? node : make_node(slot);
}

/* The slot in the node at a slot, or NULL. */
static inline FLI_ATOMIC(void *) * step(FLI_ATOMIC(void *) * slot, uintptr_t key, unsigned shift, bool make)
{
    struct node *node = slot != NULL ? node_at(slot, make) : NULL;
    return node != NULL ? &node->slots[key >> shift & (SLOTS - 1)] : NULL;
}

/* The slot of an address in a leaf. NULL if there is no such leaf. */
static inline FLI_ATOMIC(void *) * slot_of(struct fli_starts *starts, const void *address, bool make)
{
    uintptr_t key = (uintptr_t)address;
    if (FLI_UNLIKELY(key % ((uintptr_t)1 << PAGE_BITS) != 0 || key >> ADDRESS_BITS != 0))
        return NULL;
    FLI_ATOMIC(void *) *slot = step(&starts->root, key, PAGE_BITS + 2 * SLOT_BITS, make);
    slot = step(slot, key, PAGE_BITS + SLOT_BITS, make);
    return step(slot, key, PAGE_BITS, make);
}

bool fli_starts_enter(struct fli_starts *starts, const void *start, struct fli_extent *extent)
{
    FLI_ATOMIC(void *) *slot = slot_of(starts, start, true);
    if (slot == NULL)
        return false;
    /* L3: release, pairs with L4: the extent's record can be read. */
    fli_store_release(slot, extent);
    return true;
}

void fli_starts_remove(struct fli_starts *starts, const void *start, struct fli_extent *extent)
{
    FLI_ATOMIC(void *) *slot = slot_of(starts, start, false);
    void *expected = extent;
    if (slot != NULL)
        /* Relaxed: an empty slot publishes nothing. */
        fli_cas_strong(slot, &expected, NULL, memory_order_relaxed, memory_order_relaxed);
}

struct fli_extent *fli_starts_find(struct fli_starts *starts, const void *address)
{
    FLI_ATOMIC(void *) *slot = slot_of(starts, address, false);
    /* L4: acquire, pairs with L3. */
    return slot != NULL ? fli_load_acquire(slot) : NULL;
}

/* Unmaps a node and all nodes below it, `levels` levels in all. Relaxed: no other thread uses the table. */
static void drop(struct node *node, unsigned levels)
{
    for (unsigned i = 0; node != NULL && levels > 1 && i < SLOTS; i++)
        drop(fli_load_relaxed(&node->slots[i]), levels - 1);
    if (node != NULL)
        fli_os_unmap(node, sizeof *node);
}

void fli_starts_close(struct fli_starts *starts)
{
    drop(fli_load_relaxed(&starts->root), 3); /* relaxed: as above */
}
