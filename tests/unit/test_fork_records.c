/* SPDX-License-Identifier: MIT
 *
 * What is known of OS threads, across a fork.
 */
/* link: -Wl,--wrap=fli_life_begin -Wl,--wrap=free */
#include "support.h"

#include <semaphore.h>

#include "heap/thread.h"

/* Records of OS threads that have begun and are not freed. */
static void *records[64];

void __real_fli_life_begin(struct fli_life *life);
void __wrap_fli_life_begin(struct fli_life *life);
void __real_free(void *memory);
void __wrap_free(void *memory);

/* Exchanges one of the entries that are `from` for `to`. */
static void replace_record(void *from, void *to)
{
    for (size_t i = 0; i < COUNT_OF(records); i++) {
        void *expected = from;
        if (__atomic_compare_exchange_n(&records[i], &expected, to, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            return;
    }
}

void __wrap_fli_life_begin(struct fli_life *life)
{
    void *record = (char *)life - offsetof(struct fli_os_thread, life);
    __real_fli_life_begin(life);
    replace_record(record, NULL); /* it begins anew in a child */
    replace_record(NULL, record);
}

void __wrap_free(void *memory)
{
    if (memory != NULL)
        replace_record(memory, NULL);
    __real_free(memory);
}

static size_t count_records(void)
{
    size_t count = 0;
    for (size_t i = 0; i < COUNT_OF(records); i++)
        count += __atomic_load_n(&records[i], __ATOMIC_RELAXED) != NULL;
    return count;
}

/* A thread that has had a handle, and sleeps with one or without. */
struct sleeper {
    struct fl_heap *heap;
    bool attached;
    pthread_t thread;
    sem_t asleep, wake;
};

static void *fall_asleep(void *argument)
{
    struct sleeper *sleeper = argument;
    struct fl_thread *thread = fl_thread_attach(sleeper->heap);
    if (!sleeper->attached)
        fl_thread_detach(thread);
    sem_post(&sleeper->asleep);
    while (sem_wait(&sleeper->wake) != 0)
        ;
    return NULL;
}

static void find_one_record(void *argument)
{
    struct fl_heap *heap = argument;
    EXPECT(count_records() == 1);
    struct fl_thread *thread = fl_thread_attach(heap);
    EXPECT(thread != NULL && fl_thread_detach(thread) == 0);
    EXPECT(count_records() == 1);
    EXPECT_SOUND(heap);
}

static void what_is_known_of_other_threads_is_released_in_the_child(void **state)
{
    struct bed *bed = *state;
    struct sleeper sleepers[3];
    size_t before = count_records();
    for (size_t i = 0; i < COUNT_OF(sleepers); i++) {
        sleepers[i] = (struct sleeper){.heap = bed->heap, .attached = i > 0};
        sem_init(&sleepers[i].asleep, 0, 0);
        sem_init(&sleepers[i].wake, 0, 0);
        assert_int_equal(pthread_create(&sleepers[i].thread, NULL, fall_asleep, &sleepers[i]), 0);
        assert_int_equal(sem_wait(&sleepers[i].asleep), 0);
    }
    assert_int_equal(count_records(), before + COUNT_OF(sleepers));
    assert_child_succeeds(find_one_record, bed->heap);
    assert_int_equal(count_records(), before + COUNT_OF(sleepers));
    for (size_t i = 0; i < COUNT_OF(sleepers); i++) {
        sem_post(&sleepers[i].wake);
        assert_int_equal(pthread_join(sleepers[i].thread, NULL), 0);
    }
    assert_int_equal(stats_of(bed->heap).threads, 1); /* this looks for threads that are gone */
    assert_int_equal(count_records(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {BED_TEST(what_is_known_of_other_threads_is_released_in_the_child)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
