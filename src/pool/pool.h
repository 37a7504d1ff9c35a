/* SPDX-License-Identifier: MIT
 *
 * The pool: lock-free stacks of magazines that the threads of a heap share. Each size class has a stack of filled
 * magazines, and all classes share a stack of empty ones. Deferred blocks collect on a stack of the same kind
 * (deferred.h).
 *
 * A stack is R. K. Treiber's (Systems Programming: Coping with Parallelism, IBM RJ 5118, 1986). Its head is one
 * word: the index of the top magazine, and a tag that counts the head's changes (atomic.h). Any thread may call any
 * function but `_stw` at any time. A thread that is stopped in here delays no other, and of several that collide one
 * succeeds.
 *
 *     push   magazine->next, below = what the head names; CAS head -> magazine
 *     pop    next = magazine->next of the head; CAS head -> next
 *
 * A pop may read `next` of a magazine that another thread has taken meanwhile. This is safe: the magazine is never
 * unmapped while the heap exists, the word is an atomic, and the tag makes the CAS fail. Every change of a head is a
 * read-modify-write. So a pop synchronises with a push if it reads from that push, or from any later change.
 *
 *     below of a magazine on a stack = its count (1 if it is empty) + below of the magazine under it
 *
 * While the head names a magazine, neither number changes. The top therefore tells the depth of a stack, and no
 * counter of its own needs a shared read-modify-write.
 *
 * During a fork, the magazines of a stack that other threads may use are set aside as a chain (fork.h). The forking
 * thread works on that chain, which no other thread sees. Parent and child then both find in it what the thread has
 * left there.
 */
#ifndef FLI_POOL_H
#define FLI_POOL_H

#include "memory/chain.h"

struct fli_stack {
    FLI_ON_OWN_LINE FLI_ATOMIC(fli_tagged) head;
    struct fli_chain held; /* during a fork: the magazines that were set aside */
    bool is_aside;         /* during a fork: the thread that forks works on `held` */
};

struct fli_pool {
    struct fli_stack empty;
    struct fli_stack filled[FL_CLASS_COUNT];
};

/* What one thread did to shared words. That thread writes the counters, statistics read them. */
struct fli_pool_counters {
    FLI_ATOMIC(uint64_t) exchanges;    /* filled magazines pushed and popped */
    FLI_ATOMIC(uint64_t) updates;      /* successful read-modify-writes of a head */
    FLI_ATOMIC(uint64_t) cas_failures; /* failed ones */
    FLI_ATOMIC(uint64_t) home_visits;  /* homes locked to take blocks there or to bring them */
};

/* Adds what a thread has counted to a sum that only the caller writes. */
static inline void fli_pool_add_counters(struct fli_pool_counters *sum, const struct fli_pool_counters *counters)
{
    fli_count(&sum->exchanges, fli_load_hint(&counters->exchanges));
    fli_count(&sum->updates, fli_load_hint(&counters->updates));
    fli_count(&sum->cas_failures, fli_load_hint(&counters->cas_failures));
    fli_count(&sum->home_visits, fli_load_hint(&counters->home_visits));
}

/* Makes a stack that names no magazine. */
void fli_stack_init(struct fli_stack *stack);

void fli_pool_init(struct fli_pool *pool);

/* Pushes a magazine that the caller owns, with its count set. From then on any thread may take it. Returns the
 * blocks on the stack, this magazine's included. Lock-free. */
uint64_t fli_stack_push_mpmc(struct fli_stack *stack, const struct fli_magazines *magazines,
                             struct fli_magazine *magazine, struct fli_pool_counters *counters);

/* Pops a magazine, which the caller then owns; NULL if the stack is empty. Lock-free. */
struct fli_magazine *fli_stack_pop_mpmc(struct fli_stack *stack, const struct fli_magazines *magazines,
                                        struct fli_pool_counters *counters);

/* Takes all magazines of the stack. Returns the index of the first, the others follow through `next`; 0 if the stack
 * is empty. Lock-free. */
uint32_t fli_stack_take_all_mpmc(struct fli_stack *stack, struct fli_pool_counters *counters);

/* The index of the stack's top a moment ago, 0 if it was empty. */
uint32_t fli_stack_top(struct fli_stack *stack);

/* The blocks on the stack a moment ago; on the stack of empty magazines, the magazines. */
uint64_t fli_stack_blocks(struct fli_stack *stack, const struct fli_magazines *magazines);

/* Puts a list that fli_stack_take_all_mpmc returned back onto the stack. Lock-free. */
void fli_stack_put_back_mpmc(struct fli_stack *stack, const struct fli_magazines *magazines, uint32_t first,
                             struct fli_pool_counters *counters);

/* Replaces what is on the stack by such a list. For the child of a fork, where no other thread runs. */
void fli_stack_reset_stw(struct fli_stack *stack, uint32_t first);

#endif
