/* SPDX-License-Identifier: MIT
 *
 * The payload of a block: two words that say what it is, and a pattern that depends on its address and serial number.
 */
#include "storm.h"

#include <inttypes.h>

static uint64_t seal_of(const struct cargo *cargo, uint64_t tag)
{
    struct stress_rng mix = {(uint64_t)(uintptr_t)cargo ^ tag * 0xd1342543de82ef95};
    return stress_random(&mix);
}

static unsigned char *body_of(const struct cargo *cargo, size_t skip)
{
    return (unsigned char *)(uintptr_t)cargo + skip;
}

storm_ref storm_seal(struct cargo *cargo, enum storm_kind kind, unsigned variant, size_t size, size_t skip,
                     struct stress_rng *rng)
{
    uint64_t serial = stress_random(rng) >> 36;
    cargo->tag = serial << 36 | (uint64_t)kind << 28 | (uint64_t)variant << 24 | size;
    cargo->seal = seal_of(cargo, cargo->tag);
    stress_fill(body_of(cargo, skip), size - skip, cargo->seal);
    return (uint64_t)(uintptr_t)cargo | serial << 48;
}

static void verify_words(const struct cargo *cargo)
{
    uint64_t seal = cargo->seal, tag = cargo->tag;
    if (seal != seal_of(cargo, tag))
        stress_fail("block %p has no seal: its words are %#" PRIx64 " and %#" PRIx64, (const void *)cargo, seal, tag);
}

void storm_verify(const struct cargo *cargo, size_t skip)
{
    verify_words(cargo);
    stress_verify(body_of(cargo, skip), storm_size(cargo) - skip, cargo->seal);
}

struct cargo *storm_open(storm_ref ref)
{
    struct cargo *cargo = (struct cargo *)(uintptr_t)(ref & 0xffffffffffff);
    verify_words(cargo);
    if ((storm_serial(cargo) & 0xffff) != ref >> 48)
        stress_fail("block %p has the serial number %#" PRIx64 ", whose owner knows it by %#" PRIx64, (void *)cargo,
                    storm_serial(cargo), ref >> 48);
    return cargo;
}

void storm_break(struct cargo *cargo)
{
    cargo->seal = ~cargo->seal;
}
