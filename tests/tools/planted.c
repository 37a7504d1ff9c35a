/* SPDX-License-Identifier: MIT
 *
 * usage: planted none|errors
 *
 * A program with errors of the host: each of five, in a block of each kind. Memcheck has to find them all, as it would
 * in blocks of malloc. `none` goes through what the library does with blocks, and Memcheck may not complain.
 */
#include <freelane/object.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <valgrind/memcheck.h>

enum { SMALL = 48, LARGE = 100000, BLOCKS = 3000 };

struct pair {
    struct fl_object head;
    long first, second;
};

static void misused(const struct fl_misuse *misuse)
{
    fprintf(stderr, "%s\n", misuse->message);
}

static void clear(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
}

static struct fl_type plain = {.name = "plain", .size = 56, .kind = FL_DEALLOC_PLAIN};
static struct fl_type pair = {.name = "pair", .size = sizeof(struct pair), .kind = FL_DEALLOC_CLEAR, .clear = clear};

static struct fl_heap *heap;
static struct fl_thread *thread;
static const char *kind;
static volatile long sink;
static char *volatile kept;

static void require(int condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "not so: %s\n", what);
    exit(3);
}

/* ---- Blocks of a kind. */

static size_t size_of(void)
{
    if (strcmp(kind, "large") == 0)
        return LARGE;
    if (strcmp(kind, "typed") == 0)
        return plain.size;
    return strcmp(kind, "object") == 0 ? pair.size : SMALL;
}

static char *allocate(void)
{
    void *block = NULL;
    if (strcmp(kind, "typed") == 0)
        block = fl_type_alloc(thread, &plain);
    else if (strcmp(kind, "object") == 0)
        block = fl_object_alloc(thread, &pair);
    else
        block = fl_alloc(thread, size_of());
    require(block != NULL, "there is memory");
    return block;
}

static void release(void *block)
{
    if (strcmp(kind, "typed") == 0)
        fl_dealloc(thread, block, &plain);
    else if (strcmp(kind, "object") == 0)
        fl_decref(thread, block);
    else
        fl_free_sized(thread, block, size_of());
}

/* ---- Errors. */

static void read_after_free(void)
{
    char *block = allocate();
    block[size_of() - 8] = 1;
    release(block);
    sink = block[size_of() - 8];
}

static void undefined(void)
{
    const char *block = allocate();
    if (block[size_of() - 8] == 1)
        sink = 1;
    release((void *)block);
}

static void overflow(void)
{
    char *block = allocate(), *after = allocate();
    block[size_of()] = 1;
    release(block);
    release(after);
}

static void leak(void)
{
    kept = allocate(); /* the library's own pointers show where a heap begins, and so to its first block */
    char *block = allocate();
    block[size_of() - 1] = 1;
}

/* What of two pointers to a block a double free is. */
static void double_free(void)
{
    char *block = allocate();
    fl_free(thread, block);
    fl_free(thread, block);
}

/* ---- No error. */

static void use(char *block, size_t size)
{
    require(block != NULL, "there is memory");
    memset(block, 1, size);
    for (size_t i = 0; i < size; i += 64)
        sink += block[i] == 1;
}

static void sizes(void)
{
    for (size_t size = 1; size < 200000; size += 1 + size / 3) {
        char *block = fl_alloc(thread, size);
        use(block, size);
        block = fl_realloc(thread, block, size, 2 * size);
        require(block[0] == 1 && block[size - 1] == 1, "the contents are kept");
        use(block, 2 * size);
        block = fl_realloc(thread, block, 2 * size, size / 2 + 1);
        require(block[size / 2] == 1, "the contents are kept");
        fl_free(thread, block);
        block = fl_alloc_zeroed(thread, size);
        require(block[0] == 0 && block[size - 1] == 0, "the block is zero");
        fl_free_sized(thread, block, size);
    }
}

static void many(void)
{
    static void *blocks[BLOCKS];
    for (unsigned round = 0; round < 3; round++) {
        require(fl_alloc_many(thread, SMALL, BLOCKS, blocks) == 0, "there is memory");
        for (unsigned i = 0; i < BLOCKS; i++)
            use(blocks[i], SMALL);
        fl_free_many(thread, SMALL, BLOCKS, blocks);
        fl_heap_trim(heap, 0);
    }
    for (size_t alignment = 16; alignment <= FL_ALIGNMENT_MAX; alignment *= 2) {
        char *block = fl_alloc_aligned(thread, alignment, 40);
        require((size_t)block % alignment == 0, "the block is aligned");
        use(block, fl_aligned_size(alignment, 40));
        fl_free(thread, block);
    }
}

static void deferred(void)
{
    for (unsigned i = 0; i < BLOCKS; i++) {
        char *block = fl_alloc(thread, SMALL);
        use(block, SMALL);
        fl_free_deferred(thread, block, SMALL);
        sink += block[SMALL - 1]; /* this thread has passed no quiescent state */
        if (i % 100 == 0)
            fl_quiescent(thread);
    }
}

static void *work(void *argument)
{
    struct fl_object **objects = argument;
    struct fl_thread *mine = fl_thread_attach(heap);
    for (unsigned i = 0; i < BLOCKS; i++)
        fl_decref(mine, objects[i]);
    char *block = fl_alloc(mine, SMALL);
    use(block, SMALL);
    fl_free(mine, block);
    return NULL;
}

static void objects(void)
{
    static struct fl_object *all[BLOCKS];
    pthread_t other;
    for (unsigned i = 0; i < BLOCKS; i++) {
        all[i] = fl_object_alloc(thread, &pair);
        require(all[i] != NULL, "there is memory");
        ((struct pair *)all[i])->first = 1;
    }
    require(pthread_create(&other, NULL, work, all) == 0, "there is a thread");
    pthread_join(other, NULL);
    fl_merge(thread);
    memset(all, 0, sizeof all);
}

static bool see(void *context, const struct fl_block *block)
{
    (void)block;
    ++*(size_t *)context;
    return true;
}

static void none(void)
{
    size_t seen = 0;
    char error[256];
    char *block = allocate();
    sizes();
    many();
    deferred();
    objects();
    require(fl_heap_walk_begin(heap) == 0 && fl_heap_walk(heap, see, &seen) == 0, "there is a walk");
    require(fl_heap_walk_end(heap) == 0 && seen == 1, "one block is live");
    require(fl_heap_check(heap, error, sizeof error) == 0, error);
    release(block);
}

static const struct {
    const char *name;
    void (*run)(void);
} errors[] = {{"read after free", read_after_free},
              {"undefined", undefined},
              {"overflow", overflow},
              {"leak", leak},
              {"double free", double_free}};

/* What Memcheck has found so far: errors, and bytes that are lost. */
static unsigned long found(void)
{
    unsigned long lost = 0, possibly = 0, reachable = 0, suppressed = 0;
    VALGRIND_DO_LEAK_CHECK;
    VALGRIND_COUNT_LEAKS(lost, possibly, reachable, suppressed);
    (void)possibly, (void)reachable, (void)suppressed;
    return VALGRIND_COUNT_ERRORS + lost;
}

/* Plants each error in a block of the kind. Returns how many were not found. */
static unsigned plant_all(void)
{
    unsigned missed = 0;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        unsigned long before = found();
        errors[i].run();
        bool is_found = found() > before;
        fprintf(stderr, "%s: %s: %s\n", errors[i].name, kind, is_found ? "found" : "missed");
        missed += !is_found;
    }
    return missed;
}

int main(int count, char **arguments)
{
    static const char *const kinds[] = {"small", "large", "typed", "object"};
    char error[256] = "";
    fl_set_misuse_handler(misused);
    require(fl_type_ready(&plain, NULL, error, sizeof error) == 0, error);
    require(fl_object_type_ready(&pair, NULL, error, sizeof error) == 0, error);
    heap = fl_heap_create(&(struct fl_options){.grace = FL_GRACE_QSBR}, error, sizeof error);
    if (heap == NULL) /* without liburcu */
        heap = fl_heap_create(NULL, error, sizeof error);
    require(heap != NULL, error);
    thread = fl_thread_attach(heap);
    unsigned missed = 0;
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        kind = kinds[i];
        if (count > 1 && strcmp(arguments[1], "errors") == 0)
            missed += plant_all();
        else if (i == 0)
            none();
    }
    fl_thread_flush(thread);
    return missed > 0;
}
