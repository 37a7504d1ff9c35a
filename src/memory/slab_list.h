/* SPDX-License-Identifier: MIT
 *
 * Lists of slabs, linked through `next` and `previous` of their records. A list is a word: the number of its first
 * slab, 0 if it is empty. Both links of a slab on no list are 0, so its number is a list that has only this slab. The
 * caller serialises.
 */
#ifndef FLI_SLAB_LIST_H
#define FLI_SLAB_LIST_H

#include "memory/slab.h"

/* Adds a slab to a list, as its first. */
static inline void fli_slab_list_add(const struct fli_slabs *slabs, FLI_PLAIN(uint32_t) * first, uint32_t slab)
{
    struct fli_slab *record = fli_slab_at(slabs, slab);
    record->previous = 0;
    record->next = *first;
    if (*first != 0)
        fli_slab_at(slabs, *first)->previous = slab;
    *first = slab;
}

/* Removes a slab from its list. */
static inline void fli_slab_list_remove(const struct fli_slabs *slabs, FLI_PLAIN(uint32_t) * first, uint32_t slab)
{
    struct fli_slab *record = fli_slab_at(slabs, slab);
    if (*first == slab)
        *first = record->next;
    else
        fli_slab_at(slabs, record->previous)->next = record->next;
    if (record->next != 0)
        fli_slab_at(slabs, record->next)->previous = record->previous;
    record->next = 0;
    record->previous = 0;
}

/* Removes the first slab of a list, and returns it; 0 if there is none. */
static inline uint32_t fli_slab_list_take(const struct fli_slabs *slabs, FLI_PLAIN(uint32_t) * first)
{
    uint32_t slab = *first;
    if (slab != 0)
        fli_slab_list_remove(slabs, first, slab);
    return slab;
}

/* Sorts a list, the highest number first. */
void fli_slab_list_sort(const struct fli_slabs *slabs, uint32_t *first);

#endif
