/* SPDX-License-Identifier: MIT
 *
 * The pool: lock-free stacks of magazines, shared by the threads of a heap. Per size class one stack of magazines
 * that hold blocks, and one stack of empty magazines for all classes.
 *
 * A stack is R. K. Treiber's (Systems Programming: Coping with Parallelism, IBM RJ 5118, 1986): its head is one word,
 * the index of the top magazine and a tag that counts the head's changes (atomic.h). No operation waits: a thread
 * that is stopped anywhere in here delays nobody, and of several that collide one succeeds.
 *
 *     push   magazine->next, below = what the head names; CAS head -> magazine
 *     pop    next = magazine->next of the head; CAS head -> next
 *
 * A pop may read `next` of a magazine that another thread has taken meanwhile: the magazine is mapped for ever, the
 * word is an atomic, and the tag makes the CAS fail. Every change of a head is a read-modify-write, so each pop that
 * reads from a push, or from any change after it, synchronises with that push.
 *
 *     below of a magazine on a stack = its count (1 if it is empty) + below of the magazine under it
 *
 * While the head names a magazine, neither changes; so the depth of a stack is read from its top, and nothing is
 * counted with a shared read-modify-write of its own.
 *
 * During a fork what was on a stack is set aside as a chain (fork.h). The forking thread works on that chain, which no
 * other thread sees, so that parent and child find in it what the thread has left there.
 */
#ifndef FLI_POOL_H
#define FLI_POOL_H

#include "memory/chain.h"

struct fli_stack {
    FLI_ON_OWN_LINE FLI_ATOMIC(fli_tagged) head;
    struct fli_chain held; /* during a fork: what was set aside, the forking thread's */
};

struct fli_pool {
    struct fli_stack empty;
    struct fli_stack filled[FL_CLASS_COUNT];
};

/* What one thread did to what is shared: written by that thread, read by statistics. */
struct fli_pool_counters {
    FLI_ATOMIC(uint64_t) exchanges;    /* filled magazines pushed and popped */
    FLI_ATOMIC(uint64_t) updates;      /* successful read-modify-writes of a head */
    FLI_ATOMIC(uint64_t) cas_failures; /* failed ones */
    FLI_ATOMIC(uint64_t) home_visits;  /* homes locked to take blocks there or to bring them */
};

/* Makes a stack that names no magazine. */
void fli_stack_init(struct fli_stack *stack);

void fli_pool_init(struct fli_pool *pool);

/* Pushes a magazine that the caller owns, with its count set; it is anybody's then. Returns the blocks on the stack
 * with it. Lock-free. */
uint64_t fli_stack_push_mpmc(struct fli_stack *stack, const struct fli_magazines *magazines,
                             struct fli_magazine *magazine, struct fli_pool_counters *counters);

/* Pops a magazine, which is the caller's then; NULL if the stack is empty. Lock-free. */
struct fli_magazine *fli_stack_pop_mpmc(struct fli_stack *stack, const struct fli_magazines *magazines,
                                        struct fli_pool_counters *counters);

/* Takes the whole stack. Returns the index of its top, the others follow through `next`; 0 if it is empty. Lock-free.
 */
uint32_t fli_stack_take_all_mpmc(struct fli_stack *stack, struct fli_pool_counters *counters);

/* The index of the stack's top, 0 if it is empty. A number of a moment ago. */
uint32_t fli_stack_top(struct fli_stack *stack);

/* The blocks on the stack a moment ago; on the stack of empty magazines, the magazines. */
uint64_t fli_stack_blocks(struct fli_stack *stack, const struct fli_magazines *magazines);

/* Puts a list that fli_stack_take_all_mpmc returned on the stack again. Lock-free. */
void fli_stack_put_back_mpmc(struct fli_stack *stack, const struct fli_magazines *magazines, uint32_t first,
                             struct fli_pool_counters *counters);

/* Makes such a list all that is on the stack. For the child of a fork, where no other thread runs. */
void fli_stack_reset_stw(struct fli_stack *stack, uint32_t first);

#endif
