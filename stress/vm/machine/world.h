/* SPDX-License-Identifier: MIT
 *
 * The world: all machines of a program, and how one of them stops the others.
 *
 *     running    machines that may be anywhere in their code; the world is stopped when only the one that stops it is
 *
 * A machine leaves before it blocks, and enters again after. While it is out, others may stop the world and the
 * collector may look at its stack, and memory does not wait for it.
 */
#ifndef VM_WORLD_H
#define VM_WORLD_H

#include "machine/machine.h"
#include "objects/objects.h"

#include <pthread.h>
#include <stdatomic.h>

struct world {
    memory_t *memory;
    object_t *globals;        /* a list */
    struct objects constants; /* of the code: immortal, and freed at the end */
    int64_t threads, size;    /* what the command line says */
    FILE *output;             /* what the program prints */
    atomic_bool is_stopping;  /* machines come to a halt at their next safepoint */
    unsigned running;         /* this and what follows: under the mutex */
    struct machine *machines; /* a list */
    uint8_t collections;      /* how many there were; it wraps, and is never 0 once there was one */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
};

void world_open(struct world *world);

/* All machines are closed. */
void world_close(struct world *world);

/* ---- Machines come and go */

/* Makes a machine known, on any thread. */
void world_add(struct world *world, struct machine *machine);

/* Takes part, on the machine's thread; waits while the world is stopped. */
void world_enter(struct machine *machine);

/* Takes no part any more, and is forgotten. The stack is empty. */
void world_exit(struct machine *machine);

/* Takes no part: the machine is about to block. No dead object of its thread waits on return. */
void world_leave(struct machine *machine);

/* Out, and in again once the world goes on. */
void world_pause(struct machine *machine);

/* ---- Stopping. Relaxed: a machine that has not seen it yet comes to its next safepoint soon. */

static inline bool world_is_stopping(struct world *world)
{
    return atomic_load_explicit(&world->is_stopping, memory_order_relaxed);
}

/* Stops all other machines. If another one stops the world just now, waits until it has ended. */
void world_stop(struct machine *machine);
void world_resume(struct machine *machine);

#endif
