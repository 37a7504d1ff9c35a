/* SPDX-License-Identifier: MIT */
#include "base/random.h"
#include "base/atomic.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK_WORDS = 16, ROUNDS = 8, LEFT_MOST = BLOCK_WORDS - FLI_RANDOM_WORDS };

struct generator {
    struct fli_random_key key;
    uint32_t numbers[LEFT_MOST];
    unsigned left;   /* of the numbers */
    uint32_t seeded; /* the generation of its seed; 0: none */
};

/* NULL where the C library has no such function: glibc before 2.25, for which wheels of manylinux2014 are built. */
extern int getentropy(void *buffer, size_t bytes) __attribute__((weak));

static __thread struct generator generator;

/* Seeds of other generations are out of date. Only the child of a fork writes it, while it has one thread. */
static FLI_ATOMIC(uint32_t) generation = 1;
static FLI_ATOMIC(uint32_t) derived; /* seeds that did not come from the OS */

static inline uint32_t rotate(uint32_t word, unsigned by)
{
    return word << by | word >> (32 - by);
}

static inline __attribute__((always_inline)) void quarter_round(uint32_t *x, unsigned a, unsigned b, unsigned c,
                                                                unsigned d)
{
    x[a] += x[b], x[d] = rotate(x[d] ^ x[a], 16);
    x[c] += x[d], x[b] = rotate(x[b] ^ x[c], 12);
    x[a] += x[b], x[d] = rotate(x[d] ^ x[a], 8);
    x[c] += x[d], x[b] = rotate(x[b] ^ x[c], 7);
}

/* The block of a key. The counter and the nonce are zero: each key serves once. */
static void make_block(const struct fli_random_key *key, uint32_t *block)
{
    static const uint32_t constant[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    uint32_t start[BLOCK_WORDS] = {0};
    memcpy(start, constant, sizeof constant);
    memcpy(start + 4, key->words, sizeof key->words);
    memcpy(block, start, sizeof start);
    for (unsigned round = 0; round < ROUNDS; round += 2) {
        for (unsigned i = 0; i < 4; i++)
            quarter_round(block, i, i + 4, i + 8, i + 12);
        for (unsigned i = 0; i < 4; i++)
            quarter_round(block, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
    }
    for (unsigned i = 0; i < BLOCK_WORDS; i++)
        block[i] += start[i];
}

bool fli_random_key_make(struct fli_random_key *key)
{
    int saved = errno;
    bool done = getentropy != NULL && getentropy(key->words, sizeof key->words) == 0;
    errno = saved;
    return done;
}

/* Derives a seed from a secret key, and from what other threads and processes do not have. */
static void derive(struct generator *g, const struct fli_random_key *key)
{
    struct timespec now = {0};
    uint32_t block[BLOCK_WORDS];
    clock_gettime(CLOCK_MONOTONIC, &now);
    g->key = *key;
    g->key.words[0] ^= (uint32_t)getpid();
    g->key.words[1] ^= fli_add_count(&derived, 1);
    g->key.words[2] ^= (uint32_t)now.tv_nsec;
    g->key.words[3] ^= (uint32_t)now.tv_sec;
    make_block(&g->key, block);
    memcpy(g->key.words, block, sizeof g->key.words);
}

static __attribute__((noinline)) void refill(struct generator *g, const struct fli_random_key *key)
{
    uint32_t block[BLOCK_WORDS], now = fli_load_hint(&generation);
    if (FLI_UNLIKELY(g->seeded != now)) {
        if (!fli_random_key_make(&g->key))
            derive(g, key);
        g->seeded = now;
    }
    make_block(&g->key, block);
    memcpy(g->key.words, block, sizeof g->key.words);
    memcpy(g->numbers, block + FLI_RANDOM_WORDS, sizeof g->numbers);
    g->left = LEFT_MOST;
}

uint32_t fli_random_below(const struct fli_random_key *key, uint32_t bound)
{
    struct generator *g = &generator;
    if (FLI_UNLIKELY(g->left == 0 || g->seeded != fli_load_hint(&generation)))
        refill(g, key);
    return (uint32_t)(((uint64_t)g->numbers[--g->left] * bound) >> 32);
}

void fli_random_begin_anew_stw(void)
{
    fli_store_own(&generation, fli_load_own(&generation) + 1);
}
