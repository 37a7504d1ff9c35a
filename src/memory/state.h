/* SPDX-License-Identifier: MIT
 *
 * Block states: a word per block, apart from the blocks, that says who has it. Only hardened heaps have them.
 *
 *     31 30   29 ........................ 0
 *     +-----+-----------------------------+
 *     |     |                             |
 *     +-----+-----------------------------+
 *      unused  zero: never freed since its slab began          | fli_state_begin    its allocation
 *      live    the size that it was allocated with             | fli_state_end      its free: of two, one succeeds
 *      deferred                                                | fli_state_release  its grace period has ended
 *      free    a checksum of its contents as they were freed   v
 *
 * The library never writes to a free block, so it cannot fill it with a pattern. Instead the checksum is taken when the
 * block becomes free, and compared when it is allocated again: a block that was written meanwhile is noted
 * (memory/stray.h). The checksum is keyed, and depends on the block's address. A write that it does not see must hit one
 * of 2^30 values. It covers all of a block up to FLI_STATE_WHOLE bytes, and of a larger one the first and the last half
 * of so many; but not the header that stale readers may write.
 *
 * A thread that has a block in hand writes its word; a free changes it from live by a compare-and-swap. That is relaxed:
 * the word only shows that a block has two owners, and no other memory is read because of it.
 */
#ifndef FLI_STATE_H
#define FLI_STATE_H

#include "memory/slab.h"

enum { FLI_STATE_WHOLE = 1024 };

/* What came of a free. */
enum fli_state_result {
    FLI_STATE_DONE,
    FLI_STATE_NOT_LIVE,   /* the block is free or deferred already; nothing has changed */
    FLI_STATE_WRONG_SIZE, /* it was allocated with another size; nothing has changed */
};

/* A block of the class begins its life with so many bytes. Notes it if it was written while it was free. */
void fli_state_begin(struct fli_slabs *slabs, unsigned class_index, const void *block, size_t size);

/* It ends its life: it is free, or deferred. If the caller is `sized`, it says that the block has `size` bytes.
 * `*actual` becomes what it has, if that is another size. Any thread. */
enum fli_state_result fli_state_end(struct fli_slabs *slabs, unsigned class_index, const void *block, bool deferred,
                                    bool sized, size_t size, size_t *actual);

/* Deferred blocks are free now; those of a slab that `bits` name. */
void fli_state_release(struct fli_slabs *slabs, unsigned class_index, void *const *blocks, size_t count);
void fli_state_release_marked(struct fli_slabs *slabs, unsigned class_index, uint32_t slab, const uint64_t *bits);

/* A live block has another size. */
void fli_state_resize(struct fli_slabs *slabs, unsigned class_index, const void *block, size_t size);

/* What would come of a free, a moment ago. Any thread. */
enum fli_state_result fli_state_judge(const struct fli_slabs *slabs, unsigned class_index, const void *block,
                                      bool sized, size_t size, size_t *actual);

/* Whether a block is live, a moment ago. Any thread. */
bool fli_state_is_live(const struct fli_slabs *slabs, unsigned class_index, const void *block);

/* The blocks of a slab that begins are unused. Under the lock of the slabs. */
void fli_state_reset(struct fli_slabs *slabs, uint32_t slab, unsigned blocks);

/* A keyed checksum of the first and last bytes of a piece of memory of `size` bytes at an address, as above. */
uint32_t fli_state_checksum(const struct fli_random_key *key, const char *at, size_t size);

#endif
