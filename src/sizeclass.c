/* SPDX-License-Identifier: MIT */
#include "sizeclass.h"

/* What the blocks of one magazine may weigh, for that is what a thread keeps to itself; but so many are worth an
 * exchange however much they weigh, unless it is more than a small part of what the heap may have. */
enum { MAGAZINE_BYTES = 16 << 10, MAGAZINE_BLOCKS_WORTH = 8, MAGAZINES_PER_LIMIT = 128, MAGAZINE_BLOCKS_MIN = 2 };

unsigned fli_class_magazine_blocks(unsigned class_index, unsigned largest, size_t limit_bytes)
{
    size_t blocks = fli_max(MAGAZINE_BYTES / fli_class_bytes(class_index), MAGAZINE_BLOCKS_WORTH);
    blocks = fli_min(blocks, limit_bytes / MAGAZINES_PER_LIMIT / fli_class_bytes(class_index));
    return (unsigned)fli_min(fli_max(blocks, MAGAZINE_BLOCKS_MIN), largest);
}
