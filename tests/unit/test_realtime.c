/* SPDX-License-Identifier: MIT
 *
 * Real-time threads: their frees do not call the OS and wait for no lock, their allocations do nothing for others, and
 * what they leave undone others take up.
 */
/* link: -Wl,--wrap=mmap -Wl,--wrap=munmap -Wl,--wrap=mprotect -Wl,--wrap=madvise -Wl,--wrap=sched_yield */
/* link: -Wl,--wrap=syscall */
#include "grace_support.h"

#include "heap/registry.h"
#include "pool/realtime.h"

#include <sched.h>
#include <sys/mman.h>

enum {
    MIXED_BYTES = (FLI_CHECKED || FLI_SANITIZED ? 32 : 256) * FLI_MIB,
    MIXED_MOST = MIXED_BYTES / 256,
    LARGE = FL_BLOCK_MAX + 1,
    HUGE_BYTES = 40 * FLI_MIB, /* larger than any size that is kept for another block */
    SIZE = 48,
    MANY = FLI_RARE_PATHS ? 2000 : 20000,
};

/* ---- The system's calls, counted. */

static __thread bool counts;
static unsigned system_calls;

static void note_call(void)
{
    system_calls += counts;
}

void *__real_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);
int __real_munmap(void *address, size_t length);
int __real_mprotect(void *address, size_t length, int protection);
int __real_madvise(void *address, size_t length, int advice);
int __real_sched_yield(void);
long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset);
int __wrap_munmap(void *address, size_t length);
int __wrap_mprotect(void *address, size_t length, int protection);
int __wrap_madvise(void *address, size_t length, int advice);
int __wrap_sched_yield(void);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);

void *__wrap_mmap(void *address, size_t length, int protection, int flags, int file, off_t offset)
{
    note_call();
    return __real_mmap(address, length, protection, flags, file, offset);
}

int __wrap_munmap(void *address, size_t length)
{
    note_call();
    return __real_munmap(address, length);
}

int __wrap_mprotect(void *address, size_t length, int protection)
{
    note_call();
    return __real_mprotect(address, length, protection);
}

int __wrap_madvise(void *address, size_t length, int advice)
{
    note_call();
    return __real_madvise(address, length, advice);
}

int __wrap_sched_yield(void)
{
    note_call();
    return __real_sched_yield();
}

long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    note_call();
    return __real_syscall(number, a, b, c, d, e, f);
}

/* ---- Blocks of many sizes. */

struct block {
    void *start;
    size_t size;
};

static struct block mixed[MIXED_MOST];
static unsigned mixed_count;

static struct block new_block(struct fl_thread *thread, size_t size)
{
    struct block block = {fl_alloc(thread, size), size};
    assert_non_null(block.start);
    memset(block.start, 1, size);
    return block;
}

/* Allocates so many bytes: most blocks are small, most bytes are in larger ones. */
static void allocate_mixed(struct fl_thread *thread, size_t bytes)
{
    uint64_t seed = 88172645463325252u;
    mixed_count = 0;
    for (size_t done = 0; done < bytes && mixed_count < MIXED_MOST; done += mixed[mixed_count++].size) {
        size_t most = (size_t)32 << next_random(&seed) % 10;
        if (mixed_count % 4096 == 0)
            most = 8 * FLI_MIB;
        mixed[mixed_count] = new_block(thread, 1 + next_random(&seed) % most);
    }
}

static void free_mixed(struct fl_thread *thread)
{
    for (unsigned i = 0; i < mixed_count; i++)
        if (i % 2 == 0)
            fl_free_sized(thread, mixed[i].start, mixed[i].size);
        else
            fl_free(thread, mixed[i].start);
}

static void be_realtime(struct fl_thread *thread)
{
    assert_int_equal(fl_thread_set_realtime(thread, true), 0);
}

static struct bed hasty_bed(void)
{
    return bed_with(&(struct fl_options){.decay_ms = 8, .retain_bytes = FLI_MIB});
}

/* A real-time thread that has blocks of all sizes. */
static struct bed bed_with_blocks(struct block *huge)
{
    struct bed bed = hasty_bed();
    *huge = new_block(bed.thread, HUGE_BYTES);
    allocate_mixed(bed.thread, MIXED_BYTES);
    be_realtime(bed.thread);
    return bed;
}

/* ---- Frees. */

static void a_free_does_not_call_the_os(void **state)
{
    (void)state;
    struct block huge;
    struct bed bed = bed_with_blocks(&huge);
    usleep(20000); /* decay is due */
    uint64_t trims = stats_of(bed.heap).trims;
    system_calls = 0;
    counts = true;
    free_mixed(bed.thread);
    fl_free_sized(bed.thread, huge.start, huge.size);
    counts = false;
    assert_int_equal(system_calls, 0);
    assert_int_equal(stats_of(bed.heap).trims, trims);
    end_bed(&bed);
}

static void the_same_frees_do_elsewhere(void **state)
{
    (void)state;
    struct block huge;
    struct bed bed = bed_with_blocks(&huge);
    assert_int_equal(fl_thread_set_realtime(bed.thread, false), 0);
    usleep(20000);
    system_calls = 0;
    counts = true;
    free_mixed(bed.thread);
    fl_free_sized(bed.thread, huge.start, huge.size);
    counts = false;
    assert_true(system_calls > 0);
    assert_true(stats_of(bed.heap).trims > 0);
    end_bed(&bed);
}

/* What another thread holds meanwhile. */
struct holder {
    struct fl_heap *heap;
    struct fli_mutex *of_memory; /* one lock of the last rank */
    pthread_barrier_t barrier;
};

static void *hold_locks(void *argument)
{
    struct holder *holder = argument;
    struct fl_heap *heap = holder->heap;
    fli_registry_lock();
    fli_lock(&heap->trim_lock);
    fli_lock(&heap->deferred.lock);
    fli_lock(&heap->backing.homes.lock);
    fli_lock(holder->of_memory);
    pthread_barrier_wait(&holder->barrier);
    pthread_barrier_wait(&holder->barrier);
    fli_unlock(holder->of_memory);
    fli_unlock(&heap->backing.homes.lock);
    fli_unlock(&heap->deferred.lock);
    fli_unlock(&heap->trim_lock);
    fli_registry_unlock();
    return NULL;
}

static void free_while_held(struct bed *bed, struct fli_mutex *of_memory)
{
    struct holder holder = {.heap = bed->heap, .of_memory = of_memory};
    pthread_t thread;
    allocate_mixed(bed->thread, MIXED_BYTES / 8);
    pthread_barrier_init(&holder.barrier, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, hold_locks, &holder), 0);
    pthread_barrier_wait(&holder.barrier);
    alarm(300); /* ends the test where a free waits */
    free_mixed(bed->thread);
    alarm(0);
    pthread_barrier_wait(&holder.barrier);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&holder.barrier);
}

static void a_free_waits_for_no_lock(void **state)
{
    (void)state;
    struct bed bed = hasty_bed();
    struct fli_backing *backing = &bed.heap->backing;
    be_realtime(bed.thread);
    usleep(20000);
    free_while_held(&bed, &backing->slabs.lock);
    free_while_held(&bed, &backing->magazines.lock);
    free_while_held(&bed, &backing->large.shards[0].lock);
    free_while_held(&bed, &backing->large.lock);
    end_bed(&bed);
}

/* Where no magazine can be had at once, some blocks of a full one go home. */
static void without_magazines_a_few_blocks_go_home(void **state)
{
    (void)state;
    struct bed bed = hasty_bed();
    static void *blocks[MANY];
    for (unsigned i = 0; i < MANY; i++)
        assert_non_null(blocks[i] = fl_alloc(bed.thread, SIZE));
    be_realtime(bed.thread);
    /* Takes what the pool and the rack have. */
    while (fli_stack_pop_mpmc(&bed.heap->backing.pool.empty, &bed.heap->backing.magazines,
                              &bed.heap->trim_counters) != NULL)
        bed.heap->lost_magazines++;
    struct holder holder = {.heap = bed.heap, .of_memory = &bed.heap->backing.magazines.lock};
    pthread_t thread;
    pthread_barrier_init(&holder.barrier, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, hold_locks, &holder), 0);
    pthread_barrier_wait(&holder.barrier);
    size_t parked = fli_homes_free(&bed.heap->backing.homes, fl_size_class(SIZE)), most = 0;
    for (unsigned i = 0; i < MANY; i++) {
        fl_free_sized(bed.thread, blocks[i], SIZE);
        size_t after = fli_homes_free(&bed.heap->backing.homes, fl_size_class(SIZE));
        most = after > parked && after - parked > most ? after - parked : most;
        parked = after;
    }
    pthread_barrier_wait(&holder.barrier);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&holder.barrier);
    assert_in_range(most, 1, FLI_REALTIME_BLOCKS);
    end_bed(&bed);
}

/* ---- What is left to others. */

static void *trim_heap(void *heap)
{
    fl_heap_trim(heap, 0);
    return NULL;
}

static size_t held(struct fl_heap *heap)
{
    struct fl_stats stats = stats_of(heap);
    return stats.slab_bytes + stats.spare_bytes + stats.idle_bytes;
}

static void a_trim_of_another_thread_takes_it(void **state)
{
    struct bed *bed = *state;
    struct block huge = new_block(bed->thread, HUGE_BYTES);
    allocate_mixed(bed->thread, MIXED_BYTES);
    be_realtime(bed->thread);
    free_mixed(bed->thread);
    fl_free_sized(bed->thread, huge.start, huge.size);
    assert_true(held(bed->heap) >= MIXED_BYTES + HUGE_BYTES);
    assert_sound(bed->heap);
    run_on_thread(trim_heap, bed->heap);
    /* But for the two magazines of each cache, in as many slabs as they have blocks. */
    assert_true(held(bed->heap) < MIXED_BYTES / 4);
    assert_int_equal(stats_of(bed->heap).spare_bytes, 0);
    fl_thread_flush(bed->thread);
    run_on_thread(trim_heap, bed->heap);
    assert_int_equal(held(bed->heap), 0);
}

static void decay_takes_it_in_silence(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.decay_ms = 40, .decay_thread = true});
    allocate_mixed(bed.thread, MIXED_BYTES);
    be_realtime(bed.thread);
    free_mixed(bed.thread);
    for (unsigned waits = 0; waits < 2000 && held(bed.heap) > MIXED_BYTES / 2; waits++)
        usleep(10000);
    assert_true(held(bed.heap) <= MIXED_BYTES / 2);
    end_bed(&bed);
}

/* An ordinary thread of the heap that frees a little. */
static void *free_a_little(void *heap)
{
    struct fl_thread *thread = fl_thread_attach(heap);
    static void *blocks[MANY];
    for (unsigned i = 0; i < MANY; i++)
        blocks[i] = fl_alloc(thread, SIZE);
    for (unsigned i = 0; i < MANY; i++)
        fl_free_sized(thread, blocks[i], SIZE);
    fl_thread_detach(thread);
    return NULL;
}

static void frees_of_others_take_it(void **state)
{
    struct bed *bed = *state;
    be_realtime(bed->thread);
    allocate_mixed(bed->thread, MIXED_BYTES / 4);
    free_mixed(bed->thread);
    size_t before = held(bed->heap);
    assert_int_equal(stats_of(bed->heap).trims, 0);
    for (unsigned i = 0; i < 10; i++)
        run_on_thread(free_a_little, bed->heap);
    assert_true(stats_of(bed->heap).trims > 0);
    assert_true(held(bed->heap) < before);
}

static void its_own_allocations_use_it_again(void **state)
{
    struct bed *bed = *state;
    be_realtime(bed->thread);
    for (unsigned round = 0; round < 8; round++) {
        allocate_mixed(bed->thread, MIXED_BYTES / 16);
        free_mixed(bed->thread);
    }
    size_t before = stats_of(bed->heap).mapped_bytes;
    allocate_mixed(bed->thread, MIXED_BYTES / 16);
    free_mixed(bed->thread);
    assert_true(stats_of(bed->heap).mapped_bytes <= before + before / 8);
}

/* ---- Deferred blocks. */

static void it_takes_no_step_with_deferred_blocks(void **state)
{
    (void)state;
    struct played_host host = {0};
    struct bed bed = bed_of_host(&host, NULL);
    struct fl_thread *other = fl_thread_attach(bed.heap);
    be_realtime(bed.thread);
    for (unsigned i = 0; i < MANY; i++)
        fl_free_deferred(bed.thread, fl_alloc(bed.thread, SIZE), SIZE);
    fl_free_deferred(bed.thread, fl_alloc(bed.thread, LARGE), LARGE);
    let_all_go(&host, bed.thread);
    fl_free_sized(bed.thread, fl_alloc(bed.thread, 1024), 1024);
    assert_int_equal(host.begun, 0);
    assert_true(submitted_bytes(bed.heap) >= (size_t)MANY * SIZE / 2 + LARGE);
    let_all_go(&host, other);
    assert_true(host.begun > 0);
    assert_int_equal(submitted_bytes(bed.heap), 0);
    assert_int_equal(fl_thread_detach(other), 0);
    end_bed(&bed);
}

/* ---- Allocations. */

static unsigned pleas;

static bool refuse(struct fl_heap *heap, size_t size, void *context)
{
    (void)heap, (void)size, (void)context;
    pleas++;
    return false;
}

static void an_allocation_fails_rather_than_trim(void **state)
{
    (void)state;
    struct fl_options options = {.limit_bytes = 16 * FLI_MIB, .on_pressure = refuse};
    struct bed bed = bed_with(&options);
    static void *blocks[1 << 15];
    unsigned count = 0;
    struct block spare = new_block(bed.thread, 3 * FLI_MIB);
    while ((blocks[count] = fl_alloc(bed.thread, 1024)) != NULL)
        count++;
    be_realtime(bed.thread);
    fl_free_sized(bed.thread, spare.start, spare.size);
    /* A slab that is all free would serve the larger block. */
    for (unsigned i = 0; i < count; i++)
        if (i % 16 != 0)
            fl_free_sized(bed.thread, blocks[i], 1024);
    uint64_t trims = stats_of(bed.heap).trims;
    pleas = 0;
    errno = 0;
    assert_null(fl_alloc(bed.thread, 16000));
    assert_int_equal(errno, ENOMEM);
    assert_null(fl_alloc(bed.thread, 8 * FLI_MIB));
    assert_int_equal(pleas, 2);
    assert_true(stats_of(bed.heap).spare_bytes >= spare.size);
    assert_int_equal(stats_of(bed.heap).trims, trims);
    fl_thread_set_realtime(bed.thread, false);
    for (unsigned i = 0; i < count; i += 16)
        fl_free_sized(bed.thread, blocks[i], 1024);
    fl_free_sized(bed.thread, new_block(bed.thread, 16000).start, 16000);
    fl_free_sized(bed.thread, new_block(bed.thread, 8 * FLI_MIB).start, 8 * FLI_MIB);
    end_bed(&bed);
}

static void a_reservation_is_made_in_whole_magazines(void **state)
{
    struct bed *bed = *state;
    struct fl_type type = {.name = "counted", .size = SIZE, .kind = FL_DEALLOC_PLAIN};
    assert_int_equal(fl_type_ready(&type, NULL, NULL, 0), 0);
    be_realtime(bed->thread);
    assert_int_equal(fl_thread_reserve(bed->thread, &type, MANY), 0);
    size_t whole = MANY / bed->heap->backing.magazine_blocks[type.class_index];
    assert_true(stats_of(bed->heap).magazines <= whole + whole / 2 + 8); /* the last of each slab is not full */
    assert_true(fli_thread_is_realtime(bed->thread));
    system_calls = 0;
    counts = true;
    static void *blocks[MANY];
    for (unsigned i = 0; i < MANY; i++)
        blocks[i] = fl_type_alloc(bed->thread, &type);
    counts = false;
    for (unsigned i = 0; i < MANY; i++)
        assert_non_null(blocks[i]);
    assert_int_equal(system_calls, 0);
    for (unsigned i = 0; i < MANY; i++)
        fl_type_free(bed->thread, blocks[i], &type);
}

/* Where memory is scarce, the magazine that a thread has loaded when it becomes a real-time thread has little room. Its home
 * keeps it all the same. */
static void magazines_of_little_room_are_counted(void **state)
{
    enum { BYTES = 4000, BLOCKS = 40 };
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.limit_bytes = (size_t)1 << 30, .magazine_blocks = 200});
    struct fl_thread *other = fl_thread_attach(bed.heap);
    void *blocks[BLOCKS];
    char error[256] = "";
    for (unsigned i = 0; i < BLOCKS; i++)
        assert_non_null(blocks[i] = fl_alloc(i > 0 ? other : bed.thread, BYTES));
    fl_free_sized(bed.thread, blocks[0], BYTES);
    be_realtime(bed.thread);
    for (unsigned i = 1; i < BLOCKS; i++) {
        fl_free_sized(bed.thread, blocks[i], BYTES);
        assert_int_equal(fl_heap_check(bed.heap, error, sizeof error), 0);
    }
    fl_thread_set_realtime(bed.thread, false);
    fl_thread_detach(other);
    end_bed(&bed);
}

/* ---- Dead objects. */

static unsigned cleared;
static void *last_parent;

static void clear(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)thread, (void)object, (void)type;
    cleared++;
}

static struct fl_type node = {.name = "node", .size = SIZE, .kind = FL_DEALLOC_CLEAR, .clear = clear};
static struct fl_type parent = {.name = "parent", .size = SIZE, .kind = FL_DEALLOC_CLEAR};

/* Drops a child, and ends its thread before the child's turn. */
static void drop_and_exit(struct fl_thread *thread, void *object, const struct fl_type *type)
{
    (void)type;
    fl_dealloc(thread, *(void **)object, &node);
    pthread_exit(NULL);
}

static void *leave_dead(void *heap)
{
    struct fl_thread *thread = fl_thread_attach(heap);
    void **object = fl_type_alloc(thread, &parent);
    *object = fl_type_alloc(thread, &node);
    last_parent = object;
    fl_dealloc(thread, object, &parent);
    return NULL;
}

static void it_ends_no_dead_objects_that_others_have_left(void **state)
{
    struct bed *bed = *state;
    parent.clear = drop_and_exit;
    if (!parent.ready)
        assert_int_equal(fl_type_ready(&parent, NULL, NULL, 0) + fl_type_ready(&node, NULL, NULL, 0), 0);
    run_on_thread(leave_dead, bed->heap);
    be_realtime(bed->thread);
    cleared = 0;
    fl_dealloc(bed->thread, fl_type_alloc(bed->thread, &node), &node);
    assert_int_equal(cleared, 1);
    fl_thread_set_realtime(bed->thread, false);
    fl_dealloc(bed->thread, fl_type_alloc(bed->thread, &node), &node);
    assert_int_equal(cleared, 3);
    fl_type_free(bed->thread, last_parent, &parent); /* its callback never returned */
}

/* ---- The option. */

static void *ask_unattached(void *unused)
{
    assert_int_equal(fl_thread_set_realtime(fl_thread_self(), true), 0);
    assert_true(fli_thread_is_realtime(fl_thread_self()));
    return unused;
}

static void an_unattached_thread_attaches(void **state)
{
    (void)state;
    run_on_thread(ask_unattached, NULL);
    assert_sound(fl_heap_default());
}

static pthread_key_t late_key;
static int late;

static void ask_late(void *value)
{
    if (++*(unsigned *)value < 3)
        pthread_setspecific(late_key, value); /* a later round, after the library's own destructor */
    else
        late = fl_thread_set_realtime(fl_thread_self(), true);
}

static void *use_and_exit(void *rounds)
{
    fl_free_sized(fl_thread_self(), fl_alloc(fl_thread_self(), SIZE), SIZE);
    pthread_setspecific(late_key, rounds);
    return NULL;
}

static void an_exited_thread_is_misuse(void **state)
{
    (void)state;
    unsigned rounds = 0;
    misuse = (struct recorded_misuse){0};
    fl_set_misuse_handler(record_misuse);
    assert_int_equal(pthread_key_create(&late_key, ask_late), 0);
    run_on_thread(use_and_exit, &rounds);
    pthread_key_delete(late_key);
    fl_set_misuse_handler(NULL);
    assert_int_equal(late, -EINVAL);
    assert_misuse("fl_thread_set_realtime", misuse.pointer, "is not an attached thread");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_free_does_not_call_the_os),
        cmocka_unit_test(the_same_frees_do_elsewhere),
        cmocka_unit_test(a_free_waits_for_no_lock),
        cmocka_unit_test(without_magazines_a_few_blocks_go_home),
        BED_TEST(a_trim_of_another_thread_takes_it),
        cmocka_unit_test(decay_takes_it_in_silence),
        BED_TEST(frees_of_others_take_it),
        BED_TEST(its_own_allocations_use_it_again),
        cmocka_unit_test(it_takes_no_step_with_deferred_blocks),
        cmocka_unit_test(an_allocation_fails_rather_than_trim),
        BED_TEST(a_reservation_is_made_in_whole_magazines),
        cmocka_unit_test(magazines_of_little_room_are_counted),
        cmocka_unit_test(an_unattached_thread_attaches),
        cmocka_unit_test(an_exited_thread_is_misuse),
        BED_TEST(it_ends_no_dead_objects_that_others_have_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
