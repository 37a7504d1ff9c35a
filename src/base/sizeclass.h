/* SPDX-License-Identifier: MIT
 *
 * Size classes: which block size serves a request, and how many blocks of it a magazine carries.
 *
 *     class      1 ..  32    16 to 512 bytes in steps of 16
 *     class     33 ..  80    eight steps to each doubling: 576, 640, .. 1024, 1152, .. 2048, .. 32768
 *     class      0           none: sizes above FL_BLOCK_MAX, and size 0, which the slow half serves from class 1
 *
 * Above 512 bytes a block is at most 1/8 of the lower power of two larger than the request, less than 11.2 % of the
 * block. fl_size_class in inline.h is the map from sizes to classes; this file has its inverse.
 */
#ifndef FLI_SIZECLASS_H
#define FLI_SIZECLASS_H

#include "base/base.h"

/* Bytes of a block of `class`, 1 to FL_CLASS_COUNT - 1. */
static inline size_t fli_class_bytes(unsigned class_index)
{
    if (class_index <= 32)
        return (size_t)class_index * 16;
    unsigned doubling = (class_index - 33) / 8;
    unsigned step = (class_index - 33) % 8 + 1;
    return ((size_t)512 << doubling) + ((size_t)64 << doubling) * step;
}

/* The class that serves `size`, size 0 included; 0 if it is too large for any. */
static inline unsigned fli_class_of_size(size_t size)
{
    return (unsigned)fl_size_class(size == 0 ? 1 : size);
}

/* Whether blocks can be asked to start at multiples of this. A block of a size that is a multiple of a power of two up to
 * FL_ALIGNMENT_MAX does: such sizes are those of blocks, for the steps between these either divide the alignment or are
 * divided by it; and slabs, and large blocks, start at pages. */
static inline bool fli_is_alignment(size_t alignment)
{
    return alignment - 1 < FL_ALIGNMENT_MAX && (alignment & (alignment - 1)) == 0;
}

/* Blocks that a magazine of the class holds, in a heap of at most `limit_bytes` where the largest may hold
 * `largest`. */
unsigned fli_class_magazine_blocks(unsigned class_index, unsigned largest, size_t limit_bytes);

#endif
