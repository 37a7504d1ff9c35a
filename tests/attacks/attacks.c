/* SPDX-License-Identifier: MIT
 *
 * usage: attacks default|hardened
 *
 * Attacks on a heap, each in a process of its own, and in blocks of several kinds. The heap itself stays sound whatever
 * comes of the attack, which it prints:
 *
 *     caught    the call that is the attack reports it
 *     later     a later call reports it: an exchange of magazines, a flush, the next free or allocation of the block
 *     faults    the system ends the process at a page that nobody can touch
 *     fails     the attack does not come about
 *     missed    it succeeds, and nobody notices
 */
#include <freelane/freelane.h>

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MANY = 4000, GUESSES = 1000, TURNS = 200000, RESERVE = 4 << 20, FULL = RESERVE / 16 };

/* What a child exits with. */
enum outcome { CAUGHT = 20, LATER, FAILS, MISSED, BROKEN };

static struct fl_heap *heap;
static struct fl_thread *thread;
static bool is_hardened;
static unsigned told;       /* misuses reported */
static unsigned told_then;  /* as the attack ended */
static size_t size;         /* of the blocks of the kind */
static void *volatile hole; /* keeps the compiler from seeing through frees */

static struct fl_type plain = {.name = "plain", .size = 64, .kind = FL_DEALLOC_PLAIN};
static struct fl_type other = {.name = "other", .size = 640, .kind = FL_DEALLOC_PLAIN};
static struct fl_type twin = {.name = "twin", .size = 64, .kind = FL_DEALLOC_PLAIN};

static void misused(const struct fl_misuse *misuse)
{
    (void)misuse;
    told++;
}

static void require(int condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "not so: %s\n", what);
    _exit(BROKEN);
}

static char *allocate(void)
{
    hole = fl_alloc(thread, size);
    require(hole != NULL, "there is memory");
    return hole;
}

static void release(void *block)
{
    hole = block;
    fl_free_sized(thread, hole, size);
}

/* The attack is over; what follows is the aftermath. */
static void attacked(void)
{
    told_then = told;
}

/* Allocates until a block comes again. */
static void await(const void *block)
{
    static void *others[TURNS];
    unsigned count = 0;
    for (void *next; count < TURNS && (next = allocate()) != block; count++)
        others[count] = next;
    require(count < TURNS, "the block is allocated again");
    while (count > 0)
        release(others[--count]);
}

static void on_thread(void *(*body)(void *), void *argument)
{
    pthread_t id;
    require(pthread_create(&id, NULL, body, argument) == 0, "there is a thread");
    require(pthread_join(id, NULL) == 0, "it ends");
}

/* ---- Frees. */

static void double_free(void)
{
    char *block = allocate();
    release(block);
    release(block);
}

static void *free_elsewhere(void *block)
{
    struct fl_thread *mine = fl_thread_attach(heap);
    fl_free_sized(mine, block, size);
    return mine;
}

/* The block lies in the cache of another thread, which goes on. */
static void double_free_across_threads(void)
{
    char *block = allocate();
    on_thread(free_elsewhere, block);
    release(block);
}

static void free_of_a_deferred_block(void)
{
    char *block = allocate();
    fl_free_deferred(thread, block, size);
    release(block);
}

/* The second free is that of another owner's block, so that owner's free is the double one. */
static void double_free_after_reuse(void)
{
    char *block = allocate();
    release(block);
    await(block);
    release(block);
    attacked();
    release(block);
}

static void foreign_free_of(const char *kind, void (*by)(void *))
{
    static char here[4096] __attribute__((aligned(64)));
    char local[256] __attribute__((aligned(64)));
    if (strcmp(kind, "static") == 0)
        by(here);
    else if (strcmp(kind, "stack") == 0)
        by(local);
    else if (strcmp(kind, "malloc") == 0)
        by(malloc(4096));
    else
        by(fl_alloc(fl_thread_attach(fl_heap_create(NULL, NULL, 0)), size));
}

static const char *kind;

static void free_untyped(void *block)
{
    fl_free(thread, block);
}

static void untyped_foreign_free(void)
{
    foreign_free_of(kind, free_untyped);
}

static void foreign_free(void)
{
    foreign_free_of(kind, release);
}

static void interior_free(void)
{
    release(allocate() + 16);
}

static void free_with_the_size_of_another_class(void)
{
    fl_free_sized(thread, allocate(), 2 * size);
}

static void free_with_another_size_of_the_class(void)
{
    fl_free_sized(thread, allocate(), size - 1);
}

static void free_as_a_type_of_another_size(void)
{
    fl_type_free(thread, fl_type_alloc(thread, &plain), &other);
}

static void free_as_a_type_of_the_same_size(void)
{
    fl_type_free(thread, fl_type_alloc(thread, &plain), &twin);
}

/* ---- Writes. */

static void write_after_free(void)
{
    char *block = allocate();
    memset(block, 1, size);
    release(block);
    block[size / 2 > 400 ? 400 : size / 2] = 2;
    attacked();
    await(block);
}

static void write_after_free_far_inside(void)
{
    char *block = allocate();
    memset(block, 1, size);
    release(block);
    block[size / 2] = 2;
    attacked();
    await(block);
}

static char *blocks[MANY];

/* Allocates many blocks, and finds two of which the second lies right behind the first. */
static void find_neighbours(char **first, char **second)
{
    *first = NULL;
    for (unsigned i = 0; i < MANY; i++) {
        blocks[i] = allocate();
        memset(blocks[i], 1, size);
    }
    for (unsigned i = 0; i < MANY && *first == NULL; i++)
        for (unsigned k = 0; k < MANY && *first == NULL; k++)
            if (blocks[k] == blocks[i] + size) {
                *first = blocks[i];
                *second = blocks[k];
            }
    require(*first != NULL, "two blocks are neighbours");
}

static void overflow_into_a_live_block(void)
{
    char *first, *second;
    find_neighbours(&first, &second);
    memset(first, 2, size + 8);
}

static void overflow_into_a_free_block(void)
{
    char *first, *second;
    find_neighbours(&first, &second);
    release(second);
    memset(first, 2, size + 8);
    attacked();
    for (unsigned i = 0; i < MANY; i++)
        if (blocks[i] != first && blocks[i] != second)
            release(blocks[i]);
    await(second);
}

static void overflow_within_the_last_page(void)
{
    char *block = allocate();
    hole = block;
    ((volatile char *)block)[size] = 1;
    attacked();
    release(block);
}

/* Writes on behind a block above FL_BLOCK_MAX, behind which another one lies if it can. */
static void overflow_by_pages(void)
{
    char *from = NULL;
    for (unsigned i = 0; i < 64; i++)
        blocks[i] = allocate();
    for (unsigned i = 0; i < 64 && from == NULL; i++)
        for (unsigned k = 0; k < 64; k++)
            if (blocks[k] > blocks[i] && blocks[k] < blocks[i] + size + size / 4 && from == NULL)
                from = blocks[i];
    from = from != NULL ? from : blocks[0];
    for (size_t i = size; i < size + size / 2; i += 64)
        ((volatile char *)from)[i] = 1;
}

/* Fills a heap whose reservation is small. Returns the last block of its last slab. */
static char *fill(void)
{
    char *last = NULL;
    heap = fl_heap_create(&(struct fl_options){.reserve_bytes = RESERVE, .hardened = is_hardened}, NULL, 0);
    thread = fl_thread_attach(heap);
    for (char *block; (block = fl_alloc(thread, size)) != NULL;)
        last = block > last ? block : last;
    return last;
}

static void run_on(char *from)
{
    for (size_t i = 0; i < 2 * RESERVE; i += 16)
        ((volatile char *)from)[i] = 1;
}

static void overflow_out_of_the_last_slab(void)
{
    run_on(fill());
}

static sigjmp_buf back;

static void come_back(int signal)
{
    (void)signal;
    siglongjmp(back, 1);
}

static void overflow_onto_metadata(void)
{
    char *last = fill(), error[256] = "";
    signal(SIGSEGV, come_back);
    signal(SIGBUS, come_back);
    if (sigsetjmp(back, 1) == 0)
        run_on(last);
    _exit(told == 0 && fl_heap_check(heap, error, sizeof error) == 0 ? FAILS : MISSED);
}

/* What an attacker writes into free blocks in the hope of a list: pointers of his own. Then he looks for them in what is
 * allocated. */
static void overwrite_of_a_freelist(void)
{
    static char target[4096];
    bool has_come = false;
    for (unsigned i = 0; i < MANY; i++)
        blocks[i] = allocate();
    for (unsigned i = 0; i < MANY; i++)
        release(blocks[i]);
    for (unsigned i = 0; i < MANY; i++)
        for (size_t at = 0; at < size; at += sizeof(char *))
            memcpy(blocks[i] + at, &(char *){target + 64}, sizeof(char *));
    attacked();
    for (unsigned i = 0; i < 4 * MANY; i++) {
        char *block = allocate();
        has_come |= block >= target && block < target + sizeof target;
    }
    if (told == 0)
        _exit(has_come ? MISSED : FAILS);
}

/* ---- Prediction. */

/* Guesses the next address: the block that was freed last, or the neighbour of the last one. */
static void prediction_of_the_next_address(void)
{
    unsigned right = 0;
    for (unsigned i = 0; i < GUESSES; i++) {
        char *before = allocate(), *next = allocate();
        right += next == before + size || next == before - size;
        release(before);
        release(next);
        right += allocate() == next;
    }
    /* By chance, about one guess in 127 is right for small blocks, and one in 8 for medium ones. */
    _exit(right > GUESSES / 2 ? MISSED : FAILS);
}

/* ---- All attacks. */

#define SMALL                                                                                                        \
    {                                                                                                                \
        "small", 64                                                                                                  \
    }
#define MEDIUM                                                                                                       \
    {                                                                                                                \
        "medium", 1024                                                                                               \
    }
#define BIG                                                                                                          \
    {                                                                                                                \
        "big", 32768                                                                                                 \
    }
#define LARGE                                                                                                        \
    {                                                                                                                \
        "large", 100000                                                                                              \
    }

static const struct {
    const char *name;
    void (*run)(void);
    struct {
        const char *name;
        size_t size;
    } kinds[5];
} attacks[] = {
    {"double free", double_free, {SMALL, MEDIUM, BIG}},
    {"double free of a large block", double_free, {LARGE}},
    {"double free across threads", double_free_across_threads, {SMALL, MEDIUM, BIG}},
    {"double free after reuse", double_free_after_reuse, {SMALL, MEDIUM, BIG}},
    {"free of a deferred block", free_of_a_deferred_block, {SMALL, MEDIUM, BIG}},
    {"untyped foreign free", untyped_foreign_free, {{"static", 64}, {"stack", 64}, {"malloc", 64}, {"heap", 64}}},
    {"foreign free", foreign_free, {{"static", 64}, {"stack", 64}, {"malloc", 64}, {"heap", 64}}},
    {"interior free", interior_free, {SMALL, MEDIUM, BIG}},
    {"size of another class", free_with_the_size_of_another_class, {SMALL, MEDIUM}},
    {"another size of the class", free_with_another_size_of_the_class, {SMALL, MEDIUM, BIG}},
    {"type of another size", free_as_a_type_of_another_size, {{"typed", 64}}},
    {"type of the same size", free_as_a_type_of_the_same_size, {{"typed", 64}}},
    {"write after free", write_after_free, {SMALL, MEDIUM, BIG, LARGE}},
    {"write after free far inside", write_after_free_far_inside, {BIG, LARGE}},
    {"overflow into a free block", overflow_into_a_free_block, {SMALL, MEDIUM, BIG}},
    {"overflow into a live block", overflow_into_a_live_block, {SMALL, MEDIUM, BIG}},
    {"overflow of a large block", overflow_within_the_last_page, {LARGE}},
    {"overflow of a large block by pages", overflow_by_pages, {LARGE}},
    {"overflow out of the last slab", overflow_out_of_the_last_slab, {SMALL, MEDIUM, BIG}},
    {"overflow onto metadata", overflow_onto_metadata, {SMALL, MEDIUM, BIG}},
    {"overwrite of a freelist", overwrite_of_a_freelist, {SMALL, MEDIUM}},
    {"prediction of the next address", prediction_of_the_next_address, {SMALL, MEDIUM}},
};

/* What makes the library look at what it was given: more calls, and a flush. */
static void go_on(void)
{
    for (unsigned i = 0; i < 1000; i++)
        release(allocate());
    fl_thread_flush(thread);
    fl_heap_barrier(heap);
    fl_heap_trim(heap, 0);
}

/* A heap that has been in use: its caches have blocks, and room. */
static void make_heap(void)
{
    static const size_t sizes[] = {64, 128, 640, 1024, 2048, 32768};
    char error[256] = "";
    heap = fl_heap_create(&(struct fl_options){.hardened = is_hardened, .grace = FL_GRACE_QSBR}, error, sizeof error);
    require(heap != NULL, error);
    thread = fl_thread_attach(heap);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        hole = fl_alloc(thread, sizes[i]);
        fl_free_sized(thread, fl_alloc(thread, sizes[i]), sizes[i]);
    }
}

static void run(void (*attack)(void))
{
    char error[256] = "";
    make_heap();
    told_then = (unsigned)-1;
    attack();
    if (told_then == (unsigned)-1)
        attacked();
    go_on();
    require(fl_heap_check(heap, error, sizeof error) == 0, error);
    _exit(told_then > 0 ? CAUGHT : told > 0 ? LATER : MISSED);
}

static const char *outcome_of(void (*attack)(void))
{
    static const char *const names[] = {"caught", "later", "fails", "missed"};
    int status = 0;
    pid_t child = fork();
    require(child >= 0, "there is a process");
    if (child == 0)
        run(attack);
    require(waitpid(child, &status, 0) == child, "the process ends");
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS ? "faults" : "broken";
    unsigned code = (unsigned)WEXITSTATUS(status) - CAUGHT;
    return code < sizeof names / sizeof *names ? names[code] : "broken";
}

int main(int count, char **arguments)
{
    char error[256] = "";
    fl_set_misuse_handler(misused);
    struct fl_type *types[] = {&plain, &other, &twin};
    for (unsigned i = 0; i < 3; i++)
        require(fl_type_ready(types[i], NULL, error, sizeof error) == 0, error);
    is_hardened = count > 1 && strcmp(arguments[1], "hardened") == 0;
    for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++)
        for (unsigned k = 0; attacks[i].kinds[k].name != NULL; k++) {
            kind = attacks[i].kinds[k].name;
            size = attacks[i].kinds[k].size;
            printf("%s: %s: %s\n", attacks[i].name, kind, outcome_of(attacks[i].run));
            fflush(stdout); /* before the next child, which would print it, too */
        }
    return 0;
}
