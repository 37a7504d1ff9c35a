/* SPDX-License-Identifier: MIT
 *
 * Free blocks that a thread sets aside, so that later allocations cannot fail (pool/reserve.h).
 */
#include "api/alloc.h"
#include "api/serve.h"
#include "base/check.h"
#include "heap/service.h"
#include "heap/submit.h"
#include "pool/reserve.h"

#include <errno.h>

/* Sets blocks aside until there are `count`. */
static int set_aside(struct fli_thread *thread, unsigned class_index, size_t count)
{
    struct fli_backing *backing = &thread->heap->backing;
    struct fli_owner *owner = &thread->owner;
    struct fl_cache *cache = fli_thread_cache(thread, class_index);
    bool realtime = owner->realtime;
    if (fli_reserve_keeps(owner, class_index)) /* so that what its cache has of it stays aside, whatever comes */
        fli_reserve_set_aside_owner(cache, class_index, backing, owner);
    if (!fli_reserve_begin_owner(owner, class_index))
        return -ENOMEM;
    owner->realtime = false; /* this call may take its time, and fills whole magazines */
    size_t before = fli_reserve_blocks(owner, class_index, &backing->magazines), blocks = 1;
    while (blocks > 0 && fli_reserve_blocks(owner, class_index, &backing->magazines) < count) {
        blocks = fli_alloc_fill(thread, class_index);
        if (blocks > 0)
            fli_reserve_set_aside_owner(cache, class_index, backing, owner);
    }
    owner->realtime = realtime;
    fli_reserve_begun_owner(owner, blocks > 0);
    if (blocks == 0) {
        fli_reserve_give_back_owner(class_index, before, backing, owner);
        return -ENOMEM;
    }
    return 0;
}

/* What is wrong with a call, or NULL. */
static const char *complaint(const struct fli_thread *thread, const struct fl_type *type)
{
    if (thread == thread->heap->service)
        return "is not an attached thread";
    return thread->header != type->header ? "is attached to a heap whose objects have another header" : NULL;
}

int fl_thread_reserve(struct fl_thread *face, const struct fl_type *type, size_t count)
{
    unsigned class_index = type->class_index;
    if (class_index == 0)
        return -ENOTSUP;
    struct fli_thread *thread = fli_serve_enter(face);
    if (thread == NULL)
        return -errno;
    const char *wrong = complaint(thread, type);
    if (wrong == NULL) /* now: the host may leave its on_deferred, or flush there */
        fli_submit(thread);
    int failed = wrong == NULL ? set_aside(thread, class_index, count) : -EINVAL;
    fli_service_leave(thread);
    if (wrong != NULL)
        fli_misuse("fl_thread_reserve", face, NULL, "%s", wrong);
    return failed;
}
