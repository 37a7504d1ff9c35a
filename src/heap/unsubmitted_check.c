/* SPDX-License-Identifier: MIT
 *
 * What fl_heap_check verifies of deferred blocks that are not submitted: the room for them is what is counted.
 */
#include "base/check.h"
#include "heap/registry.h"
#include "heap/thread.h"
#include "pool/unsubmitted.h"

#include <errno.h>

struct walk {
    struct fl_heap *heap;
    size_t noted; /* bytes of room beyond the base, as threads have noted them */
    char *error;
    size_t error_size;
};

static int check_thread(struct walk *walk, struct fli_thread *thread)
{
    size_t room = 0;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++)
        room += fli_unsubmitted_room(fli_thread_deferred(thread, c), c, &walk->heap->backing);
    walk->noted += thread->owner.noted;
    size_t beyond = fli_unsubmitted_beyond(&walk->heap->deferred.rooms, room);
    if (room == thread->owner.unsubmitted && beyond <= thread->owner.noted)
        return 0;
    return fli_complain(
        -EUCLEAN, walk->error, walk->error_size,
        "a thread has room for %zu bytes of deferred blocks, %zu beyond the base, but counts %u and %u", room, beyond,
        thread->owner.unsubmitted, thread->owner.noted);
}

int fli_thread_check_unsubmitted_locked(struct fl_heap *heap, char *error, size_t error_size)
{
    fli_registry_assert_held();
    struct walk walk = {.heap = heap, .error = error, .error_size = error_size};
    int failed = check_thread(&walk, heap->service);
    for (struct fli_thread *thread = heap->threads; thread != NULL && failed == 0; thread = thread->in_heap.next)
        failed = check_thread(&walk, thread);
    /* Relaxed: the threads are quiet. */
    size_t counted = fli_load_relaxed(&heap->deferred.rooms.beyond);
    if (failed == 0 && walk.noted != counted)
        failed = fli_complain(
            -EUCLEAN, error, error_size,
            "threads have room for %zu bytes of deferred blocks beyond the base, but counted are %zu", walk.noted,
            counted);
    return failed;
}
