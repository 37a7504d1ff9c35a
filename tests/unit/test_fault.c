/* SPDX-License-Identifier: MIT
 *
 * The system refuses, at each call that the library makes of it, one after the other: a scenario runs with its first
 * call refused, then with its second, and so on until it makes fewer calls than that. Whatever is refused, the error
 * is clear, what was tried can be tried again, and nothing is lost.
 */
/* link: -Wl,--wrap=mmap -Wl,--wrap=munmap -Wl,--wrap=mremap -Wl,--wrap=mprotect -Wl,--wrap=madvise */
/* link: -Wl,--wrap=calloc -Wl,--wrap=aligned_alloc */
/* link: -Wl,--wrap=pthread_key_create -Wl,--wrap=pthread_setspecific -Wl,--wrap=pthread_atfork */
#include "grace_support.h"
#include "memory/mark.h"

#include <sys/mman.h>

enum { SIZE = 48, MANY = 5000 };

/* ---- The system's place. */

enum call { MMAP, MUNMAP, MREMAP, MPROTECT, MADVISE, CALLOC, ALIGNED_ALLOC, KEY_CREATE, SETSPECIFIC, ATFORK, CALLS };

static const char *const call_names[CALLS] = {"mmap",
                                              "munmap",
                                              "mremap",
                                              "mprotect",
                                              "madvise",
                                              "calloc",
                                              "aligned_alloc",
                                              "pthread_key_create",
                                              "pthread_setspecific",
                                              "pthread_atfork"};

static struct {
    bool armed, for_good;
    unsigned refuse_at, made;
    enum call refused;
    bool fired;            /* since it was last asked */
    bool ever_fired;       /* since it was armed */
    bool was_fired[CALLS]; /* in any scenario */
} fault;

static bool refuses(enum call call)
{
    if (!fault.armed)
        return false;
    fault.made++;
    if (fault.made != fault.refuse_at && !(fault.for_good && fault.made > fault.refuse_at))
        return false;
    fault.refused = call;
    fault.fired = fault.ever_fired = fault.was_fired[call] = true;
    return true;
}

static void arm(unsigned refuse_at, bool for_good)
{
    fault.refuse_at = refuse_at;
    fault.for_good = for_good;
    fault.made = 0;
    fault.fired = fault.ever_fired = false;
    fault.armed = true;
}

/* Returns whether anything was refused. */
static bool disarm(void)
{
    fault.armed = false;
    return fault.ever_fired;
}

static int refusal(void)
{
    errno = ENOMEM;
    return -1;
}

void *__real_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);
int __real_munmap(void *address, size_t length);
void *__real_mremap(void *address, size_t old_length, size_t length, int flags, ...);
int __real_mprotect(void *address, size_t length, int protection);
int __real_madvise(void *address, size_t length, int advice);
void *__real_calloc(size_t count, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
int __real_pthread_key_create(pthread_key_t *key, void (*destructor)(void *));
int __real_pthread_setspecific(pthread_key_t key, const void *value);
int __real_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);
int __wrap_munmap(void *address, size_t length);
void *__wrap_mremap(void *address, size_t old_length, size_t length, int flags, void *target);
int __wrap_mprotect(void *address, size_t length, int protection);
int __wrap_madvise(void *address, size_t length, int advice);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
int __wrap_pthread_key_create(pthread_key_t *key, void (*destructor)(void *));
int __wrap_pthread_setspecific(pthread_key_t key, const void *value);
int __wrap_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
    if (refuses(MMAP)) {
        refusal();
        return MAP_FAILED;
    }
    return __real_mmap(address, length, protection, flags, file, offset);
}

int __wrap_munmap(void *address, size_t length)
{
    return refuses(MUNMAP) ? refusal() : __real_munmap(address, length);
}

void *__wrap_mremap(void *address, size_t old_length, size_t length, int flags, void *target)
{
    if (!refuses(MREMAP))
        return __real_mremap(address, old_length, length, flags, target);
    refusal();
    return MAP_FAILED;
}

int __wrap_mprotect(void *address, size_t length, int protection)
{
    return refuses(MPROTECT) ? refusal() : __real_mprotect(address, length, protection);
}

int __wrap_madvise(void *address, size_t length, int advice)
{
    return refuses(MADVISE) ? refusal() : __real_madvise(address, length, advice);
}

void *__wrap_calloc(size_t count, size_t size)
{
    if (!refuses(CALLOC))
        return __real_calloc(count, size);
    refusal();
    return NULL;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    if (!refuses(ALIGNED_ALLOC))
        return __real_aligned_alloc(alignment, size);
    refusal();
    return NULL;
}

int __wrap_pthread_key_create(pthread_key_t *key, void (*destructor)(void *))
{
    return refuses(KEY_CREATE) ? EAGAIN : __real_pthread_key_create(key, destructor);
}

int __wrap_pthread_setspecific(pthread_key_t key, const void *value)
{
    return refuses(SETSPECIFIC) ? ENOMEM : __real_pthread_setspecific(key, value);
}

int __wrap_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    return refuses(ATFORK) ? ENOMEM : __real_pthread_atfork(prepare, parent, child);
}

/* ---- Steps of a scenario. Each may fail once, because something was refused during it, with errno ENOMEM; tried
 * again it succeeds. */

static void begin_step(void)
{
    fault.fired = false;
    errno = 0;
}

static void assert_excused(const char *step)
{
    int saved = errno;
    if (!fault.fired)
        fail_msg("%s failed though nothing was refused", step);
    if (saved != ENOMEM)
        fail_msg("%s failed for a refused %s with errno %d", step, call_names[fault.refused], saved);
    fault.fired = false;
}

static struct fl_heap *create_step(const struct fl_options *options)
{
    static const char *const culprits[CALLS] = {
        [MMAP] = "address space", [MPROTECT] = "slab table",   [ALIGNED_ALLOC] = "memory for a",
        [KEY_CREATE] = "key",     [ATFORK] = "a fork handler", [CALLOC] = "memory for ",
    };
    char error[256] = "";
    begin_step();
    struct fl_heap *heap = fl_heap_create(options, error, sizeof error);
    if (heap == NULL) {
        assert_excused("fl_heap_create");
        assert_non_null(culprits[fault.refused]);
        assert_contains(error, culprits[fault.refused]);
        heap = fl_heap_create(options, error, sizeof error);
        assert_non_null(heap);
    }
    return heap;
}

static struct fl_thread *attach_step(struct fl_heap *heap)
{
    size_t before = stats_of(heap).threads;
    begin_step();
    struct fl_thread *thread = fl_thread_attach(heap);
    if (thread == NULL) {
        assert_excused("fl_thread_attach");
        assert_int_equal(stats_of(heap).threads, before);
        thread = fl_thread_attach(heap);
        assert_non_null(thread);
    }
    assert_int_equal(stats_of(heap).threads, before + 1);
    return thread;
}

static bool holds_only(const unsigned char *block, size_t size, unsigned char value)
{
    for (size_t i = 0; i < size; i++)
        if (block[i] != value)
            return false;
    return true;
}

static void *alloc_step(struct fl_thread *thread, size_t size, bool zeroed)
{
    struct fl_heap *heap = fl_thread_heap(thread);
    size_t live = stats_of(heap).live_bytes;
    begin_step();
    errno = EILSEQ;
    unsigned char *block = zeroed ? fl_alloc_zeroed(thread, size) : fl_alloc(thread, size);
    if (block == NULL) {
        assert_excused("fl_alloc");
        assert_int_equal(stats_of(heap).live_bytes, live);
        block = zeroed ? fl_alloc_zeroed(thread, size) : fl_alloc(thread, size);
        assert_non_null(block);
    } else {
        assert_int_equal(errno, EILSEQ);
    }
    assert_true(!zeroed || holds_only(block, size, 0));
    memset(block, 0x5a, size);
    return block;
}

static void alloc_many_step(struct fl_thread *thread, size_t size, size_t count, void **blocks)
{
    struct fl_heap *heap = fl_thread_heap(thread);
    size_t live = stats_of(heap).live_blocks;
    begin_step();
    int failed = fl_alloc_many(thread, size, count, blocks);
    if (failed != 0) {
        assert_int_equal(failed, -ENOMEM);
        errno = ENOMEM;
        assert_excused("fl_alloc_many");
        assert_int_equal(stats_of(heap).live_blocks, live);
        assert_int_equal(fl_alloc_many(thread, size, count, blocks), 0);
    }
    assert_int_equal(stats_of(heap).live_blocks, live + count);
}

static void free_step(struct fl_thread *thread, void *block, size_t size)
{
    assert_true(holds_only(block, size, 0x5a));
    errno = EILSEQ;
    if (size % 3 == 0)
        fl_free(thread, block);
    else if (size % 3 == 1)
        fl_free_sized(thread, block, size);
    else
        fl_heap_free(fl_thread_heap(thread), block);
    assert_int_equal(errno, EILSEQ);
}

/* Gives a block another size, of which the first bytes are what they were. */
static void *realloc_step(struct fl_thread *thread, void *block, size_t old_size, size_t size)
{
    begin_step();
    errno = EILSEQ;
    unsigned char *other = fl_realloc(thread, block, old_size, size);
    if (other == NULL) {
        assert_excused("fl_realloc");
        assert_true(holds_only(block, old_size, 0x5a));
        other = fl_realloc(thread, block, old_size, size);
        assert_non_null(other);
    } else {
        assert_int_equal(errno, EILSEQ);
    }
    assert_true(holds_only(other, fli_min(old_size, size), 0x5a));
    return memset(other, 0x5a, size);
}

static void check_step(struct fl_heap *heap)
{
    char error[256] = "";
    begin_step();
    int failed = fl_heap_check(heap, error, sizeof error);
    if (failed == -ENOMEM) {
        errno = ENOMEM;
        assert_excused("fl_heap_check");
        assert_contains(error, "memory");
        failed = fl_heap_check(heap, error, sizeof error);
    }
    if (failed != 0)
        fail_msg("fl_heap_check: %s", error);
}

/* Runs a scenario with its first call refused, its second, .. */
static void refuse_each(void (*scenario)(void))
{
    for (unsigned n = 1;; n++) {
        arm(n, false);
        scenario();
        if (!disarm())
            break;
        assert_true(n < 1000);
    }
}

/* ---- Scenarios. */

/* A heap from its creation to its end, with blocks of all kinds. */
static void live_and_die(void)
{
    static const size_t sizes[] = {0, 16, 48, 49, 1000, 1001, FL_BLOCK_MAX, FL_BLOCK_MAX + 1, 100000, 100001, 100002};
    void *blocks[3][COUNT_OF(sizes)], *many[300];
    struct fl_heap *heap = create_step(NULL);
    struct fl_thread *thread = attach_step(heap), *other = attach_step(heap);
    for (unsigned round = 0; round < 3; round++)
        for (size_t i = 0; i < COUNT_OF(sizes); i++)
            blocks[round][i] = alloc_step(round == 0 ? thread : other, sizes[i], round == 2);
    alloc_many_step(thread, SIZE, COUNT_OF(many), many);
    check_step(heap);
    for (unsigned round = 0; round < 3; round++)
        for (size_t i = 0; i < COUNT_OF(sizes); i++)
            free_step(round == 1 ? thread : other, blocks[round][i], sizes[i]);
    assert_int_equal(stats_of(heap).live_blocks, COUNT_OF(many));
    fl_free_many(other, SIZE, COUNT_OF(many), many);
    fl_thread_flush(thread);
    check_step(heap);
    fl_heap_trim(heap, 0);
    check_step(heap);
    free_step(thread, alloc_step(thread, 64, false), 64);
    assert_int_equal(fl_thread_detach(thread), 0);
    fl_thread_offline(other);
    fl_thread_online(other);
    assert_int_equal(fl_thread_detach(other), 0);
    fl_heap_trim(heap, 0);
    assert_int_equal(stats_of(heap).live_blocks, 0);
    assert_int_equal(stats_of(heap).slabs, 0);
    check_step(heap);
    assert_int_equal(fl_heap_destroy(heap), 0);
}

static void whatever_is_refused_in_a_heaps_life_it_goes_on_and_loses_nothing(void **state)
{
    (void)state;
    refuse_each(live_and_die);
}

/* Small magazines and more blocks than the first commit holds, so that every region grows. */
static void grow(void)
{
    static void *blocks[MANY];
    struct fl_heap *heap = create_step(&(struct fl_options){.magazine_blocks = 2, .reserve_bytes = 64 * FLI_MIB});
    struct fl_thread *thread = attach_step(heap);
    alloc_many_step(thread, 1024, MANY, blocks);
    check_step(heap);
    fl_free_many(thread, 1024, MANY, blocks);
    check_step(heap);
    assert_int_equal(stats_of(heap).live_blocks, 0);
    assert_int_equal(fl_thread_detach(thread), 0);
    fl_heap_trim(heap, 0);
    check_step(heap);
    struct fl_stats stats = stats_of(heap);
    assert_int_equal(stats.slabs, 0);
    assert_int_equal(stats.pooled_bytes + stats.parked_bytes, 0);
    assert_int_equal(fl_heap_destroy(heap), 0);
}

static void whatever_is_refused_while_a_heap_grows_nothing_is_lost(void **state)
{
    (void)state;
    refuse_each(grow);
}

/* Large blocks, with a limit. */
static void hold_large_blocks(void)
{
    void *blocks[200];
    /* Just enough: what an allocation that fails has taken of the limit, it gives back. */
    struct fl_heap *heap = create_step(&(struct fl_options){.limit_bytes = COUNT_OF(blocks) * (FL_BLOCK_MAX + 1)});
    struct fl_thread *thread = attach_step(heap);
    alloc_many_step(thread, FL_BLOCK_MAX + 1, COUNT_OF(blocks), blocks);
    assert_int_equal(stats_of(heap).large_blocks, COUNT_OF(blocks));
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        assert_true(fl_owns(heap, blocks[i]));
    fl_free_many(thread, FL_BLOCK_MAX + 1, COUNT_OF(blocks), blocks);
    assert_int_equal(stats_of(heap).large_bytes, 0);
    check_step(heap);
    assert_int_equal(fl_thread_detach(thread), 0);
    assert_int_equal(fl_heap_destroy(heap), 0);
}

static void whatever_is_refused_large_blocks_are_entered_or_not_allocated(void **state)
{
    (void)state;
    refuse_each(hold_large_blocks);
}

/* A block that grows and shrinks, where others lie in its way. */
static void give_other_sizes(void)
{
    static const size_t sizes[] = {100, 5000, 50000, 200000, 900000, 901000, 1100000, 3000000, 300000, 40000, 48};
    struct fl_heap *heap = create_step(NULL);
    struct fl_thread *thread = attach_step(heap);
    unsigned char *block = alloc_step(thread, sizes[0], false), *other = alloc_step(thread, 200000, false);
    for (size_t i = 1; i < COUNT_OF(sizes); i++)
        block = realloc_step(thread, block, sizes[i - 1], sizes[i]);
    check_step(heap);
    free_step(thread, block, sizes[COUNT_OF(sizes) - 1]);
    free_step(thread, other, 200000);
    assert_int_equal(stats_of(heap).live_blocks, 0);
    assert_int_equal(fl_thread_detach(thread), 0);
    assert_int_equal(fl_heap_destroy(heap), 0);
}

static void whatever_is_refused_a_block_has_its_old_size_or_the_new_one(void **state)
{
    (void)state;
    refuse_each(give_other_sizes);
}

/* ---- The default heap, of which each process has one: in children. */

enum { NOTHING_REFUSED = 42 };

static void use_default_refused(void *argument)
{
    arm(*(unsigned *)argument, false);
    errno = 0;
    fault.fired = false;
    void *block = fl_alloc(fl_thread_self(), SIZE);
    if (block == NULL) {
        EXPECT(errno == ENOMEM && fault.fired);
        block = fl_alloc(fl_thread_self(), SIZE);
    }
    EXPECT(block != NULL);
    memset(block, 1, SIZE);
    struct fl_heap *heap = fl_heap_default();
    EXPECT(heap != NULL && fl_owns(heap, block));
    fl_free(fl_thread_self(), block);
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    EXPECT(stats.live_blocks == 0);
    bool refused = disarm();
    /* An attachment that was refused is made up for. */
    fl_free(fl_thread_self(), fl_alloc(fl_thread_self(), SIZE));
    fl_heap_stats(heap, &stats);
    EXPECT(stats.threads == 1);
    EXPECT_SOUND(heap);
    if (!refused)
        _exit(NOTHING_REFUSED);
    fprintf(stderr, "refused: %s.\n", call_names[fault.refused]);
}

static void whatever_is_refused_the_default_heap_can_be_tried_again(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        struct child_end end = run_child(use_default_refused, &n);
        if (WIFEXITED(end.status) && WEXITSTATUS(end.status) == NOTHING_REFUSED)
            break;
        if (!WIFEXITED(end.status) || WEXITSTATUS(end.status) != 0)
            fail_msg("call %u refused: status %#x: %s", n, (unsigned)end.status, end.output);
        for (unsigned call = 0; call < CALLS; call++) {
            char line[64];
            snprintf(line, sizeof line, "refused: %s.\n", call_names[call]);
            fault.was_fired[call] |= strstr(end.output, line) != NULL;
        }
        assert_true(n < 100);
    }
}

/* ---- The system refuses for good. Large blocks stay in magazines when they leave a cache, small ones do not. */

enum { LARGE = 4096 };

static void free_and_use_again_without_magazines(size_t size)
{
    static void *blocks[MANY];
    struct bed bed = bed_with(&(struct fl_options){.magazine_blocks = 2, .retain_bytes = SIZE_MAX});
    assert_int_equal(fl_alloc_many(bed.thread, size, MANY, blocks), 0);
    size_t carved = class_stats_of(bed.heap, size).carved;
    arm(1, true);
    for (unsigned i = 0; i < MANY; i++) {
        errno = EILSEQ;
        fl_free(bed.thread, blocks[i]);
        assert_int_equal(errno, EILSEQ);
    }
    assert_true(fault.ever_fired || size < LARGE);
    struct fl_class_stats class = class_stats_of(bed.heap, size);
    assert_int_equal(class.live, 0);
    assert_true(class.parked > 0);
    assert_int_equal(class.cached + class.pooled + class.parked, carved);
    disarm();
    assert_sound(bed.heap);

    arm(1, true);
    assert_int_equal(fl_alloc_many(bed.thread, size, MANY, blocks), 0);
    disarm();
    assert_sound(bed.heap);
    for (unsigned i = 0; i < MANY; i++)
        memset(blocks[i], (int)i, size);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(*(unsigned char *)blocks[i], i & 255);
    assert_int_equal(class_stats_of(bed.heap, size).carved, carved);
    fl_free_many(bed.thread, size, MANY, blocks);
    end_bed(&bed);
}

static void freeing_goes_on_without_magazines_and_what_was_parked_is_used_again(void **state)
{
    (void)state;
    free_and_use_again_without_magazines(SIZE);
    free_and_use_again_without_magazines(LARGE);
}

static void another_class_is_served_though_all_magazines_hold_blocks(void **state)
{
    (void)state;
    static void *blocks[MANY];
    struct bed bed = bed_with(&(struct fl_options){.magazine_blocks = 2, .retain_bytes = SIZE_MAX});
    assert_int_equal(fl_alloc_many(bed.thread, LARGE, MANY, blocks), 0);
    arm(1, true);
    fl_free_many(bed.thread, LARGE, MANY, blocks);
    assert_true(class_stats_of(bed.heap, LARGE).parked > 0);
    assert_int_equal(stats_of(bed.heap).empty_magazines, 0);
    void *other = fl_alloc(bed.thread, 1000);
    assert_non_null(other);
    fl_free(bed.thread, other);
    disarm();
    assert_sound(bed.heap);
    end_bed(&bed);
}

static void a_detach_without_magazines_loses_nothing(void **state)
{
    (void)state;
    static void *blocks[MANY];
    struct bed bed = bed_with(&(struct fl_options){.magazine_blocks = 2, .retain_bytes = SIZE_MAX});
    struct fl_thread *other = fl_thread_attach(bed.heap);
    assert_int_equal(fl_alloc_many(other, SIZE, MANY, blocks), 0);
    arm(1, true);
    fl_free_many(other, SIZE, MANY / 2, blocks);
    for (unsigned i = MANY / 2; i < MANY; i++)
        fl_heap_free(bed.heap, blocks[i]);
    assert_int_equal(fl_thread_detach(other), 0);
    disarm();
    fl_heap_trim(bed.heap, SIZE_MAX); /* for frees by threads that are not attached */
    struct fl_class_stats class = class_stats_of(bed.heap, SIZE);
    assert_int_equal(class.live, 0);
    assert_int_equal(class.cached, 0);
    assert_int_equal(class.cached + class.pooled + class.parked, class.carved);
    end_bed(&bed);
}

static void memory_that_the_system_does_not_take_back_is_used_again(void **state)
{
    (void)state;
    static void *blocks[MANY];
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = SIZE_MAX});
    size_t mapped = 0;
    for (unsigned round = 0; round < 3; round++) {
        size_t size = (size_t)(4 * SIZE) >> round;
        assert_int_equal(fl_alloc_many(bed.thread, size, MANY, blocks), 0);
        for (unsigned i = 0; i < MANY; i++)
            memset(blocks[i], 0xff, size);
        fl_free_many(bed.thread, size, MANY, blocks);
        fl_thread_flush(bed.thread);
        arm(1, true);
        assert_int_equal(fl_heap_trim(bed.heap, 0), 0);
        assert_true(disarm());
        assert_sound(bed.heap);
        struct fl_stats stats = stats_of(bed.heap);
        assert_int_equal(stats.slabs, 0);
        assert_int_equal(stats.pooled_bytes + stats.parked_bytes, 0);
        unsigned char *zeroed = fl_alloc_zeroed(bed.thread, size);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(zeroed[i], 0);
        fl_free(bed.thread, zeroed);
        fl_thread_flush(bed.thread);
        if (round == 0)
            mapped = stats.mapped_bytes;
        assert_int_equal(stats.mapped_bytes, mapped);
    }
    end_bed(&bed);
}

/* ---- Deferred blocks. */

/* A heap with stale readers from its creation to its end: what is deferred and what is retired. */
static void defer_and_retire(void)
{
    static const struct fl_header header = {.bytes = 16, .words = 1, .clear = {{8, 8}}};
    static void *objects[MANY];
    struct played_host host = {0};
    struct fl_grace_host calls = {.begin = played_begin, .elapsed = played_elapsed, .context = &host};
    struct fl_type type = {.name = "object", .size = SIZE, .kind = FL_DEALLOC_PLAIN, .header = &header};
    struct fl_type large = {.name = "large", .size = 100000, .kind = FL_DEALLOC_PLAIN, .header = &header};
    assert_int_equal(fl_type_ready(&type, NULL, NULL, 0), 0);
    assert_int_equal(fl_type_ready(&large, NULL, NULL, 0), 0);
    struct fl_heap *heap = create_step(&(struct fl_options){.magazine_blocks = 16,
                                                            .reserve_bytes = 64 * FLI_MIB,
                                                            .grace = FL_GRACE_HOST,
                                                            .grace_host = &calls,
                                                            .header = &header});
    struct fl_thread *thread = attach_step(heap);
    for (unsigned i = 0; i < MANY; i++) {
        const struct fl_type *of = i % 100 == 0 ? &large : &type;
        begin_step();
        objects[i] = fl_type_alloc(thread, of);
        if (objects[i] == NULL) {
            assert_excused("fl_type_alloc");
            objects[i] = fl_type_alloc(thread, of);
        }
        memset(objects[i], 0x5a, of->size);
    }
    for (unsigned i = 0; i < MANY; i++) {
        const struct fl_type *of = i % 100 == 0 ? &large : &type;
        errno = EILSEQ;
        if (i % 2 == 0)
            fl_dealloc_deferred(thread, objects[i], of);
        else
            fl_dealloc(thread, objects[i], of);
        assert_int_equal(errno, EILSEQ);
    }
    assert_int_equal(stats_of(heap).live_blocks, 0);
    check_step(heap);
    fl_thread_flush(thread);
    check_step(heap);
    let_all_go(&host, thread);
    assert_int_equal(stats_of(heap).deferred_bytes, 0);
    fl_thread_flush(thread);
    fl_heap_trim(heap, 0);
    check_step(heap);
    let_all_go(&host, thread);
    struct fl_stats stats = stats_of(heap);
    assert_int_equal(stats.slabs, 0);
    assert_int_equal(stats.retired_bytes, 0);
    assert_int_equal(stats.pooled_bytes + stats.parked_bytes, 0);
    check_step(heap);
    assert_int_equal(fl_thread_detach(thread), 0);
    assert_int_equal(fl_heap_destroy(heap), 0);
}

/* One that is too large to be kept for another is tried again by a trim. */
static void the_largest_blocks_that_the_system_does_not_unmap_are_given_up_later(void **state)
{
    (void)state;
    enum { HUGE_BYTES = 40 << 20 };
    struct bed bed = bed_with(NULL);
    void *huge = fl_alloc(bed.thread, HUGE_BYTES), *large = fl_alloc(bed.thread, FL_BLOCK_MAX + 1);
    assert_non_null(huge);
    assert_non_null(large);
    memset(huge, 1, HUGE_BYTES);
    arm(1, false);
    fl_free_sized(bed.thread, huge, HUGE_BYTES);
    assert_true(disarm());
    assert_int_equal(fault.refused, MUNMAP);
    fl_free_sized(bed.thread, large, FL_BLOCK_MAX + 1);
    assert_sound(bed.heap);
    arm(UINT32_MAX, false); /* counts the calls */
    fl_heap_trim(bed.heap, 0);
    disarm();
    assert_true(fault.made > 0);
    end_bed(&bed);
}

/* Of two, one has been given up before and has no memory any more. */
static void a_trim_gives_up_what_is_kept_though_others_could_not_be_unmapped(void **state)
{
    (void)state;
    enum { BYTES = 100000 };
    struct bed bed = bed_with(NULL);
    void *first = fl_alloc(bed.thread, BYTES), *second = fl_alloc(bed.thread, BYTES);
    fl_free_sized(bed.thread, first, BYTES);
    arm(1, false);
    fl_heap_trim(bed.heap, 0);
    assert_true(disarm());
    assert_int_equal(fault.refused, MUNMAP);
    assert_int_equal(stats_of(bed.heap).spare_bytes, 0);
    fl_free_sized(bed.thread, second, BYTES);
    assert_true(stats_of(bed.heap).spare_bytes >= BYTES);
    assert_true(fl_heap_trim(bed.heap, 0) >= BYTES);
    assert_int_equal(stats_of(bed.heap).spare_bytes, 0);
    end_bed(&bed);
}

/* What has gone to the system once is not there any more, whatever that says of it later. The default handler of misuse
 * would end the test. */
static void memory_that_is_given_up_twice_was_not_written(void **state)
{
    (void)state;
    enum { BYTES = 100000 };
    struct bed bed = bed_with(&(struct fl_options){.hardened = true});
    void *first = fl_alloc(bed.thread, BYTES), *second = fl_alloc(bed.thread, BYTES);
    memset(first, 1, BYTES);
    fl_free_sized(bed.thread, first, BYTES);
    arm(1, false); /* does not unmap, but takes the memory */
    fl_heap_trim(bed.heap, 0);
    assert_true(disarm());
    assert_int_equal(fault.refused, MUNMAP);
    fl_free_sized(bed.thread, second, BYTES);
    arm(1, true); /* does neither */
    fl_heap_trim(bed.heap, 0);
    assert_true(disarm());
    first = fl_alloc(bed.thread, BYTES);
    second = fl_alloc(bed.thread, BYTES);
    fl_free_sized(bed.thread, first, BYTES);
    fl_free_sized(bed.thread, second, BYTES);
    end_bed(&bed);
}

static void whatever_is_refused_what_is_deferred_or_retired_is_not_lost(void **state)
{
    (void)state;
    refuse_each(defer_and_retire);
}

/* A heap where no magazine can be had. */
struct shortage {
    struct played_host host;
    struct bed bed;
    size_t carved;
};

static size_t marked_blocks(struct fl_heap *heap)
{
    return heap->backing.slabs.marks.count[0] + heap->backing.slabs.marks.count[1];
}

static void find_the_marked(void *argument)
{
    struct shortage *shortage = argument;
    struct fl_heap *heap = shortage->bed.heap;
    struct fl_stats stats;
    fl_heap_stats(heap, &stats);
    EXPECT(stats.deferred_bytes == MANY * SIZE + 100000);
    disarm();
    EXPECT_SOUND(heap);
    let_all_go(&shortage->host, shortage->bed.thread);
    fl_heap_stats(heap, &stats);
    EXPECT(stats.deferred_bytes == 0 && submitted_bytes(heap) == 0);
    EXPECT_SOUND(heap);
}

static void deferring_goes_on_without_magazines(void **state)
{
    (void)state;
    static unsigned char *blocks[MANY];
    struct shortage shortage = {.carved = 0};
    struct bed *bed = &shortage.bed;
    *bed = bed_of_host(&shortage.host, &(struct fl_options){.magazine_blocks = 2, .retain_bytes = SIZE_MAX});
    void *large = fl_alloc(bed->thread, 100000);
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, MANY, (void **)blocks), 0);
    shortage.carved = class_stats_of(bed->heap, SIZE).carved;
    for (unsigned i = 0; i < MANY; i++)
        memset(blocks[i], (int)i, SIZE);
    arm(1, true);
    for (unsigned i = 0; i < MANY; i++) {
        errno = EILSEQ;
        fl_free_deferred(bed->thread, blocks[i], SIZE);
        assert_int_equal(errno, EILSEQ);
        if (i == MANY - 10) { /* one batch waits, another collects */
            fl_free_deferred(bed->thread, large, 100000);
            fl_thread_flush(bed->thread);
        }
    }
    assert_true(fault.ever_fired);
    assert_true(marked_blocks(bed->heap) > 0);
    assert_int_equal(class_stats_of(bed->heap, SIZE).deferred, MANY);
    assert_int_equal(class_stats_of(bed->heap, SIZE).live, 0);
    assert_child_succeeds(find_the_marked, &shortage);
    disarm();
    assert_sound(bed->heap);
    for (unsigned i = 0; i < MANY; i++)
        assert_true(holds_only(blocks[i], SIZE, (unsigned char)i));
    arm(1, true);
    let_all_go(&shortage.host, bed->thread);
    disarm();
    struct fl_class_stats class = class_stats_of(bed->heap, SIZE);
    assert_int_equal(class.deferred, 0);
    assert_int_equal(class.live, 0);
    assert_true(class.parked > 0);
    assert_int_equal(marked_blocks(bed->heap), 0);
    assert_int_equal(submitted_bytes(bed->heap), 0);
    assert_sound(bed->heap);
    assert_int_equal(fl_alloc_many(bed->thread, SIZE, MANY, (void **)blocks), 0);
    assert_int_equal(class_stats_of(bed->heap, SIZE).carved, shortage.carved);
    fl_free_many(bed->thread, SIZE, MANY, (void **)blocks);
    end_bed(bed);
}

/* The second frees are not seen, the slabs look as if they were all free, and the host hears of it in the end. */
static void slabs_with_marked_blocks_that_are_freed_again_are_not_given_away(void **state)
{
    (void)state;
    if (FLI_CHECKED)
        skip();
    static void *blocks[MANY];
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, &(struct fl_options){.magazine_blocks = 2, .retain_bytes = SIZE_MAX});
    struct fli_slabs *slabs = &bed.heap->backing.slabs;
    assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, blocks), 0);
    arm(1, true);
    defer_many(bed.thread, SIZE, MANY, blocks);
    disarm();
    for (unsigned i = 0; i < MANY; i++)
        if (fli_mark_is_set(slabs, fl_size_class(SIZE), blocks[i]))
            fl_free_sized(bed.thread, blocks[i], SIZE);
    fl_thread_flush(bed.thread);
    fl_heap_trim(bed.heap, 0);
    misuse.count = 0;
    fl_set_misuse_handler(record_misuse);
    let_all_go(&host, bed.thread);
    assert_int_equal(stats_of(bed.heap).deferred_bytes, 0);
    fl_heap_trim(bed.heap, 0);
    fl_set_misuse_handler(NULL);
    assert_true(misuse.count > 0);
    assert_contains(misuse.message, "freed twice");
    assert_int_equal(stats_of(bed.heap).slabs, 0);
    end_bed(&bed);
}

static void marked_blocks_raise_pressure_too(void **state)
{
    (void)state;
    static void *blocks[MANY];
    struct played_host host = {0};
    struct bed bed = bed_of_host(
        &host, &(struct fl_options){.magazine_blocks = 2, .retain_bytes = SIZE_MAX, .defer_bytes = MANY * SIZE / 2});
    assert_int_equal(fl_alloc_many(bed.thread, SIZE, MANY, blocks), 0);
    arm(1, true);
    defer_many(bed.thread, SIZE, MANY, blocks);
    disarm();
    assert_true(marked_blocks(bed.heap) > MANY / 2);
    assert_int_not_equal(*fl_heap_pressure(bed.heap), 0);
    assert_int_equal(stats_of(bed.heap).pressures, 1);
    let_all_go(&host, bed.thread);
    assert_int_equal(*fl_heap_pressure(bed.heap), 0);
    end_bed(&bed);
}

/* ---- A thread whose exit cannot be watched. */

static struct fl_thread *moved;

static void *come_online_unwatched(void *argument)
{
    arm(1, true);
    fl_thread_online(moved);
    bool refused = disarm();
    fl_free(moved, fl_alloc(moved, SIZE));
    return refused ? argument : NULL;
}

static void a_handle_brought_online_unwatched_outlives_the_thread(void **state)
{
    struct bed *bed = *state;
    moved = fl_thread_attach(bed->heap);
    fl_thread_offline(moved);
    /* A stack so large that the system has it back when the thread is gone. */
    pthread_attr_t attributes;
    pthread_t thread;
    void *result;
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstacksize(&attributes, 256 * FLI_MIB), 0);
    assert_int_equal(pthread_create(&thread, &attributes, come_online_unwatched, bed), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    pthread_attr_destroy(&attributes);
    assert_ptr_equal(result, bed);
    assert_int_equal(stats_of(bed->heap).threads, 2);
    fl_thread_online(moved);
    fl_free(moved, fl_alloc(moved, SIZE));
    assert_int_equal(fl_thread_detach(moved), 0);
    assert_int_equal(stats_of(bed->heap).threads, 1);
}

static void *attach_unwatched(void *argument)
{
    errno = 0;
    arm(1, true);
    struct fl_thread *thread = fl_thread_attach(argument);
    bool right = thread == NULL && errno == ENOMEM && disarm();
    disarm();
    return right ? argument : NULL;
}

static void an_attach_whose_end_cannot_be_watched_is_refused(void **state)
{
    struct bed *bed = *state;
    pthread_t thread;
    void *result;
    assert_int_equal(pthread_create(&thread, NULL, attach_unwatched, bed->heap), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, bed->heap);
    assert_true(fault.was_fired[SETSPECIFIC]);
    assert_int_equal(stats_of(bed->heap).threads, 1);
}

static void every_call_of_the_system_has_been_refused(void **state)
{
    (void)state;
    for (unsigned call = 0; call < CALLS; call++)
        if (!fault.was_fired[call])
            fail_msg("%s was never refused", call_names[call]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_is_refused_the_default_heap_can_be_tried_again),
        cmocka_unit_test(whatever_is_refused_in_a_heaps_life_it_goes_on_and_loses_nothing),
        cmocka_unit_test(whatever_is_refused_while_a_heap_grows_nothing_is_lost),
        cmocka_unit_test(whatever_is_refused_large_blocks_are_entered_or_not_allocated),
        cmocka_unit_test(whatever_is_refused_a_block_has_its_old_size_or_the_new_one),
        cmocka_unit_test(freeing_goes_on_without_magazines_and_what_was_parked_is_used_again),
        cmocka_unit_test(another_class_is_served_though_all_magazines_hold_blocks),
        cmocka_unit_test(a_detach_without_magazines_loses_nothing),
        cmocka_unit_test(a_trim_gives_up_what_is_kept_though_others_could_not_be_unmapped),
        cmocka_unit_test(memory_that_is_given_up_twice_was_not_written),
        cmocka_unit_test(memory_that_the_system_does_not_take_back_is_used_again),
        cmocka_unit_test(the_largest_blocks_that_the_system_does_not_unmap_are_given_up_later),
        cmocka_unit_test(whatever_is_refused_what_is_deferred_or_retired_is_not_lost),
        cmocka_unit_test(deferring_goes_on_without_magazines),
        cmocka_unit_test(slabs_with_marked_blocks_that_are_freed_again_are_not_given_away),
        cmocka_unit_test(marked_blocks_raise_pressure_too),
        BED_TEST(a_handle_brought_online_unwatched_outlives_the_thread),
        BED_TEST(an_attach_whose_end_cannot_be_watched_is_refused),
        cmocka_unit_test(every_call_of_the_system_has_been_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
