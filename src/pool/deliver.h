/* SPDX-License-Identifier: MIT
 *
 * Sending blocks home: each sets its bit in its slab, under the lock of the slab's home. Blocks that come in a row and
 * are of one slab are sent together, and neighbours among them a word of bits at a time. This is where a block that a
 * fast path took unseen is looked at: what is the start of no block, or is free already, is noted as a stray.
 */
#ifndef FLI_DELIVER_H
#define FLI_DELIVER_H

#include "pool/homes.h"

/* Sends home those of `count` blocks whose home it is, and moves the others down to the start of the array. Returns how
 * many these are. Among the former, what is no block or was free is noted as a stray. */
unsigned fli_deliver(struct fli_homes *homes, struct fli_home *home, unsigned class_index, void **blocks,
                     unsigned count);

/* Sends home the blocks of a slab of it that `bits` names. */
void fli_deliver_bits(struct fli_homes *homes, struct fli_home *home, uint32_t slab, const uint64_t *bits);

#endif
