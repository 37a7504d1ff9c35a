/* SPDX-License-Identifier: MIT
 *
 * The types of a fuzzed program, and how their objects end. All have the same callbacks: these find the block in the
 * model, verify it, end what it has, and take it out of the model.
 *
 *     0       8       16            24
 *     +-------+-------+-------------+-----------------
 *     | header, words | finalized   | contents
 *     |               | or the part |
 *     +-------+-------+-------------+-----------------
 */
#ifndef FUZZ_TYPES_H
#define FUZZ_TYPES_H

#include <setjmp.h>

#include "model.h"

enum { TYPES_MADE = 8 };

/* How an object is ended. */
enum how { BY_DEALLOC, BY_KIND, BY_TAG, BY_DEFERRED, HOWS };

/* Makes the fixed types ready, the first time, and forgets the others. */
void types_begin(void);

/* Makes a type out of three bytes. Verifies that a type that is refused stays as it was. */
void types_make(unsigned char a, unsigned char b, unsigned char c);

/* The n-th type, or one behind it, that a heap with these options can have; of objects or of others. */
const struct fl_type *types_pick(unsigned n, const struct fl_options *options, bool objects);

/* A type whose header is not that of such a heap. */
const struct fl_type *types_stranger(const struct fl_options *options);

/* A type whose dead objects cannot wait for fl_run_pending. */
const struct fl_type *types_wordless(void);

/* Whether objects of the type have callbacks that end other blocks. */
bool types_has_children(const struct fl_type *type);

/* Whether it is a constructed type. */
bool types_is_constructed(const struct fl_type *type);

/* The size of an instance, for a type of variable size one that depends on `extra`. */
size_t types_size(const struct fl_type *type, unsigned extra);

/* Drops a reference to an object, or ends a block of a type. */
void types_end(struct fl_thread *thread, struct block *block, enum how how);

/* What becomes of a block when its last reference is gone: whether a callback will tell when it ends. */
enum block_state types_dead_state(const struct block *block, enum fl_dealloc_kind kind);

/* Adds an instance that was just allocated, with what the library is to find in it. */
struct block *types_add(unsigned heap, void *start, size_t size, const struct fl_type *type, bool is_object);

/* Where the next callback that is to be left jumps to; NULL: none is left. */
extern jmp_buf *types_leave;

/* Which heaps have grace periods. */
extern bool types_has_grace[MODEL_HEAPS];

#endif
