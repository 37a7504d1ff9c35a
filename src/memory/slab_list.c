/* SPDX-License-Identifier: MIT */
#include "memory/slab_list.h"

/* Merges two lists, each with the highest number first, into one. */
static uint32_t merge(const struct fli_slabs *slabs, uint32_t a, uint32_t b)
{
    uint32_t lowest_first = 0, all = 0;
    while (a != 0 || b != 0)
        fli_slab_list_add(slabs, &lowest_first, fli_slab_list_take(slabs, a > b ? &a : &b));
    while (lowest_first != 0)
        fli_slab_list_add(slabs, &all, fli_slab_list_take(slabs, &lowest_first));
    return all;
}

/* A merge sort, where sorted[i] has 2^i slabs or none. */
void fli_slab_list_sort(const struct fli_slabs *slabs, uint32_t *first)
{
    uint32_t sorted[32] = {0};
    if (*first == 0 || fli_slab_at(slabs, *first)->next == 0)
        return;
    while (*first != 0) {
        uint32_t list = fli_slab_list_take(slabs, first);
        unsigned i = 0;
        for (; sorted[i] != 0; sorted[i++] = 0)
            list = merge(slabs, sorted[i], list);
        sorted[i] = list;
    }
    for (unsigned i = 0; i < 32; i++)
        *first = merge(slabs, sorted[i], *first);
}
