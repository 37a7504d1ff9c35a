/* SPDX-License-Identifier: MIT
 *
 * Lists of records that contain their links, and rings: lists that know their last record as well as their first. The
 * caller serialises.
 *
 *     first ──> record ──next──> record ──next──> NULL
 *       ^────────at         ^───────at
 */
#ifndef FLI_LIST_H
#define FLI_LIST_H

#include "base/atomic.h"

#include <stdbool.h>
#include <stddef.h>

/* ---- Lists. A list is a pointer to its first record, a word that a lock guards: FLI_PLAIN(type *). */

/* The links of a record on one list. `at` points to the pointer that points to the record. */
#define FLI_LINKS(type)                                                                                              \
    struct {                                                                                                         \
        FLI_PLAIN(type *) next;                                                                                      \
        FLI_PLAIN(type *) * at;                                                                                      \
    }

/* Adds a record, as the first of the list `*first`. */
#define FLI_LIST_ADD(first, record, links)                                                                           \
    do {                                                                                                             \
        (record)->links.next = *(first);                                                                             \
        (record)->links.at = (first);                                                                                \
        if ((record)->links.next != NULL)                                                                            \
            (record)->links.next->links.at = &(record)->links.next;                                                  \
        *(first) = (record);                                                                                         \
    } while (0)

/* Removes a record from its list. The record keeps its links, so that a walk can continue from it. */
#define FLI_LIST_REMOVE(record, links)                                                                               \
    do {                                                                                                             \
        *(record)->links.at = (record)->links.next;                                                                  \
        if ((record)->links.next != NULL)                                                                            \
            (record)->links.next->links.at = (record)->links.at;                                                     \
    } while (0)

/* ---- Rings. A ring is itself a link, whose neighbours are the first record's link and the last one's. */

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
