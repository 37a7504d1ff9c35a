/* SPDX-License-Identifier: MIT
 *
 * The pool is lock-free in the strict sense: a thread that is stopped anywhere inside push or pop delays nobody.
 *
 * Threads exchange magazines through the library's own push and pop: pop a filled magazine, push it among the empty
 * ones, pop an empty one, push it among the filled ones. One of them is the victim. A signal stops it at a random
 * point inside push or pop: the handler blocks, and only after the other threads have completed a quota of exchanges
 * does it go on. The run ends when ten million exchanges (fewer under sanitizers) have been completed against a
 * victim stopped at hundreds of points.
 *
 * A signal by itself finds a thread mostly where the processor had to wait. On x86-64 it therefore only starts the
 * processor's single-step mode, and the stop is made by the SIGTRAP after a random number of instructions of push or
 * pop. Elsewhere, and under sanitizers, whose runtimes deliver signals at points of their own, the signal that finds
 * the victim inside is the stop.
 *
 * Whoever pops a magazine stamps it and writes its slots, whoever pushes it verifies them: a magazine handed out
 * twice shows at once, one lost at the end.
 *
 * Smoke: about 4 seconds. Pre-merge: 30 seconds (--seconds 30). Soak: one hour (--seconds 3600 --threads 16).
 */
#include "stress.h"

#include "pool/pool.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum {
    STOPS = STRESS_SANITIZED ? 60 : 400,     /* inside push or pop, at the least */
    QUOTA = STRESS_SANITIZED ? 1000 : 25000, /* exchanges by the others at each */
    PATIENCE = 60,                           /* seconds for them */
    CLASS = 3,                               /* whichever */
    SLOTS_USED = 2,                          /* slots of a magazine that carry a pattern */
    PCS_MAX = 4096,
};

enum place { OUTSIDE, IN_PUSH, IN_POP };

/* One per thread, on lines of its own; `done` is read by the director. */
struct exchanger {
    _Alignas(FLI_CACHE_LINE) pthread_t id;
    unsigned index;
    volatile sig_atomic_t place; /* where the thread is, for its own signal handler */
    atomic_ulong done;           /* filled magazines pushed and popped */
    struct fli_pool_counters counters;
};

static struct stress_args args;
static struct fli_pool pool;
static struct fli_magazines magazines;
static unsigned magazine_count;
static atomic_uint *owners; /* by magazine: 0 while in the pool, else the thread's number + 1 */
static struct exchanger *exchangers;
static atomic_bool stop;

/* ---- Exchanges ---------------------------------------------------------------------------------------------- */

static void fill_slots(struct fli_magazine *magazine, uint64_t key)
{
    stress_fill(magazine->slots, SLOTS_USED * sizeof magazine->slots[0], key);
}

static struct fli_magazine *pop(struct exchanger *self, struct fli_stack *stack)
{
    self->place = IN_POP;
    struct fli_magazine *magazine = fli_stack_pop_mpmc(stack, &magazines, &self->counters);
    self->place = OUTSIDE;
    if (!magazine)
        return NULL;
    uint32_t index = fli_magazine_index(&magazines, magazine);
    unsigned before = atomic_exchange_explicit(&owners[index], self->index + 1, memory_order_relaxed);
    if (before != 0)
        stress_fail("thread %u popped magazine %" PRIu32 ", which thread %u has", self->index, index, before - 1);
    stress_verify(magazine->slots, SLOTS_USED * sizeof magazine->slots[0], index);
    fill_slots(magazine, ~(uint64_t)index);
    return magazine;
}

static void push(struct exchanger *self, struct fli_stack *stack, struct fli_magazine *magazine)
{
    uint32_t index = fli_magazine_index(&magazines, magazine);
    stress_verify(magazine->slots, SLOTS_USED * sizeof magazine->slots[0], ~(uint64_t)index);
    fill_slots(magazine, index);
    unsigned before = atomic_exchange_explicit(&owners[index], 0, memory_order_relaxed);
    if (before != self->index + 1)
        stress_fail("thread %u has magazine %" PRIu32 ", and so had thread %u", self->index, index, before - 1);
    self->place = IN_PUSH;
    fli_stack_push_mpmc(stack, &magazines, magazine, &self->counters);
    self->place = OUTSIDE;
}

/* Counts one exchange of a filled magazine. */
static void count(struct exchanger *self)
{
    unsigned long done = atomic_load_explicit(&self->done, memory_order_relaxed);
    atomic_store_explicit(&self->done, done + 1, memory_order_relaxed);
}

static void *exchange(void *argument)
{
    struct exchanger *self = argument;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        struct fli_magazine *magazine = pop(self, &pool.filled[CLASS]);
        if (magazine) {
            count(self);
            push(self, &pool.empty, magazine);
        }
        magazine = pop(self, &pool.empty);
        if (magazine) {
            push(self, &pool.filled[CLASS], magazine);
            count(self);
        }
    }
    return NULL;
}

/* ---- Stopping the victim -------------------------------------------------------------------------------------- */

#if defined(__x86_64__) && !STRESS_SANITIZED
#define STEPPING 1
#else
#define STEPPING 0
#endif

/* What the handler tells the director. */
struct stop_report {
    enum place place;
    uintptr_t pc; /* 0 where it is not known */
};

struct code {
    uintptr_t start;
    size_t size;
};

static int stopped_pipe[2], resume_pipe[2];
static struct code push_code, pop_code;
static atomic_int stop_wanted; /* a place; set by the director, OUTSIDE again when the victim stops */

/* Whether the victim is where the director wants it stopped, by its own account and, if that is known, by its program
 * counter. */
static bool wanted(const struct stop_report *report)
{
    if (report->place == OUTSIDE || (int)report->place != atomic_load_explicit(&stop_wanted, memory_order_relaxed))
        return false;
    const struct code *code = report->place == IN_PUSH ? &push_code : &pop_code;
    return report->pc == 0 || report->pc - code->start < code->size;
}

/* Tells the director where the victim is, and blocks until it is let go. */
static void stop_here(const struct stop_report *report)
{
    char go;
    atomic_store_explicit(&stop_wanted, OUTSIDE, memory_order_relaxed);
    if (write(stopped_pipe[1], report, sizeof *report) != sizeof *report || read(resume_pipe[0], &go, 1) != 1)
        _exit(3);
}

#if STEPPING

enum {
    TRAP_FLAG = 0x100, /* of the flags register */
    STEPS_MAX = 60,    /* instructions that a stop may lie ahead: more than push or pop has */
};

static unsigned steps_left; /* of single-step mode; the handlers' own, as is the next */
static struct stress_rng steps_rng;

static struct stop_report report_of(const greg_t *registers)
{
    return (struct stop_report){(enum place)exchangers[0].place, (uintptr_t)registers[REG_RIP]};
}

/* Runs on the victim after each instruction in single-step mode, which ends with the stop or when the victim leaves
 * the function. */
static void on_trap(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    struct stop_report report = report_of(registers);
    bool here = wanted(&report);
    if (here && --steps_left > 0)
        return;
    int saved = errno;
    if (here)
        stop_here(&report);
    errno = saved;
    steps_left = 0;
    registers[REG_EFL] &= ~TRAP_FLAG;
}

/* Runs on the victim: starts single-step mode. */
static void on_signal(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    struct stop_report report = report_of(registers);
    if (steps_left > 0 || !wanted(&report))
        return;
    steps_left = 1 + (unsigned)stress_below(&steps_rng, STEPS_MAX);
    registers[REG_EFL] |= TRAP_FLAG;
}

#else

/* Runs on the victim: stops it if it is inside push or pop. */
static void on_signal(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    (void)context;
    int saved = errno;
    struct stop_report report = {.place = (enum place)exchangers[0].place};
    if (wanted(&report))
        stop_here(&report);
    errno = saved;
}

#endif

static void install_handlers(void)
{
    STRESS_REQUIRE(pipe(stopped_pipe) == 0 && pipe(resume_pipe) == 0);
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaddset(&action.sa_mask, SIGUSR1);
    STRESS_REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
#if STEPPING
    steps_rng = stress_rng_make(args.seed, args.threads + 1);
    action.sa_sigaction = on_trap;
    STRESS_REQUIRE(sigaction(SIGTRAP, &action, NULL) == 0);
#endif
}

/* Sends signals at random intervals until one has stopped the victim at the place. */
static struct stop_report stop_victim(struct stress_rng *rng, enum place place)
{
    struct pollfd stopped = {.fd = stopped_pipe[0], .events = POLLIN};
    double deadline = stress_now() + PATIENCE;
    atomic_store_explicit(&stop_wanted, place, memory_order_relaxed);
    do {
        if (stress_now() > deadline)
            stress_fail("no signal found the victim inside push or pop");
        STRESS_REQUIRE(pthread_kill(exchangers[0].id, SIGUSR1) == 0);
    } while (ppoll(&stopped, 1, &(struct timespec){.tv_nsec = (long)stress_below(rng, 200000)}, NULL) != 1);
    struct stop_report report;
    STRESS_REQUIRE(read(stopped_pipe[0], &report, sizeof report) == sizeof report);
    return report;
}

static void resume_victim(void)
{
    STRESS_REQUIRE(write(resume_pipe[1], "", 1) == 1);
}

/* ---- Where push and pop lie ----------------------------------------------------------------------------------- */

/* The size in bytes of a function of this program, from its symbol table; 0 if it has none. */
static size_t function_size(const char *image, const char *name)
{
    const Elf64_Ehdr *header = (const void *)image;
    const Elf64_Shdr *sections = (const void *)(image + header->e_shoff);
    for (unsigned i = 0; i < header->e_shnum; i++) {
        if (sections[i].sh_type != SHT_SYMTAB)
            continue;
        const Elf64_Sym *symbols = (const void *)(image + sections[i].sh_offset);
        const char *names = image + sections[sections[i].sh_link].sh_offset;
        for (size_t j = 0; j < sections[i].sh_size / sizeof *symbols; j++) {
            if (ELF64_ST_TYPE(symbols[j].st_info) == STT_FUNC && !strcmp(names + symbols[j].st_name, name))
                return symbols[j].st_size;
        }
    }
    return 0;
}

static void find_code(void)
{
    int file = open("/proc/self/exe", O_RDONLY);
    struct stat status;
    STRESS_REQUIRE(file >= 0 && fstat(file, &status) == 0);
    char *image = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    STRESS_REQUIRE(image != MAP_FAILED);
    push_code = (struct code){(uintptr_t)fli_stack_push_mpmc, function_size(image, "fli_stack_push_mpmc")};
    pop_code = (struct code){(uintptr_t)fli_stack_pop_mpmc, function_size(image, "fli_stack_pop_mpmc")};
    STRESS_REQUIRE(push_code.size > 0 && pop_code.size > 0);
    munmap(image, (size_t)status.st_size);
    close(file);
}

/* ---- The director --------------------------------------------------------------------------------------------- */

static unsigned long others_done(void)
{
    unsigned long done = 0;
    for (unsigned i = 1; i < args.threads; i++)
        done += atomic_load_explicit(&exchangers[i].done, memory_order_relaxed);
    return done;
}

/* Waits until the others have completed the quota, the victim being stopped. Returns what they completed. */
static unsigned long await_quota(const struct stop_report *report)
{
    unsigned long victim = atomic_load_explicit(&exchangers[0].done, memory_order_relaxed);
    unsigned long start = others_done(), done;
    double deadline = stress_now() + PATIENCE;
    while ((done = others_done() - start) < QUOTA) {
        if (stress_now() > deadline)
            stress_fail("the others completed only %lu exchanges while the victim was stopped in %s at %#" PRIxPTR,
                        done, report->place == IN_PUSH ? "push" : "pop", report->pc);
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    STRESS_REQUIRE(atomic_load_explicit(&exchangers[0].done, memory_order_relaxed) == victim);
    return done;
}

struct tally {
    unsigned long in_push, in_pop, exchanges;
    uintptr_t pcs[PCS_MAX]; /* distinct ones */
    unsigned distinct;
};

static void tally_pc(struct tally *tally, uintptr_t pc)
{
    for (unsigned i = 0; i < tally->distinct; i++) {
        if (tally->pcs[i] == pc)
            return;
    }
    if (tally->distinct < PCS_MAX)
        tally->pcs[tally->distinct++] = pc;
}

static void stop_once(struct tally *tally, struct stress_rng *rng)
{
    struct stop_report report = stop_victim(rng, stress_one_in(rng, 2) ? IN_PUSH : IN_POP);
    tally->exchanges += await_quota(&report);
    tally->in_push += report.place == IN_PUSH;
    tally->in_pop += report.place == IN_POP;
    tally_pc(tally, report.pc);
    resume_victim();
}

static void direct(struct tally *tally)
{
    struct stress_rng rng = stress_rng_make(args.seed, args.threads);
    double end = args.smoke ? 0 : stress_now() + args.seconds;
    while (tally->in_push + tally->in_pop < STOPS || stress_now() < end)
        stop_once(tally, &rng);
    STRESS_REQUIRE(tally->in_push > 0 && tally->in_pop > 0);
    STRESS_REQUIRE(!STEPPING || tally->distinct > 20);
}

/* ---- The run -------------------------------------------------------------------------------------------------- */

static void make_pool(void)
{
    size_t bytes = (size_t)4 << 20;
    char *base = fli_os_reserve(bytes, fli_os_page());
    STRESS_REQUIRE(base);
    STRESS_REQUIRE(fli_magazines_init(&magazines, base, bytes, 0, 0) == 0);
    fli_pool_init(&pool);
    magazine_count = 2 * args.threads + 2;
    owners = calloc(magazine_count + 1, sizeof *owners);
    exchangers = aligned_alloc(FLI_CACHE_LINE, args.threads * sizeof *exchangers);
    STRESS_REQUIRE(owners && exchangers);
    memset(exchangers, 0, args.threads * sizeof *exchangers);
    for (unsigned i = 0; i < magazine_count; i++) {
        struct fli_magazine *magazine = fli_magazine_carve(&magazines);
        STRESS_REQUIRE(magazine && fli_magazine_index(&magazines, magazine) <= magazine_count);
        fill_slots(magazine, fli_magazine_index(&magazines, magazine));
        fli_stack_push_mpmc(i % 2 ? &pool.empty : &pool.filled[CLASS], &magazines, magazine, &exchangers[0].counters);
    }
}

/* Every magazine is in the pool, once. */
static void unmake_pool(void)
{
    unsigned found = 0;
    for (unsigned i = 0; i < 2; i++) {
        while (pop(&exchangers[0], i ? &pool.empty : &pool.filled[CLASS]))
            found++;
    }
    if (found != magazine_count)
        stress_fail("%u magazines are left of %u", found, magazine_count);
    fli_magazines_close(&magazines);
    fli_os_release(magazines.states[0], (size_t)4 << 20);
    free(exchangers);
    free(owners);
}

int main(int argc, char **argv)
{
    args = stress_parse(argc, argv, "stress_lockfree");
    if (args.threads < 2)
        args.threads = 2;
    install_handlers();
    find_code();
    make_pool();
    for (unsigned i = 0; i < args.threads; i++) {
        exchangers[i].index = i;
        stress_thread_start(&exchangers[i].id, exchange, &exchangers[i]);
    }
    static struct tally tally;
    direct(&tally);
    atomic_store_explicit(&stop, true, memory_order_relaxed);
    for (unsigned i = 0; i < args.threads; i++)
        stress_thread_join(exchangers[i].id);

    printf("%lu stops inside push, %lu inside pop, at %u addresses; %lu exchanges meanwhile\n", tally.in_push,
           tally.in_pop, tally.distinct, tally.exchanges);
    STRESS_REQUIRE(tally.exchanges >= (unsigned long)STOPS * QUOTA);
    unmake_pool();
    return 0;
}
