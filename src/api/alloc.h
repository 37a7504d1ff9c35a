/* SPDX-License-Identifier: MIT
 *
 * The slow half of allocation. The inline functions (inline.h) and the typed functions (type.c) call it when they
 * find no block in the cache.
 */
#ifndef FLI_ALLOC_H
#define FLI_ALLOC_H

#include "heap/thread.h"

/* What the host asks for. */
struct fli_request {
    const char *call; /* the public function */
    const char *type; /* the name of the type, or NULL */
    size_t size;
    bool zeroed;
    bool at_page;    /* a block above FL_BLOCK_MAX is to begin at a page, for the sake of its alignment */
    void *block;     /* fl_realloc between two sizes above FL_BLOCK_MAX: the live block; otherwise NULL */
    size_t old_size; /* the size of that block */
    const struct fl_header *header; /* of the type; NULL for an untyped call */
};

/* Allocates on behalf of the public function. NULL with errno ENOMEM; or EINVAL, reported as misuse, if the heap
 * does not take objects with this header. The handle's thread; no lock may be held. */
void *fli_alloc(struct fl_thread *thread, const struct fli_request *request);

/* The most frequent case: the handle is attached, the heap's objects have `header`, and a lower floor or a refill
 * brings a block. The class is not 0. Returns NULL otherwise: then the caller calls fli_alloc. */
void *fli_alloc_quickly(struct fl_thread *thread, unsigned class_index, const struct fl_header *header);

/* Brings blocks into the cache of a class, as an allocation does. Returns how many the cache has loaded; 0 if memory is
 * refused. An entered thread; no lock may be held. */
size_t fli_alloc_fill(struct fli_thread *thread, unsigned class_index);

#endif
