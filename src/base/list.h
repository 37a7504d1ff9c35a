/* SPDX-License-Identifier: MIT
 *
 * Lists of records that contain their links (FLI_LINKS). A list is a pointer to its first record. The caller
 * serialises.
 *
 *     first ──> record ──next──> record ──next──> NULL
 *       ^────────at         ^───────at
 */
#ifndef FLI_LIST_H
#define FLI_LIST_H

#include <stddef.h>

/* The links of a record on one list. `at` points to the pointer that points to the record. */
#define FLI_LINKS(type)                                                                                              \
    struct {                                                                                                         \
        type *next, **at;                                                                                            \
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

#endif
