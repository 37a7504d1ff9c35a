/* SPDX-License-Identifier: MIT
 *
 * What one thread makes and another one uses (passed.h). ThreadSanitizer reports a race if the library's order is
 * missing; it counts memory that was just mapped or allocated as written by the thread that did it.
 *
 * usage: passed SCENARIO, see the table at the end
 */
#include "base/check.h"
#include "grace/helper.h"
#include "heap/guest.h"
#include "heap/thread.h"
#include "base/os.h"
#include "large/large.h"
#include "large/starts.h"
#include "large/tray.h"
#include "memory/magazine.h"
#include "memory/range.h"
#include "memory/slab.h"
#include "pool/reserve.h"
#include "passed.h"

/* What the first thread has made, where the scenario has to name it. */
static _Atomic(void *) made;

static void pass(void *what)
{
    atomic_store_explicit(&made, what, memory_order_relaxed);
    reach(1);
}

static void *receive(void)
{
    await(1);
    return atomic_load_explicit(&made, memory_order_relaxed);
}

static volatile uintptr_t sink;

static struct fl_heap *heap;

static void begin_heap(const struct fl_options *options)
{
    char error[256];
    heap = fl_heap_create(options, error, sizeof error);
    MUST(heap != NULL);
}

/* ---- The default heap, the misuse handler, the guest of a heap. */

static void make_default(void)
{
    fl_heap_default();
    reach(1);
}

static void use_default(void)
{
    await(1);
    sink = fl_heap_default()->mapping_bytes;
}

static int prepared;

static void handle(const struct fl_misuse *misuse)
{
    (void)misuse;
    sink = (uintptr_t)prepared;
    reach(2);
}

static void make_handler(void)
{
    prepared = 1;
    fl_set_misuse_handler(handle);
    reach(1);
}

static void use_handler(void)
{
    await(1);
    fli_misuse("passed", NULL, NULL, "a scenario");
    MUST(atomic_load_explicit(&step, memory_order_relaxed) == 2);
}

static struct fli_guest guests[2];

static void begin_guest(void)
{
    begin_heap(NULL);
}

static void make_guest(void)
{
    memset(&guests[0], 0, sizeof guests[0]);
    fli_guest_enter(heap, &guests[0]);
    reach(1);
}

static void use_guest(void)
{
    await(1);
    sink = (uintptr_t)fli_guest_of(heap)->leave;
}

static void use_guest_late(void)
{
    await(1);
    sink = (uintptr_t)fli_guest_enter(heap, &guests[1])->leave;
}

/* ---- Large blocks. */

static struct fli_starts starts;
static struct fli_trays trays;
static struct fli_extent extent;
static struct fli_limit limit;
static struct fli_large large;

static char *at(uintptr_t megabytes)
{
    return (char *)(megabytes << 20);
}

static void make_starts(void)
{
    MUST(fli_starts_enter(&starts, at(1), &extent));
    reach(1);
}

static void use_starts(void)
{
    await(1);
    MUST(fli_starts_find(&starts, at(2)) == NULL);
}

/* The second thread finds no node, and makes one itself; meanwhile the first one enters its own. */
static __thread bool is_late;
static _Atomic(bool) waits_to_map = true;

void *__real_fli_os_map(size_t bytes);
void *__wrap_fli_os_map(size_t bytes);

void *__wrap_fli_os_map(size_t bytes)
{
    if (is_late && atomic_exchange_explicit(&waits_to_map, false, memory_order_relaxed)) {
        reach(1);
        await(2);
    }
    return __real_fli_os_map(bytes);
}

static void make_starts_first(void)
{
    await(1);
    MUST(fli_starts_enter(&starts, at(1), &extent));
    reach(2);
}

static void use_starts_late(void)
{
    is_late = true;
    MUST(fli_starts_enter(&starts, at(1 << 17), &extent)); /* of the first one's nodes, it shares only the highest */
}

static void make_trays(void)
{
    fli_tray_make(&trays);
    reach(1);
}

static void use_trays(void)
{
    await(1);
    MUST(fli_tray_take(&trays, 0) == NULL);
}

static void begin_tray(void)
{
    extent.mapped = 1 << 16;
    extent.bin = 1;
    fli_tray_make(&trays);
    MUST(fli_tray_grant(&trays, &extent, SIZE_MAX));
}

static void make_spare(void)
{
    extent.cold = true;
    MUST(fli_tray_put(&trays, &extent));
    reach(1);
}

static void use_spare(void)
{
    await(1);
    MUST(fli_tray_take(&trays, 1)->cold);
}

static void begin_large(void)
{
    limit.most = SIZE_MAX;
    fli_large_init(&large, &limit);
    uintptr_t block = (uintptr_t)fli_large_alloc(&large, 0, 1 << 20, false) & -(uintptr_t)(1 << 20);
    MUST(block != 0);
    /* Makes the nodes around it, so that the next one needs none. */
    for (uintptr_t address = block - (1 << 30); address < block + (1 << 30); address += 1 << 23)
        if (address >> 20 != block >> 20)
            MUST(fli_starts_enter(&large.starts, (void *)address, NULL));
}

static void make_large(void)
{
    pass(fli_large_alloc(&large, 0, 1 << 20, false));
}

static void use_large(void)
{
    size_t actual;
    MUST(fli_large_free(&large, receive(), true, 1 << 20, &actual) == FLI_LARGE_DONE);
}

static void look_up_large(void)
{
    MUST(fli_large_size(&large, receive()) == 1 << 20);
}

static void walk_large(void)
{
    (void)receive();
    sink = (uintptr_t)fli_large_first(&large)->next_made;
}

/* ---- Ranges of magazines and slabs. */

static struct fli_magazines magazines;

static void begin_magazines(void)
{
    size_t bytes = fli_magazines_reserve_bytes(1 << 20);
    char *base = fli_os_reserve(bytes, fli_os_page());
    MUST(base != NULL && fli_magazines_init(&magazines, base, bytes, 0, (size_t)1 << 30) == 0);
}

static void make_magazine(void)
{
    struct fli_magazine *magazine;
    do
        MUST((magazine = fli_magazine_carve(&magazines)) != NULL);
    while (fli_load_own(&magazines.ranges) == 1);
    pass(magazine);
}

static void use_magazine(void)
{
    sink = fli_magazine_index(&magazines, receive());
}

static void use_index(void)
{
    (void)receive();
    sink = (uintptr_t)fli_magazine_at(&magazines, magazines.at[0].count);
}

static struct fli_ranges ranges;

enum { FIRST = 2 * FLI_CHUNK_SLABS };

static void begin_ranges(void)
{
    size_t span = (size_t)FIRST * FLI_SLAB_BYTES;
    char *base = fli_os_reserve(span + fli_range_metadata_bytes(span, false), FLI_CHUNK_BYTES);
    MUST(base != NULL &&
         fli_ranges_init(&ranges, base, span, 16 * span, (struct fli_range_kind){.defers = true}) == 0);
}

/* The first slab of the second range. */
static uint32_t beyond(void)
{
    return ranges.at[0].first + ranges.at[0].slabs;
}

static void make_range(void)
{
    MUST(fli_ranges_commit(&ranges, beyond(), 0) == 0);
    pass(ranges.at[1].base);
}

static void use_address(void)
{
    MUST(fli_range_around(&ranges, receive()) == &ranges.at[1]);
}

static void use_slab(void)
{
    (void)receive();
    MUST(fli_range_beyond(&ranges, beyond()) == &ranges.at[1]);
}

/* ---- What a thread sets aside, and statistics count. */

static struct fli_owner owner;

static void make_reserve(void)
{
    MUST(fli_reserve_begin_owner(&owner, 1));
    pass(&owner);
}

static void use_reserve(void)
{
    MUST(fli_reserve_blocks(receive(), 1, &magazines) == 0);
}

/* ---- Grace periods. */

static int by_readers;

static void wait_for_readers(void)
{
    by_readers++;
}

static struct fli_helper helper = FLI_HELPER_INITIALIZER(wait_for_readers);

static void use_grace(void)
{
    int64_t token = fli_helper_begin(&helper);
    MUST(token > 0);
    while (!fli_helper_elapsed(&helper, token))
        sched_yield();
    sink = (uintptr_t)by_readers;
}

/* ---- The scenarios. */

static const struct scenario scenarios[] = {
    {"default", nothing, make_default, use_default},
    {"handler", nothing, make_handler, use_handler},
    {"guest", begin_guest, make_guest, use_guest},
    {"guest_late", begin_guest, make_guest, use_guest_late},
    {"starts", nothing, make_starts, use_starts},
    {"starts_late", nothing, make_starts_first, use_starts_late},
    {"trays", nothing, make_trays, use_trays},
    {"spare", begin_tray, make_spare, use_spare},
    {"large", begin_large, make_large, use_large},
    {"large_size", begin_large, make_large, look_up_large},
    {"large_walk", begin_large, make_large, walk_large},
    {"magazine", begin_magazines, make_magazine, use_magazine},
    {"magazine_index", begin_magazines, make_magazine, use_index},
    {"range", begin_ranges, make_range, use_address},
    {"range_slab", begin_ranges, make_range, use_slab},
    {"reserve", nothing, make_reserve, use_reserve},
    {"grace", nothing, nothing, use_grace},
};

int main(int argc, char **argv)
{
    return run_scenario(scenarios, sizeof scenarios / sizeof *scenarios, argc, argv);
}
