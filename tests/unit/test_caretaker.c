/* SPDX-License-Identifier: MIT
 *
 * The thread that returns memory to the OS while all threads of the host are silent.
 */
#include "support.h"

#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = 1024, BLOCKS = 32 * 1024, DECAY_MS = 40, PATIENCE_MS = 20000 };

static struct bed bed_in_care(unsigned decay_ms)
{
    return bed_with(&(struct fl_options){.retain_bytes = 512 * FLI_MIB, .decay_ms = decay_ms, .decay_thread = true});
}

static size_t held(struct fl_heap *heap)
{
    struct fl_stats stats = stats_of(heap);
    return stats.parked_bytes + stats.idle_bytes;
}

static void burst(struct fl_thread *thread)
{
    static void *blocks[BLOCKS];
    for (unsigned wave = 0; wave < 3; wave++) {
        for (unsigned i = 0; i < BLOCKS; i++)
            memset(blocks[i] = fl_alloc(thread, SIZE), 1, SIZE);
        for (unsigned i = 0; i < BLOCKS; i++)
            fl_free_sized(thread, blocks[i], SIZE);
    }
}

static bool falls(struct fl_heap *heap)
{
    for (unsigned ms = 0; ms < PATIENCE_MS; ms += 10) {
        if (held(heap) < 2 * FLI_MIB)
            return true;
        usleep(10000);
    }
    return false;
}

static void what_is_held_falls_in_silence(void **state)
{
    (void)state;
    struct bed bed = bed_in_care(DECAY_MS);
    burst(bed.thread);
    assert_true(falls(bed.heap));
    burst(bed.thread); /* and after it has rested */
    assert_true(falls(bed.heap));
    end_bed(&bed);
}

static void without_it_nothing_falls_in_silence(void **state)
{
    (void)state;
    struct bed bed = bed_with(&(struct fl_options){.retain_bytes = 512 * FLI_MIB, .decay_ms = DECAY_MS});
    burst(bed.thread);
    size_t before = held(bed.heap);
    usleep(5 * DECAY_MS * 1000);
    assert_int_equal(held(bed.heap), before);
    end_bed(&bed);
}

static void heaps_come_and_go(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 100; round++) {
        struct bed first = bed_in_care(1), second = bed_in_care(1);
        fl_free(first.thread, fl_alloc(first.thread, SIZE));
        if (round % 2 != 0)
            usleep(2000);
        end_bed(&first);
        end_bed(&second);
    }
}

static int in_child(struct bed *bed)
{
    burst(bed->thread); /* a slow half starts the child's own thread */
    return falls(bed->heap) ? 0 : 1;
}

static void the_child_of_a_fork_has_one_too(void **state)
{
    (void)state;
    struct bed bed = bed_in_care(DECAY_MS);
    burst(bed.thread);
    for (unsigned i = 0; i < 5; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            _exit(in_child(&bed));
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    assert_true(falls(bed.heap));
    end_bed(&bed);
}

/* The thread that serves calls without a handle takes the look that is due, under a lock of its own. */
static void such_a_child_needs_no_handle_for_it(void **state)
{
    (void)state;
    static void *blocks[BLOCKS];
    struct bed bed = bed_in_care(DECAY_MS);
    for (unsigned i = 0; i < BLOCKS; i++)
        assert_non_null(blocks[i] = fl_alloc(bed.thread, SIZE));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        usleep(2 * DECAY_MS * 1000);
        for (unsigned i = 0; i < BLOCKS; i++)
            fl_heap_free(bed.heap, blocks[i]);
        _exit(falls(bed.heap) ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    for (unsigned i = 0; i < BLOCKS; i++)
        fl_free_sized(bed.thread, blocks[i], SIZE);
    end_bed(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_held_falls_in_silence),
        cmocka_unit_test(without_it_nothing_falls_in_silence),
        cmocka_unit_test(heaps_come_and_go),
        cmocka_unit_test(the_child_of_a_fork_has_one_too),
        cmocka_unit_test(such_a_child_needs_no_handle_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
