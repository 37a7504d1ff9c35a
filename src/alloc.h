/* SPDX-License-Identifier: MIT
 *
 * The slow halves behind the public functions: what the inline parts of inline.h hand on.
 */
#ifndef FLI_ALLOC_H
#define FLI_ALLOC_H

#include "thread.h"

/* What an allocation is asked for. */
struct fli_request {
    const char *call; /* the public function */
    const char *type; /* the name of the type, or NULL */
    size_t size;
    bool zeroed;
    const struct fl_header *header; /* of the type */
};

/* Allocates on behalf of the public function. NULL with errno ENOMEM; or, where the heap does not take such objects,
 * EINVAL, after the host has been told. */
void *fli_alloc(struct fl_thread *thread, const struct fli_request *request);

/* What a free knows and is checked against. */
struct fli_free {
    const char *call; /* the public function */
    const char *type; /* the name of the type, or NULL */
    size_t size;      /* the size it says the block has */
    bool sized;       /* whether it says so */
    bool typed;       /* it knows the header */
    bool deferred;    /* after a grace period */
    const struct fl_header *header;
};

/* Frees on behalf of the public function. Keeps errno. */
void fli_free(struct fl_thread *thread, void *block, const struct fli_free *how);

/* By far the most frequent ways to a slow half: an attached thread exchanges a magazine, nothing is wrong or waits to be
 * told, and `header` is the heap's. They return false in any other case, and the block is still to be freed. The class
 * is that of the size. */
bool fli_free_quickly(struct fl_thread *thread, void *block, unsigned class_index, const struct fl_header *header);
bool fli_defer_quickly(struct fl_thread *thread, void *block, unsigned class_index, const struct fl_header *header);

/* Whether such a free of the block would be in order, as far as the build can tell; tells the host if not. */
bool fli_check_live(struct fl_thread *thread, const void *block, const struct fli_free *how);

#endif
