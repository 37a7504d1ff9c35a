/* SPDX-License-Identifier: MIT */
#include "heap/guest.h"
#include "heap/registry.h"

struct fli_guest *fli_guest_enter(struct fl_heap *heap, struct fli_guest *guest)
{
    struct fli_guest *there = NULL;
    /* H3: release, pairs with H3 and H4: the guest is whole. Failure: acquire, another thread has entered one. */
    bool entered = fli_cas_strong(&heap->guest, &there, guest, memory_order_release, memory_order_acquire);
    return entered ? guest : there;
}

void fli_guest_leave(struct fli_thread *thread, bool detached)
{
    if (thread->guest != NULL)
        fli_guest_of(thread->heap)->leave(thread, detached);
}

void fli_guest_return(struct fli_thread *thread)
{
    if (thread->guest != NULL)
        fli_guest_of(thread->heap)->come_back(thread);
}

void fli_guest_remove_locked(struct fli_thread *thread)
{
    fli_registry_assert_held();
    if (thread->guest != NULL)
        fli_guest_of(thread->heap)->remove_locked(thread);
}

void fli_guest_begin_anew_stw(struct fl_heap *heap)
{
    struct fli_guest *guest = fli_guest_of(heap);
    if (guest != NULL)
        guest->begin_anew_stw(heap);
}

size_t fli_guest_magazines_locked(struct fl_heap *heap)
{
    fli_registry_assert_held();
    struct fli_guest *guest = fli_guest_of(heap);
    return guest != NULL ? guest->magazines_locked(heap) : 0;
}

void fli_guest_close(struct fl_heap *heap)
{
    struct fli_guest *guest = fli_guest_of(heap);
    if (guest != NULL)
        guest->close(guest);
}
