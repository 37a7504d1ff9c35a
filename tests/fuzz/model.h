/* SPDX-License-Identifier: MIT
 *
 * The model of a fuzzed program: what it has of each heap, with which size, type and contents.
 *
 *     LIVE      the program has the block
 *     DEAD      its last reference is gone, and a callback of its type is still to come: the block is allocated
 *     KEPT      a dead object that a thread keeps constructed: the block is allocated
 *     MAYBE     its last reference is gone, and no callback tells when the block is freed
 *     DEFERRED  the block waits for a grace period: its contents stay, and nobody gets it
 *
 *     live in the statistics of a heap = LIVE + DEAD + KEPT + some of MAYBE
 */
#ifndef FUZZ_MODEL_H
#define FUZZ_MODEL_H

#include "world.h"

enum { MODEL_BLOCKS = 2048, MODEL_CHILDREN = 4, MODEL_HEAPS = 3 };

enum block_state { NO_BLOCK, LIVE, DEAD, KEPT, MAYBE, DEFERRED };

struct block {
    enum block_state state;
    unsigned heap; /* the number of the heap */
    char *start;
    size_t size;                /* as asked for */
    size_t usable;              /* what the library said when the block was new */
    const struct fl_type *type; /* NULL: it has none */
    bool is_object;             /* of object.h: it has references */
    unsigned references;        /* all of them */
    unsigned held;              /* those of the program; it does not end what it has no reference to */
    bool is_busy;               /* a call is under way that needs it */
    bool resurrects;            /* the next `finalize` shows it to the program again */
    bool leaves;                /* the next `clear` is left by longjmp, if an operation waits for that */
    bool defers;                /* its memory is deferred after the callbacks */
    bool finalized;
    unsigned char seed;                     /* of the contents */
    int64_t deferred_at;                    /* world.begun when it was deferred */
    struct block *children[MODEL_CHILDREN]; /* blocks that it has, or references to them */
    struct block *next;                     /* of those in the same bucket */
};

/* How many bytes of an instance of a type the library and the headers of objects may use. */
enum { HEADER_BYTES = 24 };

/* The heaps of the program; NULL: there is none of this number. */
extern struct fl_heap *model_heaps[MODEL_HEAPS];

void model_begin(void);

/* The number of a heap. */
unsigned model_number(const struct fl_heap *heap);

/* Whether there is room for some more blocks. */
bool model_has_room(size_t blocks);

/* Adds a block that the library has just handed out, and fills it. */
struct block *model_add(unsigned heap, void *start, size_t size, const struct fl_type *type);

/* The block that starts there, in any state but NO_BLOCK; NULL if there is none. */
struct block *model_find(const void *start);

/* The n-th live block of a heap that the program may end, from the newest on, that fits; NULL if there is none. */
struct block *model_pick(unsigned heap, size_t n, bool (*fits)(const struct block *block));

/* Verifies that the contents are as the program has left them. */
void model_verify(const struct block *block);
void model_fill(struct block *block);

/* The program has lost the block. */
void model_remove(struct block *block);

/* The block begins to wait for a grace period. */
void model_defer(struct block *block);

/* The heap is gone, with all blocks. */
void model_remove_heap(unsigned heap);

/* Verifies all blocks of all heaps: their contents, and that none overlaps another. */
void model_verify_all(void);

/* Verifies what the library says of a heap: its check, its statistics, and, if `walks`, a walk and a census. */
void model_verify_heap(unsigned heap, bool walks);

/* How many blocks of a heap are in a state. */
size_t model_count(unsigned heap, enum block_state state);

#endif
