/* SPDX-License-Identifier: MIT */
#include "model.h"

#include <errno.h>
#include <string.h>

enum { BUCKETS = 1024, ENDS = 256 };

struct fl_heap *model_heaps[MODEL_HEAPS];

static struct block blocks[MODEL_BLOCKS];
static struct block *buckets[BUCKETS];
static unsigned used, seed;
static unsigned order[MODEL_BLOCKS]; /* numbers of blocks, the newest last */

/* ---- Contents: every byte at the two ends of a block, with a pattern of its own. */

static unsigned char byte_at(const struct block *block, size_t i)
{
    return (unsigned char)(block->seed + i * 5 + (i >> 8));
}

/* The first byte that is the program's. */
static size_t first_byte(const struct block *block)
{
    return block->type != NULL ? HEADER_BYTES : 0;
}

/* The byte behind one that was looked at. */
static size_t byte_after(const struct block *block, size_t i)
{
    return i + 1 >= ENDS && i + ENDS < block->size ? block->size - ENDS : i + 1;
}

void model_fill(struct block *block)
{
    block->seed = (unsigned char)(++seed * 37);
    for (size_t i = first_byte(block); i < block->size; i = byte_after(block, i))
        block->start[i] = (char)byte_at(block, i);
}

void model_verify(const struct block *block)
{
    for (size_t i = first_byte(block); i < block->size; i = byte_after(block, i))
        FUZZ_REQUIRE((unsigned char)block->start[i] == byte_at(block, i),
                     "byte %zu of the %zu at %p (state %d, type %s) is %#x, not %#x", i, block->size,
                     (void *)block->start, (int)block->state, block->type != NULL ? block->type->name : "none",
                     (unsigned)(unsigned char)block->start[i], (unsigned)byte_at(block, i));
}

/* ---- Blocks. */

void model_begin(void)
{
    memset(blocks, 0, sizeof blocks);
    memset(buckets, 0, sizeof buckets);
    memset(model_heaps, 0, sizeof model_heaps);
    used = seed = 0;
}

bool model_has_room(size_t count)
{
    return count <= MODEL_BLOCKS - used;
}

static struct block **bucket_of(const void *start)
{
    return &buckets[((uintptr_t)start >> 4) % BUCKETS];
}

struct block *model_find(const void *start)
{
    struct block *block = *bucket_of(start);
    while (block != NULL && block->start != start)
        block = block->next;
    return block;
}

/* Whether the library may have handed out the memory of the block again. */
static bool may_be_gone(const struct block *block)
{
    return block->state == MAYBE || (block->state == DEFERRED && world.ended > block->deferred_at);
}

void model_remove(struct block *block)
{
    struct block **at = bucket_of(block->start);
    while (*at != block)
        at = &(*at)->next;
    *at = block->next;
    unsigned i = 0;
    while (&blocks[order[i]] != block)
        i++;
    memmove(&order[i], &order[i + 1], (used - i - 1) * sizeof *order);
    used--;
    *block = (struct block){.state = NO_BLOCK};
}

static struct block *unused(void)
{
    static unsigned next;
    while (blocks[next %= MODEL_BLOCKS].state != NO_BLOCK)
        next++;
    order[used++] = next;
    return &blocks[next];
}

struct block *model_add(unsigned heap, void *start, size_t size, const struct fl_type *type)
{
    struct fl_heap *of = model_heaps[heap];
    struct block *before = model_find(start);
    if (before != NULL) {
        FUZZ_REQUIRE(may_be_gone(before), "%p was handed out again (state %d)", start, (int)before->state);
        model_remove(before);
    }
    struct block *block = unused();
    *block = (struct block){
        .state = LIVE, .heap = heap, .start = start, .size = size, .type = type, .held = 1, .references = 1};
    block->next = *bucket_of(start);
    *bucket_of(start) = block;
    block->usable = fl_usable_size(of, start);
    FUZZ_REQUIRE(block->usable >= size && block->usable > 0, "%p has %zu of %zu bytes", start, block->usable, size);
    FUZZ_REQUIRE(fl_owns(of, start), "%p is not of its heap", start);
    FUZZ_REQUIRE((uintptr_t)start % 16 == 0, "%p is not aligned", start);
    model_fill(block);
    return block;
}

static bool is_held_elsewhere(const struct block *block)
{
    return block->is_busy || block->held == 0;
}

struct block *model_pick(unsigned heap, size_t n, bool (*fits)(const struct block *block))
{
    struct block *last = NULL;
    for (unsigned i = used; i-- > 0;) {
        struct block *block = &blocks[order[i]];
        if (block->heap != heap || block->state != LIVE || is_held_elsewhere(block) || (fits != NULL && !fits(block)))
            continue;
        last = block;
        if (n-- == 0)
            break;
    }
    return last;
}

void model_defer(struct block *block)
{
    block->state = DEFERRED;
    block->deferred_at = world.begun;
}

unsigned model_number(const struct fl_heap *heap)
{
    unsigned number = 0;
    while (model_heaps[number] != heap)
        FUZZ_REQUIRE(++number < MODEL_HEAPS, "heap %p is none of the program's", (const void *)heap);
    return number;
}

void model_remove_heap(unsigned heap)
{
    for (unsigned i = used; i-- > 0;)
        if (blocks[order[i]].heap == heap)
            model_remove(&blocks[order[i]]);
}

size_t model_count(unsigned heap, enum block_state state)
{
    size_t count = 0;
    for (unsigned i = 0; i < used; i++)
        count += blocks[order[i]].heap == heap && blocks[order[i]].state == state;
    return count;
}

/* ---- All blocks. */

static int by_start(const void *a, const void *b)
{
    const struct block *first = *(struct block *const *)a, *second = *(struct block *const *)b;
    return first->start < second->start ? -1 : first->start > second->start;
}

static void drop_gone(void)
{
    for (unsigned i = used; i-- > 0;)
        if (blocks[order[i]].state == DEFERRED && may_be_gone(&blocks[order[i]]))
            model_remove(&blocks[order[i]]);
}

void model_verify_all(void)
{
    static struct block *sorted[MODEL_BLOCKS];
    const struct block *before = NULL;
    unsigned count = 0;
    drop_gone();
    for (unsigned i = 0; i < used; i++)
        if (blocks[order[i]].state != MAYBE)
            sorted[count++] = &blocks[order[i]];
    qsort(sorted, count, sizeof *sorted, by_start);
    for (unsigned i = 0; i < count; before = sorted[i++]) {
        FUZZ_REQUIRE(before == NULL || before->start + before->usable <= sorted[i]->start,
                     "%p, %zu bytes, overlaps %p", (void *)before->start, before->usable, (void *)sorted[i]->start);
        model_verify(sorted[i]);
    }
}

/* ---- What the library says. */

/* What the model knows of a class: blocks that are allocated, and those that may be. */
struct count {
    size_t allocated, maybe, waiting;
};

static void count_classes(unsigned heap, struct count *counts)
{
    memset(counts, 0, FL_CLASS_COUNT * sizeof *counts);
    for (unsigned i = 0; i < used; i++) {
        const struct block *block = &blocks[order[i]];
        struct count *count = &counts[fl_size_class(block->usable)];
        if (block->heap != heap)
            continue;
        count->maybe += block->state == MAYBE;
        count->waiting += block->state == DEFERRED && !may_be_gone(block);
        count->allocated += block->state == LIVE || block->state == DEAD || block->state == KEPT;
    }
}

static void verify_stats(unsigned heap, struct fl_heap *of)
{
    struct count counts[FL_CLASS_COUNT];
    struct fl_stats stats;
    count_classes(heap, counts);
    fl_heap_stats(of, &stats);
    for (unsigned c = 1; c < FL_CLASS_COUNT; c++) {
        const struct fl_class_stats *class = &stats.classes[c];
        FUZZ_REQUIRE(class->live >= counts[c].allocated && class->live <= counts[c].allocated + counts[c].maybe,
                     "heap %u: %zu live blocks of %zu bytes, the program has %zu and maybe %zu", heap, class->live,
                     class->block_bytes, counts[c].allocated, counts[c].maybe);
        FUZZ_REQUIRE(class->deferred >= counts[c].waiting, "heap %u: %zu deferred blocks of %zu bytes, not %zu", heap,
                     class->deferred, class->block_bytes, counts[c].waiting);
    }
    FUZZ_REQUIRE(stats.large_blocks >= counts[0].allocated &&
                     stats.large_blocks <= counts[0].allocated + counts[0].maybe,
                 "heap %u: %zu large blocks, the program has %zu and maybe %zu", heap, stats.large_blocks,
                 counts[0].allocated, counts[0].maybe);
}

struct seeing {
    unsigned heap;
    size_t seen;
};

static bool see(void *context, const struct fl_block *block)
{
    struct seeing *seeing = context;
    const struct block *found = model_find(block->start);
    FUZZ_REQUIRE(found != NULL && found->heap == seeing->heap, "the walk tells of %p", block->start);
    FUZZ_REQUIRE(found->state == LIVE || found->state == DEAD || found->state == MAYBE || found->state == KEPT,
                 "the walk tells of %p (state %d)", block->start, (int)found->state);
    FUZZ_REQUIRE(block->state == FL_BLOCK_LIVE && block->size >= found->size, "%p has %zu bytes", block->start,
                 block->size);
    seeing->seen += found->state == LIVE || found->state == DEAD;
    return true;
}

static const char *name_type(void *context, const struct fl_block *block)
{
    const struct block *found = model_find(block->start);
    *(size_t *)context += found->state == LIVE || found->state == DEAD;
    return found->type != NULL ? found->type->name : NULL;
}

static void verify_census(struct fl_heap *of, size_t live)
{
    struct fl_census *census;
    const struct fl_census_row *row;
    size_t told = 0, counted = 0;
    if (fl_census_take(of, name_type, &told, &census) != 0)
        return;
    FUZZ_REQUIRE(told == live, "the census asks for %zu of %zu", told, live);
    for (size_t rows = fl_census_rows(census, &row); rows > 0; rows--, row++)
        counted += row->count;
    FUZZ_REQUIRE(counted >= live, "the census has %zu of %zu", counted, live);
    static char text[65536];
    FILE *stream = fmemopen(text, sizeof text, "w");
    FUZZ_REQUIRE(stream != NULL, "no stream");
    FUZZ_REQUIRE(fl_census_print(census, stream, live % 2 == 0 ? FL_STATS_TEXT : FL_STATS_JSON) == 0, "a census");
    fclose(stream);
    fl_census_free(census);
}

/* During a walk: where a live block is found by an address inside it. */
static void verify_addresses(unsigned heap, struct fl_heap *of)
{
    struct fl_block found;
    for (unsigned i = 0; i < used; i++) {
        const struct block *block = &blocks[order[i]];
        if (block->heap != heap || (block->state != LIVE && block->state != DEAD))
            continue;
        bool is = fl_block_at(of, block->start + block->size / 2, &found);
        FUZZ_REQUIRE(is && found.start == block->start && found.state == FL_BLOCK_LIVE,
                     "no live block is found at %p", (void *)block->start);
    }
}

static void verify_walk(unsigned heap, struct fl_heap *of)
{
    struct seeing seeing = {.heap = heap};
    size_t live = model_count(heap, LIVE) + model_count(heap, DEAD);
    int failed = fl_heap_walk_begin(of);
    FUZZ_REQUIRE(failed == 0 || failed == -ENOMEM, "a walk begins with %d", failed);
    if (failed != 0)
        return;
    FUZZ_REQUIRE(fl_heap_walk(of, see, &seeing) == 0, "a walk ends");
    FUZZ_REQUIRE(seeing.seen == live, "a walk tells of %zu blocks, not %zu", seeing.seen, live);
    verify_addresses(heap, of);
    verify_census(of, live);
    FUZZ_REQUIRE(fl_heap_walk_end(of) == 0, "a walk does not end");
}

void model_verify_heap(unsigned heap, bool walks)
{
    struct fl_heap *of = model_heaps[heap];
    char error[256] = "";
    bool refuses = world.refuses;
    if (walks)
        verify_walk(heap, of);
    world.refuses = false;
    int failed = fl_heap_check(of, error, sizeof error);
    FUZZ_REQUIRE(failed == 0, "fl_heap_check: %d: %s", failed, error);
    verify_stats(heap, of);
    world.refuses = refuses;
}
