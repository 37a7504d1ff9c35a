/* SPDX-License-Identifier: MIT
 *
 * Large blocks of hardened heaps: whether a block was written while it was free, or behind its end. What is found is a
 * stray (memory/stray.h). AddressSanitizer sees for itself what lies behind a block.
 *
 * A freed block has a checksum, in the record of its extent, which is compared when the extent serves again. What is left
 * of the last page of a live block is zero. The caller has the extent in hand.
 */
#ifndef FLI_SEAL_H
#define FLI_SEAL_H

#include "large/large.h"

/* A block begins: looks whether the one that was freed before it has been written, and clears the rest of the page. */
FLI_COLD void fli_seal_begin(struct fli_large *large, struct fli_extent *extent, size_t size);

/* A block has ended: looks whether it was written behind its end. */
FLI_COLD void fli_seal_inspect(struct fli_large *large, const struct fli_extent *extent, size_t size);

/* A block of the size is free now: takes its checksum. */
FLI_COLD void fli_seal_end(struct fli_large *large, struct fli_extent *extent, size_t size);

#endif
