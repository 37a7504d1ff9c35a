/* SPDX-License-Identifier: MIT
 *
 * What the unit tests share: a bed of one heap and one attached thread that is checked whole at the end of each test,
 * a recorder of misuse, threads and forked children to run a piece of a test on, and the process's resident memory.
 */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <freelane/freelane.h>

#include "base/base.h"
#include "base/stack.h"

#include "libc.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* ---- Heaps. */

static inline void assert_sound(struct fl_heap *heap)
{
    char error[256] = "";
    int failed = fl_heap_check(heap, error, sizeof error);
    if (failed != 0)
        fail_msg("fl_heap_check: %d: %s", failed, error);
}

static inline struct fl_stats stats_of(struct fl_heap *heap)
{
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    return stats;
}

/* The statistics of the class that serves `size`. */
static inline struct fl_class_stats class_stats_of(struct fl_heap *heap, size_t size)
{
    return stats_of(heap).classes[fl_size_class(size)];
}

/* Whether the test runs over hardened heaps (HARDENED=1 in the environment). */
static inline bool is_hardened(void)
{
    return getenv("HARDENED") != NULL;
}

/* The passing of time changes nothing in the heap, unless the options ask for that. */
static inline struct fl_heap *heap_with(const struct fl_options *options)
{
    char error[256] = "";
    struct fl_options timeless = options != NULL ? *options : (struct fl_options){0};
    timeless.hardened |= is_hardened();
    if (timeless.decay_ms == 0)
        timeless.decay_ms = FL_DECAY_NEVER;
    struct fl_heap *heap = fl_heap_create(&timeless, error, sizeof error);
    if (heap == NULL)
        fail_msg("fl_heap_create: %s", error);
    return heap;
}

/* Checks the heap and destroys it. */
static inline void end_heap(struct fl_heap *heap)
{
    assert_sound(heap);
    assert_int_equal(fl_heap_destroy(heap), 0);
}

/* A heap and the test's own attachment to it. */
struct bed {
    struct fl_heap *heap;
    struct fl_thread *thread;
};

static inline struct bed bed_with(const struct fl_options *options)
{
    struct bed bed = {.heap = heap_with(options)};
    bed.thread = fl_thread_attach(bed.heap);
    assert_non_null(bed.thread);
    return bed;
}

/* Checks the heap with the caches as the test left them, and again once they are in the pool. */
static inline void end_bed(struct bed *bed)
{
    assert_sound(bed->heap);
    assert_int_equal(fl_thread_detach(bed->thread), 0);
    end_heap(bed->heap);
}

static inline int bed_up(void **state)
{
    struct bed *bed = malloc(sizeof *bed);
    assert_non_null(bed);
    *bed = bed_with(NULL);
    *state = bed;
    return 0;
}

static inline int bed_down(void **state)
{
    struct bed *bed = *state;
    end_bed(bed);
    free(bed);
    return 0;
}

#define BED_TEST(test) cmocka_unit_test_setup_teardown(test, bed_up, bed_down)

/* ---- Misuse. */

/* The last misuse that was told, with copies of its strings, and how many there were. */
struct recorded_misuse {
    unsigned count;
    const void *pointer;
    char call[64], type[64], message[512];
};

static struct recorded_misuse misuse;

/* Threads may tell at once; the record is read when they are joined. */
static inline void record_misuse(const struct fl_misuse *told)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    misuse.count++;
    misuse.pointer = told->pointer;
    snprintf(misuse.call, sizeof misuse.call, "%s", told->call);
    snprintf(misuse.type, sizeof misuse.type, "%s", told->type != NULL ? told->type : "");
    snprintf(misuse.message, sizeof misuse.message, "%s", told->message);
    pthread_mutex_unlock(&lock);
}

static inline int misuse_bed_up(void **state)
{
    misuse = (struct recorded_misuse){0};
    fl_set_misuse_handler(record_misuse);
    return bed_up(state);
}

static inline int misuse_bed_down(void **state)
{
    fl_set_misuse_handler(NULL);
    return bed_down(state);
}

#define MISUSE_TEST(test) cmocka_unit_test_setup_teardown(test, misuse_bed_up, misuse_bed_down)

static inline void assert_contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" does not contain \"%s\"", text, part);
}

/* One misuse has been told since the last time: of this call, whose message names the call and the pointer. */
static inline void assert_misuse(const char *call, const void *pointer, const char *what)
{
    char name[32];
    assert_int_equal(misuse.count, 1);
    assert_string_equal(misuse.call, call);
    assert_ptr_equal(misuse.pointer, pointer);
    assert_contains(misuse.message, call);
    assert_contains(misuse.message, what);
    if (pointer != NULL) {
        snprintf(name, sizeof name, "%p", pointer);
        assert_contains(misuse.message, name);
    }
    misuse.count = 0;
}

/* ---- Threads. */

static inline void run_on_thread(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, body, argument), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* ---- Forked children. A child must not use the asserts of the test framework, which would go on with the next test:
 * it uses EXPECT, whose failure ends it with a line on stderr. */

#define EXPECT(condition)                                                                                            \
    do {                                                                                                             \
        if (!(condition)) {                                                                                          \
            fprintf(stderr, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);                \
            _exit(99);                                                                                               \
        }                                                                                                            \
    } while (0)

#define EXPECT_SOUND(heap)                                                                                           \
    do {                                                                                                             \
        char sound_error[256] = "";                                                                                  \
        if (fl_heap_check((heap), sound_error, sizeof sound_error) != 0) {                                           \
            fprintf(stderr, "%s:%d: fl_heap_check: %s\n", __FILE__, __LINE__, sound_error);                          \
            _exit(99);                                                                                               \
        }                                                                                                            \
    } while (0)

/* Address space of the process, in bytes. */
static inline size_t address_space(void)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    EXPECT(file != NULL && fscanf(file, "%zu", &pages) == 1);
    fclose(file);
    return pages * (size_t)getpagesize();
}

struct child_end {
    int status;        /* as waitpid tells it */
    char output[4096]; /* what it wrote to stderr */
};

static inline void default_signals(void)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < COUNT_OF(signals); i++)
        signal(signals[i], SIG_DFL);
}

/* Runs `body` in a forked child, which ends with 0 if it returns. */
static inline struct child_end run_child(void (*body)(void *), void *argument)
{
    struct child_end end = {0};
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        default_signals();
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        body(argument);
        _exit(0);
    }
    close(ends[1]);
    size_t used = 0;
    char rest[512];
    for (ssize_t got = 1; got > 0;) {
        bool room = used < sizeof end.output - 1;
        got = read(ends[0], room ? end.output + used : rest, room ? sizeof end.output - 1 - used : sizeof rest);
        used += room && got > 0 ? (size_t)got : 0;
    }
    close(ends[0]);
    assert_int_equal(waitpid(pid, &end.status, 0), pid);
    return end;
}

static inline void assert_child_succeeds(void (*body)(void *), void *argument)
{
    struct child_end end = run_child(body, argument);
    if (!WIFEXITED(end.status) || WEXITSTATUS(end.status) != 0)
        fail_msg("the child ended with status %#x: %s", (unsigned)end.status, end.output);
}

/* Whether the library knows which functions are on a stack. Where it does not, it takes a callback for left when the
 * stack is as short as it was, and does not notice a detach inside a callback of the same handle. */
static inline bool stacks_can_be_read(void)
{
    return fli_stack_find((struct fli_frame){.address = UINTPTR_MAX}) == FLI_NOT_ON_STACK;
}

/* ---- What an emulator lacks that runs programs of another processor: qemu-user, as Debian 12 has it. tests/README.md
 * has the same table. */

#if !defined(TESTS_EMULATED)
#define TESTS_EMULATED 0
#endif

#define NO_THREADS_AFTER_FORK "no thread can start in the child of a fork, where the parent had several"
#define NO_ROBUST_MUTEXES     "the kernel does not release the mutexes of a thread that is gone"
#define NO_ACCOUNT_OF_MEMORY  "limits and accounts of memory are those of the emulator"
#define NO_NAMES_OF_PROGRAMS  "programs have the emulator's name"
#define NO_TIME               "times are those of the emulator"

static inline void skip_under_emulator(const char *reason)
{
    if (!TESTS_EMULATED)
        return;
    print_message("[ EMULATED ] %s\n", reason);
    skip();
}

/* ---- Memory. */

/* The process's resident memory, without what the C library keeps of freed memory. The kernel adds it up from the page
 * tables: the sums of statm may lack what each processor counts for itself. */
static inline size_t resident_bytes(void)
{
    size_t kib = 0;
    char line[256];
    malloc_give_back();
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL && sscanf(line, "Rss: %zu", &kib) != 1)
        ;
    fclose(file);
    assert_int_not_equal(kib, 0);
    return kib << 10;
}

/* Whether the page of an address, which is mapped, has memory. */
static inline bool is_resident(const void *address)
{
    unsigned char present;
    void *page = (void *)((uintptr_t)address & ~((uintptr_t)getpagesize() - 1));
    EXPECT(mincore(page, 1, &present) == 0);
    return (present & 1) != 0;
}

/* How many of `count` blocks begin in memory: a number that no other part of the process can change. */
static inline size_t count_resident(void *const *blocks, size_t count)
{
    size_t resident = 0;
    for (size_t i = 0; i < count; i++)
        resident += is_resident(blocks[i]);
    return resident;
}

/* The mappings that the kernel has for the process. */
static inline unsigned count_mappings(void)
{
    unsigned lines = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    for (int c; (c = fgetc(maps)) != EOF;)
        lines += c == '\n';
    fclose(maps);
    return lines;
}

/* A small generator of pseudo-random numbers (xorshift), the same on every run. */
static inline uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

#endif
