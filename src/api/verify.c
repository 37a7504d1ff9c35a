/* SPDX-License-Identifier: MIT
 *
 * Judging a free: by the call, and by the block's class and size. Checked builds also judge by the bit that tells
 * whether the block is live.
 */
#include "api/verify.h"
#include "base/check.h"
#include "heap/walk.h"
#include "memory/block.h"

FLI_COLD void fli_verify_report(const void *block, const struct fli_free *how, struct fli_outcome outcome)
{
    const void *heap = outcome.heap;
    if (block == NULL && (outcome.verdict == FLI_FOREIGN || outcome.verdict == FLI_NO_HEAP)) {
        fli_misuse(how->call, NULL, how->type, "was given NULL, which only fl_free and fl_heap_free take");
        return;
    }
    switch (outcome.verdict) {
    case FLI_IN_ORDER:
        break;
    case FLI_FOREIGN:
        fli_misuse(how->call, block, how->type, "is not a block of heap %p", heap);
        break;
    case FLI_WRONG_SIZE:
        fli_misuse(how->call, block, how->type, "is a block of %zu bytes, not one for %zu", outcome.actual,
                   how->size);
        break;
    case FLI_NO_START:
        fli_misuse(how->call, block, how->type, "is not the start of a block of heap %p, where blocks have %zu bytes",
                   heap, outcome.actual);
        break;
    case FLI_DOUBLE_FREE:
        fli_misuse(how->call, block, how->type, "is free already: a block of %zu bytes of heap %p", outcome.actual,
                   heap);
        break;
    case FLI_NO_HEAP:
        fli_misuse(how->call, block, how->type, "cannot be a block, there is no default heap");
        break;
    case FLI_NO_GRACE:
        fli_misuse(how->call, block, how->type, "cannot be deferred, heap %p has no grace periods (option grace)",
                   heap);
        break;
    case FLI_OFFLINE:
        fli_misuse(how->call, block, how->type, "cannot be deferred by a thread that is offline (heap %p)", heap);
        break;
    case FLI_OTHER_HEADER:
        fli_misuse(how->call, block, how->type, "is not freed with the header that the objects of heap %p have",
                   heap);
        break;
    case FLI_WALKED:
        fli_misuse(how->call, block, how->type, "cannot be freed while heap %p is walked", heap);
        break;
    }
}

enum fli_verdict fli_verify_block(struct fli_slabs *slabs, unsigned class_index, const void *block,
                                  const struct fli_free *how, size_t *actual)
{
    *actual = fli_class_bytes(class_index);
    if (how->sized && class_index != fli_class_of_size(how->size))
        return FLI_WRONG_SIZE;
    if (!FLI_CHECKED && !slabs->hardened)
        return FLI_IN_ORDER;
    if (!fli_block_is_start(slabs, class_index, block))
        return FLI_NO_START;
    if (slabs->hardened)
        return fli_verdict_of_state(fli_state_judge(slabs, class_index, block, how->sized, how->size, actual));
    return fli_block_is_live(slabs, class_index, block) ? FLI_IN_ORDER : FLI_DOUBLE_FREE;
}

enum fli_verdict fli_verify_call(const struct fl_heap *heap, bool is_offline, const struct fli_free *how)
{
    if (fli_walk_is_disturbed(heap))
        return FLI_WALKED;
    if (how->deferred && heap->grace.kind == FL_GRACE_NONE)
        return FLI_NO_GRACE;
    if (how->deferred && is_offline)
        return FLI_OFFLINE;
    /* Untyped frees are allowed: the heap's header says what to clear. */
    bool says = how->typed || how->deferred;
    return says && how->header != heap->options.header ? FLI_OTHER_HEADER : FLI_IN_ORDER;
}

bool fli_check_live_in(struct fl_heap *heap, bool is_offline, const void *block, const struct fli_free *how)
{
    struct fli_outcome outcome = {.verdict = heap != NULL ? FLI_FOREIGN : FLI_NO_HEAP, .heap = heap};
    enum fli_verdict call = heap != NULL ? fli_verify_call(heap, is_offline, how) : FLI_IN_ORDER;
    unsigned class_index = heap != NULL ? fli_slab_class_of(&heap->backing.slabs, block) : 0;
    if (call != FLI_IN_ORDER) {
        outcome.verdict = call;
    } else if (class_index != 0) {
        outcome.verdict = fli_verify_block(&heap->backing.slabs, class_index, block, how, &outcome.actual);
    } else if (heap != NULL && (outcome.actual = fli_large_size(&heap->backing.large, block)) != 0) {
        outcome.verdict = !how->sized || outcome.actual == how->size ? FLI_IN_ORDER : FLI_WRONG_SIZE;
    }
    fli_verify_report(block, how, outcome);
    return outcome.verdict == FLI_IN_ORDER;
}

bool fli_check_live(struct fl_thread *face, const void *block, const struct fli_free *how)
{
    const struct fli_thread *thread = fli_thread_of(face);
    bool is_offline = thread->heap != NULL && thread->os_thread == NULL; /* a stand-in never is */
    return fli_check_live_in(fl_thread_heap(face), is_offline, block, how);
}

/* ---- Questions about blocks. */

bool fl_owns(struct fl_heap *heap, const void *block)
{
    return fl_usable_size(heap, block) > 0;
}

size_t fl_usable_size(struct fl_heap *heap, const void *block)
{
    unsigned class_index = fli_slab_class_of(&heap->backing.slabs, block);
    return class_index != 0 ? fli_class_bytes(class_index) : fli_large_size(&heap->backing.large, block);
}
