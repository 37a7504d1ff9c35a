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
    if (thread->guest != 0)
        fli_guest_of(thread->heap)->leave(thread, detached);
}

void fli_guest_come_back(struct fli_thread *thread)
{
    if (thread->guest != 0)
        fli_guest_of(thread->heap)->come_back(thread);
}

void fli_guest_remove_locked(struct fli_thread *thread)
{
    fli_registry_assert_held();
    if (thread->guest != 0)
        fli_guest_of(thread->heap)->remove_locked(thread);
}

void fli_guest_begin_anew_stw(struct fl_heap *heap)
{
    struct fli_guest *guest = fli_guest_of(heap);
    if (guest != NULL)
        guest->begin_anew_stw(heap);
}

bool fli_guest_evict(struct fli_thread *thread)
{
    return thread->guest != 0 && fli_guest_of(thread->heap)->evict(thread);
}

void fli_guest_hand_over_locked(struct fli_thread *thread)
{
    fli_registry_assert_held();
    if (thread->guest != 0)
        fli_guest_of(thread->heap)->hand_over_locked(thread);
}

void fli_guest_visit_kept_locked(struct fl_heap *heap, fli_guest_visitor visitor, void *context)
{
    fli_registry_assert_held();
    struct fli_guest *guest = fli_guest_of(heap);
    if (guest != NULL)
        guest->visit_kept_locked(heap, visitor, context);
}

int fli_guest_check_locked(struct fl_heap *heap, size_t *magazines, char *error, size_t error_size)
{
    fli_registry_assert_held();
    struct fli_guest *guest = fli_guest_of(heap);
    return guest != NULL ? guest->check_locked(heap, magazines, error, error_size) : 0;
}

/* A handle of the heap that the calling OS thread uses and that keeps dead objects; NULL if there is none. */
static struct fli_thread *find_ours_locked(struct fl_heap *heap, const struct fli_guest *guest)
{
    fli_registry_assert_held();
    const struct fli_os_thread *here = fli_os_thread_self();
    struct fli_thread *thread = here != NULL ? here->bound : NULL;
    for (; thread != NULL; thread = thread->in_os_thread.next)
        if (thread->heap == heap && thread->detacher == NULL && thread->guest != 0 && guest->keeps(thread))
            return thread;
    return NULL;
}

void fli_guest_evict_ours(struct fl_heap *heap)
{
    struct fli_guest *guest = fli_guest_of(heap);
    struct fli_thread *thread = NULL;
    size_t passes = 0, most;
    if (guest == NULL)
        return;
    do {
        fli_registry_lock();
        thread = find_ours_locked(heap, guest);
        most = heap->thread_count; /* callbacks may have the handle keep others */
        fli_registry_unlock();
    } while (thread != NULL && guest->evict(thread) && ++passes < most);
}

void fli_guest_close(struct fl_heap *heap)
{
    struct fli_guest *guest = fli_guest_of(heap);
    if (guest != NULL)
        guest->close(guest);
}
