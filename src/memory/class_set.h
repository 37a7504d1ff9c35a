/* SPDX-License-Identifier: MIT
 *
 * Sets of size classes, a bit for each.
 */
#ifndef FLI_CLASS_SET_H
#define FLI_CLASS_SET_H

#include "base/atomic.h" /* a model has fewer classes */
#include "base/base.h"

enum { FLI_CLASS_SET_WORDS = (FL_CLASS_COUNT + 31) / 32 };

struct fli_class_set {
    uint32_t words[FLI_CLASS_SET_WORDS];
};

static inline bool fli_class_set_is_empty(const struct fli_class_set *set)
{
    uint32_t any = 0;
    for (unsigned w = 0; w < FLI_CLASS_SET_WORDS; w++)
        any |= set->words[w];
    return any == 0;
}

static inline bool fli_class_set_has(const struct fli_class_set *set, unsigned class_index)
{
    return (set->words[class_index / 32] >> class_index % 32 & 1) != 0;
}

static inline void fli_class_set_add(struct fli_class_set *set, unsigned class_index)
{
    set->words[class_index / 32] |= (uint32_t)1 << class_index % 32;
}

/* Takes one class out of a set without class 0. Returns 0 if it is empty. */
static inline unsigned fli_class_set_take(struct fli_class_set *set)
{
    for (unsigned w = 0; w < FLI_CLASS_SET_WORDS; w++) {
        uint32_t word = set->words[w];
        if (word == 0)
            continue;
        set->words[w] = word & (word - 1);
        return 32 * w + (unsigned)__builtin_ctz(word);
    }
    return 0;
}

#endif
