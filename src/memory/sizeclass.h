/* SPDX-License-Identifier: MIT
 *
 * Size classes: which block size serves a request, and how many blocks of it a magazine holds.
 *
 *     class      1 ..  32    16 to 512 bytes in steps of 16
 *     class     33 ..  80    eight steps to each doubling: 576, 640, .. 1024, 1152, .. 2048, .. 32768
 *     class      0           none: sizes above FL_BLOCK_MAX, and size 0, which the slow half serves from class 1
 *
 * A block above 512 bytes exceeds its request by less than 1/8 of the power of two below the request. That is less than
 * 11.2 % of the block. fl_size_class in inline.h maps sizes to classes; this file has the inverse.
 */
#ifndef FLI_SIZECLASS_H
#define FLI_SIZECLASS_H

#include "base/base.h"

/* Bytes of a block of the class, 1 to FL_CLASS_COUNT - 1. */
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

/* Whether the host may ask for this alignment: a power of two up to FL_ALIGNMENT_MAX. A block has it if the requested
 * size is a multiple of it. Either the step between classes divides the alignment, and then the block has exactly the
 * requested size. Or the step is a multiple of the alignment, and so is the size of the block. Slabs and large blocks
 * start at pages. */
static inline bool fli_is_alignment(size_t alignment)
{
    return alignment - 1 < FL_ALIGNMENT_MAX && (alignment & (alignment - 1)) == 0;
}

/* How many blocks a magazine of the class holds, in a heap limited to `limit_bytes` whose magazines have room for
 * `largest` blocks. */
unsigned fli_class_magazine_blocks(unsigned class_index, unsigned largest, size_t limit_bytes);

#endif
