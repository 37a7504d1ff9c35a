/* SPDX-License-Identifier: MIT
 *
 * Memory that is locked (mlockall, mlock) cannot be given back: the system refuses. The heap goes on, uses it again,
 * says how much it has kept, and gives it back when it is locked no more. Each test is a process of its own.
 */
#include "grace_support.h"

#include <sys/mman.h>

enum { SIZE = 480, MANY = 20000, CANNOT_LOCK = 77 };

static size_t locked_bytes(void)
{
    size_t kilobytes = 0;
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    EXPECT(status != NULL);
    while (fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "VmLck: %zu", &kilobytes) == 1)
            break;
    fclose(status);
    return kilobytes << 10;
}

/* Ends the child where memory cannot be locked: beyond a limit, or under a sanitizer, which only says that it is. */
static void expect_locked(int result)
{
    if (result != 0 || locked_bytes() == 0)
        _exit(CANNOT_LOCK);
}

/* What a program may do to lock its memory. */
struct locking {
    int before, after; /* flags of mlockall, before and after there is a heap; 0: none */
    bool block;        /* one block, and with it its page */
};

static void *blocks[MANY];

static void fill(struct fl_thread *thread, size_t size)
{
    EXPECT(fl_alloc_many(thread, size, MANY, blocks) == 0);
    for (unsigned i = 0; i < MANY; i++)
        memset(blocks[i], 1, size);
}

static void empty(struct fl_thread *thread, size_t size)
{
    fl_free_many(thread, size, MANY, blocks);
    fl_thread_flush(thread);
}

/* The blocks of the first fill, by which is seen how much memory the process still has of the heap's. The memory of the
 * whole process tells less: an emulator takes some of its own meanwhile. */
static void *filled[MANY];

static size_t resident(void)
{
    return count_resident(filled, MANY) * SIZE;
}

static void lock_and_trim(void *argument)
{
    const struct locking *locking = argument;
    if (locking->before != 0)
        expect_locked(mlockall(locking->before));
    struct fl_options options = {.reserve_bytes = 64 * FLI_MIB, .retain_bytes = SIZE_MAX};
    struct fl_heap *heap = fl_heap_create(&options, NULL, 0);
    if (heap == NULL && locking->before != 0)
        _exit(CANNOT_LOCK);
    EXPECT(heap != NULL);
    struct fl_thread *thread = fl_thread_attach(heap);
    struct fl_stats full, stats;
    fill(thread, SIZE);
    memcpy(filled, blocks, sizeof filled);
    fl_heap_stats(heap, &full);
    if (locking->after != 0)
        expect_locked(mlockall(locking->after));
    if (locking->block)
        expect_locked(mlock(blocks[MANY / 2], SIZE));
    empty(thread, SIZE);
    size_t before = resident();
    size_t returned = fl_heap_trim(heap, 0);
    fl_heap_stats(heap, &stats);
    EXPECT(stats.slabs == 0 && stats.live_blocks == 0);
    EXPECT(stats.idle_bytes > 0 && stats.idle_bytes <= full.slab_bytes);
    EXPECT(returned == stats.trimmed_bytes);
    EXPECT(resident() + returned <= before + FLI_MIB);
    if (locking->block) {
        EXPECT(stats.idle_bytes <= 2 * 65536);
    } else {
        EXPECT(returned == 0);
        EXPECT(stats.idle_bytes == full.slab_bytes);
        EXPECT(stats.magazines > 0 && stats.magazines == stats.empty_magazines);
    }
    EXPECT_SOUND(heap);

    /* It is used again, for any class, before any other memory is. */
    size_t mapped = stats.mapped_bytes;
    fill(thread, SIZE / 2);
    EXPECT_SOUND(heap);
    fl_heap_stats(heap, &stats);
    EXPECT(stats.mapped_bytes == mapped);
    EXPECT(stats.slab_bytes + stats.idle_bytes >= full.slab_bytes || locking->block);
    empty(thread, SIZE / 2);
    EXPECT(fl_heap_trim(heap, 0) == 0 || locking->block);

    /* And goes back once it can. */
    EXPECT(munlockall() == 0);
    fl_heap_stats(heap, &stats);
    size_t kept = stats.idle_bytes;
    EXPECT(kept > 0);
    before = resident();
    EXPECT(fl_heap_trim(heap, 0) >= kept);
    fl_heap_stats(heap, &stats);
    EXPECT(stats.idle_bytes == 0);
    EXPECT(resident() + kept <= before + FLI_MIB);
    EXPECT_SOUND(heap);
    fill(thread, SIZE);
    empty(thread, SIZE);
    EXPECT_SOUND(heap);
    EXPECT(fl_thread_detach(thread) == 0);
    EXPECT(fl_heap_destroy(heap) == 0);
}

static void assert_told_as_it_is(struct locking locking)
{
    struct child_end end = run_child(lock_and_trim, &locking);
    if (WIFEXITED(end.status) && WEXITSTATUS(end.status) == CANNOT_LOCK)
        skip();
    if (!WIFEXITED(end.status) || WEXITSTATUS(end.status) != 0)
        fail_msg("the child ended with status %#x: %s", (unsigned)end.status, end.output);
}

static void a_trim_of_a_process_whose_memory_is_locked_gives_nothing_back_and_says_so(void **state)
{
    (void)state;
    assert_told_as_it_is((struct locking){.before = MCL_CURRENT | MCL_FUTURE});
}

static void nor_where_it_was_locked_when_there_was_a_heap_already(void **state)
{
    (void)state;
    assert_told_as_it_is((struct locking){.after = MCL_CURRENT});
}

static void one_locked_page_keeps_its_slab_and_others_go_back(void **state)
{
    (void)state;
    assert_told_as_it_is((struct locking){.block = true});
}

/* With a limit, what is kept serves whatever asks for room. */
static void fill_a_limit_twice(void *argument)
{
    (void)argument;
    struct fl_options options = {.reserve_bytes = 64 * FLI_MIB, .limit_bytes = FLI_MIB};
    expect_locked(mlockall(MCL_CURRENT | MCL_FUTURE));
    struct fl_heap *heap = fl_heap_create(&options, NULL, 0);
    if (heap == NULL)
        _exit(CANNOT_LOCK);
    struct fl_thread *thread = fl_thread_attach(heap);
    for (size_t size = 512; size <= FL_BLOCK_MAX; size *= 2) {
        size_t count = 0;
        while (count < MANY && (blocks[count] = fl_alloc(thread, size)) != NULL)
            count++;
        EXPECT(count * size > FLI_MIB / 2);
        fl_free_many(thread, size, count, blocks);
    }
    void *large = fl_alloc(thread, FLI_MIB - 65536);
    EXPECT(large != NULL);
    fl_free(thread, large);
    EXPECT_SOUND(heap);
}

static void the_limit_counts_what_is_in_use(void **state)
{
    (void)state;
    struct child_end end = run_child(fill_a_limit_twice, NULL);
    if (WIFEXITED(end.status) && WEXITSTATUS(end.status) == CANNOT_LOCK)
        skip();
    if (!WIFEXITED(end.status) || WEXITSTATUS(end.status) != 0)
        fail_msg("the child ended with status %#x: %s", (unsigned)end.status, end.output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trim_of_a_process_whose_memory_is_locked_gives_nothing_back_and_says_so),
        cmocka_unit_test(nor_where_it_was_locked_when_there_was_a_heap_already),
        cmocka_unit_test(one_locked_page_keeps_its_slab_and_others_go_back),
        cmocka_unit_test(the_limit_counts_what_is_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
