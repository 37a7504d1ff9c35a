/* SPDX-License-Identifier: MIT
 *
 * A thread works against the library: it frees blocks of many classes that other threads have allocated, from hundreds
 * of slabs in random order, while some of these threads work on and others have left magazines behind. It comes back after
 * silences, frees large blocks, defers, and allocates what it has reserved. Calls that take a slow half go through a
 * function of their own, so that `longest.py` finds how many instructions the longest one executes.
 */
#include <freelane/freelane.h>

#include "grace.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILLERS = 6, LARGE = 48, DEFERRED = 20000, RESERVED = 20000, BLOCK_BYTES = 48 };

struct block {
    void *start;
    size_t size;
};

struct filler {
    pthread_t thread;
    struct fl_heap *heap;
    struct block *blocks;
    size_t count;
    unsigned long random;
    int stays; /* it works on until the end */
    pthread_barrier_t *filled;
};

static unsigned char done; /* the fillers that stay end */
static struct fl_type type = {.name = "counted", .size = BLOCK_BYTES, .kind = FL_DEALLOC_PLAIN};

static void require(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "longest: %s\n", what);
        exit(1);
    }
}

static unsigned long next_random(unsigned long *random)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return *random >> 33;
}

/* Sizes of many classes, small ones more often. */
static size_t random_size(unsigned long *random)
{
    unsigned shift = (unsigned)(next_random(random) % 10);
    return 16 + next_random(random) % ((size_t)16 << shift);
}

/* ---- The calls that are counted. */

enum call { FREE, FREE_UNSIZED, FREE_DEFERRED, ALLOC, ALLOC_RESERVED };

/* A letter for each counted call, in their order. */
static struct {
    char *letters;
    size_t count, room;
} calls;

static void note(enum call call)
{
    if (calls.count == calls.room) {
        calls.room = 2 * calls.room + 1024;
        calls.letters = realloc(calls.letters, calls.room);
        require(calls.letters != NULL, "no memory");
    }
    calls.letters[calls.count++] = "fudar"[call];
}

/* What `longest.py` counts. */
__attribute__((noinline, noclone)) void counted_call(struct fl_thread *thread, enum call call, struct block *block)
{
    switch (call) {
    case FREE:
        fl_free_sized(thread, block->start, block->size);
        break;
    case FREE_UNSIZED:
        fl_free(thread, block->start);
        break;
    case FREE_DEFERRED:
        fl_free_deferred(thread, block->start, block->size);
        break;
    case ALLOC:
        block->start = fl_alloc(thread, block->size);
        break;
    case ALLOC_RESERVED:
        block->start = fl_type_alloc(thread, &type);
        break;
    }
    __asm__ volatile(""); /* none of these calls is the function's last instruction */
}

static void make(struct fl_thread *thread, enum call call, struct block *block)
{
    note(call);
    counted_call(thread, call, block);
}

static void put(struct fl_thread *thread, struct block block, int sized)
{
    if (fl_cache_is_full(fl_cache_top(&thread->cache[fl_size_class(block.size)])))
        make(thread, sized ? FREE : FREE_UNSIZED, &block);
    else
        fl_free_sized(thread, block.start, block.size);
}

static bool has_blocks(struct fl_thread *thread, size_t size)
{
    struct fl_cache *cache = &thread->cache[fl_size_class(size)];
    return fl_cache_top(cache) != cache->floor;
}

static struct block get(struct fl_thread *thread, size_t size)
{
    struct block block = {NULL, size};
    if (has_blocks(thread, size))
        block.start = fl_alloc(thread, size);
    else
        make(thread, ALLOC, &block);
    require(block.start != NULL, "an allocation failed");
    return block;
}

static struct block get_reserved(struct fl_thread *thread)
{
    struct block block = {NULL, BLOCK_BYTES};
    if (has_blocks(thread, BLOCK_BYTES))
        block.start = fl_type_alloc(thread, &type);
    else
        make(thread, ALLOC_RESERVED, &block);
    require(block.start != NULL, "an allocation failed that was reserved");
    return block;
}

static void put_deferred(struct fl_thread *thread, struct block block)
{
    if (fl_cache_is_full(thread->deferred[fl_size_class(block.size)]))
        make(thread, FREE_DEFERRED, &block);
    else
        fl_free_deferred(thread, block.start, block.size);
}

/* ---- Other threads. */

static void work_on(struct fl_thread *thread, unsigned long *random)
{
    struct block blocks[64];
    for (unsigned i = 0; i < 64; i++) {
        blocks[i].size = random_size(random);
        blocks[i].start = fl_alloc(thread, blocks[i].size);
        require(blocks[i].start != NULL, "an allocation failed");
    }
    for (unsigned i = 0; i < 64; i++)
        fl_free_sized(thread, blocks[i].start, blocks[i].size);
}

static void *fill(void *argument)
{
    struct filler *filler = argument;
    struct fl_thread *thread = fl_thread_attach(filler->heap);
    require(thread != NULL, "a thread cannot attach");
    for (size_t i = 0; i < filler->count; i++) {
        filler->blocks[i].size = random_size(&filler->random);
        filler->blocks[i].start = fl_alloc(thread, filler->blocks[i].size);
        require(filler->blocks[i].start != NULL, "an allocation failed");
    }
    work_on(thread, &filler->random);
    pthread_barrier_wait(filler->filled);
    while (filler->stays && !__atomic_load_n(&done, __ATOMIC_RELAXED)) {
        work_on(thread, &filler->random);
        usleep(1000);
    }
    fl_thread_detach(thread);
    return NULL;
}

/* ---- The thread that is looked at. */

static void shuffle(struct block *blocks, size_t count)
{
    unsigned long random = 1;
    for (size_t i = count - 1; i > 0; i--) {
        size_t j = next_random(&random) % (i + 1);
        struct block other = blocks[i];
        blocks[i] = blocks[j];
        blocks[j] = other;
    }
}

static void large_blocks(struct fl_thread *thread)
{
    struct block blocks[LARGE];
    for (unsigned i = 0; i < LARGE; i++)
        blocks[i] = get(thread, (size_t)FL_BLOCK_MAX + 1 + ((size_t)20000 << i % 12));
    for (unsigned i = 0; i < LARGE; i++)
        put(thread, blocks[i], i % 2 == 0);
}

static void deferred_blocks(struct fl_thread *thread)
{
    static struct block blocks[DEFERRED];
    for (unsigned i = 0; i < DEFERRED; i++)
        blocks[i] = get(thread, BLOCK_BYTES);
    for (unsigned i = 0; i < DEFERRED; i++)
        put_deferred(thread, blocks[i]);
    fl_quiescent(thread);
}

static void reserved_blocks(struct fl_thread *thread)
{
    static struct block blocks[RESERVED];
    require(fl_thread_reserve(thread, &type, RESERVED) == 0, "a reservation failed");
    for (unsigned i = 0; i < RESERVED; i++)
        blocks[i] = get_reserved(thread);
    for (unsigned i = 0; i < RESERVED; i++)
        put(thread, blocks[i], 1);
}

static void run(struct fl_thread *thread, struct block *blocks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        put(thread, blocks[i], i % 5 != 0);
        if (i % (count / 4) == 0)
            usleep(30000); /* a silence of some periods of decay */
    }
    large_blocks(thread);
    unsigned long random = 7;
    for (size_t i = 0; i < count / 4; i++)
        blocks[i] = get(thread, random_size(&random));
    shuffle(blocks, count / 4);
    deferred_blocks(thread);
    usleep(30000);
    for (size_t i = 0; i < count / 4; i++)
        put(thread, blocks[i], 1);
    large_blocks(thread);
    reserved_blocks(thread);
}

static void check(struct fl_heap *heap)
{
    char error[256] = "";
    require(fl_heap_check(heap, error, sizeof error) == 0, error);
}

int main(int argc, char **argv)
{
    size_t count = argc == 3 ? (size_t)atol(argv[2]) : 0; /* of each filler */
    if (count < 100) {
        fprintf(stderr, "usage: %s realtime|ordinary <blocks of each thread>\n", argv[0]);
        return 2;
    }
    int64_t begun = 0;
    struct fl_grace_host host = {.begin = begin, .elapsed = elapsed, .context = &begun};
    struct fl_options options = {.grace = FL_GRACE_HOST, .grace_host = &host, .decay_ms = 8};
    struct fl_heap *heap = fl_heap_create(&options, NULL, 0);
    struct fl_thread *thread = heap != NULL ? fl_thread_attach(heap) : NULL;
    struct block *blocks = calloc(FILLERS * count, sizeof *blocks);
    require(thread != NULL && blocks != NULL && fl_type_ready(&type, NULL, NULL, 0) == 0, "no memory");
    struct filler fillers[FILLERS];
    pthread_barrier_t filled;
    pthread_barrier_init(&filled, NULL, FILLERS + 1);
    for (unsigned i = 0; i < FILLERS; i++) {
        fillers[i] = (struct filler){.heap = heap, .blocks = blocks + i * count, .count = count};
        fillers[i].random = i, fillers[i].stays = i % 3 == 0, fillers[i].filled = &filled;
        require(pthread_create(&fillers[i].thread, NULL, fill, &fillers[i]) == 0, "no thread");
    }
    pthread_barrier_wait(&filled);
    shuffle(blocks, FILLERS * count);
    fl_thread_set_realtime(thread, strcmp(argv[1], "realtime") == 0);
    run(thread, blocks, FILLERS * count);
    __atomic_store_n(&done, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < FILLERS; i++)
        pthread_join(fillers[i].thread, NULL);
    check(heap);
    free(blocks);
    printf("%.*s\n", (int)calls.count, calls.letters);
    free(calls.letters);
    return fl_thread_detach(thread) != 0 || fl_heap_barrier(heap) != 0 || fl_heap_destroy(heap) != 0;
}
