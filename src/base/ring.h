/* SPDX-License-Identifier: MIT
 *
 * Rings: lists of which the last is known as well as the first. The links lie in what is listed. A ring is a link of
 * its own, whose neighbours are the first and the last; what stands between can be taken out from anywhere. The caller
 * serialises.
 */
#ifndef FLI_RING_H
#define FLI_RING_H

#include <stdbool.h>
#include <stddef.h>

struct fli_link {
    struct fli_link *next, *previous;
};

/* What the link at `link`, its `member`, is a part of. */
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

/* Takes a link out of the list that it is on. */
static inline void fli_ring_remove(struct fli_link *link)
{
    link->next->previous = link->previous;
    link->previous->next = link->next;
}

#endif
