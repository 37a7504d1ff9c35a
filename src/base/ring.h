/* SPDX-License-Identifier: MIT
 *
 * Rings: lists that know their last record as well as their first. A record contains its link. The ring itself is a
 * link, whose neighbours are the first record and the last. Any record can be removed. The caller serialises.
 */
#ifndef FLI_RING_H
#define FLI_RING_H

#include <stdbool.h>
#include <stddef.h>

struct fli_link {
    struct fli_link *next, *previous;
};

/* The record, of type `type`, whose `member` is the link at `link`. */
#define FLI_RING_OF(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void fli_ring_init(struct fli_link *ring)
{
    ring->next = ring->previous = ring;
}

static inline bool fli_ring_is_empty(const struct fli_link *ring)
{
    return ring->next == ring;
}

static inline void fli_ring_put_first(struct fli_link *ring, struct fli_link *link)
{
    link->next = ring->next;
    link->previous = ring;
    ring->next->previous = link;
    ring->next = link;
}

/* Removes a record's link from the ring that it is on. */
static inline void fli_ring_remove(struct fli_link *link)
{
    link->next->previous = link->previous;
    link->previous->next = link->next;
}

#endif
