/* SPDX-License-Identifier: MIT
 *
 * Unsubmitted blocks: what a thread has deferred and not submitted yet, in one magazine per class. They wait there until
 * the magazine is full, or until the thread passes a quiescent state, flushes or goes offline. Nobody else can submit them:
 * the thread may sleep. So all such magazines of a heap with up to 200 threads have a bound, `most`, at every moment.
 *
 *     most = limit / 100, or 64 MiB if there is none; an eighth of it is for the base of 200 threads (quota.h)
 *     unsubmitted of a thread = sum over its magazines of their room * bytes of a block
 *     noted of a thread      >= what it has unsubmitted beyond the base, at most a base more than that
 *     sum of what is noted   <= beyond_most
 *
 * A magazine that a thread begins has room for an eighth of what is left to it: for one block at least, for the capacity of
 * the class at most. Where less than a block is left, the thread submits all its magazines first. It does so, too, at each
 * 256th that gets less room than it could use: so classes that it no longer defers give up theirs. Where that does not
 * help, a block is submitted at once. Then the bound is exceeded by this block, for the length of the call.
 *
 * A thread takes a step with what is submitted (fli_deferred_advance) each time that it has submitted about a whole
 * magazine: small rooms do not make more steps. It looks sooner where many small magazines have been submitted, whose
 * blocks are to be gathered.
 *
 * The magazines of a real-time thread have full room, and are counted. They may exceed the bound.
 *
 * fork: the child counts anew what is noted.
 */
#ifndef FLI_UNSUBMITTED_H
#define FLI_UNSUBMITTED_H

#include "pool/deferred.h"

/* For a heap with this limit, SIZE_MAX if it has none. */
void fli_unsubmitted_init(struct fli_quota *rooms, size_t limit_bytes);

/* Defers a block of a class. `places` is where the thread keeps its magazines, by class (inline.h). Returns whether this
 * has raised pressure. The owning thread only. */
bool fli_unsubmitted_put_owner(struct fli_deferred *deferred, void ***places, unsigned class_index, void *block,
                               struct fli_owner *owner);

/* Submits the thread's magazines of some classes, and empties the set. Returns whether this has raised pressure.
 * The owning thread, or any other while that is stopped. */
bool fli_unsubmitted_submit_classes_owner(struct fli_deferred *deferred, void ***places,
                                          struct fli_class_set *classes, struct fli_owner *owner);

/* The blocks in a thread's magazine. Any thread; exact while the owner is quiet. */
size_t fli_unsubmitted_blocks(void ***place, unsigned class_index, const struct fli_backing *backing);

/* The magazine at a thread's place, or NULL. */
struct fli_magazine *fli_unsubmitted_magazine(void ***place);

/* Verifies what a thread counts of its magazines. Returns 0, or -EUCLEAN with a text in `error`. The owning thread, or any
 * other while that is stopped. */
int fli_unsubmitted_check(const struct fli_deferred *deferred, void ***places, const struct fli_owner *owner,
                          char *error, size_t error_size);

#endif
