/* SPDX-License-Identifier: MIT */
#include "heap/record.h"
#include "base/sanitizer.h"
#include "heap/options.h"
#include "heap/registry.h"

#include <stdlib.h>
#include <string.h>

enum { HUGE_BYTES = 2 << 20, RECORD_BYTES = (sizeof(struct fl_heap) + FLI_CACHE_LINE - 1) & -FLI_CACHE_LINE };

struct head {
    FLI_LINKS(struct head) in_open;
    uint64_t free; /* a bit per free place */
};

enum {
    HEAD_BYTES = FLI_CACHE_LINE,
    FITTING = (HUGE_BYTES - HEAD_BYTES) / RECORD_BYTES,
    PLACES = FITTING < 64 ? FITTING : 64, /* a bit per place */
};

static const uint64_t all_free = UINT64_MAX >> (64 - PLACES);

_Static_assert(sizeof(struct head) <= HEAD_BYTES && PLACES > 0, "the head lies before the places");

static FLI_PLAIN(struct head *) open_heads;

/* Maps places, all free. Returns NULL if the OS refuses. */
static struct head *map_places(void)
{
    struct head *head = fli_os_reserve(HUGE_BYTES, HUGE_BYTES);
    if (head == NULL)
        return NULL;
    if (!fli_os_restore(head, HUGE_BYTES)) {
        fli_os_release(head, HUGE_BYTES);
        return NULL;
    }
    fli_os_advise_huge(head, HUGE_BYTES, true);
    fli_leak_root_add(head, HUGE_BYTES);
    head->free = all_free;
    return head;
}

static void unmap_places(struct head *head)
{
    fli_leak_root_remove(head, HUGE_BYTES);
    fli_os_release(head, HUGE_BYTES);
}

/* The lowest free place, which is free no more. NULL if the OS refuses memory. */
static struct fl_heap *take_place_locked(void)
{
    fli_registry_assert_held();
    struct head *head = open_heads;
    if (head == NULL) {
        head = map_places();
        if (head == NULL)
            return NULL;
        FLI_LIST_ADD(&open_heads, head, in_open);
    }
    unsigned place = (unsigned)__builtin_ctzll(head->free);
    head->free &= head->free - 1;
    if (head->free == 0)
        FLI_LIST_REMOVE(head, in_open);
    return (void *)((char *)head + HEAD_BYTES + (size_t)place * RECORD_BYTES);
}

static void give_place_locked(struct head *head, size_t place)
{
    fli_registry_assert_held();
    if (head->free == 0)
        FLI_LIST_ADD(&open_heads, head, in_open);
    head->free |= (uint64_t)1 << place;
    if (head->free != all_free)
        return;
    FLI_LIST_REMOVE(head, in_open);
    unmap_places(head);
}

struct fl_heap *fli_record_alloc(bool usual)
{
    struct fl_heap *heap = NULL;
    if (usual && fli_registry_heap_count() >= FLI_HEAPS_CROWD) {
        fli_registry_lock();
        heap = take_place_locked();
        fli_registry_unlock();
    }
    bool is_placed = heap != NULL;
    if (!is_placed)
        heap = aligned_alloc(FLI_CACHE_LINE, RECORD_BYTES);
    if (heap == NULL)
        return NULL;
    memset(heap, 0, sizeof *heap);
    heap->is_placed = is_placed;
    return heap;
}

void fli_record_free(struct fl_heap *heap)
{
    if (!heap->is_placed) {
        free(heap);
        return;
    }
    uintptr_t head = (uintptr_t)heap & ~((uintptr_t)HUGE_BYTES - 1);
    fli_registry_lock();
    give_place_locked((void *)head, ((uintptr_t)heap - head - HEAD_BYTES) / RECORD_BYTES);
    fli_registry_unlock();
}
