/* SPDX-License-Identifier: MIT
 *
 * Idle slabs: those without a class. Warm ones keep their memory and are the next to be used; the memory of cold ones
 * went back to the OS. Where the OS does not take it, because it is locked, a cold slab is a kept one: it does not count
 * for the heap's limit, but statistics say that its memory is there, and the next trim tries again.
 *
 * A chunk is 2 MiB of slabs, as much as a huge page.
 *
 * Huge pages are asked for when memory is committed, past the first chunks of a heap, so that a small heap stays small.
 * A chunk of which some slabs are cold and others are not has small pages: with huge ones the OS could bring back what
 * was returned. Where a whole chunk is cold, the first of its slabs that is used brings the memory of all, so all become
 * warm at once. Slabs are taken lowest address first.
 *
 *     cold_count = sum over the chunks of their cold bits; kept_count likewise; kept bits are among the cold ones
 *
 * All of this is under the lock of the slabs.
 */
#ifndef FLI_IDLE_H
#define FLI_IDLE_H

#include "memory/slab.h"

enum { FLI_CHUNK_SLABS = 32, FLI_CHUNK_BYTES = FLI_CHUNK_SLABS * FLI_SLAB_BYTES };

/* A slab without a class, with its memory; or 0. Under the lock. */
uint32_t fli_idle_obtain(struct fli_slabs *slabs);

/* Asks for huge pages for the memory committed since it was `before` bytes. Under the lock. */
void fli_idle_advise_new(struct fli_slabs *slabs, size_t before);

/* Makes a list of retired slabs idle, and leaves at most `warm_most` slabs warm. Returns the bytes
 * returned to the OS. Locks. */
size_t fli_idle_make(struct fli_slabs *slabs, uint32_t retired, size_t warm_most);

/* Tries again to return the memory of kept slabs. Returns the bytes returned. Locks. */
size_t fli_idle_return_kept(struct fli_slabs *slabs);

/* Bytes of the slabs that are warm. Locks. */
size_t fli_idle_warm_bytes(struct fli_slabs *slabs);

#endif
