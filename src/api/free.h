/* SPDX-License-Identifier: MIT
 *
 * The slow half of freeing. The inline functions (inline.h) and the typed functions (type.c) call it when the cache
 * has no room. fl_free also calls it for a block that lies in no slab.
 */
#ifndef FLI_FREE_H
#define FLI_FREE_H

#include "api/verify.h"

/* Frees on behalf of the public function, or reports misuse. Keeps errno. The handle's thread; no lock may be
 * held. */
void fli_free(struct fl_thread *thread, void *block, const struct fli_free *how);

/* The most frequent cases of a free and a deferred free. The handle is attached (and online), `header` is the heap's,
 * the block lies in a slab of the class, and nothing is wrong. Both return false otherwise, and have done nothing: then
 * the caller calls fli_free. The class is that of the size. */
bool fli_free_quickly(struct fl_thread *thread, void *block, unsigned class_index, const struct fl_header *header);
bool fli_defer_quickly(struct fl_thread *thread, void *block, unsigned class_index, const struct fl_header *header);

#endif
