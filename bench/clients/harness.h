/* SPDX-License-Identifier: MIT
 *
 * What every client program has in common: states on threads, rounds of work in each, a clock around the rounds.
 *
 *     CLIENT PROGRAM THREADS ROUNDS [FILE]
 *
 * Each thread opens a state of its own, works a tenth of the rounds to warm up, waits for the others, and then works
 * ROUNDS rounds. The program prints one line of JSON:
 *
 *     seconds    from when all threads were warm until the last one had worked its rounds
 *     cpu        the seconds of processor time that the threads took for them, added up
 *     peak       the most bytes that were ever resident
 *     checksum   of what the rounds computed: the same for every allocator
 *
 * It fails unless, after all states were closed, the allocator finds nothing left and all well (shim_is_clean).
 * SHIM names the header of the allocator: shim_malloc.h or shim_freelane.h.
 */
#ifndef FREELANE_CLIENTS_HARNESS_H
#define FREELANE_CLIENTS_HARNESS_H

#include <stdint.h>

/* ---- What a client defines */

/* A new state that is to run `program`, on the calling thread. `path` is the argument FILE, or NULL. Exits with a
 * message if there is no such program. */
void *client_open(const char *program, const char *path, unsigned thread);

/* Works one round. Returns a checksum of what it computed. */
uint64_t client_round(void *state);

/* Frees the state and all that it holds. */
void client_close(void *state);

/* ---- What the harness offers to clients */

/* Prints a message and exits. */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* A pseudorandom number below `bound`, from the upper half of a linear congruential generator. */
static inline uint32_t random_below(uint64_t *state, uint32_t bound)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(((*state >> 32) * bound) >> 32);
}

#endif
