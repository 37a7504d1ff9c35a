/* SPDX-License-Identifier: MIT
 *
 * Real-time threads: the option of a handle (pool/realtime.h). Each slow half asks for it where it would do upkeep.
 */
#include "api/serve.h"
#include "base/check.h"
#include "heap/service.h"

#include <errno.h>

int fl_thread_set_realtime(struct fl_thread *face, bool realtime)
{
    struct fli_thread *thread = fli_serve_enter(face);
    if (thread == NULL)
        return -errno;
    bool is_attached = thread != thread->heap->service;
    if (is_attached)
        thread->owner.realtime = realtime;
    fli_service_leave(thread);
    if (is_attached)
        return 0;
    fli_misuse("fl_thread_set_realtime", face, NULL, "is not an attached thread");
    return -EINVAL;
}
