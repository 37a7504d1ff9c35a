/* SPDX-License-Identifier: MIT */
#include "heap/registry.h"
#include "heap/os_thread.h"
#include "heap/thread.h"

static struct fli_mutex registry_lock = FLI_MUTEX_INITIALIZER(FLI_RANK_REGISTRY);
static FLI_PLAIN(struct fl_heap *) heaps;
static FLI_PLAIN(size_t) heap_count;

void fli_registry_lock(void)
{
    fli_lock(&registry_lock);
}

void fli_registry_unlock(void)
{
    fli_unlock(&registry_lock);
}

void fli_registry_keep_stw(void)
{
    fli_lock_keep_stw(&registry_lock);
}

void fli_registry_assert_held(void)
{
    fli_assert_held(&registry_lock);
}

struct fl_heap *fli_registry_heaps(void)
{
    fli_registry_assert_held();
    return heaps;
}

int fli_registry_enter(struct fl_heap *heap)
{
    fli_registry_lock();
    int failed = fli_os_thread_prepare_locked();
    if (failed == 0) {
        FLI_LIST_ADD(&heaps, heap, in_registry);
        heap_count++;
    }
    fli_registry_unlock();
    return failed;
}

size_t fli_registry_heap_count(void)
{
    fli_registry_lock();
    size_t count = heap_count;
    fli_registry_unlock();
    return count;
}

size_t fli_registry_count(struct fl_heap *heap, unsigned *inside)
{
    *inside = 0;
    fli_os_thread_reap(true);
    fli_registry_lock();
    size_t count = heap->thread_count;
    for (const struct fli_thread *thread = heap->threads; thread != NULL; thread = thread->in_heap.next)
        *inside += fli_load_hint(&thread->sections) > 0;
    fli_registry_unlock();
    return count;
}

void fli_registry_remove(struct fl_heap *heap)
{
    fli_registry_lock();
    FLI_LIST_REMOVE(heap, in_registry);
    heap_count--;
    fli_registry_unlock();
}
