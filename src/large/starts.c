/* SPDX-License-Identifier: MIT */
#include "large/starts.h"
#include "base/os.h"

/* Makes the node of an empty slot. NULL if memory is refused. */
FLI_COLD static void *make_node(FLI_ATOMIC(void *) * slot)
{
    void *node = NULL, *made = fli_os_map(sizeof(struct fli_starts_node));
    /* L2: release, pairs with L1 and L2: the mapped node is visible. Failure: acquire, another thread was first. */
    if (made == NULL || fli_cas_strong(slot, &node, made, memory_order_release, memory_order_acquire))
        return made;
    fli_os_unmap(made, sizeof(struct fli_starts_node));
    return node;
}

/* The slot of an address in a leaf; makes the nodes that are missing. NULL if memory is refused. */
FLI_COLD static FLI_ATOMIC(void *) * make_slot(struct fli_starts *starts, uintptr_t key)
{
    FLI_ATOMIC(void *) *slot = &starts->root;
    for (unsigned level = FLI_STARTS_LEVELS; level-- > 0 && slot != NULL;) {
        struct fli_starts_node *node = fli_starts_node_at(slot);
        slot = fli_starts_step(node != NULL ? node : make_node(slot), key, level);
    }
    return slot;
}

bool fli_starts_enter(struct fli_starts *starts, const void *start, struct fli_extent *extent)
{
    FLI_ATOMIC(void *) *slot = fli_starts_slot(starts, start);
    if (slot == NULL && (uintptr_t)start >> FLI_STARTS_ADDRESS_BITS == 0)
        slot = make_slot(starts, (uintptr_t)start);
    if (slot == NULL)
        return false;
    /* L3: release, pairs with L4: the extent's record can be read. */
    fli_store_release(slot, extent);
    return true;
}

void fli_starts_remove(struct fli_starts *starts, const void *start, struct fli_extent *extent)
{
    FLI_ATOMIC(void *) *slot = fli_starts_slot(starts, start);
    void *expected = extent;
    if (slot != NULL)
        /* Relaxed: an empty slot publishes nothing. */
        fli_cas_strong(slot, &expected, NULL, memory_order_relaxed, memory_order_relaxed);
}

/* Unmaps a node and all nodes below it, `levels` levels in all. Relaxed: no other thread uses the table. */
static void drop(struct fli_starts_node *node, unsigned levels)
{
    for (unsigned i = 0; node != NULL && levels > 1 && i < FLI_STARTS_SLOTS; i++)
        drop(fli_load_relaxed(&node->slots[i]), levels - 1);
    if (node != NULL)
        fli_os_unmap(node, sizeof *node);
}

void fli_starts_close(struct fli_starts *starts)
{
    drop(fli_load_relaxed(&starts->root), FLI_STARTS_LEVELS); /* relaxed: as above */
}
