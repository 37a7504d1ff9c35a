/* SPDX-License-Identifier: MIT */
#include "memory/sizeclass.h"

/* Bytes of blocks that a magazine holds: they bound what a thread caches. It holds so many blocks in any case, unless
 * these would be more than 1/1024 of the heap's limit; and two at least. */
enum { MAGAZINE_BYTES = 16 << 10, MAGAZINE_BLOCKS_WORTH = 16, MAGAZINES_PER_LIMIT = 1024, MAGAZINE_BLOCKS_MIN = 2 };

unsigned fli_class_magazine_blocks(unsigned class_index, unsigned largest, size_t limit_bytes)
{
    size_t bytes = fli_class_bytes(class_index);
    size_t worth = fli_min(limit_bytes / MAGAZINES_PER_LIMIT / bytes, MAGAZINE_BLOCKS_WORTH);
    size_t blocks = fli_max(MAGAZINE_BYTES / bytes, fli_max(worth, MAGAZINE_BLOCKS_MIN));
    return (unsigned)fli_min(blocks, largest);
}
