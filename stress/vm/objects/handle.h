/* SPDX-License-Identifier: MIT
 *
 * Handles: a value, and a closure of the program that is called with the handle when it dies. They are FINALIZE.
 *
 * The end of a handle runs code of the program. So it waits for a safepoint (fl_run_pending), and the callback
 * `finalize` only makes the handle live again and passes it to the machine of the thread. The machine calls the closure
 * when no callback of memory is under way, and drops the handle. If the closure has kept it, the handle is resurrected;
 * else it is gone. `finalized` says that the closure was called, so the second death calls it no more.
 */
#ifndef VM_HANDLE_H
#define VM_HANDLE_H

#include "objects/object.h"

struct handle {
    struct container container;
    uint64_t words[2]; /* memory may use these while a dead handle waits */
    object_t *value, *finalizer;
    struct handle *next; /* in the machine's list of those to be finalized */
};

void handles_open(void);

/* Takes over both references. */
object_t *handle_new(lane_t *lane, object_t *value, object_t *finalizer);

/* The value. */
object_t *handle_value(lane_t *lane, object_t *self);

/* Whether it is a handle whose closure was not called yet. */
bool handle_is_fresh(const object_t *self);

/* Says that its closure was called, or is about to be. */
void handle_set_finalized(object_t *self);

#endif
