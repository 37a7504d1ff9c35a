/* SPDX-License-Identifier: MIT */
#include "large/tray.h"
#include "base/os.h"

enum { ALL_BYTES = FLI_TRAYS * sizeof(struct fli_tray) };

void fli_tray_make(struct fli_trays *trays)
{
    struct fli_tray *none = fli_load_hint(&trays->of), *made = none == NULL ? fli_os_map(ALL_BYTES) : NULL;
    /* E8: release, pairs with E7: the trays can be read. */
    if (made != NULL && !fli_cas_strong(&trays->of, &none, made, memory_order_release, memory_order_relaxed))
        fli_os_unmap(made, ALL_BYTES);
}

void fli_tray_close(struct fli_trays *trays)
{
    struct fli_tray *of = fli_load_own(&trays->of);
    for (unsigned bin = 0; of != NULL && bin < FLI_TRAYS; bin++)
        for (struct fli_extent *extent; (extent = fli_tray_take_below(&of[bin], FLI_TRAY_SLOTS)) != NULL;)
            fli_extent_unmap(extent);
    if (of != NULL)
        fli_os_unmap(of, ALL_BYTES);
}

bool fli_tray_grant(struct fli_trays *trays, const struct fli_extent *extent, size_t most)
{
    struct fli_tray *tray = fli_tray_of(trays, extent->bin);
    if (tray == NULL)
        return false;
    size_t granted = fli_load_own(&trays->granted) + extent->mapped;
    unsigned room = fli_load_own(&tray->room);
    bool grants = room < FLI_TRAY_SLOTS && granted <= most;
    /* The hint was of no use to a put. Whatever it is worth, the next put or take now looks at all slots. */
    fli_store_hint(&tray->count, grants ? 0 : room);
    if (!grants)
        return false;
    fli_store_hint(&tray->bytes, extent->mapped);
    fli_store_hint(&tray->room, room + 1);
    fli_store_hint(&trays->used, fli_load_own(&trays->used) | (uint64_t)1 << extent->bin);
    fli_store_hint(&trays->granted, granted);
    return true;
}

static void empty(struct fli_tray *tray, struct fli_spare *spare)
{
    fli_store_hint(&tray->room, 0);
    for (struct fli_extent *extent; (extent = fli_tray_take_below(tray, FLI_TRAY_SLOTS)) != NULL;)
        fli_spare_put(spare, extent);
}

void fli_tray_revoke(struct fli_trays *trays, struct fli_spare *spare)
{
    for (uint64_t used = fli_load_own(&trays->used); used != 0; used &= used - 1)
        empty(fli_tray_of(trays, (unsigned)__builtin_ctzll(used)), spare);
    fli_store_hint(&trays->granted, 0);
}

void fli_tray_forget_stw(struct fli_trays *trays)
{
    struct fli_tray *of = fli_load_own(&trays->of);
    for (uint64_t used = fli_load_own(&trays->used); of != NULL && used != 0; used &= used - 1)
        while (fli_tray_take_below(&of[__builtin_ctzll(used)], FLI_TRAY_SLOTS) != NULL)
            ;
}

static size_t bytes_in(struct fli_tray *tray)
{
    size_t extents = 0;
    for (unsigned i = 0; i < FLI_TRAY_SLOTS; i++)
        extents += fli_load_hint(&tray->slots[i]) != NULL;
    return extents * fli_load_hint(&tray->bytes);
}

size_t fli_tray_bytes(struct fli_trays *trays)
{
    size_t bytes = 0;
    for (uint64_t used = fli_load_hint(&trays->used); used != 0; used &= used - 1)
        bytes += bytes_in(fli_tray_of(trays, (unsigned)__builtin_ctzll(used)));
    return bytes;
}
