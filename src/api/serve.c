/* SPDX-License-Identifier: MIT
 *
 * The default heap, which its first use creates, and the thread that serves a call on a stand-in.
 */
#include "api/serve.h"
#include "base/check.h"
#include "base/pin.h"
#include "base/sanitizer.h"
#include "heap/service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- The default heap. */

static FLI_ATOMIC(struct fl_heap *) default_heap;

static struct fl_heap *create_default(char *error, size_t error_size)
{
    struct fl_options options = {0};
    const char *text = getenv("FREELANE_OPTIONS");
    if (text != NULL && fl_options_parse(text, &options, error, error_size) != 0) {
        errno = EINVAL;
        return NULL;
    }
    return fli_heap_create(&options, true, error, error_size);
}

/* Says why there is no default heap. Malformed options are misuse; a refusal by the OS prints one line. */
FLI_COLD static void tell_refusal(int reason, const char *error)
{
    static FLI_ATOMIC(bool) was_told;
    bool untold = false;
    if (reason == EINVAL)
        fli_misuse("FREELANE_OPTIONS", NULL, NULL, "%s", error);
    /* Relaxed: nothing is read through the word. Of several threads, the one that changes it prints. */
    else if (fli_cas_strong(&was_told, &untold, true, memory_order_relaxed, memory_order_relaxed))
        fprintf(stderr, "freelane: the default heap cannot be made: %s\n", error);
}

static struct fl_heap *create_default_once(void)
{
    char error[256];
    fli_pin_object();
    fli_lock(&fli_default_lock);
    struct fl_heap *heap = fli_load_own(&default_heap);
    if (heap == NULL) {
        heap = create_default(error, sizeof error);
        /* H1: release, pairs with H2 in fl_heap_default: the heap is whole. */
        fli_store_release(&default_heap, heap);
    }
    int saved = errno;
    fli_unlock(&fli_default_lock);
    if (heap == NULL)
        tell_refusal(saved, error);
    errno = saved;
    return heap;
}

struct fl_heap *fl_heap_default(void)
{
    /* H2: acquire, pairs with H1 in create_default_once. */
    struct fl_heap *heap = fli_load_acquire(&default_heap);
    return FLI_LIKELY(heap != NULL) ? heap : create_default_once();
}

/* ---- Calls on stand-ins. */

struct fli_thread *fli_serve_enter(struct fl_thread *face)
{
    if (!fli_thread_is_stand_in(face))
        return fli_thread_of(face);
    struct fl_heap *left = fli_thread_left(face);
    if (left != NULL) {
        fli_tsan_release(face); /* what follows does not use the handle: another thread may free it (os_thread.h) */
        return fli_service_enter(left);
    }
    if (!fli_thread_is_stand_in(fl_thread_current))
        return fli_thread_of(fl_thread_current);
    struct fl_heap *heap = fl_heap_default();
    if (heap == NULL)
        return NULL;
    struct fli_thread *thread = fli_thread_attach_self(heap);
    return thread != NULL ? thread : fli_service_enter(heap);
}

struct fl_heap *fl_thread_heap(const struct fl_thread *face)
{
    const struct fli_thread *thread = fli_thread_of(face);
    if (thread->heap != NULL)
        return thread->heap;
    return thread->left != NULL ? thread->left : fl_heap_default();
}

void fl_thread_set_context(struct fl_thread *face, void *context)
{
    if (!fli_thread_is_stand_in(face))
        fli_thread_of(face)->context = context;
}

void *fl_thread_context(const struct fl_thread *face)
{
    return fli_thread_of(face)->context;
}

struct fli_thread *fli_serve_attached(struct fl_thread *face)
{
    if (!fli_thread_is_stand_in(face))
        return fli_thread_of(face);
    if (!fli_thread_is_stand_in(fl_thread_current))
        return fli_thread_of(fl_thread_current);
    int saved = errno;
    struct fli_thread *thread = fli_thread_attach_self(fl_heap_default());
    errno = saved;
    return thread;
}
