/* SPDX-License-Identifier: MIT
 *
 * Runs a program:
 *
 *     vm_freelane [--threads N] [--size N] [--time ROUNDS] PRELUDE PROGRAM
 *
 * A program says in comments which size it has by default, and what it prints: then (# expect:), or with any size
 * (# always:). The exit status is 1 if it prints something else.
 *
 * With --time the program runs so many times, and one line of JSON takes the place of what it prints:
 *
 *     seconds     that the rounds took
 *     cpu         the seconds of processor time that all threads took for them
 *     peak        the most bytes that were ever resident
 *     checksum    of what was printed
 *
 * In the end all that the program made is dropped, and cycles are collected. Then memory must be empty, and in order.
 */
#include "bench/common/proc_bytes.h"
#include "machine/collect.h"
#include "machine/reader.h"
#include "machine/world.h"
#include "objects/list.h"
#include "objects/string.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

struct run {
    const char *prelude, *program;
    int64_t threads, size; /* size 0: the program's own */
    int64_t rounds;        /* 0: the time is not asked for */
    double seconds, cpu;
};

/* ---- What a program says of itself */

/* Appends what follows `key` in comments at the beginning of lines. */
static void read_comments(const char *path, const char *key, FILE *out)
{
    char line[512];
    size_t length = strlen(key);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail("%s cannot be opened", path);
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, length) == 0)
            fputs(line + length, out);
    fclose(file);
}

static char *comments(const char *path, const char *key)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    if (out == NULL)
        fail("out of memory");
    read_comments(path, key, out);
    fclose(out);
    return text;
}

/* Whether the program has printed what it should. */
static bool is_expected(const struct run *run, const char *printed)
{
    char *always = comments(run->program, "# always: "), *expected = comments(run->program, "# expect: ");
    const char *wanted = always[0] != 0 ? always : expected;
    bool is_right = strcmp(printed, wanted) == 0 || (run->size != 0 && wanted == expected);
    if (!is_right)
        fprintf(stderr, "vm: this was expected:\n%s", wanted);
    free(always);
    free(expected);
    return is_right;
}

static int64_t own_size(const char *path)
{
    char *text = comments(path, "# size: ");
    int64_t size = atoll(text);
    free(text);
    return size;
}

/* ---- The run */

static double seconds_of(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void run_closure(struct machine *machine, object_t *closure)
{
    object_incref(machine->lane, closure);
    machine_push(machine, closure);
    machine_call(machine, 0);
    machine_finish(machine);
}

/* A function with a name of its own, which callgrind counts instructions in. */
__attribute__((noinline)) void vm_measured(struct machine *machine, object_t *program, int64_t rounds)
{
    for (int64_t i = 0; i < rounds; i++)
        run_closure(machine, program);
}

static void run_rounds(struct machine *machine, object_t *program, struct run *run)
{
    run->seconds = -seconds_of(CLOCK_MONOTONIC);
    run->cpu = -seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    vm_measured(machine, program, run->rounds != 0 ? run->rounds : 1);
    run->seconds += seconds_of(CLOCK_MONOTONIC);
    run->cpu += seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

/* What is left is in cycles. Their handles may make new ones. If a collection finds as many as the one before, these are
 * not in cycles: somebody has lost references to them, which memory_close tells. */
static void collect_all(struct machine *machine)
{
    size_t found = 0, before;
    do {
        before = found;
        machine_finish(machine);
        found = collect(machine);
    } while (machine->finalizable != NULL || found != before);
}

/* Constants hold nothing but other constants. */
static void free_constants(struct machine *machine)
{
    struct objects *constants = &machine->world->constants;
    for (size_t i = 0; i < constants->count; i++)
        object_free(machine->lane, constants->items[i]);
    objects_free(constants);
    strings_forget(machine->lane);
}

static void run_world(struct world *world, struct run *run)
{
    struct machine *machine = machine_new(world);
    world_enter(machine);
    world->globals = list_new(machine->lane);
    struct reader *reader = reader_open(machine);
    run_closure(machine, reader_read(reader, run->prelude));
    run_rounds(machine, reader_read(reader, run->program), run);
    object_empty(machine->lane, world->globals);
    collect_all(machine);
    object_decref(machine->lane, world->globals);
    free_constants(machine);
    machine_close(machine);
    reader_close(reader);
}

/* Returns what the program printed. */
static char *run_program(struct run *run)
{
    static struct world world;
    char *text = NULL;
    size_t length;
    world_open(&world);
    world.threads = run->threads;
    world.size = run->size != 0 ? run->size : own_size(run->program);
    world.output = open_memstream(&text, &length);
    if (world.output == NULL)
        fail("out of memory");
    run_world(&world, run);
    world_close(&world);
    fclose(world.output);
    return text;
}

static void print_time(const struct run *run, const char *printed)
{
    uint64_t checksum = 0;
    while (*printed != 0)
        checksum = checksum * 31 + (unsigned char)*printed++;
    printf("{\"seconds\": %.9f, \"cpu\": %.9f, ", run->seconds, run->cpu);
    printf("\"peak\": %" PRIu64 ", \"checksum\": \"%016" PRIx64 "\"}\n", proc_peak(), checksum);
}

/* ---- The command line */

static int64_t number(const char *text)
{
    char *end;
    int64_t value = text != NULL ? strtoll(text, &end, 10) : 0;
    if (value <= 0 || *end != 0)
        fail("%s is no number above 0", text != NULL ? text : "nothing");
    return value;
}

static struct run parse(char **arguments)
{
    struct run run = {.threads = 1};
    for (char **at = arguments + 1; *at != NULL; at++) {
        if (strcmp(*at, "--time") == 0)
            run.rounds = number(*++at);
        else if (strcmp(*at, "--threads") == 0)
            run.threads = number(*++at);
        else if (strcmp(*at, "--size") == 0)
            run.size = number(*++at);
        else if (run.prelude == NULL)
            run.prelude = *at;
        else
            run.program = *at;
    }
    if (run.program == NULL)
        fail("usage: %s [--threads N] [--size N] [--time ROUNDS] PRELUDE PROGRAM", arguments[0]);
    return run;
}

int main(int count, char **arguments)
{
    (void)count;
    struct run run = parse(arguments);
    objects_open();
    char *printed = run_program(&run);
    bool is_right = true;
    if (run.rounds != 0) {
        print_time(&run, printed);
    } else {
        fputs(printed, stdout);
        is_right = is_expected(&run, printed);
    }
    free(printed);
    return is_right ? 0 : 1;
}
