/* SPDX-License-Identifier: MIT */
#include "base/sizeclass.h"

/* What the blocks of one magazine may weigh, for that is what a thread keeps to itself. But so many are worth an
 * exchange however much they weigh, unless that is more than a small part of what the heap may have. */
enum { MAGAZINE_BYTES = 16 << 10, MAGAZINE_BLOCKS_WORTH = 8, MAGAZINES_PER_LIMIT = 1024, MAGAZINE_BLOCKS_MIN = 2 };

unsigned fli_class_magazine_blocks(unsigned class_index, unsigned largest, size_t limit_bytes)
{
    size_t bytes = fli_class_bytes(class_index);
    bool worth = MAGAZINE_BLOCKS_WORTH * bytes <= limit_bytes / MAGAZINES_PER_LIMIT;
    size_t blocks = fli_max(MAGAZINE_BYTES / bytes, worth ? MAGAZINE_BLOCKS_WORTH : MAGAZINE_BLOCKS_MIN);
    return (unsigned)fli_min(blocks, largest);
}
