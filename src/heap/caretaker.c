/* SPDX-License-Identifier: MIT */
#include "heap/caretaker.h"
#include "base/background.h"

/* Where nothing is held, it rests so many steps longer. */
enum { LONG_PAUSES = 8 };

/* The least it rests, in nanoseconds. */
enum { PAUSE_LEAST = 10000000 };

static struct fli_mutex lock = FLI_MUTEX_INITIALIZER(FLI_RANK_CARETAKER); /* guards what follows */
static FLI_PLAIN(struct fl_heap *) in_care;
static FLI_ATOMIC(bool) exists; /* written under the lock */
static struct fli_condition called;

/* Takes the looks that are due. Returns when the next one is. */
static uint64_t look_after_locked(void)
{
    fli_assert_held(&lock);
    uint64_t next = UINT64_MAX;
    for (struct fl_heap *heap = in_care; heap != NULL; heap = heap->in_care.next) {
        if (fli_decay_is_due(&heap->decay))
            fli_decay_look(heap);
        uint64_t due = fli_load_hint(&heap->decay.next);
        next = fli_min(next, fli_decay_held(heap) > 0 ? due : due + heap->decay.step * LONG_PAUSES);
    }
    return fli_max(next, fli_grace_now() + PAUSE_LEAST);
}

static void *take_care(void *unused)
{
    fli_lock(&lock);
    while (in_care != NULL) {
        struct timespec until = fli_background_time(look_after_locked());
        fli_condition_wait_until(&called, &lock, &until);
    }
    fli_store_own(&exists, false);
    fli_unlock(&lock);
    return unused;
}

static int start_locked(void)
{
    fli_assert_held(&lock);
    if (fli_load_own(&exists))
        return 0;
    int failed = fli_background_start(take_care, NULL);
    fli_store_own(&exists, failed == 0);
    return failed;
}

int fli_caretaker_adopt(struct fl_heap *heap)
{
    if (!heap->options.decay_thread || heap->decay.step == 0)
        return 0;
    fli_lock(&lock);
    FLI_LIST_ADD(&in_care, heap, in_care);
    int failed = start_locked();
    if (failed != 0)
        FLI_LIST_REMOVE(heap, in_care);
    else
        fli_condition_signal(&called);
    heap->is_in_care = failed == 0;
    fli_unlock(&lock);
    return failed;
}

void fli_caretaker_give_up(struct fl_heap *heap)
{
    if (!heap->is_in_care)
        return;
    fli_lock(&lock);
    FLI_LIST_REMOVE(heap, in_care);
    if (in_care == NULL)
        fli_condition_signal(&called);
    fli_unlock(&lock);
}

void fli_caretaker_return(struct fl_heap *heap)
{
    if (FLI_LIKELY(!heap->is_in_care || fli_load_hint(&exists)))
        return;
    /* The caller may hold locks of later ranks, so it does not wait: if somebody else has the lock, a later look does. */
    if (!fli_trylock(&lock))
        return;
    start_locked();
    fli_unlock(&lock);
}

void fli_caretaker_lock(void)
{
    fli_lock(&lock);
}

void fli_caretaker_unlock(void)
{
    fli_unlock(&lock);
}

void fli_caretaker_keep_stw(void)
{
    fli_lock_keep_stw(&lock);
}

void fli_caretaker_begin_anew_stw(void)
{
    fli_store_own(&exists, false);
}
