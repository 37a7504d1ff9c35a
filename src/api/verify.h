/* SPDX-License-Identifier: MIT
 *
 * What a free says of its block, and whether that is true.
 */
#ifndef FLI_VERIFY_H
#define FLI_VERIFY_H

#include "heap/thread.h"

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

/* What is wrong with a free. It is told to the host once no lock is held. */
enum fli_verdict {
    FLI_IN_ORDER,
    FLI_FOREIGN,
    FLI_WRONG_SIZE,
    FLI_NO_START,
    FLI_DOUBLE_FREE,
    FLI_NO_HEAP,
    FLI_NO_GRACE,
    FLI_OFFLINE,
    FLI_OTHER_HEADER
};

struct fli_outcome {
    enum fli_verdict verdict;
    const struct fl_heap *heap;
    size_t actual; /* WRONG_SIZE: the size that the block has */
    bool pressure; /* deferring it has raised pressure */
};

/* Judges what does not depend on the block. */
enum fli_verdict fli_verify_call(const struct fl_heap *heap, bool is_offline, const struct fli_free *how);

/* Judges a free of a block that lies in a slab. */
enum fli_verdict fli_verify_block(struct fli_slabs *slabs, unsigned class_index, const void *block,
                                  const struct fli_free *how);

/* Tells the host what is wrong. No lock may be held. */
FLI_COLD void fli_verify_report(const void *block, const struct fli_free *how, struct fli_outcome outcome);

/* Whether a free of the block would be in order, as far as the build can tell; tells the host if not. */
bool fli_check_live(struct fl_thread *thread, const void *block, const struct fli_free *how);

#endif
