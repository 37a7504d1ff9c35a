/* SPDX-License-Identifier: MIT */
#include "heap/registry.h"
#include "heap/os_thread.h"
#include "heap/thread.h"

#include <errno.h>
#include <stdlib.h>

static struct fli_mutex registry_lock = FLI_MUTEX_INITIALIZER(FLI_RANK_REGISTRY);
/* All heaps, and room for more. NULL while there are none. */
static FLI_PLAIN(struct fl_heap **) heaps;
static FLI_PLAIN(size_t) heap_count, heap_room;

enum { ROOM_FIRST = 16 };

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

struct fl_heap *const *fli_registry_heaps(size_t *count)
{
    fli_registry_assert_held();
    *count = heap_count;
    return heaps;
}

/* Gives the array up, and has room for `room` heaps from now on, in `array`. */
static void replace_array_locked(struct fl_heap **array, size_t room)
{
    fli_registry_assert_held();
    struct fl_heap **old = heaps;
    heaps = array;
    heap_room = room;
    free(old);
}

/* Makes room for one more heap. Returns 0 or -ENOMEM. */
static int make_room_locked(void)
{
    fli_registry_assert_held();
    if (heap_count < heap_room)
        return 0;
    size_t room = fli_max(ROOM_FIRST, 2 * heap_room);
    struct fl_heap **grown = calloc(room, sizeof *grown), **old = heaps;
    if (grown == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < heap_count; i++)
        grown[i] = old[i];
    replace_array_locked(grown, room);
    return 0;
}

static void add_locked(struct fl_heap *heap)
{
    fli_registry_assert_held();
    struct fl_heap **array = heaps;
    heap->in_registry = heap_count;
    array[heap_count++] = heap;
}

static void remove_locked(struct fl_heap *heap)
{
    fli_registry_assert_held();
    struct fl_heap **array = heaps, *last = array[heap_count - 1];
    array[heap->in_registry] = last;
    last->in_registry = heap->in_registry;
    heap_count -= 1;
    if (heap_count == 0)
        replace_array_locked(NULL, 0);
}

int fli_registry_enter(struct fl_heap *heap)
{
    fli_registry_lock();
    int failed = fli_os_thread_prepare_locked();
    if (failed == 0)
        failed = make_room_locked();
    if (failed == 0)
        add_locked(heap);
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
    remove_locked(heap);
    fli_registry_unlock();
}
