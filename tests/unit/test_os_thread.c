/* SPDX-License-Identifier: MIT
 *
 * What a layer above hangs on the record of an OS thread.
 */
#include "support.h"

#include "heap/os_thread.h"

#include <sys/wait.h>
#include <unistd.h>

struct guest {
    struct fl_heap *heap;
    struct fl_thread *thread;
    unsigned ends, forgets;
    size_t threads;           /* attached when it ended */
    bool set, alone, exiting; /* it was found; it was not, once it had ended; the OS thread was about to exit */
};

static void end(void *argument)
{
    struct guest *guest = argument;
    guest->ends++;
    guest->threads = stats_of(guest->heap).threads;
    guest->alone = fli_os_thread_guest() == NULL;
    guest->exiting = fli_os_thread_exits();
    fl_free_sized(guest->thread, fl_alloc(guest->thread, 48), 48);
}

static void forget(void *argument)
{
    struct guest *guest = argument;
    guest->forgets++;
}

/* ---- Before there is a heap. */

/* The process's first key, unless a sanitizer has that. */
static pthread_key_t first_key;

static void count_end(void *argument)
{
    struct guest *guest = argument;
    guest->ends++;
}

static void *run_without_heap(void *argument)
{
    struct guest *guest = argument;
    if (pthread_setspecific(first_key, guest) != 0 || fli_os_thread_watch() != 0)
        return NULL;
    fli_os_thread_set_guest(guest, count_end, forget);
    guest->set = fli_os_thread_guest() == guest;
    return pthread_getspecific(first_key);
}

static void the_end_of_a_thread_is_seen_where_no_heap_has_been_made(void **state)
{
    struct guest guest = {.ends = 0};
    pthread_t thread;
    void *found = NULL;
    (void)state;
    assert_int_equal(pthread_key_create(&first_key, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, run_without_heap, &guest), 0);
    assert_int_equal(pthread_join(thread, &found), 0);
    assert_true(guest.set);
    assert_ptr_equal(found, &guest);
    assert_int_equal(guest.ends, 1);
    assert_int_equal(pthread_key_delete(first_key), 0);
}

/* ---- With one. */

static void *run_with_guest(void *argument)
{
    struct guest *guest = argument;
    guest->thread = fl_thread_attach(guest->heap);
    fli_os_thread_set_guest(guest, end, forget);
    guest->set = fli_os_thread_guest() == guest && !fli_os_thread_exits();
    return NULL;
}

static void a_guest_ends_once_before_the_handles_of_its_thread_are_detached(void **state)
{
    struct bed *bed = *state;
    struct guest guest = {.heap = bed->heap};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run_with_guest, &guest), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(guest.set);
    assert_int_equal(guest.ends, 1);
    assert_int_equal(guest.threads, 2);
    assert_true(guest.alone && guest.exiting);
    assert_int_equal(stats_of(bed->heap).threads, 1);
}

static void *look_for_guest(void *guest)
{
    struct fl_thread *thread = fl_thread_attach(guest);
    void *found = fli_os_thread_guest();
    fl_thread_detach(thread);
    return found;
}

static void a_guest_is_that_of_one_thread(void **state)
{
    struct bed *bed = *state;
    pthread_t thread;
    void *found = NULL;
    fli_os_thread_set_guest(bed, NULL, NULL);
    assert_int_equal(pthread_create(&thread, NULL, look_for_guest, bed->heap), 0);
    assert_int_equal(pthread_join(thread, &found), 0);
    assert_null(found);
    assert_ptr_equal(fli_os_thread_guest(), bed);
    fli_os_thread_set_guest(NULL, NULL, NULL);
}

static void *fork_beside(void *argument)
{
    struct guest *guest = argument;
    pid_t child = fork();
    int status = -1;
    if (child == 0)
        _exit(guest->forgets == 1 && guest->ends == 0 ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    return NULL;
}

static void a_child_forgets_the_guests_of_threads_that_it_lacks(void **state)
{
    struct bed *bed = *state;
    struct guest guest = {.heap = bed->heap};
    pthread_t thread;
    fli_os_thread_set_guest(&guest, NULL, forget);
    assert_int_equal(pthread_create(&thread, NULL, fork_beside, &guest), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(guest.forgets, 0);
    fli_os_thread_set_guest(NULL, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_end_of_a_thread_is_seen_where_no_heap_has_been_made), /* comes first */
        BED_TEST(a_guest_ends_once_before_the_handles_of_its_thread_are_detached),
        BED_TEST(a_guest_is_that_of_one_thread),
        BED_TEST(a_child_forgets_the_guests_of_threads_that_it_lacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
