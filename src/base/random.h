/* SPDX-License-Identifier: MIT
 *
 * Random numbers that cannot be told from those before them: ChaCha with 8 rounds (Bernstein, ChaCha, a variant of
 * Salsa20, 2008). Each OS thread has a generator, which it seeds from the OS at its first number, and anew in the child of
 * a fork. The first half of each output becomes the next key. So a generator that is read later does not tell what it has
 * given out.
 *
 * A thread whose OS refuses a seed by then, in a sandbox for example, derives one from a key that was had before.
 */
#ifndef FLI_RANDOM_H
#define FLI_RANDOM_H

#include "base/base.h"

enum { FLI_RANDOM_WORDS = 8 };

struct fli_random_key {
    uint32_t words[FLI_RANDOM_WORDS];
};

/* Asks the OS for a key. Returns false if it refuses. Keeps errno. */
bool fli_random_key_make(struct fli_random_key *key);

/* A number below `bound`, which is not 0. No number is more probable than another by more than bound / 2^32. */
uint32_t fli_random_below(const struct fli_random_key *key, uint32_t bound);

/* In the child of a fork: the numbers to come are others than those of the parent. */
void fli_random_begin_anew_stw(void);

#endif
