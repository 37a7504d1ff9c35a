/* SPDX-License-Identifier: MIT */
#include "memory/sizeclass.h"

/* Bytes of blocks that a magazine holds: they bound what a thread caches. A magazine holds at least eight blocks, or
 * two if eight would be more than 1/1024 of the heap's limit. */
enum { MAGAZINE_BYTES = 16 << 10, MAGAZINE_BLOCKS_WORTH = 8, MAGAZINES_PER_LIMIT = 1024, MAGAZINE_BLOCKS_MIN = 2 };

unsigned fli_class_magazine_blocks(unsigned class_index, unsigned largest, size_t limit_bytes)
{
    size_t bytes = fli_class_bytes(class_index);
    bool worth = MAGAZINE_BLOCKS_WORTH * bytes <= limit_bytes / MAGAZINES_PER_LIMIT;
    size_t blocks = fli_max(MAGAZINE_BYTES / bytes, worth ? MAGAZINE_BLOCKS_WORTH : MAGAZINE_BLOCKS_MIN);
    return (unsigned)fli_min(blocks, largest);
}
