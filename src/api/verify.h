/* SPDX-License-Identifier: MIT
 *
 * Judging a free: what the call says of its block, and whether that is true. The slow half of freeing (free.c), the
 * typed deallocations (type.c) and fl_realloc call this. It changes nothing, so any thread may.
 */
#ifndef FLI_VERIFY_H
#define FLI_VERIFY_H

#include "heap/thread.h"
#include "memory/state.h"

/* What a free knows and is checked against. */
struct fli_free {
    const char *call;               /* the public function */
    const char *type;               /* the name of the type, or NULL */
    size_t size;                    /* the size that the call says the block has */
    bool sized;                     /* whether the call says a size */
    bool typed;                     /* whether the call knows the header */
    bool deferred;                  /* whether the block is freed after a grace period */
    const struct fl_header *header; /* of the type */
};

/* What is wrong with a free. The host hears of it once no lock is held. */
enum fli_verdict {
    FLI_IN_ORDER,
    FLI_FOREIGN,
    FLI_WRONG_SIZE,
    FLI_NO_START,
    FLI_DOUBLE_FREE,
    FLI_NO_HEAP,
    FLI_NO_GRACE,
    FLI_OFFLINE,
    FLI_OTHER_HEADER,
    FLI_WALKED
};

struct fli_outcome {
    enum fli_verdict verdict;
    const struct fl_heap *heap;
    size_t actual; /* the size that the block has, where it is known */
    bool pressure; /* deferring the block has raised pressure */
};

/* Judges the part of a free that does not depend on the block. */
enum fli_verdict fli_verify_call(const struct fl_heap *heap, bool is_offline, const struct fli_free *how);

/* Judges a free of a block that lies in a slab. `*actual` becomes the size that the block has, as far as is known. */
enum fli_verdict fli_verify_block(struct fli_slabs *slabs, unsigned class_index, const void *block,
                                  const struct fli_free *how, size_t *actual);

/* What came of a free by the block's state, which a hardened heap has. */
static inline enum fli_verdict fli_verdict_of_state(enum fli_state_result result)
{
    static const enum fli_verdict verdicts[] = {[FLI_STATE_DONE] = FLI_IN_ORDER,
                                                [FLI_STATE_NOT_LIVE] = FLI_DOUBLE_FREE,
                                                [FLI_STATE_WRONG_SIZE] = FLI_WRONG_SIZE};
    return verdicts[result];
}

/* Reports what is wrong to the misuse handler. No lock may be held. */
FLI_COLD void fli_verify_report(const void *block, const struct fli_free *how, struct fli_outcome outcome);

/* Whether a free of the block would be in order, as far as the build can tell. Reports misuse if not. No lock may be
 * held. */
bool fli_check_live(struct fl_thread *thread, const void *block, const struct fli_free *how);

/* The same for a call on a heap, by a handle that is offline or not. */
bool fli_check_live_in(struct fl_heap *heap, bool is_offline, const void *block, const struct fli_free *how);

#endif
