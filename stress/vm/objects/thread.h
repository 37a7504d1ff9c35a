/* SPDX-License-Identifier: MIT
 *
 * Threads of the program: a closure is called on a thread of the system, and `join` waits for what it returns.
 *
 * The class is LEGACY, as one of a host that has not come to change it: `dealloc` ends the object in every respect. It
 * also shows that such a type needs no more than to name its own function.
 */
#ifndef VM_THREAD_H
#define VM_THREAD_H

#include "objects/object.h"

#include <pthread.h>

struct machine;

struct thread {
    struct container container;
    pthread_t id;
    bool is_joined;
    object_t *result; /* what the closure returned, until it is joined */
};

void threads_open(void);

/* Starts a thread that calls a closure with an argument. Takes over both references. */
object_t *thread_start(struct machine *machine, object_t *closure, object_t *argument);

/* Waits for the thread to end. Returns its result. Fails if that was done before. */
object_t *thread_join(struct machine *machine, object_t *self);

#endif
