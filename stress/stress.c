/* SPDX-License-Identifier: MIT
 *
 * What the stress programs share; see stress.h.
 */
#include "stress.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct stress_args run; /* written once by stress_parse, before any thread starts */
static atomic_bool stopped;

/* ---- Command line and reports --------------------------------------------------------------------------- */

static void usage(const char *program, const char *culprit)
{
    fprintf(stderr,
            "%s: bad argument: %s\nusage: %s [--smoke] [--threads N] [--seconds S] [--minutes M] [--seed X] "
            "[--grace bp|qsbr|host]\n",
            program, culprit, program);
    exit(2);
}

static double parse_number(const char *program, const char *option, const char *text, double least)
{
    char *end;
    double value = text ? strtod(text, &end) : 0;
    if (!text || end == text || *end || !(value >= least))
        usage(program, option);
    return value;
}

static const char *const grace_names[] = {"none", "qsbr", "bp", "host"};

static enum fl_grace parse_grace(const char *program, const char *option, const char *text)
{
    for (unsigned kind = FL_GRACE_QSBR; text && kind <= FL_GRACE_HOST; kind++) {
        if (!strcmp(text, grace_names[kind]))
            return (enum fl_grace)kind;
    }
    usage(program, option);
    return FL_GRACE_NONE;
}

static uint64_t fresh_seed(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct stress_rng rng = {(uint64_t)now.tv_sec << 30 ^ (uint64_t)now.tv_nsec ^ (uint64_t)getpid() << 40};
    return stress_random(&rng) >> 16;
}

/* The command line without its seed, to repeat the run. */
static char command[512];

static void remember(const char *word)
{
    size_t used = strlen(command);
    snprintf(command + used, sizeof command - used, " %s", word);
}

static bool parse_own(const char *option, const char *text, const struct stress_option *options, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (!strcmp(option, options[i].name)) {
            *options[i].value = (unsigned)parse_number(run.program, option, text, 1);
            return true;
        }
    }
    return false;
}

static void parse_option(const char *option, const char *text)
{
    const char *program = run.program;
    if (!strcmp(option, "--threads"))
        run.threads = (unsigned)parse_number(program, option, text, 1);
    else if (!strcmp(option, "--seconds"))
        run.seconds = parse_number(program, option, text, 0);
    else if (!strcmp(option, "--minutes"))
        run.seconds = 60 * parse_number(program, option, text, 0);
    else if (!strcmp(option, "--seed"))
        run.seed = text ? strtoull(text, NULL, 0) : (usage(program, option), 0);
    else if (!strcmp(option, "--grace"))
        run.grace = parse_grace(program, option, text);
    else
        usage(program, option);
}

struct stress_args stress_parse_with(int argc, char **argv, const char *program, const struct stress_option *options,
                                     unsigned count)
{
    run = (struct stress_args){
        .program = program, .threads = 4, .seconds = 30, .seed = fresh_seed(), .grace = FL_GRACE_BP};
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i];
        if (!strcmp(option, "--smoke")) {
            run.smoke = true;
            run.seconds = 1;
            remember(option);
            continue;
        }
        const char *text = i + 1 < argc ? argv[++i] : NULL;
        if (!parse_own(option, text, options, count))
            parse_option(option, text);
        if (strcmp(option, "--seed")) {
            remember(option);
            remember(text);
        }
    }
    printf("%s: seed %" PRIu64 ", %u threads, %g seconds\n", program, run.seed, run.threads, run.seconds);
    fflush(stdout);
    return run;
}

struct stress_args stress_parse(int argc, char **argv, const char *program)
{
    return stress_parse_with(argc, argv, program, NULL, 0);
}

void stress_fail(const char *format, ...)
{
    char message[512];
    va_list list;
    va_start(list, format);
    vsnprintf(message, sizeof message, format, list);
    va_end(list);
    fprintf(stderr, "%s: FAILED with --seed %" PRIu64 ": %s\nto repeat: %s%s --seed %" PRIu64 "\n", run.program,
            run.seed, message, run.program, command, run.seed);
    abort();
}

double stress_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- Random numbers --------------------------------------------------------------------------------------- */

/* SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). */
uint64_t stress_random(struct stress_rng *rng)
{
    uint64_t z = rng->state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

struct stress_rng stress_rng_make(uint64_t seed, uint64_t stream)
{
    struct stress_rng rng = {seed};
    rng.state = stress_random(&rng) + stream * 0xd1342543de82ef95;
    rng.state = stress_random(&rng);
    return rng;
}

uint64_t stress_below(struct stress_rng *rng, uint64_t bound)
{
    return (uint64_t)((unsigned __int128)stress_random(rng) * bound >> 64);
}

size_t stress_size(struct stress_rng *rng)
{
    switch (stress_below(rng, 256)) {
    case 0:
        return 0;
    case 1:
        return FL_BLOCK_MAX;
    case 2:
        return FL_BLOCK_MAX + 1 + stress_below(rng, 3 * FL_BLOCK_MAX);
    default: {
        /* Sizes above 1 KiB come eight times less often: filling them takes most of a run's time. */
        unsigned magnitude = (unsigned)stress_below(rng, 16);
        if (magnitude > 10 && !stress_one_in(rng, 8))
            magnitude -= 8;
        return 1 + stress_below(rng, (uint64_t)1 << magnitude);
    }
    }
}

/* ---- Payloads --------------------------------------------------------------------------------------------- */

static uint64_t pattern_word(uint64_t key, size_t index)
{
    uint64_t word = (key ^ index * 0x9e3779b97f4a7c15) * 0xd1342543de82ef95;
    return word ^ word >> 29;
}

void stress_fill(void *block, size_t size, uint64_t key)
{
    char *bytes = block;
    for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
        uint64_t word = pattern_word(key, at);
        memcpy(bytes + at, &word, size - at < sizeof word ? size - at : sizeof word);
    }
}

static void report_payload(const unsigned char *bytes, size_t size, size_t at, uint64_t key)
{
    uint64_t word = pattern_word(key, at);
    unsigned char expected[sizeof word];
    memcpy(expected, &word, sizeof word);
    size_t offset = 0;
    while (bytes[at + offset] == expected[offset])
        offset++;
    stress_fail("block %p of %zu bytes, key %#" PRIx64 ": byte %zu is %#x, was written as %#x", (const void *)bytes,
                size, key, at + offset, bytes[at + offset], expected[offset]);
}

void stress_verify(const void *block, size_t size, uint64_t key)
{
    const unsigned char *bytes = block;
    for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
        uint64_t word = pattern_word(key, at);
        if (memcmp(bytes + at, &word, size - at < sizeof word ? size - at : sizeof word))
            report_payload(bytes, size, at, key);
    }
}

/* ---- Blocks that carry their pattern with them -------------------------------------------------------------- */

struct stress_block stress_block_make(struct fl_thread *thread, size_t size, uint64_t key)
{
    struct stress_block made = {.block = fl_alloc(thread, size), .size = size, .bytes = size, .key = key};
    if (!made.block)
        stress_fail("out of memory for %zu bytes", size);
    if ((uintptr_t)made.block % 16)
        stress_fail("block %p of %zu bytes is not aligned to 16", made.block, size);
    if (key % 8 == 0) {
        made.bytes = fl_usable_size(fl_thread_heap(thread), made.block);
        if (made.bytes < size)
            stress_fail("block %p of %zu bytes has %zu usable", made.block, size, made.bytes);
    }
    stress_fill(made.block, made.bytes, key);
    return made;
}

void stress_block_verify(const struct stress_block *block)
{
    stress_verify(block->block, block->bytes, block->key);
}

void stress_block_drop(struct fl_thread *thread, struct stress_block *block, struct stress_rng *rng)
{
    stress_block_verify(block);
    switch (stress_below(rng, 16)) {
    case 0:
        fl_heap_free(fl_thread_heap(thread), block->block);
        break;
    case 1:
    case 2:
    case 3:
    case 4:
        fl_free(thread, block->block);
        break;
    default:
        fl_free_sized(thread, block->block, block->size);
    }
    block->block = NULL;
}

/* ---- Workers ---------------------------------------------------------------------------------------------- */

void stress_thread_start(pthread_t *id, void *(*body)(void *), void *argument)
{
    int error = pthread_create(id, NULL, body, argument);
    if (error)
        stress_fail("pthread_create: %s", strerror(error));
}

void stress_thread_join(pthread_t id)
{
    int error = pthread_join(id, NULL);
    if (error)
        stress_fail("pthread_join: %s", strerror(error));
}

bool stress_stopped(void)
{
    return atomic_load_explicit(&stopped, memory_order_relaxed);
}

struct start {
    struct stress_worker worker;
    void (*body)(struct stress_worker *);
};

static void *worker_main(void *argument)
{
    struct start *start = argument;
    start->body(&start->worker);
    return NULL;
}

static void sleep_seconds(double seconds)
{
    struct timespec pause = {.tv_sec = (time_t)seconds};
    pause.tv_nsec = (long)(1e9 * (seconds - (double)pause.tv_sec));
    while (nanosleep(&pause, &pause))
        ;
}

void stress_run(const struct stress_args *args, void (*body)(struct stress_worker *), void *shared)
{
    struct start *starts = calloc(args->threads, sizeof *starts);
    STRESS_REQUIRE(starts);
    for (unsigned i = 0; i < args->threads; i++) {
        starts[i].body = body;
        starts[i].worker.index = i;
        starts[i].worker.rng = stress_rng_make(args->seed, i);
        starts[i].worker.shared = shared;
        stress_thread_start(&starts[i].worker.id, worker_main, &starts[i]);
    }
    sleep_seconds(args->seconds);
    atomic_store_explicit(&stopped, true, memory_order_relaxed);
    for (unsigned i = 0; i < args->threads; i++)
        stress_thread_join(starts[i].worker.id);
    free(starts);
}

/* ---- Heaps ------------------------------------------------------------------------------------------------ */

struct fl_heap *stress_heap_create(const struct fl_options *options)
{
    char error[256] = "";
    struct fl_heap *heap = fl_heap_create(options, error, sizeof error);
    if (!heap)
        stress_fail("fl_heap_create: %s", error);
    return heap;
}

struct fl_thread *stress_attach(struct fl_heap *heap)
{
    struct fl_thread *thread = fl_thread_attach(heap);
    if (!thread)
        stress_fail("fl_thread_attach failed");
    return thread;
}

void stress_detach(struct fl_thread *thread)
{
    int result = fl_thread_detach(thread);
    if (result)
        stress_fail("fl_thread_detach: %s", strerror(-result));
}

void stress_stats_check(const struct fl_stats *stats)
{
    size_t live = stats->large_blocks, cached = 0, pooled = 0, parked = 0, deferred = 0, lost = 0, slabs = 0;
    for (unsigned i = 1; i < FL_CLASS_COUNT; i++) {
        const struct fl_class_stats *class = &stats->classes[i];
        size_t found = class->live + class->cached + class->pooled + class->parked + class->deferred + class->lost;
        if (class->carved != found)
            stress_fail(
                "class %u: %zu carved, but %zu live + %zu cached + %zu pooled + %zu parked + %zu deferred + %zu lost",
                i, class->carved, class->live, class->cached, class->pooled, class->parked, class->deferred,
                class->lost);
        live += class->live;
        cached += class->cached * class->block_bytes;
        pooled += class->pooled * class->block_bytes;
        parked += class->parked * class->block_bytes;
        deferred += class->deferred * class->block_bytes;
        lost += class->lost * class->block_bytes;
        slabs += class->slabs;
    }
    STRESS_REQUIRE(stats->live_blocks == live);
    STRESS_REQUIRE(stats->cached_bytes == cached);
    STRESS_REQUIRE(stats->pooled_bytes == pooled);
    STRESS_REQUIRE(stats->parked_bytes == parked);
    STRESS_REQUIRE(stats->deferred_bytes >= deferred); /* it counts large blocks too */
    STRESS_REQUIRE(stats->lost_bytes == lost);
    STRESS_REQUIRE(stats->slabs == slabs);
}

void stress_heap_check(struct fl_heap *heap)
{
    char error[512] = "";
    int result = fl_heap_check(heap, error, sizeof error);
    if (result)
        stress_fail("fl_heap_check: %s: %s", strerror(-result), error);
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    stress_stats_check(&stats);
}

/* Requires that all that was ever carved is back with the heap. */
static void require_nothing_out(struct fl_heap *heap)
{
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    for (unsigned i = 1; i < FL_CLASS_COUNT; i++) {
        if (stats.classes[i].live)
            stress_fail("class %u: %zu blocks are live, none should be", i, stats.classes[i].live);
    }
    STRESS_REQUIRE(stats.live_blocks == 0);
    STRESS_REQUIRE(stats.live_bytes == 0);
    STRESS_REQUIRE(stats.large_blocks == 0);
    STRESS_REQUIRE(stats.large_bytes == 0);
    STRESS_REQUIRE(stats.deferred_bytes == 0);
    STRESS_REQUIRE(stats.lost_bytes == 0);
    STRESS_REQUIRE(stats.threads == 0);
}

/* Requires that a trim has returned every slab, and that no block is in a magazine. */
static void require_all_returned(struct fl_heap *heap)
{
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    STRESS_REQUIRE(stats.cached_bytes + stats.pooled_bytes + stats.parked_bytes == 0);
    STRESS_REQUIRE(stats.slab_bytes + stats.idle_bytes == 0);
}

void stress_barrier(struct fl_heap *heap)
{
    int result = fl_heap_barrier(heap);
    if (result)
        stress_fail("fl_heap_barrier: %s", strerror(-result));
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    if (stats.deferred_bytes)
        stress_fail("%zu bytes are deferred after a barrier", stats.deferred_bytes);
}

void stress_heap_finish(struct fl_heap *heap)
{
    stress_heap_check(heap);
    require_nothing_out(heap);
    fl_heap_trim(heap, 0);
    stress_heap_check(heap);
    require_nothing_out(heap);
    require_all_returned(heap);
    int result = fl_heap_destroy(heap);
    if (result)
        stress_fail("fl_heap_destroy: %s", strerror(-result));
}

/* ---- Children ------------------------------------------------------------------------------------------------ */

void stress_child_await(pid_t pid)
{
    double deadline = stress_now() + STRESS_CHILD_SECONDS;
    int status;
    for (;;) {
        pid_t reaped = waitpid(pid, &status, WNOHANG);
        if (reaped == pid)
            break;
        STRESS_REQUIRE(reaped == 0 || errno == EINTR);
        if (stress_now() > deadline) {
            kill(pid, SIGABRT);
            stress_fail("the child %d hangs", (int)pid);
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    if (WIFSIGNALED(status))
        stress_fail("the child %d died of signal %d", (int)pid, WTERMSIG(status));
    if (WEXITSTATUS(status))
        stress_fail("the child %d exited with status %d", (int)pid, WEXITSTATUS(status));
}
