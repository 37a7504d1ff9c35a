/* SPDX-License-Identifier: MIT */
#include "harness.h"
#include "../common/proc_bytes.h"

#include SHIM

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { THREADS_MAX = 64 };

struct run {
    const char *program, *path;
    unsigned threads, rounds;
    pthread_barrier_t warm;
};

struct worker {
    struct run *run;
    unsigned number;
    pthread_t thread;
    struct timespec begin, end;
    double cpu;
    uint64_t checksum;
};

void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

/* A function with a name of its own, which callgrind counts instructions in. */
__attribute__((noinline)) uint64_t client_measured(void *state, unsigned rounds)
{
    uint64_t checksum = 0;
    for (unsigned i = 0; i < rounds; i++)
        checksum = checksum * 31 + client_round(state);
    return checksum;
}

static double seconds(const struct timespec *time)
{
    return (double)time->tv_sec + (double)time->tv_nsec * 1e-9;
}

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return seconds(&now);
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct run *run = worker->run;
    void *state = client_open(run->program, run->path, worker->number);
    for (unsigned i = 0; i < (run->rounds + 9) / 10; i++)
        client_round(state);
    pthread_barrier_wait(&run->warm);
    worker->cpu = -cpu_seconds();
    clock_gettime(CLOCK_MONOTONIC, &worker->begin);
    worker->checksum = client_measured(state, run->rounds);
    clock_gettime(CLOCK_MONOTONIC, &worker->end);
    worker->cpu += cpu_seconds();
    client_close(state);
    return NULL;
}

/* From the first thread's begin to the last one's end. */
static double span(const struct worker *workers, unsigned count)
{
    double begin = seconds(&workers[0].begin), end = seconds(&workers[0].end);
    for (unsigned i = 1; i < count; i++) {
        begin = seconds(&workers[i].begin) < begin ? seconds(&workers[i].begin) : begin;
        end = seconds(&workers[i].end) > end ? seconds(&workers[i].end) : end;
    }
    return end - begin;
}

static double cpu_of(const struct worker *workers, unsigned count)
{
    double sum = 0;
    for (unsigned i = 0; i < count; i++)
        sum += workers[i].cpu;
    return sum;
}

static unsigned number(const char *text, unsigned least, unsigned most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end != '\0' || value < least || value > most)
        fail("%s is no number from %u to %u", text, least, most);
    return (unsigned)value;
}

static uint64_t run_workers(struct run *run, struct worker *workers)
{
    uint64_t checksum = 0;
    pthread_barrier_init(&run->warm, NULL, run->threads);
    for (unsigned i = 0; i < run->threads; i++) {
        workers[i] = (struct worker){.run = run, .number = i};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            fail("no thread can be created");
    }
    for (unsigned i = 0; i < run->threads; i++) {
        pthread_join(workers[i].thread, NULL);
        checksum = checksum * 31 + workers[i].checksum;
    }
    pthread_barrier_destroy(&run->warm);
    return checksum;
}

int main(int argc, char **argv)
{
    static struct worker workers[THREADS_MAX];
    if (argc != 4 && argc != 5)
        fail("usage: %s PROGRAM THREADS ROUNDS [FILE]", argv[0]);
    struct run run = {.program = argv[1], .path = argc == 5 ? argv[4] : NULL};
    run.threads = number(argv[2], 1, THREADS_MAX);
    run.rounds = number(argv[3], 1, 1u << 30);
    uint64_t checksum = run_workers(&run, workers);
    printf("{\"seconds\": %.9f, \"cpu\": %.9f, \"peak\": %" PRIu64 ", \"checksum\": \"%016" PRIx64 "\"}\n",
           span(workers, run.threads), cpu_of(workers, run.threads), proc_peak(), checksum);
    return shim_is_clean() ? 0 : 1;
}
