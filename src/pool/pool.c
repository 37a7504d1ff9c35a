/* SPDX-License-Identifier: MIT
 *
 *     label  operation                        order               partners
 *     P1     CAS of a push                    release             P2 P3 P4 P5 P6
 *     P2     head load of a pop               acquire             P1 P7
 *     P3     CAS of a pop                     acquire             P1 P7
 *     P4     CAS of taking all                acquire             P1 P7
 *     P5     head load of a push              acquire             P1 P7
 *     P6     head load of counting            acquire             P1 P7
 *     P7     CAS of putting a list back       release             P2 P3 P4 P5 P6
 *
 * P2, P5 and P6 make `next` and `below` of the magazine that the head names readable. P2 and P4 make the slots of the
 * magazines that are taken readable.
 */
#include "pool/pool.h"
#include "base/config.h"
#include "base/lock.h"

/* Changes after which a tag wraps in builds that make rare paths common. */
enum { RARE_CHANGES_BEFORE_WRAP = 100 };

void fli_stack_init(struct fli_stack *stack)
{
    uint64_t tag = FLI_RARE_PATHS ? ((uint64_t)1 << FLI_TAG_BITS) - RARE_CHANGES_BEFORE_WRAP : 0;
    fli_store_own(&stack->head, fli_tagged_empty(tag));
    fli_chain_begin(&stack->held, 0);
    stack->is_aside = false;
}

void fli_pool_init(struct fli_pool *pool)
{
    fli_stack_init(&pool->empty);
    for (unsigned c = 0; c < FL_CLASS_COUNT; c++)
        fli_stack_init(&pool->filled[c]);
}

/* ---- Chains that a fork has set aside. */

/* Whether the calling thread forks and has set the stack aside. */
static bool is_aside(const struct fli_stack *stack)
{
    return FLI_UNLIKELY(fli_lock_is_forking()) && stack->is_aside;
}

static uint64_t push_held(struct fli_stack *stack, const struct fli_magazines *magazines,
                          struct fli_magazine *magazine)
{
    fli_chain_put(&stack->held, magazines, magazine);
    return fli_chain_blocks(&stack->held, magazines);
}

/* ---- The stacks. */

uint64_t fli_stack_push_mpmc(struct fli_stack *stack, const struct fli_magazines *magazines,
                             struct fli_magazine *magazine, struct fli_pool_counters *counters)
{
    if (is_aside(stack))
        return push_held(stack, magazines, magazine);
    uint32_t index = fli_magazine_index(magazines, magazine);
    uint64_t weight = fli_magazine_weight(magazine);
    /* P5: acquire, pairs with P1 and P7: `below` of the magazine that will lie under this one. */
    fli_tagged head = fli_load_acquire(&stack->head);
    for (;;) {
        uint32_t under = fli_tagged_index(head);
        uint64_t below = weight;
        /* P1 publishes both words. If the head has changed meanwhile, the loop computes them again. */
        if (under != 0)
            below += fli_load_hint(&fli_magazine_at(magazines, under)->below);
        fli_store_own(&magazine->next, under);
        fli_store_own(&magazine->below, below);
        /* P1: release, pairs with P2, P3, P4, P5 and P6: the magazine's slots, count, next and below are visible
         * before the head names it. Failure: acquire, as P5. */
        if (fli_cas_weak(&stack->head, &head, fli_tagged_next(head, index), memory_order_release,
                         memory_order_acquire)) {
            fli_count(&counters->updates, 1);
            return below;
        }
        fli_count(&counters->cas_failures, 1);
    }
}

struct fli_magazine *fli_stack_pop_mpmc(struct fli_stack *stack, const struct fli_magazines *magazines,
                                        struct fli_pool_counters *counters)
{
    if (is_aside(stack))
        return fli_chain_take(&stack->held, magazines);
    /* P2: acquire, pairs with P1 and P7: `next` of the magazine that the head names. */
    fli_tagged head = fli_load_acquire(&stack->head);
    while (fli_tagged_index(head) != 0) {
        struct fli_magazine *magazine = fli_magazine_at(magazines, fli_tagged_index(head));
        /* Another thread may own the magazine by now and write the word: then the CAS fails. */
        uint32_t next = fli_load_hint(&magazine->next);
        /* P3: acquire, pairs with P1 and P7: no more than P2 saw, because the tag says that the head is the same. But
         * C11 wants success to be no weaker than failure. Failure: acquire, as P2. */
        if (fli_cas_weak(&stack->head, &head, fli_tagged_next(head, next), memory_order_acquire,
                         memory_order_acquire)) {
            fli_count(&counters->updates, 1);
            return magazine;
        }
        fli_count(&counters->cas_failures, 1);
    }
    return NULL;
}

uint32_t fli_stack_take_all_mpmc(struct fli_stack *stack, struct fli_pool_counters *counters)
{
    if (is_aside(stack))
        return fli_chain_end(&stack->held);
    fli_tagged head = fli_load_hint(&stack->head); /* nothing is read through it before P4 */
    while (fli_tagged_index(head) != 0) {
        /* P4: acquire, pairs with P1 and P7: the slots, and the list, of all magazines taken. Failure: relaxed, as
         * the load. */
        if (fli_cas_weak(&stack->head, &head, fli_tagged_next(head, 0), memory_order_acquire, memory_order_relaxed)) {
            fli_count(&counters->updates, 1);
            return fli_tagged_index(head);
        }
        fli_count(&counters->cas_failures, 1);
    }
    return 0;
}

uint32_t fli_stack_top(struct fli_stack *stack)
{
    /* P6: acquire, pairs with P1 and P7: `below` of the magazine that the head names. */
    fli_tagged head = fli_load_acquire(&stack->head);
    return is_aside(stack) ? fli_load_own(&stack->held.first) : fli_tagged_index(head);
}

uint64_t fli_stack_blocks(struct fli_stack *stack, const struct fli_magazines *magazines)
{
    uint32_t index = fli_stack_top(stack);
    /* If another thread has taken the magazine since, the number is that of its next owner, or an older one. */
    return index == 0 ? 0 : fli_load_hint(&fli_magazine_at(magazines, index)->below);
}

/* Puts a list back as a whole if the stack is empty. Returns whether it was. */
static bool put_back_whole(struct fli_stack *stack, uint32_t first, struct fli_pool_counters *counters)
{
    fli_tagged head = fli_load_hint(&stack->head); /* nothing is read through it */
    while (fli_tagged_index(head) == 0) {
        /* P7: release, pairs with P2, P3, P4, P5 and P6: as P1, for the whole list. Failure: relaxed, as the load. */
        if (fli_cas_weak(&stack->head, &head, fli_tagged_next(head, first), memory_order_release,
                         memory_order_relaxed)) {
            fli_count(&counters->updates, 1);
            return true;
        }
        fli_count(&counters->cas_failures, 1);
    }
    return false;
}

void fli_stack_put_back_mpmc(struct fli_stack *stack, const struct fli_magazines *magazines, uint32_t first,
                             struct fli_pool_counters *counters)
{
    if (first == 0 || put_back_whole(stack, first, counters))
        return;
    struct fli_chain chain;
    fli_chain_begin(&chain, first);
    for (struct fli_magazine *magazine; (magazine = fli_chain_take(&chain, magazines)) != NULL;)
        fli_stack_push_mpmc(stack, magazines, magazine, counters);
}

void fli_stack_reset_stw(struct fli_stack *stack, uint32_t first)
{
    fli_store_own(&stack->head, fli_tagged_next(fli_load_own(&stack->head), first));
}
