/* SPDX-License-Identifier: MIT
 *
 * Stopping the world. Whoever uses a heap, or the C library's allocator, does so inside the gate, and leaves it now and
 * then, outside of the library. Whoever closes the gate waits until nobody of the parts that it stops is inside. A
 * thread that exits is inside as PART_EXIT until it was joined.
 */
#include "storm.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned inside[PARTS];
static atomic_int level; /* written with the lock */

/* Lives stop at either level, the others only for the world. */
static bool is_stopped(enum gate_part part, int at)
{
    return at == GATE_WORLD || (at == GATE_THREADS && part == PART_LIFE);
}

bool gate_is_closed(enum gate_part part)
{
    return is_stopped(part, atomic_load_explicit(&level, memory_order_relaxed));
}

void gate_enter(enum gate_part part)
{
    pthread_mutex_lock(&lock);
    while (gate_is_closed(part))
        pthread_cond_wait(&changed, &lock);
    inside[part]++;
    pthread_mutex_unlock(&lock);
}

void gate_leave(enum gate_part part)
{
    pthread_mutex_lock(&lock);
    inside[part]--;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

void gate_become_exiting(void)
{
    pthread_mutex_lock(&lock);
    inside[PART_LIFE]--;
    inside[PART_EXIT]++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static bool is_anyone_inside(enum gate_level at)
{
    for (unsigned part = 0; part < PARTS; part++) {
        if (inside[part] > 0 && is_stopped((enum gate_part)part, at))
            return true;
    }
    return false;
}

void gate_close(enum gate_level at)
{
    pthread_mutex_lock(&lock);
    atomic_store_explicit(&level, at, memory_order_relaxed);
    while (is_anyone_inside(at))
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    tally(TALLY_STOPS, 1);
}

void gate_open(void)
{
    pthread_mutex_lock(&lock);
    atomic_store_explicit(&level, GATE_OPEN, memory_order_relaxed);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}
