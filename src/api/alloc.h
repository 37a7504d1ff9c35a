/* SPDX-License-Identifier: MIT
 *
 * The slow half of allocation: what the inline parts of inline.h and the typed functions hand on.
 */
#ifndef FLI_ALLOC_H
#define FLI_ALLOC_H

#include "heap/thread.h"

/* What an allocation is asked for. */
struct fli_request {
    const char *call; /* the public function */
    const char *type; /* the name of the type, or NULL */
    size_t size;
    bool zeroed;
    void *block;     /* a live block above FL_BLOCK_MAX that is to get the size, which is above it too; or NULL */
    size_t old_size; /* its size */
    const struct fl_header *header; /* of the type */
};

/* Allocates on behalf of the public function. NULL with errno ENOMEM; or, where the heap does not take such objects,
 * EINVAL, after the host has been told. */
void *fli_alloc(struct fl_thread *thread, const struct fli_request *request);

/* By far the most frequent way to a slow half: an attached thread lowers its floor or exchanges a magazine, on a heap
 * whose objects have `header`. NULL in any other case, and if there is no block: fli_alloc is to be called then. */
void *fli_alloc_quickly(struct fl_thread *thread, unsigned class_index, const struct fl_header *header);

#endif
