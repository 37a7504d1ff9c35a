/* SPDX-License-Identifier: MIT */
#include "sizeclass.h"

/* What the blocks of one magazine may weigh, unless it holds only two: it bounds what a thread keeps to itself. */
enum { MAGAZINE_BYTES = 16 << 10, MAGAZINE_BLOCKS_MIN = 2 };

unsigned fli_class_magazine_blocks(unsigned class_index, unsigned largest)
{
    size_t blocks = fli_min(MAGAZINE_BYTES / fli_class_bytes(class_index), largest);
    return (unsigned)fli_max(blocks, MAGAZINE_BLOCKS_MIN);
}
