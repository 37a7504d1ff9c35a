/* SPDX-License-Identifier: MIT
 *
 * The slow halves behind the public functions: what the inline parts of inline.h hand on.
 */
#ifndef FLI_ALLOC_H
#define FLI_ALLOC_H

#include "thread.h"

/* Allocates on behalf of the public function. NULL with errno ENOMEM. */
void *fli_alloc(struct fl_thread *thread, size_t size, bool zeroed);

/* What a free knows and is checked against. */
struct fli_free {
    const char *call; /* the public function */
    const char *type; /* the name of the type, or NULL */
    size_t size;      /* the size it says the block has */
    bool sized;       /* whether it says so */
};

/* Frees on behalf of the public function. Keeps errno. */
void fli_free(struct fl_thread *thread, void *block, const struct fli_free *how);

/* Whether such a free of the block would be in order, as far as the build can tell; tells the host if not. */
bool fli_check_live(struct fl_thread *thread, const void *block, const struct fli_free *how);

#endif
