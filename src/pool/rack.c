/* SPDX-License-Identifier: MIT */
#include "pool/rack.h"

enum {
    MOST_KIB = FLI_RACK_BYTES_MOST / FLI_KIB,
    STEP_KIB = 256,
    STEPS_MOST = (MOST_KIB + STEP_KIB - 1) / STEP_KIB,
};

static unsigned cost(const struct fli_magazine *magazine, unsigned class_index)
{
    size_t blocks = fli_load_own(&magazine->count);
    size_t bytes = class_index != 0 ? blocks * fli_class_bytes(class_index) : 0;
    return (unsigned)((FLI_MAGAZINE_BYTES + bytes + FLI_KIB - 1) / FLI_KIB);
}

static bool has_room(const struct fli_rack_part *part, unsigned kib, size_t most)
{
    size_t bound = FLI_RACK_BYTES_FIRST + part->grown * STEP_KIB * FLI_KIB;
    return fli_rack_bytes(part) + kib * FLI_KIB <= fli_min(bound, most);
}

/* Notes what the part has turned away. It remembers one class, the latest: earlier ones no longer make the bound
 * grow. */
static void refuse(struct fli_rack_part *part, unsigned class_index, unsigned kib)
{
    if (part->refused_class != class_index)
        part->refused = 0;
    part->refused_class = (uint8_t)class_index;
    part->refused = (uint16_t)fli_min(part->refused + kib, MOST_KIB);
    part->turned = (uint16_t)fli_min(part->turned + kib, MOST_KIB);
}

/* The thread has missed: raises the bound by a step if the part has turned the class away. */
static void grow(struct fli_rack_part *part, unsigned class_index)
{
    part->turned = 0;
    if (part->refused == 0 || part->refused_class != class_index || part->grown >= STEPS_MOST)
        return;
    part->refused = (uint16_t)(part->refused - fli_min(part->refused, STEP_KIB));
    part->grown++;
}

bool fli_rack_put(struct fli_rack_part *part, struct fli_chain *shelf, const struct fli_magazines *magazines,
                  struct fli_magazine *magazine, unsigned class_index, size_t most)
{
    unsigned kib = cost(magazine, class_index);
    if (!has_room(part, kib, most)) {
        refuse(part, class_index, kib);
        return false;
    }
    fli_chain_put(shelf, magazines, magazine);
    fli_store_own(&part->kib, (uint16_t)(fli_load_own(&part->kib) + kib));
    return true;
}

struct fli_magazine *fli_rack_take(struct fli_rack_part *part, struct fli_chain *shelf,
                                   const struct fli_magazines *magazines, unsigned class_index)
{
    struct fli_magazine *magazine = fli_chain_take(shelf, magazines);
    if (magazine == NULL) {
        grow(part, class_index);
        return NULL;
    }
    fli_store_own(&part->kib, (uint16_t)(fli_load_own(&part->kib) - cost(magazine, class_index)));
    return magazine;
}

bool fli_rack_overflows(const struct fli_rack_part *part, size_t most)
{
    return fli_rack_bytes(part) + part->turned * FLI_KIB > most;
}

void fli_rack_forget(struct fli_rack_part *part)
{
    part->refused = part->refused_class = part->grown = 0;
}

void fli_rack_reset_empty(struct fli_rack *rack)
{
    if (!fli_rack_is_empty(rack))
        return;
    fli_rack_forget(&rack->small);
    fli_rack_forget(&rack->large);
    fli_rack_forget(&rack->empty);
}
