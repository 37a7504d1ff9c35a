/* SPDX-License-Identifier: MIT
 *
 * Sending blocks home: each block sets its bit in its slab, under the lock of the slab's home. Blocks of one slab that
 * follow each other in the array go together. If they are neighbours in memory too, they go a word of bits at a time. A
 * block whose neighbours in the array lie in other slabs goes alone, in fewer steps: so a program that drops its objects in
 * random order pays little more than one that drops them in order.
 * Exchanges, trims and releases of deferred blocks end here.
 *
 * An inline free takes a pointer without a look. This is the first look: a pointer that is not the start of a block is
 * noted as a stray (memory/stray.h). So is one whose block is free already.
 */
#ifndef FLI_DELIVER_H
#define FLI_DELIVER_H

#include "pool/homes.h"

/* Sends home those of `count` blocks that belong to this home, and notes the strays among them. Moves the others
 * down to the start of the array and returns their number. Under the lock of the home. */
unsigned fli_deliver(struct fli_homes *homes, struct fli_home *home, unsigned class_index, void **blocks,
                     unsigned count);

/* Sends home the blocks that `bits` names of a slab of this home. Under the lock of the home. */
void fli_deliver_bits(struct fli_homes *homes, struct fli_home *home, uint32_t slab, const uint64_t *bits);

#endif
