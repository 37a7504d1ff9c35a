/* SPDX-License-Identifier: MIT
 *
 * Creating and destroying heaps.
 *
 *     what a heap reserves when it is created
 *     +-----------------------+---------------+--------------+
 *     | slabs, a guard page   | slab metadata | magazines    |
 *     +-----------------------+---------------+--------------+
 *
 * All of it is address space at first. Regions within are committed as they grow. When the slabs are used up, the heap
 * reserves more of them (memory/range.h), unless the host has said how many it wants.
 *
 * Where there are many heaps, most are small, and what the kernel keeps of each counts: its mappings, its pages of the
 * page table. A fork copies these. So such a heap begins with 128 KiB of slabs, and its address space can be used at
 * once. Neighbours of this kind share a mapping, and pages of the page table: ten heaps one of these. It grows in the
 * same way up to 2 MiB of slabs. Only if it outgrows that does it reserve as much as others do.
 */
#include "heap/heap.h"
#include "base/check.h"
#include "base/pin.h"
#include "base/watch.h"
#include "heap/caretaker.h"
#include "heap/dead.h"
#include "heap/fork.h"
#include "heap/guest.h"
#include "heap/options.h"
#include "heap/profile.h"
#include "heap/record.h"
#include "heap/registry.h"
#include "heap/service.h"
#include "heap/stall.h"
#include "heap/trim.h"
#include "heap/walk.h"
#include "pool/allowance.h"
#include "pool/unsubmitted.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Slabs start at a multiple of this, so that huge pages can lie under them. */
#define HEAP_ALIGNMENT ((size_t)FLI_CHUNK_BYTES)

/* The most bytes of a table, and of magazines, that are made usable at once. */
#define TABLE_OPENED_MOST (2 * FLI_MIB)

struct fli_mutex fli_default_lock = FLI_MUTEX_INITIALIZER(FLI_RANK_DEFAULT);

/* Bytes of address space for the magazines of a heap that begins with so many bytes of slabs. */
static size_t magazines_bytes(size_t span)
{
    size_t small = fli_max(3 * FLI_RESERVE_SMALL / 2, 4 * fli_os_page()); /* a page of them at least */
    return fli_magazines_reserve_bytes(span == FLI_RESERVE_SMALL ? small : span);
}

/* A small heap ends where a neighbour can begin, and others with a whole chunk: then the OS is likely to put the next one
 * where it has to lie. */
static size_t mapping_bytes(size_t span, bool hardened)
{
    size_t bytes = span + fli_range_metadata_bytes(span, hardened) + magazines_bytes(span);
    return fli_round_up(bytes, span == FLI_RESERVE_SMALL ? (size_t)FLI_SLAB_BYTES : HEAP_ALIGNMENT);
}

/* The bytes of slabs that a heap begins with by default: so few that its mapping takes at most a 32nd of the address
 * space that the process may have. */
static size_t modest_span(bool hardened)
{
    size_t span = FLI_RESERVE_FIRST, share = fli_os_address_limit() / 32;
    while (span > FLI_RESERVE_MIN && mapping_bytes(span, hardened) > share)
        span /= 2;
    return span;
}

/* Whether a heap should begin small. */
static bool should_be_small(const struct fl_heap *heap)
{
    return heap->options.reserve_bytes == 0 && !heap->is_default && heap->options.huge != FL_HUGE_ALWAYS &&
           !fli_os_is_strict() && fli_registry_heap_count() >= FLI_HEAPS_MANY;
}

/* The address space of a new heap, and what of it can be touched already. */
struct space {
    size_t span;            /* bytes of slabs; 0: there is none */
    uint8_t ready_parts;    /* of the range (range.h) */
    size_t ready_magazines; /* bytes */
};

/* Reserves address space for a heap that begins small. Returns false if the OS refuses it. */
static bool reserve_small(struct fl_heap *heap)
{
    heap->mapping_bytes = mapping_bytes(FLI_RESERVE_SMALL, heap->hardened);
    heap->mapping = fli_os_reserve_usable(heap->mapping_bytes, FLI_SLAB_BYTES);
    if (heap->mapping != NULL && fli_os_guard(heap->mapping + FLI_RESERVE_SMALL, fli_os_page()))
        return true;
    if (heap->mapping != NULL)
        fli_os_release(heap->mapping, heap->mapping_bytes);
    return false;
}

/* Makes the table of the slabs and the first magazines usable by one call: else each would take some, in a heap that does
 * little more. Not where the OS counts what could be written, nor with a table of many slabs. */
static struct space open_tables(struct fl_heap *heap, size_t span)
{
    struct space space = {.span = span};
    size_t table = fli_range_table_bytes(span), end = span + fli_range_metadata_bytes(span, heap->hardened);
    size_t magazines = fli_min(TABLE_OPENED_MOST, magazines_bytes(span));
    char *start = heap->mapping + end - table;
    if (table > TABLE_OPENED_MOST || fli_os_is_strict() || !fli_os_restore(start, table + magazines))
        return space;
    fli_os_advise_huge(start, heap->mapping_bytes - (end - table), false);
    space.ready_parts = 1;
    space.ready_magazines = magazines;
    return space;
}

/* Reserves address space for slabs of `wanted` bytes, or by default for some, as much as the OS grants. */
static struct space reserve(struct fl_heap *heap, size_t wanted)
{
    bool hardened = heap->hardened;
    if (should_be_small(heap) && reserve_small(heap))
        return (struct space){FLI_RESERVE_SMALL, FLI_RANGE_PARTS, magazines_bytes(FLI_RESERVE_SMALL)};
    size_t span = wanted != 0 ? fli_round_up(wanted, FLI_MIB) : modest_span(hardened);
    size_t least = wanted != 0 ? span : FLI_RESERVE_MIN;
    for (; span >= least; span /= 2) {
        heap->mapping = fli_os_reserve(mapping_bytes(span, hardened), HEAP_ALIGNMENT);
        if (heap->mapping != NULL) {
            heap->mapping_bytes = mapping_bytes(span, hardened);
            return open_tables(heap, span);
        }
    }
    return (struct space){0};
}

static int init_backing(struct fl_heap *heap, struct space space)
{
    size_t span = space.span;
    struct fli_backing *backing = &heap->backing;
    size_t metadata = fli_range_metadata_bytes(span, heap->hardened), given = heap->options.reserve_bytes;
    size_t most = given != 0 ? span : fli_max(span, FLI_RESERVE_DEFAULT);
    backing->limit.most = heap->options.limit_bytes;
    backing->small_bytes = FLI_RARE_PATHS ? 4 * FLI_MAGAZINE_BYTES : fli_os_cache_bytes() / 2;
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++)
        backing->magazine_blocks[c] = fli_class_magazine_blocks(c, heap->options.magazine_blocks,
                                                                heap->options.limit_bytes);
    fli_allowance_init(&backing->allowance, heap->options.limit_bytes, heap->grace.kind != FL_GRACE_NONE,
                       backing->magazine_blocks);
    fli_pool_init(&backing->pool);
    fli_homes_init(&backing->homes, &backing->slabs, heap->options.limit_bytes != SIZE_MAX);
    fli_large_init(&backing->large, &backing->limit);
    int failed = fli_magazines_init(&backing->magazines, heap->mapping + span + metadata, magazines_bytes(span),
                                    space.ready_magazines, most);
    if (span == FLI_RESERVE_SMALL) {
        backing->slabs.ranges.usual = FLI_RESERVE_FIRST;
        fli_magazines_grow_by(&backing->magazines, FLI_RESERVE_FIRST);
    }
    fli_deferred_init(&heap->deferred, backing, &heap->grace, heap->options.defer_bytes);
    fli_unsubmitted_init(&heap->deferred.rooms, heap->options.limit_bytes);
    backing->slabs.huge_pages = !FLI_SANITIZED && heap->options.huge != FL_HUGE_NEVER;
    backing->slabs.huge_at_once = heap->options.huge == FL_HUGE_ALWAYS;
    backing->slabs.strict = fli_os_is_strict();
    backing->slabs.small_pages = heap->options.huge == FL_HUGE_NEVER;
    backing->slabs.watched = heap->watched;
    backing->slabs.hardened = heap->hardened;
    backing->slabs.ready_parts = space.ready_parts;
    backing->large.is_shown |= heap->watched;
    backing->large.hardened = heap->hardened ? &backing->slabs : NULL;
    backing->slabs.stale_bytes = heap->options.header != NULL ? heap->options.header->bytes : 0;
    int refused = fli_slabs_init(&backing->slabs, heap->mapping, span, most, &backing->limit,
                                 heap->grace.kind != FL_GRACE_NONE);
    return failed != 0 ? failed : refused;
}

/* Undoes everything that create_in has done so far. */
static void dispose(struct fl_heap *heap)
{
    fli_caretaker_give_up(heap);
    fli_guest_close(heap);
    fli_profile_close(heap);
    fli_service_destroy(heap);
    fli_deferred_close(&heap->deferred);
    fli_large_close(&heap->backing.large);
    fli_homes_close(&heap->backing.homes);
    fli_magazines_close(&heap->backing.magazines);
    fli_slabs_close(&heap->backing.slabs);
    fli_mutex_close(&heap->trim_lock);
    fli_mutex_close(&heap->profile_lock);
    fli_os_release(heap->mapping, heap->mapping_bytes);
}

/* Makes what a heap consists of, and enters it. Returns NULL, or what the system refuses. */
static const char *make_parts(struct fl_heap *heap, struct space space)
{
    if (init_backing(heap, space) != 0)
        return "memory for the slab table";
    if (fli_service_create(heap) != 0)
        return "memory for a thread";
    if (fli_fork_watch() != 0)
        return "a fork handler";
    if (fli_caretaker_adopt(heap) != 0)
        return "a thread for option decay_thread";
    return fli_registry_enter(heap) != 0 ? "memory for the registry of heaps, or a thread-specific key" : NULL;
}

/* Creates a heap in zeroed memory. Returns 0; or -ENOMEM or -ENOTSUP with a message, and leaves nothing behind. */
static int create_in(struct fl_heap *heap, char *error, size_t error_size)
{
    if (fli_grace_init(&heap->grace, heap->options.grace, heap->options.grace_host) != 0)
        return fli_complain(-ENOTSUP, error, error_size,
                            "option grace asks for liburcu, without which the library was built");
    heap->options.grace_host = NULL; /* it has been copied */
    if (heap->hardened && !fli_random_key_make(&heap->backing.slabs.key))
        return fli_complain(-ENOMEM, error, error_size, "the system refuses random numbers for option hardened");
    size_t wanted = heap->options.reserve_bytes;
    struct space space = reserve(heap, wanted);
    if (space.span == 0)
        return fli_complain(-ENOMEM, error, error_size,
                            "the system refuses to reserve address space for %zu bytes of slabs (option reserve)",
                            wanted != 0 ? wanted : FLI_RESERVE_MIN);
    fli_mutex_init(&heap->trim_lock, FLI_RANK_TRIM);
    fli_mutex_init(&heap->profile_lock, FLI_RANK_MEMORY);
    fli_bound_init(heap);
    fli_decay_init(heap);
    fli_retired_init(heap);
    const char *refused = make_parts(heap, space);
    if (refused != NULL) {
        dispose(heap);
        return fli_complain(-ENOMEM, error, error_size, "the system refuses %s", refused);
    }
    return 0;
}

struct fl_heap *fli_heap_create(const struct fl_options *options, bool is_default, char *error, size_t error_size)
{
    struct fl_options resolved;
    if (fli_os_page() > FLI_SLAB_BYTES) {
        errno = ENOTSUP;
        fli_complain(-ENOTSUP, error, error_size, "the system's pages have %zu bytes, more than the %d of a slab",
                     fli_os_page(), FLI_SLAB_BYTES);
        return NULL;
    }
    int failed = fli_options_resolve(options, &resolved, error, error_size);
    if (failed != 0) {
        errno = -failed;
        return NULL;
    }
    struct fl_heap *heap = fli_record_alloc(!is_default && resolved.huge != FL_HUGE_NEVER);
    if (heap == NULL) {
        errno = ENOMEM;
        fli_complain(-ENOMEM, error, error_size, "the system refuses memory for a heap");
        return NULL;
    }
    fli_watch_wrote(heap, sizeof *heap);
    heap->options = resolved;
    heap->is_default = is_default;
    heap->watched = fli_watch_is_on();
    heap->hardened = resolved.hardened;
    if (heap->watched)
        heap->options.magazine_blocks = 2; /* so that few blocks lie in magazines */
    failed = create_in(heap, error, error_size);
    if (failed != 0) {
        fli_record_free(heap);
        errno = -failed;
        return NULL;
    }
    return heap;
}

struct fl_heap *fl_heap_create_abi(unsigned abi, const struct fl_options *options, char *error, size_t error_size)
{
    if (abi != FL_ABI) {
        fli_complain(-ENOTSUP, error, error_size, "the caller was compiled for FL_ABI %u, the library has %u", abi,
                     (unsigned)FL_ABI);
        errno = ENOTSUP;
        return NULL;
    }
    fli_pin_object();
    return fli_heap_create(options, false, error, error_size);
}

/* Whether readers may be looking at memory of the heap: at deferred blocks, or with stale readers at any block. */
static bool may_be_read(struct fl_heap *heap)
{
    bool was_used = heap->backing.slabs.committed > 0 || fli_large_was_used(&heap->backing.large);
    return fli_load_hint(&heap->deferred.bytes) > 0 || (heap->options.header != NULL && was_used);
}

/* Waits until no reader looks at the heap. If a host's grace periods cannot be waited for, the host guarantees
 * that. */
static int settle(struct fl_heap *heap)
{
    if (heap->grace.kind == FL_GRACE_NONE || !may_be_read(heap))
        return 0;
    if (!fli_grace_can_wait(&heap->grace))
        return fli_lock_is_forking() ? -EAGAIN : 0;
    if (fli_thread_caller_is_inside(heap)) {
        fli_misuse("fl_heap_destroy", heap, NULL, "would wait for a grace period inside a read-side section");
        return -EINVAL;
    }
    int64_t token = fli_grace_begin(&heap->grace);
    if (token <= 0)
        return token < 0 ? (int)token : -EAGAIN;
    while (!fli_stall_wait(heap, token))
        ;
    return 0;
}

int fl_heap_destroy(struct fl_heap *heap)
{
    if (heap->is_default) {
        fli_misuse("fl_heap_destroy", heap, NULL, "is the default heap, which lives as long as the process");
        return -EPERM;
    }
    unsigned inside;
    size_t attached = fli_registry_count(heap, &inside);
    if (attached > 0) {
        fli_misuse("fl_heap_destroy", heap, NULL, "has %zu threads attached, %u of them inside a read-side section",
                   attached, inside);
        return -EBUSY;
    }
    if (fli_walk_of(heap) != NULL) {
        fli_misuse("fl_heap_destroy", heap, NULL, "is being walked");
        return -EBUSY;
    }
    if (fli_load_hint(&heap->left_dead) != NULL || fli_queue_is_left(heap))
        return -EBUSY;
    int failed = settle(heap);
    if (failed != 0)
        return failed;
    fli_registry_remove(heap);
    dispose(heap);
    fli_record_free(heap);
    return 0;
}
