/* SPDX-License-Identifier: MIT
 *
 * The slow half of freeing: what the inline parts of inline.h and the typed functions hand on.
 */
#ifndef FLI_FREE_H
#define FLI_FREE_H

#include "api/verify.h"

/* Frees on behalf of the public function. Keeps errno. */
void fli_free(struct fl_thread *thread, void *block, const struct fli_free *how);

/* By far the most frequent ways to a slow half: an attached thread exchanges a magazine, nothing is wrong or waits to be
 * told, and `header` is the heap's. They return false in any other case, and the block is still to be freed. The class
 * is that of the size. */
bool fli_free_quickly(struct fl_thread *thread, void *block, unsigned class_index, const struct fl_header *header);
bool fli_defer_quickly(struct fl_thread *thread, void *block, unsigned class_index, const struct fl_header *header);

#endif
